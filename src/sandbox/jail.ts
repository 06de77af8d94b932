/**
 * The sentry's own jail, closed in three steps while no guest code runs yet:
 *
 *   enterRoot          an empty root of our own, with the donated mounts in it and nothing else; the host's is gone
 *   dropCapabilities   in all threads; the zygote is started after this and so has none either
 *   seal               the seccomp filter over all threads: from here on only host-calls.ts
 *
 * The launcher has made the namespaces before. Each step throws a UserError where the host refuses it: there is no
 * sandbox with a layer less.
 */
import { readFileSync } from 'node:fs'
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_RECURSIVE,
  CAP_CHOWN,
  CAP_DAC_OVERRIDE,
  CAP_DAC_READ_SEARCH,
  CAP_FOWNER,
  CAP_FSETID,
  FSCONFIG_CMD_CREATE,
  FSCONFIG_SET_STRING,
  FSMOUNT_CLOEXEC,
  MNT_DETACH,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  MOVE_MOUNT_F_EMPTY_PATH,
  MOVE_MOUNT_T_EMPTY_PATH,
  O_CREAT,
  O_DIRECTORY,
  O_PATH,
  O_WRONLY,
  OPEN_TREE_CLOEXEC,
  OPEN_TREE_CLONE,
  RESOLVE_BENEATH,
  RESOLVE_NO_SYMLINKS,
  S_IFDIR,
  S_IFMT,
} from '../abi/constants.ts'
import { EACCES, ELOOP, ENOENT, ENOTDIR, errnoName } from '../abi/errno.ts'
import { NR, SYSCALL_NAMES } from '../abi/syscall-numbers.ts'
import { decodeText } from '../base/bytes.ts'
import type { Addon } from '../platform/addon.ts'
import { newHostStat } from '../platform/host.ts'
import type { LinuxHost } from '../platform/linux-host.ts'
import { assembleFilter, type CallRule, SECCOMP_TRAP } from '../platform/seccomp-program.ts'
import { hostCalls, REFUSED_CALLS } from './host-calls.ts'
import { parseMountInfo, pseudoMountsBelow } from './mount-info.ts'
import type { Donation } from './options.ts'
import { UserError } from './user-error.ts'

export class Jail {
  readonly #addon: Addon
  readonly #host: LinuxHost
  readonly #writable: boolean
  /** O_PATH descriptors of the donated mounts' roots, in the order of the donations. */
  readonly mounts: readonly number[]
  /** A procfs of the sandbox's own pid namespace, at /proc of the sentry's root; -1 where the host refuses one. */
  readonly proc: number
  /** /proc/sys/net of the network namespace that we are in, read-only; -1 where it isn't wanted or can't be had. */
  readonly netSettings: number

  private constructor(
    addon: Addon,
    host: LinuxHost,
    writable: boolean,
    mounts: number[],
    proc: number,
    netSettings: number,
  ) {
    this.#addon = addon
    this.#host = host
    this.#writable = writable
    this.mounts = mounts
    this.proc = proc
    this.netSettings = netSettings
  }

