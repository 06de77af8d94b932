/**
 * Namespaces as files: what the links of /proc/PID/ns lead to (nsfs). A descriptor of one holds the namespace, and
 * setns(2) takes it from there; ioctl_nsfs(2) asks for its relations.
 */
import {
  CLONE_NEWCGROUP,
  CLONE_NEWIPC,
  CLONE_NEWNET,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWTIME,
  CLONE_NEWUSER,
  CLONE_NEWUTS,
  NSFS_MAGIC,
  O_RDONLY,
  RLIMIT_NOFILE,
  S_IFREG,
} from '../../abi/constants.ts'
import { EINVAL, EMFILE, ENOTTY, EPERM } from '../../abi/errno.ts'
import { type Credentials, UserNamespace } from '../../base/credentials.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import { fromKernelId } from '../../kernel/id-map.ts'
import { releaseIpc } from '../../kernel/ipc/release.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import {
  type CgroupNamespace,
  IpcNamespace,
  NetNamespace,
  type NsProxy,
  type TimeNamespace,
  type UtsNamespace,
} from '../../kernel/namespaces.ts'
import { PidNamespace } from '../../kernel/pid.ts'
import type { Task } from '../../kernel/task.ts'
import type { HostStatfs } from '../../platform/host.ts'
import { Dentry } from '../../vfs/dentry.ts'
import { File, type IoctlContext } from '../../vfs/file.ts'
import { filePut } from '../../vfs/file-ref.ts'
import { Inode } from '../../vfs/inode.ts'
import { Mount, type MountNamespace } from '../../vfs/mount.ts'
import type { Path } from '../../vfs/path.ts'
import { INODE_IMMUTABLE } from '../../vfs/permission.ts'
import { SuperBlock } from '../../vfs/super-block.ts'

export type Namespace =
  | MountNamespace
  | UtsNamespace
  | IpcNamespace
  | NetNamespace
  | CgroupNamespace
  | TimeNamespace
  | PidNamespace
  | UserNamespace

/** The kinds of namespaces, as their files are called, with their CLONE_NEW* flag. */
export const NS_KINDS = {
  cgroup: CLONE_NEWCGROUP,
  ipc: CLONE_NEWIPC,
  mnt: CLONE_NEWNS,
  net: CLONE_NEWNET,
  pid: CLONE_NEWPID,
  time: CLONE_NEWTIME,
  user: CLONE_NEWUSER,
  uts: CLONE_NEWUTS,
} as const
export type NsKind = keyof typeof NS_KINDS

const NS_GET_USERNS = 0xb701
const NS_GET_PARENT = 0xb702
const NS_GET_NSTYPE = 0xb703
const NS_GET_OWNER_UID = 0xb704

export class NsInode extends Inode {
  readonly kind: NsKind
  readonly ns: Namespace
  readonly #fs: NsFs

  constructor(fs: NsFs, kind: NsKind, ns: Namespace) {
    super(fs, ns.inum, S_IFREG | 0o444, 0, 0)
    this.#fs = fs
    this.kind = kind
    this.ns = ns
    this.inodeFlags = INODE_IMMUTABLE
  }
  override open(path: Path, flags: number, cred: Credentials): File {
    return new NsFile(path, flags, cred, this, this.#fs)
  }
}

export class NsFile extends File {
  readonly kind: NsKind
  readonly ns: Namespace
  readonly #fs: NsFs

