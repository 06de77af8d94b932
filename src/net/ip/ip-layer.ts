/** IpLayer: what transports call: the way for a flow, and sending along it. */
import { IPV6_MIN_MTU } from '../../abi/constants.ts'
import { NSEC_PER_SEC } from '../../base/clock.ts'
import type { Status } from '../../base/result.ts'
import type { IpStack } from '../ip-stack.ts'
import type { Packet } from '../packet.ts'
import type { Flow, Route } from './flow.ts'
import { send4 } from './ipv4-output.ts'
import { send6 } from './ipv6-output.ts'
import { routeOutput4 } from './routing4.ts'
import { routeOutput6 } from './routing6.ts'
import type { IcmpError } from './transport.ts'

export class IpLayer {
  readonly #stack: IpStack

  constructor(stack: IpStack) {
    this.#stack = stack
  }

  /**
   * The way of a flow's packets, from the flow's own memory as long as nothing has changed. Route.source is the address
   * that they get. Negative errno: -ENETUNREACH, -EHOSTUNREACH, -EINVAL, -EACCES, -ENODEV.
   */
  routeFor(flow: Flow): Route | number {
    const stack = this.#stack
    const known = flow.route
    if (known !== undefined && flow.routeGeneration === stack.generation) {
      if (known.expires === Number.POSITIVE_INFINITY || known.expires > stack.runtime.now()) return known
    }
    const route = flow.destination.isV4 ? routeOutput4(stack, flow) : routeOutput6(stack, flow)
    if (typeof route === 'number') {
      flow.route = undefined
      if (flow.destination.isV4) stack.counters.ip.OutNoRoutes++
      else stack.counters.ip6.OutNoRoutes++
      return route
    }
    flow.route = route
    flow.routeGeneration = stack.generation
    return route
  }

  /**
   * A transport believes an ICMP 'too big': RFC 1191 §6, RFC 8201 §4. Routes to the destination have the smaller MTU for
   * mtu_expires; an MTU never rises by ICMP, and never falls below min_pmtu (1280 for IPv6).
   */
  lowerMtu(error: IcmpError): void {
    const stack = this.#stack
    const { destination, isV4 } = error
    const { sysctls } = stack
    const least = isV4 ? sysctls.ipv4Route.min_pmtu : IPV6_MIN_MTU
    const mtu = Math.max(error.info, least)
    const now = stack.runtime.now()
    const exception = stack.exceptions.get(destination)
    if (exception.mtu !== 0 && exception.mtuExpires > now && exception.mtu < mtu) return
    const seconds = isV4 ? sysctls.ipv4Route.mtu_expires : sysctls.ipv6Route.mtu_expires
    exception.mtu = mtu
    exception.mtuExpires = now + seconds * NSEC_PER_SEC
    stack.generation++
  }

  /**
   * Sends a packet with its transport header at packet.start: packet.checksum is NONE (complete) or PARTIAL. Takes the
   * packet in any case. 0, or a negative errno: those of routeFor, -EMSGSIZE (longer than the path lets through and not
   * to be fragmented), -ENOBUFS, -EPERM (a filter refuses it).
   */
  send(packet: Packet, flow: Flow): Status {
    const route = this.routeFor(flow)
    if (typeof route === 'number') {
      packet.release()
      return route
    }
    return flow.destination.isV4
      ? send4(this.#stack, packet, flow, route)
      : send6(this.#stack, packet, flow, route)
  }
}
