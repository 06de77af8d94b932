/** getsockopt(2) and setsockopt(2) of level SOL_IP: ip(7). do_ip_setsockopt. */
import {
  AF_INET,
  CAP_NET_ADMIN,
  CAP_NET_RAW,
  IP_ADD_MEMBERSHIP,
  IP_ADD_SOURCE_MEMBERSHIP,
  IP_BIND_ADDRESS_NO_PORT,
  IP_BLOCK_SOURCE,
  IP_CHECKSUM,
  IP_DROP_MEMBERSHIP,
  IP_DROP_SOURCE_MEMBERSHIP,
  IP_FREEBIND,
  IP_HDRINCL,
  IP_IPSEC_POLICY,
  IP_LOCAL_PORT_RANGE,
  IP_MINTTL,
  IP_MSFILTER,
  IP_MTU,
  IP_MTU_DISCOVER,
  IP_MULTICAST_ALL,
  IP_MULTICAST_IF,
  IP_MULTICAST_LOOP,
  IP_MULTICAST_TTL,
  IP_NODEFRAG,
  IP_OPTIONS,
  IP_PASSSEC,
  IP_PKTINFO,
  IP_PKTOPTIONS,
  IP_PMTUDISC_OMIT,
  IP_PROTOCOL,
  IP_RECVERR,
  IP_RECVERR_RFC4884,
  IP_RECVFRAGSIZE,
  IP_RECVOPTS,
  IP_RECVORIGDSTADDR,
  IP_RECVTOS,
  IP_RECVTTL,
  IP_RETOPTS,
  IP_ROUTER_ALERT,
  IP_TOS,
  IP_TRANSPARENT,
  IP_TTL,
  IP_UNBLOCK_SOURCE,
  IP_UNICAST_IF,
  IP_XFRM_POLICY,
  MCAST_BLOCK_SOURCE,
  MCAST_JOIN_GROUP,
  MCAST_JOIN_SOURCE_GROUP,
  MCAST_LEAVE_GROUP,
  MCAST_LEAVE_SOURCE_GROUP,
  MCAST_MSFILTER,
  MCAST_UNBLOCK_SOURCE,
  SO_ORIGINAL_DST,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_STREAM,
} from '../../abi/constants.ts'
import { EADDRNOTAVAIL, EINVAL, ENOPROTOOPT, ENOTCONN, EPERM, EPROTO } from '../../abi/errno.ts'
import { IP_MREQN } from '../../abi/layout.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import { IpAddress, V4_ANY } from '../address.ts'
import { setMulticast } from './multicast-options.ts'
import { intBytes } from './option-bytes.ts'
import { originalDestination } from './original-destination.ts'
import type { InetSocket } from './socket.ts'
import { streamPacketOptions } from './stream-packet-options.ts'

/** Those that are 0 or 1. */
const SWITCHES: ReadonlySet<number> = new Set([
  IP_PKTINFO,
  IP_RECVTTL,
  IP_RECVTOS,
  IP_RECVOPTS,
  IP_RETOPTS,
  IP_RECVORIGDSTADDR,
  IP_CHECKSUM,
  IP_PASSSEC,
  IP_RECVFRAGSIZE,
  IP_RECVERR,
  IP_BIND_ADDRESS_NO_PORT,
  IP_FREEBIND,
  IP_MULTICAST_LOOP,
])
/** Those for which no value is refused as too short a one. */
const NEED_VALUE: ReadonlySet<number> = new Set([
  IP_TTL,
  IP_MULTICAST_TTL,
  IP_MULTICAST_LOOP,
  IP_MULTICAST_ALL,
  IP_MINTTL,
  IP_FREEBIND,
  IP_TRANSPARENT,
])
const MEMBERSHIPS: ReadonlySet<number> = new Set([
  IP_ADD_MEMBERSHIP,
  IP_DROP_MEMBERSHIP,
  IP_ADD_SOURCE_MEMBERSHIP,
  IP_DROP_SOURCE_MEMBERSHIP,
  IP_BLOCK_SOURCE,
  IP_UNBLOCK_SOURCE,
  IP_MSFILTER,
  MCAST_JOIN_GROUP,
  MCAST_LEAVE_GROUP,
  MCAST_JOIN_SOURCE_GROUP,
  MCAST_LEAVE_SOURCE_GROUP,
  MCAST_BLOCK_SOURCE,
  MCAST_UNBLOCK_SOURCE,
  MCAST_MSFILTER,
])
/** The low bits of the type of service belong to congestion notification, which a stream does itself. */
const ECN_MASK = 3
/** IP_MAX_MTU */
const MAX_MTU = 65535
/** RFC 791. */
const IPOPT_END = 0
const IPOPT_NOOP = 1
const IPOPT_LSRR = 131
const IPOPT_SSRR = 137

