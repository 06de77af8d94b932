/** System V shared memory: shmget(2), shmat(2), shmdt(2), shmctl(2). Segments are in kernel/ipc/shm.ts. */
import {
  CAP_IPC_LOCK,
  IPC_CREAT,
  IPC_EXCL,
  IPC_INFO,
  IPC_RMID,
  IPC_SET,
  IPC_STAT,
  MAP_FIXED,
  MAP_SHARED,
  O_RDONLY,
  O_RDWR,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
  RLIMIT_MEMLOCK,
  SHM_EXEC,
  SHM_HUGETLB,
  SHM_INFO,
  SHM_LOCK,
  SHM_LOCKED,
  SHM_NORESERVE,
  SHM_RDONLY,
  SHM_REMAP,
  SHM_RND,
  SHM_STAT,
  SHM_STAT_ANY,
  SHM_UNLOCK,
  SHMMIN,
  SHMSEG,
} from '../abi/constants.ts'
import { EFAULT, EINVAL, ENOMEM, ENOSPC, EPERM } from '../abi/errno.ts'
import { SHM_INFO as SHM_INFO_LAYOUT, SHMID_DS, SHMINFO } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { failed, type OrErrno } from '../base/result.ts'
import { put64 } from '../base/words.ts'
import { createSharedMemory } from '../fs/memfd/memfd.ts'
import { ShmFile } from '../fs/memfd/shm-file.ts'
import { totalMemory } from '../fs/tmpfs/super.ts'
import { SHMMAX } from '../kernel/ipc/limits.ts'
import { ShmSegment } from '../kernel/ipc/shm.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { mmap } from '../mm/mmap.ts'
import { unmapRange } from '../mm/munmap.ts'
import { PAGE_SIZE, pageCeil, pageFloor } from '../mm/vma.ts'
import { filePut } from '../vfs/file-ref.ts'
import { addr, enumOf, flags as flagsArg, hex, int, type SyscallRows, size as sizeArg } from './args.ts'
import { controlled, nowSeconds, pidField, putPerm, setPerm, statObject } from './ipc.ts'
import { enter } from './memory.ts'

export function shmget(task: Task, key: number, size: number, flags: number): number {
  return task.ns.ipc.shm.get(
    key | 0,
    flags,
    task.cred,
    found => (found.size < size ? -EINVAL : 0),
    () => newSegment(task, key | 0, size, flags),
  )
}

function newSegment(task: Task, key: number, size: number, flags: number): OrErrno<ShmSegment> {
  const { shm, limits } = task.ns.ipc
  if (size < SHMMIN || size > limits.shmmax || size >= SHMMAX) return -EINVAL
  if (shm.pages + Math.ceil(size / PAGE_SIZE) > limits.shmall) return -ENOSPC
  // As heuristic overcommit has it: what can never be had is refused.
  if ((flags & SHM_NORESERVE) === 0 && size > totalMemory(task.kernel.host)) return -ENOMEM
  // As on a machine whose pool of huge pages is empty.
  if ((flags & SHM_HUGETLB) !== 0) return -ENOMEM
  const name = `/SYSV${(key >>> 0).toString(16).padStart(8, '0')}`
  const memory = createSharedMemory(task.kernel, name, flags & 0o777, task.cred)
  if (failed(memory)) return memory
  const status = memory.inode.setattr({ size })
  if (status < 0) {
    filePut(memory)
    return -ENOMEM
  }
  return new ShmSegment(key, flags, task.cred, nowSeconds(task), size, memory, task.group.pid)
}

