/**
 * seccomp(2): what a task may still call.
 *
 * A task begins without (`task.seccomp` undefined), may restrict itself, and never gets rid of it: threads and children
 * inherit the object, exec keeps it. Filters form a list from the newest to the oldest, shared as far as they are
 * common; all of them judge every call, and the strictest verdict counts. `admitCall` is asked before a call begins, and
 * does itself what a verdict other than 'allow' says. Most calls of most filters are allowed by their number alone: that is
 * found out once for each. Calls that the thread would answer by itself (constant-calls.ts) come to the kernel from a
 * restricted task unless their numbers are so allowed.
 */
import {
  AUDIT_ARCH_X86_64,
  SECCOMP_MODE_FILTER,
  SECCOMP_MODE_STRICT,
  SECCOMP_RET_ACTION_FULL,
  SECCOMP_RET_ALLOW,
  SECCOMP_RET_DATA,
  SECCOMP_RET_ERRNO,
  SECCOMP_RET_KILL_PROCESS,
  SECCOMP_RET_KILL_THREAD,
  SECCOMP_RET_LOG,
  SECCOMP_RET_TRACE,
  SECCOMP_RET_TRAP,
  SECCOMP_RET_USER_NOTIF,
  SIGKILL,
  SIGSYS,
  SYS_SECCOMP,
} from '../../abi/constants.ts'
import { EBUSY, EINVAL, ENOMEM, ENOSYS, ESRCH } from '../../abi/errno.ts'
import { NR } from '../../abi/syscall-numbers.ts'
import type { Status } from '../../base/result.ts'
import {
  REG_R8,
  REG_R9,
  REG_R10,
  REG_RDI,
  REG_RDX,
  REG_RIP,
  REG_RSI,
  type Registers,
} from '../../platform/platform.ts'
import { forgetConstants } from '../constant-calls.ts'
import { startCoreDump } from '../core-dump/core-dump.ts'
import { commitCredentials } from '../credentials.ts'
import { endGroup, endTask } from '../exit.ts'
import { stopAtFilter } from '../ptrace/resume.ts'
import { suspendsSeccomp } from '../ptrace/tracee.ts'
import { returnToGuest } from '../return-to-guest.ts'
import { forceSignal } from '../signal.ts'
import { SigInfo } from '../signal-info.ts'
import { NO_RESULT, type Task } from '../task.ts'
import { type BpfProgram, DATA_WORDS } from './bpf.ts'
import type { SeccompListener } from './listener.ts'
import { answerCall, askListener } from './notify.ts'

/** MAX_INSNS_PER_PATH: of all filters of a task, each counted with this much more. */
const MAX_INSTRUCTIONS = 32768
const FILTER_PENALTY = 4
const MAX_ERRNO = 4095

const STRICT_CALLS: ReadonlySet<number> = new Set([NR.read, NR.write, NR.exit, NR.rt_sigreturn])
const ARGUMENTS = [REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9] as const

/** Numbers whose verdict is remembered; there are fewer calls. */
const REMEMBERED = 512
/** Words of the data that a number alone tells: itself, and the architecture. */
const NUMBER_WORDS = 2

// What is remembered of a number.
const UNKNOWN = 0
const ALLOWED = 1
const ASK = 2

/** One filter and the older ones that go with it. */
export class SeccompFilter {
  readonly program: BpfProgram
  readonly older: SeccompFilter | undefined
  /** SECCOMP_FILTER_FLAG_LOG. */
  readonly log: boolean
  readonly count: number
  /** Who decides what it does not decide itself: SECCOMP_FILTER_FLAG_NEW_LISTENER. */
  listener: SeccompListener | undefined = undefined
  /** The call that is judged, while this is the newest filter. */
  readonly data = new Uint32Array(DATA_WORDS)
  readonly #weight: number
  /** By number: whether this filter and the older ones allow it whatever its arguments are. */
  readonly #byNumber = new Uint8Array(REMEMBERED)

  constructor(program: BpfProgram, older: SeccompFilter | undefined, log: boolean) {
    this.program = program
    this.older = older
    this.log = log
    this.count = (older?.count ?? 0) + 1
    this.#weight = (older === undefined ? 0 : older.#weight + FILTER_PENALTY) + program.length
  }

  get tooLong(): boolean {
    return this.#weight > MAX_INSTRUCTIONS
  }

