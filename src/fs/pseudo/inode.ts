/**
 * Inodes of generated trees. One is made at the first lookup of its name and kept by its directory: fixed entries for
 * good, dynamic ones as long as their subject lives, so that a file keeps its number while it exists.
 */
import { DT_DIR, DT_LNK, DT_REG, IN_MODIFY, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../../abi/constants.ts'
import { EACCES, EINVAL, ELOOP, ENODATA, ENOENT, ENOTDIR, EPERM } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import { DirFile } from '../../vfs/dir-file.ts'
import type { File } from '../../vfs/file.ts'
import { type AttrChange, type DirSink, Inode } from '../../vfs/inode.ts'
import type { Path } from '../../vfs/path.ts'
import { checkXattrName, SimpleXattrs } from '../../vfs/simple-xattrs.ts'
import { PseudoFile } from './file.ts'
import type { DirNode, Found, PseudoNode } from './node.ts'
import type { PseudoSuper } from './super.ts'

/** Dynamic entries stand behind the fixed ones in the order of reading. */
const FIRST_DYNAMIC = 1000

export class PseudoInode extends Inode {
  override readonly sb: PseudoSuper
  // biome-ignore lint/suspicious/noExplicitAny: node and subject belong together; the tree's types saw to it
  readonly node: PseudoNode<any>
  readonly subject: object
  readonly #fixed = new Map<string, PseudoInode>()
  /** The links of a directory without its dynamic entries. */
  #fixedDirectories: number
  #xattrs: SimpleXattrs | undefined = undefined
  #dynamic: WeakMap<object, PseudoInode> | undefined = undefined

  // biome-ignore lint/suspicious/noExplicitAny: as above
  constructor(sb: PseudoSuper, node: PseudoNode<any>, subject: object) {
    super(sb, sb.nextIno(), 0, 0, 0)
    this.sb = sb
    this.node = node
    this.subject = subject
    this.#fixedDirectories = 2
    this.mode =
      typeBits(node) | (typeof node.mode === 'function' ? 0o777 : (node.mode ?? sb.directoryMode) & 0o7777)
    if (node.kind === 'dir') {
      for (const child of Object.values(node.fixed))
        if ((child as PseudoNode<never>).kind === 'dir') this.#fixedDirectories++
      this.nlink = this.#fixedDirectories
    }
    if (node.kind === 'custom' && node.rdev !== undefined) this.rdev = node.rdev(subject)
    if (node.kind === 'file' && node.changes !== undefined && node.tellsOnce !== true) {
      node.changes(subject).notify = () => this.watches?.event(IN_MODIFY, 0, undefined, false)
    }
    this.blksize = sb.blockSize
    const now = sb.clock.realtime()
    this.atime.set(now)
    this.mtime.set(now)
    this.ctime.set(now)
    this.getattr()
  }

  override get blocks(): number {
    return 0
  }

  /** Device nodes of ours are no matter of the device table. */
  override get opensItself(): boolean {
    return this.node.kind === 'custom'
  }

  override getattr(): Status {
    if (this.node.kind === 'magic') {
      this.mode = S_IFLNK | this.node.mode(this.subject)
      this.size = this.node.size
    }
    if (this.node.kind === 'dir') {
      this.size = this.node.size?.(this.subject) ?? 0
      this.nlink = this.#fixedDirectories + (this.node.directories?.(this.subject) ?? 0)
    }
    this.sb.owner(this)
    return 0
  }

  override setattr(change: AttrChange): Status {
    if (change.mode !== undefined && !this.sb.mayChangeMode) return -EPERM
    if (change.mode !== undefined) this.mode = (this.mode & S_IFMT) | change.mode
    if (change.uid !== undefined) this.uid = change.uid
    if (change.gid !== undefined) this.gid = change.gid
    if (change.atime !== undefined) this.atime.set(change.atime)
    if (change.mtime !== undefined) this.mtime.set(change.mtime)
    this.ctime.set(this.sb.clock.realtime())
    return 0
  }

  override getxattr(name: string): Uint8Array | number {
    const supported = checkXattrName(name, this.sb.xattrPrefixes)
    return supported < 0 ? supported : (this.#xattrs?.get(name) ?? -ENODATA)
  }
  override setxattr(name: string, value: Uint8Array, flags: number): Status {
    const supported = checkXattrName(name, this.sb.xattrPrefixes)
    if (supported < 0) return supported
    this.#xattrs ??= new SimpleXattrs()
    return this.#xattrs.set(name, value, flags)
  }
  override listxattr(): string[] {
    return this.#xattrs?.list() ?? []
  }
  override removexattr(name: string): Status {
    const supported = checkXattrName(name, this.sb.xattrPrefixes)
    return supported < 0 ? supported : (this.#xattrs?.remove(name) ?? -ENODATA)
  }

  override permission(cred: Credentials, mask: number): Status | undefined {
    const own = this.node.kind === 'dir' ? this.node.permission?.(this.subject, cred, mask) : undefined
    if (this.node.kind === 'file' && this.node.strict === true) {
      const owns = cred.fsuid === 0 || this.node.managedBy?.(cred) === true
      const bits = owns ? this.mode >> 6 : cred.inGroup(0) ? this.mode >> 3 : this.mode
      return (mask & ~bits & 7) === 0 ? 0 : -EACCES
    }
    return own ?? this.sb.permission(this, cred, mask)
  }

  override create(): OrErrno<Inode> {
    return this.sb.createError
  }
  override mkdir(name: string, _mode: number, cred: Credentials): OrErrno<Inode> {
    if (this.node.kind !== 'dir' || this.node.mkdir === undefined) return this.sb.makeError
    if (!this.sb.alive(this.subject)) return -ENOENT
    const made = this.node.mkdir(this.subject, name, cred)
    return failed(made) ? made : this.#dynamicInode(made)
  }
  override rmdir(name: string): Status {
    if (this.node.kind !== 'dir' || this.node.rmdir === undefined) return this.sb.makeError
    return this.node.rmdir(this.subject, name)
  }
  override mknod(): OrErrno<Inode> {
    return this.sb.makeError
  }
  override symlink(): OrErrno<Inode> {
    return this.sb.makeError
  }
  override link(): Status {
    return this.sb.makeError
  }
  override rename(): Status {
    return this.sb.makeError
  }

  override lookup(name: string): OrErrno<Inode> {
    if (this.node.kind !== 'dir') return -ENOTDIR
    if (!this.sb.alive(this.subject)) return -ENOENT
    if (this.#hasFixed(name)) return this.#fixedInode(this.node, name)
    const found = this.node.dynamic?.find(this.subject, name)
    return found === undefined ? -ENOENT : this.#dynamicInode(found)
  }

  /** A cached name is believed while its subject is there and the name still means that. */
  override revalidate(name: string, inode: Inode | undefined): boolean {
    if (this.node.kind !== 'dir') return true
    if (!this.sb.alive(this.subject)) return inode === undefined
    if (Object.hasOwn(this.node.fixed, name)) return (inode !== undefined) === this.#hasFixed(name)
    if (this.node.dynamic === undefined) return true
    const found = this.node.dynamic.find(this.subject, name)
    return found?.subject === (inode as PseudoInode | undefined)?.subject
  }

  override readdir(cursor: number, sink: DirSink): Status {
    if (this.node.kind !== 'dir') return -ENOTDIR
    if (!this.sb.alive(this.subject)) return -ENOENT
    const names = Object.keys(this.node.fixed)
    for (let at = cursor; at < names.length; at++) {
      if (!this.#hasFixed(names[at])) continue
      const inode = this.#fixedInode(this.node, names[at])
      if (!sink(names[at], inode.ino, direntType(inode.mode), at + 1)) return 0
    }
    if (this.node.dynamic === undefined) return 0
    for (const [key, name] of this.node.dynamic.list(this.subject, cursor - FIRST_DYNAMIC)) {
      const at = FIRST_DYNAMIC + key
      if (at < cursor) continue
      const found = this.node.dynamic.find(this.subject, name)
      if (found === undefined) continue
      const inode = this.#dynamicInode(found)
      if (!sink(name, inode.ino, direntType(inode.mode), at + 1)) return 0
    }
    return 0
  }

  override readlink(): OrErrno<string> {
    if (!this.sb.alive(this.subject)) return -ENOENT
    if (this.node.kind === 'link') return this.node.target(this.subject)
    return this.node.kind === 'magic' ? this.node.text(this.subject) : -EINVAL
  }

  override followMagic(cred: Credentials): OrErrno<Path> | undefined {
    if (this.node.kind !== 'magic') return undefined
    return this.sb.alive(this.subject) ? this.node.follow(this.subject, cred) : -ENOENT
  }

  override open(path: Path, flags: number, cred: Credentials): OrErrno<File> {
    switch (this.node.kind) {
      case 'dir':
        return new PseudoDirFile(path, flags, cred)
      case 'custom':
        return this.node.open(this.subject, path, flags, cred)
      case 'file': {
        const allowed = this.node.mayOpen?.(this.subject, cred, flags) ?? 0
        if (allowed < 0) return allowed
        return new PseudoFile(path, flags, cred, this.node, this.subject)
      }
    }
    return -ELOOP
  }

  #hasFixed(name: string): boolean {
    if (this.node.kind !== 'dir' || !Object.hasOwn(this.node.fixed, name)) return false
    return this.node.visible?.(this.subject, name) ?? true
  }

  // biome-ignore lint/suspicious/noExplicitAny: as above
  #fixedInode(node: DirNode<any>, name: string): PseudoInode {
    let inode = this.#fixed.get(name)
    if (inode === undefined) {
      inode = new PseudoInode(this.sb, node.fixed[name], this.subject)
      this.#fixed.set(name, inode)
    }
    return inode
  }

  #dynamicInode(found: Found): PseudoInode {
    this.#dynamic ??= new WeakMap()
    let inode = this.#dynamic.get(found.subject)
    if (inode === undefined || inode.node !== found.node) {
      inode = new PseudoInode(this.sb, found.node, found.subject)
      this.#dynamic.set(found.subject, inode)
    }
    return inode
  }
}

/** A directory whose subject is gone has not even '.' in it. */
class PseudoDirFile extends DirFile {
  override readdir(sink: DirSink): Status {
    const inode = this.inode as PseudoInode
    return inode.sb.alive(inode.subject) ? super.readdir(sink) : -ENOENT
  }
}

// biome-ignore lint/suspicious/noExplicitAny: any node
function typeBits(node: PseudoNode<any>): number {
  if (node.kind === 'dir') return S_IFDIR
  if (node.kind === 'link' || node.kind === 'magic') return S_IFLNK
  return node.kind === 'custom' && (node.mode & S_IFMT) !== 0 ? node.mode & S_IFMT : S_IFREG
}

function direntType(mode: number): number {
  const type = mode & S_IFMT
  if (type === S_IFDIR) return DT_DIR
  if (type === S_IFLNK) return DT_LNK
  return type === S_IFREG ? DT_REG : type >> 12
}
