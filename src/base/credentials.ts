/**
 * Who a task is: credentials(7), capabilities(7), user_namespaces(7).
 * A Credentials object is immutable once published: a task that changes identity gets a changed copy, so that
 * open files and sockets can keep the one that they were made with.
 */
import { INVALID_ID } from './id-map.ts'

/** Capability sets are 41 bits: two words. */
export class CapabilitySet {
  readonly lo: number
  readonly hi: number

  constructor(lo: number, hi: number) {
    this.lo = lo >>> 0
    this.hi = hi >>> 0
  }
  has(cap: number): boolean {
    return cap < 32 ? ((this.lo >>> cap) & 1) === 1 : ((this.hi >>> (cap - 32)) & 1) === 1
  }
  and(other: CapabilitySet): CapabilitySet {
    return new CapabilitySet(this.lo & other.lo, this.hi & other.hi)
  }
  or(other: CapabilitySet): CapabilitySet {
    return new CapabilitySet(this.lo | other.lo, this.hi | other.hi)
  }
  minus(other: CapabilitySet): CapabilitySet {
    return new CapabilitySet(this.lo & ~other.lo, this.hi & ~other.hi)
  }
  with(cap: number): CapabilitySet {
    return cap < 32
      ? new CapabilitySet(this.lo | (1 << cap), this.hi)
      : new CapabilitySet(this.lo, this.hi | (1 << (cap - 32)))
  }
  without(cap: number): CapabilitySet {
    return cap < 32
      ? new CapabilitySet(this.lo & ~(1 << cap), this.hi)
      : new CapabilitySet(this.lo, this.hi & ~(1 << (cap - 32)))
  }
  equals(other: CapabilitySet): boolean {
    return this.lo === other.lo && this.hi === other.hi
  }
  subsetOf(other: CapabilitySet): boolean {
    return (this.lo & ~other.lo) === 0 && (this.hi & ~other.hi) === 0
  }
  get empty(): boolean {
    return this.lo === 0 && this.hi === 0
  }

  static readonly NONE = new CapabilitySet(0, 0)
  static readonly ALL = new CapabilitySet(0xffffffff, 0x1ff)
}

/** One line of uid_map or gid_map. */
export interface IdMapping {
  inside: number
  /** The kernel-wide id (not the parent's, as the file shows it): resolved once, when the map is written. */
  outside: number
  count: number
}

/** Whether the map of a user namespace has this kernel-wide id. */
export function isMapped(map: readonly IdMapping[], kernelId: number): boolean {
  return map.some(line => kernelId >= line.outside && kernelId - line.outside < line.count)
}

export class UserNamespace {
  readonly parent: UserNamespace | undefined
  /** 0 for the first one. */
  readonly level: number
  readonly owner: number
  readonly ownerGroup: number
  uidMap: IdMapping[]
  gidMap: IdMapping[]
  setgroupsAllowed = true
  readonly inum: number

  constructor(parent: UserNamespace | undefined, owner: number, ownerGroup: number, inum: number) {
    this.parent = parent
    this.level = parent === undefined ? 0 : parent.level + 1
    this.owner = owner
    this.ownerGroup = ownerGroup
    this.inum = inum
    const whole = { inside: 0, outside: 0, count: 0xffffffff }
    this.uidMap = parent === undefined ? [whole] : []
    this.gidMap = parent === undefined ? [whole] : []
  }
}

/** in_userns: whether `ns` is `outer` or comes from it. */
export function isWithin(ns: UserNamespace, outer: UserNamespace): boolean {
  for (let at: UserNamespace | undefined = ns; at !== undefined; at = at.parent) if (at === outer) return true
  return false
}

/** The one that all others come from. */
export function firstUserNs(ns: UserNamespace): UserNamespace {
  let at = ns
  while (at.parent !== undefined) at = at.parent
  return at
}

/** How the owners of files look through a mount: vfs/idmap.ts. */
export interface OwnerMap {
  uidSeen(kept: number): number
  gidSeen(kept: number): number
}

/** All ids are kernel-wide ids (those of the first user namespace). */
export class Credentials {
  uid = 0
  euid = 0
  suid = 0
  fsuid = 0
  gid = 0
  egid = 0
  sgid = 0
  fsgid = 0
  groups: readonly number[] = []
  permitted = CapabilitySet.NONE
  effective = CapabilitySet.NONE
  inheritable = CapabilitySet.NONE
  bounding = CapabilitySet.ALL
  ambient = CapabilitySet.NONE
  securebits = 0
  noNewPrivs = false
  /** landlock(7): a Domain of kernel/landlock, which vfs/ asks by vfs/restriction.ts; undefined until it restricts itself. */
  landlock: object | undefined = undefined
  /** Of an identity as the files behind an id-mapped mount know it: how their owners are seen. */
  owners: OwnerMap | undefined = undefined
  userNs: UserNamespace

  constructor(userNs: UserNamespace) {
    this.userNs = userNs
  }

  /** A copy to change before it is published. */
  clone(): Credentials {
    return Object.assign(new Credentials(this.userNs), this)
  }

  inGroup(gid: number): boolean {
    return this.fsgid === gid || this.groups.includes(gid)
  }

  /** Whether the owner, and the group, of a file mean anything in its user namespace. */
  mapsUid(uid: number): boolean {
    return isMapped(this.userNs.uidMap, this.owners?.uidSeen(uid) ?? uid)
  }
  mapsGid(gid: number): boolean {
    return isMapped(this.userNs.gidMap, this.owners?.gidSeen(gid) ?? gid)
  }
  /** Whether anybody is behind the owner, and the group, of a file: behind id-mapped mounts and layers there may be nobody. */
  knowsUid(uid: number): boolean {
    return (this.owners?.uidSeen(uid) ?? uid) !== INVALID_ID
  }
  knowsGid(gid: number): boolean {
    return (this.owners?.gidSeen(gid) ?? gid) !== INVALID_ID
  }

  /** Whether this identity holds `cap` over what `ns` owns: capable(), ns_capable(). */
  capable(cap: number, ns: UserNamespace = this.userNs): boolean {
    for (let at: UserNamespace | undefined = ns; at !== undefined; at = at.parent) {
      if (at === this.userNs) return this.effective.has(cap)
      // The creator of a namespace holds every capability over it from its parent.
      if (at.parent === this.userNs && at.owner === this.euid) return true
    }
    return false
  }
}
