/**
 * Files of memfd_secret(2): memory that is reached by shared mappings alone. It counts as locked, is in no core dump, and
 * nobody else's access gets through: process_vm_readv, /proc/PID/mem, ptrace. To the kernel that serves the calls its bytes
 * are as any others, as they are not on Linux, which takes them out of its own map of memory.
 */
import { O_LARGEFILE, O_RDWR, S_IFREG } from '../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { File, type MapSource } from '../../vfs/file.ts'
import type { AttrChange } from '../../vfs/inode.ts'
import { TmpfsRegular } from '../tmpfs/regular.ts'
import { shmSuper } from './memfd.ts'

class SecretInode extends TmpfsRegular {
  /** The size is given once. */
  override setattr(change: AttrChange): Status {
    return change.size !== undefined && this.size !== 0 ? -EINVAL : super.setattr(change)
  }
  /** It counts a link, as Linux's does, which is in no directory. */
  override release(): void {
    this.nlink = 0
    super.release()
  }
}

class SecretFile extends File {
  override get secret(): boolean {
    return true
  }
  override mapping(_offset: number, _length: number, _prot: number, _flags: number): MapSource | number {
    const fd = (this.inode as SecretInode).data.map(true)
    return fd < 0 ? fd : { hostFd: fd, offset: 0 }
  }
  override fallocate(): Status {
    return -EOPNOTSUPP
  }
}

export function createSecretMemory(kernel: Kernel, cred: Credentials): OrErrno<File> {
  const sb = shmSuper(kernel)
  const status = sb.quota.chargeInode()
  if (status < 0) return status
  const node = new SecretInode(sb, S_IFREG | 0o600, cred.fsuid, cred.fsgid)
  return new SecretFile(kernel.anonFs.pathOf('/secretmem (deleted)', node), O_RDWR | O_LARGEFILE, cred)
}
