/**
 * --strace: prints each system call as strace(1) does, from its row in the table.
 *
 * A call is held back after `enter` until `exit` completes its line. When something comes between (another task's call,
 * or the call blocks), what is known of it is printed as unfinished, and `exit` prints the rest as resumed. What
 * points into guest memory is read as it is then: nothing here can fail a call.
 */
import {
  ERESTART_RESTARTBLOCK,
  ERESTARTNOHAND,
  ERESTARTNOINTR,
  ERESTARTSYS,
  errnoName,
} from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { Trace } from '../kernel/kernel.ts'
import type { SigInfo } from '../kernel/signal-info.ts'
import { NO_RESULT, type Task } from '../kernel/task.ts'
import { REG_R8, REG_R9, REG_R10, REG_RDI, REG_RDX, REG_RSI } from '../platform/platform.ts'
import type { SyscallRow, SyscallRows } from '../syscalls/args.ts'
import { formatArgument, signalName } from './trace-format.ts'

interface Pending {
  readonly task: Task
  readonly name: string
  readonly row: SyscallRow | undefined
  /** 'openat(AT_FDCWD, ', up to the first argument that the call fills. */
  readonly head: string
  /** How many arguments `head` has. */
  readonly shown: number
}

/** Where the results start, as in strace. */
const RESULT_COLUMN = 40

export class Strace implements Trace {
  readonly #print: (line: string) => void
  readonly #rows = new Map<number, { name: string; row: SyscallRow }>()
  /** The call whose line is open. */
  #open: Pending | undefined = undefined
  /** Calls that were printed as unfinished. */
  readonly #unfinished = new WeakMap<Task, Pending>()

  constructor(rows: SyscallRows, print: (line: string) => void) {
    this.#print = print
    for (const [name, row] of Object.entries(rows)) this.#rows.set(row.nr, { name, row })
  }

  enter(task: Task): void {
    this.#interrupt()
    const known = this.#rows.get(task.callNumber)
    const name = known?.name ?? unknownName(task.callNumber)
    const kinds = known?.row.args ?? []
    let shown = 0
    let head = `${prefix(task)}${name}(${known === undefined ? rawArguments(task) : ''}`
    while (shown < kinds.length && kinds[shown].direction !== 'out') {
      head += `${formatArgument(task, kinds, shown, 0)}${shown + 1 < kinds.length ? ', ' : ''}`
      shown++
    }
    if (name === 'exit' || name === 'exit_group') {
      this.#print(`${`${head})`.padEnd(RESULT_COLUMN)} = ?`)
      return
    }
    this.#open = { task, name, row: known?.row, head, shown }
  }

  blocked(task: Task): void {
    if (this.#open?.task === task) this.#interrupt()
  }

  exit(task: Task, result: number): void {
    let pending = this.#open
    let line: string
    if (pending?.task === task) {
      this.#open = undefined
      line = pending.head
    } else {
      this.#interrupt()
      pending = this.#unfinished.get(task)
      // The trace was switched on in the middle of the call.
      if (pending === undefined) return
      this.#unfinished.delete(task)
      line = `${prefix(task)}<... ${pending.name} resumed>`
    }
    const kinds = pending.row?.args ?? []
    for (let i = pending.shown; i < kinds.length; i++) {
      line += `${formatArgument(task, kinds, i, result)}${i + 1 < kinds.length ? ', ' : ''}`
    }
    this.#print(`${`${line})`.padEnd(RESULT_COLUMN)} = ${formatResult(result, pending.row)}`)
  }

  signal(task: Task, info: SigInfo): void {
    this.#note(
      task,
      `--- ${signalName(info.signo)} {si_code=${info.code}, si_pid=${info.pid}, si_addr=0x${info.addr.toString(16)}} ---`,
    )
  }

  ended(task: Task, status: number): void {
    const signo = status & 0x7f
    this.#note(
      task,
      signo === 0 ? `+++ exited with ${status >> 8} +++` : `+++ killed by ${signalName(signo)} +++`,
    )
  }

  /** A line of its own between calls: signals, exits. */
  #note(task: Task, text: string): void {
    this.#interrupt()
    this.#unfinished.delete(task)
    this.#print(`${prefix(task)}${text}`)
  }

  #interrupt(): void {
    const open = this.#open
    if (open === undefined) return
    this.#open = undefined
    this.#unfinished.set(open.task, open)
    this.#print(`${open.head} <unfinished ...>`)
  }
}

function prefix(task: Task): string {
  return `[pid ${String(task.tid).padStart(5)}] `
}

/** Of a call that has no row: the registers. */
function rawArguments(task: Task): string {
  const { regs } = task.thread
  return [REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9]
    .map(reg => `0x${regs.get(reg).toString(16)}`)
    .join(', ')
}

function unknownName(nr: number): string {
  for (const [name, number] of Object.entries(NR)) if (number === nr) return name
  return `syscall_0x${nr.toString(16)}`
}

const RESTARTS = new Set([ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK])

function formatResult(result: number, row: SyscallRow | undefined): string {
  // The registers are new: a successful execve, rt_sigreturn.
  if (result === NO_RESULT) return row?.returns === 'none' ? '?' : '0'
  if (result < 0 && result > -4096) {
    const name = errnoName(-result)
    if (RESTARTS.has(-result)) return `? ${name} (interrupted by a signal)`
    return `-1 ${name}`
  }
  switch (row?.returns) {
    case 'none':
      return '?'
    case 'addr':
    case 'hex':
      return `0x${result.toString(16)}`
    default:
      return String(result)
  }
}
