/** RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE: rtnetlink(7), `ip route`. */
import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_DUMP_FILTERED,
  NLM_F_EXCL,
  NLM_F_MULTI,
  NLM_F_REPLACE,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_SCOPE_NOWHERE,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTA_CACHEINFO,
  RTA_DST,
  RTA_EXPIRES,
  RTA_GATEWAY,
  RTA_IIF,
  RTA_MARK,
  RTA_METRICS,
  RTA_MULTIPATH,
  RTA_NH_ID,
  RTA_OIF,
  RTA_PREF,
  RTA_PREFSRC,
  RTA_PRIORITY,
  RTA_SRC,
  RTA_TABLE,
  RTA_UID,
  RTA_VIA,
  RTAX_ADVMSS,
  RTAX_HOPLIMIT,
  RTAX_INITCWND,
  RTAX_INITRWND,
  RTAX_LOCK,
  RTAX_MTU,
  RTAX_QUICKACK,
  RTAX_RTT,
  RTAX_WINDOW,
  RTM_F_CLONED,
  RTM_F_FIB_MATCH,
  RTM_NEWROUTE,
  RTN_BLACKHOLE,
  RTN_LOCAL,
  RTN_PROHIBIT,
  RTN_THROW,
  RTN_UNICAST,
  RTN_UNREACHABLE,
  RTNH_F_LINKDOWN,
  RTNH_F_ONLINK,
} from '../../../abi/constants.ts'
import { EHOSTUNREACH, EINVAL, ENETDOWN, ENETUNREACH, ENODEV, EOPNOTSUPP, ESRCH } from '../../../abi/errno.ts'
import { RTA_CACHEINFO as CACHEINFO, RTMSG, RTNEXTHOP } from '../../../abi/layout.ts'
import { failed, type Status } from '../../../base/result.ts'
import type { IpAddress } from '../../address.ts'
import { V4_ANY, V6_ANY } from '../../address.ts'
import { FibRoute, type NextHop, type RouteMetrics } from '../../ip/fib.ts'
import { Flow } from '../../ip/flow.ts'
import type { IpStack } from '../../ip-stack.ts'
import { Attributes, align4, MessageWriter, viewOf } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import { readAddress } from './address.ts'

/** The largest rtm_type that there is: RTN_MAX. */
const RTN_MAX = 11
/** Shown of a route to this machine. */
const RTCF_LOCAL = 0x80000000
/** IP6_RT_PRIO_USER: what an IPv6 route has without a metric. */
const DEFAULT_METRIC6 = 1024
/** Times are told in hundredths of a second. */
const TICK = 1e7
const SECOND = 1e9
/** More next hops in one route are refused. */
const MAX_HOPS = 256
/** Types that lead nowhere. */
const REJECTS: ReadonlySet<number> = new Set([RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT, RTN_THROW])

const METRICS: readonly (readonly [number, Exclude<keyof RouteMetrics, 'mtuLocked'>])[] = [
  [RTAX_MTU, 'mtu'],
  [RTAX_WINDOW, 'window'],
  [RTAX_RTT, 'rtt'],
  [RTAX_ADVMSS, 'advmss'],
  [RTAX_HOPLIMIT, 'hopLimit'],
  [RTAX_INITCWND, 'initialWindow'],
  [RTAX_INITRWND, 'initialReceiveWindow'],
  [RTAX_QUICKACK, 'quickAck'],
]

