/**
 * What a process gave up for good, where paths are concerned: landlock(7). The rules are the kernel's
 * (kernel/landlock/domain.ts); this is where vfs/ asks. Who restricted nothing pays one look at its credentials.
 */
import {
  LANDLOCK_ACCESS_FS_MAKE_BLOCK,
  LANDLOCK_ACCESS_FS_MAKE_CHAR,
  LANDLOCK_ACCESS_FS_MAKE_DIR,
  LANDLOCK_ACCESS_FS_MAKE_FIFO,
  LANDLOCK_ACCESS_FS_MAKE_REG,
  LANDLOCK_ACCESS_FS_MAKE_SOCK,
  LANDLOCK_ACCESS_FS_MAKE_SYM,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFSOCK,
} from '../abi/constants.ts'
import type { Credentials } from '../base/credentials.ts'
import type { Status } from '../base/result.ts'
import type { Dentry } from './dentry.ts'
import type { Path } from './path.ts'

export interface PathRestriction {
  /** 0, or -EACCES unless all rights of `wanted` (LANDLOCK_ACCESS_FS_*) are granted at the place. */
  mayAccess(path: Path, wanted: number): Status
  /** Those of `wanted` that are not granted there. */
  denied(path: Path, wanted: number): number
  /**
   * Whether `old` may get the name of `target` (maybe a negative entry) in `newDir`; `moves`: it loses its own, in `oldDir`.
   * -EACCES, or -EXDEV where a copy might be allowed.
   */
  mayRefer(oldDir: Path, old: Dentry, newDir: Path, target: Dentry, moves: boolean, exchange: boolean): Status
  /** It restricts paths at all: mounts must then stay as they are. */
  readonly restrictsPaths: boolean
}

export function restrictionOf(cred: Credentials): PathRestriction | undefined {
  return cred.landlock as PathRestriction | undefined
}

export function restrictedAccess(cred: Credentials, path: Path, wanted: number): Status {
  return cred.landlock === undefined ? 0 : restrictionOf(cred)!.mayAccess(path, wanted)
}

/** Mounts are what paths mean: a process whose paths are restricted leaves them alone (-EPERM). */
export function mayChangeMounts(cred: Credentials): boolean {
  return cred.landlock === undefined || !restrictionOf(cred)!.restrictsPaths
}

/** get_mode_access: the right to make a file of that type. */
export function rightToMake(mode: number): number {
  switch (mode & S_IFMT) {
    case S_IFLNK:
      return LANDLOCK_ACCESS_FS_MAKE_SYM
    case S_IFDIR:
      return LANDLOCK_ACCESS_FS_MAKE_DIR
    case S_IFCHR:
      return LANDLOCK_ACCESS_FS_MAKE_CHAR
    case S_IFBLK:
      return LANDLOCK_ACCESS_FS_MAKE_BLOCK
    case S_IFIFO:
      return LANDLOCK_ACCESS_FS_MAKE_FIFO
    case S_IFSOCK:
      return LANDLOCK_ACCESS_FS_MAKE_SOCK
  }
  return LANDLOCK_ACCESS_FS_MAKE_REG
}
