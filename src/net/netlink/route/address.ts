/** RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR: rtnetlink(7), `ip address`. */
import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  IFA_ADDRESS,
  IFA_BROADCAST,
  IFA_CACHEINFO,
  IFA_F_PERMANENT,
  IFA_FLAGS,
  IFA_LABEL,
  IFA_LOCAL,
  IFA_PROTO,
  IFA_RT_PRIORITY,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_DUMP_FILTERED,
  NLM_F_EXCL,
  NLM_F_MULTI,
  NLM_F_REPLACE,
  RTM_DELADDR,
  RTM_NEWADDR,
} from '../../../abi/constants.ts'
import { EADDRNOTAVAIL, EEXIST, EINVAL, ENODEV, ENOENT, EOPNOTSUPP } from '../../../abi/errno.ts'
import { IFA_CACHEINFO as CACHEINFO, IFADDRMSG } from '../../../abi/layout.ts'
import { NSEC_PER_SEC } from '../../../base/clock.ts'
import type { Status } from '../../../base/result.ts'
import { IpAddress, V4_ANY } from '../../address.ts'
import { FOREVER, InterfaceAddress } from '../../ip/interface-address.ts'
import type { IpStack } from '../../ip-stack.ts'
import type { NetDevice } from '../../link/device.ts'
import { Attributes, MessageWriter, viewOf } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'

/** What of `ifa_flags` a request may set. */
const SETTABLE = ~(0x80 | 0x40 | 0x20 | 0x08 | 0x01)

export function writeAddress(
  writer: MessageWriter,
  entry: InterfaceAddress,
  type: number,
  flags: number,
  sequence: number,
  port: number,
  now: number,
): void {
  const { address } = entry
  writer.start(type, flags, sequence, port)
  const at = writer.struct(IFADDRMSG.size)
  writer.set8(at + IFADDRMSG.ifa_family, address.isV4 ? AF_INET : AF_INET6)
  writer.set8(at + IFADDRMSG.ifa_prefixlen, entry.length)
  writer.set8(at + IFADDRMSG.ifa_flags, entry.flags & 0xff)
  writer.set8(at + IFADDRMSG.ifa_scope, entry.scope)
  writer.set32(at + IFADDRMSG.ifa_index, entry.device.index)
  if (address.isV4) {
    writer.bytes(IFA_ADDRESS, entry.prefixAddress.bytes())
    writer.bytes(IFA_LOCAL, address.bytes())
    if (entry.broadcast !== undefined) writer.bytes(IFA_BROADCAST, entry.broadcast.bytes())
    if (entry.label !== '') writer.string(IFA_LABEL, entry.label)
  } else if (entry.peer !== undefined) {
    writer.bytes(IFA_LOCAL, address.bytes())
    writer.bytes(IFA_ADDRESS, entry.peer.bytes())
  } else {
    writer.bytes(IFA_ADDRESS, address.bytes())
  }
  if (entry.protocol !== 0) writer.u8(IFA_PROTO, entry.protocol)
  writer.u32(IFA_FLAGS, entry.flags)
  if (entry.priority !== 0) writer.u32(IFA_RT_PRIORITY, entry.priority)
  const age = Math.floor((now - entry.updated) / NSEC_PER_SEC)
  const left = (lifetime: number) => (lifetime === FOREVER ? FOREVER : Math.max(lifetime - age, 0))
  const info = writer.attribute(IFA_CACHEINFO, CACHEINFO.size)
  writer.set32(info + CACHEINFO.ifa_prefered, left(entry.preferred))
  writer.set32(info + CACHEINFO.ifa_valid, left(entry.valid))
  // In hundredths of a second.
  writer.set32(info + CACHEINFO.cstamp, Math.floor(entry.created / 1e7))
  writer.set32(info + CACHEINFO.tstamp, Math.floor(entry.updated / 1e7))
  writer.end()
}

