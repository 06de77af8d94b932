/** futex(2), futex_waitv(2): the arguments. Queues and locks are in kernel/futex.ts. */
import {
  CLOCK_MONOTONIC,
  CLOCK_REALTIME,
  FUTEX_BITSET_MATCH_ANY,
  FUTEX_CLOCK_REALTIME,
  FUTEX_CMD_MASK,
  FUTEX_CMP_REQUEUE,
  FUTEX_CMP_REQUEUE_PI,
  FUTEX_LOCK_PI,
  FUTEX_LOCK_PI2,
  FUTEX_OP_ADD,
  FUTEX_OP_ANDN,
  FUTEX_OP_CMP_EQ,
  FUTEX_OP_CMP_GE,
  FUTEX_OP_CMP_GT,
  FUTEX_OP_CMP_LE,
  FUTEX_OP_CMP_LT,
  FUTEX_OP_CMP_NE,
  FUTEX_OP_OR,
  FUTEX_OP_SET,
  FUTEX_OP_XOR,
  FUTEX_PRIVATE_FLAG,
  FUTEX_REQUEUE,
  FUTEX_TRYLOCK_PI,
  FUTEX_UNLOCK_PI,
  FUTEX_WAIT,
  FUTEX_WAIT_BITSET,
  FUTEX_WAIT_REQUEUE_PI,
  FUTEX_WAITV_MAX,
  FUTEX_WAKE,
  FUTEX_WAKE_BITSET,
  FUTEX_WAKE_OP,
  FUTEX2_PRIVATE,
  FUTEX2_SIZE_MASK,
  FUTEX2_SIZE_U32,
} from '../abi/constants.ts'
import {
  EAGAIN,
  EFAULT,
  EINVAL,
  ENOSYS,
  ERESTART_RESTARTBLOCK,
  ERESTARTNOINTR,
  ERESTARTSYS,
  ETIMEDOUT,
} from '../abi/errno.ts'
import { FUTEX_WAITV, TIMESPEC } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { NSEC_PER_SEC, Timespec } from '../base/clock.ts'
import { take64 } from '../base/words.ts'
import { setNs } from '../kernel/clocks.ts'
import { FutexWaiter, NativeWait } from '../kernel/futex.ts'
import { NATIVE_WAIT, type Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { VM_READ } from '../mm/vma.ts'
import { addr, hex, int, type SyscallRows, size, structIn, uint } from './args.ts'
import { deadlineOf, readTime } from './timespec.ts'

/** What a wait keeps between tries. */
interface FutexProgress {
  /** Monotonic ns, Infinity if none. */
  readonly deadline: number
  readonly waiters: FutexWaiter[]
}

export function futex(
  task: Task,
  address: GuestAddr,
  op: number,
  value: number,
  timeoutOrCount: number,
  address2: GuestAddr,
  value3: number,
): number {
  const command = op & FUTEX_CMD_MASK
  const realtime = (op & FUTEX_CLOCK_REALTIME) !== 0
  if (
    realtime &&
    command !== FUTEX_WAIT_BITSET &&
    command !== FUTEX_WAIT_REQUEUE_PI &&
    command !== FUTEX_LOCK_PI2
  ) {
    return -ENOSYS
  }
  if (address % 4 !== 0) return -EINVAL
  if (!task.mm.accessOk(address, 4)) return -EFAULT
  const shared = (op & FUTEX_PRIVATE_FLAG) === 0
  const { futexes } = task.kernel
  // The counts travel in the timeout's register.
  const count2 = timeoutOrCount | 0
  futexes.allowNative(task)
  const key = () => futexes.key(task.mm, address, shared)
  const key2 = () => futexes.key(task.mm, address2, shared)
  switch (command) {
    case FUTEX_WAIT:
      return wait(task, address, shared, value, timeoutOrCount, 'relative', FUTEX_BITSET_MATCH_ANY)
    case FUTEX_WAIT_BITSET:
      return wait(task, address, shared, value, timeoutOrCount, realtime ? 'realtime' : 'monotonic', value3)
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET: {
      const bitset = command === FUTEX_WAKE ? FUTEX_BITSET_MATCH_ANY : value3
      if (bitset === 0) return -EINVAL
      // What is behind a shared futex is found by its page, so there must be one.
      if (shared && task.mm.accessible(address, 4, VM_READ) < 4) return -EFAULT
      if (futexes.native) return atHost(task, address, op, value, 0, 0, value3)
      return futexes.wake(key(), Math.max(value | 0, 1), bitset)
    }
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE: {
      if ((value | 0) < 0 || count2 < 0) return -EINVAL
      if (address2 % 4 !== 0) return -EINVAL
      if (!task.mm.accessOk(address2, 4)) return -EFAULT
      if (futexes.native) return atHost(task, address, op, value, count2, address2, value3)
      if (command === FUTEX_CMP_REQUEUE) {
        const current = task.mm.u32(address)
        if (current === undefined) return -EFAULT
        if (current !== value3) return -EAGAIN
      }
      return futexes.requeue(key(), key2(), value | 0, count2)
    }
    case FUTEX_WAKE_OP:
      if (address2 % 4 !== 0) return -EINVAL
      if (!task.mm.accessOk(address2, 4)) return -EFAULT
      if (futexes.native) return atHost(task, address, op, value, count2, address2, value3)
      return wakeOp(task, address, address2, shared, value | 0, count2, value3)
    case FUTEX_LOCK_PI:
      return lockPi(task, address, shared, timeoutOrCount, 'realtime')
    case FUTEX_LOCK_PI2:
      return lockPi(task, address, shared, timeoutOrCount, realtime ? 'realtime' : 'monotonic')
    case FUTEX_TRYLOCK_PI:
      return futexes.lockPi(task, address, key(), false)
    case FUTEX_UNLOCK_PI:
      return futexes.unlockPi(task, address, key())
    case FUTEX_WAIT_REQUEUE_PI:
      return waitRequeuePi(task, address, address2, shared, value, timeoutOrCount, realtime)
    case FUTEX_CMP_REQUEUE_PI: {
      if (value !== 1 || count2 < 0 || address === address2 || address2 % 4 !== 0) return -EINVAL
      const current = task.mm.u32(address)
      if (current === undefined) return -EFAULT
      return current !== value3 ? -EAGAIN : futexes.requeuePi(task, key(), key2(), address2, count2)
    }
  }
  return -ENOSYS
}

/** What does not wait, by the stopped thread itself. */
function atHost(
  task: Task,
  address: GuestAddr,
  op: number,
  value: number,
  count: number,
  address2: GuestAddr,
  value3: number,
): number {
  return task.thread.hostCall(NR.futex, address, op & ~FUTEX_CLOCK_REALTIME, value, count, address2, value3)
}

type TimeoutKind = 'relative' | 'monotonic' | 'realtime'

/** The progress of a wait; at the first try the timeout is read. A number is an errno. */
function begin(task: Task, timeoutAt: GuestAddr, kind: TimeoutKind): FutexProgress | number {
  if (task.progress !== undefined) return task.progress as FutexProgress
  let deadline = Number.POSITIVE_INFINITY
  if (timeoutAt !== 0) {
    const timeout = readTime(task, timeoutAt)
    if (typeof timeout === 'number') return timeout
    const clock = kind === 'realtime' ? CLOCK_REALTIME : CLOCK_MONOTONIC
    deadline = deadlineOf(task, timeout, clock, kind !== 'relative')
  }
  const progress: FutexProgress = { deadline, waiters: [] }
  task.progress = progress
  return progress
}

function wait(
  task: Task,
  address: GuestAddr,
  shared: boolean,
  expected: number,
  timeoutAt: GuestAddr,
  kind: TimeoutKind,
  bitset: number,
): number {
  if (bitset === 0) return -EINVAL
  if (task.kernel.futexes.native) return waitAtHost(task, address, shared, expected, timeoutAt, kind, bitset)
  const progress = begin(task, timeoutAt, kind)
  if (typeof progress === 'number') return progress
  if (progress.waiters[0]?.woken) return 0
  const current = task.mm.u32(address)
  if (current === undefined) return -EFAULT
  const expired = task.kernel.now() >= progress.deadline
  if (current !== expected) return progress.waiters.length > 0 && expired ? -ETIMEDOUT : -EAGAIN
  if (expired) return -ETIMEDOUT
  const waiter = new FutexWaiter(task, bitset)
  progress.waiters[0] = waiter
  const { futexes } = task.kernel
  futexes.enqueue(waiter, futexes.key(task.mm, address, shared))
  return sleep(task, waiter, progress.deadline)
}

/** Has the thread wait in the host's kernel. */
function waitAtHost(
  task: Task,
  address: GuestAddr,
  shared: boolean,
  expected: number,
  timeoutAt: GuestAddr,
  kind: TimeoutKind,
  bitset: number,
): number {
  const before = task.progress
  const deadline = before instanceof NativeWait ? before.deadline : hostDeadline(task, timeoutAt, kind)
  if (typeof deadline === 'number') return deadline
  let op = shared ? FUTEX_WAIT_BITSET : FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG
  if (deadline !== undefined && kind === 'realtime') op |= FUTEX_CLOCK_REALTIME
  task.nativeCall = { nr: NR.futex, args: [address, op, expected, 0, 0, bitset >>> 0], deadline }
  task.interruptedResult = deadline === undefined ? -ERESTARTSYS : -ERESTART_RESTARTBLOCK
  if (deadline !== undefined) task.progress = before ?? new NativeWait(deadline)
  return NATIVE_WAIT
}

/** A timeout as a point of the host's clock; undefined for none. */
function hostDeadline(task: Task, at: GuestAddr, kind: TimeoutKind): Timespec | number | undefined {
  if (at === 0) return undefined
  const time = readTime(task, at)
  if (typeof time === 'number' || kind === 'realtime') return time
  const base = kind === 'relative' ? task.kernel.now() : -task.ns.time.monotonicOffset
  const deadline = new Timespec()
  setNs(deadline, Math.max(base, -time.sec * NSEC_PER_SEC) + time.nsec)
  deadline.sec += time.sec
  return deadline
}

function sleep(task: Task, waiter: FutexWaiter, deadline: number): number {
  if (deadline === Number.POSITIVE_INFINITY) return task.blockOn(waiter, -ERESTARTSYS)
  task.blockOn(waiter, -ERESTART_RESTARTBLOCK)
  return task.blockUntil(deadline)
}

function lockPi(
  task: Task,
  address: GuestAddr,
  shared: boolean,
  timeoutAt: GuestAddr,
  kind: TimeoutKind,
): number {
  const progress = begin(task, timeoutAt, kind)
  if (typeof progress === 'number') return progress
  return acquire(task, address, shared, progress)
}

/** Gets a PI lock for the caller, who may have to wait for it. */
function acquire(task: Task, address: GuestAddr, shared: boolean, progress: FutexProgress): number {
  if (progress.waiters[0]?.woken) return 0
  const { futexes } = task.kernel
  const key = futexes.key(task.mm, address, shared)
  const status = futexes.lockPi(task, address, key, true)
  if (status !== -EAGAIN) return status
  if (task.kernel.now() >= progress.deadline) return -ETIMEDOUT
  const waiter = new FutexWaiter(task, FUTEX_BITSET_MATCH_ANY)
  waiter.targetAddress = address
  progress.waiters[0] = waiter
  futexes.enqueue(waiter, key)
  task.blockOn(waiter, -ERESTARTNOINTR)
  return task.blockUntil(progress.deadline)
}

function waitRequeuePi(
  task: Task,
  address: GuestAddr,
  address2: GuestAddr,
  shared: boolean,
  expected: number,
  timeoutAt: GuestAddr,
  realtime: boolean,
): number {
  if (address === address2 || address2 % 4 !== 0) return -EINVAL
  const progress = begin(task, timeoutAt, realtime ? 'realtime' : 'monotonic')
  if (typeof progress === 'number') return progress
  const before = progress.waiters[0]
  if (before?.woken) return 0
  if (before !== undefined && task.kernel.now() >= progress.deadline) return -ETIMEDOUT
  if (before?.moved) {
    // A wait for the first word starts anew after a signal; this one would find that word changed.
    return task.signalPending() ? -EAGAIN : acquire(task, address2, shared, progress)
  }
  const current = task.mm.u32(address)
  if (current === undefined) return -EFAULT
  if (current !== expected) return -EAGAIN
  const { futexes } = task.kernel
  const waiter = new FutexWaiter(task, FUTEX_BITSET_MATCH_ANY)
  waiter.target = futexes.key(task.mm, address2, shared)
  waiter.targetAddress = address2
  progress.waiters[0] = waiter
  futexes.enqueue(waiter, futexes.key(task.mm, address, shared))
  task.blockOn(waiter, -ERESTARTNOINTR)
  return task.blockUntil(progress.deadline)
}

/** FUTEX_WAKE_OP: changes the second word, wakes at the first, and at the second if its old value compares. */
function wakeOp(
  task: Task,
  address: GuestAddr,
  address2: GuestAddr,
  shared: boolean,
  count: number,
  count2: number,
  encoded: number,
): number {
  if (address2 % 4 !== 0) return -EINVAL
  const { futexes } = task.kernel
  const operation = (encoded >>> 28) & 7
  const comparison = (encoded >>> 24) & 15
  const compareTo = (encoded << 20) >> 20
  let operand = (encoded << 8) >> 20
  // FUTEX_OP_OPARG_SHIFT: the operand is a bit number.
  if (encoded >>> 31 === 1) operand = 1 << (operand & 31)
  let old: number
  for (;;) {
    const seen = task.mm.u32(address2)
    if (seen === undefined) return -EFAULT
    old = seen
    const result = applyOp(operation, old, operand)
    if (result === undefined) return -ENOSYS
    const before = futexes.compareExchange(task.mm, address2, old, result >>> 0)
    if (before < 0) return before
    if (before === old) break
  }
  const matches = compareOp(comparison, old | 0, compareTo)
  if (matches === undefined) return -ENOSYS
  const woken = futexes.wake(futexes.key(task.mm, address, shared), Math.max(count, 1))
  return matches ? woken + futexes.wake(futexes.key(task.mm, address2, shared), Math.max(count2, 1)) : woken
}

function applyOp(operation: number, old: number, operand: number): number | undefined {
  switch (operation) {
    case FUTEX_OP_SET:
      return operand
    case FUTEX_OP_ADD:
      return (old + operand) | 0
    case FUTEX_OP_OR:
      return old | operand
    case FUTEX_OP_ANDN:
      return old & ~operand
    case FUTEX_OP_XOR:
      return old ^ operand
  }
  return undefined
}

function compareOp(comparison: number, old: number, to: number): boolean | undefined {
  switch (comparison) {
    case FUTEX_OP_CMP_EQ:
      return old === to
    case FUTEX_OP_CMP_NE:
      return old !== to
    case FUTEX_OP_CMP_LT:
      return old < to
    case FUTEX_OP_CMP_LE:
      return old <= to
    case FUTEX_OP_CMP_GT:
      return old > to
    case FUTEX_OP_CMP_GE:
      return old >= to
  }
  return undefined
}

interface WaitvEntry {
  readonly address: GuestAddr
  readonly expected: number
  readonly shared: boolean
}

/** Waits at several futexes: the index of one that was woken. */
export function futex_waitv(
  task: Task,
  list: GuestAddr,
  count: number,
  flags: number,
  timeoutAt: GuestAddr,
  clockId: number,
): number {
  if (flags !== 0 || count === 0 || count > FUTEX_WAITV_MAX || list === 0) return -EINVAL
  if (timeoutAt !== 0 && clockId !== CLOCK_MONOTONIC && clockId !== CLOCK_REALTIME) return -EINVAL
  const kind = clockId === CLOCK_REALTIME ? 'realtime' : 'monotonic'
  if (task.kernel.futexes.native) {
    const deadline = hostDeadline(task, timeoutAt, kind)
    if (typeof deadline === 'number') return deadline
    task.nativeCall = { nr: NR.futex_waitv, args: [list, count, flags, 0, clockId], deadline }
    return NATIVE_WAIT
  }
  const progress = begin(task, timeoutAt, kind)
  if (typeof progress === 'number') return progress
  const woken = progress.waiters.findIndex(waiter => waiter.woken)
  if (woken >= 0) return woken
  const entries = readWaitv(task, list, count)
  if (typeof entries === 'number') return entries
  for (const { address, expected } of entries) {
    const current = task.mm.u32(address)
    if (current === undefined) return -EFAULT
    if (current !== expected) return -EAGAIN
  }
  if (task.kernel.now() >= progress.deadline) return -ETIMEDOUT
  const { futexes } = task.kernel
  progress.waiters.length = 0
  for (const { address, shared } of entries) {
    const waiter = new FutexWaiter(task, FUTEX_BITSET_MATCH_ANY)
    progress.waiters.push(waiter)
    futexes.enqueue(waiter, futexes.key(task.mm, address, shared))
    task.blockOn(waiter, -ERESTARTSYS)
  }
  return task.blockUntil(progress.deadline)
}

function readWaitv(task: Task, list: GuestAddr, count: number): WaitvEntry[] | number {
  const bytes = new Uint8Array(count * FUTEX_WAITV.size)
  if (task.mm.copyIn(list, bytes) < 0) return -EFAULT
  const view = new DataView(bytes.buffer)
  const entries: WaitvEntry[] = []
  for (let at = 0; at < bytes.length; at += FUTEX_WAITV.size) {
    const flags = view.getUint32(at + FUTEX_WAITV.flags, true)
    const reserved = view.getUint32(at + FUTEX_WAITV.flags + 4, true)
    if ((flags & ~(FUTEX2_SIZE_MASK | FUTEX2_PRIVATE)) !== 0 || reserved !== 0) return -EINVAL
    if ((flags & FUTEX2_SIZE_MASK) !== FUTEX2_SIZE_U32) return -EINVAL
    const address = take64(view, at + FUTEX_WAITV.uaddr)
    if (address % 4 !== 0) return -EINVAL
    entries.push({
      address,
      expected: view.getUint32(at + FUTEX_WAITV.val, true),
      shared: (flags & FUTEX2_PRIVATE) === 0,
    })
  }
  return entries
}

/** The flags of futex_wake(2) and its sisters: whether the futex is shared, or -EINVAL. */
function sharedByFlags(flags: number): boolean | number {
  if ((flags & ~(FUTEX2_SIZE_MASK | FUTEX2_PRIVATE)) !== 0) return -EINVAL
  if ((flags & FUTEX2_SIZE_MASK) !== FUTEX2_SIZE_U32) return -EINVAL
  return (flags & FUTEX2_PRIVATE) === 0
}

export function futex_wake(
  task: Task,
  address: GuestAddr,
  mask: number,
  count: number,
  flags: number,
): number {
  const shared = sharedByFlags(flags)
  if (typeof shared === 'number') return shared
  // A mask has the size of the futex.
  if (mask >= 2 ** 32 || mask === 0 || address % 4 !== 0) return -EINVAL
  if (!task.mm.accessOk(address, 4)) return -EFAULT
  if (shared && task.mm.accessible(address, 4, VM_READ) < 4) return -EFAULT
  if (count === 0) return 0
  const { futexes } = task.kernel
  if (futexes.native) {
    const op = shared ? FUTEX_WAKE_BITSET : FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG
    return atHost(task, address, op, count, 0, 0, mask)
  }
  return futexes.wake(futexes.key(task.mm, address, shared), count, mask | 0)
}

export function futex_wait(
  task: Task,
  address: GuestAddr,
  expected: number,
  mask: number,
  flags: number,
  timeoutAt: GuestAddr,
  clockId: number,
): number {
  const shared = sharedByFlags(flags)
  if (typeof shared === 'number') return shared
  if (expected >= 2 ** 32 || mask >= 2 ** 32) return -EINVAL
  if (timeoutAt !== 0 && clockId !== CLOCK_MONOTONIC && clockId !== CLOCK_REALTIME) return -EINVAL
  if (address % 4 !== 0) return -EINVAL
  if (!task.mm.accessOk(address, 4)) return -EFAULT
  const kind = clockId === CLOCK_REALTIME ? 'realtime' : 'monotonic'
  return wait(task, address, shared, expected, timeoutAt, kind, mask | 0)
}

/** Two struct futex_waitv: from where, if the word is as said, and to where. */
export function futex_requeue(
  task: Task,
  list: GuestAddr,
  flags: number,
  wakeCount: number,
  moveCount: number,
): number {
  if (flags !== 0 || list === 0) return -EINVAL
  const entries = readWaitv(task, list, 2)
  if (typeof entries === 'number') return entries
  if (wakeCount < 0 || moveCount < 0) return -EINVAL
  const [from, to] = entries
  if (!task.mm.accessOk(from.address, 4) || !task.mm.accessOk(to.address, 4)) return -EFAULT
  const { futexes } = task.kernel
  if (futexes.native) {
    // The old call has one flag for both.
    if (from.shared !== to.shared) return -EINVAL
    const op = from.shared ? FUTEX_CMP_REQUEUE : FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG
    return atHost(task, from.address, op, wakeCount, moveCount, to.address, from.expected)
  }
  const current = task.mm.u32(from.address)
  if (current === undefined) return -EFAULT
  if (current !== from.expected) return -EAGAIN
  return futexes.requeue(
    futexes.key(task.mm, from.address, from.shared),
    futexes.key(task.mm, to.address, to.shared),
    wakeCount,
    moveCount,
  )
}

export const futexCalls = {
  futex: { nr: NR.futex, run: futex, args: [addr, hex, uint, addr, addr, uint] },
  futex_wake: { nr: NR.futex_wake, run: futex_wake, args: [addr, size, int, hex] },
  futex_wait: { nr: NR.futex_wait, run: futex_wait, args: [addr, size, size, hex, structIn(TIMESPEC), int] },
  futex_requeue: { nr: NR.futex_requeue, run: futex_requeue, args: [addr, hex, int, int] },
  futex_waitv: { nr: NR.futex_waitv, run: futex_waitv, args: [addr, uint, hex, structIn(TIMESPEC), uint] },
} satisfies SyscallRows
