/** ioctl(2) about interfaces, addresses, routes and neighbours: netdevice(7), of any socket. */

import {
  AF_INET,
  CAP_NET_ADMIN,
  NUD_PERMANENT,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RTN_UNICAST,
  RTN_UNREACHABLE,
  SIOCADDMULTI,
  SIOCADDRT,
  SIOCDARP,
  SIOCDELMULTI,
  SIOCDELRT,
  SIOCETHTOOL,
  SIOCGARP,
  SIOCGIFBRDADDR,
  SIOCGIFCONF,
  SIOCGIFDSTADDR,
  SIOCGIFFLAGS,
  SIOCGIFHWADDR,
  SIOCGIFINDEX,
  SIOCGIFMAP,
  SIOCGIFMETRIC,
  SIOCGIFMTU,
  SIOCGIFNAME,
  SIOCGIFNETMASK,
  SIOCGIFTXQLEN,
  SIOCSARP,
  SIOCSIFADDR,
  SIOCSIFBRDADDR,
  SIOCSIFFLAGS,
  SIOCSIFHWADDR,
  SIOCSIFMETRIC,
  SIOCSIFMTU,
  SIOCSIFNAME,
  SIOCSIFNETMASK,
  SIOCSIFTXQLEN,
} from '../../abi/constants.ts'
import {
  EADDRNOTAVAIL,
  EFAULT,
  EINVAL,
  ENETDOWN,
  ENOBUFS,
  ENODEV,
  ENOTTY,
  ENXIO,
  EOPNOTSUPP,
  EPERM,
  EPFNOSUPPORT,
  ESRCH,
} from '../../abi/errno.ts'
import { ARPREQ, IFCONF, IFREQ, RTENTRY, SOCKADDR_IN } from '../../abi/layout.ts'
import { failed, type Status } from '../../base/result.ts'
import { take64 } from '../../base/words.ts'
import type { NetNamespace } from '../../kernel/namespaces.ts'
import type { IoctlContext } from '../../vfs/file.ts'
import { IpAddress, maskWord } from '../address.ts'
import { IFNAMSIZ, INTERFACE_CHANGES, INTERFACE_REQUESTS, interfaceName } from '../interface-requests.ts'
import { FibRoute } from '../ip/fib.ts'
import { Flow } from '../ip/flow.ts'
import { InterfaceAddress } from '../ip/interface-address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { setFlags } from '../netlink/route/link.ts'
import { socketAddress } from './address.ts'
import { bridgeIoctl, isBridgeRequest } from './bridge-ioctl.ts'
import { ethtool } from './ethtool.ts'

/** More than all of the interfaces that there can be. */
const MAX_LIST = 1 << 20
const RTF_UP = 1
const RTF_GATEWAY = 2
const RTF_HOST = 4
const RTF_REJECT = 0x200
const ATF_COM = 2
const ATF_PERM = 4

export function stackIoctl(
  ns: NetNamespace,
  stack: IpStack,
  context: IoctlContext,
  request: number,
  argument: number,
): number {
  const mayChange = context.cred.capable(CAP_NET_ADMIN, ns.userNs)
  switch (request) {
    case SIOCGIFCONF:
      return listInterfaces(stack, context, argument)
    case SIOCGIFNAME:
      return nameOf(stack, context, argument)
    case SIOCADDRT:
    case SIOCDELRT:
      return mayChange ? changeRoute(stack, context, request, argument) : -EPERM
    case SIOCGARP:
    case SIOCSARP:
    case SIOCDARP:
      if (request !== SIOCGARP && !mayChange) return -EPERM
      return arpRequest(stack, context, request, argument)
    case SIOCETHTOOL:
      return ethtool(stack, context, argument, mayChange)
  }
  if (isBridgeRequest(request)) return mayChange ? bridgeIoctl(stack, context, request, argument) : -EPERM
  const changes = INTERFACE_CHANGES.has(request)
  if (!changes && !INTERFACE_REQUESTS.includes(request)) return -ENOTTY
  const record = new Uint8Array(IFREQ.size)
  if (context.copyIn(argument, record) < 0) return -EFAULT
  const label = interfaceName(record)
  const device = stack.devices.byName(label.split(':')[0])
  if (changes && !mayChange) return -EPERM
  if (device === undefined) return -ENODEV
  const view = new DataView(record.buffer)
  if (changes) return change(stack, device, label, request, record, view)
  const status = read(stack, device, label, request, record, view)
  return status < 0 ? status : context.copyOut(argument, record)
}

