/** System V semaphores: semget(2), semop(2), semctl(2). What they do is in kernel/ipc/sem.ts. */
import {
  GETALL,
  GETNCNT,
  GETPID,
  GETVAL,
  GETZCNT,
  IPC_CREAT,
  IPC_EXCL,
  IPC_INFO,
  IPC_NOWAIT,
  IPC_RMID,
  IPC_SET,
  IPC_STAT,
  SEM_INFO,
  SEM_STAT,
  SEM_STAT_ANY,
  SEMAEM,
  SEMMNS,
  SEMMNU,
  SEMUME,
  SEMUSZ,
  SEMVMX,
  SETALL,
  SETVAL,
} from '../abi/constants.ts'
import { E2BIG, EAGAIN, EFAULT, EINTR, EINVAL, ERANGE } from '../abi/errno.ts'
import { SEMBUF, SEMID_DS, SEMINFO } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { failed } from '../base/result.ts'
import { put64 } from '../base/words.ts'
import { IPC_READ, IPC_WRITE } from '../kernel/ipc/ids.ts'
import { checkNumbers, type SemOp, SemSet, SemWait } from '../kernel/ipc/sem.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { addr, enumOf, flags as flagsArg, hex, int, type SyscallRows, size, word } from './args.ts'
import { controlled, nowSeconds, pidField, putPerm, setPerm, statObject } from './ipc.ts'
import { readTimespec } from './time-args.ts'

export function semget(task: Task, key: number, count: number, flags: number): number {
  const { sem } = task.ns.ipc
  if (count < 0 || count > task.ns.ipc.limits.semmsl) return -EINVAL
  return sem.get(
    key | 0,
    flags,
    task.cred,
    found => (count > found.values.length ? -EINVAL : 0),
    () => {
      if (count === 0) return -EINVAL
      const status = sem.charge(count)
      return status < 0 ? status : new SemSet(key | 0, flags, task.cred, nowSeconds(task), count)
    },
  )
}

export function semop(task: Task, id: number, opsAt: GuestAddr, count: number): number {
  return semtimedop(task, id, opsAt, count, 0)
}

/** Never restarted after a signal. */
export function semtimedop(
  task: Task,
  id: number,
  opsAt: GuestAddr,
  count: number,
  timeoutAt: GuestAddr,
): number {
  const wait = task.progress instanceof SemWait ? task.progress : startWait(task, id, opsAt, count, timeoutAt)
  if (typeof wait === 'number') return wait
  if (wait.status !== undefined) return wait.status
  const { set } = wait
  // Tried again without a result: woken by a signal that is gone, or by the deadline.
  const status = set.attempt(wait)
  if (status === 0) {
    set.otime = nowSeconds(task)
    if (wait.alters) set.update(set.otime)
    return 0
  }
  if (status < 0) return status
  if (task.kernel.now() >= wait.deadline) return -EAGAIN
  task.progress = wait
  set.pending.push(wait)
  if (wait.deadline !== Number.POSITIVE_INFINITY) task.blockUntil(wait.deadline)
  return task.blockOn(wait, -EINTR)
}

function startWait(
  task: Task,
  id: number,
  opsAt: GuestAddr,
  count: number,
  timeoutAt: GuestAddr,
): SemWait | number {
  const { sem } = task.ns.ipc
  let deadline = Number.POSITIVE_INFINITY
  let badTimeout = false
  if (timeoutAt !== 0) {
    const timeout = readTimespec(task, timeoutAt)
    if (timeout === -EFAULT) return -EFAULT
    badTimeout = timeout < 0
    deadline = task.kernel.now() + timeout
  }
  if (count > task.ns.ipc.limits.semopm) return -E2BIG
  const ops = readOps(task, opsAt, count)
  if (ops === undefined) return -EFAULT
  if (count < 1 || id < 0 || badTimeout) return -EINVAL
  const set = sem.find(id)
  if (failed(set)) return set
  const inRange = checkNumbers(set, ops)
  if (inRange < 0) return inRange
  const asked = ops.some(each => each.op !== 0) ? IPC_WRITE : IPC_READ
  const status = sem.permission(set, asked, task.cred)
  return status < 0 ? status : new SemWait(task, set, ops, deadline)
}

function readOps(task: Task, at: GuestAddr, count: number): SemOp[] | undefined {
  if (count === 0) return []
  const view = task.mm.view(at, count * SEMBUF.size)
  if (view === undefined) return undefined
  return Array.from({ length: count }, (_, i) => ({
    num: view.getUint16(i * SEMBUF.size + SEMBUF.sem_num, true),
    op: view.getInt16(i * SEMBUF.size + SEMBUF.sem_op, true),
    flags: view.getInt16(i * SEMBUF.size + SEMBUF.sem_flg, true),
  }))
}

/** `argument`: union semun, a value or an address by command. */
export function semctl(task: Task, id: number, num: number, command: number, argument: number): number {
  if (id < 0) return -EINVAL
  switch (command) {
    case IPC_INFO:
    case SEM_INFO:
      return info(task, command === SEM_INFO, argument)
    case IPC_STAT:
    case SEM_STAT:
    case SEM_STAT_ANY:
      return stat(task, id, command, argument)
    case GETALL:
    case GETVAL:
    case GETPID:
    case GETNCNT:
    case GETZCNT:
      return getValues(task, id, num, command, argument)
    case SETALL:
      return setAll(task, id, argument)
    case SETVAL:
      return setValue(task, id, num, argument | 0)
    case IPC_SET:
      return set(task, id, argument)
    case IPC_RMID: {
      const found = controlled(task, task.ns.ipc.sem, id)
      if (failed(found)) return found
      task.ns.ipc.sem.remove(found)
      return 0
    }
    default:
      return -EINVAL
  }
}

