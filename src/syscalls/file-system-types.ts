/** Calls about file systems as such: sysfs(2), which numbers their types, and quotactl(2), which none of them obeys. */
import { AT_FDCWD, S_IFBLK } from '../abi/constants.ts'
import { EBADF, EINVAL, ENODEV, ENOSYS, ENOTBLK } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { toBytes } from '../base/bytes.ts'
import { failed } from '../base/result.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { LOOKUP_FOLLOW } from '../vfs/namei.ts'
import { addr, fd as fdArg, hex, id, int, path, type SyscallRows } from './args.ts'
import { lookupAt } from './at.ts'

const MAX_QUOTAS = 3
const SUBCMD_SHIFT = 8
/** Q_SYNC of linux/quota.h: without a device, of all file systems. */
const Q_SYNC = 0x800001

/** The types by their place in /proc/filesystems: 1 gives a name's number, 2 a number's name, 3 how many there are. */
export function sysfs(task: Task, option: number, first: number, second: GuestAddr): number {
  const names = [...task.kernel.fsTypes.keys()]
  if (option === 3) return names.length
  if (option === 1) {
    const name = task.mm.readPath(first)
    if (failed(name)) return name
    const index = names.indexOf(name)
    return index < 0 ? -EINVAL : index
  }
  if (option !== 2) return -EINVAL
  const name = names[first % 2 ** 32]
  return name === undefined ? -EINVAL : task.mm.copyOut(second, toBytes(`${name}\0`))
}

/** As a kernel with quotas, none of whose file systems has any. */
export function quotactl(
  task: Task,
  command: number,
  special: GuestAddr,
  _id: number,
  _at: GuestAddr,
): number {
  const what = command >>> SUBCMD_SHIFT
  if ((command & 0xff) >= MAX_QUOTAS) return -EINVAL
  if (special === 0) return what === Q_SYNC ? 0 : -ENODEV
  const place = lookupAt(task, AT_FDCWD, special, LOOKUP_FOLLOW)
  if (failed(place)) return place
  const inode = place.dentry.inode!
  return inode.type === S_IFBLK ? -ENODEV : -ENOTBLK
}

/** do_quotactl, for a file system that has no quota operations. */
export function quotactl_fd(task: Task, fd: number, command: number, _id: number, _at: GuestAddr): number {
  if (task.fds.get(fd) === undefined) return -EBADF
  return (command & 0xff) >= MAX_QUOTAS ? -EINVAL : -ENOSYS
}

const noQuota = 'no file system has quotas'

export const fileSystemTypeCalls = {
  sysfs: { nr: NR.sysfs, run: sysfs, args: [int, addr, addr] },
  quotactl: {
    nr: NR.quotactl,
    run: quotactl,
    args: [hex, path, id, addr],
    refused: `ENODEV, and ENOTBLK for what is no block device: ${noQuota}`,
  },
  quotactl_fd: {
    nr: NR.quotactl_fd,
    run: quotactl_fd,
    args: [fdArg, hex, id, addr],
    refused: `ENOSYS, after the checks of Linux: ${noQuota}`,
  },
} satisfies SyscallRows
