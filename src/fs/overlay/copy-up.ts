/**
 * Copy-up: a file of a lower layer gets its place in the upper one, with its directories. Nothing runs in between, so
 * the copy is whole or not there: a regular file gets its name when its data is complete.
 */
import { O_RDONLY, O_WRONLY, S_IFDIR, S_IFLNK, SEEK_DATA, SEEK_HOLE } from '../../abi/constants.ts'
import { ENXIO, EOPNOTSUPP, EOVERFLOW, EROFS, ESTALE } from '../../abi/errno.ts'
import { INVALID_ID } from '../../base/id-map.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { File } from '../../vfs/file.ts'
import type { Inode } from '../../vfs/inode.ts'
import { type OverlayDir, statusOf } from './directory.ts'
import { drop, hold, type OverlayInode, PRIVATE_XATTRS } from './inode.ts'

const CHUNK = 256 * 1024

/**
 * Gives `inode`, and the directories above it, an upper inode. Data beyond `length` is left out. `later`: all of a file's
 * data is, if the upper inode can say so.
 */
export function copyUp(inode: OverlayInode, length: number, later: boolean): Status {
  if (inode.sb.readOnly) return -EROFS
  const missing: OverlayInode[] = []
  for (let at: OverlayInode | undefined = inode; at !== undefined && at.upper === undefined; at = at.parent)
    missing.push(at)
  for (let i = missing.length - 1; i >= 0; i--) {
    const status = copyOne(missing[i], length, later)
    if (status < 0) return status
  }
  return 0
}

/** The data follows its attributes: up to `length` bytes of it. */
export function fetchData(inode: OverlayInode, length: number): Status {
  const upper = inode.upper!
  const { atime, mtime } = inode
  const times = { atime: atime.clone(), mtime: mtime.clone() }
  let status = copyData(inode, upper, Math.min(length, inode.size))
  if (status === 0) status = inode.sb.markMetacopy(upper, false)
  if (status === 0) status = upper.setattr(times)
  if (status === 0) inode.takeData(undefined)
  return status
}

function copyOne(inode: OverlayInode, length: number, later: boolean): Status {
  const fresh = inode.getattr()
  if (fresh < 0) return fresh
  // Nobody's, by the map of its layer.
  if (inode.uid === INVALID_ID || inode.gid === INVALID_ID) return -EOVERFLOW
  const empty = later && inode.isRegular && inode.size > 0
  let upper = empty ? copyRegular(inode, length, true) : -EOPNOTSUPP
  const without = typeof upper !== 'number'
  if (upper === -EOPNOTSUPP) upper = inode.isRegular ? copyRegular(inode, length, false) : copyNode(inode)
  if (typeof upper === 'number') return upper
  if (!without) inode.takeData(undefined)
  else if (inode.data === undefined) inode.takeData(inode.lower)
  if (inode.sb.ownsUpper) upper.ino = inode.ino
  else upper.changedElsewhere = upper.isDir
  inode.upper = upper
  inode.sb.adopt(upper, inode)
  inode.copyAttributes()
  return 0
}

/** These give the upper inode held, as the overlay's inodes hold theirs. */
function copyRegular(inode: OverlayInode, length: number, later: boolean): OrErrno<Inode> {
  const { sb, parent } = inode
  if (sb.workDir !== undefined && parent !== undefined)
    return copyByWorkDir(inode, sb.workDir, parent, length, later)
  if (later) return -EOPNOTSUPP
  // Without a name (removed, but open) it goes nowhere.
  const upper = (parent?.upper ?? sb.upperRoot).tmpfile(inode.mode & 0o7777, sb.cred)
  if (typeof upper === 'number') return upper
  hold(upper)
  let status = copyData(inode, upper, Math.min(length, inode.size))
  if (status === 0) status = copyMetadata(inode, upper)
  if (status === 0 && parent !== undefined)
    status = keepingTimes(parent, dir => statusOf(dir.link(inode.name, upper)))
  if (status === 0) return upper
  drop(upper)
  return status
}

/** Into the work directory first, then by a rename to its place: what not every file system can do without a name. */
function copyByWorkDir(
  inode: OverlayInode,
  work: Inode,
  parent: OverlayDir,
  length: number,
  later: boolean,
): OrErrno<Inode> {
  const { sb } = inode
  const name = sb.newWorkName()
  const upper = work.create(name, inode.mode & 0o7777, sb.cred)
  if (typeof upper === 'number') return upper
  hold(upper)
  let status = later ? sb.markMetacopy(upper, true) : copyData(inode, upper, Math.min(length, inode.size))
  if (status === 0 && later) status = upper.setattr({ size: inode.size })
  if (status === 0) status = copyMetadata(inode, upper)
  if (status === 0) {
    status = keepingTimes(parent, dir => work.rename(name, upper, dir, inode.name, undefined, 0))
  }
  if (status === 0) return upper
  work.unlink(name, upper)
  drop(upper)
  return status
}

