/** RTM_NEWADDRLABEL, RTM_DELADDRLABEL, RTM_GETADDRLABEL: `ip addrlabel`. */
import {
  AF_INET6,
  IFAL_ADDRESS,
  IFAL_LABEL,
  NLM_F_DUMP,
  NLM_F_MULTI,
  NLM_F_REPLACE,
  RTM_GETADDRLABEL,
  RTM_NEWADDRLABEL,
} from '../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP, ESRCH } from '../../../abi/errno.ts'
import { IFADDRLBLMSG } from '../../../abi/layout.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import { IpAddress } from '../../address.ts'
import type { AddressLabel } from '../../ip/address-labels.ts'
import type { IpStack } from '../../ip-stack.ts'
import { Attributes, MessageWriter, viewOf } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'

const NO_LABEL = 0xffffffff

export function changeAddressLabel(stack: IpStack, request: NetlinkRequest): Status {
  const said = parse(request)
  if (typeof said === 'number') return said
  const { prefix, length, device } = said
  const masked = { prefix: prefix.masked(length), length, device }
  if (request.type !== RTM_NEWADDRLABEL) return stack.labels.remove(masked)
  const label = new Attributes(request.body, IFADDRLBLMSG.size).u32(IFAL_LABEL)
  if (label === undefined || label === NO_LABEL) return -EINVAL
  if (device !== 0 && stack.devices.byIndex(device) === undefined) return -EINVAL
  return stack.labels.set({ ...masked, label }, (request.flags & NLM_F_REPLACE) !== 0)
}

function parse({ body, view }: NetlinkRequest): OrErrno<Omit<AddressLabel, 'label'>> {
  if (body.length < IFADDRLBLMSG.size) return -EINVAL
  const length = view.getUint8(IFADDRLBLMSG.ifal_prefixlen)
  const address = new Attributes(body, IFADDRLBLMSG.size).get(IFAL_ADDRESS)
  if (body[IFADDRLBLMSG.ifal_family] !== AF_INET6 || length > 128) return -EINVAL
  if (address === undefined || address.length < 16) return -EINVAL
  const prefix = IpAddress.read(viewOf(address), 0, false)
  return { prefix, length, device: view.getUint32(IFADDRLBLMSG.ifal_index, true) }
}

export function getAddressLabels(stack: IpStack, request: NetlinkRequest, family: number): Status | Dump {
  if (family !== AF_INET6 && family !== 0) return -EOPNOTSUPP
  const { sequence, port } = request
  if ((request.flags & NLM_F_DUMP) !== 0) {
    return new ListDump(stack.labels.all(), (writer, entry) =>
      write(writer, entry, entry.prefix, entry.length, NLM_F_MULTI, sequence, port),
    )
  }
  // The label that an address has.
  const said = parse(request)
  if (typeof said === 'number') return said
  if (said.length !== 128 || request.type !== RTM_GETADDRLABEL) return -EINVAL
  const found = stack.labels.of(said.prefix, said.device)
  if (found === undefined) return -ESRCH
  const writer = new MessageWriter()
  write(writer, found, said.prefix, said.length, 0, sequence, port)
  return request.answer(writer)
}

function write(
  writer: MessageWriter,
  { device, label }: AddressLabel,
  prefix: IpAddress,
  length: number,
  flags: number,
  sequence: number,
  port: number,
): void {
  writer.start(RTM_NEWADDRLABEL, flags, sequence, port)
  const at = writer.struct(IFADDRLBLMSG.size)
  writer.set8(at + IFADDRLBLMSG.ifal_family, AF_INET6)
  writer.set8(at + IFADDRLBLMSG.ifal_prefixlen, length)
  writer.set32(at + IFADDRLBLMSG.ifal_index, device)
  // Of IPv4's as well all of its bytes.
  const bytes = new Uint8Array(16)
  prefix.writeV6(viewOf(bytes), 0)
  writer.bytes(IFAL_ADDRESS, bytes)
  writer.u32(IFAL_LABEL, label)
  writer.end()
}