  /** Whether the call is allowed whatever its arguments are, and nothing has to be done about it. */
  alwaysAllows(nr: number): boolean {
    if (nr >= REMEMBERED) return false
    if (this.#byNumber[nr] === UNKNOWN) this.#byNumber[nr] = this.#isConstant(nr) ? ALLOWED : ASK
    return this.#byNumber[nr] === ALLOWED
  }
  #isConstant(nr: number): boolean {
    if (this.older !== undefined && !this.older.alwaysAllows(nr)) return false
    this.data[0] = nr
    this.data[1] = AUDIT_ARCH_X86_64
    return this.program.run(this.data, NUMBER_WORDS) === SECCOMP_RET_ALLOW
  }

  /** The one listener of this filter and the older ones. */
  get anyListener(): SeccompListener | undefined {
    for (let at: SeccompFilter | undefined = this; at !== undefined; at = at.older) {
      if (at.listener !== undefined && !at.listener.closed) return at.listener
    }
    return undefined
  }

  isSelfOrOlderThan(newest: SeccompFilter | undefined): boolean {
    for (let at = newest; at !== undefined; at = at.older) if (at === this) return true
    return false
  }
}

/** What a task has restricted itself to. */
export class Seccomp {
  readonly mode: typeof SECCOMP_MODE_STRICT | typeof SECCOMP_MODE_FILTER
  readonly filter: SeccompFilter | undefined
  /** It counts the tasks that have this. */
  readonly listener: SeccompListener | undefined

  /** Without a filter: strict. */
  constructor(filter?: SeccompFilter) {
    this.mode = filter === undefined ? SECCOMP_MODE_STRICT : SECCOMP_MODE_FILTER
    this.filter = filter
    this.listener = filter?.anyListener
  }

  alwaysAllows(nr: number): boolean {
    return this.filter === undefined ? STRICT_CALLS.has(nr) : this.filter.alwaysAllows(nr)
  }
}

const STRICT = new Seccomp()

/** SECCOMP_SET_MODE_STRICT. */
export function restrictStrictly(task: Task): Status {
  if (task.seccomp?.mode === SECCOMP_MODE_FILTER) return -EINVAL
  restrict(task, STRICT)
  return 0
}

/**
 * SECCOMP_SET_MODE_FILTER. `sync`: all threads of the process get the task's filters; if one of them has others, its id
 * is returned, or -ESRCH as `esrch` says. `listener`: who decides; there can't be two.
 */
export function addFilter(
  task: Task,
  program: BpfProgram,
  log: boolean,
  sync: boolean,
  esrch: boolean,
  listener?: SeccompListener,
): number {
  if (task.seccomp?.mode === SECCOMP_MODE_STRICT) return -EINVAL
  const older = task.seccomp?.filter
  const filter = new SeccompFilter(program, older, log)
  if (filter.tooLong) return -ENOMEM
  if (listener !== undefined && filter.anyListener !== undefined) return -EBUSY
  filter.listener = listener
  if (sync) {
    const other = task.group.tasks.find(each => !maySync(each, older))
    if (other !== undefined) return esrch ? -ESRCH : other.pid.in(task.pidNs)
  }
  const seccomp = new Seccomp(filter)
  restrict(task, seccomp)
  if (!sync) return 0
  for (const each of task.group.tasks) {
    if (each === task || each.ended) continue
    restrict(each, seccomp)
    if (task.cred.noNewPrivs && !each.cred.noNewPrivs) {
      const cred = each.cred.clone()
      cred.noNewPrivs = true
      commitCredentials(each, cred)
    }
  }
  return 0
}

/** seccomp_can_sync_threads: a thread whose filters, if any, are among those that the caller had. */
function maySync(task: Task, filters: SeccompFilter | undefined): boolean {
  if (task.ended || task.seccomp === undefined) return true
  return task.seccomp.filter?.isSelfOrOlderThan(filters) ?? false
}

function restrict(task: Task, seccomp: Seccomp): void {
  seccomp.listener?.taskAdded()
  task.seccomp?.listener?.taskGone()
  task.seccomp = seccomp
  forgetConstants(task)
}

/**
 * Whether the call that the task has just begun may go on; if not, the verdict has been carried out. `answered`: the tracer
 * was asked, and may have changed the call.
 */
