/** getsockopt(2) and setsockopt(2) of level SOL_IPV6: ipv6(7). do_ipv6_setsockopt. */
import {
  AF_INET,
  AF_INET6,
  CAP_NET_ADMIN,
  CAP_NET_RAW,
  IP_PMTUDISC_OMIT,
  IP6T_SO_ORIGINAL_DST,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  IPV6_2292DSTOPTS,
  IPV6_2292HOPLIMIT,
  IPV6_2292HOPOPTS,
  IPV6_2292PKTINFO,
  IPV6_2292RTHDR,
  IPV6_ADD_MEMBERSHIP,
  IPV6_ADDR_PREFERENCES,
  IPV6_ADDRFORM,
  IPV6_AUTOFLOWLABEL,
  IPV6_DONTFRAG,
  IPV6_DROP_MEMBERSHIP,
  IPV6_DSTOPTS,
  IPV6_FLOWINFO,
  IPV6_FLOWINFO_SEND,
  IPV6_FREEBIND,
  IPV6_HDRINCL,
  IPV6_HOPOPTS,
  IPV6_MINHOPCOUNT,
  IPV6_MTU,
  IPV6_MTU_DISCOVER,
  IPV6_MULTICAST_ALL,
  IPV6_MULTICAST_HOPS,
  IPV6_MULTICAST_IF,
  IPV6_MULTICAST_LOOP,
  IPV6_PATHMTU,
  IPV6_PKTINFO,
  IPV6_PREFER_SRC_COA,
  IPV6_PREFER_SRC_HOME,
  IPV6_PREFER_SRC_PUBLIC,
  IPV6_PREFER_SRC_PUBTMP_DEFAULT,
  IPV6_PREFER_SRC_TMP,
  IPV6_RECVDSTOPTS,
  IPV6_RECVERR,
  IPV6_RECVERR_RFC4884,
  IPV6_RECVFRAGSIZE,
  IPV6_RECVHOPLIMIT,
  IPV6_RECVHOPOPTS,
  IPV6_RECVORIGDSTADDR,
  IPV6_RECVPATHMTU,
  IPV6_RECVPKTINFO,
  IPV6_RECVRTHDR,
  IPV6_RECVTCLASS,
  IPV6_ROUTER_ALERT,
  IPV6_ROUTER_ALERT_ISOLATE,
  IPV6_RTHDR,
  IPV6_RTHDRDSTOPTS,
  IPV6_TCLASS,
  IPV6_TRANSPARENT,
  IPV6_UNICAST_HOPS,
  IPV6_UNICAST_IF,
  IPV6_V6ONLY,
  MCAST_BLOCK_SOURCE,
  MCAST_JOIN_GROUP,
  MCAST_JOIN_SOURCE_GROUP,
  MCAST_LEAVE_GROUP,
  MCAST_LEAVE_SOURCE_GROUP,
  MCAST_MSFILTER,
  MCAST_UNBLOCK_SOURCE,
  SOCK_RAW,
  SOCK_STREAM,
} from '../../abi/constants.ts'
import { EADDRNOTAVAIL, EINVAL, ENODEV, ENOPROTOOPT, ENOTCONN, EPERM, EPROTO } from '../../abi/errno.ts'
import { IN6_PKTINFO, IPV6_MREQ, SOCKADDR_IN6 } from '../../abi/layout.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import { IpAddress } from '../address.ts'
import { socketAddress } from './address.ts'
import { setMulticast } from './multicast-options.ts'
import { intBytes, readInt } from './option-bytes.ts'
import { originalDestination } from './original-destination.ts'
import type { InetSocket } from './socket.ts'

