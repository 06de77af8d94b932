/**
 * tmpcopyup: a tmpfs that begins with what the directory below it holds. Owners, modes, times and extended attributes come
 * along; what is neither directory, file nor symbolic link is left out.
 */
import { O_RDONLY, O_WRONLY, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../abi/constants.ts'
import { BufferDst, BufferSrc } from '../base/io.ts'
import { failed, type OrErrno, type Status } from '../base/result.ts'
import type { Dentry } from '../vfs/dentry.ts'
import { Dirents } from '../vfs/dirents.ts'
import { filePut } from '../vfs/file-ref.ts'
import type { Inode } from '../vfs/inode.ts'
import { lookupChild, openPath, type WalkContext } from '../vfs/namei.ts'
import type { Path } from '../vfs/path.ts'

const PIECE = 1 << 17

/** Copies what is in the directory `from` into the empty one `to`, whose own attributes become the same. */
export function copyDirectory(walk: WalkContext, from: Path, to: Path): Status {
  const names = new Dirents()
  const source = from.dentry.inode!
  let status = source.list(names)
  for (const name of namesOf(names)) {
    if (status < 0) return status
    const child = lookupChild(from.dentry, name)
    if (failed(child)) return child
    if (child.inode !== undefined) status = copyEntry(walk, from, child, to)
  }
  return status < 0 ? status : copyAttributes(source, to.dentry.inode!)
}

function namesOf(listing: Dirents): string[] {
  const names: string[] = []
  listing.walk(0, name => {
    names.push(name)
    return true
  })
  return names
}

function copyEntry(walk: WalkContext, from: Path, child: Dentry, to: Path): Status {
  const source = child.inode!
  const made = makeLike(walk, source, child.name, to.dentry.inode!)
  if (made === undefined) return 0
  if (failed(made)) return made
  const entry = lookupChild(to.dentry, child.name)
  if (failed(entry)) return entry
  const [here, there] = [
    { mount: from.mount, dentry: child },
    { mount: to.mount, dentry: entry },
  ]
  if (source.isDir) return copyDirectory(walk, here, there)
  if (source.isRegular) {
    const status = copyBytes(walk, here, there)
    if (status < 0) return status
  }
  return copyAttributes(source, made)
}

function makeLike(walk: WalkContext, source: Inode, name: string, dir: Inode): OrErrno<Inode> | undefined {
  const mode = source.mode & 0o7777
  switch (source.mode & S_IFMT) {
    case S_IFDIR:
      return dir.mkdir(name, mode, walk.cred)
    case S_IFREG:
      return dir.create(name, mode, walk.cred)
    case S_IFLNK: {
      const target = source.readlink()
      return failed(target) ? target : dir.symlink(name, target, walk.cred)
    }
  }
  return undefined
}

function copyBytes(walk: WalkContext, from: Path, to: Path): Status {
  const source = openPath(walk, from, O_RDONLY)
  if (failed(source)) return source
  const target = openPath(walk, to, O_WRONLY, true)
  if (failed(target)) {
    filePut(source)
    return target
  }
  const buffer = new Uint8Array(PIECE)
  let n = 0
  do {
    n = source.read(new BufferDst(buffer))
    if (n > 0) n = target.write(new BufferSrc(buffer.subarray(0, n)))
  } while (n > 0)
  filePut(source)
  filePut(target)
  return n
}

function copyAttributes(source: Inode, target: Inode): Status {
  const names = source.listxattr()
  if (!failed(names)) {
    for (const name of names) {
      const value = source.getxattr(name)
      // What the target has no place for is left out.
      if (!failed(value)) target.setxattr(name, value, 0)
    }
  }
  const { uid, gid, mode, atime, mtime } = source
  return target.setattr({ uid, gid, mode: mode & 0o7777, atime, mtime })
}