function read(
  stack: IpStack,
  device: NetDevice,
  label: string,
  request: number,
  record: Uint8Array,
  view: DataView,
): Status {
  const at = IFREQ.ifr_addr
  switch (request) {
    case SIOCGIFFLAGS:
      view.setUint16(at, device.shownFlags & 0xffff, true)
      return 0
    case SIOCGIFINDEX:
      view.setInt32(at, device.index, true)
      return 0
    case SIOCGIFMETRIC:
      view.setInt32(at, 0, true)
      return 0
    case SIOCGIFMTU:
      view.setInt32(at, device.mtu, true)
      return 0
    case SIOCGIFTXQLEN:
      view.setInt32(at, device.txQueueLength, true)
      return 0
    case SIOCGIFMAP:
      record.fill(0, at, at + 24)
      return 0
    case SIOCGIFHWADDR:
      record.fill(0, at, at + 16)
      view.setUint16(at, device.type, true)
      if (device.headerLength > 0) record.set(device.address, at + 2)
      return 0
  }
  const entry = addressOf(stack, device, label, view)
  if (entry === undefined) return -EADDRNOTAVAIL
  let address = entry.address
  if (request === SIOCGIFDSTADDR) address = entry.peer ?? entry.address
  else if (request === SIOCGIFBRDADDR) address = entry.broadcast ?? IpAddress.v4(0)
  else if (request === SIOCGIFNETMASK) address = IpAddress.v4(maskWord(entry.length))
  record.set(socketAddress(AF_INET, address, 0), at)
  return 0
}

/** The address that the label names; of several with that label the one that the record already holds. */
function addressOf(
  stack: IpStack,
  device: NetDevice,
  label: string,
  view: DataView,
): InterfaceAddress | undefined {
  const all = stack.addresses.of(device).filter(entry => entry.address.isV4 && entry.label === label)
  if (view.getUint16(IFREQ.ifr_addr, true) === AF_INET) {
    const wanted = view.getUint32(IFREQ.ifr_addr + SOCKADDR_IN.sin_addr)
    const exact = all.find(entry => entry.address.w3 === wanted)
    if (exact !== undefined) return exact
  }
  return all[0]
}

function change(
  stack: IpStack,
  device: NetDevice,
  label: string,
  request: number,
  record: Uint8Array,
  view: DataView,
): Status {
  const at = IFREQ.ifr_addr
  switch (request) {
    case SIOCSIFFLAGS:
      // An alias (eth0:1) that is set down goes away.
      if (label !== device.name)
        return (view.getUint16(at, true) & 1) === 0 ? dropLabel(stack, device, label) : 0
      return setFlags(stack, device, (device.flags & ~0xffff) | view.getUint16(at, true))
    case SIOCSIFMETRIC:
      return -EOPNOTSUPP
    case SIOCSIFMTU:
      return stack.devices.setMtu(device, view.getInt32(at, true))
    case SIOCSIFTXQLEN:
      if (view.getInt32(at, true) < 0) return -EINVAL
      device.txQueueLength = view.getInt32(at, true)
      return 0
    case SIOCSIFNAME:
      return stack.devices.rename(device, interfaceName(record, at))
    case SIOCSIFHWADDR:
      if (view.getUint16(at, true) !== device.type) return -EINVAL
      device.addressSet = true
      return stack.devices.setAddress(device, record.subarray(at + 2, at + 8))
    case SIOCADDMULTI:
    case SIOCDELMULTI:
      return -EOPNOTSUPP
  }
  return changeAddress(stack, device, label, request, view)
}

function dropLabel(stack: IpStack, device: NetDevice, label: string): Status {
  const entry = stack.addresses.of(device).find(each => each.address.isV4 && each.label === label)
  return entry === undefined ? -EADDRNOTAVAIL : stack.addresses.remove(entry)
}