  /**
   * Leaves the host's tree for one that holds only the donations. `writable`: calls that change files stay possible, for
   * donations that may be written and for trees that come later. `network`: guests have the network of the host's that
   * we are in.
   */
  static enterRoot(
    addon: Addon,
    host: LinuxHost,
    donations: readonly Donation[],
    writable: boolean,
    network: boolean,
  ): Jail {
    if (process.env.CAISSON_LAUNCHER === undefined || process.pid !== 1) {
      throw new UserError('sandboxes are started by bin/caisson, which makes their namespaces')
    }
    const call = new MountCalls(addon, host)
    const hostMounts = parseMountInfo(readFileSync('/proc/self/mountinfo', 'latin1'))
    const trees = donations.map(donation => call.cloneTree(donation))
    // Over the host's root, since every host has that one; pivot_root then makes it the root.
    const root = call.makeMount('tmpfs', [['size', '1m']], MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
    call.attach(root, AT_FDCWD, '/')
    trees.forEach((tree, i) => {
      const name = `mount${i}`
      call.makeMountpoint(root, name, tree)
      call.attach(tree, root, name)
      for (const below of pseudoMountsBelow(hostMounts, donations[i].source)) call.cover(tree, below)
    })
    const netSettings = network ? call.cloneNetSettings() : -1
    const proc = call.mountProc(root)
    host.ownFds = call.mountOwnFds(root)
    host.ownFdsPath = '/fd'
    call.setAttributes(root, 0, MOUNT_ATTR_RDONLY)
    call.changeRoot(root)
    // The host's name is nothing that the sentry needs.
    check(addon.syscall(NR.sethostname, 'caisson', 7), 'sethostname')
    addon.close(root)
    return new Jail(addon, host, writable, trees, proc, netSettings)
  }

  /** No thread keeps more than it takes to serve the donated files in root's name; nothing for other users. */
  dropCapabilities(): void {
    let keep = 0
    if (process.geteuid?.() === 0) {
      keep |= 1 << CAP_DAC_READ_SEARCH
      if (this.#writable) {
        for (const cap of [CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID]) keep |= 1 << cap
      }
    }
    check(this.#addon.dropCapabilities(keep, 0), 'dropping capabilities')
  }

  /** The filter. `network`: what the guest's network takes beside the calls of every sentry. */
  assembleFilter(network: readonly CallRule[]): Uint8Array {
    const { chmodWay: chmod, changes } = this.#host
    const rules = [...hostCalls({ writable: this.#writable, chmod, inotify: changes.fd }), ...network]
    return assembleFilter(rules, SECCOMP_TRAP, REFUSED_CALLS)
  }

  /** Installs the filter: a call that it refuses is named in the log and ends the sandbox. */
  seal(program: Uint8Array): void {
    check(this.#addon.reportRefusals(2, callNames()), 'reporting refused calls')
    const status = this.#addon.installFilter(program, 0)
    if (status > 0) throw new UserError(`seccomp: thread ${status} of the sentry can't be synchronised`)
    check(status, 'seccomp')
    // Without joining the runtime's threads, whose ends would take some calls more.
    Object.assign(process, { reallyExit: (status?: number) => this.#addon.exitGroup(status ?? 0) })
  }
}

/** As reportRefusals takes them. */
function callNames(): Uint8Array {
  const names = Buffer.alloc(CALL_NAME_SIZE * SYSCALL_NAMES.length)
  SYSCALL_NAMES.forEach((name, nr) => {
    if (name !== undefined) names.write(name, nr * CALL_NAME_SIZE, CALL_NAME_SIZE - 1, 'latin1')
  })
  return names
}
const CALL_NAME_SIZE = 32

/** The mount calls that the jail is made of, checked. */
class MountCalls {
  readonly #addon: Addon
  readonly #host: LinuxHost

  constructor(addon: Addon, host: LinuxHost) {
    this.#addon = addon
    this.#host = host
  }

  /** A detached copy of a host tree: no set-user-ID, no devices, and read-only unless said otherwise. */
  cloneTree(donation: Donation): number {
    const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE
    const tree = this.#addon.syscall(NR.open_tree, AT_FDCWD, donation.source, flags)
    check(tree, `donating ${decodeText(donation.source)}`)
    const readOnly = donation.readOnly ? MOUNT_ATTR_RDONLY : 0
    this.setAttributes(tree, AT_RECURSIVE, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | readOnly)
    return tree
  }

  setAttributes(mount: number, flags: number, attributes: number): void {
    const attr = new Uint8Array(32)
    new DataView(attr.buffer).setUint32(0, attributes, true)
    check(
      this.#addon.syscall(NR.mount_setattr, mount, '', AT_EMPTY_PATH | flags, attr, attr.length),
      'mount_setattr (Linux 5.12 or newer is needed)',
    )
  }

  /** A new file system, mounted nowhere yet; a negative errno where it is refused. */
  tryMount(type: string, options: readonly (readonly [string, string])[], attributes: number): number {
    const context = this.#addon.syscall(NR.fsopen, type, 1)
    if (context < 0) return context
    let status = 0
    for (const [key, value] of options) {
      if (status >= 0) status = this.#addon.syscall(NR.fsconfig, context, FSCONFIG_SET_STRING, key, value, 0)
    }
    if (status >= 0) status = this.#addon.syscall(NR.fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0)
    if (status >= 0) status = this.#addon.syscall(NR.fsmount, context, FSMOUNT_CLOEXEC, attributes)
    this.#addon.close(context)
    return status
  }

  makeMount(type: string, options: readonly (readonly [string, string])[], attributes: number): number {
    return check(this.tryMount(type, options, attributes), `mounting a ${type}`)
  }

  attach(mount: number, dirfd: number, path: string): void {
    const flags = MOVE_MOUNT_F_EMPTY_PATH | (path === '' ? MOVE_MOUNT_T_EMPTY_PATH : 0)
    check(this.#addon.syscall(NR.move_mount, mount, '', dirfd, path, flags), 'move_mount')
  }

  /** A directory or a file, as the mount's root is one. */
  makeMountpoint(root: number, name: string, mount: number): void {
    const stat = newHostStat()
    check(this.#host.statx(mount, '', 0, stat), 'statx of a donated mount')
    if ((stat.mode & S_IFMT) === S_IFDIR) {
      check(this.#addon.mkdirat(root, name, 0o700), 'mkdir')
      return
    }
    this.#addon.close(check(this.#host.openat2(root, name, O_CREAT | O_WRONLY, 0o600, 0), 'mountpoint'))
  }

  /** Puts an empty directory over `path` of a donated tree. */
  cover(tree: number, path: string): void {
    const resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
    const at = this.#host.openat2(tree, path, O_PATH | O_DIRECTORY, 0, resolve)
    // Not there, below a link, or where we may not go: then it isn't reached by this name either.
    if (at === -ENOENT || at === -ENOTDIR || at === -ELOOP || at === -EACCES) return
    check(at, `covering ${decodeText(path)}`)
    const attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
    const empty = this.makeMount('tmpfs', [['mode', '755']], attributes)
    this.attach(empty, at, '')
    this.#addon.close(empty)
    this.#addon.close(at)
  }

  mountProc(root: number): number {
    const attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
    const proc = this.tryMount('proc', [['subset', 'pid']], attributes)
    if (proc < 0) return -1
    check(this.#addon.mkdirat(root, 'proc', 0o500), 'mkdir')
    this.attach(proc, root, 'proc')
    return proc
  }

  /**
   * The sentry's descriptors by name, at /fd: how another description of an open file is had. They are cut out of the
   * procfs that is here, since not every host lets a new one be mounted; `..` leads nowhere from there.
   */
  mountOwnFds(root: number): number {
    const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC
    const tree = check(
      this.#addon.syscall(NR.open_tree, AT_FDCWD, '/proc/self/fd', flags),
      'finding /proc/self/fd',
    )
    this.setAttributes(tree, 0, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)
    check(this.#addon.mkdirat(root, 'fd', 0o500), 'mkdir')
    this.attach(tree, root, 'fd')
    return tree
  }

  /** Cut out of the same procfs; it shows the settings of its reader's network namespace. It is mounted nowhere. */
  cloneNetSettings(): number {
    const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC
    const tree = this.#addon.syscall(NR.open_tree, AT_FDCWD, '/proc/sys/net', flags)
    if (tree < 0) return -1
    this.setAttributes(tree, 0, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)
    return tree
  }

  changeRoot(root: number): void {
    check(this.#addon.syscall(NR.fchdir, root), 'fchdir')
    check(this.#addon.syscall(NR.pivot_root, '.', '.'), 'pivot_root')
    // The old root now lies over the new one.
    check(this.#addon.syscall(NR.umount2, '.', MNT_DETACH), "detaching the host's root")
    process.chdir('/')
  }
}

function check(result: number, what: string): number {
  if (result >= 0) return result
  throw new UserError(
    `the jail can't be built: ${what}: ${errnoName(-result)}. 'caisson check' tells what is missing`,
  )
}
