/**
 * Id-mapped mounts: mount_setattr(2), MOUNT_ATTR_IDMAP.
 *
 * What the file system says that a file's owner is, is taken for an id inside of the user namespace that the mount was given:
 * the kernel's id for it is the owner as seen through the mount. What is made or changed through it goes the other way. An id
 * without a counterpart is nobody's (INVALID_ID).
 *
 * All policy of vfs/ compares who asks with owners as the file system keeps them. So behind such a mount it is asked by another
 * identity: that of the caller with its ids taken back through the map (`throughMount`), which remembers the map for those
 * capabilities that count only over known owners. Ids that come from or go to the caller pass `seenUid` and `MountIdmap`.
 */
import type { Credentials, IdMapping, OwnerMap, UserNamespace } from '../base/credentials.ts'
import { INVALID_ID, idInside, toKernelId } from '../base/id-map.ts'
import type { Inode } from './inode.ts'
import type { Mount } from './mount.ts'

/** Of a caller for whom the file system has no id: no file's owner is so, not even one that is nobody's. */
export const NO_OWNER = -1

const IDENTITY: readonly IdMapping[] = [{ inside: 0, outside: 0, count: INVALID_ID }]

export interface IdMaps {
  readonly uidMap: readonly IdMapping[]
  readonly gidMap: readonly IdMapping[]
}

export class MountIdmap implements OwnerMap {
  readonly #uids: IdMapper
  readonly #gids: IdMapper
  /** Identities that came by, as the file system knows them. */
  readonly #translated = new WeakMap<Credentials, Credentials>()

  /** The maps of a user namespace as they are now; `owner`: that which the file system belongs to. */
  constructor(maps: IdMaps, owner: UserNamespace | undefined) {
    this.#uids = new IdMapper(maps.uidMap, owner?.uidMap ?? IDENTITY)
    this.#gids = new IdMapper(maps.gidMap, owner?.gidMap ?? IDENTITY)
  }

  /** make_vfsuid: an owner that the file system keeps, as it is seen through the mount. */
  uidSeen(kept: number): number {
    return this.#uids.seen(kept)
  }
  gidSeen(kept: number): number {
    return this.#gids.seen(kept)
  }
  /** from_vfsuid: what the file system is to keep for one who is seen. */
  uidKept(seen: number): number {
    return this.#uids.kept(seen)
  }
  gidKept(seen: number): number {
    return this.#gids.kept(seen)
  }

  isSame(other: MountIdmap): boolean {
    return this.#uids.isSame(other.#uids) && this.#gids.isSame(other.#gids)
  }

  /** The identity as the file system knows it. */
  translate(cred: Credentials): Credentials {
    let translated = this.#translated.get(cred)
    if (translated === undefined) {
      translated = cred.clone()
      translated.owners = this
      translated.fsuid = ownerOf(this.uidKept(cred.fsuid))
      translated.fsgid = ownerOf(this.gidKept(cred.fsgid))
      translated.groups = cred.groups.map(gid => ownerOf(this.gidKept(gid)))
      this.#translated.set(cred, translated)
    }
    return translated
  }
}

function ownerOf(kept: number): number {
  return kept === INVALID_ID ? NO_OWNER : kept
}

/** Whether owners look the same by both. */
export function sameIdmap(a: MountIdmap | undefined, b: MountIdmap | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && a.isSame(b))
}

/** Between what a file system keeps and what is seen, for one kind of ids. */
class IdMapper {
  readonly #mount: readonly IdMapping[]
  readonly #fs: readonly IdMapping[]

  constructor(mount: readonly IdMapping[], fs: readonly IdMapping[]) {
    this.#mount = mount
    this.#fs = fs
  }
  isSame(other: IdMapper): boolean {
    return sameLines(this.#mount, other.#mount) && sameLines(this.#fs, other.#fs)
  }
  seen(kept: number): number {
    return toKernelId(this.#mount, idInside(this.#fs, kept))
  }
  kept(seen: number): number {
    return toKernelId(this.#fs, idInside(this.#mount, seen))
  }
}

function sameLines(a: readonly IdMapping[], b: readonly IdMapping[]): boolean {
  return (
    a.length === b.length &&
    a.every((line, i) => {
      const { inside, outside, count } = b[i]
      return line.inside === inside && line.outside === outside && line.count === count
    })
  )
}

/** The caller's identity for what is asked of files that are reached through `mount`. */
export function throughMount(cred: Credentials, { idmap }: Mount): Credentials {
  return idmap === undefined ? cred : idmap.translate(cred)
}

/** i_uid_into_vfsuid, i_gid_into_vfsgid. */
export function seenUid({ idmap }: Mount, inode: Inode): number {
  return idmap === undefined ? inode.uid : idmap.uidSeen(inode.uid)
}
export function seenGid({ idmap }: Mount, inode: Inode): number {
  return idmap === undefined ? inode.gid : idmap.gidSeen(inode.gid)
}
