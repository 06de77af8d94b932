/**
 * Namespaces as files: what the links of /proc/PID/ns lead to (nsfs). A descriptor of one holds the namespace, as a mount
 * of it does; setns(2) takes it from there, and ns-ioctl.ts answers ioctl_nsfs(2).
 */
import { NSFS_MAGIC, O_RDONLY, RLIMIT_NOFILE, S_IFREG } from '../../abi/constants.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { Status } from '../../base/result.ts'
import { releaseIpc } from '../../kernel/ipc/release.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { IpcNamespace, NetNamespace } from '../../kernel/namespaces.ts'
import type { Task } from '../../kernel/task.ts'
import type { HostStatfs } from '../../platform/host.ts'
import { Dentry } from '../../vfs/dentry.ts'
import { File, type IoctlContext } from '../../vfs/file.ts'
import { filePut } from '../../vfs/file-ref.ts'
import { Inode } from '../../vfs/inode.ts'
import { Mount, MountNamespace } from '../../vfs/mount.ts'
import type { Path } from '../../vfs/path.ts'
import { INODE_IMMUTABLE } from '../../vfs/permission.ts'
import { SuperBlock } from '../../vfs/super-block.ts'
import { namespaceIoctl } from './ns-ioctl.ts'
import type { Namespace, NsKind } from './ns-kinds.ts'

/** The file of a namespace, which is kept by descriptors and mounts of it. */
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

  override get mountNs(): MountNamespace | undefined {
    return this.ns instanceof MountNamespace ? this.ns : undefined
  }
  override mountRoot(there: boolean): void {
    if (there) this.hold()
    else this.letGo()
  }

  hold(): void {
    const { ns } = this
    if (ns instanceof MountNamespace) ns.get()
    else if (ns instanceof NetNamespace || ns instanceof IpcNamespace) ns.holders++
  }
  letGo(): void {
    const { ns } = this
    if (ns instanceof MountNamespace) ns.put()
    else if (ns instanceof NetNamespace || ns instanceof IpcNamespace) ns.holders--
    if (ns instanceof NetNamespace) ns.runtime?.released()
    else if (ns instanceof IpcNamespace) releaseIpc(this.#fs.kernel, ns)
  }
}

export class NsFile extends File {
  readonly fs: NsFs
  readonly #node: NsInode

  constructor(path: Path, flags: number, cred: Credentials, node: NsInode, fs: NsFs) {
    super(path, flags, cred)
    this.fs = fs
    this.#node = node
    node.hold()
  }
  get kind(): NsKind {
    return this.#node.kind
  }
  get ns(): Namespace {
    return this.#node.ns
  }
  override release(): void {
    this.#node.letGo()
  }
  override ioctl(context: IoctlContext, request: number, argument: number): number {
    return namespaceIoctl(this, context, request, argument)
  }
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

  /** open_namespace: a descriptor of the task's for it. */
  install(task: Task, kind: NsKind, ns: Namespace): number {
    const file = this.open(kind, ns, task.cred)
    const fd = task.fds.install(file, true, 0, task.group.rlimits.soft(RLIMIT_NOFILE))
    if (fd < 0) filePut(file)
    return fd
  }

  /** ns_show_path: by which lsns(8) finds the places where a namespace is mounted. */
  override showRoot(root: Dentry): string {
    return root.name
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
