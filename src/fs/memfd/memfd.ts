/**
 * Files in memory without a name: memfd_create(2), and what else needs pages that mappings share (System V shared
 * memory). They are files of one tmpfs per kernel, mounted nowhere and without limits, and end with their last File.
 */
import {
  F_SEAL_EXEC,
  F_SEAL_SEAL,
  MFD_ALLOW_SEALING,
  MFD_NOEXEC_SEAL,
  O_LARGEFILE,
  O_RDWR,
  S_IFREG,
} from '../../abi/constants.ts'
import type { Credentials } from '../../base/credentials.ts'
import { failed, type OrErrno } from '../../base/result.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { File } from '../../vfs/file.ts'
import { TmpfsRegular } from '../tmpfs/regular.ts'
import { TmpfsSuper } from '../tmpfs/super.ts'

/** A memfd: an open file that reads and writes, with one reference. `flags` are MFD_*, checked by the caller. */
export function createMemfd(kernel: Kernel, name: string, flags: number, cred: Credentials): OrErrno<File> {
  const executable = (flags & MFD_NOEXEC_SEAL) === 0
  const file = createSharedMemory(kernel, `/memfd:${name}`, executable ? 0o777 : 0o666, cred)
  if (failed(file)) return file
  const node = file.inode as TmpfsRegular
  if (!executable) node.seals = F_SEAL_EXEC
  else if ((flags & MFD_ALLOW_SEALING) !== 0) node.seals &= ~F_SEAL_SEAL
  return file
}

/** An open, unnamed file of size 0. `name`: what /proc shows, with ' (deleted)' behind it. */
export function createSharedMemory(
  kernel: Kernel,
  name: string,
  mode: number,
  cred: Credentials,
): OrErrno<File> {
  const sb = shmSuper(kernel)
  const status = sb.quota.chargeInode()
  if (status < 0) return status
  const node = new TmpfsRegular(sb, S_IFREG | mode, cred.fsuid, cred.fsgid)
  node.nlink = 0
  return node.open(kernel.anonFs.pathOf(`${name} (deleted)`, node), O_RDWR | O_LARGEFILE, cred)
}

/** The file system of all that is here. */
export function shmSuper(kernel: Kernel): TmpfsSuper {
  if (kernel.shm instanceof TmpfsSuper) return kernel.shm
  const unlimited = Number.POSITIVE_INFINITY
  const options = { size: unlimited, inodes: unlimited, mode: 0o1777, uid: 0, gid: 0 }
  const sb = new TmpfsSuper(kernel.vfs.newDev(), kernel.host, kernel.clock, options, kernel)
  kernel.shm = sb
  return sb
}