export function writeRoute(
  writer: MessageWriter,
  route: FibRoute,
  type: number,
  flags: number,
  sequence: number,
  port: number,
  now = Number.POSITIVE_INFINITY,
): void {
  const { isV4 } = route.destination
  writer.start(type, flags, sequence, port)
  const at = writer.struct(RTMSG.size)
  writer.set8(at + RTMSG.rtm_family, isV4 ? AF_INET : AF_INET6)
  writer.set8(at + RTMSG.rtm_dst_len, route.length)
  writer.set8(at + RTMSG.rtm_tos, route.tos)
  writer.set8(at + RTMSG.rtm_table, route.table < 256 ? route.table : 252)
  writer.set8(at + RTMSG.rtm_protocol, route.protocol)
  writer.set8(at + RTMSG.rtm_scope, route.scope)
  writer.set8(at + RTMSG.rtm_type, route.type)
  const only = route.nextHops.length === 1 ? route.nextHops[0] : undefined
  writer.set32(at + RTMSG.rtm_flags, route.flags | (only === undefined ? 0 : hopFlags(only)))
  writer.u32(RTA_TABLE, route.table)
  if (route.length > 0) writer.bytes(RTA_DST, route.destination.bytes())
  if (route.priority !== 0 || !isV4) writer.u32(RTA_PRIORITY, route.priority)
  writeMetrics(writer, route.metrics)
  if (route.source !== undefined) writer.bytes(RTA_PREFSRC, route.source.bytes())
  if (route.nextHopId !== 0) writer.u32(RTA_NH_ID, route.nextHopId)
  if (only !== undefined) {
    writeGateway(writer, only.gateway, isV4)
    writer.u32(RTA_OIF, only.device.index)
  } else if (route.nextHops.length > 1) {
    writeHops(writer, route.nextHops, isV4)
  }
  if (!isV4) {
    const info = writer.attribute(RTA_CACHEINFO, CACHEINFO.size)
    if (route.expires !== Number.POSITIVE_INFINITY && now < route.expires)
      writer.set32(info + CACHEINFO.rta_expires, Math.round((route.expires - now) / TICK))
    if (REJECTS.has(route.type)) writer.set32(info + CACHEINFO.rta_error, -101)
    writer.u8(RTA_PREF, route.preference === 1 ? 1 : route.preference === -1 ? 3 : 0)
  }
  writer.end()
}

function writeMetrics(writer: MessageWriter, metrics: RouteMetrics): void {
  if (METRICS.every(([, name]) => !metrics[name])) return
  const nest = writer.nest(RTA_METRICS)
  if (metrics.mtuLocked) writer.u32(RTAX_LOCK, 1 << RTAX_MTU)
  for (const [type, name] of METRICS) if (metrics[name]) writer.u32(type, metrics[name])
  writer.close(nest)
}

/** RTA_VIA is a family and an address: of another family than the route's. */
function writeGateway(writer: MessageWriter, gateway: IpAddress | undefined, isV4: boolean): void {
  if (gateway === undefined) return
  const bytes = gateway.bytes()
  if (gateway.isV4 === isV4) {
    writer.bytes(RTA_GATEWAY, bytes)
    return
  }
  const at = writer.attribute(RTA_VIA, 2 + bytes.length)
  writer.set16(at, gateway.isV4 ? AF_INET : AF_INET6)
  writer.setBytes(at + 2, bytes)
}

function writeHops(writer: MessageWriter, hops: readonly NextHop[], isV4: boolean): void {
  const nest = writer.nest(RTA_MULTIPATH)
  for (const hop of hops) {
    const start = writer.length
    const at = writer.struct(RTNEXTHOP.size)
    writer.set8(at + RTNEXTHOP.rtnh_flags, hopFlags(hop))
    writer.set8(at + RTNEXTHOP.rtnh_hops, hop.weight - 1)
    writer.set32(at + RTNEXTHOP.rtnh_ifindex, hop.device.index)
    writeGateway(writer, hop.gateway, isV4)
    writer.set16(at + RTNEXTHOP.rtnh_len, writer.length - start)
  }
  writer.close(nest)
}

function hopFlags(hop: NextHop): number {
  return hop.flags | (hop.device.up && !hop.device.carrier ? RTNH_F_LINKDOWN : 0)
}

export function dumpRoutes(stack: IpStack, request: NetlinkRequest, family: number): Status | Dump {
  const { body, socket } = request
  let table = 0
  let device = 0
  let protocol = 0
  let type = 0
  let flags = 0
  if (body.length >= RTMSG.size) {
    const attributes = new Attributes(body, RTMSG.size)
    if ((request.view.getUint32(RTMSG.rtm_flags, true) & RTM_F_CLONED) !== 0)
      return new ListDump([], () => {})
    if (socket.strict) {
      const { view } = request
      const odd = [RTMSG.rtm_dst_len, RTMSG.rtm_src_len, RTMSG.rtm_tos, RTMSG.rtm_scope]
      if (odd.some(at => view.getUint8(at) !== 0)) {
        request.reason = 'Invalid values in header for FIB dump request'
        return -EINVAL
      }
      table = attributes.u32(RTA_TABLE) ?? view.getUint8(RTMSG.rtm_table)
      device = attributes.u32(RTA_OIF) ?? 0
      protocol = view.getUint8(RTMSG.rtm_protocol)
      type = view.getUint8(RTMSG.rtm_type)
      if (device !== 0 && stack.devices.byIndex(device) === undefined) return -ENODEV
      if (table !== 0 || device !== 0 || protocol !== 0 || type !== 0) flags = NLM_F_DUMP_FILTERED
    }
  } else if (socket.strict) {
    request.reason = 'Invalid header for FIB dump request'
    return -EINVAL
  }
  const found: FibRoute[] = []
  for (const each of family === AF_UNSPEC ? [AF_INET, AF_INET6] : [family]) {
    const fib = each === AF_INET ? stack.fib4 : stack.fib6
    for (const id of [...fib.tables.keys()].sort(tableOrder)) {
      if (table !== 0 && id !== table) continue
      for (const route of orderRoutes(fib.tables.get(id)!.routes())) {
        if (device !== 0 && !route.nextHops.some(hop => hop.device.index === device)) continue
        if ((protocol !== 0 && route.protocol !== protocol) || (type !== 0 && route.type !== type)) continue
        found.push(route)
      }
    }
  }
  const { sequence, port } = request
  const now = stack.runtime.now()
  return new ListDump(
    found,
    (writer, route) => writeRoute(writer, route, RTM_NEWROUTE, NLM_F_MULTI | flags, sequence, port, now),
    flags,
    () => stack.generation,
  )
}

