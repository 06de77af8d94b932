/** inotify(7): inotify_init1(2), inotify_add_watch(2), inotify_rm_watch(2). */
import {
  IN_ALL_EVENTS,
  IN_CLOEXEC,
  IN_DONT_FOLLOW,
  IN_EXCL_UNLINK,
  IN_IGNORED,
  IN_ISDIR,
  IN_MASK_ADD,
  IN_MASK_CREATE,
  IN_NONBLOCK,
  IN_ONESHOT,
  IN_ONLYDIR,
  IN_Q_OVERFLOW,
  IN_UNMOUNT,
} from '../abi/constants.ts'
import { EBADF, EINVAL, EMFILE } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { failed } from '../base/result.ts'
import { InotifyFile } from '../fs/inotify/inotify.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { LOOKUP_DIRECTORY, LOOKUP_FOLLOW, lookup } from '../vfs/namei.ts'
import { MAY_READ, permissionAt } from '../vfs/permission.ts'
import { fd as fdArg, flags as flagsArg, hex, int, path, type SyscallRows } from './args.ts'
import { fileOf } from './at.ts'
import { installFile } from './install.ts'

const VALID_BITS =
  IN_ALL_EVENTS |
  IN_UNMOUNT |
  IN_Q_OVERFLOW |
  IN_IGNORED |
  IN_ONLYDIR |
  IN_DONT_FOLLOW |
  IN_EXCL_UNLINK |
  IN_MASK_ADD |
  IN_MASK_CREATE |
  IN_ISDIR |
  IN_ONESHOT

export function inotify_init(task: Task): number {
  return inotify_init1(task, 0)
}
export function inotify_init1(task: Task, flags: number): number {
  if ((flags & ~(IN_CLOEXEC | IN_NONBLOCK)) !== 0) return -EINVAL
  const usage = task.kernel.users.of(task.cred.uid).inotify
  const limits = task.kernel.inotifyLimits
  if (usage.instances >= limits.maxUserInstances) return -EMFILE
  const place = task.kernel.anonFs.path('anon_inode:inotify', 0o600)
  const file = new InotifyFile(place, flags, task.cred, limits, usage)
  return installFile(task, file, (flags & IN_CLOEXEC) !== 0)
}

export function inotify_add_watch(task: Task, fd: number, nameAt: GuestAddr, mask: number): number {
  if ((mask & VALID_BITS) === 0) return -EINVAL
  const file = fileOf(task, fd)
  if (file === undefined) return -EBADF
  if ((mask & IN_MASK_ADD) !== 0 && (mask & IN_MASK_CREATE) !== 0) return -EINVAL
  if (!(file instanceof InotifyFile)) return -EINVAL
  const name = task.mm.readPath(nameAt)
  if (failed(name)) return name
  let flags = 0
  if ((mask & IN_DONT_FOLLOW) === 0) flags |= LOOKUP_FOLLOW
  if ((mask & IN_ONLYDIR) !== 0) flags |= LOOKUP_DIRECTORY
  const place = lookup(task.walk, undefined, name, flags)
  if (failed(place)) return place
  const status = permissionAt(task.cred, place, MAY_READ)
  return status < 0 ? status : file.addWatch(place, mask)
}

export function inotify_rm_watch(task: Task, fd: number, wd: number): number {
  const file = fileOf(task, fd)
  if (file === undefined) return -EBADF
  return file instanceof InotifyFile ? file.removeWatch(wd) : -EINVAL
}

export const inotifyCalls = {
  inotify_init: { nr: NR.inotify_init, run: inotify_init, args: [], returns: 'fd' },
  inotify_init1: {
    nr: NR.inotify_init1,
    run: inotify_init1,
    args: [flagsArg({ IN_CLOEXEC, IN_NONBLOCK })],
    returns: 'fd',
  },
  inotify_add_watch: { nr: NR.inotify_add_watch, run: inotify_add_watch, args: [fdArg, path, hex] },
  inotify_rm_watch: { nr: NR.inotify_rm_watch, run: inotify_rm_watch, args: [fdArg, int] },
} satisfies SyscallRows
