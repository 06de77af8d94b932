/** The routes that an address implies: itself, its network, its broadcast address. fib_add_ifaddr, addrconf. */
import {
  IFA_F_NOPREFIXROUTE,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_TABLE_LOCAL,
  RT_TABLE_MAIN,
  RTN_BROADCAST,
  RTN_LOCAL,
  RTN_MULTICAST,
  RTN_UNICAST,
  RTPROT_KERNEL,
} from '../../abi/constants.ts'
import { IpAddress, maskWord } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { FibRoute } from './fib.ts'
import type { InterfaceAddress } from './interface-address.ts'

/** IP6_RT_PRIO_ADDRCONF: the metric of IPv6 prefix routes. */
const PREFIX_METRIC = 256

/** Adds those that are missing, behind what is there: called again when the device goes up. */
export function addRoutesOf(stack: IpStack, entry: InterfaceAddress): void {
  for (const route of routesOf(entry)) stack.addRoute(route, { append: true })
}

/** Removes those that no other address of the device implies. */
export function removeRoutesOf(stack: IpStack, entry: InterfaceAddress): void {
  const others = stack.addresses.of(entry.device).filter(other => other.address.isV4 === entry.address.isV4)
  const kept = others.flatMap(other => routesOf(other))
  const fib = entry.address.isV4 ? stack.fib4 : stack.fib6
  for (const route of routesOf(entry)) {
    if (kept.some(other => samePlace(other, route) && sameSource(other, route))) continue
    for (const known of fib.table(route.table).at(route.destination, route.length)) {
      if (known.protocol !== RTPROT_KERNEL || known.type !== route.type || !known.uses(entry.device)) continue
      if (!sameSource(known, route)) continue
      stack.removeRoute(known)
    }
  }
  if (!entry.address.isV4) return
  // Routes that name the address as their source have lost it, wherever they lead.
  if (stack.addresses.find(entry.address) !== undefined) return
  for (const route of [...stack.fib4.routes()]) {
    if (route.source?.equals(entry.address)) stack.removeRoute(route)
  }
}

/** ff00::/8 of a device: where multicasts go. */
export function multicastRoute(device: NetDevice): FibRoute {
  const route = new FibRoute(new IpAddress(0xff000000, 0, 0, 0), 8)
  return fill(route, device, RT_TABLE_LOCAL, RTN_MULTICAST, 0, PREFIX_METRIC)
}

function routesOf(entry: InterfaceAddress): FibRoute[] {
  return entry.address.isV4 ? routesOf4(entry) : routesOf6(entry)
}

function routesOf4(entry: InterfaceAddress): FibRoute[] {
  const { device, address, length } = entry
  const prefix = entry.prefixAddress
  const routes: FibRoute[] = []
  const add = (
    destination: IpAddress,
    bits: number,
    table: number,
    type: number,
    scope: number,
    priority = 0,
  ): void => {
    const route = fill(new FibRoute(destination, bits), device, table, type, scope, priority)
    route.source = address
    routes.push(route)
  }
  add(address, 32, RT_TABLE_LOCAL, RTN_LOCAL, RT_SCOPE_HOST)
  if (!device.up) return routes
  const { broadcast } = entry
  if (broadcast !== undefined && !broadcast.isLimitedBroadcast) {
    add(broadcast, 32, RT_TABLE_LOCAL, RTN_BROADCAST, RT_SCOPE_LINK)
  }
  if (prefix.masked(length).w3 === 0 || (entry.secondary && entry.peer === undefined)) return routes
  if (entry.peer === undefined && length === 32) return routes
  const loopback = device.isLoopback
  if ((entry.flags & IFA_F_NOPREFIXROUTE) === 0) {
    const table = loopback ? RT_TABLE_LOCAL : RT_TABLE_MAIN
    const type = loopback ? RTN_LOCAL : RTN_UNICAST
    add(prefix, length, table, type, loopback ? RT_SCOPE_HOST : RT_SCOPE_LINK, entry.priority)
  }
  if (length < 31) {
    const last = IpAddress.v4(prefix.w3 | ~maskWord(length))
    if (!broadcast?.equals(last)) add(last, 32, RT_TABLE_LOCAL, RTN_BROADCAST, RT_SCOPE_LINK)
  }
  return routes
}

function routesOf6(entry: InterfaceAddress): FibRoute[] {
  const { device, address } = entry
  if (!entry.usable) return []
  const routes = [fill(new FibRoute(address, 128), device, RT_TABLE_LOCAL, RTN_LOCAL, 0, 0)]
  if ((entry.flags & IFA_F_NOPREFIXROUTE) === 0 && entry.ownsPrefixRoute && !device.isLoopback) {
    const metric = entry.priority || PREFIX_METRIC
    routes.push(
      fill(new FibRoute(entry.prefixAddress, entry.length), device, RT_TABLE_MAIN, RTN_UNICAST, 0, metric),
    )
  }
  return routes
}

function fill(
  route: FibRoute,
  device: NetDevice,
  table: number,
  type: number,
  scope: number,
  priority: number,
): FibRoute {
  route.table = table
  route.type = type
  route.scope = scope
  route.priority = priority
  route.protocol = RTPROT_KERNEL
  route.nextHops.push({ device, gateway: undefined, weight: 1, flags: 0 })
  return route
}

function samePlace(a: FibRoute, b: FibRoute): boolean {
  return (
    a.table === b.table && a.type === b.type && a.length === b.length && a.destination.equals(b.destination)
  )
}

function sameSource(a: FibRoute, b: FibRoute): boolean {
  return a.source === undefined || b.source === undefined ? a.source === b.source : a.source.equals(b.source)
}