export function getAddresses(stack: IpStack, request: NetlinkRequest, family: number): Status | Dump {
  const now = stack.runtime.now()
  if ((request.flags & NLM_F_DUMP) === 0) {
    if (family !== AF_INET6) return -EOPNOTSUPP
    return getOne(stack, request)
  }
  let device = 0
  let flags = 0
  if (request.socket.strict) {
    if (request.body.length < IFADDRMSG.size) {
      request.reason = 'ipv4: Invalid header for address dump request'
      return -EINVAL
    }
    const { view } = request
    const other = [IFADDRMSG.ifa_prefixlen, IFADDRMSG.ifa_flags, IFADDRMSG.ifa_scope].some(at =>
      view.getUint8(at),
    )
    if (other) {
      request.reason = 'ipv4: Invalid values in header for address dump request'
      return -EINVAL
    }
    device = view.getUint32(IFADDRMSG.ifa_index, true)
    if (device !== 0) {
      flags = NLM_F_DUMP_FILTERED
      if (stack.devices.byIndex(device) === undefined) return -ENODEV
    }
  }
  const entries: InterfaceAddress[] = []
  const wanted = family === AF_UNSPEC ? [AF_INET, AF_INET6] : [family]
  for (const each of wanted) {
    for (const owner of sortedDevices(stack)) {
      if (device !== 0 && owner.index !== device) continue
      for (const entry of stack.addresses.of(owner))
        if (entry.address.isV4 === (each === AF_INET)) entries.push(entry)
    }
  }
  const { sequence, port } = request
  return new ListDump(
    entries,
    (writer, entry) => writeAddress(writer, entry, RTM_NEWADDR, NLM_F_MULTI | flags, sequence, port, now),
    flags,
    () => stack.generation,
  )
}

export function sortedDevices(stack: IpStack): NetDevice[] {
  return [...stack.devices.all].sort((a, b) => a.index - b.index)
}

/** Of AF_INET6 alone. */
function getOne(stack: IpStack, request: NetlinkRequest): Status {
  if (request.body.length < IFADDRMSG.size) return -EINVAL
  const attributes = new Attributes(request.body, IFADDRMSG.size)
  const address = readAddress(attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS), AF_INET6)
  if (address === undefined) return -EINVAL
  const index = request.view.getUint32(IFADDRMSG.ifa_index, true)
  const entry = stack.addresses.find(address, index === 0 ? undefined : stack.devices.byIndex(index))
  if (entry === undefined) return -EADDRNOTAVAIL
  const writer = new MessageWriter()
  writeAddress(writer, entry, RTM_NEWADDR, 0, request.sequence, request.port, stack.runtime.now())
  return request.answer(writer)
}

/** What both kinds of change say. */
interface Parsed {
  readonly device: NetDevice
  readonly local: IpAddress
  readonly peer: IpAddress | undefined
  readonly length: number
  readonly attributes: Attributes
}

function parse(stack: IpStack, request: NetlinkRequest, family: number): Parsed | Status {
  if (request.body.length < IFADDRMSG.size) return -EINVAL
  const { view } = request
  const attributes = new Attributes(request.body, IFADDRMSG.size)
  const length = view.getUint8(IFADDRMSG.ifa_prefixlen)
  if (length > (family === AF_INET ? 32 : 128)) {
    request.reason = family === AF_INET ? 'ipv4: Invalid prefix length' : 'IPv6: Invalid prefix length'
    return -EINVAL
  }
  const given = readAddress(attributes.get(IFA_LOCAL), family)
  const whole = readAddress(attributes.get(IFA_ADDRESS), family)
  const local = given ?? whole
  if (local === undefined) {
    request.reason = family === AF_INET ? 'ipv4: Local address is not supplied' : ''
    return -EINVAL
  }
  const device = stack.devices.byIndex(view.getUint32(IFADDRMSG.ifa_index, true))
  if (device === undefined) {
    request.reason = family === AF_INET ? 'ipv4: Device not found' : 'IPv6: Unable to find the interface'
    return -ENODEV
  }
  const peer = given !== undefined && whole !== undefined && !whole.equals(given) ? whole : undefined
  return { device, local, peer, length, attributes }
}

export function readAddress(value: Uint8Array | undefined, family: number): IpAddress | undefined {
  const size = family === AF_INET ? 4 : 16
  if (value === undefined || value.length < size) return undefined
  return IpAddress.read(viewOf(value), 0, family === AF_INET)
}