const SWITCHES: ReadonlySet<number> = new Set([
  IPV6_RECVPKTINFO,
  IPV6_2292PKTINFO,
  IPV6_RECVHOPLIMIT,
  IPV6_2292HOPLIMIT,
  IPV6_RECVRTHDR,
  IPV6_2292RTHDR,
  IPV6_RECVHOPOPTS,
  IPV6_2292HOPOPTS,
  IPV6_RECVDSTOPTS,
  IPV6_2292DSTOPTS,
  IPV6_RECVTCLASS,
  IPV6_FLOWINFO,
  IPV6_RECVPATHMTU,
  IPV6_RECVORIGDSTADDR,
  IPV6_RECVFRAGSIZE,
  IPV6_DONTFRAG,
  IPV6_AUTOFLOWLABEL,
  IPV6_FLOWINFO_SEND,
  IPV6_FREEBIND,
  IPV6_RECVERR,
  IPV6_ROUTER_ALERT_ISOLATE,
])
/** Those for which a value that is too short is 0. */
const SHORT_SWITCHES: ReadonlySet<number> = new Set([IPV6_DONTFRAG, IPV6_AUTOFLOWLABEL, IPV6_RECVFRAGSIZE])
const MEMBERSHIPS: ReadonlySet<number> = new Set([
  IPV6_ADD_MEMBERSHIP,
  IPV6_DROP_MEMBERSHIP,
  MCAST_JOIN_GROUP,
  MCAST_LEAVE_GROUP,
  MCAST_JOIN_SOURCE_GROUP,
  MCAST_LEAVE_SOURCE_GROUP,
  MCAST_BLOCK_SOURCE,
  MCAST_UNBLOCK_SOURCE,
  MCAST_MSFILTER,
])
/** Extension headers for all that is sent: only to be taken away, or set by who may send raw packets. */
const STICKY_HEADERS: ReadonlySet<number> = new Set([
  IPV6_HOPOPTS,
  IPV6_RTHDRDSTOPTS,
  IPV6_RTHDR,
  IPV6_DSTOPTS,
])
const ECN_MASK = 3
const MIN_MTU = 1280
/** IPV6_PREFER_SRC_TMP, _PUBLIC and _PUBTMP_DEFAULT; _COA and _HOME; _CGA and _NONCGA: of each one at most. */
const PREFERENCES = [0x103, 0x404, 0x808]