/** Linux's hash of tables puts main before local: 254, 255, then the others. */
function tableOrder(a: number, b: number): number {
  const place = (id: number) => id & 0xff
  return place(a) - place(b) || a - b
}

/** By address, the shorter prefix first: as Linux walks its trie. */
export function orderRoutes(routes: Iterable<FibRoute>): FibRoute[] {
  return [...routes].sort((a, b) => {
    const x = a.destination
    const y = b.destination
    return x.w0 - y.w0 || x.w1 - y.w1 || x.w2 - y.w2 || x.w3 - y.w3 || a.length - b.length
  })
}

/** `ip route get`: where a packet would go. */
export function getRoute(stack: IpStack, request: NetlinkRequest, family: number): Status {
  const { body, view } = request
  if (body.length < RTMSG.size) return -EINVAL
  const attributes = new Attributes(body, RTMSG.size)
  const isV4 = family === AF_INET
  const flow = new Flow()
  const wanted = readAddress(attributes.get(RTA_DST), family)
  flow.destination = wanted ?? (isV4 ? V4_ANY : V6_ANY)
  flow.source = readAddress(attributes.get(RTA_SRC), family) ?? (isV4 ? V4_ANY : V6_ANY)
  flow.device = attributes.u32(RTA_OIF) ?? 0
  flow.mark = attributes.u32(RTA_MARK) ?? 0
  flow.tos = view.getUint8(RTMSG.rtm_tos)
  flow.uid = request.task.cred.fsuid
  // How a packet that came in would be forwarded isn't told.
  if (attributes.has(RTA_IIF)) return -EOPNOTSUPP
  const route = stack.ip.routeFor(flow)
  if (failed(route)) return route
  const writer = new MessageWriter()
  if ((view.getUint32(RTMSG.rtm_flags, true) & RTM_F_FIB_MATCH) !== 0) {
    // Where nothing was looked up (any address is this machine's) there is no entry.
    if (flow.destination.isAny) return -EHOSTUNREACH
    const { route: entry } = stack.fibResult
    writeRoute(writer, entry, RTM_NEWROUTE, 0, request.sequence, request.port)
    return request.answer(writer)
  }
  writer.start(RTM_NEWROUTE, 0, request.sequence, request.port)
  const at = writer.struct(RTMSG.size)
  const table = route.type === RTN_LOCAL ? 255 : route.table || RT_TABLE_MAIN
  writer.set8(at + RTMSG.rtm_family, family)
  writer.set8(at + RTMSG.rtm_dst_len, isV4 ? 32 : 128)
  writer.set8(at + RTMSG.rtm_table, table < 256 ? table : 252)
  writer.set8(at + RTMSG.rtm_type, route.type)
  writer.set32(at + RTMSG.rtm_flags, isV4 ? RTM_F_CLONED | (route.type === RTN_LOCAL ? RTCF_LOCAL : 0) : 0)
  if (flow.destination !== undefined) writer.bytes(RTA_DST, route.destination.bytes())
  writer.u32(RTA_TABLE, table)
  if (!flow.source.isAny && isV4) writer.bytes(RTA_SRC, flow.source.bytes())
  writer.u32(RTA_OIF, route.device.index)
  if (!route.source.isAny) writer.bytes(RTA_PREFSRC, route.source.bytes())
  writeGateway(writer, route.gateway, isV4)
  if (flow.mark !== 0) writer.u32(RTA_MARK, flow.mark)
  if (isV4) writer.u32(RTA_UID, flow.uid)
  writer.attribute(RTA_CACHEINFO, CACHEINFO.size)
  if (!isV4) writer.u8(RTA_PREF, 0)
  writer.end()
  return request.answer(writer)
}

