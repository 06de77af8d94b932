/**
 * Host side: takes the interfaces of a network namespace from the host's kernel for the stack of a sandbox: how they are
 * configured, and a descriptor for each. To be called in that namespace (oci/network-namespace.ts), when whoever has set
 * it up (Docker, CNI, the prestart hooks) is done, before the sandbox gets its record and descriptors.
 *
 * The interface keeps its name, MAC, MTU and state on the host; only its addresses go, so that the host's kernel, which sees
 * every frame as well, answers none (oci/engine-resolver.ts is about who still needs them). What comes and goes while the
 * container runs is taken as well (takeChange). A namespace that outlives the container gets its addresses back (returnNetwork).
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { IFF_LOOPBACK } from '../abi/constants.ts'
import { errnoName } from '../abi/errno.ts'
import { failed, type Status } from '../base/result.ts'
import {
  compareNetworks,
  isCable,
  isEmptyChange,
  isV4,
  type NetworkChange,
  placeOf,
  withChange,
} from '../net/setup/change.ts'
import { readNetwork } from '../net/setup/read.ts'
import type { LinkRecord, NetworkRecord } from '../net/setup/record.ts'
import { releaseLink } from '../net/setup/release.ts'
import { restoreAddresses, restoreRoutes } from '../net/setup/restore.ts'
import { RouteQuery } from '../net/setup/route-query.ts'
import type { Addon } from '../platform/addon.ts'
import { LinuxSockets } from '../platform/linux-sockets.ts'
import { removeSideLink } from './side-network.ts'
import { UserError } from './user-error.ts'

const IPV4_CONF = '/proc/sys/net/ipv4/conf'

export interface TakenNetwork {
  readonly record: NetworkRecord
  /** By the link's index in the record; the caller's to close. */
  readonly descriptors: ReadonlyMap<number, number>
}

/** `deaf`: the host's kernel has been kept from hearing what comes in, and keeps its IPv4 addresses. */
export function takeNetwork(addon: Addon, deaf = false): TakenNetwork {
  const query = RouteQuery.open(new LinuxSockets(addon))
  if (failed(query)) throw refused('asked for its interfaces', query)
  const descriptors = new Map<number, number>()
  try {
    const record = readNetwork(query)
    if (failed(record)) throw refused('asked for its interfaces', record)
    const links = record.links.filter(isCable)
    // Whatever can be refused comes before the first change.
    for (const link of links) descriptors.set(link.index, openLink(addon, link))
    for (const link of links) silence(query, link, deaf)
    return { record, descriptors }
  } catch (error) {
    for (const fd of descriptors.values()) addon.close(fd)
    throw error
  } finally {
    query.close()
  }
}

export interface TakenChange {
  readonly change: NetworkChange
  /** By the index of the new link; the caller's to close. */
  readonly descriptors: ReadonlyMap<number, number>
  /** All that the sandbox has with it, and what it can't have but need not be looked at again. */
  readonly record: NetworkRecord
  /** Why it does not have all. */
  readonly refusals: readonly string[]
}

/**
 * Takes what has changed since `taken`; undefined if nothing has. `kept`: the host's kernel has its IPv4 addresses and routes
 * of then; `keeps`: it is to have them, as it hears nothing any more.
 */
export function takeChange(
  addon: Addon,
  taken: NetworkRecord,
  { kept, keeps }: { kept: boolean; keeps: boolean },
): TakenChange | undefined {
  const query = RouteQuery.open(new LinuxSockets(addon))
  if (failed(query)) throw refused('asked for its interfaces', query)
  const descriptors = new Map<number, number>()
  const refusals: string[] = []
  try {
    const now = readNetwork(query)
    if (failed(now)) throw refused('asked for its interfaces', now)
    const change = compareNetworks(taken, now, kept)
    if (isEmptyChange(change) && kept === keeps) return undefined
    const usable: LinkRecord[] = []
    for (const link of change.added.links) {
      try {
        if (taken.links.every(({ index }) => index !== link.index)) {
          descriptors.set(link.index, openLink(addon, link))
        }
        silence(query, link, keeps)
        usable.push(link)
      } catch (error) {
        if (!(error instanceof UserError)) throw error
        refusals.push(error.message)
      }
    }
    if (keeps && !kept) lend(query, taken, now)
    const offered = { ...change, added: { ...change.added, links: usable } }
    return { change: offered, descriptors, record: withChange(taken, change), refusals }
  } catch (error) {
    for (const fd of descriptors.values()) addon.close(fd)
    throw error
  } finally {
    query.close()
  }
}