export function setIpOption(socket: InetSocket, task: Task, name: number, value: Uint8Array): Status {
  const { settings } = socket
  if (MEMBERSHIPS.has(name)) {
    const joins = name === IP_ADD_MEMBERSHIP || name === IP_DROP_MEMBERSHIP
    return joins && socket.type === SOCK_STREAM ? -EPROTO : setMulticast(socket, task, true, name, value)
  }
  if (name === IP_OPTIONS) return setIpOptions(socket, value)
  if (name === IP_MULTICAST_IF) return setMulticastInterface(socket, value)
  if (name === IP_UNICAST_IF) return setUnicastInterface(socket, value)
  if (value.length === 0 && NEED_VALUE.has(name)) return -EINVAL
  const view = new DataView(value.buffer, value.byteOffset, value.length)
  const number = value.length >= 4 ? view.getInt32(0, true) : value.length > 0 ? value[0] : 0
  if (SWITCHES.has(name)) {
    if (name === IP_RECVFRAGSIZE && socket.type !== SOCK_DGRAM && socket.type !== SOCK_RAW) return -EINVAL
    settings.setV4(name, number !== 0 ? 1 : 0)
    if (name === IP_RECVERR && number === 0) socket.errors.clear()
    socket.settingsChanged()
    return 0
  }
  switch (name) {
    case IP_TTL:
      if (number !== -1 && (number < 1 || number > 255)) return -EINVAL
      break
    case IP_TOS:
      settings.setV4(
        name,
        socket.type === SOCK_STREAM
          ? (number & 0xff & ~ECN_MASK) | (settings.v4(IP_TOS) & ECN_MASK)
          : number & 0xff,
      )
      socket.settingsChanged()
      return 0
    case IP_MTU_DISCOVER:
      if (number < 0 || number > IP_PMTUDISC_OMIT) return -EINVAL
      break
    case IP_MULTICAST_TTL:
      if (socket.type === SOCK_STREAM || number < -1 || number > 255) return -EINVAL
      settings.setV4(name, number === -1 ? 1 : number)
      socket.settingsChanged()
      return 0
    case IP_MULTICAST_ALL:
    case IP_RECVERR_RFC4884:
      if (number !== 0 && number !== 1) return -EINVAL
      break
    case IP_MINTTL:
      if (number < 0 || number > 255) return -EINVAL
      break
    case IP_HDRINCL:
    case IP_NODEFRAG:
      if (socket.type !== SOCK_RAW) return -ENOPROTOOPT
      settings.setV4(name, number !== 0 ? 1 : 0)
      return 0
    case IP_TRANSPARENT:
      if (number !== 0 && !privileged(socket, task)) return -EPERM
      settings.setV4(name, number !== 0 ? 1 : 0)
      socket.settingsChanged()
      return 0
    case IP_LOCAL_PORT_RANGE: {
      if (value.length !== 4) return -EINVAL
      const low = number & 0xffff
      const high = number >>> 16
      if (low !== 0 && high !== 0 && low > high) return -EINVAL
      break
    }
    case IP_ROUTER_ALERT:
      return socket.type === SOCK_RAW ? -ENOPROTOOPT : -EINVAL
    case IP_IPSEC_POLICY:
    case IP_XFRM_POLICY:
      return socket.net.capable(task, CAP_NET_ADMIN) ? -ENOPROTOOPT : -EPERM
    default:
      return -ENOPROTOOPT
  }
  settings.setV4(name, number)
  socket.settingsChanged()
  return 0
}

function privileged(socket: InetSocket, task: Task): boolean {
  return socket.net.capable(task, CAP_NET_RAW) || socket.net.capable(task, CAP_NET_ADMIN)
}

/** Options of the IP header: up to 40 bytes, padded to words. */
function setIpOptions(socket: InetSocket, value: Uint8Array): Status {
  if (value.length > 40) return -EINVAL
  const padded = new Uint8Array(Math.ceil(value.length / 4) * 4)
  padded.set(value)
  if (!wellFormed(padded)) return -EINVAL
  socket.settings.ipOptions = padded
  socket.settingsChanged()
  return 0
}