export function shmat(task: Task, id: number, hint: GuestAddr, flags: number): number {
  const { shm } = task.ns.ipc
  if (id < 0) return -EINVAL
  let address = hint
  if (address !== 0) {
    if (address % PAGE_SIZE !== 0) {
      if ((flags & SHM_RND) === 0) return -EINVAL
      address = pageFloor(address)
      if (address === 0 && (flags & SHM_REMAP) !== 0) return -EINVAL
    }
  } else if ((flags & SHM_REMAP) !== 0) return -EINVAL
  const readOnly = (flags & SHM_RDONLY) !== 0
  const executable = (flags & SHM_EXEC) !== 0
  const segment = shm.find(id)
  if (failed(segment)) return segment
  const asked = (readOnly ? 0o444 : 0o666) | (executable ? 0o111 : 0)
  const status = shm.permission(segment, asked, task.cred)
  if (status < 0) return status
  const mm = enter(task)
  if (address !== 0 && (flags & SHM_REMAP) === 0) {
    if (mm.vmas.intersecting(address, address + pageCeil(segment.size)) !== undefined) return -EINVAL
  }
  const prot = PROT_READ | (readOnly ? 0 : PROT_WRITE) | (executable ? PROT_EXEC : 0)
  const file = new ShmFile(task.kernel, shm, segment, readOnly ? O_RDONLY : O_RDWR, task.cred)
  const mapFlags = MAP_SHARED | (address === 0 ? 0 : MAP_FIXED)
  const at = mmap(mm, address, segment.size, prot, mapFlags, file, 0)
  if (at >= 0) {
    segment.atime = nowSeconds(task)
    segment.lastPid = task.group.pid
  }
  // The mapping has its own reference.
  filePut(file)
  return at
}

/** Unmaps what there still is of the attachment that began at `start`. */
export function shmdt(task: Task, start: GuestAddr): number {
  if (start % PAGE_SIZE !== 0) return -EINVAL
  const mm = enter(task)
  let attachment: ShmFile | undefined
  let vma = mm.vmas.find(start)
  while (vma !== undefined) {
    const { next, file } = vma
    if (attachment !== undefined && vma.start >= start + attachment.segment.size) break
    const whole = file instanceof ShmFile && vma.start - start === vma.offset
    if (whole && (attachment === undefined || attachment.segment === file.segment)) {
      attachment ??= file
      const status = unmapRange(mm, vma.start, vma.end)
      if (status < 0) return status
    }
    vma = next
  }
  return attachment === undefined ? -EINVAL : 0
}

export function shmctl(task: Task, id: number, command: number, at: GuestAddr): number {
  if (id < 0 || command < 0) return -EINVAL
  const { shm } = task.ns.ipc
  switch (command) {
    case IPC_INFO:
      return limits(task, at)
    case SHM_INFO:
      return info(task, at)
    case IPC_STAT:
    case SHM_STAT:
    case SHM_STAT_ANY:
      return stat(task, id, command, at)
    case IPC_SET: {
      const view = task.mm.view(at, SHMID_DS.size)
      if (view === undefined) return -EFAULT
      const segment = controlled(task, shm, id)
      return failed(segment) ? segment : setPerm(task, segment, view)
    }
    case IPC_RMID: {
      const segment = controlled(task, shm, id)
      if (failed(segment)) return segment
      shm.destroy(segment)
      return 0
    }
    case SHM_LOCK:
    case SHM_UNLOCK:
      return lock(task, id, command === SHM_LOCK)
    default:
      return -EINVAL
  }
}

/** The state is kept and shown; the host's memory is not pinned. */
function lock(task: Task, id: number, locked: boolean): number {
  const { shm } = task.ns.ipc
  const segment = shm.find(id)
  if (failed(segment)) return segment
  if (!task.cred.capable(CAP_IPC_LOCK, shm.userNs)) {
    const { euid } = task.cred
    if (euid !== segment.uid && euid !== segment.cuid) return -EPERM
    if (locked && task.group.rlimits.soft(RLIMIT_MEMLOCK) === 0) return -EPERM
  }
  segment.mode = locked ? segment.mode | SHM_LOCKED : segment.mode & ~SHM_LOCKED
  return 0
}

