/**
 * Multicast groups: who of this machine listens to what, per device. A Membership is a socket's (IP_ADD_MEMBERSHIP and the
 * source filters of RFC 3376 §2), or the stack's own; the memberships of one group on one device make a Group, whose
 * combined filter is what a GroupReporter tells the routers of the link.
 *
 * All-hosts groups (224.0.0.1, ff02::1, ff01::1) are listened to without being joined.
 */
import { IFF_MULTICAST, IPPROTO_IGMP } from '../../abi/constants.ts'
import { EADDRNOTAVAIL, EINVAL, ENOBUFS, ENODEV } from '../../abi/errno.ts'
import type { IpAddress } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import type { Packet } from '../packet.ts'
import { multicastMac } from './ethernet.ts'
import { GroupReporter } from './group-reporter.ts'
import { IgmpProtocol } from './igmp.ts'
import { MldProtocol } from './mld.ts'

/** Groups of one device; more are somebody's mistake. */
const MAX_GROUPS = 4096

/** A source filter (RFC 3376 §2) of a group on a device. */
class SourceFilter {
  readonly device: NetDevice
  readonly address: IpAddress
  /** True: all sources but those in `sources`; false: only those. */
  exclude: boolean
  sources: readonly IpAddress[] = []

  constructor(device: NetDevice, address: IpAddress, exclude: boolean) {
    this.device = device
    this.address = address
    this.exclude = exclude
  }

  /** Whether a packet from `source` is wanted. */
  accepts(source: IpAddress): boolean {
    return this.sources.some(entry => entry.equals(source)) !== this.exclude
  }
}

export class Membership extends SourceFilter {
  constructor(device: NetDevice, address: IpAddress) {
    super(device, address, true)
  }
}

/** A group on a device, with the combined filter of its members: RFC 3376 §3.2. */
export class Group extends SourceFilter {
  readonly memberships = new Set<Membership>()

  constructor(device: NetDevice, address: IpAddress) {
    super(device, address, false)
  }

  combine(): void {
    const members = [...this.memberships]
    const excluding = members.filter(member => member.exclude)
    const included = members.filter(member => !member.exclude).flatMap(member => member.sources)
    this.exclude = excluding.length > 0
    if (!this.exclude) {
      this.sources = distinct(included)
      return
    }
    const refusedByAll = excluding[0].sources.filter(source =>
      excluding.every(member => !member.accepts(source)),
    )
    this.sources = distinct(refusedByAll.filter(source => !included.some(other => other.equals(source))))
  }
}

export class MulticastGroups {
  readonly #stack: IpStack
  readonly #groups = new Map<NetDevice, Map<string, Group>>()
  readonly #own = new Map<NetDevice, Map<string, { membership: Membership; count: number }>>()
  /** Of those devices, of each family, that listen to the all-hosts groups. */
  readonly #toAll4 = new Set<NetDevice>()
  readonly #toAll6 = new Set<NetDevice>()
  readonly igmp: GroupReporter
  readonly mld: GroupReporter
  readonly #igmpProtocol: IgmpProtocol
  readonly #mldProtocol: MldProtocol