/** A FibRoute as a request describes it, its next hops unchecked. */
function parseRoute(stack: IpStack, request: NetlinkRequest, family: number): FibRoute | Status {
  const { body, view } = request
  if (body.length < RTMSG.size) return -EINVAL
  const isV4 = family === AF_INET
  const attributes = new Attributes(body, RTMSG.size)
  const length = view.getUint8(RTMSG.rtm_dst_len)
  if (length > (isV4 ? 32 : 128)) return refuse(request, 'Invalid prefix length')
  const type = view.getUint8(RTMSG.rtm_type)
  if (type > RTN_MAX) return refuse(request, 'Invalid route type')
  const given = readAddress(attributes.get(RTA_DST), family)
  if (given === undefined && attributes.has(RTA_DST)) return -EINVAL
  const destination = given ?? (isV4 ? V4_ANY : V6_ANY)
  if (isV4 && !destination.masked(length).equals(destination)) {
    return refuse(request, 'Invalid prefix for given prefix length')
  }
  const route = new FibRoute(destination, length)
  route.table = attributes.u32(RTA_TABLE) ?? view.getUint8(RTMSG.rtm_table)
  if (route.table === 0) route.table = RT_TABLE_MAIN
  route.tos = view.getUint8(RTMSG.rtm_tos)
  route.protocol = view.getUint8(RTMSG.rtm_protocol)
  route.scope = view.getUint8(RTMSG.rtm_scope)
  route.type = type
  route.priority = attributes.u32(RTA_PRIORITY) ?? 0
  route.source = readAddress(attributes.get(RTA_PREFSRC), family)
  const status = readHops(stack, request, attributes, route, family)
  if (status < 0) return status
  const metrics = attributes.nested(RTA_METRICS)
  if (metrics !== undefined) route.metrics = readMetrics(metrics)
  const seconds = isV4 ? 0 : (attributes.u32(RTA_EXPIRES) ?? 0)
  if (seconds !== 0) route.expires = stack.runtime.now() + seconds * SECOND
  return route
}

function readMetrics(attributes: Attributes): RouteMetrics {
  const metrics: RouteMetrics = {}
  for (const [type, name] of METRICS) {
    const value = attributes.u32(type)
    if (value !== undefined && value !== 0) metrics[name] = value
  }
  if (((attributes.u32(RTAX_LOCK) ?? 0) & (1 << RTAX_MTU)) !== 0) metrics.mtuLocked = true
  return metrics
}

function readHops(
  stack: IpStack,
  request: NetlinkRequest,
  attributes: Attributes,
  route: FibRoute,
  family: number,
): Status {
  const list = attributes.get(RTA_MULTIPATH)
  const nextHopId = attributes.u32(RTA_NH_ID) ?? 0
  if (nextHopId !== 0) {
    if ([RTA_MULTIPATH, RTA_GATEWAY, RTA_VIA, RTA_OIF].some(type => attributes.has(type)))
      return refuse(request, 'Nexthop specification and nexthop id are mutually exclusive')
    return nameNextHop(stack, request, route, nextHopId)
  }
  const flags = request.view.getUint32(RTMSG.rtm_flags, true) & RTNH_F_ONLINK
  if (list === undefined || list.length === 0) {
    const gateway = readGateway(request, attributes, family)
    if (typeof gateway === 'number') return gateway
    return addHop(stack, request, route, attributes.u32(RTA_OIF) ?? 0, gateway, 1, flags)
  }
  const view = viewOf(list)
  for (let at = 0; list.length - at >= RTNEXTHOP.size; ) {
    const size = view.getUint16(at + RTNEXTHOP.rtnh_len, true)
    if (size < RTNEXTHOP.size || size > list.length - at || route.nextHops.length >= MAX_HOPS) {
      return refuse(request, 'Invalid nexthop configuration - extra data after nexthops')
    }
    const own = new Attributes(list.subarray(at, at + size), RTNEXTHOP.size)
    const gateway = readGateway(request, own, family)
    if (typeof gateway === 'number') return gateway
    const status = addHop(
      stack,
      request,
      route,
      view.getUint32(at + RTNEXTHOP.rtnh_ifindex, true),
      gateway,
      view.getUint8(at + RTNEXTHOP.rtnh_hops) + 1,
      view.getUint8(at + RTNEXTHOP.rtnh_flags) & RTNH_F_ONLINK,
    )
    if (status < 0) return status
    at += align4(size)
  }
  return 0
}

