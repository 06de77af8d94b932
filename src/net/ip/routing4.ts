/** Routing of IPv4: the way out for a flow (ip_route_output), and what becomes of a packet that came in (ip_route_input). */
import {
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_LOCAL,
  RTN_BROADCAST,
  RTN_LOCAL,
  RTN_MULTICAST,
  RTN_UNICAST,
} from '../../abi/constants.ts'
import { EINVAL, ENETUNREACH, ENODEV } from '../../abi/errno.ts'
import { type IpAddress, V4_ANY, V4_LOOPBACK } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { PACKET_LOOPBACK, type Packet } from '../packet.ts'
import type { FibResult } from './fib.ts'
import { type Flow, Route } from './flow.ts'
import { IPV4_MIN_MTU } from './numbers.ts'
import { setKey } from './routing.ts'
import { selectSource4 } from './source-selection.ts'

/** A route, or -ENETUNREACH, -EINVAL, -ENODEV, and what routes of the unreachable kinds say. */
export function routeOutput4(stack: IpStack, flow: Flow): Route | number {
  let { source } = flow
  let destination = flow.destination
  if (!source.isAny) {
    if (source.isMulticast || source.isLimitedBroadcast || source.w3 >>> 24 === 0) return -EINVAL
    if (!flow.anySource && !isLocal4(stack, source)) return -EINVAL
  }
  const toLink = destination.isLinkMulticast || destination.isLimitedBroadcast
  let bound = flow.device
  if (bound === 0 && flow.multicastDevice !== 0 && destination.isMulticast) bound = flow.multicastDevice
  if (bound === 0 && !source.isAny && (destination.isMulticast || destination.isLimitedBroadcast)) {
    bound = stack.addresses.find(source)?.device.index ?? 0
  }
  let device: NetDevice | undefined
  if (bound !== 0) {
    device = stack.devices.byIndex(bound)
    if (device === undefined) return -ENODEV
    if (!device.up) return -ENETUNREACH
    if (toLink || destination.isMulticast) {
      if (source.isAny) source = selectSource4(stack, device, undefined, RT_SCOPE_LINK)
      return outputRoute(stack, flow, destination, source, device, undefined, undefined)
    }
    if (source.isAny && destination.isAny) source = selectSource4(stack, device, undefined, RT_SCOPE_HOST)
  }
  if (destination.isAny) {
    destination = source.isAny ? V4_LOOPBACK : source
    return localRoute(stack, destination, source.isAny ? V4_LOOPBACK : source)
  }
  const key = setKey(stack, flow.destination, source, flow)
  key.device = bound
  key.outputName = device?.name ?? ''
  key.scope = flow.dontRoute ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE
  const result = stack.fibResult
  const status = stack.rules4.lookup(stack.fib4, key, result)
  if (status < 0) {
    // A bound socket reaches what is on its link without a route, and whatever routes say.
    if (device === undefined) return status
    if (source.isAny) source = selectSource4(stack, device, undefined, RT_SCOPE_LINK)
    return outputRoute(stack, flow, destination, source, device, undefined, undefined)
  }
  const { route } = result
  if (route.type === RTN_LOCAL)
    return localRoute(stack, destination, source.isAny ? (route.source ?? destination) : source)
  const hop = result.hop!
  if (source.isAny) {
    source =
      route.source ??
      selectSource4(stack, hop.device, hop.gateway?.isV4 ? hop.gateway : undefined, route.scope)
  }
  return outputRoute(stack, flow, destination, source, hop.device, hop.gateway, result)
}

/** What becomes of a packet that came in: what `routeInput` found, one object used again. */
export class InputRoute {
  /** RTN_LOCAL, RTN_BROADCAST and RTN_MULTICAST: for us. RTN_UNICAST: to be forwarded along `route`. */
  type = 0
  route: Route | undefined = undefined
  /** The packet goes out where it came in, on one network: a redirect is due. */
  redirect = false
}

/** 0 and stack.inputRoute, or a negative errno: -EINVAL for martians, which are dropped without a word. */
export function routeInput4(stack: IpStack, packet: Packet): number {
  const { source, destination } = packet
  const device = packet.device!
  const found = stack.inputRoute
  found.route = undefined
  found.redirect = false
  if (source.isMulticast || source.isLimitedBroadcast) return -EINVAL
  if (destination.isLimitedBroadcast || (source.isAny && destination.isAny)) {
    found.type = RTN_BROADCAST
    return source.isAny ? 0 : validateSource(stack, packet, device)
  }
  if (source.w3 >>> 24 === 0 && !(source.isAny && destination.isMulticast)) return -EINVAL
  if (destination.w3 >>> 24 === 0) return -EINVAL
  if (!device.isLoopback && (source.isLoopback || destination.isLoopback)) {
    if (!stack.sysctls.either(device.index, 'route_localnet')) return -EINVAL
  }
  if (destination.isMulticast) {
    if (!stack.multicast.listens(device, destination, source)) return -EINVAL
    found.type = RTN_MULTICAST
    return source.isAny ? 0 : validateSource(stack, packet, device)
  }
  const key = setKey(stack, destination, source, undefined)
  key.inputName = device.name
  key.tos = packet.tos & 0x1e
  key.mark = packet.mark
  const result = stack.fibResult
  const status = stack.rules4.lookup(stack.fib4, key, result)
  if (status < 0) return status
  const { route, hop } = result
  const { type } = route
  const { metrics } = route
  const valid = validateSource(stack, packet, device)
  if (valid < 0) return valid
  found.type = type
  if (type === RTN_LOCAL || type === RTN_BROADCAST) return 0
  if (type !== RTN_UNICAST || hop === undefined) return -EINVAL
  found.redirect = hop.device === device && onLink(stack, device, source, hop.gateway)
  const mtu = metrics.mtu || hop.device.mtu
  found.route = new Route(RTN_UNICAST, hop.device, source, destination, hop.gateway, mtu)
  return 0
}

