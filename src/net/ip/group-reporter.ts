/**
 * GroupReporter: tells the routers of a link which groups are listened to there, and answers their queries: the host part
 * of IGMPv3 (RFC 3376 §5) and MLDv2 (RFC 3810 §6), which differ only in their messages, and of the older versions where a
 * querier speaks one (RFC 2236 §3, RFC 2710 §4).
 */
import { NSEC_PER_SEC } from '../../base/clock.ts'
import { type Expiry, Timer } from '../../kernel/timers.ts'
import type { IpAddress } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { type Group, isAllHosts } from './multicast.ts'
import { NSEC_PER_MSEC } from './numbers.ts'

/** Record types of both protocols: RFC 3376 §4.2.12. */
export const MODE_IS_INCLUDE = 1
export const MODE_IS_EXCLUDE = 2
export const CHANGE_TO_INCLUDE = 3
export const CHANGE_TO_EXCLUDE = 4
export const ALLOW_NEW_SOURCES = 5
export const BLOCK_OLD_SOURCES = 6

export interface GroupRecord {
  type: number
  address: IpAddress
  sources: readonly IpAddress[]
}

/** The messages of a protocol. */
export interface GroupMessages {
  /** The current version's report. */
  report(device: NetDevice, records: readonly GroupRecord[]): void
  /** An older version's report of one group, or its leaving. `version` 1 or 2. */
  oldReport(device: NetDevice, address: IpAddress, version: number): void
  oldLeave(device: NetDevice, address: IpAddress): void
  /** ms between the reports of a change, by version. */
  interval(device: NetDevice, old: boolean): number
  robustness(): number
  /** The version that a setting forces, 0 for none. */
  forced(device: NetDevice): number
}

/** A query, as far as it matters here. */
export interface GroupQuery {
  /** 1 (IGMPv1), 2 (IGMPv2, MLDv1) or 3 (IGMPv3, MLDv2). */
  version: number
  /** Undefined: of all groups. */
  address: IpAddress | undefined
  sources: readonly IpAddress[]
  /** ns */
  maxResponse: number
}

/** What of one group is still to be told. */
class Pending {
  /** What the routers know: the filter as last reported. */
  exclude = false
  sources: readonly IpAddress[] = []
  /** Reports of the last change still to be sent. */
  left = 0
  records: GroupRecord[] = []
  /** When the answer to a query is due; Infinity for none. */
  answerAt = Number.POSITIVE_INFINITY
  /** Sources asked for; empty: the whole state. */
  asked: readonly IpAddress[] = []
  readonly address: IpAddress

  constructor(address: IpAddress) {
    this.address = address
  }
}

/** Per device. */
class LinkReports implements Expiry {
  readonly owner: GroupReporter
  readonly device: NetDevice
  readonly timer = new Timer(this)
  readonly pending = new Map<string, Pending>()
  /** When the next repetition of changes is due. */
  changeAt = Number.POSITIVE_INFINITY
  /** When an older querier is forgotten, by version. */
  olderUntil = [0, 0, 0]

  constructor(owner: GroupReporter, device: NetDevice) {
    this.owner = owner
    this.device = device
  }
  expired(): void {
    this.owner.due(this)
  }
}

export class GroupReporter {
  readonly #stack: IpStack
  readonly #messages: GroupMessages
  readonly #links = new Map<NetDevice, LinkReports>()

  constructor(stack: IpStack, messages: GroupMessages) {
    this.#stack = stack
    this.#messages = messages
  }

  /** The combined filter of a group differs from what it was (a group without members: include nothing). */
  changed(group: Group): void {
    const { device, address } = group
    if (!device.up || device.isLoopback || !reported(address)) return
    const link = this.#link(device)
    let pending = link.pending.get(address.key)
    if (pending === undefined) {
      if (!group.exclude && group.sources.length === 0) return
      pending = new Pending(address)
      link.pending.set(address.key, pending)
    }
    pending.records = difference(pending, group)
    if (pending.records.length === 0) return
    const wasEmpty = !pending.exclude && pending.sources.length === 0
    const isEmpty = !group.exclude && group.sources.length === 0
    pending.exclude = group.exclude
    pending.sources = group.sources
    const version = this.version(link)
    if (version < 3) {
      this.#oldChange(link, pending, wasEmpty, isEmpty, version)
      return
    }
    pending.left = this.#messages.robustness()
    this.#sendChanges(link)
  }

  /** The device is down: what was reported is forgotten with it. */
  forget(device: NetDevice): void {
    const link = this.#links.get(device)
    if (link === undefined) return
    this.#stack.timers.cancel(link.timer)
    this.#links.delete(device)
  }

  queried(device: NetDevice, query: GroupQuery): void {
    if (device.isLoopback || !device.up) return
    const link = this.#link(device)
    const now = this.#stack.runtime.now()
    if (query.version < 3) {
      // RFC 3376 §7.2.1: robustness times the query interval, and a response interval.
      link.olderUntil[query.version] = now + (2 * 125 + 10) * NSEC_PER_SEC
      for (const pending of link.pending.values()) pending.left = 0
    }
    for (const pending of link.pending.values()) {
      if (query.address !== undefined && !query.address.equals(pending.address)) continue
      if (!pending.exclude && pending.sources.length === 0) continue
      const at = now + this.#stack.random.fraction() * query.maxResponse
      const waiting = pending.answerAt !== Number.POSITIVE_INFINITY
      // RFC 3376 §5.2: a query for the whole state swallows one for single sources.
      pending.asked = waiting && pending.asked.length === 0 ? [] : query.sources
      if (at < pending.answerAt) pending.answerAt = at
    }
    this.#schedule(link)
  }