export function admitCall(task: Task, seccomp: Seccomp, nr: number, answered = false): boolean {
  if (seccomp.alwaysAllows(nr)) return true
  if (task.ptrace !== undefined && suspendsSeccomp(task.ptrace)) return true
  if (seccomp.mode === SECCOMP_MODE_STRICT) {
    task.kernel.trace?.exit(task, NO_RESULT)
    endTask(task, SIGKILL)
    return false
  }
  const { data } = seccomp.filter!
  describe(data, task.thread.regs, nr)
  let verdict = SECCOMP_RET_ALLOW
  let logs = false
  let match = seccomp.filter!
  for (let at = seccomp.filter; at !== undefined; at = at.older) {
    const found = at.program.run(data)
    // The strictest is the smallest when the action is read as a signed number.
    if ((found & SECCOMP_RET_ACTION_FULL) < (verdict & SECCOMP_RET_ACTION_FULL)) {
      verdict = found
      logs = at.log
      match = at
    }
  }
  if (verdict === SECCOMP_RET_ALLOW) return true
  if (answered && (verdict & SECCOMP_RET_ACTION_FULL) === SECCOMP_RET_TRACE) return true
  const action = (verdict & SECCOMP_RET_ACTION_FULL) >>> 0
  if (action === SECCOMP_RET_USER_NOTIF && match.listener?.closed === false) {
    askListener(task, match.listener, data)
    return false
  }
  return carryOut(task, nr, action, verdict & SECCOMP_RET_DATA, logs)
}

/** struct seccomp_data, from registers whose halves are read once each. */
function describe(data: Uint32Array, regs: Registers, nr: number): void {
  data[0] = nr
  data[1] = AUDIT_ARCH_X86_64
  data[2] = regs.lo(REG_RIP)
  data[3] = regs.hi(REG_RIP)
  for (let i = 0; i < ARGUMENTS.length; i++) {
    data[4 + 2 * i] = regs.lo(ARGUMENTS[i])
    data[5 + 2 * i] = regs.hi(ARGUMENTS[i])
  }
}

function carryOut(task: Task, nr: number, action: number, value: number, logs: boolean): boolean {
  if (action === SECCOMP_RET_ALLOW) return true
  if (logs || action === SECCOMP_RET_LOG) {
    task.kernel.log.info(`seccomp: ${task.comm} (pid ${task.tid}) calls ${task.kernel.syscalls.name(nr)}`)
  }
  switch (action) {
    case SECCOMP_RET_LOG:
      return true
    case SECCOMP_RET_ERRNO:
      return refuse(task, -Math.min(value, MAX_ERRNO))
    case SECCOMP_RET_TRACE:
      return stopAtFilter(task, value) ? false : refuse(task, -ENOSYS)
    // There is nobody to ask, or nobody any more.
    case SECCOMP_RET_USER_NOTIF:
      return refuse(task, -ENOSYS)
    case SECCOMP_RET_TRAP:
      task.kernel.trace?.exit(task, NO_RESULT)
      forceSignal(task, trapSignal(nr, value, task.thread.regs.get(REG_RIP)))
      returnToGuest(task, NO_RESULT)
      return false
  }
  task.kernel.trace?.exit(task, NO_RESULT)
  if (action === SECCOMP_RET_KILL_THREAD && task.group.live > 1) endTask(task, SIGSYS)
  // SECCOMP_RET_KILL_PROCESS, and whatever is not known.
  else if (!startCoreDump(task, trapSignal(nr, value, task.thread.regs.get(REG_RIP)), NO_RESULT)) {
    endGroup(task, SIGSYS)
  }
  return false
}

function refuse(task: Task, result: number): false {
  answerCall(task, result)
  return false
}

function trapSignal(nr: number, value: number, address: number): SigInfo {
  const info = new SigInfo(SIGSYS, SYS_SECCOMP)
  info.errno = value
  info.addr = address
  info.syscall = nr
  info.arch = AUDIT_ARCH_X86_64
  info.fromKernel = true
  return info
}

/** SECCOMP_GET_ACTION_AVAIL. */
export function isKnownAction(action: number): boolean {
  return (
    action === SECCOMP_RET_KILL_PROCESS ||
    action === SECCOMP_RET_KILL_THREAD ||
    action === SECCOMP_RET_TRAP ||
    action === SECCOMP_RET_ERRNO ||
    action === SECCOMP_RET_USER_NOTIF ||
    action === SECCOMP_RET_TRACE ||
    action === SECCOMP_RET_LOG ||
    action === SECCOMP_RET_ALLOW
  )
}
