/** Reads how the network namespace of a RouteQuery is configured: the host side's half of taking a namespace over. */
import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  IFA_ADDRESS,
  IFA_BROADCAST,
  IFA_CACHEINFO,
  IFA_FLAGS,
  IFA_LABEL,
  IFA_LOCAL,
  IFA_RT_PRIORITY,
  IFLA_ADDRESS,
  IFLA_AF_SPEC,
  IFLA_IFNAME,
  IFLA_INET6_CONF,
  IFLA_INFO_KIND,
  IFLA_LINKINFO,
  IFLA_MTU,
  IFLA_TXQLEN,
  NDA_DST,
  NDA_LLADDR,
  NUD_PERMANENT,
  RT_TABLE_LOCAL,
  RTA_DST,
  RTA_GATEWAY,
  RTA_METRICS,
  RTA_MULTIPATH,
  RTA_OIF,
  RTA_PREFSRC,
  RTA_PRIORITY,
  RTA_TABLE,
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
  RTM_GETADDR,
  RTM_GETLINK,
  RTM_GETNEIGH,
  RTM_GETROUTE,
  RTNH_F_ONLINK,
  RTPROT_KERNEL,
} from '../../abi/constants.ts'
import { IFADDRMSG, IFINFOMSG, NDMSG, RTMSG, RTNEXTHOP } from '../../abi/layout.ts'
import { failed, type OrErrno } from '../../base/result.ts'
import { IpAddress } from '../address.ts'
import type { RouteMetrics } from '../ip/fib.ts'
import { FOREVER } from '../ip/interface-address.ts'
import { formatMac } from '../link/device.ts'
import { Attributes, viewOf } from '../netlink/message.ts'
import type {
  AddressRecord,
  HopRecord,
  LinkRecord,
  NeighbourRecord,
  NetworkRecord,
  RouteRecord,
} from './record.ts'
import type { RouteQuery } from './route-query.ts'

/** DEVCONF_DISABLE_IPV6: place among the settings in IFLA_INET6_CONF. */
const DISABLE_IPV6 = 26
/** sizeof(struct ifa_cacheinfo), which begins with the preferred and the valid lifetime. */
const IFA_LIFETIMES = 8

/** RTAX_* and the field that it is. */
export const METRICS: readonly (readonly [number, Exclude<keyof RouteMetrics, 'mtuLocked'>])[] = [
  [RTAX_MTU, 'mtu'],
  [RTAX_WINDOW, 'window'],
  [RTAX_RTT, 'rtt'],
  [RTAX_ADVMSS, 'advmss'],
  [RTAX_HOPLIMIT, 'hopLimit'],
  [RTAX_INITCWND, 'initialWindow'],
  [RTAX_INITRWND, 'initialReceiveWindow'],
  [RTAX_QUICKACK, 'quickAck'],
]

/**
 * Not in it: what addresses imply (routes of the kernel's own and of the local table), neighbours that were only learned,
 * rules, and what is of VRFs and tunnels.
 */
export function readNetwork(query: RouteQuery): OrErrno<NetworkRecord> {
  const links = query.dump(RTM_GETLINK, AF_UNSPEC, IFINFOMSG.size)
  if (failed(links)) return links
  const addresses = query.dump(RTM_GETADDR, AF_UNSPEC, IFADDRMSG.size)
  if (failed(addresses)) return addresses
  const routes = query.dump(RTM_GETROUTE, AF_UNSPEC, RTMSG.size)
  if (failed(routes)) return routes
  const neighbours = query.dump(RTM_GETNEIGH, AF_UNSPEC, NDMSG.size)
  if (failed(neighbours)) return neighbours
  const byLink = new Map<number, AddressRecord[]>()
  for (const { body } of addresses) {
    const index = viewOf(body).getUint32(IFADDRMSG.ifa_index, true)
    const record = readAddress(body)
    if (record === undefined) continue
    const list = byLink.get(index)
    if (list === undefined) byLink.set(index, [record])
    else list.push(record)
  }
  return {
    links: links.map(({ body }) => readLink(body, byLink)),
    routes: routes.map(({ body }) => readRoute(body)).filter(route => route !== undefined),
    neighbours: neighbours.map(({ body }) => readNeighbour(body)).filter(entry => entry !== undefined),
  }
}

function readLink(body: Uint8Array, addresses: ReadonlyMap<number, AddressRecord[]>): LinkRecord {
  const view = viewOf(body)
  const attributes = new Attributes(body, IFINFOMSG.size)
  const index = view.getUint32(IFINFOMSG.ifi_index, true)
  const mac = attributes.get(IFLA_ADDRESS)
  const settings = attributes.nested(IFLA_AF_SPEC)?.nested(AF_INET6)?.get(IFLA_INET6_CONF)
  const disabled = settings !== undefined && settings.length >= (DISABLE_IPV6 + 1) * 4
  return {
    index,
    name: attributes.string(IFLA_IFNAME) ?? '',
    type: view.getUint16(IFINFOMSG.ifi_type, true),
    kind: attributes.nested(IFLA_LINKINFO)?.string(IFLA_INFO_KIND) ?? '',
    flags: view.getUint32(IFINFOMSG.ifi_flags, true),
    mtu: attributes.u32(IFLA_MTU) ?? 0,
    mac: mac?.length === 6 ? formatMac(mac) : '',
    txQueueLength: attributes.u32(IFLA_TXQLEN) ?? 0,
    ipv6Disabled: disabled && viewOf(settings).getInt32(DISABLE_IPV6 * 4, true) !== 0,
    addresses: addresses.get(index) ?? [],
  }
}

