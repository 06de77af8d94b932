/** Routing of IPv6: ip6_route_output and ip6_route_input. */
import {
  IPV6_MIN_MTU,
  RTN_ANYCAST,
  RTN_BLACKHOLE,
  RTN_LOCAL,
  RTN_MULTICAST,
  RTN_UNICAST,
} from '../../abi/constants.ts'
import { EINVAL, ENETUNREACH, ENODEV } from '../../abi/errno.ts'
import { type IpAddress, V6_ANY, V6_LOOPBACK } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { PACKET_LOOPBACK, type Packet } from '../packet.ts'
import type { FibResult } from './fib.ts'
import { type Flow, Route } from './flow.ts'
import { setKey } from './routing.ts'
import { selectSource6 } from './source-selection.ts'

export function routeOutput6(stack: IpStack, flow: Flow): Route | number {
  let { source, destination } = flow
  if (destination.isAny) destination = V6_LOOPBACK
  if (!source.isAny && !flow.anySource) {
    if (source.isMulticast || !stack.addresses.isLocal(source)) return -EINVAL
  }
  let bound = flow.device
  if (bound === 0 && destination.isMulticast) bound = flow.multicastDevice
  let device: NetDevice | undefined
  if (bound !== 0) {
    device = stack.devices.byIndex(bound)
    if (device === undefined) return -ENODEV
    if (!device.up) return -ENETUNREACH
  }
  const key = setKey(stack, destination, source.isAny ? undefined : source, flow)
  // A source that is given weighs more than a device, but for destinations that mean nothing without one.
  const strict = destination.needsScope || destination.isMulticast || destination.isLoopback || source.isAny
  key.device = strict ? bound : 0
  key.outputName = device?.name ?? ''
  const result = stack.fibResult
  const status = stack.rules6.lookup(stack.fib6, key, result)
  if (status < 0) return status
  if (flow.dontRoute && result.hop?.gateway !== undefined) return -ENETUNREACH
  const { route, hop } = result
  if (route.type === RTN_LOCAL) return localRoute(stack, destination, source.isAny ? destination : source)
  if (hop === undefined) return -ENETUNREACH
  if (source.isAny && !flow.keepsAnySource)
    source = route.source ?? selectSource6(stack, hop.device, destination) ?? V6_ANY
  return outputRoute(stack, destination, source, hop.device, hop.gateway, result)
}

/** As routeInput4. */
export function routeInput6(stack: IpStack, packet: Packet): number {
  const { source, destination } = packet
  const device = packet.device!
  const found = stack.inputRoute
  found.route = undefined
  found.redirect = false
  if (source.isMulticast || destination.isAny) return -EINVAL
  if (!device.isLoopback && (source.isLoopback || destination.isLoopback)) return -EINVAL
  if (destination.isMulticast) {
    const scope = (destination.w0 >>> 16) & 0xf
    // RFC 4291 §2.7: scope 0 is reserved, and what has scope 1 comes from the machine itself.
    const own = device.isLoopback || packet.type === PACKET_LOOPBACK
    if (scope === 0 || (scope === 1 && !own)) return -EINVAL
    if (!stack.multicast.listens(device, destination, source)) return -EINVAL
    found.type = RTN_MULTICAST
    return 0
  }
  if (stack.addresses.isLocal(destination, destination.isLinkLocal ? device : undefined)) {
    found.type = RTN_LOCAL
    return 0
  }
  // A link-local packet that came over loopback is for an address of another device of ours.
  if (destination.isLinkLocal && device.isLoopback && stack.addresses.isLocal(destination)) {
    found.type = RTN_LOCAL
    return 0
  }
  const key = setKey(stack, destination, source, undefined)
  key.inputName = device.name
  key.mark = packet.mark
  const result = stack.fibResult
  const status = stack.rules6.lookup(stack.fib6, key, result)
  if (status < 0) return status
  const { route, hop } = result
  found.type = route.type
  if (route.type === RTN_LOCAL || route.type === RTN_ANYCAST) {
    found.type = RTN_LOCAL
    return 0
  }
  if (route.type !== RTN_UNICAST || hop === undefined)
    return route.type === RTN_BLACKHOLE ? -EINVAL : -ENETUNREACH
  if (destination.isLinkLocal || source.isLinkLocal) return -EINVAL
  found.redirect = hop.device === device
  const mtu = route.metrics.mtu || mtu6(stack, hop.device)
  found.route = new Route(RTN_UNICAST, hop.device, source, destination, hop.gateway, mtu)
  return 0
}

/** The device's MTU, or the smaller one that a router advertised for its link. */
export function mtu6(stack: IpStack, device: NetDevice): number {
  const advertised = stack.slaac.linkMtu(device)
  return advertised === 0 ? device.mtu : Math.min(advertised, device.mtu)
}

function localRoute(stack: IpStack, destination: IpAddress, source: IpAddress): Route | number {
  const { loopback } = stack
  if (loopback === undefined) return -ENETUNREACH
  return new Route(RTN_LOCAL, loopback, source, destination, undefined, loopback.mtu)
}

function outputRoute(
  stack: IpStack,
  destination: IpAddress,
  source: IpAddress,
  device: NetDevice,
  gateway: IpAddress | undefined,
  result: FibResult,
): Route {
  const { metrics } = result.route
  const type = destination.isMulticast ? RTN_MULTICAST : RTN_UNICAST
  let mtu = metrics.mtu || mtu6(stack, device)
  const exception = type === RTN_UNICAST ? stack.exceptions.find(destination) : undefined
  let expires = Number.POSITIVE_INFINITY
  if (exception !== undefined) {
    if (exception.mtu !== 0 && exception.mtuExpires > stack.runtime.now() && exception.mtu < mtu) {
      mtu = Math.max(exception.mtu, IPV6_MIN_MTU)
      expires = exception.mtuExpires
    }
    gateway = exception.gateway ?? gateway
  }
  const route = new Route(type, device, source, destination, gateway, mtu)
  route.expires = expires
  route.mtuLocked = metrics.mtuLocked === true
  route.hopLimit = metrics.hopLimit ?? 0
  route.advmss = metrics.advmss ?? 0
  route.window = metrics.window ?? 0
  route.initialWindow = metrics.initialWindow ?? 0
  route.initialReceiveWindow = metrics.initialReceiveWindow ?? 0
  route.rtt = metrics.rtt ?? 0
  route.quickAck = metrics.quickAck ?? 0
  route.table = result.route.table
  return route
}
