/** The super block of a generated tree; what proc and sysfs do differently is in the methods they override. */
import { EACCES, EPERM, ESRCH } from '../../abi/errno.ts'
import type { Clock } from '../../base/clock.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { Status } from '../../base/result.ts'
import type { HostStatfs } from '../../platform/host.ts'
import { SuperBlock } from '../../vfs/super-block.ts'
import type { PseudoInode } from './inode.ts'

export abstract class PseudoSuper extends SuperBlock {
  readonly clock: Clock
  abstract readonly magic: number
  /** st_blksize. */
  readonly blockSize: number = 4096
  /** Of directories that don't say otherwise. */
  readonly directoryMode: number = 0o555
  /** Whether chmod works. */
  readonly mayChangeMode: boolean = false
  /** What creating a file, and what making any other name, gives. */
  readonly createError: Status = -EACCES
  readonly makeError: Status = -EPERM
  /** What reading and writing give when the file's subject is no more. */
  readonly goneError: Status = -ESRCH
  /** What the names of extended attributes may begin with. */
  readonly xattrPrefixes: readonly string[] = []
  #lastIno = 0

  constructor(dev: number, clock: Clock) {
    super(dev)
    this.clock = clock
  }

  nextIno(): number {
    return ++this.#lastIno
  }
  /** Whether what an inode is about still exists. */
  alive(_subject: object): boolean {
    return true
  }
  /** Sets uid and gid of an inode; root's if nothing is done. */
  owner(_inode: PseudoInode): void {}
  /** As Inode.permission. */
  permission(_inode: PseudoInode, _cred: Credentials, _mask: number): Status | undefined {
    return undefined
  }

  override statfs(out: HostStatfs): Status {
    out.type = this.magic
    out.bsize = out.frsize = 4096
    out.blocks = out.bfree = out.bavail = out.files = out.ffree = 0
    out.namelen = this.maxNameLength
    out.flags = 0
    return 0
  }
}
