/**
 * System V shared memory (ipc/shm.c): segments, which are unnamed files in memory.
 *
 * Each shmat(2) opens the segment anew: the File is held by the mappings made of it and by nothing else, so the
 * references of all attachments together are shm_nattch. A segment that was removed while attached (SHM_DEST) ends with
 * the last of them.
 */
import { IPC_PRIVATE, SHM_DEST, SHMMNI } from '../../abi/constants.ts'
import type { Credentials, UserNamespace } from '../../base/credentials.ts'
import type { File } from '../../vfs/file.ts'
import { filePut } from '../../vfs/file-ref.ts'
import type { Pid } from '../pid.ts'
import { IpcObject, IpcTable } from './ids.ts'

/** Segments are smaller: shmmax is ULONG_MAX - (1 << 24). */
export const SHMMAX = 2 ** 64 - 2 ** 24

export class ShmTable extends IpcTable<ShmSegment> {
  constructor(userNs: UserNamespace) {
    super(userNs, SHMMNI)
  }

  /** IPC_RMID: at once, or when nobody is attached any more. */
  destroy(segment: ShmSegment): void {
    if (segment.attached > 0) {
      segment.mode |= SHM_DEST
      this.forgetKey(segment)
      segment.key = IPC_PRIVATE
      return
    }
    this.remove(segment)
    filePut(segment.memory)
  }

  /** An attachment's last mapping is gone. */
  detached(segment: ShmSegment, file: File, pid: Pid | undefined, now: number): void {
    segment.attachments.delete(file)
    segment.dtime = now
    segment.lastPid = pid
    if ((segment.mode & SHM_DEST) !== 0 && segment.attached === 0) this.destroy(segment)
  }
}

export class ShmSegment extends IpcObject {
  readonly size: number
  /** One reference is held. */
  readonly memory: File
  readonly creator: Pid
  lastPid: Pid | undefined = undefined
  /** Seconds; 0 before the first. */
  atime = 0
  dtime = 0
  readonly attachments = new Set<File>()

  constructor(
    key: number,
    mode: number,
    cred: Credentials,
    now: number,
    size: number,
    memory: File,
    pid: Pid,
  ) {
    super(key, mode, cred, now)
    this.size = size
    this.memory = memory
    this.creator = pid
  }

  /** shm_nattch: mappings of it. */
  get attached(): number {
    let count = 0
    for (const file of this.attachments) count += file.refs
    return count
  }
}
