/**
 * AnonFs: the super block of objects that have no name in any directory: pipes, sockets, eventfds, memfds of the kernel.
 * One per kernel. Each object gets an inode and a dentry of its own, which go with its last File.
 */
import { S_IFIFO, S_IFMT, S_IFREG, S_IFSOCK } from '../abi/constants.ts'
import { ENOSYS, EOPNOTSUPP } from '../abi/errno.ts'
import { toBytes } from '../base/bytes.ts'
import type { OrErrno, Status } from '../base/result.ts'
import type { HostStatfs } from '../platform/host.ts'
import { Dentry } from './dentry.ts'
import { type AttrChange, Inode } from './inode.ts'
import { Mount } from './mount.ts'
import type { Path } from './path.ts'
import { SuperBlock } from './super-block.ts'
import type { Vfs } from './vfs.ts'

const ANON_INODE_FS_MAGIC = 0x09041934
const PIPEFS_MAGIC = 0x50495045
const SOCKFS_MAGIC = 0x534f434b

export class AnonInode extends Inode {
  constructor(sb: SuperBlock, ino: number, mode: number, uid = 0, gid = 0) {
    super(sb, ino, mode, uid, gid)
    // Anonymous inodes of mode 0600 without a type look like nothing at all to fstat, as in Linux.
    if ((mode & S_IFMT) === S_IFREG) this.mode = mode & ~S_IFMT
  }
  override setattr(change: AttrChange): Status {
    if (change.size !== undefined) return -ENOSYS
    // Objects of the kernel's own kinds: since Linux 6.16.
    if (this.type === 0) return -EOPNOTSUPP
    if (change.mode !== undefined) this.mode = (this.mode & S_IFMT) | change.mode
    if (change.uid !== undefined) this.uid = change.uid
    if (change.gid !== undefined) this.gid = change.gid
    if (change.atime !== undefined) this.atime.set(change.atime)
    if (change.mtime !== undefined) this.mtime.set(change.mtime)
    return 0
  }
}

/** A socket's tells the name of its protocol, as sockfs does. */
class SocketInode extends AnonInode {
  readonly #protocolName: string

  constructor(sb: SuperBlock, ino: number, uid: number, gid: number, protocolName: string) {
    super(sb, ino, S_IFSOCK | 0o777, uid, gid)
    this.#protocolName = protocolName
  }
  override getxattr(name: string): OrErrno<Uint8Array> | number {
    return name === SOCKET_PROTOCOL ? toBytes(`${this.#protocolName}\0`) : -EOPNOTSUPP
  }
  override listxattr(): string[] | number {
    return [SOCKET_PROTOCOL]
  }
}
const SOCKET_PROTOCOL = 'system.sockprotoname'

export class AnonFs extends SuperBlock {
  override readonly fsType = 'anon_inodefs'
  override readonly root: Inode
  readonly #vfs: Vfs
  readonly #mount: Mount
  #nextIno = 1

  constructor(vfs: Vfs) {
    super(vfs.newDev())
    this.#vfs = vfs
    this.root = new AnonInode(this, this.#nextIno++, 0o40755)
    this.#mount = new Mount(vfs, this, undefined, 0)
    // Never unmounted.
    this.#mount.refs++
  }

  /** The number that the next object will have: its name usually shows it ('pipe:[17]'). */
  get nextIno(): number {
    return this.#nextIno
  }

  /** A place for a new object. `name` is what /proc/PID/fd shows; `mode` its type and permission bits. */
  path(name: string, mode: number, uid = 0, gid = 0): Path {
    return this.#place(name, new AnonInode(this, this.#nextIno++, mode, uid, gid))
  }
  /** For a new socket; `protocolName` is Linux's of the protocol ('UNIX-STREAM', 'TCPv6'). */
  socket(protocolName: string, uid: number, gid: number): Path {
    const inode = new SocketInode(this, this.#nextIno++, uid, gid, protocolName)
    return this.#place(`socket:[${inode.ino}]`, inode)
  }
  #place(name: string, inode: AnonInode): Path {
    const now = this.#vfs.clock.realtime()
    inode.atime.set(now)
    inode.mtime.set(now)
    inode.ctime.set(now)
    return this.pathOf(name, inode)
  }

  /** A place for an inode that its maker brings along (a memfd). */
  pathOf(name: string, inode: Inode): Path {
    return { mount: this.#mount, dentry: new Dentry(name, undefined, inode, this) }
  }

  override statfs(out: HostStatfs, inode: Inode = this.root): Status {
    const type =
      inode.type === S_IFIFO ? PIPEFS_MAGIC : inode.type === S_IFSOCK ? SOCKFS_MAGIC : ANON_INODE_FS_MAGIC
    Object.assign(out, {
      type,
      bsize: 4096,
      blocks: 0,
      bfree: 0,
      bavail: 0,
      files: 0,
      ffree: 0,
    })
    out.namelen = 255
    out.frsize = 4096
    out.flags = 0
    return 0
  }
}