function changeAddress(
  stack: IpStack,
  device: NetDevice,
  label: string,
  request: number,
  view: DataView,
): Status {
  const at = IFREQ.ifr_addr
  if (view.getUint16(at, true) !== AF_INET) return -EINVAL
  const address = IpAddress.v4(view.getUint32(at + SOCKADDR_IN.sin_addr))
  const old = stack.addresses.of(device).find(entry => entry.address.isV4 && entry.label === label)
  if (request === SIOCSIFADDR) {
    if (address.isMulticast || address.isLimitedBroadcast) return -EINVAL
    if (old !== undefined) {
      if (old.address.equals(address)) return 0
      stack.addresses.remove(old)
    }
    if (address.isAny) return 0
    const entry = new InterfaceAddress(device, address, classLength(address))
    entry.label = label
    if (entry.length < 31 && !device.isLoopback)
      entry.broadcast = IpAddress.v4(address.w3 | ~maskWord(entry.length))
    const status = stack.addresses.add(entry)
    // ifconfig's address makes the interface go up.
    return status < 0 ? status : stack.devices.setUp(device, true)
  }
  if (old === undefined) return -EADDRNOTAVAIL
  let { length, broadcast, peer } = old
  if (request === SIOCSIFNETMASK) {
    length = Math.clz32(~address.w3)
    if (maskWord(length) >>> 0 !== address.w3) return -EINVAL
    const before = IpAddress.v4(old.address.w3 | ~maskWord(old.length))
    if (broadcast?.equals(before))
      broadcast = length < 31 ? IpAddress.v4(old.address.w3 | ~maskWord(length)) : undefined
  } else if (request === SIOCSIFBRDADDR) {
    broadcast = address
  } else {
    peer = address
    length = 32
  }
  stack.addresses.remove(old)
  const entry = new InterfaceAddress(device, old.address, length)
  entry.label = label
  entry.broadcast = broadcast
  entry.peer = peer
  return stack.addresses.add(entry)
}

/** inet_abc_len. */
function classLength(address: IpAddress): number {
  const first = address.w3 >>> 24
  if (first < 128) return 8
  return first < 192 ? 16 : 24
}

/** struct ifconf: each IPv4 address with its label, as many as there is room for; without a buffer, how long all are. */
function listInterfaces(stack: IpStack, context: IoctlContext, argument: number): number {
  const conf = new Uint8Array(IFCONF.size)
  if (context.copyIn(argument, conf) < 0) return -EFAULT
  const view = new DataView(conf.buffer)
  const room = view.getInt32(IFCONF.ifc_len, true)
  const at = take64(view, IFCONF.ifc_buf)
  if (at !== 0 && room < 0) return -EINVAL
  const records: Uint8Array[] = []
  for (const device of [...stack.devices.all].sort((a, b) => a.index - b.index)) {
    for (const entry of stack.addresses.of(device)) {
      if (!entry.address.isV4) continue
      const record = new Uint8Array(IFREQ.size)
      putName(record, entry.label)
      record.set(socketAddress(AF_INET, entry.address, 0), IFREQ.ifr_addr)
      records.push(record)
    }
  }
  const count =
    at === 0 ? records.length : Math.min(records.length, Math.floor(Math.min(room, MAX_LIST) / IFREQ.size))
  if (at !== 0) {
    for (let i = 0; i < count; i++) if (context.copyOut(at + i * IFREQ.size, records[i]) < 0) return -EFAULT
  }
  view.setInt32(IFCONF.ifc_len, count * IFREQ.size, true)
  return context.copyOut(argument, conf)
}

function putName(record: Uint8Array, name: string): void {
  for (let i = 0; i < name.length && i < IFNAMSIZ - 1; i++) record[i] = name.charCodeAt(i)
}

function nameOf(stack: IpStack, context: IoctlContext, argument: number): number {
  const record = new Uint8Array(IFREQ.size)
  if (context.copyIn(argument, record) < 0) return -EFAULT
  const index = new DataView(record.buffer).getInt32(IFREQ.ifr_ifindex, true)
  const device = stack.devices.byIndex(index)
  if (device === undefined) return -ENODEV
  record.fill(0, 0, IFNAMSIZ)
  putName(record, device.name)
  return context.copyOut(argument, record)
}

