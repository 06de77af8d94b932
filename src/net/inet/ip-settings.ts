/**
 * IpSettings: what SOL_IP and SOL_IPV6 options have set for one socket: ip(7), ipv6(7). `apply` puts them into the Flow
 * that its packets are sent along.
 */
import {
  AF_INET,
  IP_FREEBIND,
  IP_MTU_DISCOVER,
  IP_MULTICAST_ALL,
  IP_MULTICAST_LOOP,
  IP_MULTICAST_TTL,
  IP_PMTUDISC_DO,
  IP_PMTUDISC_WANT,
  IP_TOS,
  IP_TRANSPARENT,
  IP_TTL,
  IP_UNICAST_IF,
  IPV6_AUTOFLOWLABEL,
  IPV6_DONTFRAG,
  IPV6_FREEBIND,
  IPV6_MTU_DISCOVER,
  IPV6_MULTICAST_ALL,
  IPV6_MULTICAST_HOPS,
  IPV6_MULTICAST_LOOP,
  IPV6_TCLASS,
  IPV6_TRANSPARENT,
  IPV6_UNICAST_HOPS,
  IPV6_UNICAST_IF,
} from '../../abi/constants.ts'
import { type IpAddress, V4_ANY } from '../address.ts'
import type { Flow } from '../ip/flow.ts'

/** Where they aren't 0 at first. */
const INITIAL_V4: ReadonlyMap<number, number> = new Map([
  [IP_TTL, -1],
  [IP_MULTICAST_TTL, 1],
  [IP_MULTICAST_LOOP, 1],
  [IP_MTU_DISCOVER, IP_PMTUDISC_WANT],
  [IP_MULTICAST_ALL, 1],
])
/** Sockets of IPv6 hear no more than the groups of IPv4 that they have joined. */
const INITIAL_V4_OF_V6: ReadonlyMap<number, number> = new Map([...INITIAL_V4, [IP_MULTICAST_ALL, 0]])
const INITIAL_V6: ReadonlyMap<number, number> = new Map([
  [IPV6_UNICAST_HOPS, -1],
  [IPV6_MULTICAST_HOPS, 1],
  [IPV6_MULTICAST_LOOP, 1],
  [IPV6_MTU_DISCOVER, IP_PMTUDISC_WANT],
  [IPV6_MULTICAST_ALL, 1],
  [IPV6_AUTOFLOWLABEL, 1],
])

export class IpSettings {
  readonly #initial4: ReadonlyMap<number, number>
  readonly #v4 = new Map<number, number>()
  readonly #v6 = new Map<number, number>()
  /** IP_MULTICAST_IF: the device, and the address that was named. */
  multicastDevice4 = 0
  multicastAddress = V4_ANY
  multicastDevice6 = 0
  /** IPV6_PKTINFO as an option: source and device of all that is sent. */
  stickySource: IpAddress | undefined = undefined
  stickyDevice = 0
  /** IP_OPTIONS as set. */
  ipOptions = new Uint8Array(0)

  constructor(family: number) {
    this.#initial4 = family === AF_INET ? INITIAL_V4 : INITIAL_V4_OF_V6
  }

  v4(name: number): number {
    return this.#v4.get(name) ?? this.#initial4.get(name) ?? 0
  }
  v6(name: number): number {
    return this.#v6.get(name) ?? INITIAL_V6.get(name) ?? 0
  }
  setV4(name: number, value: number): void {
    this.#v4.set(name, value)
  }
  setV6(name: number, value: number): void {
    this.#v6.set(name, value)
  }
  /** Whether any option that asks for control messages is on. */
  get empty(): boolean {
    return this.#v4.size === 0 && this.#v6.size === 0
  }

  /** What a connection has of its listener. */
  copy(from: IpSettings): void {
    for (const [name, value] of from.#v4) this.#v4.set(name, value)
    for (const [name, value] of from.#v6) this.#v6.set(name, value)
  }

  get freeBind(): boolean {
    return [IP_FREEBIND, IP_TRANSPARENT].some(name => this.v4(name) !== 0) || this.#freeBind6
  }
  get transparent(): boolean {
    return this.v4(IP_TRANSPARENT) !== 0 || this.v6(IPV6_TRANSPARENT) !== 0
  }
  get #freeBind6(): boolean {
    return [IPV6_FREEBIND, IPV6_TRANSPARENT].some(name => this.v6(name) !== 0)
  }

  /** `isV4`: what the flow's destination is. */
  apply(flow: Flow, isV4: boolean): void {
    if (isV4) {
      flow.ttl = this.v4(IP_TTL)
      flow.tos = this.v4(IP_TOS)
      flow.multicastTtl = this.v4(IP_MULTICAST_TTL)
      flow.multicastLoop = this.v4(IP_MULTICAST_LOOP) !== 0
      flow.multicastDevice = this.multicastDevice4
      flow.pmtuDiscovery = this.v4(IP_MTU_DISCOVER)
      flow.options = this.ipOptions.length > 0 ? this.ipOptions : undefined
    } else {
      flow.ttl = this.v6(IPV6_UNICAST_HOPS)
      flow.tos = Math.max(this.v6(IPV6_TCLASS), 0)
      flow.multicastTtl = this.v6(IPV6_MULTICAST_HOPS)
      flow.multicastLoop = this.v6(IPV6_MULTICAST_LOOP) !== 0
      flow.multicastDevice = this.multicastDevice6
      flow.pmtuDiscovery = this.v6(IPV6_DONTFRAG) !== 0 ? IP_PMTUDISC_DO : this.v6(IPV6_MTU_DISCOVER)
      flow.options = undefined
    }
    flow.anySource = this.freeBind
    flow.transparent = this.transparent
    flow.forgetRoute()
  }

  /** IP_UNICAST_IF, IPV6_UNICAST_IF: where unicast goes out if nothing else says; 0: anywhere. */
  unicastDevice(isV4: boolean): number {
    return isV4 ? this.v4(IP_UNICAST_IF) : this.v6(IPV6_UNICAST_IF)
  }
}