/** By the number of an object, whose way the route has as long as that is there. */
function nameNextHop(stack: IpStack, request: NetlinkRequest, route: FibRoute, id: number): Status {
  route.nextHopId = id
  const object = stack.nextHops.find(id)
  if (object === undefined)
    return request.type === RTM_NEWROUTE ? refuse(request, 'Nexthop id does not exist') : 0
  if (request.type === RTM_NEWROUTE && !route.destination.isV4 && stack.nextHops.isOfIpv4(object))
    return refuse(request, 'IPv6 routes can not use an IPv4 nexthop')
  if (stack.nextHops.isBlackhole(object)) route.type = RTN_BLACKHOLE
  route.nextHops = stack.nextHops.hopsOf(object)
  return 0
}

/** Only IPv4's routes may have a gateway of the other family. fib_gw_from_via. */
function readGateway(
  request: NetlinkRequest,
  attributes: Attributes,
  family: number,
): IpAddress | undefined | Status {
  const via = attributes.get(RTA_VIA)
  if (via === undefined) return readAddress(attributes.get(RTA_GATEWAY), family)
  if (family === AF_INET6) return refuse(request, 'IPv6 does not support RTA_VIA attribute')
  if (attributes.has(RTA_GATEWAY))
    return refuse(request, 'Nexthop configuration can not contain both GATEWAY and VIA')
  if (via.length < 3) return refuse(request, 'Invalid attribute length for RTA_VIA')
  const viaFamily = viewOf(via).getUint16(0, true)
  if (viaFamily !== AF_INET && viaFamily !== AF_INET6)
    return refuse(request, 'Unsupported address family in RTA_VIA')
  return readAddress(via.subarray(2), viaFamily) ?? refuse(request, 'Invalid address length in RTA_VIA')
}

function addHop(
  stack: IpStack,
  request: NetlinkRequest,
  route: FibRoute,
  index: number,
  gateway: IpAddress | undefined,
  weight: number,
  flags: number,
): Status {
  if (REJECTS.has(route.type)) {
    if (gateway !== undefined) return refuse(request, 'Route with device-less type can not have a gateway')
    // IPv6's rejecting routes are shown on loopback.
    if (!route.destination.isV4 && stack.loopback !== undefined) {
      route.nextHops.push({ device: stack.loopback, gateway: undefined, weight: 1, flags: 0 })
    }
    return 0
  }
  const any = gateway?.isAny === true ? undefined : gateway
  let device = index === 0 ? undefined : stack.devices.byIndex(index)
  if (index !== 0 && device === undefined) return -ENODEV
  if (device === undefined) {
    // Through a gateway, the device is the one that leads there.
    if (any === undefined) return request.type === RTM_NEWROUTE ? -ENODEV : 0
    const flow = new Flow()
    flow.destination = any
    const found = stack.ip.routeFor(flow)
    if (failed(found))
      return request.type === RTM_NEWROUTE ? refuse(request, 'Nexthop has invalid gateway', ENETUNREACH) : 0
    device = found.device
  }
  route.nextHops.push({ device, gateway: any, weight, flags })
  return 0
}

function refuse(request: NetlinkRequest, reason: string, errno = EINVAL): Status {
  request.reason = reason
  return -errno
}

export function newRoute(stack: IpStack, request: NetlinkRequest, family: number): Status {
  const route = parseRoute(stack, request, family)
  if (typeof route === 'number') return route
  const isV4 = family === AF_INET
  if (!isV4 && route.priority === 0) route.priority = DEFAULT_METRIC6
  if (route.type === 0) route.type = RTN_UNICAST
  const status = checkHops(stack, request, route)
  if (status < 0) return status
  if (
    route.source !== undefined &&
    stack.addresses.find(route.source) === undefined &&
    !route.source.isLoopback
  ) {
    return refuse(request, 'Invalid prefsrc address')
  }
  const { flags } = request
  if (!isV4) route.scope = RT_SCOPE_UNIVERSE
  return stack.addRoute(route, {
    exclusive: (flags & NLM_F_EXCL) !== 0,
    replace: (flags & NLM_F_REPLACE) !== 0,
    append: (flags & NLM_F_APPEND) !== 0,
    noCreate: (flags & NLM_F_CREATE) === 0,
  })
}

