/** Processes that no other process made: the first one of the sandbox, and those that are brought in from outside. */
import type { Credentials } from '../base/credentials.ts'
import { failed, type OrErrno } from '../base/result.ts'
import type { Mm } from '../mm/mm.ts'
import type { PlatformThread } from '../platform/platform.ts'
import type { FdTable } from '../vfs/fd-table.ts'
import type { WalkContext } from '../vfs/namei.ts'
import type { FsState } from '../vfs/path.ts'
import { type Cgroup, joinCgroup } from './cgroup/cgroup.ts'
import { baseName, loadImage, openExecutable, setStartRegisters } from './exec.ts'
import type { Kernel } from './kernel.ts'
import type { NsProxy } from './namespaces.ts'
import { returnToGuest } from './return-to-guest.ts'
import { defaultRlimits, type Rlimits } from './rlimits.ts'
import { startSession } from './session.ts'
import { SignalHandlers, TaskSignals } from './signal-state.ts'
import { IN_KERNEL, NO_RESULT, Task } from './task.ts'
import { ThreadGroup } from './thread-group.ts'

export interface InitRequest {
  /** The program, looked up from `fs`; a name without a slash was searched in PATH by the caller. */
  readonly path: string
  readonly argv: readonly string[]
  readonly envp: readonly string[]
  readonly cred: Credentials
  /** Taken over, as are `fds` and one reference to `ns.mnt`. */
  readonly fs: FsState
  readonly fds: FdTable
  readonly ns: NsProxy
  readonly rlimits?: Rlimits
  /** Whether default actions spare it if it is process 1, as Linux has it; true if absent. */
  readonly protectInit?: boolean
  /** personality(2); 0 if absent. */
  readonly personality?: number
  /** The kernel's first one if absent. */
  readonly cgroup?: Cgroup
  /** Called before it runs: for its controlling terminal. */
  readonly prepare?: (task: Task) => void
  /** It stands ready and does not run until `runHeld`. */
  readonly held?: boolean
}

/**
 * Its first thread, which runs unless it is held. It leads a session of its own and has no parent: nobody waits for it,
 * and nothing of it is left when it ends.
 */
export function startProcess(kernel: Kernel, request: InitRequest): OrErrno<Task> {
  const { fs, cred, ns } = request
  const rlimits = request.rlimits ?? defaultRlimits()
  const walk: WalkContext = { fs, cred, mountNs: ns.mnt }
  const file = openExecutable(walk, undefined, request.path)
  if (failed(file)) return file
  const image = loadImage(
    {
      ...walk,
      kernel,
      personality: request.personality ?? 0,
      rlimits,
      timeNs: ns.time,
      unsafe: false,
      pastReturn: false,
    },
    {
      file,
      path: request.path,
      comm: baseName(request.path),
      argv: request.argv,
      envp: request.envp,
      pathInaccessible: false,
    },
  )
  if (failed(image)) return image
  const task = adopt(kernel, request, rlimits, image)
  if (failed(task)) {
    image.mm.put()
    return task
  }
  setStartRegisters(image.thread, image.loaded.entry, image.loaded.stackPointer)
  task.personality = request.personality ?? 0
  ns.time.frozen = true
  request.prepare?.(task)
  if (request.held === true) hold(task)
  else returnToGuest(task, NO_RESULT)
  return task
}

/** It sleeps as in a call that nothing but its end interrupts. */
function hold(task: Task): void {
  task.uninterruptible = true
  task.fallAsleep()
}

/** A process that was held goes to its first instruction. False if it has ended, or is about to. */
export function runHeld(task: Task): boolean {
  if (task.ended || task.group.exiting) return false
  task.uninterruptible = false
  task.state = IN_KERNEL
  returnToGuest(task, NO_RESULT)
  return true
}

/** A loaded program. */
export interface Image {
  readonly thread: PlatformThread
  readonly mm: Mm
  readonly cred: Credentials
  readonly comm: string
}

/** The process around a loaded program, its one thread still stopped. */
export function adopt(kernel: Kernel, request: InitRequest, rlimits: Rlimits, image: Image): OrErrno<Task> {
  const { fs, fds, ns } = request
  const pid = ns.pidForChildren.allocate()
  if (failed(pid)) return pid
  const group = new ThreadGroup(kernel, pid, new SignalHandlers(), rlimits, 0)
  startSession(group)
  const task = new Task(
    kernel,
    group,
    pid,
    image.thread,
    image.mm,
    fds,
    fs,
    image.cred,
    ns,
    new TaskSignals(),
  )
  group.leader = task
  group.tasks.push(task)
  group.live = 1
  group.hasExeced = true
  joinCgroup(group, request.cgroup ?? kernel.cgroup.root)
  group.cgroup.pids.charge()
  kernel.liveTasks++
  kernel.users.of(task.cred.uid).tasks++
  if (pid.ns.init === undefined && group.tgid === 1) {
    pid.ns.init = group
    group.unkillable = request.protectInit ?? true
  }
  task.setComm(image.comm)
  return task
}
