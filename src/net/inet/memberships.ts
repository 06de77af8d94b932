/** Memberships: the multicast groups that one socket has joined, and whether it wants a packet to one: ip(7), RFC 3678. */
import { EADDRINUSE, EADDRNOTAVAIL, EINVAL, ENOBUFS } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { IpAddress } from '../address.ts'
import type { Membership } from '../ip/multicast.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'

export class Memberships {
  readonly #stack: IpStack
  readonly #all: Membership[]

  /** `all`: a list that the endpoint looks at, too. */
  constructor(stack: IpStack, all: Membership[]) {
    this.#stack = stack
    this.#all = all
  }

  get all(): readonly Membership[] {
    return this.#all
  }

  find(group: IpAddress, device: NetDevice | undefined): Membership | undefined {
    return this.#all.find(
      member => member.address.equals(group) && (device === undefined || member.device === device),
    )
  }

  join(group: IpAddress, device: NetDevice): Status {
    if (this.find(group, device) !== undefined) return -EADDRINUSE
    const made = this.#join(group, device)
    return typeof made === 'number' ? made : 0
  }
  #join(group: IpAddress, device: NetDevice): Membership | number {
    const { ipv4 } = this.#stack.sysctls
    if (group.isV4 && this.#all.length >= ipv4.igmp_max_memberships) return -ENOBUFS
    const made = this.#stack.multicast.join(device, group)
    if (typeof made !== 'number') this.#all.push(made)
    return made
  }

  leave(group: IpAddress, device: NetDevice | undefined): Status {
    const member = this.find(group, device)
    if (member === undefined) return -EADDRNOTAVAIL
    this.#drop(member)
    return 0
  }
  #drop(member: Membership): void {
    this.#all.splice(this.#all.indexOf(member), 1)
    this.#stack.multicast.leave(member)
  }

  /** Hear this source, too, of a group that is only heard from some. */
  joinSource(group: IpAddress, device: NetDevice, source: IpAddress): Status {
    const member = this.find(group, device)
    if (member === undefined) {
      const made = this.#join(group, device)
      if (typeof made === 'number') return made
      this.#stack.multicast.setFilter(made, false, [source])
      return 0
    }
    if (member.exclude) return -EINVAL
    if (has(member, source)) return -EADDRNOTAVAIL
    return this.#filter(member, [...member.sources, source])
  }
  leaveSource(group: IpAddress, device: NetDevice, source: IpAddress): Status {
    const member = this.find(group, device)
    if (member === undefined || member.exclude) return -EINVAL
    if (!has(member, source)) return -EADDRNOTAVAIL
    if (member.sources.length === 1) {
      this.#drop(member)
      return 0
    }
    return this.#filter(member, without(member, source))
  }
  /** Don't hear this source of a group that is heard from all. */
  block(group: IpAddress, device: NetDevice, source: IpAddress): Status {
    const member = this.find(group, device)
    if (member === undefined || !member.exclude) return -EINVAL
    return has(member, source) ? -EADDRNOTAVAIL : this.#filter(member, [...member.sources, source])
  }
  unblock(group: IpAddress, device: NetDevice, source: IpAddress): Status {
    const member = this.find(group, device)
    if (member === undefined || !member.exclude) return -EINVAL
    return has(member, source) ? this.#filter(member, without(member, source)) : -EADDRNOTAVAIL
  }
  /** All at once: ip_mc_msfilter. */
  setFilter(group: IpAddress, device: NetDevice, exclude: boolean, sources: readonly IpAddress[]): Status {
    if (!exclude && sources.length === 0) return this.leave(group, device)
    const member = this.find(group, device)
    if (member === undefined) return -EINVAL
    this.#stack.multicast.setFilter(member, exclude, sources)
    return 0
  }
  #filter(member: Membership, sources: readonly IpAddress[]): Status {
    if (sources.length > this.#stack.sysctls.ipv4.igmp_max_msf) return -ENOBUFS
    this.#stack.multicast.setFilter(member, member.exclude, sources)
    return 0
  }

  /** Whether a packet to the group is wanted; `all`: also of groups that others on this machine have joined. */
  wants(group: IpAddress, device: NetDevice | undefined, source: IpAddress, all: boolean): boolean {
    const member = this.find(group, device)
    return member === undefined ? all : member.accepts(source)
  }

  /** The socket ends. */
  close(): void {
    for (const member of [...this.#all]) this.#drop(member)
  }
}

function has(member: Membership, source: IpAddress): boolean {
  return member.sources.some(entry => entry.equals(source))
}
function without(member: Membership, source: IpAddress): IpAddress[] {
  return member.sources.filter(entry => !entry.equals(source))
}
