/**
 * NextHopObjects: next hops with a number of their own, which routes name (`ip nexthop`, `nhid`): nexthop.c. One is a way, a hole, or
 * a group of others. When one changes, so do all routes that name it; when it ends, so do they, and its place in groups.
 */

import type { IpAddress } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import type { FibRoute, NextHop } from './fib.ts'

/** Of one namespace. */
const MAX_OBJECTS = 16384

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
  listener: NextHopListener | undefined = undefined

  constructor(stack: IpStack) {
    this.#stack = stack
  }

  get isFull(): boolean {
    return this.#objects.size >= MAX_OBJECTS
  }
  get isEmpty(): boolean {
    return this.#objects.size === 0
  }
  find(id: number): NextHopObject | undefined {
    return this.#objects.get(id)
  }
  all(): NextHopObject[] {
    return [...this.#objects.values()].sort((a, b) => a.id - b.id)
  }
  freeId(): number {
    for (let id = 1; ; id++) if (!this.#objects.has(id)) return id
  }

  set(object: NextHopObject): void {
    this.#objects.set(object.id, object)
    this.#hops.clear()
    this.#update(object.id)
    this.listener?.nextHopChanged(object, false)
  }

  remove(object: NextHopObject): void {
    if (!this.#objects.delete(object.id)) return
    this.#hops.clear()
    this.listener?.nextHopChanged(object, true)
    for (const route of this.#routesOf(object.id)) this.#stack.removeRoute(route)
    for (const other of this.all()) {
      if (!other.group?.some(member => member.id === object.id)) continue
      other.group = other.group.filter(member => member.id !== object.id)
      this.#hops.clear()
      if (other.group.length === 0) this.remove(other)
      else this.#update(other.id)
    }
  }

  /** A device is down, or gone. */
  deviceDown(device: NetDevice): void {
    if (this.#objects.size === 0) return
    for (const object of this.all()) if (object.device === device) this.remove(object)
  }

  /** What a route has that names it. */
  hopsOf(object: NextHopObject): NextHop[] {
    let hops = this.#hops.get(object.id)
    if (hops === undefined) {
      hops = this.#collect(object)
      this.#hops.set(object.id, hops)
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
    if (object.group === undefined) return object.blackhole
    return object.group.some(({ id }) => this.#objects.get(id)?.blackhole === true)
  }

  #hop(object: NextHopObject, weight: number): NextHop[] {
    const device = object.device ?? (object.blackhole ? this.#stack.loopback : undefined)
    if (device === undefined) return []
    return [{ device, gateway: object.gateway, weight, flags: object.flags }]
  }

  *#routesOf(id: number): IterableIterator<FibRoute> {
    for (const fib of [this.#stack.fib4, this.#stack.fib6])
      for (const route of [...fib.routes()]) if (route.nextHopId === id) yield route
  }

  /** Routes, and groups that it is in, have it as it is now. */
  #update(id: number): void {
    const object = this.#objects.get(id)
    if (object === undefined) return
    for (const route of this.#routesOf(id)) route.nextHops = this.hopsOf(object)
    this.#stack.generation++
    for (const other of this.#objects.values())
      if (other !== object && other.group?.some(member => member.id === id)) this.#update(other.id)
  }
}