/** Options one after the other, without source routes, which no router obeys any more. */
function wellFormed(options: Uint8Array): boolean {
  for (let at = 0; at < options.length; ) {
    const kind = options[at]
    if (kind === IPOPT_END) return true
    if (kind === IPOPT_NOOP) {
      at++
      continue
    }
    const length = options[at + 1] ?? 0
    if (length < 2 || at + length > options.length || kind === IPOPT_LSRR || kind === IPOPT_SSRR) return false
    at += length
  }
  return true
}

function setMulticastInterface(socket: InetSocket, value: Uint8Array): Status {
  if (socket.type === SOCK_STREAM || value.length < 4) return -EINVAL
  const { settings, net } = socket
  const view = new DataView(value.buffer, value.byteOffset, value.length)
  // struct in_addr, struct ip_mreq or struct ip_mreqn.
  const index = value.length >= IP_MREQN.size ? view.getInt32(IP_MREQN.imr_ifindex, true) : 0
  const address = IpAddress.v4(view.getUint32(value.length >= 8 ? IP_MREQN.imr_address : 0))
  if (index === 0) {
    if (address.isAny) {
      settings.multicastDevice4 = 0
      settings.multicastAddress = V4_ANY
      socket.settingsChanged()
      return 0
    }
    const entry = net.ip.addresses.find(address)
    if (entry === undefined) return -EADDRNOTAVAIL
    if (socket.boundDevice !== 0 && entry.device.index !== socket.boundDevice) return -EINVAL
    settings.multicastDevice4 = entry.device.index
  } else {
    if (net.ip.devices.byIndex(index) === undefined) return -EADDRNOTAVAIL
    if (socket.boundDevice !== 0 && index !== socket.boundDevice) return -EINVAL
    settings.multicastDevice4 = index
  }
  settings.multicastAddress = address
  socket.settingsChanged()
  return 0
}

function setUnicastInterface(socket: InetSocket, value: Uint8Array): Status {
  if (value.length !== 4) return -EINVAL
  // In network byte order.
  const index = new DataView(value.buffer, value.byteOffset, 4).getUint32(0)
  if (index !== 0 && socket.net.ip.devices.byIndex(index) === undefined) return -EADDRNOTAVAIL
  if (index !== 0 && socket.boundDevice !== 0 && index !== socket.boundDevice) return -EINVAL
  socket.settings.setV4(IP_UNICAST_IF, index)
  socket.settingsChanged()
  return 0
}

export function getIpOption(socket: InetSocket, name: number, length: number): OrErrno<Uint8Array> {
  const { settings } = socket
  switch (name) {
    case IP_OPTIONS:
      return settings.ipOptions
    case IP_ROUTER_ALERT:
      return shortInt(0, length)
    case IP_TTL:
      return shortInt(
        settings.v4(IP_TTL) === -1 ? socket.net.ip.sysctls.ipv4.ip_default_ttl : settings.v4(IP_TTL),
        length,
      )
    case IP_MTU: {
      const route = socket.connectedRoute()
      return failed(route) ? -ENOTCONN : intBytes(Math.min(route.mtu, MAX_MTU))
    }
    case SO_ORIGINAL_DST:
      return originalDestination(socket, AF_INET, length)
    case IP_PKTOPTIONS:
      return streamPacketOptions(socket, length)
    case IP_MULTICAST_IF:
      return settings.multicastAddress.bytes()
    case IP_PROTOCOL:
      // inet_num: what stands where others have their port.
      return intBytes(socket.localPort)
    case IP_UNICAST_IF: {
      const bytes = new Uint8Array(4)
      new DataView(bytes.buffer).setUint32(0, settings.v4(name))
      return bytes
    }
    case IP_LOCAL_PORT_RANGE:
      return intBytes(settings.v4(name))
    case IP_HDRINCL:
    case IP_NODEFRAG:
      if (socket.type !== SOCK_RAW && name === IP_HDRINCL) return shortInt(0, length)
      return shortInt(settings.v4(name), length)
    case IP_TOS:
    case IP_MTU_DISCOVER:
    case IP_MULTICAST_TTL:
    case IP_MULTICAST_ALL:
    case IP_RECVERR_RFC4884:
    case IP_MINTTL:
    case IP_TRANSPARENT:
      return shortInt(settings.v4(name), length)
  }
  return SWITCHES.has(name) ? shortInt(settings.v4(name), length) : -ENOPROTOOPT
}

/** An int, or a byte where there is only room for less and it fits. */
function shortInt(value: number, length: number): Uint8Array {
  if (length < 4 && length > 0 && value >= 0 && value <= 255) return new Uint8Array([value])
  return intBytes(value)
}
