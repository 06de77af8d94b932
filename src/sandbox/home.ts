/** The home directory of a user as the container's own /etc/passwd has it. */
import { O_RDONLY } from '../abi/constants.ts'
import { encodeText, fromBytes } from '../base/bytes.ts'
import { failed } from '../base/result.ts'
import { readFully } from '../loader/read.ts'
import { filePut } from '../vfs/file-ref.ts'
import { LOOKUP_FOLLOW, lookup, openPath, type WalkContext } from '../vfs/namei.ts'

/** More than that is no list of users. */
const MOST = 1 << 20

/** '/' for who is not in the list. A byte string. */
export function homeOf(walk: WalkContext, uid: number): string {
  for (const line of readText(walk, encodeText('/etc/passwd')).split('\n')) {
    const [, , id, , , home] = line.split(':')
    if (id === String(uid) && home !== undefined && home !== '') return home
  }
  return '/'
}

/** '' where it can't be read, or is no file. */
function readText(walk: WalkContext, name: string): string {
  const path = lookup(walk, undefined, name, LOOKUP_FOLLOW)
  if (failed(path) || !path.dentry.inode!.isRegular) return ''
  const file = openPath(walk, path, O_RDONLY, true)
  if (failed(file)) return ''
  const bytes = new Uint8Array(Math.min(MOST, file.inode.size))
  const length = readFully(file, bytes, 0)
  filePut(file)
  return length > 0 ? fromBytes(bytes, 0, length) : ''
}
