/** /proc/net of a namespace that has the kernel's own network: each file's lines below its header, by name. */
import {
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  SOCK_DGRAM,
  SOCK_RAW,
} from '../../abi/constants.ts'
import { inetEntries } from '../inet/entry.ts'
import type { InetNetwork } from '../inet/network.ts'
import { queueLines } from '../netlink/netfilter/queue.ts'
import { conntrackLines } from './conntrack.ts'
import { matchLines, tableLines, targetLines } from './ip-tables.ts'
import {
  devLines,
  filterLines,
  ifInet6Lines,
  igmp6Lines,
  igmpLines,
  mcastLines,
  ptypeLines,
} from './links.ts'
import { arpLines, fibTrieText, ipv6RouteLines, routeLines } from './routes.ts'
import { datagramLines, netlinkLines, packetLines, tcpLines } from './sockets.ts'
import { netstatText, snmp6Text, snmpText, sockstat6Text, sockstatText, softnetLine } from './statistics.ts'

type Format = (net: InetNetwork) => string

const FILES: Readonly<Record<string, Format>> = {
  arp: net => arpLines(net.ip),
  dev: net => devLines(net.ip),
  dev_mcast: net => mcastLines(net.ip),
  fib_trie: net => fibTrieText(net.ip),
  icmp: net => datagramLines(net, select(net, SOCK_DGRAM, IPPROTO_ICMP), false),
  icmp6: net => datagramLines(net, select(net, SOCK_DGRAM, IPPROTO_ICMPV6), true),
  if_inet6: net => ifInet6Lines(net.ip),
  igmp: net => igmpLines(net.ip),
  igmp6: net => igmp6Lines(net.ip),
  ip6_tables_matches: () => matchLines(false),
  ip6_tables_names: net => tableLines(net, false),
  ip6_tables_targets: () => targetLines(false),
  ip_tables_matches: () => matchLines(true),
  ip_tables_names: net => tableLines(net, true),
  ip_tables_targets: () => targetLines(true),
  ipv6_route: net => ipv6RouteLines(net.ip),
  mcfilter: net => filterLines(net.ip, true),
  mcfilter6: net => filterLines(net.ip, false),
  netlink: net => netlinkLines(net),
  netstat: net => netstatText(net.ip),
  nf_conntrack: net => conntrackLines(net),
  nfnetlink_queue: ({ usedNetfilter }) =>
    usedNetfilter === undefined ? '' : queueLines(usedNetfilter.queues),
  packet: net => packetLines(net),
  ptype: net => ptypeLines(net),
  raw: net => datagramLines(net, raw(net, false), false),
  raw6: net => datagramLines(net, raw(net, true), true),
  route: net => routeLines(net.ip),
  snmp: net => snmpText(net.ip),
  snmp6: net => snmp6Text(net.ip),
  sockstat: net => sockstatText(net),
  sockstat6: net => sockstat6Text(net),
  softnet_stat: net => softnetLine(net.ip),
  tcp: net => tcpLines(net, false),
  tcp6: net => tcpLines(net, true),
  udp: net => datagramLines(net, select(net, SOCK_DGRAM, IPPROTO_UDP), false),
  udp6: net => datagramLines(net, select(net, SOCK_DGRAM, IPPROTO_UDP), true),
  udplite: net => datagramLines(net, select(net, SOCK_DGRAM, IPPROTO_UDPLITE), false),
  udplite6: net => datagramLines(net, select(net, SOCK_DGRAM, IPPROTO_UDPLITE), true),
}

/** Undefined: there is no such file. */
export function procNetText(net: InetNetwork, name: string): string | undefined {
  return FILES[name]?.(net)
}

function select(net: InetNetwork, type: number, protocol: number) {
  return [...inetEntries(net, protocol)].filter(entry => entry.socket?.type === type)
}
function raw(net: InetNetwork, isV6: boolean) {
  const protocols = new Set(
    [...net.sockets].filter(socket => socket.type === SOCK_RAW).map(socket => socket.protocol),
  )
  return [...protocols]
    .flatMap(protocol => [...inetEntries(net, protocol)])
    .filter(entry => entry.isV6 === isV6 && entry.socket?.type === SOCK_RAW)
}