function readAddress(body: Uint8Array): AddressRecord | undefined {
  const view = viewOf(body)
  const family = view.getUint8(IFADDRMSG.ifa_family)
  const attributes = new Attributes(body, IFADDRMSG.size)
  const other = textOf(attributes.get(IFA_ADDRESS), family)
  // Of a link without another side, only IPv4 gives both, and then twice the same.
  const address = textOf(attributes.get(IFA_LOCAL), family) ?? other
  if (address === undefined) return undefined
  const lifetimes = attributes.get(IFA_CACHEINFO)
  const known = lifetimes !== undefined && lifetimes.length >= IFA_LIFETIMES
  return {
    address,
    length: view.getUint8(IFADDRMSG.ifa_prefixlen),
    ...(other !== address && { peer: other }),
    broadcast: textOf(attributes.get(IFA_BROADCAST), family),
    scope: view.getUint8(IFADDRMSG.ifa_scope),
    flags: attributes.u32(IFA_FLAGS) ?? view.getUint8(IFADDRMSG.ifa_flags),
    label: attributes.string(IFA_LABEL),
    priority: attributes.u32(IFA_RT_PRIORITY) ?? 0,
    preferred: known ? viewOf(lifetimes).getUint32(0, true) : FOREVER,
    valid: known ? viewOf(lifetimes).getUint32(4, true) : FOREVER,
  }
}

function readRoute(body: Uint8Array): RouteRecord | undefined {
  const view = viewOf(body)
  const family = view.getUint8(RTMSG.rtm_family)
  const attributes = new Attributes(body, RTMSG.size)
  const table = attributes.u32(RTA_TABLE) ?? view.getUint8(RTMSG.rtm_table)
  const protocol = view.getUint8(RTMSG.rtm_protocol)
  const flags = view.getUint32(RTMSG.rtm_flags, true)
  if (family !== AF_INET && family !== AF_INET6) return undefined
  if (protocol === RTPROT_KERNEL || table === RT_TABLE_LOCAL || (flags & RTM_F_CLONED) !== 0) return undefined
  return {
    destination: textOf(attributes.get(RTA_DST), family) ?? (family === AF_INET ? '0.0.0.0' : '::'),
    length: view.getUint8(RTMSG.rtm_dst_len),
    table,
    type: view.getUint8(RTMSG.rtm_type),
    scope: view.getUint8(RTMSG.rtm_scope),
    protocol,
    tos: view.getUint8(RTMSG.rtm_tos),
    priority: attributes.u32(RTA_PRIORITY) ?? 0,
    source: textOf(attributes.get(RTA_PREFSRC), family),
    metrics: readMetrics(attributes.nested(RTA_METRICS)),
    hops: readHops(attributes, family, flags),
  }
}

function readHops(attributes: Attributes, family: number, flags: number): HopRecord[] {
  const list = attributes.get(RTA_MULTIPATH)
  if (list === undefined) {
    const link = attributes.u32(RTA_OIF)
    if (link === undefined) return []
    return [{ link, gateway: gatewayOf(attributes, family), weight: 1, flags: flags & RTNH_F_ONLINK }]
  }
  const hops: HopRecord[] = []
  const view = viewOf(list)
  for (let at = 0; list.length - at >= RTNEXTHOP.size; ) {
    const size = view.getUint16(at + RTNEXTHOP.rtnh_len, true)
    if (size < RTNEXTHOP.size || size > list.length - at) break
    hops.push({
      link: view.getUint32(at + RTNEXTHOP.rtnh_ifindex, true),
      gateway: gatewayOf(new Attributes(list.subarray(at, at + size), RTNEXTHOP.size), family),
      weight: view.getUint8(at + RTNEXTHOP.rtnh_hops) + 1,
      flags: view.getUint8(at + RTNEXTHOP.rtnh_flags) & RTNH_F_ONLINK,
    })
    at += (size + 3) & ~3
  }
  return hops
}

/** RTA_VIA: an IPv4 route's gateway of the other family, behind that family's number. */
function gatewayOf(attributes: Attributes, family: number): string | undefined {
  const via = attributes.get(RTA_VIA)
  if (via === undefined || via.length < 2) return textOf(attributes.get(RTA_GATEWAY), family)
  return textOf(via.subarray(2), viewOf(via).getUint16(0, true))
}

function readMetrics(attributes: Attributes | undefined): RouteMetrics {
  const metrics: RouteMetrics = {}
  if (attributes === undefined) return metrics
  for (const [type, name] of METRICS) {
    const value = attributes.u32(type)
    if (value) metrics[name] = value
  }
  if (((attributes.u32(RTAX_LOCK) ?? 0) & (1 << RTAX_MTU)) !== 0) metrics.mtuLocked = true
  return metrics
}

/** Only those that somebody has set: Docker's static neighbours, ARP proxies of overlays. */
function readNeighbour(body: Uint8Array): NeighbourRecord | undefined {
  const view = viewOf(body)
  if (view.getUint16(NDMSG.ndm_state, true) !== NUD_PERMANENT) return undefined
  const attributes = new Attributes(body, NDMSG.size)
  const address = textOf(attributes.get(NDA_DST), view.getUint8(NDMSG.ndm_family))
  const mac = attributes.get(NDA_LLADDR)
  if (address === undefined || mac?.length !== 6) return undefined
  return { link: view.getInt32(NDMSG.ndm_ifindex, true), address, mac: formatMac(mac) }
}

function textOf(value: Uint8Array | undefined, family: number): string | undefined {
  const size = family === AF_INET ? 4 : family === AF_INET6 ? 16 : 0
  if (value === undefined || size === 0 || value.length < size) return undefined
  return IpAddress.read(viewOf(value), 0, size === 4).toString()
}