export function setIpv6Option(socket: InetSocket, task: Task, name: number, value: Uint8Array): Status {
  const { settings, net } = socket
  if (MEMBERSHIPS.has(name)) {
    const whole = value.length >= IPV6_MREQ.size
    const joins = name === IPV6_ADD_MEMBERSHIP || name === IPV6_DROP_MEMBERSHIP
    if (joins && whole && socket.type === SOCK_STREAM) return -EPROTO
    return setMulticast(socket, task, false, name, value)
  }
  if (STICKY_HEADERS.has(name)) {
    if (value.length === 0) return 0
    // Whole units of eight bytes.
    if (value.length % 8 !== 0 || value.length > 8 * 255) return -EINVAL
    return net.capable(task, CAP_NET_RAW) ? -ENOPROTOOPT : -EPERM
  }
  if (name === IPV6_PKTINFO) return setStickyInfo(socket, value)
  const number = readInt(value)
  if (SWITCHES.has(name)) {
    if (number === undefined && !SHORT_SWITCHES.has(name)) return -EINVAL
    settings.setV6(name, (number ?? 0) !== 0 ? 1 : 0)
    if (name === IPV6_RECVERR && number === 0) socket.errors.clear()
    socket.settingsChanged()
    return 0
  }
  // Datagram and raw sockets only.
  const isStream = socket.type === SOCK_STREAM
  if (isStream && (name === IPV6_MULTICAST_HOPS || name === IPV6_MULTICAST_IF)) return -ENOPROTOOPT
  if (name === IPV6_HDRINCL && socket.type !== SOCK_RAW) return -ENOPROTOOPT
  if (name === IPV6_UNICAST_IF && value.length !== 4) return -EINVAL
  if (number === undefined) return KNOWN.has(name) ? -EINVAL : -ENOPROTOOPT
  switch (name) {
    case IPV6_V6ONLY:
      if (socket.localPort !== 0) return -EINVAL
      settings.setV6(name, number !== 0 ? 1 : 0)
      socket.settingsChanged()
      return 0
    case IPV6_UNICAST_HOPS:
      if (number < -1 || number > 255) return -EINVAL
      break
    case IPV6_MULTICAST_HOPS:
      if (number < -1 || number > 255) return -EINVAL
      settings.setV6(name, number === -1 ? 1 : number)
      socket.settingsChanged()
      return 0
    case IPV6_MULTICAST_ALL:
      settings.setV6(name, number !== 0 ? 1 : 0)
      return 0
    case IPV6_MULTICAST_LOOP:
      if (number !== 0 && number !== 1) return -EINVAL
      break
    case IPV6_RECVERR_RFC4884:
      if (number !== 0 && number !== 1) return -EINVAL
      break
    case IPV6_MULTICAST_IF:
      if (number !== 0 && net.ip.devices.byIndex(number) === undefined) return -ENODEV
      if (number !== 0 && socket.boundDevice !== 0 && socket.boundDevice !== number) return -EINVAL
      settings.multicastDevice6 = number
      socket.settingsChanged()
      return 0
    case IPV6_UNICAST_IF: {
      const index = new DataView(value.buffer, value.byteOffset, 4).getUint32(0)
      if (index !== 0 && net.ip.devices.byIndex(index) === undefined) return -EADDRNOTAVAIL
      if (index !== 0 && socket.boundDevice !== 0 && socket.boundDevice !== index) return -EINVAL
      settings.setV6(name, index)
      socket.settingsChanged()
      return 0
    }
    case IPV6_MTU_DISCOVER:
      if (number < 0 || number > IP_PMTUDISC_OMIT) return -EINVAL
      break
    case IPV6_MTU:
      if (number !== 0 && number < MIN_MTU) return -EINVAL
      break
    case IPV6_TCLASS: {
      if (number < -1 || number > 255) return -EINVAL
      const value6 = number === -1 ? 0 : number
      settings.setV6(name, isStream ? (value6 & ~ECN_MASK) | (settings.v6(name) & ECN_MASK) : value6)
      socket.settingsChanged()
      return 0
    }
    case IPV6_MINHOPCOUNT:
      if (number < 0 || number > 255) return -EINVAL
      break
    case IPV6_TRANSPARENT:
      if (number !== 0 && !net.capable(task, CAP_NET_ADMIN) && !net.capable(task, CAP_NET_RAW)) return -EPERM
      settings.setV6(name, number !== 0 ? 1 : 0)
      socket.settingsChanged()
      return 0
    case IPV6_HDRINCL:
      settings.setV6(name, number !== 0 ? 1 : 0)
      return 0
    case IPV6_ADDR_PREFERENCES:
      for (const mask of PREFERENCES) {
        const chosen = number & mask
        if ((chosen & (chosen - 1)) !== 0) return -EINVAL
      }
      break
    case IPV6_ADDRFORM:
      // A socket that has become one of IPv6 stays one.
      if (number !== AF_INET) return -EINVAL
      return mayChangeForm(socket) && socket.remoteAddress === undefined ? -ENOTCONN : -ENOPROTOOPT
    default:
      return -ENOPROTOOPT
  }
  settings.setV6(name, number)
  socket.settingsChanged()
  return 0
}

const KNOWN: ReadonlySet<number> = new Set([
  IPV6_V6ONLY,
  IPV6_UNICAST_HOPS,
  IPV6_MULTICAST_HOPS,
  IPV6_MULTICAST_LOOP,
  IPV6_MULTICAST_ALL,
  IPV6_MULTICAST_IF,
  IPV6_UNICAST_IF,
  IPV6_MTU_DISCOVER,
  IPV6_MTU,
  IPV6_TCLASS,
  IPV6_MINHOPCOUNT,
  IPV6_TRANSPARENT,
  IPV6_HDRINCL,
  IPV6_ADDR_PREFERENCES,
  IPV6_RECVERR_RFC4884,
  IPV6_ADDRFORM,
  IPV6_ROUTER_ALERT,
])