  /** Another host has reported the group in an older version: RFC 2236 §3. */
  heard(device: NetDevice, address: IpAddress): void {
    const pending = this.#links.get(device)?.pending.get(address.key)
    if (pending !== undefined && this.version(this.#links.get(device)!) < 3) {
      pending.answerAt = Number.POSITIVE_INFINITY
    }
  }

  /** Which one is spoken on the link: 1, 2 or 3. */
  version(link: LinkReports): number {
    const forced = this.#messages.forced(link.device)
    if (forced !== 0) return forced
    const now = this.#stack.runtime.now()
    if (link.olderUntil[1] > now) return 1
    return link.olderUntil[2] > now ? 2 : 3
  }

  /** The link's timer. */
  due(link: LinkReports): void {
    const now = this.#stack.runtime.now()
    const old = this.version(link) < 3
    if (link.changeAt <= now) {
      link.changeAt = Number.POSITIVE_INFINITY
      if (!old) this.#sendChanges(link)
      else this.#repeatOld(link)
    }
    const records: GroupRecord[] = []
    for (const pending of link.pending.values()) {
      if (pending.answerAt > now) continue
      pending.answerAt = Number.POSITIVE_INFINITY
      if (old) this.#messages.oldReport(link.device, pending.address, this.version(link))
      else records.push(...currentState(pending))
    }
    if (records.length > 0) this.#messages.report(link.device, records)
    this.#schedule(link)
  }

  #sendChanges(link: LinkReports): void {
    const records: GroupRecord[] = []
    let again = false
    for (const [key, pending] of link.pending) {
      if (pending.left === 0) continue
      pending.left--
      records.push(...pending.records)
      again ||= pending.left > 0
      if (pending.left === 0 && !pending.exclude && pending.sources.length === 0) link.pending.delete(key)
    }
    if (records.length > 0) this.#messages.report(link.device, records)
    if (again) this.#planChanges(link, false)
    this.#schedule(link)
  }

  #oldChange(
    link: LinkReports,
    pending: Pending,
    wasEmpty: boolean,
    isEmpty: boolean,
    version: number,
  ): void {
    if (isEmpty) {
      link.pending.delete(pending.address.key)
      if (version === 2) this.#messages.oldLeave(link.device, pending.address)
    } else if (wasEmpty) {
      pending.left = this.#messages.robustness() - 1
      this.#messages.oldReport(link.device, pending.address, version)
      this.#planChanges(link, true)
    }
    this.#schedule(link)
  }

  #repeatOld(link: LinkReports): void {
    let again = false
    for (const pending of link.pending.values()) {
      if (pending.left === 0) continue
      pending.left--
      this.#messages.oldReport(link.device, pending.address, this.version(link))
      again ||= pending.left > 0
    }
    if (again) this.#planChanges(link, true)
  }

  #planChanges(link: LinkReports, old: boolean): void {
    const wait = this.#stack.random.fraction() * this.#messages.interval(link.device, old) * NSEC_PER_MSEC
    link.changeAt = Math.min(link.changeAt, this.#stack.runtime.now() + wait)
  }

  #schedule(link: LinkReports): void {
    let next = link.changeAt
    for (const pending of link.pending.values()) next = Math.min(next, pending.answerAt)
    if (next === Number.POSITIVE_INFINITY) this.#stack.timers.cancel(link.timer)
    else this.#stack.timers.add(link.timer, next)
  }

  #link(device: NetDevice): LinkReports {
    let link = this.#links.get(device)
    if (link === undefined) {
      link = new LinkReports(this, device)
      this.#links.set(device, link)
    }
    return link
  }
}

/** Groups that nobody has to be told of: all hosts, and IPv6 groups of no more than this machine. */
function reported(address: IpAddress): boolean {
  if (isAllHosts(address)) return false
  return address.isV4 || ((address.w0 >>> 16) & 0xf) > 1
}

/** RFC 3376 §5.1: the records that tell of a change. */
function difference(before: Pending, group: Group): GroupRecord[] {
  const { address } = group
  if (before.exclude !== group.exclude) {
    const type = group.exclude ? CHANGE_TO_EXCLUDE : CHANGE_TO_INCLUDE
    return [{ type, address, sources: group.sources }]
  }
  const added = group.sources.filter(source => !before.sources.some(other => other.equals(source)))
  const removed = before.sources.filter(source => !group.sources.some(other => other.equals(source)))
  const [allow, block] = group.exclude ? [removed, added] : [added, removed]
  const records: GroupRecord[] = []
  if (allow.length > 0) records.push({ type: ALLOW_NEW_SOURCES, address, sources: allow })
  if (block.length > 0) records.push({ type: BLOCK_OLD_SOURCES, address, sources: block })
  return records
}

/** RFC 3376 §5.2: the answer to a query. */
function currentState(pending: Pending): GroupRecord[] {
  const { address, asked, exclude, sources } = pending
  if (asked.length === 0) {
    return [{ type: exclude ? MODE_IS_EXCLUDE : MODE_IS_INCLUDE, address, sources }]
  }
  const wanted = asked.filter(source => sources.some(other => other.equals(source)) !== exclude)
  return wanted.length === 0 ? [] : [{ type: MODE_IS_INCLUDE, address, sources: wanted }]
}