/** fib_check_nh: a gateway must be on a link of ours, or, with a narrower scope, be reached by a route. */
function checkHops(stack: IpStack, request: NetlinkRequest, route: FibRoute): Status {
  if (REJECTS.has(route.type) || route.nextHopId !== 0) return 0
  for (const hop of route.nextHops) {
    const { device, gateway } = hop
    if (!device.up && route.destination.isV4) return refuse(request, 'Device for nexthop is not up', ENETDOWN)
    if (gateway === undefined || (hop.flags & RTNH_F_ONLINK) !== 0) continue
    if (route.destination.isV4 && route.scope >= RT_SCOPE_LINK) {
      return refuse(request, 'Nexthop has invalid scope')
    }
    const flow = new Flow()
    flow.destination = gateway
    flow.device = device.index
    const found = stack.ip.routeFor(flow)
    const isNeighbour = gateway.isLinkLocal && !gateway.isV4
    const unreachable =
      (failed(found) && !isNeighbour) ||
      (!failed(found) && found.gateway !== undefined && route.destination.isV4)
    // A device that is bound reaches everything without a route; as a gateway that isn't enough.
    const direct =
      gateway.isLinkLocal ||
      stack.addresses.of(device).some(entry => gateway.inPrefix(entry.prefixAddress, entry.length)) ||
      hasLinkRoute(stack, hop)
    if ((unreachable || !direct) && gateway.isV4 !== route.destination.isV4) return -EHOSTUNREACH
    if (unreachable || !direct) return refuse(request, 'Nexthop has invalid gateway', ENETUNREACH)
    if (!failed(found) && found.type === RTN_LOCAL) return refuse(request, 'Nexthop has invalid gateway')
  }
  const { scope, nextHops } = route
  if (scope === RT_SCOPE_HOST && (nextHops.length !== 1 || nextHops[0].gateway !== undefined)) return -EINVAL
  return scope >= RT_SCOPE_NOWHERE ? refuse(request, 'Invalid scope') : 0
}

function hasLinkRoute(stack: IpStack, { device, gateway }: NextHop): boolean {
  const fib = gateway!.isV4 ? stack.fib4 : stack.fib6
  for (const route of fib.routes()) {
    if (route.length === 0 && gateway!.isV4 && route.scope !== RT_SCOPE_LINK) continue
    if (!gateway!.inPrefix(route.destination, route.length)) continue
    if (route.nextHops.some(hop => hop.device === device && hop.gateway === undefined)) return true
  }
  return false
}

export function deleteRoute(stack: IpStack, request: NetlinkRequest, family: number): Status {
  const wanted = parseRoute(stack, request, family)
  if (typeof wanted === 'number') return wanted
  const fib = family === AF_INET ? stack.fib4 : stack.fib6
  const hop = wanted.nextHops[0]
  const rejects = REJECTS.has(wanted.type)
  for (const route of fib.tables.get(wanted.table)?.at(wanted.destination, wanted.length) ?? []) {
    if (route.tos !== wanted.tos) continue
    if (wanted.priority !== 0 && route.priority !== wanted.priority) continue
    if (wanted.type !== 0 && route.type !== wanted.type) continue
    if (wanted.scope !== RT_SCOPE_NOWHERE && family === AF_INET && route.scope !== wanted.scope) continue
    if (wanted.protocol !== 0 && route.protocol !== wanted.protocol) continue
    if (wanted.source !== undefined && !route.source?.equals(wanted.source)) continue
    if (wanted.nextHopId !== 0 && route.nextHopId !== wanted.nextHopId) continue
    if (hop !== undefined && !rejects && !route.nextHops.some(other => sameHop(other, hop))) continue
    return stack.removeRoute(route)
  }
  return -ESRCH
}

function sameHop(a: NextHop, wanted: NextHop): boolean {
  if (a.device !== wanted.device) return false
  return wanted.gateway === undefined || a.gateway?.equals(wanted.gateway) === true
}

export function announceRoute(route: FibRoute, type: number): Uint8Array {
  const writer = new MessageWriter()
  writeRoute(writer, route, type, 0, 0, 0)
  return writer.take()
}

/** The dump of other kinds of routes: multicast forwarding, which there is none of. */
export function dumpNothing(request: NetlinkRequest): Status | Dump {
  return (request.flags & NLM_F_DUMP) === 0 ? -EOPNOTSUPP : new ListDump([], () => {})
}
