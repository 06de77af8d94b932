/** fanotify_init(2), fanotify_mark(2). What groups and marks do is in fs/fanotify/. */
import {
  CAP_AUDIT_WRITE,
  CAP_SYS_ADMIN,
  FAN_ACCESS,
  FAN_ACCESS_PERM,
  FAN_ALL_CLASS_BITS,
  FAN_ATTRIB,
  FAN_CLASS_CONTENT,
  FAN_CLASS_NOTIF,
  FAN_CLASS_PRE_CONTENT,
  FAN_CLOEXEC,
  FAN_CLOSE,
  FAN_DELETE_SELF,
  FAN_ENABLE_AUDIT,
  FAN_EVENT_ON_CHILD,
  FAN_FS_ERROR,
  FAN_MARK_ADD,
  FAN_MARK_DONT_FOLLOW,
  FAN_MARK_EVICTABLE,
  FAN_MARK_FILESYSTEM,
  FAN_MARK_FLUSH,
  FAN_MARK_IGNORE,
  FAN_MARK_IGNORED_MASK,
  FAN_MARK_IGNORED_SURV_MODIFY,
  FAN_MARK_INODE,
  FAN_MARK_MOUNT,
  FAN_MARK_ONLYDIR,
  FAN_MARK_REMOVE,
  FAN_MODIFY,
  FAN_MOVE_SELF,
  FAN_NONBLOCK,
  FAN_ONDIR,
  FAN_OPEN,
  FAN_OPEN_EXEC,
  FAN_OPEN_EXEC_PERM,
  FAN_OPEN_PERM,
  FAN_RENAME,
  FAN_REPORT_DIR_FID,
  FAN_REPORT_FID,
  FAN_REPORT_NAME,
  FAN_REPORT_PIDFD,
  FAN_REPORT_TARGET_FID,
  FAN_REPORT_TID,
  FAN_UNLIMITED_MARKS,
  FAN_UNLIMITED_QUEUE,
  O_ACCMODE,
  O_APPEND,
  O_CLOEXEC,
  O_DSYNC,
  O_LARGEFILE,
  O_NOATIME,
  O_NONBLOCK,
  O_SYNC,
} from '../abi/constants.ts'
import { EBADF, EEXIST, EINVAL, EMFILE, ENOENT, ENOSPC, ENOTDIR, EPERM } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { failed, type OrErrno } from '../base/result.ts'
import { DIRENT_EVENTS, FanotifyFile, FID_FLAGS } from '../fs/fanotify/group.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import type { Watched } from '../vfs/marks.ts'
import { LOOKUP_DIRECTORY, LOOKUP_FOLLOW } from '../vfs/namei.ts'
import type { Path } from '../vfs/path.ts'
import { MAY_READ, permissionAt } from '../vfs/permission.ts'
import { fd as fdArg, flags as flagsArg, hex, path, type SyscallRows, size } from './args.ts'
import { fileOf, lookupAt } from './at.ts'
import { installFile } from './install.ts'

const ADMIN_FLAGS =
  FAN_CLASS_CONTENT |
  FAN_CLASS_PRE_CONTENT |
  FAN_REPORT_TID |
  FAN_REPORT_PIDFD |
  FAN_UNLIMITED_QUEUE |
  FAN_UNLIMITED_MARKS
const INIT_FLAGS =
  ADMIN_FLAGS |
  FAN_CLOEXEC |
  FAN_NONBLOCK |
  FAN_ENABLE_AUDIT |
  FAN_REPORT_FID |
  FAN_REPORT_DIR_FID |
  FAN_REPORT_NAME |
  FAN_REPORT_TARGET_FID
const EVENT_FLAGS = O_ACCMODE | O_APPEND | O_NONBLOCK | O_SYNC | O_DSYNC | O_CLOEXEC | O_LARGEFILE | O_NOATIME

const PERMISSION_EVENTS = FAN_OPEN_PERM | FAN_ACCESS_PERM | FAN_OPEN_EXEC_PERM
/** Those that come with something open. */
const FD_EVENTS = FAN_ACCESS | FAN_MODIFY | FAN_CLOSE | FAN_OPEN | FAN_OPEN_EXEC | PERMISSION_EVENTS
const MARK_EVENTS = FD_EVENTS | FAN_ATTRIB | DIRENT_EVENTS | FAN_DELETE_SELF | FAN_MOVE_SELF | FAN_FS_ERROR
const MASK_FLAGS = FAN_ONDIR | FAN_EVENT_ON_CHILD

const MARK_TYPES = FAN_MARK_INODE | FAN_MARK_MOUNT | FAN_MARK_FILESYSTEM
const COMMANDS = FAN_MARK_ADD | FAN_MARK_REMOVE | FAN_MARK_FLUSH
const MARK_FLAGS =
  MARK_TYPES |
  COMMANDS |
  FAN_MARK_DONT_FOLLOW |
  FAN_MARK_ONLYDIR |
  FAN_MARK_IGNORED_MASK |
  FAN_MARK_IGNORED_SURV_MODIFY |
  FAN_MARK_EVICTABLE |
  FAN_MARK_IGNORE