/**
 * fib_validate_source: the source must not be ours or a broadcast address; with rp_filter 1 the way back must lead out of
 * the same device (RFC 3704 strict), with 2 there must be one.
 */
function validateSource(stack: IpStack, packet: Packet, device: NetDevice): number {
  const filter = stack.sysctls.most(device.index, 'rp_filter')
  // Our own packets, of course, have our addresses.
  if (device.isLoopback || packet.type === PACKET_LOOPBACK) return 0
  const key = setKey(stack, packet.source, packet.destination, undefined)
  key.inputName = stack.loopback?.name ?? 'lo'
  key.tos = packet.tos & 0x1e
  key.mark = 0
  const result = stack.fibResult
  const status = stack.rules4.lookup(stack.fib4, key, result)
  if (status < 0) return filter === 0 ? 0 : status
  const { route } = result
  if (route.type === RTN_LOCAL) return stack.sysctls.either(device.index, 'accept_local') ? 0 : -EINVAL
  if (route.type !== RTN_UNICAST) return -EINVAL
  if (filter !== 1 || route.nextHops.some(hop => hop.device === device)) return 0
  stack.counters.tcpExt.IPReversePathFilter++
  return -EINVAL
}

/** Whether it is an address of ours: those of devices and, by routes of the local table, all of 127.0.0.0/8. */
export function isLocal4(stack: IpStack, address: IpAddress): boolean {
  return stack.addresses.isLocal(address) || addressType4(stack, address) === RTN_LOCAL
}

/** inet_addr_type: RTN_* of an address by itself, whatever the rules say. */
export function addressType4(stack: IpStack, address: IpAddress): number {
  if (address.isMulticast) return RTN_MULTICAST
  if (address.isAny || address.isLimitedBroadcast) return RTN_BROADCAST
  const key = setKey(stack, address, undefined, undefined)
  const table = stack.fib4.tables.get(RT_TABLE_LOCAL)
  return table !== undefined && table.lookup(key, stack.fibResult) === 0
    ? stack.fibResult.route.type
    : RTN_UNICAST
}

/** Whether both are in one network of the device. */
function onLink(
  stack: IpStack,
  device: NetDevice,
  source: IpAddress,
  gateway: IpAddress | undefined,
): boolean {
  for (const entry of stack.addresses.of(device)) {
    if (!entry.address.isV4 || !source.inPrefix(entry.address, entry.length)) continue
    if (gateway === undefined || gateway.inPrefix(entry.address, entry.length)) return true
  }
  return false
}

function localRoute(stack: IpStack, destination: IpAddress, source: IpAddress): Route | number {
  const { loopback } = stack
  // Local traffic runs over the loopback device. While that is down it has a route all the same, and is lost.
  if (loopback === undefined) return -ENETUNREACH
  return new Route(RTN_LOCAL, loopback, source, destination, undefined, loopback.mtu)
}

function outputRoute(
  stack: IpStack,
  flow: Flow,
  destination: IpAddress,
  source: IpAddress,
  device: NetDevice,
  gateway: IpAddress | undefined,
  result: FibResult | undefined,
): Route | number {
  if (source.isLoopback && !device.isLoopback && !stack.sysctls.either(device.index, 'route_localnet')) {
    return -EINVAL
  }
  if (destination.w3 >>> 24 === 0 && !destination.isAny) return -EINVAL
  let type = RTN_UNICAST
  if (destination.isMulticast) type = RTN_MULTICAST
  else if (destination.isLimitedBroadcast || result?.route.type === RTN_BROADCAST) type = RTN_BROADCAST
  // The way of a broadcast is its link, and so is a multicast's unless the route is meant for it.
  if (type === RTN_BROADCAST || (type === RTN_MULTICAST && result !== undefined && result.route.length < 4)) {
    gateway = undefined
    result = undefined
  }
  const metrics = result?.route.metrics
  let mtu = Math.min(metrics?.mtu || device.mtu, 65535)
  const route = new Route(type, device, source.isAny ? V4_ANY : source, destination, gateway, mtu)
  if (metrics !== undefined) {
    route.mtuLocked = metrics.mtuLocked === true
    route.hopLimit = metrics.hopLimit ?? 0
    route.advmss = metrics.advmss ?? 0
    route.window = metrics.window ?? 0
    route.initialWindow = metrics.initialWindow ?? 0
    route.initialReceiveWindow = metrics.initialReceiveWindow ?? 0
    route.rtt = metrics.rtt ?? 0
    route.quickAck = metrics.quickAck ?? 0
    route.table = result!.route.table
  }
  const exception = type === RTN_UNICAST ? stack.exceptions.find(destination) : undefined
  if (exception === undefined) return route
  const now = stack.runtime.now()
  if (exception.mtu !== 0 && exception.mtuExpires > now && exception.mtu < mtu) {
    mtu = Math.max(exception.mtu, IPV4_MIN_MTU)
    route.mtu = mtu
    route.expires = exception.mtuExpires
  }
  if (exception.gateway === undefined || flow.dontRoute) return route
  const redirected = new Route(type, device, route.source, destination, exception.gateway, mtu)
  redirected.expires = route.expires
  return redirected
}
