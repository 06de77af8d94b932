/**
 * A process of a container, from its ProcessSpec to its exit status: the container's first one, one that `exec` brings in,
 * a hook. It has no parent and leads a session of its own; when it ends, whoever watches it is told, and nothing of it
 * is left.
 */
import { RLIM_NLIMITS, SECCOMP_FILTER_FLAG_LOG } from '../abi/constants.ts'
import { SOCK_FILTER } from '../abi/layout.ts'
import { encodeText } from '../base/bytes.ts'
import { CapabilitySet, Credentials, type UserNamespace } from '../base/credentials.ts'
import { INVALID_ID, toKernelId } from '../base/id-map.ts'
import { failed } from '../base/result.ts'
import type { Cgroup } from '../kernel/cgroup/cgroup.ts'
import { runHeld } from '../kernel/init.ts'
import type { Kernel } from '../kernel/kernel.ts'
import type { NsProxy } from '../kernel/namespaces.ts'
import { defaultRlimits, type Rlimits } from '../kernel/rlimits.ts'
import { applyScheduling } from '../kernel/scheduling.ts'
import { BpfProgram } from '../kernel/seccomp/bpf.ts'
import { addFilter } from '../kernel/seccomp/seccomp.ts'
import { killGroup, sendToGroup } from '../kernel/signal.ts'
import { kernelSignal } from '../kernel/signal-info.ts'
import type { Task } from '../kernel/task.ts'
import type { ThreadGroup } from '../kernel/thread-group.ts'
import { FdTable } from '../vfs/fd-table.ts'
import type { File } from '../vfs/file.ts'
import { LOOKUP_DIRECTORY, LOOKUP_FOLLOW, lookup, type WalkContext } from '../vfs/namei.ts'
import { FsState, type Path } from '../vfs/path.ts'
import { containerExecError, findContainerCommand, reasonOf, variable } from './command.ts'
import { mountConsole } from './container-root.ts'
import { homeOf } from './home.ts'
import { makeMountpoint } from './mountpoint.ts'
import type { ProcessSpec, RlimitSpec, SeccompSpec } from './protocol.ts'
import { Stdio } from './stdio.ts'
import { UserError } from './user-error.ts'

/** Where a process is put. */
export interface Place {
  readonly kernel: Kernel
  readonly userNs: UserNamespace
  readonly ns: NsProxy
  readonly cgroup: Cgroup
  readonly seccomp: readonly SeccompSpec[]
  readonly personality: number
}

export interface Start {
  /** It becomes the kernel's first process. */
  readonly first?: boolean
  readonly held?: boolean
  /** The working directory is made where it is missing. */
  readonly makeCwd?: boolean
  /** Its terminal, if it has one, is the container's console. */
  readonly console?: boolean
  /** The file to run, where it is not the first argument's. */
  readonly program?: string
}

/** Where a process's descriptors come from: the host's, by their index in the request, or files of the kernel's. */
export type Descriptors = ((index: number) => number) | readonly File[]

/** Told once of the end: the exit status as wait(2) has it. */
export type EndWatcher = (status: number) => void

export class ContainerProcess {
  readonly task: Task
  readonly terminal: boolean
  readonly #stdio: Stdio
  #held: boolean
  #status: number | undefined = undefined
  readonly #watchers = new Set<EndWatcher>()

  /** Takes over the files, or the descriptors that it asks for. */
  static start(
    place: Place,
    spec: ProcessSpec,
    descriptors: Descriptors,
    start: Start = {},
  ): ContainerProcess {
    const { kernel, ns } = place
    const cred = credentialsOf(spec, place.userNs)
    const root = ns.mnt.rootPath
    const fs = new FsState(root, root, spec.umask)
    const walk: WalkContext = { fs, cred, mountNs: ns.mnt }
    const fds = new FdTable()
    const stdio = new Stdio(kernel)
    const filters = filtersOf(place.seccomp)
    try {
      fs.cwd = workingDirectory(walk, spec, start.makeCwd === true)
      const argv = spec.args.map(encodeText)
      const env = environment(walk, spec)
      installStdio(stdio, fds, walk, spec, descriptors)
      if (start.console === true && spec.terminal) mountConsole(ns.mnt, fds.get(0)!.path)
      const program = start.program === undefined ? argv[0] : encodeText(start.program)
      const path = findContainerCommand(walk, program, variable(env, 'PATH'))
      const request = {
        path,
        argv,
        envp: env,
        cred,
        fs,
        fds,
        ns: { ...ns, mnt: ns.mnt.get() },
        rlimits: rlimitsOf(spec.rlimits),
        personality: place.personality,
        cgroup: place.cgroup,
        held: start.held,
        prepare: (task: Task) => {
          stdio.adopt(task)
          setAttributes(task, spec)
          for (const { program, log } of filters) addFilter(task, program, log, false, false)
        },
      }
      const task = start.first === true ? kernel.startInit(request) : kernel.startProcess(request)
      if (failed(task)) {
        ns.mnt.put()
        throw containerExecError(path, task)
      }
      stdio.start()
      return new ContainerProcess(task, stdio, spec.terminal, start.held === true)
    } catch (error) {
      fds.put()
      fs.put()
      stdio.close()
      throw error
    }
  }

