/**
 * cgroup2: the hierarchy of control groups as directories (kernel/cgroup). There is one super block; a mount shows it from
 * the cgroup on that is the root of the mounter's cgroup namespace.
 */
import { CGROUP2_SUPER_MAGIC } from '../../abi/constants.ts'
import { EBADF, EINVAL, ENODEV, ENOENT } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import type { Cgroup } from '../../kernel/cgroup/cgroup.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { NsProxy } from '../../kernel/namespaces.ts'
import type { Task } from '../../kernel/task.ts'
import { type Dentry, rootDentry } from '../../vfs/dentry.ts'
import type { File } from '../../vfs/file.ts'
import { FS_NODEV, FS_USERNS_MOUNT, type FsType, type MountContext } from '../../vfs/fs-type.ts'
import type { Inode } from '../../vfs/inode.ts'
import { MAY_WRITE, permission } from '../../vfs/permission.ts'
import type { SuperBlock } from '../../vfs/super-block.ts'
import { lookupChild } from '../../vfs/walk.ts'
import { caller } from '../proc/access.ts'
import { PseudoInode } from '../pseudo/inode.ts'
import { PseudoSuper } from '../pseudo/super.ts'
import { cgroupDirectory } from './directory.ts'

export class Cgroup2Super extends PseudoSuper {
  override readonly fsType = 'cgroup2'
  override readonly magic = CGROUP2_SUPER_MAGIC
  override readonly mayChangeMode = true
  override readonly directoryMode = 0o755
  override readonly goneError = -ENODEV
  /** kernfs_xattr_handlers: systemd notes there what it knows of units. */
  override readonly xattrPrefixes = ['user.', 'trusted.', 'security.']
  override readonly root: PseudoInode
  readonly #kernel: Kernel
  /** Inodes that have got their owner: it can be changed then. */
  readonly #owned = new WeakSet<PseudoInode>()

  constructor(kernel: Kernel) {
    super(kernel.vfs.newDev(), kernel.clock)
    this.#kernel = kernel
    this.source = 'cgroup2'
    this.root = new PseudoInode(this, cgroupDirectory(this), kernel.cgroups)
  }

  override alive(subject: object): boolean {
    return !(subject as Cgroup).removed
  }

  override owner(inode: PseudoInode): void {
    if (this.#owned.has(inode)) return
    this.#owned.add(inode)
    const { uid, gid } = inode.subject as Cgroup
    inode.uid = uid
    inode.gid = gid
  }

  override options(): string {
    return 'nsdelegate,memory_recursiveprot'
  }

  override showRoot(root: Dentry): string {
    const cgroup = (root.inode as PseudoInode).subject as Cgroup
    return cgroup.pathFrom(caller(this.#kernel).ns.cgroup.root)
  }

  /**
   * cgroup_procs_write_permission: whether `writer`, who opened a file with `cred`, may bring a process from one cgroup to
   * another: neither may be outside of its namespace, and it must be allowed to do so where both are below.
   */
  mayMove(writer: Task, from: Cgroup, to: Cgroup, cred: Credentials): Status {
    const { root } = writer.ns.cgroup
    if (!from.isSelfOrBelow(root) || !to.isSelfOrBelow(root)) return -ENOENT
    return this.#mayAdd(commonAncestor(from, to), cred)
  }

  /** As mayMove, for a child that `task` wants to be born in `to` (CLONE_INTO_CGROUP). */
  mayBear(task: Task, to: Cgroup): Status {
    const from = task.group.cgroup
    const allowed = this.#mayAdd(to, task.cred)
    if (allowed < 0) return allowed
    const status = this.mayMove(task, from, to, task.cred)
    return status < 0 || from === to ? status : to.takesProcesses
  }

  #mayAdd(cgroup: Cgroup, cred: Credentials): Status {
    const directory = this.#inodeOf(cgroup)
    const file = failed(directory) ? directory : directory.lookup('cgroup.procs')
    return failed(file) ? file : permission(cred, file, MAY_WRITE)
  }

  #inodeOf(cgroup: Cgroup): OrErrno<Inode> {
    if (cgroup.parent === undefined) return this.root
    const above = this.#inodeOf(cgroup.parent)
    return failed(above) ? above : above.lookup(cgroup.name)
  }

  dentryOf(cgroup: Cgroup): Dentry {
    if (cgroup.parent === undefined) return rootDentry(this)
    const dentry = lookupChild(this.dentryOf(cgroup.parent), cgroup.name)
    if (failed(dentry)) throw new Error(`cgroup ${cgroup.name} has no directory: ${dentry}`)
    return dentry
  }
}

export const MOUNT_OPTIONS = [
  ...['nsdelegate', 'favordynmods', 'memory_localevents', 'memory_recursiveprot'],
  ...['memory_hugetlb_accounting', 'pids_localevents'],
]

export function cgroup2Type(kernel: Kernel): FsType {
  let only: Cgroup2Super | undefined
  return {
    name: 'cgroup2',
    flags: FS_NODEV | FS_USERNS_MOUNT,
    mount(source: string, _flags: number, options: string, _context: MountContext): OrErrno<Cgroup2Super> {
      for (const option of options.split(','))
        if (option !== '' && !MOUNT_OPTIONS.includes(option)) return -EINVAL
      only ??= new Cgroup2Super(kernel)
      only.source = source
      return only
    },
    rootOf(sb: SuperBlock, context: MountContext): Dentry {
      const ns = context.ns as NsProxy | undefined
      return (sb as Cgroup2Super).dentryOf((ns?.cgroup ?? kernel.cgroup).root)
    },
  }
}

/** The cgroup whose directory is open. */
export function cgroupOf({ inode }: File): OrErrno<Cgroup> {
  if (!(inode.sb instanceof Cgroup2Super) || !inode.isDir) return -EBADF
  return (inode as PseudoInode).subject as Cgroup
}

/** The cgroup whose directory is open as `file`, for a child of `task`. */
export function birthCgroup(task: Task, file: File): OrErrno<Cgroup> {
  const { inode } = file
  if (!(inode.sb instanceof Cgroup2Super)) return -EBADF
  if (!inode.isDir) return -EBADF
  const to = (inode as PseudoInode).subject as Cgroup
  const status = inode.sb.mayBear(task, to)
  return status < 0 ? status : to
}

function commonAncestor(a: Cgroup, b: Cgroup): Cgroup {
  let at = a
  while (!b.isSelfOrBelow(at)) at = at.parent!
  return at
}
