/**
 * Host side: what leads from a network namespace that was taken over to the sandbox: see net/link/side-link.ts. To be called in
 * that namespace. A TAP device is the way of all loopback addresses, which the host's own loopback device has no more, and
 * of those that were the interfaces'; but for Docker's name server's, which must be the host's own before Docker starts
 * it, at the first network that has names. It stays when its descriptor is closed, since that would take the sandbox 25 ms of its
 * end otherwise, and goes with the namespace, or by removeSideLink.
 */
import { writeFileSync } from 'node:fs'
import {
  AF_UNSPEC,
  IFF_LOOPBACK,
  IFF_NOARP,
  IFF_UP,
  IFLA_MTU,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_TABLE_DEFAULT,
  RTM_DELLINK,
  RTM_NEWLINK,
  RTN_UNICAST,
  RTPROT_STATIC,
  TUNSETPERSIST,
} from '../abi/constants.ts'
import { IFINFOMSG } from '../abi/layout.ts'
import { failed, type Status } from '../base/result.ts'
import { FOREVER } from '../net/ip/interface-address.ts'
import { SIDE_ADDRESS, SIDE_MTU } from '../net/link/side-link.ts'
import { isV4, SIDE_NAME } from '../net/setup/change.ts'
import { readNetwork } from '../net/setup/read.ts'
import type { AddressRecord, LinkRecord, NetworkRecord, RouteRecord } from '../net/setup/record.ts'
import { releaseLink } from '../net/setup/release.ts'
import { restoreAddresses, restoreRoutes, withdrawRoutes } from '../net/setup/restore.ts'
import { RouteQuery } from '../net/setup/route-query.ts'
import type { Addon } from '../platform/addon.ts'
import { LinuxSockets } from '../platform/linux-sockets.ts'

/** The descriptor, or -1 where there can be none (a host without TAP devices): then there is no such way. */
export function openSideLink(addon: Addon, record: NetworkRecord): number {
  const fd = addon.openTapLink(SIDE_NAME)
  if (fd < 0) return -1
  const query = RouteQuery.open(new LinuxSockets(addon))
  if (!failed(query)) {
    const status = configure(query, record)
    query.close()
    if (status >= 0) {
      addon.ioctl(fd, TUNSETPERSIST, 1)
      return fd
    }
  }
  addon.close(fd)
  return -1
}

function configure(query: RouteQuery, record: NetworkRecord): Status {
  const now = readNetwork(query)
  if (failed(now)) return now
  const side = now.links.find(({ name }) => name === SIDE_NAME)!
  set(`ipv6/conf/${SIDE_NAME}/disable_ipv6`, '1')
  // Loopback addresses have no business on other devices, if nobody says so.
  set(`ipv4/conf/${SIDE_NAME}/route_localnet`, '1')
  const up = query.change(RTM_NEWLINK, writer => {
    const at = writer.struct(IFINFOMSG.size)
    writer.set8(at + IFINFOMSG.ifi_family, AF_UNSPEC)
    writer.set32(at + IFINFOMSG.ifi_index, side.index)
    writer.set32(at + IFINFOMSG.ifi_flags, IFF_UP | IFF_NOARP)
    writer.set32(at + IFINFOMSG.ifi_change, IFF_UP | IFF_NOARP)
    writer.u32(IFLA_MTU, SIDE_MTU)
  })
  if (up < 0) return up
  const addressed = restoreAddresses(query, { ...side, addresses: [hostAddress(SIDE_ADDRESS.toString())] })
  if (addressed < 0) return addressed
  const loopback = record.links.find(({ flags }) => (flags & IFF_LOOPBACK) !== 0)
  const own = record.links.filter(link => link !== loopback)
  const routes = [sideRoute('127.0.0.0/8', side.index), ...routesTo(own, side.index)]
  const routed = restoreRoutes(query, routes, () => true)
  if (routed < 0 || loopback === undefined) return routed
  // Last: with its address its routes go, and ours is the way.
  const released = releaseLink(query, onlyV4(loopback))
  return released < 0 ? released : restoreAddresses(query, { ...loopback, addresses: [RESOLVER] })
}

/** Interfaces have come, or have gone, whose addresses lead there. */
export function changeSideLink(addon: Addon, came: readonly LinkRecord[], gone: readonly LinkRecord[]): void {
  const query = RouteQuery.open(new LinuxSockets(addon))
  if (failed(query)) return
  const now = readNetwork(query)
  const side = failed(now) ? undefined : now.links.find(({ name }) => name === SIDE_NAME)
  if (side !== undefined) {
    withdrawRoutes(query, routesTo(gone, side.index))
    restoreRoutes(query, routesTo(came, side.index), () => true)
  }
  query.close()
}

function routesTo(links: readonly LinkRecord[], side: number): RouteRecord[] {
  const addresses = links.flatMap(link => onlyV4(link).addresses.map(({ address }) => address))
  return addresses.map(each => sideRoute(`${each}/32`, side))
}

/** From a namespace whose links these are. */
export function removeSideLink(query: RouteQuery, links: readonly LinkRecord[]): Status {
  const side = links.find(({ name }) => name === SIDE_NAME)
  if (side === undefined) return 0
  const loopback = links.find(({ flags }) => (flags & IFF_LOOPBACK) !== 0)
  if (loopback !== undefined) releaseLink(query, { ...loopback, addresses: [RESOLVER] })
  return query.change(RTM_DELLINK, writer => {
    const at = writer.struct(IFINFOMSG.size)
    writer.set32(at + IFINFOMSG.ifi_index, side.index)
  })
}

function onlyV4(link: LinkRecord): LinkRecord {
  return { ...link, addresses: link.addresses.filter(({ address }) => isV4(address)) }
}

function hostAddress(address: string): AddressRecord {
  return {
    address,
    length: 32,
    scope: RT_SCOPE_HOST,
    flags: 0,
    priority: 0,
    valid: FOREVER,
    preferred: FOREVER,
  }
}
/** See oci/engine-resolver.ts. */
const RESOLVER = hostAddress('127.0.0.11')

function sideRoute(prefix: string, link: number): RouteRecord {
  const [destination, length] = prefix.split('/')
  return {
    destination,
    length: Number(length),
    // Looked up last, and where engines see no conflict with an address that they are about to give.
    table: RT_TABLE_DEFAULT,
    type: RTN_UNICAST,
    scope: RT_SCOPE_LINK,
    protocol: RTPROT_STATIC,
    tos: 0,
    priority: 0,
    source: SIDE_ADDRESS.toString(),
    metrics: {},
    hops: [{ link, weight: 1, flags: 0 }],
  }
}

function set(setting: string, value: string): void {
  try {
    writeFileSync(`/proc/sys/net/${setting}`, value)
  } catch {
    // Then packets are dropped, and there is no such way.
  }
}