export function fanotify_init(task: Task, flags: number, eventFlags: number): number {
  const handles = flags & (FID_FLAGS | FAN_REPORT_NAME | FAN_REPORT_TARGET_FID)
  const privileged = task.cred.capable(CAP_SYS_ADMIN, task.kernel.userNs)
  // Others hear of files only what they could find out, and can't hold anybody up.
  if (!privileged && ((flags & ADMIN_FLAGS) !== 0 || handles === 0)) return -EPERM
  if ((flags & ~INIT_FLAGS) !== 0) return -EINVAL
  if ((flags & FAN_REPORT_PIDFD) !== 0 && (flags & FAN_REPORT_TID) !== 0) return -EINVAL
  if ((eventFlags & ~EVENT_FLAGS) !== 0 || (eventFlags & O_ACCMODE) === O_ACCMODE) return -EINVAL
  const kind = flags & FAN_ALL_CLASS_BITS
  if (handles !== 0 && kind !== FAN_CLASS_NOTIF) return -EINVAL
  if ((handles & FAN_REPORT_NAME) !== 0 && (handles & FAN_REPORT_DIR_FID) === 0) return -EINVAL
  const forTarget = FAN_REPORT_NAME | FAN_REPORT_FID
  if ((handles & FAN_REPORT_TARGET_FID) !== 0 && (handles & forTarget) !== forTarget) return -EINVAL
  const usage = task.kernel.users.of(task.cred.uid).fanotify
  if (usage.groups >= task.kernel.fanotifyLimits.maxUserGroups) return -EMFILE
  if (kind === FAN_ALL_CLASS_BITS) return -EINVAL
  if ((flags & FAN_ENABLE_AUDIT) !== 0 && !task.cred.capable(CAP_AUDIT_WRITE)) return -EPERM
  const place = task.kernel.anonFs.path('anon_inode:[fanotify]', 0o600)
  const file = new FanotifyFile(task.kernel, place, task.cred, flags, eventFlags | O_LARGEFILE, {
    nonblocking: (flags & FAN_NONBLOCK) !== 0,
    unprivileged: !privileged,
    usage,
  })
  return installFile(task, file, (flags & FAN_CLOEXEC) !== 0)
}

/** The mask's high word has no events yet. */
export function fanotify_mark(
  task: Task,
  fd: number,
  flags: number,
  mask: number,
  dirfd: number,
  nameAt: GuestAddr,
): number {
  const status = checkMark(flags, mask)
  if (status < 0) return status
  const group = fileOf(task, fd)
  if (group === undefined) return -EBADF
  if (!(group instanceof FanotifyFile)) return -EINVAL
  const suits = suitsGroup(group, flags, mask)
  if (suits < 0) return suits
  if ((flags & FAN_MARK_FLUSH) !== 0) return flush(group, flags & MARK_TYPES)
  const place = findPlace(task, dirfd, nameAt, flags)
  if (failed(place)) return place
  return change(task, group, place, flags, mask)
}

function checkMark(flags: number, mask: number): number {
  if (mask >= 2 ** 32 || (flags & ~MARK_FLAGS) !== 0) return -EINVAL
  if ((flags & MARK_TYPES) === (FAN_MARK_MOUNT | FAN_MARK_FILESYSTEM)) return -EINVAL
  const command = flags & COMMANDS
  if (command === FAN_MARK_FLUSH) {
    if ((flags & ~(MARK_TYPES | FAN_MARK_FLUSH)) !== 0) return -EINVAL
  } else if ((command !== FAN_MARK_ADD && command !== FAN_MARK_REMOVE) || mask === 0) return -EINVAL
  if ((mask & ~(MARK_EVENTS | MASK_FLAGS)) !== 0) return -EINVAL
  const ignore = FAN_MARK_IGNORE | FAN_MARK_IGNORED_MASK
  return (flags & ignore) === ignore ? -EINVAL : 0
}

function suitsGroup(group: FanotifyFile, flags: number, mask: number): number {
  const type = flags & MARK_TYPES
  if (group.unprivileged && type !== FAN_MARK_INODE) return -EPERM
  const notifies = (group.initFlags & FAN_ALL_CLASS_BITS) === FAN_CLASS_NOTIF
  if ((mask & PERMISSION_EVENTS) !== 0 && notifies) return -EINVAL
  if ((mask & FAN_FS_ERROR) !== 0 && type !== FAN_MARK_FILESYSTEM) return -EINVAL
  if ((flags & FAN_MARK_EVICTABLE) !== 0 && type !== FAN_MARK_INODE) return -EINVAL
  if ((mask & ~(FD_EVENTS | MASK_FLAGS)) !== 0) {
    if (!group.usesHandles || type === FAN_MARK_MOUNT) return -EINVAL
  }
  // It is told by names alone.
  if ((mask & FAN_RENAME) !== 0 && (group.initFlags & FAN_REPORT_NAME) === 0) return -EINVAL
  return 0
}

