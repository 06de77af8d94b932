/**
 * Host side: takes the interfaces of a network namespace from the host's kernel for the stack of a sandbox: how they are
 * configured, and a descriptor for each. To be called in that namespace (oci/network-namespace.ts), when whoever has set
 * it up (Docker, CNI, the prestart hooks) is done, before the sandbox gets its record and descriptors.
 *
 * The interface keeps its name, MAC, MTU and state on the host; only its addresses go, so that the host's kernel, which sees
 * every frame as well, answers none (oci/engine-resolver.ts is about who still needs them). A namespace that outlives the
 * container gets them back (returnNetwork).
 */
import { writeFileSync } from 'node:fs'
import { ARPHRD_ETHER, IFF_LOOPBACK } from '../abi/constants.ts'
import { errnoName } from '../abi/errno.ts'
import { failed, type Status } from '../base/result.ts'
import { readNetwork } from '../net/setup/read.ts'
import type { LinkRecord, NetworkRecord } from '../net/setup/record.ts'
import { releaseLink } from '../net/setup/release.ts'
import { restoreAddresses, restoreRoutes } from '../net/setup/restore.ts'
import { RouteQuery } from '../net/setup/route-query.ts'
import type { Addon } from '../platform/addon.ts'
import { LinuxSockets } from '../platform/linux-sockets.ts'
import { removeSideLink, SIDE_NAME } from './side-network.ts'
import { UserError } from './user-error.ts'

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
    for (const link of links) {
      if (link.kind === 'ipvlan') throw new UserError(ipvlanRefusal(link.name))
      const fd = addon.openPacketLink(link.index)
      if (fd < 0) throw refused(`opened at ${link.name}`, fd)
      descriptors.set(link.index, fd)
    }
    for (const link of links) {
      if (!link.ipv6Disabled) switchIpv6(link.name, false)
      const status = deaf ? 0 : releaseLink(query, link)
      if (status < 0) throw refused(`rid of the addresses of ${link.name}`, status)
    }
    return { record, descriptors }
  } catch (error) {
    for (const fd of descriptors.values()) addon.close(fd)
    throw error
  } finally {
    query.close()
  }
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
      const status = restoreAddresses(query, link)
      if (status < 0) throw refused(`given back the addresses of ${link.name}`, status)
    }
    const status = restoreRoutes(query, record.routes, index => links.some(link => link.index === index))
    if (status < 0) throw refused('given back its routes', status)
  } finally {
    query.close()
  }
}

/** Whether frames of the outside come in over it. The way to an earlier sandbox, which nobody has deleted, is none. */
function isCable(link: LinkRecord): boolean {
  if (link.name === SIDE_NAME) return false
  return link.type === ARPHRD_ETHER && (link.flags & IFF_LOOPBACK) === 0 && link.kind !== 'bridge'
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

function refused(what: string, status: Status): UserError {
  return new UserError(`the network namespace can't be ${what}: ${errnoName(-status)}`)
}

/** The host gives it frames by the addresses that it has, so it needs them. */
function ipvlanRefusal(name: string): string {
  return `the interface ${name} is an ipvlan, which the sandbox's own network stack can't take over; use --network=host, or macvlan`
}
