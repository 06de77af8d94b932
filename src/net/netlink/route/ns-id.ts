/** RTM_GETNSID: the numbers by which a namespace knows others. None has any here: NETNSA_NSID_NOT_ASSIGNED. */
import { NLM_F_DUMP } from '../../../abi/constants.ts'
import { EINVAL } from '../../../abi/errno.ts'
import type { Status } from '../../../base/result.ts'
import type { IpStack } from '../../ip-stack.ts'
import { Attributes, MessageWriter } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'

const NETNSA_NSID = 1
const NETNSA_PID = 2
const NETNSA_FD = 3
const RTM_NEWNSID = 88
const NOT_ASSIGNED = 0xffffffff

export function getNsId(_stack: IpStack, request: NetlinkRequest): Status | Dump {
  if ((request.flags & NLM_F_DUMP) !== 0) return new ListDump([], () => {})
  const attributes = new Attributes(request.body, 4)
  if (![NETNSA_NSID, NETNSA_PID, NETNSA_FD].some(type => attributes.has(type))) {
    request.reason = 'Peer netns reference is missing'
    return -EINVAL
  }
  const writer = new MessageWriter()
  writer.start(RTM_NEWNSID, 0, request.sequence, request.port)
  writer.struct(4)
  writer.u32(NETNSA_NSID, NOT_ASSIGNED)
  writer.end()
  return request.answer(writer)
}