function getValues(task: Task, id: number, num: number, command: number, at: GuestAddr): number {
  const { sem } = task.ns.ipc
  const found = sem.find(id)
  if (failed(found)) return found
  const status = sem.permission(found, IPC_READ, task.cred)
  if (status < 0) return status
  if (command === GETALL) {
    const bytes = new Uint8Array(Uint16Array.from(found.values).buffer)
    return task.mm.copyOut(at, bytes)
  }
  if (num < 0 || num >= found.values.length) return -EINVAL
  if (command === GETVAL) return found.values[num]
  if (command === GETPID) return pidField(task, found.pids[num])
  return found.waiting(num, command === GETZCNT)
}

function setAll(task: Task, id: number, at: GuestAddr): number {
  const { sem } = task.ns.ipc
  const found = sem.find(id)
  if (failed(found)) return found
  const status = sem.permission(found, IPC_WRITE, task.cred)
  if (status < 0) return status
  const values = new Uint16Array(found.values.length)
  if (task.mm.copyIn(at, new Uint8Array(values.buffer)) < 0) return -EFAULT
  if (values.some(value => value > SEMVMX)) return -ERANGE
  for (let num = 0; num < values.length; num++) assign(task, found, num, values[num])
  return changed(task, found)
}

function setValue(task: Task, id: number, num: number, value: number): number {
  if (value < 0 || value > SEMVMX) return -ERANGE
  const { sem } = task.ns.ipc
  const found = sem.find(id)
  if (failed(found)) return found
  if (num < 0 || num >= found.values.length) return -EINVAL
  const status = sem.permission(found, IPC_WRITE, task.cred)
  if (status < 0) return status
  assign(task, found, num, value)
  return changed(task, found)
}

function assign(task: Task, set: SemSet, num: number, value: number): void {
  set.values[num] = value
  set.pids[num] = task.group.pid
  set.forgetUndo(num)
}

function changed(task: Task, set: SemSet): number {
  set.ctime = nowSeconds(task)
  set.update(set.ctime)
  return 0
}

function stat(task: Task, id: number, command: number, at: GuestAddr): number {
  const found = statObject(task, task.ns.ipc.sem, id, command !== IPC_STAT, command === SEM_STAT_ANY)
  if (failed(found)) return found
  const out = task.mm.out(SEMID_DS.size)
  putPerm(task, out, SEMID_DS.sem_perm, found)
  put64(out, SEMID_DS.sem_otime, found.otime)
  put64(out, SEMID_DS.sem_ctime, found.ctime)
  put64(out, SEMID_DS.sem_nsems, found.values.length)
  const status = task.mm.commit(at)
  return status < 0 ? status : command === IPC_STAT ? 0 : found.id
}

function set(task: Task, id: number, at: GuestAddr): number {
  const view = task.mm.view(at, SEMID_DS.size)
  if (view === undefined) return -EFAULT
  const found = controlled(task, task.ns.ipc.sem, id)
  return failed(found) ? found : setPerm(task, found, view)
}

/** SEM_INFO: what is in use, in two fields of the limits. */
function info(task: Task, inUse: boolean, at: GuestAddr): number {
  const { sem, limits } = task.ns.ipc
  const out = task.mm.out(SEMINFO.size)
  out.setInt32(SEMINFO.semmap, SEMMNS, true)
  out.setInt32(SEMINFO.semmni, limits.semmni, true)
  out.setInt32(SEMINFO.semmns, limits.semmns, true)
  out.setInt32(SEMINFO.semmnu, SEMMNU, true)
  out.setInt32(SEMINFO.semmsl, limits.semmsl, true)
  out.setInt32(SEMINFO.semopm, limits.semopm, true)
  out.setInt32(SEMINFO.semume, SEMUME, true)
  out.setInt32(SEMINFO.semvmx, SEMVMX, true)
  out.setInt32(SEMINFO.semusz, inUse ? sem.size : SEMUSZ, true)
  out.setInt32(SEMINFO.semaem, inUse ? sem.semaphores : SEMAEM, true)
  const status = task.mm.commit(at)
  return status < 0 ? status : Math.max(sem.highest, 0)
}

const SEM_COMMANDS = {
  IPC_RMID,
  IPC_SET,
  IPC_STAT,
  IPC_INFO,
  SEM_STAT,
  SEM_INFO,
  SEM_STAT_ANY,
  GETPID,
  GETVAL,
  GETALL,
  GETNCNT,
  GETZCNT,
  SETVAL,
  SETALL,
}

export const semCalls = {
  semget: { nr: NR.semget, run: semget, args: [hex, int, flagsArg({ IPC_CREAT, IPC_EXCL, IPC_NOWAIT })] },
  semop: { nr: NR.semop, run: semop, args: [int, addr, size] },
  semtimedop: { nr: NR.semtimedop, run: semtimedop, args: [int, addr, size, addr] },
  semctl: { nr: NR.semctl, run: semctl, args: [int, int, enumOf(SEM_COMMANDS), word] },
} satisfies SyscallRows