function flush(group: FanotifyFile, type: number): number {
  for (const mark of group.marks) {
    if (typeOf(mark.object) === type) group.removeMark(mark.object)
  }
  return 0
}

/** Mounts and super blocks have a root; only super blocks know their type. */
function typeOf(object: Watched): number {
  if ('fsType' in object) return FAN_MARK_FILESYSTEM
  return 'mountpoint' in object ? FAN_MARK_MOUNT : FAN_MARK_INODE
}

function findPlace(task: Task, dirfd: number, nameAt: GuestAddr, flags: number): OrErrno<Path> {
  const place = nameAt === 0 ? placeOfFd(task, dirfd, flags) : lookupMarked(task, dirfd, nameAt, flags)
  if (failed(place)) return place
  const status = permissionAt(task.cred, place, MAY_READ)
  return status < 0 ? status : place
}

function placeOfFd(task: Task, dirfd: number, flags: number): OrErrno<Path> {
  const place = fileOf(task, dirfd)?.path
  if (place === undefined) return -EBADF
  return (flags & FAN_MARK_ONLYDIR) !== 0 && !place.dentry.inode!.isDir ? -ENOTDIR : place
}

function lookupMarked(task: Task, dirfd: number, nameAt: GuestAddr, flags: number): OrErrno<Path> {
  const follow = (flags & FAN_MARK_DONT_FOLLOW) === 0 ? LOOKUP_FOLLOW : 0
  const directory = (flags & FAN_MARK_ONLYDIR) !== 0 ? LOOKUP_DIRECTORY : 0
  return lookupAt(task, dirfd, nameAt, follow | directory)
}

function change(
  task: Task,
  group: FanotifyFile,
  { mount, dentry }: Path,
  flags: number,
  mask: number,
): number {
  const inode = dentry.inode!
  const type = flags & MARK_TYPES
  const object: Watched = type === FAN_MARK_MOUNT ? mount : type === FAN_MARK_FILESYSTEM ? inode.sb : inode
  const onDirectory = type === FAN_MARK_INODE && inode.isDir
  const targets = (group.initFlags & FAN_REPORT_TARGET_FID) !== 0
  if ((mask & DIRENT_EVENTS) !== 0 && type === FAN_MARK_INODE && !onDirectory && targets) return -ENOTDIR
  // What has no entries has no children to hear of.
  let events = onDirectory ? mask : mask & ~FAN_EVENT_ON_CHILD
  const ignores = (flags & (FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORE)) !== 0
  if (ignores) events &= ~MASK_FLAGS
  if ((flags & FAN_MARK_REMOVE) !== 0) return remove(group, object, events, ignores)
  const unlimited = (group.initFlags & FAN_UNLIMITED_MARKS) !== 0
  if (!unlimited && group.markOf(object) === undefined) {
    if (group.markCount >= task.kernel.fanotifyLimits.maxUserMarks) return -ENOSPC
  }
  const survives = (flags & FAN_MARK_IGNORED_SURV_MODIFY) !== 0
  const old = group.markOf(object)
  // What was promised to last does not become less.
  if ((flags & FAN_MARK_IGNORE) !== 0 && old?.survivesModify === true && !survives) return -EEXIST
  const mark = group.addMark(object)
  if (ignores) {
    mark.ignored |= events
    mark.survivesModify ||= survives
  } else mark.mask |= events
  return 0
}

function remove(group: FanotifyFile, object: Watched, events: number, ignores: boolean): number {
  const mark = group.markOf(object)
  if (mark === undefined) return -ENOENT
  if (ignores) mark.ignored &= ~events
  else mark.mask &= ~events
  if (((mark.mask | mark.ignored) & MARK_EVENTS) === 0) group.removeMark(object)
  return 0
}

export const fanotifyCalls = {
  fanotify_init: {
    nr: NR.fanotify_init,
    run: fanotify_init,
    args: [hex, hex],
    returns: 'fd',
  },
  fanotify_mark: {
    nr: NR.fanotify_mark,
    run: fanotify_mark,
    args: [
      fdArg,
      flagsArg({ FAN_MARK_ADD, FAN_MARK_REMOVE, FAN_MARK_FLUSH, FAN_MARK_MOUNT, FAN_MARK_FILESYSTEM }),
      size,
      fdArg,
      path,
    ],
    partial: 'FAN_FS_ERROR never comes',
  },
} satisfies SyscallRows
