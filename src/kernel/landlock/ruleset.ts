/**
 * A Landlock ruleset: what landlock_create_ruleset(2) makes and landlock_add_rule(2) fills. It stands behind a descriptor, and
 * becomes a layer of a domain (domain.ts) by landlock_restrict_self(2), which takes a copy of its rules.
 */
import {
  LANDLOCK_ACCESS_FS_EXECUTE,
  LANDLOCK_ACCESS_FS_IOCTL_DEV,
  LANDLOCK_ACCESS_FS_READ_FILE,
  LANDLOCK_ACCESS_FS_REFER,
  LANDLOCK_ACCESS_FS_TRUNCATE,
  LANDLOCK_ACCESS_FS_WRITE_FILE,
  LANDLOCK_ACCESS_NET_BIND_TCP,
  LANDLOCK_ACCESS_NET_CONNECT_TCP,
  LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET,
  LANDLOCK_SCOPE_SIGNAL,
  O_RDWR,
} from '../../abi/constants.ts'
import { EINVAL } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { Status } from '../../base/result.ts'
import { type Dentry, dropDentry, holdDentry } from '../../vfs/dentry.ts'
import { File } from '../../vfs/file.ts'
import type { Inode } from '../../vfs/inode.ts'
import type { Path } from '../../vfs/path.ts'

/** The version of the interface: Linux 6.12's. */
export const ABI_VERSION = 6

export const ACCESS_FS = LANDLOCK_ACCESS_FS_IOCTL_DEV * 2 - 1
export const ACCESS_NET = LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP
export const SCOPES = LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL
/** Rights that mean something for what is no directory. */
export const ACCESS_FILE =
  LANDLOCK_ACCESS_FS_EXECUTE |
  LANDLOCK_ACCESS_FS_WRITE_FILE |
  LANDLOCK_ACCESS_FS_READ_FILE |
  LANDLOCK_ACCESS_FS_TRUNCATE |
  LANDLOCK_ACCESS_FS_IOCTL_DEV

/** What a layer restricts, and the exceptions from it. */
export class Rules {
  /** LANDLOCK_ACCESS_FS_*, LANDLOCK_ACCESS_NET_* and LANDLOCK_SCOPE_* that are denied unless a rule allows them. */
  readonly fs: number
  readonly net: number
  readonly scope: number
  readonly #inodes = new Map<Inode, { allowed: number; readonly dentry: Dentry }>()
  readonly #ports = new Map<number, number>()

  constructor(fs: number, net: number, scope: number) {
    // Giving a file another parent is denied wherever paths are restricted at all.
    this.fs = fs === 0 ? 0 : fs | LANDLOCK_ACCESS_FS_REFER
    this.net = net
    this.scope = scope
  }

  /** What is allowed at this place and below, by a rule for this very place. */
  allowedAt(inode: Inode): number {
    return this.#inodes.get(inode)?.allowed ?? 0
  }
  allowedOn(port: number): number {
    return this.#ports.get(port) ?? 0
  }

  /** landlock_append_fs_rule. The place stays in the cache for the rule's sake. */
  addPath(dentry: Dentry, allowed: number): Status {
    const inode = dentry.inode!
    if (!inode.isDir && (allowed & ~ACCESS_FILE) !== 0) return -EINVAL
    const old = this.#inodes.get(inode)
    if (old !== undefined) {
      old.allowed |= allowed
      return 0
    }
    holdDentry(dentry)
    this.#inodes.set(inode, { allowed, dentry })
    return 0
  }
  addPort(port: number, allowed: number): void {
    this.#ports.set(port, this.allowedOn(port) | allowed)
  }

  copy(): Rules {
    const copy = new Rules(this.fs, this.net, this.scope)
    for (const { dentry, allowed } of this.#inodes.values()) copy.addPath(dentry, allowed)
    for (const [port, allowed] of this.#ports) copy.addPort(port, allowed)
    return copy
  }

  drop(): void {
    for (const { dentry } of this.#inodes.values()) dropDentry(dentry)
    this.#inodes.clear()
  }
}

export class RulesetFile extends File {
  readonly rules: Rules
  /** What was asked for, by which rules are judged: REFER only if it was named. */
  readonly handledFs: number

  constructor(path: Path, cred: Credentials, fs: number, net: number, scope: number) {
    super(path, O_RDWR, cred)
    this.rules = new Rules(fs, net, scope)
    this.handledFs = fs
  }

  override release(): void {
    this.rules.drop()
  }
}