function copyNode(inode: OverlayInode): OrErrno<Inode> {
  const { parent } = inode
  if (parent === undefined) return -ESTALE
  const upper = keepingTimes(parent, dir => makeNode(dir, inode))
  if (typeof upper === 'number') return upper
  hold(upper)
  const status = copyMetadata(inode, upper)
  if (status === 0) return upper
  if (inode.isDir) parent.upper!.rmdir(inode.name, upper)
  else parent.upper!.unlink(inode.name, upper)
  drop(upper)
  return status
}

function makeNode(dir: Inode, inode: OverlayInode): OrErrno<Inode> {
  const { cred } = inode.sb
  if (inode.type === S_IFDIR) return dir.mkdir(inode.name, inode.mode & 0o7777, cred)
  if (inode.type !== S_IFLNK) return dir.mknod(inode.name, inode.mode, inode.rdev, cred)
  const target = inode.readlink()
  return typeof target === 'number' ? target : dir.symlink(inode.name, target, cred)
}

/** A copy-up is no change of the directory that can be seen. */
function keepingTimes<T>(parent: OverlayDir, make: (dir: Inode) => T): T {
  const dir = parent.upper!
  const atime = dir.atime.clone()
  const mtime = dir.mtime.clone()
  const ctime = dir.ctime.clone()
  const result = make(dir)
  dir.setattr({ atime, mtime, ctime })
  return result
}

function copyMetadata(inode: OverlayInode, upper: Inode): Status {
  const lower = inode.lower!
  const names = lower.listxattr()
  if (typeof names !== 'number') {
    for (const name of names) {
      // What a layer says of its own place in an overlay is not true of the copy.
      if (PRIVATE_XATTRS.some(prefix => name.startsWith(prefix))) continue
      const value = inode.getxattr(name)
      // What the upper layer has no place for (ACLs, security labels) is left behind.
      if (typeof value !== 'number') upper.setxattr(name, value, 0)
    }
  }
  const { uid, gid, atime, mtime } = inode
  const mode = inode.isSymlink ? undefined : inode.mode & 0o7777
  return upper.setattr({ uid, gid, mode, atime: atime.clone(), mtime: mtime.clone() })
}

function copyData(inode: OverlayInode, upper: Inode, length: number): Status {
  if (length === 0) return 0
  const { sb } = inode
  const source = sb.openLayer(inode.data ?? inode.lower!, O_RDONLY)
  if (typeof source === 'number') return source
  const target = sb.openLayer(upper, O_WRONLY)
  let status = typeof target === 'number' ? target : 0
  if (typeof target !== 'number') {
    const sparse = inode.blocks * 512 < inode.size
    status = sparse ? copySparse(source, target, length) : copyRange(source, target, 0, length)
    sb.closeLayer(target)
  }
  sb.closeLayer(source)
  if (status === 0 && upper.size < length) status = upper.setattr({ size: length })
  return status
}

function copySparse(source: File, target: File, length: number): Status {
  for (let at = 0; at < length; ) {
    const data = source.seek(at, SEEK_DATA)
    if (data === -ENXIO) return 0
    // The layer knows nothing of holes.
    if (data < 0) return copyRange(source, target, at, length)
    const hole = source.seek(data, SEEK_HOLE)
    const end = Math.min(length, hole < 0 ? length : hole)
    const status = copyRange(source, target, data, end)
    if (status < 0) return status
    at = end
  }
  return 0
}

function copyRange(source: File, target: File, start: number, end: number): Status {
  let at = start
  // Inside the host as far as it goes; what it does not copy (across file systems) is read and written.
  for (let n = 1; at < end && n > 0; at += Math.max(0, n)) n = target.copyFrom(source, at, at, end - at)
  const buffer = new Uint8Array(Math.min(CHUNK, end - at))
  while (at < end) {
    const room = new BufferDst(buffer.subarray(0, Math.min(buffer.length, end - at)))
    const n = source.readAt(room, at)
    if (n < 0) return n
    // Shorter than it was when its size was asked.
    if (n === 0) return 0
    const from = new BufferSrc(buffer.subarray(0, n))
    while (from.remaining > 0) {
      const written = target.writeAt(from, at)
      if (written < 0) return written
      at += written
    }
  }
  return 0
}
