/** name_to_handle_at(2), open_by_handle_at(2). The handles themselves are in vfs/handles.ts. */
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_HANDLE_FID,
  AT_HANDLE_MNT_ID_UNIQUE,
  AT_SYMLINK_FOLLOW,
  CAP_DAC_READ_SEARCH,
} from '../abi/constants.ts'
import { EBADF, EFAULT, EINVAL, EOPNOTSUPP, EOVERFLOW, EPERM, ESTALE } from '../abi/errno.ts'
import { FILE_HANDLE } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { failed, type OrErrno } from '../base/result.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { dropDentry, holdDentry } from '../vfs/dentry.ts'
import { encodeHandle, HANDLE_BYTES, HANDLE_TYPE, handleOf } from '../vfs/handles.ts'
import { LOOKUP_EMPTY, LOOKUP_FOLLOW } from '../vfs/namei.ts'
import type { Path } from '../vfs/path.ts'
import { addr, fd as fdArg, flags as flagsArg, path, type SyscallRows } from './args.ts'
import { lookupAt } from './at.ts'
import { O_FLAGS, openPlace } from './open.ts'

const MAX_HANDLE_SIZE = 128
const HANDLE_INVALID = 0xff

export function name_to_handle_at(
  task: Task,
  dirfd: number,
  nameAt: GuestAddr,
  handleAt: GuestAddr,
  mountIdAt: GuestAddr,
  flags: number,
): number {
  if ((flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH | AT_HANDLE_FID | AT_HANDLE_MNT_ID_UNIQUE)) !== 0)
    return -EINVAL
  const follow = (flags & AT_SYMLINK_FOLLOW) !== 0 ? LOOKUP_FOLLOW : 0
  const empty = (flags & AT_EMPTY_PATH) !== 0 ? LOOKUP_EMPTY : 0
  const place = lookupAt(task, dirfd, nameAt, follow | empty)
  if (failed(place)) return place
  // What can't be opened by a handle may have one as a name, for fanotify.
  if (!place.dentry.sb.exportable && (flags & AT_HANDLE_FID) === 0) return -EOPNOTSUPP
  const room = task.mm.u32(handleAt + FILE_HANDLE.handle_bytes)
  if (room === undefined) return -EFAULT
  if (room > MAX_HANDLE_SIZE) return -EINVAL
  const fits = room >= HANDLE_BYTES
  const { uniqueId, id } = place.mount
  const unique = (flags & AT_HANDLE_MNT_ID_UNIQUE) !== 0
  const status = unique ? task.mm.putU64(mountIdAt, uniqueId) : task.mm.putU32(mountIdAt, id)
  if (status < 0) return status
  const out = task.mm.out(FILE_HANDLE.size + (fits ? HANDLE_BYTES : 0))
  out.setUint32(FILE_HANDLE.handle_bytes, HANDLE_BYTES, true)
  out.setInt32(FILE_HANDLE.handle_type, fits ? HANDLE_TYPE : HANDLE_INVALID, true)
  if (fits) encodeHandle(out, FILE_HANDLE.size, handleOf(place.dentry.inode!, place.dentry))
  const written = task.mm.commit(handleAt)
  if (written < 0) return written
  return fits ? 0 : -EOVERFLOW
}

export function open_by_handle_at(task: Task, mountFd: number, handleAt: GuestAddr, flags: number): number {
  const place = decode(task, mountFd, handleAt)
  if (failed(place)) return place
  holdDentry(place.dentry)
  const fd = openPlace(task, place, flags)
  dropDentry(place.dentry)
  return fd
}

function decode(task: Task, mountFd: number, handleAt: GuestAddr): OrErrno<Path> {
  const header = task.mm.view(handleAt, FILE_HANDLE.size)
  if (header === undefined) return -EFAULT
  const bytes = header.getUint32(FILE_HANDLE.handle_bytes, true)
  const type = header.getInt32(FILE_HANDLE.handle_type, true)
  if (bytes > MAX_HANDLE_SIZE || bytes === 0) return -EINVAL
  const from = mountFd === AT_FDCWD ? task.fs.cwd : task.fds.get(mountFd)?.path
  if (from === undefined) return -EBADF
  // Handles lead past all directories that one may not search.
  if (!task.cred.capable(CAP_DAC_READ_SEARCH, task.kernel.userNs)) return -EPERM
  const handle = task.mm.view(handleAt + FILE_HANDLE.size, bytes)
  if (handle === undefined) return -EFAULT
  if (type !== HANDLE_TYPE || bytes < HANDLE_BYTES || handle.getUint32(4, true) !== 0) return -ESTALE
  const dentry = from.dentry.sb.handles?.find(handle.getUint32(0, true))
  return dentry === undefined ? -ESTALE : { mount: from.mount, dentry }
}

export const handleCalls = {
  name_to_handle_at: {
    nr: NR.name_to_handle_at,
    run: name_to_handle_at,
    args: [
      fdArg,
      path,
      addr,
      addr,
      flagsArg({ AT_SYMLINK_FOLLOW, AT_EMPTY_PATH, AT_HANDLE_FID, AT_HANDLE_MNT_ID_UNIQUE }),
    ],
  },
  open_by_handle_at: {
    nr: NR.open_by_handle_at,
    run: open_by_handle_at,
    args: [fdArg, addr, flagsArg(O_FLAGS)],
    returns: 'fd',
    partial:
      'the handles of the 16,384 files of a file system that were asked for last; older ones are stale',
  },
} satisfies SyscallRows