/** The host's kernel gets IPv4 addresses and routes again that it had to give up, where nobody has put others in their place. */
function lend(query: RouteQuery, taken: NetworkRecord, now: NetworkRecord): void {
  const there = new Set(now.links.map(({ index }) => index))
  for (const link of taken.links.filter(each => isCable(each) && there.has(each.index))) {
    const addresses = link.addresses.filter(({ address }) => isV4(address))
    const status = restoreAddresses(query, { ...link, addresses })
    if (status < 0) throw refused(`given back the addresses of ${link.name}`, status)
  }
  const places = new Set(now.routes.map(placeOf))
  const routes = taken.routes.filter(route => isV4(route.destination) && !places.has(placeOf(route)))
  const status = restoreRoutes(query, routes, index => there.has(index))
  if (status < 0) throw refused('given back its routes', status)
}

/**
 * Gives the interfaces back to the host's kernel as they were, where they are still there. To be called in the namespace, when the
 * sandbox has ended.
 */
export function returnNetwork(addon: Addon, record: NetworkRecord): void {
  const query = RouteQuery.open(new LinuxSockets(addon))
  if (failed(query)) throw refused('asked for its interfaces', query)
  try {
    const now = readNetwork(query)
    if (failed(now)) throw refused('asked for its interfaces', now)
    const isThere = (link: LinkRecord) =>
      (isCable(link) || (link.flags & IFF_LOOPBACK) !== 0) &&
      now.links.some(({ index, mac }) => index === link.index && mac === link.mac)
    const removed = removeSideLink(query, now.links)
    if (removed < 0) throw refused('rid of the way to the sandbox', removed)
    const links = record.links.filter(isThere)
    for (const link of links) {
      if (!link.ipv6Disabled) switchIpv6(link.name, true)
      setForwarding(link.name, defaultForwarding())
      const status = restoreAddresses(query, link)
      if (status < 0) throw refused(`given back the addresses of ${link.name}`, status)
    }
    const status = restoreRoutes(query, record.routes, index => links.some(link => link.index === index))
    if (status < 0) throw refused('given back its routes', status)
  } finally {
    query.close()
  }
}

function openLink(addon: Addon, link: LinkRecord): number {
  if (link.kind === 'ipvlan') throw new UserError(ipvlanRefusal(link.name))
  const fd = addon.openPacketLink(link.index)
  if (fd < 0) throw refused(`opened at ${link.name}`, fd)
  return fd
}

/** The host's kernel answers nothing any more that comes in there. `deaf`: it hears nothing, and may keep its IPv4 addresses. */
function silence(query: RouteQuery, link: LinkRecord, deaf: boolean): void {
  if (!link.ipv6Disabled) switchIpv6(link.name, false)
  setForwarding(link.name, '0')
  const status = deaf ? 0 : releaseLink(query, link)
  if (status < 0) throw refused(`rid of the addresses of ${link.name}`, status)
}

/** Off, or the host would give the interface a link-local address again, and others by router advertisements. */
function switchIpv6(name: string, on: boolean): void {
  try {
    writeFileSync(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, on ? '0' : '1')
  } catch (error) {
    // A host without IPv6.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw new UserError(
      `the host's IPv6 can't be switched ${on ? 'on' : 'off'} at ${name}: ${(error as Error).message}`,
    )
  }
}

/**
 * Off ('0'), or the host's kernel would carry what comes in for the sandbox on to it over the side link, a second time: the
 * sandbox drops that, so where the setting can't be written it only costs time.
 */
function setForwarding(name: string, value: string): void {
  try {
    writeFileSync(`${IPV4_CONF}/${name}/forwarding`, value)
  } catch {
    // Then it stays as it is.
  }
}
/** What interfaces of the namespace have if nobody says otherwise: net.ipv4.ip_forward. */
function defaultForwarding(): string {
  try {
    return readFileSync(`${IPV4_CONF}/all/forwarding`, 'latin1').trim()
  } catch {
    return '0'
  }
}

function refused(what: string, status: Status): UserError {
  return new UserError(`the network namespace can't be ${what}: ${errnoName(-status)}`)
}

/** The host gives it frames by the addresses that it has, so it needs them. */
function ipvlanRefusal(name: string): string {
  return `the interface ${name} is an ipvlan, which the sandbox's own network stack can't take over; use --network=host, or macvlan`
}
