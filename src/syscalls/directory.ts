/** Directories: getdents(2), chdir(2), getcwd(2), chroot(2). */
import { AT_FDCWD, CAP_SYS_CHROOT, PATH_MAX } from '../abi/constants.ts'
import { EBADF, EINVAL, ENAMETOOLONG, ENOENT, ENOTDIR, EPERM, ERANGE } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { toBytes } from '../base/bytes.ts'
import { failed } from '../base/result.ts'
import { put64 } from '../base/words.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import type { File } from '../vfs/file.ts'
import { LOOKUP_DIRECTORY, LOOKUP_FOLLOW } from '../vfs/namei.ts'
import { askToRead, notifyAccess } from '../vfs/notify.ts'
import { pathToStringChecked } from '../vfs/path-string.ts'
import { MAY_CHDIR, MAY_EXEC, permissionAt } from '../vfs/permission.ts'
import { addr, bufferOut, fd as fdArg, path, type SyscallRows, size, uint } from './args.ts'
import { fileOf, lookupAt } from './at.ts'

/** Entries of one call fill no more than this, whatever room the caller has. */
const MAX_BATCH = 65536
/** struct linux_dirent: the type is the record's last byte. */
const OLD_NAME_OFFSET = 18

export function getdents64(task: Task, fd: number, buffer: GuestAddr, count: number): number {
  const file = fileOf(task, fd)
  if (file === undefined) return -EBADF
  const asked = file.inode.isDir ? askToRead(file) : 0
  if (asked !== 0) return asked
  const before = file.pos
  const records = file.readDirents(Math.min(count, MAX_BATCH))
  return typeof records === 'number' ? records : putRecords(task, file, before, buffer, records)
}

/** struct linux_dirent, padded to 8 bytes, with the type behind the name's NUL. */
export function getdents(task: Task, fd: number, buffer: GuestAddr, count: number): number {
  const file = fileOf(task, fd)
  if (file === undefined) return -EBADF
  if (!file.inode.isDir) return -ENOTDIR
  const asked = askToRead(file)
  if (asked !== 0) return asked
  const bytes = new Uint8Array(Math.min(count, MAX_BATCH))
  const view = new DataView(bytes.buffer)
  const before = file.pos
  let used = 0
  let full = false
  const status = file.readdir((name, ino, type, next) => {
    const length = (OLD_NAME_OFFSET + name.length + 2 + 7) & ~7
    full = used + length > bytes.length
    if (full) return false
    put64(view, used, ino)
    put64(view, used + 8, next)
    view.setUint16(used + 16, length, true)
    for (let i = 0; i < name.length; i++) bytes[used + OLD_NAME_OFFSET + i] = name.charCodeAt(i)
    bytes[used + length - 1] = type
    used += length
    return true
  })
  if (used === 0) return status < 0 ? status : full ? -EINVAL : 0
  return putRecords(task, file, before, buffer, bytes.subarray(0, used))
}

/** What could not be given was not read. */
function putRecords(task: Task, file: File, before: number, buffer: GuestAddr, records: Uint8Array): number {
  if (records.length === 0) return 0
  const copied = task.mm.copyOut(buffer, records)
  if (copied < 0) {
    file.pos = before
    return copied
  }
  notifyAccess(file)
  return records.length
}

export function chdir(task: Task, nameAt: GuestAddr): number {
  const found = lookupAt(task, AT_FDCWD, nameAt, LOOKUP_FOLLOW | LOOKUP_DIRECTORY)
  if (failed(found)) return found
  const status = permissionAt(task.cred, found, MAY_EXEC | MAY_CHDIR)
  if (status < 0) return status
  task.fs.cwd = found
  return 0
}

export function fchdir(task: Task, fd: number): number {
  const file = task.fds.get(fd)
  if (file === undefined) return -EBADF
  if (!file.inode.isDir) return -ENOTDIR
  const status = permissionAt(task.cred, file.path, MAY_EXEC | MAY_CHDIR)
  if (status < 0) return status
  task.fs.cwd = file.path
  return 0
}

export function chroot(task: Task, nameAt: GuestAddr): number {
  const found = lookupAt(task, AT_FDCWD, nameAt, LOOKUP_FOLLOW | LOOKUP_DIRECTORY)
  if (failed(found)) return found
  const status = permissionAt(task.cred, found, MAY_EXEC | MAY_CHDIR)
  if (status < 0) return status
  if (!task.cred.capable(CAP_SYS_CHROOT)) return -EPERM
  task.fs.root = found
  return 0
}

/** The length with the NUL, as the system call has it. */
export function getcwd(task: Task, buffer: GuestAddr, length: number): number {
  const { cwd, root } = task.fs
  if (cwd.dentry.unhashed) return -ENOENT
  const text = pathToStringChecked(cwd, root)
  if (text.length + 1 > PATH_MAX) return -ENAMETOOLONG
  if (text.length + 1 > length) return -ERANGE
  const status = task.mm.copyOut(buffer, toBytes(`${text}\0`))
  return status < 0 ? status : text.length + 1
}

export const directoryCalls = {
  getdents: { nr: NR.getdents, run: getdents, args: [fdArg, addr, uint] },
  getdents64: { nr: NR.getdents64, run: getdents64, args: [fdArg, addr, uint] },
  chdir: { nr: NR.chdir, run: chdir, args: [path] },
  fchdir: { nr: NR.fchdir, run: fchdir, args: [fdArg] },
  chroot: { nr: NR.chroot, run: chroot, args: [path] },
  getcwd: { nr: NR.getcwd, run: getcwd, args: [bufferOut(1), size] },
} satisfies SyscallRows