/** Source and device of all that is sent; zeros end it. */
function setStickyInfo(socket: InetSocket, value: Uint8Array): Status {
  const { settings, net } = socket
  if (value.length < IN6_PKTINFO.size) return -EINVAL
  const view = new DataView(value.buffer, value.byteOffset, value.length)
  const index = view.getUint32(IN6_PKTINFO.ipi6_ifindex, true)
  if (socket.boundDevice !== 0 && index !== socket.boundDevice) return -EINVAL
  if (index !== 0 && net.ip.devices.byIndex(index) === undefined) return -ENODEV
  const address = IpAddress.read(view, IN6_PKTINFO.ipi6_addr, false)
  settings.stickySource = address.isAny ? undefined : address
  settings.stickyDevice = index
  return 0
}

export function getIpv6Option(socket: InetSocket, name: number, length: number): OrErrno<Uint8Array> {
  const { settings } = socket
  switch (name) {
    case IPV6_UNICAST_HOPS: {
      const hops = settings.v6(name)
      return intBytes(hops === -1 ? socket.net.ip.sysctls.ipv6Conf.all.hop_limit : hops)
    }
    case IPV6_ADDRFORM:
      if (!mayChangeForm(socket)) return -ENOPROTOOPT
      return socket.remoteAddress === undefined ? -ENOTCONN : intBytes(AF_INET6)
    case IP6T_SO_ORIGINAL_DST:
      return originalDestination(socket, AF_INET6, length)
    case IPV6_MULTICAST_IF:
      return intBytes(settings.multicastDevice6)
    case IPV6_UNICAST_IF: {
      const bytes = new Uint8Array(4)
      new DataView(bytes.buffer).setUint32(0, settings.v6(name))
      return bytes
    }
    case IPV6_MTU: {
      const route = socket.connectedRoute()
      return failed(route) ? -ENOTCONN : intBytes(route.mtu)
    }
    case IPV6_PATHMTU: {
      if (length < SOCKADDR_IN6.size + 4) return -EINVAL
      const route = socket.connectedRoute()
      if (failed(route)) return -ENOTCONN
      const bytes = new Uint8Array(SOCKADDR_IN6.size + 4)
      bytes.set(socketAddress(AF_INET6, route.destination, 0))
      new DataView(bytes.buffer).setUint32(SOCKADDR_IN6.size, route.mtu, true)
      return bytes
    }
    case IPV6_HOPOPTS:
    case IPV6_RTHDRDSTOPTS:
    case IPV6_RTHDR:
    case IPV6_DSTOPTS:
      return new Uint8Array(0)
    case IPV6_HDRINCL:
      return socket.type === SOCK_RAW ? intBytes(settings.v6(name)) : -ENOPROTOOPT
    case IPV6_ADDR_PREFERENCES:
      return intBytes(preferences(settings.v6(name)))
    case IPV6_ROUTER_ALERT:
      return intBytes(0)
  }
  return SWITCHES.has(name) || KNOWN.has(name) ? intBytes(settings.v6(name)) : -ENOPROTOOPT
}

function mayChangeForm({ type, protocol }: InetSocket): boolean {
  return type === SOCK_STREAM || protocol === IPPROTO_UDP || protocol === IPPROTO_UDPLITE
}

/** What is preferred, said for each pair. */
function preferences(asked: number): number {
  const kind = asked & (IPV6_PREFER_SRC_TMP | IPV6_PREFER_SRC_PUBLIC)
  const home = asked & IPV6_PREFER_SRC_COA
  return (kind || IPV6_PREFER_SRC_PUBTMP_DEFAULT) | (home || IPV6_PREFER_SRC_HOME)
}