  private constructor(task: Task, stdio: Stdio, terminal: boolean, held: boolean) {
    this.task = task
    this.#stdio = stdio
    this.terminal = terminal
    this.#held = held
  }

  get group(): ThreadGroup {
    return this.task.group
  }
  /** In its own pid namespace. */
  get pid(): number {
    return this.group.tgid
  }
  get held(): boolean {
    return this.#held
  }
  get status(): number | undefined {
    return this.#status
  }

  /** Lets it run. False if it was killed before. */
  release(): boolean {
    this.#held = false
    return runHeld(this.task)
  }

  /** As kill(2) by the host's root would. One that does not run yet can only be ended. */
  signal(signo: number): void {
    if (this.#status !== undefined) return
    if (this.#held && !ENDING.has(signo)) return
    if (this.#held) killGroup(this.group, signo)
    else sendToGroup(this.group, kernelSignal(signo))
  }

  resize(): void {
    this.#stdio.resize()
  }

  onEnd(watcher: EndWatcher): void {
    if (this.#status === undefined) this.#watchers.add(watcher)
    else watcher(this.#status)
  }
  forget(watcher: EndWatcher): void {
    this.#watchers.delete(watcher)
  }

  /** The kernel has seen its end: it is told when what it wrote is out. */
  ended(status: number): void {
    this.#stdio.drain(() => {
      this.#status = status
      this.#stdio.close()
      for (const watcher of [...this.#watchers]) watcher(status)
      this.#watchers.clear()
    })
  }
}

/** SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGTERM: what a process that waits to be started ends by. */
const ENDING = new Set([1, 2, 3, 9, 15])

export function credentialsOf(
  spec: Pick<ProcessSpec, 'uid' | 'gid' | 'groups' | 'capabilities' | 'noNewPrivileges'>,
  userNs: UserNamespace,
): Credentials {
  const cred = new Credentials(userNs)
  const user = (id: number) => mapped(toKernelId(userNs.uidMap, id), 'user', id)
  const group = (id: number) => mapped(toKernelId(userNs.gidMap, id), 'group', id)
  cred.uid = cred.euid = cred.suid = cred.fsuid = user(spec.uid)
  cred.gid = cred.egid = cred.sgid = cred.fsgid = group(spec.gid)
  cred.groups = spec.groups.map(group)
  const { bounding, effective, inheritable, permitted, ambient } = spec.capabilities
  cred.bounding = setOf(bounding)
  cred.effective = setOf(effective)
  cred.inheritable = setOf(inheritable)
  cred.permitted = setOf(permitted)
  cred.ambient = setOf(ambient)
  cred.noNewPrivs = spec.noNewPrivileges
  return cred
}

function mapped(kernelId: number, kind: string, id: number): number {
  if (kernelId !== INVALID_ID) return kernelId
  throw new UserError(`${kind} ${id} is not mapped in the container's user namespace`)
}

function setOf(capabilities: readonly number[]): CapabilitySet {
  return capabilities.reduce((set, cap) => set.with(cap), CapabilitySet.NONE)
}

/** Found with the container's root's rights, as runc does before it becomes the user. */
function workingDirectory(walk: WalkContext, spec: ProcessSpec, make: boolean): Path {
  const root = new Credentials(walk.cred.userNs)
  root.uid = root.euid = root.suid = root.fsuid = toKernelId(root.userNs.uidMap, 0)
  root.gid = root.egid = root.sgid = root.fsgid = toKernelId(root.userNs.gidMap, 0)
  root.permitted = root.effective = CapabilitySet.ALL
  const asRoot: WalkContext = { ...walk, cred: root }
  const name = encodeText(spec.cwd)
  const path = make
    ? makeMountpoint(asRoot, name, true)
    : lookup(asRoot, undefined, name, LOOKUP_FOLLOW | LOOKUP_DIRECTORY)
  if (!failed(path) && path.dentry.inode!.isDir) return path
  const reason = failed(path) ? (NO_DIRECTORY.get(-path) ?? reasonOf(-path)) : 'not a directory'
  throw new UserError(`chdir to cwd ("${spec.cwd}") set in config.json failed: ${reason}`, 126)
}
const NO_DIRECTORY: ReadonlyMap<number, string> = new Map([[2, 'no such file or directory']])

/** HOME is the user's of the container's /etc/passwd, unless it was said. */
function environment(walk: WalkContext, spec: ProcessSpec): string[] {
  const env = spec.env.map(encodeText)
  if (variable(env, 'HOME') !== undefined) return env
  return [...env, `HOME=${homeOf(walk, spec.uid)}`]
}

function installStdio(
  stdio: Stdio,
  fds: FdTable,
  walk: WalkContext,
  spec: ProcessSpec,
  descriptors: Descriptors,
): void {
  if (typeof descriptors !== 'function') {
    for (const [fd, file] of descriptors.entries()) fds.set(fd, file, false)
    return
  }
  if (spec.terminal) stdio.installTerminal(fds, walk, descriptors(spec.stdio[0]))
  else for (const [fd, index] of spec.stdio.entries()) stdio.installStream(fds, walk, descriptors(index), fd)
  for (const [i, index] of spec.passed.entries()) stdio.installStream(fds, walk, descriptors(index), 3 + i)
}

function rlimitsOf(specs: readonly RlimitSpec[]): Rlimits {
  const limits = defaultRlimits()
  for (const { resource, soft, hard } of specs) {
    if (resource >= 0 && resource < RLIM_NLIMITS) limits.set(resource, limitOf(soft), limitOf(hard))
  }
  return limits
}
/** What JSON's doubles make of RLIM_INFINITY and its neighbours. */
function limitOf(value: number): number {
  return value >= 2 ** 63 ? Number.POSITIVE_INFINITY : value
}

function setAttributes(task: Task, spec: ProcessSpec): void {
  if (spec.oomScoreAdj !== undefined) task.group.oomScoreAdj = spec.oomScoreAdj
  const { scheduling } = task
  if (spec.ioPriority !== undefined) scheduling.ioPriority = spec.ioPriority
  if (spec.scheduler !== undefined) {
    scheduling.policy = spec.scheduler.policy
    scheduling.nice = spec.scheduler.nice
    scheduling.priority = spec.scheduler.priority
  }
  if (spec.cpuAffinity !== undefined && spec.cpuAffinity.length > 0) {
    scheduling.affinity = [...spec.cpuAffinity].sort((a, b) => a - b)
  }
  applyScheduling(task)
  task.kernel.cpuShares.priorityChanged(task)
}

interface Filter {
  readonly program: BpfProgram
  readonly log: boolean
}

/** MAX_INSNS_PER_PATH, of which each filter takes four more than it has. */
const MAX_INSTRUCTIONS = 32768

/** Everything for which the kernel could refuse them comes before the process. */
function filtersOf(specs: readonly SeccompSpec[]): Filter[] {
  const weight = specs.reduce((sum, { program }) => sum + program.length / 4 + 4, 0)
  if (weight > MAX_INSTRUCTIONS) throw new UserError('the seccomp filter has too many instructions')
  return specs.map(({ program, flags }) => {
    const checked = BpfProgram.check(instructions(program))
    if (failed(checked)) throw new UserError('the seccomp filter is not one that the kernel takes')
    return { program: checked, log: (flags & SECCOMP_FILTER_FLAG_LOG) !== 0 }
  })
}

/** struct sock_filter[] */
function instructions(program: readonly number[]): Uint8Array {
  const bytes = new Uint8Array((program.length / 4) * SOCK_FILTER.size)
  const view = new DataView(bytes.buffer)
  for (let i = 0, at = 0; i + 3 < program.length; i += 4, at += SOCK_FILTER.size) {
    view.setUint16(at + SOCK_FILTER.code, program[i], true)
    view.setUint8(at + SOCK_FILTER.jt, program[i + 1])
    view.setUint8(at + SOCK_FILTER.jf, program[i + 2])
    view.setUint32(at + SOCK_FILTER.k, program[i + 3], true)
  }
  return bytes
}
