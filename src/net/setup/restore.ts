/**
 * Gives a network namespace's interfaces back to the host's kernel, as far as their addresses and routes go: the reverse of
 * taking them (read.ts, release.ts), for a namespace that outlives its container. What is there already stays.
 */
import {
  AF_INET,
  AF_INET6,
  IFA_ADDRESS,
  IFA_BROADCAST,
  IFA_F_NODAD,
  IFA_FLAGS,
  IFA_LABEL,
  IFA_LOCAL,
  IFA_RT_PRIORITY,
  NLM_F_CREATE,
  RTA_DST,
  RTA_GATEWAY,
  RTA_METRICS,
  RTA_MULTIPATH,
  RTA_OIF,
  RTA_PREFSRC,
  RTA_PRIORITY,
  RTA_TABLE,
  RTA_VIA,
  RTAX_LOCK,
  RTAX_MTU,
  RTM_DELROUTE,
  RTM_NEWADDR,
  RTM_NEWROUTE,
  RTPROT_RA,
} from '../../abi/constants.ts'
import { EEXIST, EINVAL, ESRCH } from '../../abi/errno.ts'
import { IFADDRMSG, RTMSG, RTNEXTHOP } from '../../abi/layout.ts'
import type { Status } from '../../base/result.ts'
import { type IpAddress, parseAddress } from '../address.ts'
import type { RouteMetrics } from '../ip/fib.ts'
import { FOREVER } from '../ip/interface-address.ts'
import type { MessageWriter } from '../netlink/message.ts'
import { METRICS } from './read.ts'
import {
  ADDRESS_STATES,
  type AddressRecord,
  addressesByAge,
  type HopRecord,
  type LinkRecord,
  type RouteRecord,
  routesInOrder,
} from './record.ts'
import type { RouteQuery } from './route-query.ts'

/** The addresses that the link had; those that were learnt will be learnt again. */
export function restoreAddresses(query: RouteQuery, link: LinkRecord): Status {
  for (const record of addressesByAge(link.addresses)) {
    if (record.valid !== FOREVER) continue
    const status = restoreAddress(query, link.index, record)
    if (status < 0 && status !== -EEXIST) return status
  }
  return 0
}

function restoreAddress(query: RouteQuery, link: number, record: AddressRecord): Status {
  const address = parseAddress(record.address)
  const peer = record.peer === undefined ? address : parseAddress(record.peer)
  if (address === undefined || peer === undefined) return -EINVAL
  const broadcast = record.broadcast === undefined ? undefined : parseAddress(record.broadcast)
  return query.change(
    RTM_NEWADDR,
    writer => {
      const at = writer.struct(IFADDRMSG.size)
      writer.set8(at + IFADDRMSG.ifa_family, familyOf(address))
      writer.set8(at + IFADDRMSG.ifa_prefixlen, record.length)
      writer.set8(at + IFADDRMSG.ifa_scope, record.scope)
      writer.set32(at + IFADDRMSG.ifa_index, link)
      writer.bytes(IFA_LOCAL, address.bytes())
      writer.bytes(IFA_ADDRESS, peer.bytes())
      if (broadcast !== undefined) writer.bytes(IFA_BROADCAST, broadcast.bytes())
      if (record.label !== undefined) writer.string(IFA_LABEL, record.label)
      // It was checked when it was given first.
      writer.u32(IFA_FLAGS, (record.flags & ~ADDRESS_STATES) | (address.isV4 ? 0 : IFA_F_NODAD))
      if (record.priority !== 0) writer.u32(IFA_RT_PRIORITY, record.priority)
    },
    NLM_F_CREATE,
  )
}

