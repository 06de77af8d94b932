/** RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH: rtnetlink(7), `ip neighbour`. */
import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  NDA_CACHEINFO,
  NDA_DST,
  NDA_IFINDEX,
  NDA_LLADDR,
  NDA_MASTER,
  NDA_PROBES,
  NDA_PROTOCOL,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_DUMP_FILTERED,
  NLM_F_EXCL,
  NLM_F_MULTI,
  NLM_F_REPLACE,
  NTF_PROXY,
  NTF_ROUTER,
  NTF_USE,
  NUD_FAILED,
  NUD_NOARP,
  NUD_NONE,
  RTM_NEWNEIGH,
  RTN_MULTICAST,
  RTN_UNICAST,
} from '../../../abi/constants.ts'
import { EEXIST, EINVAL, ENOBUFS, ENODEV, ENOENT, EOPNOTSUPP } from '../../../abi/errno.ts'
import { NDA_CACHEINFO as CACHEINFO, NDMSG } from '../../../abi/layout.ts'
import type { Status } from '../../../base/result.ts'
import { solicitedNode } from '../../ip/ndp.ts'
import { Neighbour, type NeighbourTable } from '../../ip/neighbour.ts'
import type { NeighbourProxy } from '../../ip/neighbour-proxies.ts'
import type { IpStack } from '../../ip-stack.ts'
import { Attributes, MessageWriter } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import { readAddress } from './address.ts'

/** Ages are told in hundredths of a second. */
const TICK = 1e7

export function writeNeighbour(
  writer: MessageWriter,
  entry: Neighbour,
  type: number,
  flags: number,
  sequence: number,
  port: number,
  now: number,
): void {
  writer.start(type, flags, sequence, port)
  const at = writer.struct(NDMSG.size)
  writer.set8(at + NDMSG.ndm_family, entry.address.isV4 ? AF_INET : AF_INET6)
  writer.set32(at + NDMSG.ndm_ifindex, entry.device.index)
  writer.set16(at + NDMSG.ndm_state, entry.state)
  writer.set8(at + NDMSG.ndm_flags, (entry.flags & 0xff) | (entry.isRouter ? NTF_ROUTER : 0))
  writer.set8(at + NDMSG.ndm_type, entry.address.isMulticast ? RTN_MULTICAST : RTN_UNICAST)
  writer.bytes(NDA_DST, entry.address.bytes())
  if (entry.valid) writer.bytes(NDA_LLADDR, entry.hardware)
  writer.u32(NDA_PROBES, entry.probes)
  const info = writer.attribute(NDA_CACHEINFO, CACHEINFO.size)
  const age = (since: number) => Math.max(Math.floor((now - since) / TICK), 0)
  writer.set32(info + CACHEINFO.ndm_confirmed, age(entry.confirmed))
  writer.set32(info + CACHEINFO.ndm_used, age(entry.used))
  writer.set32(info + CACHEINFO.ndm_updated, age(entry.updated))
  writer.end()
}

export function getNeighbours(stack: IpStack, request: NetlinkRequest, family: number): Status | Dump {
  if ((request.flags & NLM_F_DUMP) === 0) return getOne(stack, request, family)
  let device = 0
  let master = 0
  let proxies = false
  if (request.body.length >= NDMSG.size) {
    const attributes = new Attributes(request.body, NDMSG.size)
    device = attributes.u32(NDA_IFINDEX) ?? 0
    master = attributes.u32(NDA_MASTER) ?? 0
    proxies = (request.view.getUint8(NDMSG.ndm_flags) & NTF_PROXY) !== 0
  } else if (request.socket.strict) {
    request.reason = 'Invalid header for neighbor dump request'
    return -EINVAL
  }
  const flags = device !== 0 || master !== 0 ? NLM_F_DUMP_FILTERED : 0
  const found: (Neighbour | NeighbourProxy)[] = []
  for (const isV4 of family === AF_UNSPEC ? [true, false] : [family === AF_INET]) {
    if (proxies) {
      for (const proxy of (isV4 ? stack.neighbours4 : stack.neighbours6).proxies.all())
        if (device === 0 || proxy.device.index === device) found.push(proxy)
      continue
    }
    for (const entry of (isV4 ? stack.neighbours4 : stack.neighbours6).neighbours()) {
      if (device !== 0 && entry.device.index !== device) continue
      if (master !== 0 && entry.device.master?.index !== master) continue
      found.push(entry)
    }
  }
  const now = stack.runtime.now()
  const { sequence, port } = request
  return new ListDump(
    found,
    (writer, entry) => {
      if (!(entry instanceof Neighbour))
        writeProxy(writer, entry, RTM_NEWNEIGH, NLM_F_MULTI | flags, sequence, port)
      else if (!entry.gone)
        writeNeighbour(writer, entry, RTM_NEWNEIGH, NLM_F_MULTI | flags, sequence, port, now)
    },
    flags,
  )
}

