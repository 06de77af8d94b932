/**
 * Fib: the routing tables of one address family. A FibRoute is one line of `ip route`; it lives from `add` to `remove`,
 * or to the end of its device or address. Lookup is longest prefix first, and among routes to one prefix by type of
 * service and priority, as Linux's.
 *
 * A table holds one hash of routes per prefix length that occurs, so a lookup costs as many probes as there are lengths.
 */
import {
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTN_BLACKHOLE,
  RTN_PROHIBIT,
  RTN_THROW,
  RTN_UNICAST,
  RTN_UNREACHABLE,
  RTNH_F_DEAD,
  RTPROT_BOOT,
} from '../../abi/constants.ts'
import {
  EACCES,
  EAGAIN,
  EEXIST,
  EHOSTUNREACH,
  EINVAL,
  ENETUNREACH,
  ENOBUFS,
  ENOENT,
  ESRCH,
} from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { IpAddress } from '../address.ts'
import type { NetDevice } from '../link/device.ts'

/** Routes of one family: more than any table of the internet's that somebody would keep here by hand. */
const MAX_ROUTES = 1 << 16

export interface NextHop {
  device: NetDevice
  gateway: IpAddress | undefined
  /** 1..256 */
  weight: number
  /** RTNH_F_* */
  flags: number
}

/** RTAX_* of rtnetlink(7), 0 where not given. */
export interface RouteMetrics {
  mtu?: number
  mtuLocked?: boolean
  advmss?: number
  hopLimit?: number
  window?: number
  initialWindow?: number
  initialReceiveWindow?: number
  rtt?: number
  quickAck?: number
}

export class FibRoute {
  table = RT_TABLE_MAIN
  readonly destination: IpAddress
  readonly length: number
  tos = 0
  priority = 0
  type = RTN_UNICAST
  scope = RT_SCOPE_UNIVERSE
  protocol = RTPROT_BOOT
  /** The source that packets get (RTA_PREFSRC). */
  source: IpAddress | undefined = undefined
  nextHops: NextHop[] = []
  /** The next hop object that they come from; 0: they are the route's own. */
  nextHopId = 0
  metrics: RouteMetrics = {}
  /** Monotonic ns: of what router advertisements told. */
  expires = Number.POSITIVE_INFINITY
  /** RFC 4191: 1 high, 0 medium, -1 low. */
  preference = 0
  /** RTM_F_* and RTF_* flags that only netlink and /proc show. */
  flags = 0

  /** `destination`: host bits are cleared. */
  constructor(destination: IpAddress, length: number) {
    this.destination = destination.masked(length)
    this.length = length
  }

  uses(device: NetDevice): boolean {
    return this.nextHops.some(hop => hop.device === device)
  }
}

/** What a lookup asks for. */
export interface FibKey {
  destination: IpAddress
  tos: number
  /** Index of the only device allowed, 0 for any. */
  device: number
  /** Routes of a wider scope don't match. */
  scope: number
  /** For the choice among several next hops. */
  hash: number
  /** Monotonic ns. */
  now: number
}

/** What a lookup found: filled in by FibTable.lookup, one object used again. */
export class FibResult {
  route!: FibRoute
  hop: NextHop | undefined = undefined
}

/** How `add` treats routes that are there: NLM_F_*. */
export interface AddMode {
  exclusive?: boolean
  replace?: boolean
  append?: boolean
  /** Only replace: nothing there is -ENOENT. */
  noCreate?: boolean
}

/** `lookup` found nothing. */
export const NO_ROUTE = 1

export class FibTable {
  readonly id: number
  readonly #byLength: (Map<number, FibRoute[]> | undefined)[]
  /** The lengths that occur, the longest first. */
  #lengths: number[] = []
  size = 0

  constructor(id: number, bits: number) {
    this.id = id
    this.#byLength = new Array(bits + 1).fill(undefined)
  }

  /** 0 and the result, a negative errno that the route says, or NO_ROUTE. */
  lookup(key: FibKey, result: FibResult): number {
    const { destination } = key
    for (const length of this.#lengths) {
      const routes = this.#byLength[length]!.get(prefixHash(destination, length))
      if (routes === undefined) continue
      for (const route of routes) {
        if (!destination.inPrefix(route.destination, length)) continue
        if (route.tos !== 0 && route.tos !== key.tos) continue
        if (route.scope < key.scope || route.expires <= key.now) continue
        const status = errorOf(route.type)
        // IPv6's are routes of the loopback device: who wants another one passes them by.
        if (status < 0 && (destination.isV4 || key.device === 0)) return status
        if (status < 0) continue
        const hop = chooseHop(route.nextHops, key)
        if (hop === undefined && route.nextHops.length > 0) continue
        result.route = route
        result.hop = hop
        return 0
      }
    }
    return NO_ROUTE
  }

  add(route: FibRoute, mode: AddMode): Status {
    let map = this.#byLength[route.length]
    if (map === undefined) {
      map = this.#byLength[route.length] = new Map()
      this.#lengths = [...this.#lengths, route.length].sort((a, b) => b - a)
    }
    const hash = prefixHash(route.destination, route.length)
    const list = map.get(hash) ?? []
    const same = list.filter(other => sameKey(other, route))
    if (same.length > 0) {
      if (mode.exclusive) return -EEXIST
      if (mode.replace) {
        list[list.indexOf(same[0])] = route
        return 0
      }
      if (same.some(other => sameRoute(other, route))) return -EEXIST
    } else if (mode.noCreate) {
      return -ENOENT
    }
    // Of equal IPv6 routes the first stays the first; of IPv4 ones, only if the new one is to be appended.
    const behind = mode.append === true || !route.destination.isV4
    const at = list.findIndex(other => comesBefore(route, other, behind))
    list.splice(at < 0 ? list.length : at, 0, route)
    map.set(hash, list)
    this.size++
    return 0
  }

