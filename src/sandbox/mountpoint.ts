/**
 * Places to mount on. They are made where they are missing, with the directories above; symbolic links on the way are
 * followed, also one that leads nowhere yet, and since it is the guest's own walk that follows them, never out of its root.
 */
import { S_IFREG } from '../abi/constants.ts'
import { EEXIST, ELOOP, ENOENT } from '../abi/errno.ts'
import { failed, type OrErrno, type Status } from '../base/result.ts'
import { LOOKUP_DIRECTORY, LOOKUP_FOLLOW, lookup, type WalkContext } from '../vfs/namei.ts'
import { mkdir, mknod } from '../vfs/operations.ts'
import type { Path } from '../vfs/path.ts'

const MAX_LINKS = 40
const MODE = 0o755

/** The directory (or with `directory` false: the file) at the absolute path `target`. */
export function makeMountpoint(walk: WalkContext, target: string, directory: boolean): OrErrno<Path> {
  const status = directory ? makeDirectory(walk, target, 0) : makeFile(walk, target, 0)
  return status < 0 ? status : lookup(walk, undefined, target, LOOKUP_FOLLOW)
}

function makeDirectory(walk: WalkContext, path: string, links: number): Status {
  const found = lookup(walk, undefined, path, LOOKUP_FOLLOW | LOOKUP_DIRECTORY)
  if (found !== -ENOENT) return failed(found) ? found : 0
  const link = followMissing(walk, path, links)
  if (failed(link)) return link
  if (link !== '') return makeDirectory(walk, link, links + 1)
  const parent = makeDirectory(walk, parentOf(path), links)
  if (parent < 0) return parent
  const made = mkdir(walk, undefined, path, MODE)
  return made === -EEXIST ? 0 : made
}

function makeFile(walk: WalkContext, path: string, links: number): Status {
  const found = lookup(walk, undefined, path, LOOKUP_FOLLOW)
  if (found !== -ENOENT) return failed(found) ? found : 0
  const link = followMissing(walk, path, links)
  if (failed(link)) return link
  if (link !== '') return makeFile(walk, link, links + 1)
  const parent = makeDirectory(walk, parentOf(path), links)
  return parent < 0 ? parent : mknod(walk, undefined, path, S_IFREG | MODE, 0)
}

/** Where the symbolic link at `path` leads, as a path; '' if there is none. */
function followMissing(walk: WalkContext, path: string, links: number): OrErrno<string> {
  const place = lookup(walk, undefined, path, 0)
  if (failed(place)) return ''
  if (links >= MAX_LINKS) return -ELOOP
  const target = place.dentry.inode!.readlink()
  if (failed(target)) return target
  return target.startsWith('/') ? target : `${parentOf(path)}/${target}`
}

function parentOf(path: string): string {
  const end = path.lastIndexOf('/')
  return end <= 0 ? '/' : path.slice(0, end)
}
