/** ioctls on the inode behind a file: its flags (chattr(1), ioctl_iflags(2)), and its blocks, which no file system here has. */
import {
  CAP_LINUX_IMMUTABLE,
  CAP_SYS_ADMIN,
  CAP_SYS_RAWIO,
  FIBMAP,
  FIFREEZE,
  FITHAW,
  FS_APPEND_FL,
  FS_IMMUTABLE_FL,
  FS_IOC_FIEMAP,
  FS_IOC_FSGETXATTR,
  FS_IOC_FSSETXATTR,
  FS_IOC_GETFLAGS,
  FS_IOC_SETFLAGS,
  FS_NOATIME_FL,
  FS_NODUMP_FL,
  FS_XFLAG_APPEND,
  FS_XFLAG_IMMUTABLE,
  FS_XFLAG_NOATIME,
  FS_XFLAG_NODUMP,
} from '../abi/constants.ts'
import { EFAULT, EINVAL, EOPNOTSUPP, EPERM } from '../abi/errno.ts'
import { FSXATTR } from '../abi/layout.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import type { File } from '../vfs/file.ts'
import { throughMount } from '../vfs/idmap.ts'
import { ownerOrCapable, wantWrite } from '../vfs/permission.ts'

/** The flags by their two names. */
const NAMES: readonly (readonly [flag: number, xflag: number])[] = [
  [FS_IMMUTABLE_FL, FS_XFLAG_IMMUTABLE],
  [FS_APPEND_FL, FS_XFLAG_APPEND],
  [FS_NOATIME_FL, FS_XFLAG_NOATIME],
  [FS_NODUMP_FL, FS_XFLAG_NODUMP],
]

/** The result, or undefined: the request is none of these. */
export function inodeIoctl(task: Task, file: File, request: number, at: GuestAddr): number | undefined {
  const { inode } = file
  switch (request >>> 0) {
    case FS_IOC_GETFLAGS:
      return inode.settableFlags === 0 ? undefined : task.mm.putU32(at, inode.inodeFlags)
    case FS_IOC_SETFLAGS: {
      if (inode.settableFlags === 0) return undefined
      const flags = task.mm.u32(at)
      return flags === undefined ? -EFAULT : setFlags(task, file, flags)
    }
    case FS_IOC_FSGETXATTR:
      return inode.settableFlags === 0 ? undefined : putXflags(task, file, at)
    case FS_IOC_FSSETXATTR:
      return inode.settableFlags === 0 ? undefined : setXflags(task, file, at)
    case FS_IOC_FIEMAP:
      return inode.isRegular ? -EOPNOTSUPP : undefined
    case FIBMAP:
      if (!inode.isRegular) return undefined
      return task.cred.capable(CAP_SYS_RAWIO, task.kernel.userNs) ? -EINVAL : -EPERM
    case FIFREEZE:
      return task.cred.capable(CAP_SYS_ADMIN, task.kernel.userNs) ? -EOPNOTSUPP : -EPERM
    case FITHAW:
      return task.cred.capable(CAP_SYS_ADMIN, task.kernel.userNs) ? -EINVAL : -EPERM
  }
  return undefined
}

/** vfs_fileattr_set. */
function setFlags(task: Task, file: File, flags: number): number {
  const writable = wantWrite(file.path)
  if (writable < 0) return writable
  const { inode } = file
  if (!ownerOrCapable(throughMount(task.cred, file.path.mount), inode)) return -EPERM
  const changes = inode.inodeFlags ^ flags
  if ((changes & (FS_IMMUTABLE_FL | FS_APPEND_FL)) !== 0 && !task.cred.capable(CAP_LINUX_IMMUTABLE))
    return -EPERM
  return (flags & ~inode.settableFlags) !== 0 ? -EOPNOTSUPP : inode.setFlags(flags)
}

function putXflags(task: Task, { inode }: File, at: GuestAddr): number {
  const out = task.mm.out(FSXATTR.size)
  let xflags = 0
  for (const [flag, xflag] of NAMES) if ((inode.inodeFlags & flag) !== 0) xflags |= xflag
  new Uint8Array(out.buffer, out.byteOffset, FSXATTR.size).fill(0)
  out.setUint32(FSXATTR.fsx_xflags, xflags, true)
  return task.mm.commit(at)
}

/** Extents have no sizes here, and there are no projects. */
function setXflags(task: Task, file: File, at: GuestAddr): number {
  const view = task.mm.view(at, FSXATTR.size)
  if (view === undefined) return -EFAULT
  const asked = view.getUint32(FSXATTR.fsx_xflags, true)
  const others = [FSXATTR.fsx_extsize, FSXATTR.fsx_projid, FSXATTR.fsx_cowextsize]
  const beyond = others.some(field => view.getUint32(field, true) !== 0)
  let flags = 0
  let known = 0
  for (const [flag, xflag] of NAMES) {
    known |= xflag
    if ((asked & xflag) !== 0) flags |= flag
  }
  return beyond || (asked & ~known) !== 0 ? -EOPNOTSUPP : setFlags(task, file, flags)
}