  /** Whether it was there. */
  remove(route: FibRoute): boolean {
    const map = this.#byLength[route.length]
    const hash = prefixHash(route.destination, route.length)
    const list = map?.get(hash)
    const at = list?.indexOf(route) ?? -1
    if (map === undefined || list === undefined || at < 0) return false
    list.splice(at, 1)
    this.size--
    if (list.length === 0) map.delete(hash)
    if (map.size === 0) {
      this.#byLength[route.length] = undefined
      this.#lengths = this.#lengths.filter(length => length !== route.length)
    }
    return true
  }

  *routes(): IterableIterator<FibRoute> {
    for (const map of this.#byLength) {
      if (map === undefined) continue
      for (const list of map.values()) yield* list
    }
  }

  /** The routes to exactly this prefix. */
  at(destination: IpAddress, length: number): readonly FibRoute[] {
    const list = this.#byLength[length]?.get(prefixHash(destination, length)) ?? []
    return list.filter(route => route.destination.equals(destination.masked(length)))
  }
}

export class Fib {
  readonly isV4: boolean
  readonly tables = new Map<number, FibTable>()
  /** Routes of all tables. */
  size = 0

  constructor(isV4: boolean) {
    this.isV4 = isV4
  }

  table(id: number): FibTable {
    let table = this.tables.get(id)
    if (table === undefined) {
      table = new FibTable(id, this.isV4 ? 32 : 128)
      this.tables.set(id, table)
    }
    return table
  }

  /** Only through IpStack.addRoute, which makes it known. */
  add(route: FibRoute, mode: AddMode): Status {
    if (route.destination.isV4 !== this.isV4 || route.length > route.destination.bits) return -EINVAL
    if (this.size >= MAX_ROUTES) return -ENOBUFS
    const table = this.table(route.table)
    const before = table.size
    const status = table.add(route, mode)
    this.size += table.size - before
    return status
  }

  remove(route: FibRoute): Status {
    const table = this.tables.get(route.table)
    if (table === undefined || !table.remove(route)) return -ESRCH
    this.size--
    return 0
  }

  *routes(): IterableIterator<FibRoute> {
    for (const table of this.tables.values()) yield* table.routes()
  }
}

function errorOf(type: number): number {
  if (type === RTN_UNREACHABLE) return -EHOSTUNREACH
  if (type === RTN_BLACKHOLE) return -EINVAL
  if (type === RTN_PROHIBIT) return -EACCES
  return type === RTN_THROW ? -EAGAIN : 0
}

function usable(hop: NextHop, device: number): boolean {
  return (hop.flags & RTNH_F_DEAD) === 0 && (device === 0 || hop.device.index === device)
}

/** One of those that live, by weight: the same for each packet of a flow. */
function chooseHop(hops: readonly NextHop[], key: FibKey): NextHop | undefined {
  if (hops.length === 1) return usable(hops[0], key.device) ? hops[0] : undefined
  let total = 0
  for (const hop of hops) if (usable(hop, key.device)) total += hop.weight
  let at = total === 0 ? 0 : key.hash % total
  for (const hop of hops) {
    if (!usable(hop, key.device)) continue
    at -= hop.weight
    if (at < 0) return hop
  }
  return undefined
}

function prefixHash(address: IpAddress, length: number): number {
  if (address.isV4) return length === 0 ? 0 : address.w3 & (-1 << (32 - length))
  const mask = (word: number, bits: number): number =>
    bits <= 0 ? 0 : bits >= 32 ? word : word & (-1 << (32 - bits))
  const a = mask(address.w0, length) ^ Math.imul(mask(address.w1, length - 32), 0x9e3779b1)
  return a ^ Math.imul(mask(address.w2, length - 64), 0x85ebca6b) ^ mask(address.w3, length - 96)
}

function sameKey(a: FibRoute, b: FibRoute): boolean {
  return a.tos === b.tos && a.priority === b.priority && a.destination.equals(b.destination)
}

/** Routes of one key that differ in nothing a lookup could tell. */
export function sameRoute(a: FibRoute, b: FibRoute): boolean {
  if (a.type !== b.type || a.scope !== b.scope || a.nextHops.length !== b.nextHops.length) return false
  return a.nextHops.every((hop, i) => {
    const other = b.nextHops[i]
    if (hop.device !== other.device) return false
    return hop.gateway === undefined || other.gateway === undefined
      ? hop.gateway === other.gateway
      : hop.gateway.equals(other.gateway)
  })
}

/** Order in a list: more specific type of service, then lower priority; a new one before its equals, or behind. */
function comesBefore(route: FibRoute, other: FibRoute, behindEquals: boolean): boolean {
  if (route.tos !== other.tos) return route.tos > other.tos
  if (route.priority !== other.priority) return route.priority < other.priority
  if (route.preference !== other.preference) return route.preference > other.preference
  return !behindEquals
}

/** The errno of a lookup that found no route at all. */
export const UNREACHABLE = -ENETUNREACH
