/** What hostfs asks of the host, and what it never looks into. */
import {
  CGROUP_SUPER_MAGIC,
  CGROUP2_SUPER_MAGIC,
  DEBUGFS_MAGIC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_NONBLOCK,
  PROC_SUPER_MAGIC,
  RESOLVE_BENEATH,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  SYSFS_MAGIC,
} from '../../abi/constants.ts'
import { type Host, newHostStatfs } from '../../platform/host.ts'

/** For each name that is opened: below the directory, through no link. */
export const RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS
/** O_NONBLOCK: a FIFO that took the file's place must not hang the sentry. */
export const OPEN_SAFELY = O_NOFOLLOW | O_NONBLOCK
export const OPEN_DIR = OPEN_SAFELY | O_DIRECTORY

const DOT = 0x2e

const KERNEL_FILE_SYSTEMS: ReadonlySet<number> = new Set([
  PROC_SUPER_MAGIC,
  SYSFS_MAGIC,
  CGROUP_SUPER_MAGIC,
  CGROUP2_SUPER_MAGIC,
  DEBUGFS_MAGIC,
  // tracefs, securityfs, bpf, nsfs, configfs, selinuxfs, efivarfs, mqueue, binfmt_misc, pstore, fusectl
  0x74726163,
  0x73636673,
  0xcafe4a11,
  0x6e736673,
  0x62656570,
  0xf97cff8c,
  0xde5e81e4,
  0x19800202,
  0x42494e4d,
  0x6165676c,
  0x65735543,
])

/** ext4, xfs, btrfs, tmpfs, ramfs, overlay, f2fs, zfs, bcachefs, erofs, squashfs, isofs. */
const LOCAL_FILE_SYSTEMS: ReadonlySet<number> = new Set([
  0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x858458f6, 0x794c7630, 0xf2f52010, 0x2fc12fc1, 0xca451a4e,
  0xe0f5e1e2, 0x73717368, 0x9660,
])

/** An interface of the host's kernel: those of the guest's are mounted over it. */
export function isKernelFs(type: number): boolean {
  return KERNEL_FILE_SYSTEMS.has(type)
}

/** Of a file system that the host's kernel alone changes inotify tells every change. */
export function isLocalFs(type: number): boolean {
  return LOCAL_FILE_SYSTEMS.has(type)
}

/** What fstatfs(2) says of it, -1 if nothing. */
export function fsTypeOf(host: Host, fd: number): number {
  const out = newHostStatfs()
  return host.fstatfs(fd, out) < 0 ? -1 : out.type
}

/** Whether `name` is one name in a directory, which leads nowhere else. The walk gives nothing else: here it matters. */
export function isComponent(name: string): boolean {
  if (name.indexOf('/') >= 0) return false
  if (name.charCodeAt(0) !== DOT || name.length > 2) return name.length > 0
  return name.length === 2 && name.charCodeAt(1) !== DOT
}
