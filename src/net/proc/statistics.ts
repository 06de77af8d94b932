/** /proc/net of counters: snmp, netstat, snmp6, sockstat. */
import {
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  SOCK_RAW,
  TCP_CLOSE,
  TCP_TIME_WAIT,
} from '../../abi/constants.ts'
import { inetEntries } from '../inet/entry.ts'
import type { InetNetwork } from '../inet/network.ts'
import type { IpStack } from '../ip-stack.ts'
import { hex } from './format.ts'

type Values = Readonly<Record<string, number>>

function twoLines(name: string, values: Values): string {
  return `${name}: ${Object.keys(values).join(' ')}\n${name}: ${Object.values(values).join(' ')}\n`
}

export function snmpText({ counters, sysctls }: IpStack): string {
  const { ipv4 } = sysctls
  const ip = { ...counters.ip, Forwarding: ipv4.ip_forward !== 0 ? 1 : 2, DefaultTTL: ipv4.ip_default_ttl }
  const types: Record<string, number> = {}
  for (const [type, count] of [...counters.icmpIn].sort(byType)) types[`InType${type}`] = count
  for (const [type, count] of [...counters.icmpOut].sort(byType)) types[`OutType${type}`] = count
  const tcp = { ...counters.tcp, RtoAlgorithm: 1, RtoMin: 200, RtoMax: 120000, MaxConn: -1 }
  return (
    twoLines('Ip', ip) +
    twoLines('Icmp', counters.icmp) +
    (Object.keys(types).length > 0 ? twoLines('IcmpMsg', types) : '') +
    twoLines('Tcp', tcp) +
    twoLines('Udp', counters.udp) +
    twoLines('UdpLite', counters.udpLite)
  )
}

function byType(a: readonly [number, number], b: readonly [number, number]): number {
  return a[0] - b[0]
}

export function netstatText({ counters }: IpStack): string {
  return twoLines('TcpExt', counters.tcpExt) + twoLines('IpExt', counters.ipExt)
}

export function snmp6Text({ counters }: IpStack): string {
  let text = ''
  const add = (prefix: string, values: Values) => {
    for (const [name, value] of Object.entries(values)) text += `${`${prefix}${name}`.padEnd(32)}\t${value}\n`
  }
  add('Ip6', counters.ip6)
  add('Icmp6', counters.icmp6)
  for (const [type, count] of [...counters.icmp6In].sort(byType)) add('Icmp6', { [`InType${type}`]: count })
  for (const [type, count] of [...counters.icmp6Out].sort(byType)) add('Icmp6', { [`OutType${type}`]: count })
  add('Udp6', counters.udp6)
  add('UdpLite6', counters.udpLite6)
  return text
}

/** Sockets of a protocol that have a port. */
function inUse(net: InetNetwork, protocol: number, isV6: boolean): number {
  let count = 0
  for (const entry of inetEntries(net, protocol)) {
    if (entry.isV6 === isV6 && entry.socket !== undefined && entry.state !== TCP_TIME_WAIT) count++
  }
  return count
}
function rawInUse(net: InetNetwork, isV6: boolean): number {
  return [...net.sockets].filter(socket => socket.type === SOCK_RAW && socket.isIpv6 === isV6).length
}

export function sockstatText(net: InetNetwork): string {
  const { tcp, sockets, netlink, packets, stack } = net
  const used = sockets.size + netlink.sockets.size + packets.sockets.size + stack.unix.sockets.size
  const allocated = [...sockets].filter(
    socket => socket.protocol === IPPROTO_TCP && socket.state !== TCP_CLOSE,
  ).length
  return (
    `sockets: used ${used}\n` +
    `TCP: inuse ${inUse(net, IPPROTO_TCP, false)} orphan ${tcp.orphans.size} tw ${tcp.timeWaits} alloc ${allocated} mem 0\n` +
    `UDP: inuse ${inUse(net, IPPROTO_UDP, false)} mem 0\n` +
    `UDPLITE: inuse ${inUse(net, IPPROTO_UDPLITE, false)}\n` +
    `RAW: inuse ${rawInUse(net, false)}\n` +
    'FRAG: inuse 0 memory 0\n'
  )
}

export function sockstat6Text(net: InetNetwork): string {
  return (
    `TCP6: inuse ${inUse(net, IPPROTO_TCP, true)}\n` +
    `UDP6: inuse ${inUse(net, IPPROTO_UDP, true)}\n` +
    `UDPLITE6: inuse ${inUse(net, IPPROTO_UDPLITE, true)}\n` +
    `RAW6: inuse ${rawInUse(net, true)}\n` +
    'FRAG6: inuse 0 memory 0\n'
  )
}

/** Of the one CPU that does the work: packets, drops, early ends, eight of what there is none of, the queue, CPU, the queue's two parts. */
export function softnetLine({ runtime }: IpStack): string {
  const { processed, dropped, squeezed, length } = runtime.backlog
  const columns = [processed, dropped, squeezed, ...new Array(8).fill(0), length, 0, length, 0]
  return `${columns.map(value => hex(value, 8, false)).join(' ')}\n`
}