/** The routes that lead over links of which `restored` is true. */
export function restoreRoutes(
  query: RouteQuery,
  routes: readonly RouteRecord[],
  restored: (link: number) => boolean,
): Status {
  for (const route of routesInOrder(routes)) {
    const { hops, protocol } = route
    if (protocol === RTPROT_RA || hops.length === 0 || !hops.every(hop => restored(hop.link))) continue
    const status = query.change(RTM_NEWROUTE, writer => writeRoute(writer, route), NLM_F_CREATE)
    if (status < 0 && status !== -EEXIST) return status
  }
  return 0
}

/** The reverse, for routes of ours; one that is gone already is no failure. */
export function withdrawRoutes(query: RouteQuery, routes: readonly RouteRecord[]): Status {
  for (const route of routes) {
    const status = query.change(RTM_DELROUTE, writer => writeRoute(writer, route))
    if (status < 0 && status !== -ESRCH) return status
  }
  return 0
}

function writeRoute(writer: MessageWriter, route: RouteRecord): void {
  const { hops, length, table } = route
  const destination = parseAddress(route.destination)!
  const source = route.source === undefined ? undefined : parseAddress(route.source)
  const at = writer.struct(RTMSG.size)
  writer.set8(at + RTMSG.rtm_family, familyOf(destination))
  writer.set8(at + RTMSG.rtm_dst_len, length)
  writer.set8(at + RTMSG.rtm_tos, route.tos)
  writer.set8(at + RTMSG.rtm_protocol, route.protocol)
  writer.set8(at + RTMSG.rtm_scope, route.scope)
  writer.set8(at + RTMSG.rtm_type, route.type)
  writer.u32(RTA_TABLE, table)
  if (length > 0) writer.bytes(RTA_DST, destination.bytes())
  if (route.priority !== 0) writer.u32(RTA_PRIORITY, route.priority)
  if (source !== undefined) writer.bytes(RTA_PREFSRC, source.bytes())
  writeMetrics(writer, route.metrics)
  if (hops.length > 1) {
    writeHops(writer, hops, destination)
    return
  }
  writer.set32(at + RTMSG.rtm_flags, hops[0].flags)
  writer.u32(RTA_OIF, hops[0].link)
  writeGateway(writer, hops[0], destination)
}

function writeMetrics(writer: MessageWriter, metrics: RouteMetrics): void {
  if (Object.keys(metrics).length === 0) return
  const nest = writer.nest(RTA_METRICS)
  for (const [type, name] of METRICS) {
    const value = metrics[name]
    if (value) writer.u32(type, value)
  }
  if (metrics.mtuLocked) writer.u32(RTAX_LOCK, 1 << RTAX_MTU)
  writer.close(nest)
}

function writeHops(writer: MessageWriter, hops: readonly HopRecord[], destination: IpAddress): void {
  const nest = writer.nest(RTA_MULTIPATH)
  for (const hop of hops) {
    const at = writer.struct(RTNEXTHOP.size)
    const before = writer.length
    writeGateway(writer, hop, destination)
    writer.set16(at + RTNEXTHOP.rtnh_len, RTNEXTHOP.size + writer.length - before)
    writer.set8(at + RTNEXTHOP.rtnh_flags, hop.flags)
    writer.set8(at + RTNEXTHOP.rtnh_hops, hop.weight - 1)
    writer.set32(at + RTNEXTHOP.rtnh_ifindex, hop.link)
  }
  writer.close(nest)
}

function writeGateway(writer: MessageWriter, { gateway: text }: HopRecord, destination: IpAddress): void {
  const gateway = text === undefined ? undefined : parseAddress(text)
  if (gateway === undefined) return
  if (gateway.isV4 === destination.isV4) {
    writer.bytes(RTA_GATEWAY, gateway.bytes())
    return
  }
  const bytes = gateway.bytes()
  const at = writer.attribute(RTA_VIA, 2 + bytes.length)
  writer.set16(at, familyOf(gateway))
  writer.setBytes(at + 2, bytes)
}

function familyOf(address: IpAddress): number {
  return address.isV4 ? AF_INET : AF_INET6
}
