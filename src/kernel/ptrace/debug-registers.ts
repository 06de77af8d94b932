/**
 * The debug registers of a traced thread, as its tracer sets them in struct user: DR0 to DR3 are addresses, DR6 tells what
 * was hit, DR7 what is watched. They go with the tracer, or with the program.
 *
 * The processor's own are out of reach, since only the host's kernel could set them in the stub's threads. So a thread that
 * watches something goes on by single steps: after each, the kernel looks whether the watched bytes have changed, or
 * whether the next instruction is one of those to stop at. A write of the value that is there already, or by a call, is
 * not seen, and an instruction is not stopped at when a call or a handler's start leads there. Reads can't be
 * seen: who wants to watch them hears ENOSPC, as where all registers are taken. Threads of a process that watch make their
 * steps by turns, so that each change is the doing of the one that stepped.
 */
import { EINVAL, EIO, ENOSPC } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import { readRemote } from '../../mm/remote-access.ts'
import { REG_RIP } from '../../platform/platform.ts'
import type { Task } from '../task.ts'

const ADDRESSES = 4
const STATUS = 6
const CONTROL = 7
/** Bits of DR6 that read as 1 (DR6_RESERVED). */
const STATUS_ONES = 0xffff0ff0
/** DR6: a single step. */
const STATUS_STEP = 0x4000
/** Bits of DR7 that are not kept (DR_CONTROL_RESERVED). */
const CONTROL_RESERVED = 0xfc00

// What DR7 says of an address.
const EXECUTE = 0
const WRITE = 1
const ACCESS = 3

/** Whose step it is, among the threads of a process that watch. */
export class StepTurns {
  holder: Task | undefined = undefined
  /** Who had the last one. */
  last: Task | undefined = undefined
  readonly #waiting: Task[] = []

  /** Whether the task may run guest code now; if not, it is put on the kernel's run queue when it may. */
  take(task: Task): boolean {
    const { holder } = this
    if (holder !== undefined && holder !== task && holder.ptrace?.debug?.watching) {
      if (!this.#waiting.includes(task)) this.#waiting.push(task)
      return false
    }
    this.holder = task
    return true
  }

  give(task: Task): void {
    if (this.holder !== task) return
    this.last = task
    this.holder = this.#waiting.shift()
    this.holder?.kernel.makeRunnable(this.holder)
  }
}

interface Watch {
  readonly n: number
  readonly execute: boolean
  readonly address: number
  readonly length: number
  /** The bytes as they were when guest code last began to run. */
  readonly before: Uint8Array
  readonly now: Uint8Array
}

export class DebugRegisters {
  readonly #values = new Float64Array(8)
  #watches: Watch[] = []
  /** `before` is what is there now. */
  #fresh = false

  /** Whether the thread has to go on by single steps. */
  get watching(): boolean {
    return this.#watches.length > 0
  }

  /** DR4 and DR5 are no registers of their own. */
  get(n: number): number {
    return n === STATUS ? (this.#values[n] ^ STATUS_ONES) >>> 0 : (this.#values[n] ?? 0)
  }

  set(task: Task, n: number, value: number): Status {
    if (n === 4 || n === 5) return -EIO
    if (n < ADDRESSES && value >= task.mm.context.addressLimit) return -EINVAL
    const old = this.#values[n]
    this.#values[n] =
      n === STATUS ? (value ^ STATUS_ONES) >>> 0 : n === CONTROL ? (value & ~CONTROL_RESERVED) >>> 0 : value
    if (n === STATUS) return 0
    const watches = this.#decode()
    if (typeof watches === 'number') {
      this.#values[n] = old
      return watches
    }
    this.#watches = watches
    this.#fresh = false
    return 0
  }

  /** What DR7 enables. */
  #decode(): Watch[] | number {
    const control = this.#values[CONTROL]
    const watches: Watch[] = []
    for (let n = 0; n < ADDRESSES; n++) {
      if (((control >>> (2 * n)) & 3) === 0) continue
      const kind = (control >>> (16 + 4 * n)) & 3
      // 1, 2, 8, 4 bytes.
      const length = [1, 2, 8, 4][(control >>> (18 + 4 * n)) & 3]
      const address = this.#values[n]
      if (kind === ACCESS) return -ENOSPC
      if ((kind !== EXECUTE && kind !== WRITE) || (kind === EXECUTE && length !== 1)) return -EINVAL
      if (address % length !== 0) return -EINVAL
      const execute = kind === EXECUTE
      watches.push({
        n,
        execute,
        address,
        length,
        before: new Uint8Array(length),
        now: new Uint8Array(length),
      })
    }
    return watches
  }

  /** Guest code is next: false if the task has to wait for its turn. */
  begin(task: Task): boolean {
    const { group } = task
    group.stepTurns ??= new StepTurns()
    const { last } = group.stepTurns
    if (!group.stepTurns.take(task)) return false
    if (this.#fresh && last === task) return true
    for (const watch of this.#watches) if (!watch.execute) readRemote(task.mm, watch.address, watch.before)
    this.#fresh = true
    return true
  }

  /** The thread has left guest code; `stepped`: by a step. */
  end(task: Task, stepped: boolean): void {
    if (!stepped) this.#fresh = false
    task.group.stepTurns?.give(task)
  }

  /** After a step: whether something was hit, which DR6 tells from now on. */
  hit(task: Task, stepping: boolean): boolean {
    let status = stepping ? STATUS_STEP : 0
    const ip = task.thread.regs.get(REG_RIP)
    for (const watch of this.#watches) {
      if (watch.execute ? watch.address === ip : changed(task, watch)) status |= 1 << watch.n
    }
    if (status !== 0) this.#values[STATUS] = status
    return (status & ~STATUS_STEP) !== 0
  }
}

function changed(task: Task, watch: Watch): boolean {
  const { before, now } = watch
  if (readRemote(task.mm, watch.address, now) !== watch.length) return false
  let different = false
  for (let i = 0; i < watch.length; i++) {
    if (now[i] === before[i]) continue
    different = true
    before[i] = now[i]
  }
  return different
}