function getOne(stack: IpStack, request: NetlinkRequest, family: number): Status {
  const entry = find(stack, request, family)
  if (typeof entry === 'number') return entry
  if (entry.found === undefined) return -ENOENT
  const writer = new MessageWriter()
  writeNeighbour(writer, entry.found, RTM_NEWNEIGH, 0, request.sequence, request.port, stack.runtime.now())
  return request.answer(writer)
}

function find(stack: IpStack, request: NetlinkRequest, family: number) {
  const { body, view } = request
  if (body.length < NDMSG.size) return -EINVAL
  if (family !== AF_INET && family !== AF_INET6) return -EOPNOTSUPP
  const attributes = new Attributes(body, NDMSG.size)
  const address = readAddress(attributes.get(NDA_DST), family)
  if (address === undefined) {
    request.reason = 'Network address not specified'
    return -EINVAL
  }
  const index = view.getUint32(NDMSG.ndm_ifindex, true)
  const device = stack.devices.byIndex(index)
  if (device === undefined) return index === 0 ? -EINVAL : -ENODEV
  const table = family === AF_INET ? stack.neighbours4 : stack.neighbours6
  return { attributes, address, device, table, found: table.find(device, address) }
}

export function newNeighbour(stack: IpStack, request: NetlinkRequest, family: number): Status {
  const parsed = find(stack, request, family)
  if (typeof parsed === 'number') return parsed
  const { attributes, address, device, table, found } = parsed
  const flags = request.view.getUint8(NDMSG.ndm_flags)
  if ((flags & NTF_PROXY) !== 0)
    return addProxy(stack, table, { device, address, flags, protocol: attributes.u8(NDA_PROTOCOL) ?? 0 })
  const state = request.view.getUint16(NDMSG.ndm_state, true)
  const hardware = attributes.get(NDA_LLADDR)
  if (hardware !== undefined && hardware.length < device.address.length) {
    request.reason = 'Invalid link address'
    return -EINVAL
  }
  if (found === undefined) {
    if ((request.flags & NLM_F_CREATE) === 0) return -ENOENT
  } else if ((request.flags & NLM_F_EXCL) !== 0) {
    return -EEXIST
  }
  const entry = found ?? table.get(device, address)
  if (entry === undefined) return -ENOBUFS
  if ((flags & NTF_USE) !== 0) {
    entry.probe()
    return 0
  }
  entry.flags = flags & ~NTF_ROUTER
  const override = found === undefined || (request.flags & NLM_F_REPLACE) !== 0
  entry.update(hardware?.slice(0, 6), state === NUD_NONE ? NUD_NOARP : state, {
    override,
    router: family === AF_INET6 ? (flags & NTF_ROUTER) !== 0 : undefined,
  })
  return 0
}

export function deleteNeighbour(stack: IpStack, request: NetlinkRequest, family: number): Status {
  const parsed = find(stack, request, family)
  if (typeof parsed === 'number') return parsed
  const { table, found, device, address } = parsed
  if ((request.view.getUint8(NDMSG.ndm_flags) & NTF_PROXY) !== 0) {
    if (!address.isV4 && table.proxies.find(device, address) !== undefined)
      stack.multicast.leaveSolicited(device, solicitedNode(address))
    return table.proxies.remove(device, address)
  }
  if (found === undefined) return -ENOENT
  found.update(undefined, NUD_FAILED)
  table.remove(found)
  return 0
}

/** Who asks for it by IPv6 asks a group, which is to be listened to. */
function addProxy(stack: IpStack, table: NeighbourTable, proxy: NeighbourProxy): Status {
  const isNew = table.proxies.find(proxy.device, proxy.address) === undefined
  const status = table.proxies.set(proxy)
  if (status === 0 && isNew && !proxy.address.isV4)
    stack.multicast.joinSolicited(proxy.device, solicitedNode(proxy.address))
  return status
}

/** pneigh_fill_info */
function writeProxy(
  writer: MessageWriter,
  { address, device, flags, protocol }: NeighbourProxy,
  type: number,
  messageFlags: number,
  sequence: number,
  port: number,
): void {
  writer.start(type, messageFlags, sequence, port)
  const at = writer.struct(NDMSG.size)
  writer.set8(at + NDMSG.ndm_family, address.isV4 ? AF_INET : AF_INET6)
  writer.set32(at + NDMSG.ndm_ifindex, device.index)
  writer.set16(at + NDMSG.ndm_state, NUD_NONE)
  writer.set8(at + NDMSG.ndm_flags, flags | NTF_PROXY)
  writer.set8(at + NDMSG.ndm_type, RTN_UNICAST)
  writer.bytes(NDA_DST, address.bytes())
  if (protocol !== 0) writer.u8(NDA_PROTOCOL, protocol)
  writer.end()
}

export function announceNeighbour(stack: IpStack, entry: Neighbour, type: number): Uint8Array {
  const writer = new MessageWriter()
  writeNeighbour(writer, entry, type, 0, 0, 0, stack.runtime.now())
  return writer.take()
}
