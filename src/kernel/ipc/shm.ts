/**
 * System V shared memory (ipc/shm.c): segments, which are unnamed files in memory.
 *
 * Each shmat(2) opens the segment anew: the File is held by the mappings made of it and by nothing else, so the
 * references of all attachments together are shm_nattch. A segment that was removed while attached (SHM_DEST) ends with
 * the last of them.
 */
import { IPC_PRIVATE, SHM_DEST } from '../../abi/constants.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { File } from '../../vfs/file.ts'
import { filePut } from '../../vfs/file-ref.ts'
import type { Pid } from '../pid.ts'
import { IpcObject, IpcTable } from './ids.ts'

const PAGE_SIZE = 4096

export class ShmTable extends IpcTable<ShmSegment> {
  override readonly nextId = 'shmNextId'
  override get limit(): number {
    return this.limits.shmmni
  }
  /** Pages of all segments. */
  get pages(): number {
    let pages = 0
    for (const segment of this.objects()) pages += Math.ceil(segment.size / PAGE_SIZE)
    return pages
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
    const doomed = (segment.mode & SHM_DEST) !== 0 || this.limits.shmRmidForced !== 0
    if (doomed && segment.attached === 0) this.destroy(segment)
  }

  /** kernel.shm_rmid_forced: segments go that nobody is attached to, and that `creator` (anybody who has ended) made. */
  destroyOrphans(creator: Pid | undefined): void {
    for (const segment of this.objects()) {
      const orphan = creator === undefined ? segment.creator.group === undefined : segment.creator === creator
      if (orphan && segment.attached === 0) this.destroy(segment)
    }
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
