/**
 * What has changed in a network namespace since it was taken over: interfaces that have come (`docker network connect`) or
 * gone, and what was added to those that are there. The host's kernel has no addresses any more of what was taken, so
 * that what it has now is new; of IPv4 only where it did not keep them (`kept`, see oci/engine-resolver.ts). There also what is
 * missing has been taken away.
 */
import { ARPHRD_ETHER, IFF_LOOPBACK } from '../../abi/constants.ts'
import type { AddressRecord, LinkRecord, NeighbourRecord, NetworkRecord, RouteRecord } from './record.ts'

export interface NetworkChange {
  /** `links`: new ones, and those with new addresses, which alone they have then. */
  readonly added: NetworkRecord
  readonly removed: RemovedRecord
}

export interface RemovedRecord {
  /** Their indices. */
  readonly links: readonly number[]
  readonly addresses: readonly { readonly link: number; readonly address: string; readonly length: number }[]
  readonly routes: readonly RouteRecord[]
}

/** Whether frames of the outside come in over it. The way to the sandbox from its namespace is none. */
export function isCable(link: LinkRecord): boolean {
  if (link.name === SIDE_NAME) return false
  return link.type === ARPHRD_ETHER && (link.flags & IFF_LOOPBACK) === 0 && link.kind !== 'bridge'
}

/** See sandbox/side-network.ts. */
export const SIDE_NAME = 'caisson-side'

/** `taken`: what the sandbox has; `now`: what the host's kernel has. `kept`: its IPv4 addresses and routes. */
export function compareNetworks(taken: NetworkRecord, now: NetworkRecord, kept: boolean): NetworkChange {
  const known = new Map(taken.links.filter(isCable).map(link => [link.index, link]))
  const cables = new Map(now.links.filter(isCable).map(link => [link.index, link]))
  const gone = (index: number): boolean => !cables.has(index)
  const added: LinkRecord[] = []
  const removed: RemovedRecord['addresses'][number][] = []
  for (const link of cables.values()) {
    const before = known.get(link.index)
    const fresh = without(link.addresses, before?.addresses ?? [], addressKey)
    if (before === undefined || fresh.length > 0) added.push({ ...link, addresses: fresh })
    if (before === undefined || !kept) continue
    for (const { address, length } of without(before.addresses, link.addresses, addressKey)) {
      if (isV4(address)) removed.push({ link: link.index, address, length })
    }
  }
  // What leads elsewhere is none of the sandbox's: the side link's routes, and those of loopback devices.
  const leads = ({ hops }: RouteRecord): boolean => hops.length > 0 && hops.every(hop => cables.has(hop.link))
  const withdrawn = kept
    ? without(taken.routes, now.routes, routeKey).filter(route => isV4(route.destination) && leads(route))
    : []
  return {
    added: {
      links: added,
      routes: without(now.routes.filter(leads), taken.routes, routeKey),
      neighbours: without(
        now.neighbours.filter(({ link }) => cables.has(link)),
        taken.neighbours,
        neighbourKey,
      ),
    },
    removed: { links: [...known.keys()].filter(gone), addresses: removed, routes: withdrawn },
  }
}

export function isEmptyChange({ added, removed }: NetworkChange): boolean {
  const { links, routes, neighbours } = added
  return [links, routes, neighbours, removed.links, removed.addresses, removed.routes].every(
    list => list.length === 0,
  )
}

/** What the sandbox has after the change. */
export function withChange(taken: NetworkRecord, { added, removed }: NetworkChange): NetworkRecord {
  const gone = new Set(removed.links)
  const lost = new Set(removed.addresses.map(each => `${each.link} ${addressKey(each)}`))
  const news = new Map(added.links.map(link => [link.index, link]))
  const links = taken.links
    .filter(({ index }) => !gone.has(index))
    .map(link => {
      const left = link.addresses.filter(each => !lost.has(`${link.index} ${addressKey(each)}`))
      const more = news.get(link.index)?.addresses ?? []
      news.delete(link.index)
      return { ...link, addresses: [...left, ...more] }
    })
  const replaced = new Set(added.routes.map(placeOf))
  const routes = without(taken.routes, removed.routes, routeKey).filter(
    route => !replaced.has(placeOf(route)) && !route.hops.some(hop => gone.has(hop.link)),
  )
  return {
    links: [...links, ...news.values()],
    routes: [...routes, ...added.routes],
    neighbours: [...taken.neighbours.filter(({ link }) => !gone.has(link)), ...added.neighbours],
  }
}

/** Two routes of one place can't both be used: which table and which packets they are for. */
export function placeOf({ destination, length, table, tos, priority }: RouteRecord): string {
  return `${destination}/${length} ${table} ${tos} ${priority}`
}

export function isV4(address: string): boolean {
  return !address.includes(':')
}

function addressKey({ address, length }: Pick<AddressRecord, 'address' | 'length'>): string {
  return `${address}/${length}`
}
function routeKey(route: RouteRecord): string {
  const hops = route.hops.map(({ link, gateway, weight }) => `${link} ${gateway} ${weight}`)
  return [placeOf(route), route.type, route.scope, route.source, ...hops].join(' ')
}
function neighbourKey({ link, address, mac }: NeighbourRecord): string {
  return `${link} ${address} ${mac}`
}

function without<T>(list: readonly T[], others: readonly T[], key: (item: T) => string): T[] {
  const keys = new Set(others.map(key))
  return list.filter(item => !keys.has(key(item)))
}