  constructor(stack: IpStack) {
    this.#stack = stack
    this.#igmpProtocol = new IgmpProtocol(stack)
    this.#mldProtocol = new MldProtocol(stack)
    this.igmp = new GroupReporter(stack, this.#igmpProtocol)
    this.mld = new GroupReporter(stack, this.#mldProtocol)
    this.#igmpProtocol.reporter = this.igmp
    this.#mldProtocol.reporter = this.mld
  }

  /** With the stack's other protocols. */
  install(): void {
    this.#stack.protocols[IPPROTO_IGMP] = this.#igmpProtocol
  }

  mldReceived(packet: Packet): void {
    this.#mldProtocol.received(packet)
  }

  /** A membership, which its maker changes by `setFilter` and ends by `leave`. -EINVAL, -ENODEV, -ENOBUFS. */
  join(device: NetDevice, address: IpAddress): Membership | number {
    if (!address.isMulticast) return -EINVAL
    if (device.stack !== this.#stack) return -ENODEV
    let groups = this.#groups.get(device)
    if (groups === undefined) {
      groups = new Map()
      this.#groups.set(device, groups)
    }
    let group = groups.get(address.key)
    if (group === undefined) {
      if (groups.size >= MAX_GROUPS) return -ENOBUFS
      group = new Group(device, address)
      groups.set(address.key, group)
      this.#listenOnLink(group, true)
    }
    const membership = new Membership(device, address)
    group.memberships.add(membership)
    this.#filterChanged(group)
    return membership
  }

  leave(membership: Membership): number {
    const group = this.group(membership.device, membership.address)
    if (group === undefined || !group.memberships.delete(membership)) return -EADDRNOTAVAIL
    this.#filterChanged(group)
    if (group.memberships.size > 0) return 0
    this.#listenOnLink(group, false)
    this.#groups.get(group.device)?.delete(group.address.key)
    return 0
  }

  setFilter(membership: Membership, exclude: boolean, sources: readonly IpAddress[]): void {
    membership.exclude = exclude
    membership.sources = distinct(sources)
    const group = this.group(membership.device, membership.address)
    if (group !== undefined) this.#filterChanged(group)
  }

  group(device: NetDevice, address: IpAddress): Group | undefined {
    return this.#groups.get(device)?.get(address.key)
  }
  of(device: NetDevice): Iterable<Group> {
    return this.#groups.get(device)?.values() ?? []
  }

  /** Whether what we send to the group comes back to us. */
  isMember(device: NetDevice, address: IpAddress): boolean {
    return isAllHosts(address) || this.group(device, address) !== undefined
  }

  /** Whether a packet from `source` is for somebody here. */
  listens(device: NetDevice, address: IpAddress, source: IpAddress): boolean {
    if (isAllHosts(address)) return true
    return this.group(device, address)?.accepts(source) === true
  }

  /** The group of an address of ours under which neighbours ask for it: one membership for all that share it. */
  joinSolicited(device: NetDevice, address: IpAddress): void {
    let own = this.#own.get(device)
    if (own === undefined) {
      own = new Map()
      this.#own.set(device, own)
    }
    const known = own.get(address.key)
    if (known !== undefined) {
      known.count++
      return
    }
    const membership = this.join(device, address)
    if (typeof membership !== 'number') own.set(address.key, { membership, count: 1 })
  }

  leaveSolicited(device: NetDevice, address: IpAddress): void {
    const own = this.#own.get(device)
    const known = own?.get(address.key)
    if (own === undefined || known === undefined || --known.count > 0) return
    own.delete(address.key)
    this.leave(known.membership)
  }

  // What the stack tells of its devices.

  deviceUp(device: NetDevice): void {
    this.#listenToAll(device, true, true)
    for (const group of this.of(device)) this.#reporter(group).changed(group)
  }
  deviceDown(device: NetDevice): void {
    this.#listenToAll(device, true, false)
    this.igmp.forget(device)
    this.mld.forget(device)
  }
  startIpv6(device: NetDevice): void {
    this.#listenToAll(device, false, true)
    for (const group of this.of(device)) if (!group.address.isV4) this.mld.changed(group)
  }
  stopIpv6(device: NetDevice): void {
    this.#listenToAll(device, false, false)
    this.mld.forget(device)
  }
  deviceRemoved(device: NetDevice): void {
    this.igmp.forget(device)
    this.mld.forget(device)
    this.#groups.delete(device)
    this.#own.delete(device)
    this.#toAll4.delete(device)
    this.#toAll6.delete(device)
    device.multicastList.clear()
  }
  close(): void {
    for (const device of [...this.#groups.keys()]) this.deviceRemoved(device)
  }

  #filterChanged(group: Group): void {
    group.combine()
    this.#reporter(group).changed(group)
  }

  #reporter(group: Group): GroupReporter {
    return group.address.isV4 ? this.igmp : this.mld
  }

  /** Every host listens to them: they are of no group's, but the link must let them in. */
  #listenToAll(device: NetDevice, isV4: boolean, on: boolean): void {
    const listening = isV4 ? this.#toAll4 : this.#toAll6
    if (listening.has(device) === on) return
    if (device.isLoopback || device.headerLength === 0 || (device.flags & IFF_MULTICAST) === 0) return
    if (on) listening.add(device)
    else listening.delete(device)
    countOnLink(device, isV4 ? '01:00:5e:00:00:01' : '33:33:00:00:00:01', on)
  }

  /** The device's list of link addresses to listen to. */
  #listenOnLink(group: Group, on: boolean): void {
    const { device, address } = group
    const key = Array.from(multicastMac(address.isV4, address.w3), byte =>
      byte.toString(16).padStart(2, '0'),
    ).join(':')
    countOnLink(device, key, on)
  }
}

/** Several groups can have the same link address. */
function countOnLink(device: NetDevice, key: string, on: boolean): void {
  const count = (device.multicastList.get(key) ?? 0) + (on ? 1 : -1)
  if (count > 0) device.multicastList.set(key, count)
  else device.multicastList.delete(key)
  device.filterChanged()
}

/** RFC 1112 §7.1, RFC 4291 §2.8: every host listens to them. */
export function isAllHosts(address: IpAddress): boolean {
  if (address.isV4) return address.w3 === 0xe0000001
  const wide = address.w0 === 0xff020000 || address.w0 === 0xff010000
  return wide && address.w1 === 0 && address.w2 === 0 && address.w3 === 1
}

function distinct(sources: readonly IpAddress[]): IpAddress[] {
  return [...new Map(sources.map(source => [source.key, source])).values()]
}