  constructor(path: Path, flags: number, cred: Credentials, inode: NsInode, fs: NsFs) {
    super(path, flags, cred)
    this.kind = inode.kind
    this.ns = inode.ns
    this.#fs = fs
    if (this.ns instanceof NetNamespace || this.ns instanceof IpcNamespace) this.ns.holders++
  }
  override release(): void {
    const { ns } = this
    if (ns instanceof NetNamespace || ns instanceof IpcNamespace) ns.holders--
    if (ns instanceof NetNamespace) ns.runtime?.released()
    else if (ns instanceof IpcNamespace) releaseIpc(this.#fs.kernel, ns)
  }

  override ioctl(context: IoctlContext, request: number, argument: number): number {
    const task = context.task as Task
    switch (request) {
      case NS_GET_NSTYPE:
        return NS_KINDS[this.kind]
      case NS_GET_USERNS:
        return this.#openRelated(task, 'user', ownerOf(this.ns))
      case NS_GET_PARENT:
        if (!(this.ns instanceof PidNamespace) && !(this.ns instanceof UserNamespace)) return -EINVAL
        return this.#openRelated(task, this.kind, this.ns.parent)
      case NS_GET_OWNER_UID: {
        if (!(this.ns instanceof UserNamespace)) return -EINVAL
        const uid = new Uint8Array(4)
        new DataView(uid.buffer).setUint32(0, fromKernelId(task.cred.userNs.uidMap, this.ns.owner), true)
        return context.copyOut(argument, uid)
      }
    }
    return -ENOTTY
  }

  /** Only what lies below the caller's own namespace may be seen. */
  #openRelated(task: Task, kind: NsKind, ns: UserNamespace | PidNamespace | undefined): number {
    if (ns === undefined || !visibleFrom(task, ns)) return -EPERM
    const file = this.#fs.open(kind, ns, task.cred)
    const fd = task.fds.install(file, true, 0, task.group.rlimits.soft(RLIMIT_NOFILE))
    if (fd === -EMFILE) filePut(file)
    return fd
  }
}

function ownerOf(ns: Namespace): UserNamespace | undefined {
  return ns instanceof UserNamespace ? ns.parent : ns.userNs
}

function visibleFrom(task: Task, ns: UserNamespace | PidNamespace): boolean {
  if (ns instanceof PidNamespace) return task.pidNs.contains(ns)
  for (let at: UserNamespace | undefined = ns; at !== undefined; at = at.parent)
    if (at === task.cred.userNs) return true
  return false
}

/** The super block of namespace files: one for the kernel, so that two of them are the same if their inodes are. */
export class NsFs extends SuperBlock {
  override readonly fsType = 'nsfs'
  override readonly source = 'nsfs'
  override readonly root: Inode
  readonly kernel: Kernel
  readonly #mount: Mount
  readonly #paths = new WeakMap<object, Path>()

  constructor(kernel: Kernel) {
    super(kernel.vfs.newDev())
    this.kernel = kernel
    this.root = new NsRoot(this)
    this.#mount = new Mount(kernel.vfs, this, undefined, 0)
    // Never unmounted.
    this.#mount.refs++
  }

  path(kind: NsKind, ns: Namespace): Path {
    let path = this.#paths.get(ns)
    if (path === undefined) {
      const dentry = new Dentry(`${kind}:[${ns.inum}]`, undefined, new NsInode(this, kind, ns), this)
      // Held for as long as the namespace is: the map's.
      dentry.refs++
      path = { mount: this.#mount, dentry }
      this.#paths.set(ns, path)
    }
    return path
  }

  open(kind: NsKind, ns: Namespace, cred: Credentials): File {
    const path = this.path(kind, ns)
    return new NsFile(path, O_RDONLY, cred, path.dentry.inode as NsInode, this)
  }

  override statfs(out: HostStatfs): Status {
    Object.assign(out, {
      type: NSFS_MAGIC,
      bsize: 4096,
      frsize: 4096,
      blocks: 0,
      bfree: 0,
      bavail: 0,
      files: 0,
      ffree: 0,
    })
    out.namelen = 255
    out.flags = 0
    return 0
  }
}

class NsRoot extends Inode {
  constructor(fs: NsFs) {
    super(fs, 1, 0o40755, 0, 0)
  }
}

/** The namespace of a kind that a task is in; `forChildren`: in which its next children will be. */
export function namespaceOf(task: Task, kind: NsKind, forChildren: boolean): OrErrno<Namespace> {
  const ns: NsProxy = task.ns
  switch (kind) {
    case 'pid':
      return forChildren ? ns.pidForChildren : task.pidNs
    case 'time':
      return forChildren ? ns.timeForChildren : ns.time
    case 'user':
      return task.cred.userNs
    case 'mnt':
      return ns.mnt
    case 'uts':
      return ns.uts
    case 'ipc':
      return ns.ipc
    case 'net':
      return ns.net
    case 'cgroup':
      return ns.cgroup
  }
}