export function newAddress(stack: IpStack, request: NetlinkRequest, family: number): Status {
  const parsed = parse(stack, request, family)
  if (typeof parsed === 'number') return parsed
  const { device, local, peer, length, attributes } = parsed
  const isV4 = family === AF_INET
  const info = attributes.get(IFA_CACHEINFO)
  let valid = FOREVER
  let preferred = FOREVER
  if (info !== undefined) {
    if (info.length < CACHEINFO.size) return -EINVAL
    valid = viewOf(info).getUint32(CACHEINFO.ifa_valid, true)
    preferred = viewOf(info).getUint32(CACHEINFO.ifa_prefered, true)
    if (valid === 0 || preferred > valid) {
      request.reason = isV4 ? 'ipv4: Invalid lifetime' : 'IPv6: address lifetime invalid'
      return -EINVAL
    }
  }
  const known = stack.addresses.find(local, device)
  if (known !== undefined && (!isV4 || (known.length === length && sameAddress(known.peer, peer)))) {
    // Of what is there only lifetimes, flags and metric can be changed.
    if ((request.flags & NLM_F_EXCL) !== 0 || (request.flags & NLM_F_REPLACE) === 0) {
      request.reason = isV4 ? 'ipv4: Address already assigned' : 'IPv6: address already assigned'
      return -EEXIST
    }
    known.flags = (known.flags & ~SETTABLE) | (flagsOf(request, attributes) & SETTABLE)
    known.priority = attributes.u32(IFA_RT_PRIORITY) ?? known.priority
    known.setLifetimes(stack, valid, preferred)
    stack.listener?.addressChanged(known, false)
    return 0
  }
  if (!isV4 && (request.flags & (NLM_F_CREATE | NLM_F_REPLACE)) === NLM_F_REPLACE) return -ENOENT
  const entry = new InterfaceAddress(device, local, length)
  entry.peer = peer
  entry.flags = (flagsOf(request, attributes) & SETTABLE) | (valid === FOREVER ? IFA_F_PERMANENT : 0)
  if (isV4) {
    const broadcast = readAddress(attributes.get(IFA_BROADCAST), AF_INET)
    if (broadcast !== undefined && !broadcast.equals(V4_ANY)) entry.broadcast = broadcast
    entry.scope = request.view.getUint8(IFADDRMSG.ifa_scope)
    entry.label = attributes.string(IFA_LABEL) ?? device.name
  }
  entry.priority = attributes.u32(IFA_RT_PRIORITY) ?? 0
  entry.protocol = attributes.u8(IFA_PROTO) ?? 0
  const status = stack.addresses.add(entry)
  if (status === 0 && (valid !== FOREVER || preferred !== FOREVER))
    entry.setLifetimes(stack, valid, preferred)
  return status
}

function flagsOf(request: NetlinkRequest, attributes: Attributes): number {
  return attributes.u32(IFA_FLAGS) ?? request.view.getUint8(IFADDRMSG.ifa_flags)
}
function sameAddress(a: IpAddress | undefined, b: IpAddress | undefined): boolean {
  return a === undefined || b === undefined ? a === b : a.equals(b)
}

export function deleteAddress(stack: IpStack, request: NetlinkRequest, family: number): Status {
  if (request.body.length < IFADDRMSG.size) return -EINVAL
  const { view } = request
  const attributes = new Attributes(request.body, IFADDRMSG.size)
  const device = stack.devices.byIndex(view.getUint32(IFADDRMSG.ifa_index, true))
  if (device === undefined) {
    request.reason = family === AF_INET ? 'ipv4: Device not found' : 'IPv6: Unable to find the interface'
    return -ENODEV
  }
  const local = readAddress(attributes.get(IFA_LOCAL), family)
  const whole = readAddress(attributes.get(IFA_ADDRESS), family)
  const label = attributes.string(IFA_LABEL)
  const length = view.getUint8(IFADDRMSG.ifa_prefixlen)
  if (family === AF_INET6 && local === undefined && whole === undefined) return -EINVAL
  for (const entry of stack.addresses.of(device)) {
    if (entry.address.isV4 !== (family === AF_INET)) continue
    if (family === AF_INET6) {
      if (entry.length !== length || !entry.address.equals((local ?? whole)!)) continue
    } else {
      if (local !== undefined && !entry.address.equals(local)) continue
      if (label !== undefined && entry.label !== label) continue
      const prefix = entry.prefixAddress
      if (whole !== undefined && (entry.length !== length || !prefix.equals(whole))) continue
    }
    return stack.addresses.remove(entry)
  }
  if (family === AF_INET) request.reason = 'ipv4: Address not found'
  return -EADDRNOTAVAIL
}

export function announceAddress(stack: IpStack, entry: InterfaceAddress, gone: boolean): Uint8Array {
  const writer = new MessageWriter()
  writeAddress(writer, entry, gone ? RTM_DELADDR : RTM_NEWADDR, 0, 0, 0, stack.runtime.now())
  return writer.take()
}
