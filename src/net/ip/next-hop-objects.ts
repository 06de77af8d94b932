/**
 * NextHopObjects: next hops with a number of their own, which routes name (`ip nexthop`, `nhid`): nexthop.c. One is a way, a hole, or
 * a group of others. When one changes, so do all routes that name it; when it ends, so do they, and its place in groups.
 */
import { AF_INET, RTN_BLACKHOLE, RTN_UNICAST } from '../../abi/constants.ts'
import type { IpAddress } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import type { FibRoute, NextHop } from './fib.ts'

/** Of one namespace. */
const MAX_OBJECTS = 16384
/** Of all its groups together. */
const MAX_MEMBERS = 1 << 16

export interface GroupMember {
  readonly id: number
  /** 1..256 */
  readonly weight: number
}

export interface NextHopObject {
  readonly id: number
  /** AF_INET or AF_INET6, AF_UNSPEC of a group. */
  readonly family: number
  readonly protocol: number
  readonly scope: number
  /** RTNH_F_ONLINK */
  readonly flags: number
  readonly blackhole: boolean
  readonly device: NetDevice | undefined
  readonly gateway: IpAddress | undefined
  /** Undefined: it is no group. */
  group: readonly GroupMember[] | undefined
}

export interface NextHopListener {
  nextHopChanged(object: NextHopObject, gone: boolean): void
}

export class NextHopObjects {
  readonly #stack: IpStack
  readonly #objects = new Map<number, NextHopObject>()
  /** What routes have, one list for all that name the same; they never change it. */
  readonly #hops = new Map<number, NextHop[]>()
  /** Those that routes have named: only for them are routes looked through. */
  readonly #named = new Set<number>()
  #members = 0
  #lastId = 0
  listener: NextHopListener | undefined = undefined

  constructor(stack: IpStack) {
    this.#stack = stack
  }

  /** In place of what has its number, if anything has. */
  hasRoomFor({ id, group }: NextHopObject): boolean {
    const before = this.#objects.get(id)
    const members = this.#members - sizeOf(before) + (group?.length ?? 0)
    return members <= MAX_MEMBERS && (before !== undefined || this.#objects.size < MAX_OBJECTS)
  }
  find(id: number): NextHopObject | undefined {
    return this.#objects.get(id)
  }
  all(): NextHopObject[] {
    return [...this.#objects.values()].sort((a, b) => a.id - b.id)
  }
  freeId(): number {
    do this.#lastId = (this.#lastId + 1) >>> 0
    while (this.#lastId === 0 || this.#objects.has(this.#lastId))
    return this.#lastId
  }

  set(object: NextHopObject): void {
    const before = this.#objects.get(object.id)
    this.#members += sizeOf(object) - sizeOf(before)
    this.#objects.set(object.id, object)
    if (before !== undefined) {
      const ids = this.#groupsOf(object.id).map(({ id }) => id)
      this.#updateRoutes(new Set([object.id, ...ids]))
    }
    this.listener?.nextHopChanged(object, false)
  }

  /** They leave the groups that they are in, too; a group without any ends with them. */
  remove(objects: readonly NextHopObject[]): void {
    const changed = new Set<number>()
    for (const object of objects) if (this.#forget(object)) changed.add(object.id)
    if (changed.size === 0) return
    for (const other of this.#members === 0 ? [] : this.#objects.values()) {
      const left = other.group?.filter(({ id }) => this.#objects.has(id))
      if (left === undefined || left.length === other.group?.length) continue
      this.#members -= sizeOf(other) - left.length
      other.group = left
      changed.add(other.id)
      if (left.length === 0) this.#forget(other)
    }
    this.#updateRoutes(changed)
    for (const id of changed) if (!this.#objects.has(id)) this.#named.delete(id)
  }
  #forget(object: NextHopObject): boolean {
    if (!this.#objects.delete(object.id)) return false
    this.#members -= sizeOf(object)
    this.listener?.nextHopChanged(object, true)
    return true
  }

  /** A device is down, or gone. */
  deviceDown(device: NetDevice): void {
    if (this.#objects.size > 0) this.remove(this.all().filter(object => object.device === device))
  }

  /** What a route has that names it. */
  hopsOf(object: NextHopObject): NextHop[] {
    let hops = this.#hops.get(object.id)
    if (hops === undefined) {
      hops = this.#collect(object)
      this.#hops.set(object.id, hops)
      this.#named.add(object.id)
    }
    return hops
  }
  #collect(object: NextHopObject): NextHop[] {
    if (object.group === undefined) return this.#hop(object, 1)
    return object.group.flatMap(({ id, weight }) => {
      const member = this.#objects.get(id)
      return member === undefined ? [] : this.#hop(member, weight)
    })
  }
  /** It leads nowhere: alone, or as a group's only member. */
  isBlackhole(object: NextHopObject): boolean {
    return this.#some(object, ({ blackhole }) => blackhole)
  }
  /** It, or one of its group: nothing for IPv6's routes. */
  isOfIpv4(object: NextHopObject): boolean {
    return this.#some(object, ({ family }) => family === AF_INET)
  }
  #some(object: NextHopObject, test: (way: NextHopObject) => boolean): boolean {
    if (object.group === undefined) return test(object)
    return object.group.some(({ id }) => {
      const member = this.#objects.get(id)
      return member !== undefined && test(member)
    })
  }

  /** Routes of IPv6 go by it, or by a group that it is in. */
  hasIpv6Routes(id: number): boolean {
    const ids = new Set([id, ...this.#groupsOf(id).map(group => group.id)])
    for (const route of this.#stack.fib6.routes()) if (ids.has(route.nextHopId)) return true
    return false
  }
  /** It is one of several in a group. */
  isShared(id: number): boolean {
    return this.#groupsOf(id).some(group => sizeOf(group) > 1)
  }
  #groupsOf(id: number): NextHopObject[] {
    if (this.#members === 0) return []
    return [...this.#objects.values()].filter(({ group }) => group?.some(member => member.id === id))
  }

  #hop(object: NextHopObject, weight: number): NextHop[] {
    const device = object.device ?? (object.blackhole ? this.#stack.loopback : undefined)
    if (device === undefined) return []
    return [{ device, gateway: object.gateway, weight, flags: object.flags }]
  }

  /** Routes have them as they are now, or end with them. */
  #updateRoutes(changed: ReadonlySet<number>): void {
    this.#hops.clear()
    this.#stack.generation++
    const named = new Set([...changed].filter(id => this.#named.has(id)))
    if (named.size === 0) return
    for (const fib of [this.#stack.fib4, this.#stack.fib6]) {
      for (const route of [...fib.routes()].filter(({ nextHopId }) => named.has(nextHopId))) {
        const object = this.#objects.get(route.nextHopId)
        if (object === undefined) this.#stack.removeRoute(route)
        else this.#updateRoute(route, object)
      }
    }
  }
  #updateRoute(route: FibRoute, object: NextHopObject): void {
    if (this.isBlackhole(object)) route.type = RTN_BLACKHOLE
    else if (route.type === RTN_BLACKHOLE) route.type = RTN_UNICAST
    route.nextHops = this.hopsOf(object)
  }
}

function sizeOf(object: NextHopObject | undefined): number {
  return object?.group?.length ?? 0
}