function stat(task: Task, id: number, command: number, at: GuestAddr): number {
  const segment = statObject(task, task.ns.ipc.shm, id, command !== IPC_STAT, command === SHM_STAT_ANY)
  if (failed(segment)) return segment
  const out = task.mm.out(SHMID_DS.size)
  putPerm(task, out, SHMID_DS.shm_perm, segment)
  put64(out, SHMID_DS.shm_segsz, segment.size)
  put64(out, SHMID_DS.shm_atime, segment.atime)
  put64(out, SHMID_DS.shm_dtime, segment.dtime)
  put64(out, SHMID_DS.shm_ctime, segment.ctime)
  out.setInt32(SHMID_DS.shm_cpid, pidField(task, segment.creator), true)
  out.setInt32(SHMID_DS.shm_lpid, pidField(task, segment.lastPid), true)
  put64(out, SHMID_DS.shm_nattch, segment.attached)
  const status = task.mm.commit(at)
  return status < 0 ? status : command === IPC_STAT ? 0 : segment.id
}

/** ULONG_MAX - (1 << 24) is more than a double can hold exactly. */
function putLimit(out: DataView, at: number, value: number): void {
  put64(out, at, value)
  if (value !== SHMMAX) return
  out.setUint32(at, 0xfeffffff, true)
  out.setUint32(at + 4, 0xffffffff, true)
}

function limits(task: Task, at: GuestAddr): number {
  const out = task.mm.out(SHMINFO.size)
  const { shmmax, shmall, shmmni } = task.ns.ipc.limits
  putLimit(out, SHMINFO.shmmax, shmmax)
  putLimit(out, SHMINFO.shmall, shmall)
  put64(out, SHMINFO.shmmin, SHMMIN)
  put64(out, SHMINFO.shmmni, shmmni)
  put64(out, SHMINFO.shmseg, SHMSEG)
  const status = task.mm.commit(at)
  return status < 0 ? status : Math.max(task.ns.ipc.shm.highest, 0)
}

function info(task: Task, at: GuestAddr): number {
  const { shm } = task.ns.ipc
  const out = task.mm.out(SHM_INFO_LAYOUT.size)
  let pages = 0
  let present = 0
  for (const segment of shm.objects()) {
    pages += pageCeil(segment.size) / PAGE_SIZE
    present += segment.memory.inode.blocks / (PAGE_SIZE / 512)
  }
  out.setInt32(SHM_INFO_LAYOUT.used_ids, shm.size, true)
  put64(out, SHM_INFO_LAYOUT.shm_tot, pages)
  put64(out, SHM_INFO_LAYOUT.shm_rss, present)
  const status = task.mm.commit(at)
  return status < 0 ? status : Math.max(shm.highest, 0)
}

const SHM_COMMANDS = {
  IPC_RMID,
  IPC_SET,
  IPC_STAT,
  IPC_INFO,
  SHM_LOCK,
  SHM_UNLOCK,
  SHM_STAT,
  SHM_INFO,
  SHM_STAT_ANY,
}

export const shmCalls = {
  shmget: {
    nr: NR.shmget,
    run: shmget,
    args: [hex, sizeArg, flagsArg({ IPC_CREAT, IPC_EXCL, SHM_HUGETLB, SHM_NORESERVE })],
    partial: 'SHM_HUGETLB: the pool of huge pages is empty',
  },
  shmat: {
    nr: NR.shmat,
    run: shmat,
    args: [int, addr, flagsArg({ SHM_RDONLY, SHM_RND, SHM_REMAP, SHM_EXEC })],
    returns: 'addr',
  },
  shmdt: { nr: NR.shmdt, run: shmdt, args: [addr] },
  shmctl: {
    nr: NR.shmctl,
    run: shmctl,
    args: [int, enumOf(SHM_COMMANDS), addr],
    partial: 'SHM_LOCK is kept and shown, the memory is not pinned',
  },
} satisfies SyscallRows
