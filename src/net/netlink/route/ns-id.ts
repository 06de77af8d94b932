/** RTM_NEWNSID, RTM_GETNSID: the numbers by which a namespace knows others (namespace-ids.ts). */
import {
  AF_UNSPEC,
  NETNSA_FD,
  NETNSA_NSID,
  NETNSA_PID,
  NETNSA_TARGET_NSID,
  NLM_F_DUMP,
  NLM_F_MULTI,
  RTM_NEWNSID,
} from '../../../abi/constants.ts'
import { EEXIST, EINVAL, ENOENT, EOPNOTSUPP } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import type { IpStack } from '../../ip-stack.ts'
import { Attributes, MessageWriter } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import { namedNamespace, stackOf } from './namespace.ts'

/** struct rtgenmsg, padded. */
const HEADER_SIZE = 4

export function newNsId(stack: IpStack, request: NetlinkRequest): Status {
  const attributes = new Attributes(request.body, HEADER_SIZE)
  const wanted = attributes.u32(NETNSA_NSID)
  if (wanted === undefined) {
    request.reason = 'nsid is missing'
    return -EINVAL
  }
  const peer = peerOf(request, attributes)
  if (typeof peer === 'number') return peer
  if (stack.namespaceIds.of(peer) >= 0) {
    request.reason = 'Peer netns already has a nsid'
    return -EEXIST
  }
  const status = stack.namespaceIds.give(peer, wanted | 0)
  if (status < 0) request.reason = 'The specified nsid is already used'
  return status
}

export function getNsId(stack: IpStack, request: NetlinkRequest): Status | Dump {
  const attributes = new Attributes(request.body, HEADER_SIZE)
  // Numbers as a third namespace has them: Linux 4.20.
  if (attributes.has(NETNSA_TARGET_NSID)) return -EOPNOTSUPP
  const { sequence, port } = request
  if ((request.flags & NLM_F_DUMP) !== 0) {
    const { ids } = stack.namespaceIds
    return new ListDump(ids, (writer, id) => writeNsId(writer, id, RTM_NEWNSID, NLM_F_MULTI, sequence, port))
  }
  const peer = peerOf(request, attributes, stack)
  if (typeof peer === 'number') return peer
  const writer = new MessageWriter()
  writeNsId(writer, stack.namespaceIds.of(peer), RTM_NEWNSID, 0, sequence, port)
  return request.answer(writer)
}

export function writeNsId(
  writer: MessageWriter,
  id: number,
  type: number,
  flags: number,
  sequence: number,
  port: number,
): void {
  writer.start(type, flags, sequence, port)
  writer.set8(writer.struct(HEADER_SIZE), AF_UNSPEC)
  writer.u32(NETNSA_NSID, id)
  writer.end()
}

/** `known`: may be named by its number there, too. */
function peerOf(request: NetlinkRequest, attributes: Attributes, known?: IpStack): OrErrno<IpStack> {
  const named = namedNamespace(request.task, attributes, NETNSA_PID, NETNSA_FD)
  const id = named === undefined ? attributes.u32(NETNSA_NSID) : undefined
  if (named === undefined && (known === undefined || id === undefined)) {
    request.reason = 'Peer netns reference is missing'
    return -EINVAL
  }
  const peer =
    named === undefined
      ? (known!.namespaceIds.find(id! | 0) ?? -ENOENT)
      : typeof named === 'number'
        ? named
        : stackOf(named)
  if (typeof peer === 'number') request.reason = 'Peer netns reference is invalid'
  return peer
}