/** struct rtentry: route(8). */
function changeRoute(stack: IpStack, context: IoctlContext, request: number, argument: number): number {
  const record = new Uint8Array(RTENTRY.size)
  if (context.copyIn(argument, record) < 0) return -EFAULT
  const view = new DataView(record.buffer)
  const familyAt = (at: number) => view.getUint16(at, true)
  const wordAt = (at: number) => view.getUint32(at + SOCKADDR_IN.sin_addr)
  if (familyAt(RTENTRY.rt_dst) !== AF_INET) return -EINVAL
  const flags = view.getUint16(RTENTRY.rt_flags, true)
  const mask = (flags & RTF_HOST) !== 0 ? 0xffffffff : wordAt(RTENTRY.rt_genmask)
  const length = mask === 0 ? 0 : 32 - (31 - Math.clz32(mask & -mask))
  if (maskWord(length) !== mask) return -EINVAL
  const destination = IpAddress.v4(wordAt(RTENTRY.rt_dst))
  if (!destination.masked(length).equals(destination)) return -EINVAL
  const device = deviceNamed(stack, context, view)
  if (typeof device === 'number') return device
  const route = new FibRoute(destination, length)
  route.type = RTN_UNICAST
  route.priority = Math.max(view.getInt16(RTENTRY.rt_metric, true) - 1, 0)
  let gateway: IpAddress | undefined
  if ((flags & RTF_GATEWAY) !== 0 && familyAt(RTENTRY.rt_gateway) === AF_INET)
    gateway = IpAddress.v4(wordAt(RTENTRY.rt_gateway))
  if (gateway?.isAny) gateway = undefined
  if (request === SIOCDELRT) {
    for (const known of stack.fib4.table(route.table).at(destination, length)) {
      // One that rejects is of no device.
      if (device !== undefined && (flags & RTF_REJECT) === 0 && !known.uses(device)) continue
      if (gateway !== undefined && !known.nextHops.some(hop => hop.gateway?.equals(gateway))) continue
      return stack.removeRoute(known)
    }
    return -ESRCH
  }
  if ((flags & RTF_REJECT) !== 0) {
    route.scope = RT_SCOPE_HOST
    route.type = RTN_UNREACHABLE
    return stack.addRoute(route, { exclusive: true })
  }
  let out = device
  if (gateway !== undefined) {
    const flow = new Flow()
    flow.destination = gateway
    const found = stack.ip.routeFor(flow)
    if (failed(found)) return found
    out ??= found.device
  } else {
    route.scope = RT_SCOPE_LINK
  }
  if (out === undefined) return -ENODEV
  if (!out.up) return -ENETDOWN
  route.nextHops.push({ device: out, gateway, weight: 1, flags: 0 })
  return (flags & RTF_UP) === 0 ? 0 : stack.addRoute(route, { exclusive: true })
}

/** rt_dev: a pointer to the device's name. */
function deviceNamed(stack: IpStack, context: IoctlContext, view: DataView): NetDevice | undefined | number {
  const at = take64(view, RTENTRY.rt_dev)
  if (at === 0) return undefined
  const name = new Uint8Array(IFNAMSIZ)
  if (context.copyIn(at, name) < 0) return -EFAULT
  return stack.devices.byName(interfaceName(name).split(':')[0]) ?? -ENODEV
}

/** struct arpreq: arp(7). */
function arpRequest(stack: IpStack, context: IoctlContext, request: number, argument: number): number {
  const record = new Uint8Array(ARPREQ.size)
  if (context.copyIn(argument, record) < 0) return -EFAULT
  const view = new DataView(record.buffer)
  if (view.getUint16(ARPREQ.arp_pa, true) !== AF_INET) return -EPFNOSUPPORT
  const address = IpAddress.v4(view.getUint32(ARPREQ.arp_pa + SOCKADDR_IN.sin_addr))
  const name = interfaceName(record, ARPREQ.arp_dev)
  const device = name === '' ? neighbourDevice(stack, address, request) : stack.devices.byName(name)
  if (device === undefined) return name === '' ? -ENXIO : -ENODEV
  const entry = stack.neighbours4.find(device, address)
  if (request === SIOCSARP) {
    const made = entry ?? stack.neighbours4.get(device, address)
    if (made === undefined) return -ENOBUFS
    made.update(record.slice(ARPREQ.arp_ha + 2, ARPREQ.arp_ha + 8), NUD_PERMANENT, { override: true })
    return 0
  }
  if (entry === undefined || (request === SIOCGARP && !entry.valid)) return -ENXIO
  if (request === SIOCDARP) {
    stack.neighbours4.remove(entry)
    return 0
  }
  view.setUint16(ARPREQ.arp_ha, device.type, true)
  record.set(entry.hardware, ARPREQ.arp_ha + 2)
  view.setInt32(ARPREQ.arp_flags, ATF_COM | (entry.state === NUD_PERMANENT ? ATF_PERM : 0), true)
  return context.copyOut(argument, record)
}

/** A new entry is of the device that leads there. */
function neighbourDevice(stack: IpStack, address: IpAddress, request: number): NetDevice | undefined {
  if (request === SIOCSARP) {
    const flow = new Flow()
    flow.destination = address
    const route = stack.ip.routeFor(flow)
    return failed(route) ? undefined : route.device
  }
  for (const entry of stack.neighbours4.neighbours()) if (entry.address.equals(address)) return entry.device
  return undefined
}
