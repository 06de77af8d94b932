/** /proc/net/nf_conntrack. */
import {
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPS_ASSURED,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
} from '../../abi/constants.ts'
import { NSEC_PER_SEC } from '../../base/clock.ts'
import { type Connection, ORIGINAL, REPLY } from '../filter/conntrack/connection.ts'
import { hasPorts, isIcmp, type Tuple } from '../filter/conntrack/tuple.ts'
import type { InetNetwork } from '../inet/network.ts'

const PROTOCOLS: Readonly<Record<number, string>> = {
  [IPPROTO_ICMP]: 'icmp',
  [IPPROTO_TCP]: 'tcp',
  [IPPROTO_UDP]: 'udp',
  [IPPROTO_ICMPV6]: 'icmpv6',
}
/** By TCP_CONNTRACK_*. */
const STATES = [
  ...['NONE', 'SYN_SENT', 'SYN_RECV', 'ESTABLISHED', 'FIN_WAIT'],
  ...['CLOSE_WAIT', 'LAST_ACK', 'TIME_WAIT', 'CLOSE', 'SYN_SENT2'],
]

export function conntrackLines(net: InetNetwork): string {
  const conntrack = net.usedNetfilter?.conntrack
  if (conntrack === undefined) return ''
  const now = conntrack.runtime.now()
  let text = ''
  for (const connection of conntrack.table.connections()) text += line(connection, now)
  return text
}

function line(connection: Connection, now: number): string {
  const { original, reply, protocol, tcp, mark } = connection
  const isV4 = original.source.isV4
  const seconds = Math.floor((connection.expires - now) / NSEC_PER_SEC)
  return [
    `${(isV4 ? 'ipv4' : 'ipv6').padEnd(8)} ${isV4 ? NFPROTO_IPV4 : NFPROTO_IPV6}`,
    `${(PROTOCOLS[protocol] ?? 'unknown').padEnd(8)} ${protocol} ${seconds}`,
    ...(tcp === undefined ? [] : [STATES[tcp.state]]),
    tupleText(original, isV4) + zoneText('orig', original, reply) + countersText(connection, ORIGINAL),
    ...(connection.seenReply ? [] : ['[UNREPLIED]']),
    tupleText(reply, isV4) + zoneText('reply', reply, original) + countersText(connection, REPLY),
    ...((connection.status & IPS_ASSURED) === 0 ? [] : ['[ASSURED]']),
    `mark=${mark}`,
    ...(original.zone === reply.zone ? [`zone=${original.zone}`] : []),
    'use=2\n',
  ].join(' ')
}

function zoneText(name: string, { zone }: Tuple, other: Tuple): string {
  return zone === 0 || zone === other.zone ? '' : ` zone-${name}=${zone}`
}

function tupleText({ source, destination, protocol, from, to }: Tuple, isV4: boolean): string {
  const text = isV4
    ? `src=${source} dst=${destination}`
    : `src=${wholeAddress(source.bytes())} dst=${wholeAddress(destination.bytes())}`
  if (hasPorts(protocol)) return `${text} sport=${from} dport=${to}`
  return isIcmp(protocol) ? `${text} type=${to >> 8} code=${to & 0xff} id=${from}` : text
}

/** All eight groups with all their digits. */
function wholeAddress(bytes: Uint8Array): string {
  const hex = Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')
  return hex.match(/.{4}/g)!.join(':')
}

function countersText({ counters }: Connection, direction: number): string {
  if (counters === undefined) return ''
  return ` packets=${counters[2 * direction]} bytes=${counters[2 * direction + 1]}`
}
