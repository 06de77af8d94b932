/** /proc/net of routes and neighbours: route, ipv6_route, fib_trie, arp. */
import {
  NUD_PERMANENT,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_LOCAL,
  RT_TABLE_MAIN,
  RTN_BLACKHOLE,
  RTN_BROADCAST,
  RTN_LOCAL,
  RTN_MULTICAST,
  RTN_PROHIBIT,
  RTN_THROW,
  RTN_UNICAST,
  RTN_UNREACHABLE,
} from '../../abi/constants.ts'
import { IpAddress, maskWord } from '../address.ts'
import type { FibRoute } from '../ip/fib.ts'
import type { IpStack } from '../ip-stack.ts'
import { formatMac } from '../link/device.ts'
import { orderRoutes } from '../netlink/route/route.ts'
import { hex, hexAddress, hexBytes, padded } from './format.ts'

const RTF_UP = 0x1
const RTF_GATEWAY = 0x2
const RTF_HOST = 0x4
const RTF_REJECT = 0x200
const RTF_NONEXTHOP = 0x200000
const RTF_LOCAL = 0x80000000
const ROUTE_WIDTH = 127
const REJECTS: ReadonlySet<number> = new Set([RTN_UNREACHABLE, RTN_PROHIBIT, RTN_BLACKHOLE, RTN_THROW])
const ATF_COM = 2
const ATF_PERM = 4

/** The main table, without what isn't unicast. */
export function routeLines(stack: IpStack): string {
  let text = ''
  for (const route of orderRoutes(stack.fib4.tables.get(RT_TABLE_MAIN)?.routes() ?? [])) {
    if (route.type === RTN_BROADCAST || route.type === RTN_MULTICAST) continue
    const hop = route.nextHops[0]
    let flags = RTF_UP
    // fib_flag_trans: of the types only these two.
    if (route.type === RTN_UNREACHABLE || route.type === RTN_PROHIBIT) flags |= RTF_REJECT
    if (hop?.gateway !== undefined) flags |= RTF_GATEWAY
    if (route.length === 32) flags |= RTF_HOST
    const mask = IpAddress.v4(maskWord(route.length))
    const fields = [
      hop?.device.name ?? '*',
      hexAddress(route.destination, false),
      hop?.gateway?.isV4 ? hexAddress(hop.gateway, false) : '00000000',
      hex(flags, 4),
      '0',
      '0',
      String(route.priority),
      hexAddress(mask, false),
      String(route.metrics.advmss ? route.metrics.advmss + 40 : 0),
      String(route.metrics.window ?? 0),
      String((route.metrics.rtt ?? 0) >> 3),
    ]
    text += padded(fields.join('\t'), ROUTE_WIDTH)
  }
  return text
}

export function ipv6RouteLines(stack: IpStack): string {
  const none = '0'.repeat(32)
  let text = ''
  for (const id of [RT_TABLE_MAIN, RT_TABLE_LOCAL]) {
    for (const route of orderRoutes(stack.fib6.tables.get(id)?.routes() ?? [])) {
      const hop = route.nextHops[0]
      let flags = RTF_UP
      if (hop?.gateway !== undefined) flags |= RTF_GATEWAY
      if (REJECTS.has(route.type)) flags |= RTF_REJECT | RTF_NONEXTHOP
      if (route.type === RTN_LOCAL) flags |= RTF_LOCAL | RTF_NONEXTHOP
      const gateway = hop?.gateway === undefined ? none : hexBytes(hop.gateway.bytes())
      const numbers = [route.priority, 1, 0, flags].map(value => hex(value, 8, false))
      text += `${hexBytes(route.destination.bytes())} ${hex(route.length, 2, false)} ${none} 00 ${gateway} `
      text += `${numbers.join(' ')} ${(hop?.device.name ?? 'lo').padStart(8)}\n`
    }
  }
  return text
}

export function arpLines(stack: IpStack): string {
  let text = ''
  for (const entry of stack.neighbours4.neighbours()) {
    if (!entry.device.needsNeighbours) continue
    const flags = (entry.valid ? ATF_COM : 0) | (entry.state === NUD_PERMANENT ? ATF_PERM : 0)
    const fields = [
      String(entry.address).padEnd(16),
      `0x${entry.device.type.toString(16)}`.padEnd(11),
      `0x${flags.toString(16)}`.padEnd(11),
      formatMac(entry.valid ? entry.hardware : new Uint8Array(6)).padEnd(21),
      '*'.padEnd(8),
    ]
    text += `${fields.join(' ')} ${entry.device.name}\n`
  }
  return text
}

const SCOPES: Readonly<Record<number, string>> = {
  [RT_SCOPE_UNIVERSE]: 'universe',
  [RT_SCOPE_LINK]: 'link',
  [RT_SCOPE_HOST]: 'host',
}
const TYPES: Readonly<Record<number, string>> = {
  [RTN_UNICAST]: 'UNICAST',
  [RTN_LOCAL]: 'LOCAL',
  [RTN_BROADCAST]: 'BROADCAST',
  [RTN_MULTICAST]: 'MULTICAST',
  [RTN_BLACKHOLE]: 'BLACKHOLE',
  [RTN_UNREACHABLE]: 'UNREACHABLE',
  [RTN_PROHIBIT]: 'PROHIBIT',
  [RTN_THROW]: 'THROW',
}

/** As the trie would show it, without its inner nodes: programs look for the leaves, and what is local among them. */
export function fibTrieText(stack: IpStack): string {
  const all = [RT_TABLE_MAIN, RT_TABLE_LOCAL].flatMap(id => [...(stack.fib4.tables.get(id)?.routes() ?? [])])
  const leaves = new Map<string, FibRoute[]>()
  for (const route of orderRoutes(all)) {
    const key = String(route.destination)
    leaves.set(key, [...(leaves.get(key) ?? []), route])
  }
  let text = ''
  for (const name of ['Main', 'Local']) {
    text += `${name}:\n  +-- 0.0.0.0/0 3 0 5\n`
    for (const [address, routes] of leaves) {
      text += `     |-- ${address}\n`
      for (const route of routes) text += `        ${leaf(route)}\n`
    }
  }
  return text
}

function leaf(route: FibRoute): string {
  return `/${route.length} ${SCOPES[route.scope] ?? route.scope} ${TYPES[route.type] ?? route.type}`
}
