/**
 * A container of a sandbox: its namespaces and mounts, its first process, and those that `exec` brought in.
 *
 *   created   everything is there, the first process stands ready
 *   running   it was released
 *   stopped   it has ended, and all that was left in the container with it
 *
 * Its mounts are held until then by the container, and beyond that by whoever uses them.
 */
import { encodeText } from '../base/bytes.ts'
import { type IdMapping, UserNamespace } from '../base/credentials.ts'
import type { Cgroup } from '../kernel/cgroup/cgroup.ts'
import { isFrozen, setFreeze } from '../kernel/cgroup/freezer.ts'
import type { Kernel } from '../kernel/kernel.ts'
import {
  CgroupNamespace,
  IpcNamespace,
  NetNamespace,
  type NsProxy,
  TimeNamespace,
  UtsNamespace,
} from '../kernel/namespaces.ts'
import { PidNamespace } from '../kernel/pid.ts'
import { killGroup, sendToGroup } from '../kernel/signal.ts'
import { kernelSignal } from '../kernel/signal-info.ts'
import type { Task } from '../kernel/task.ts'
import type { ThreadGroup } from '../kernel/thread-group.ts'
import { netStack } from '../net/stack.ts'
import { makeContainerCgroup, removeContainerCgroup, setDeviceRules } from './container-cgroup.ts'
import type { TakenNetwork } from './container-network.ts'
import { ContainerProcess, type Descriptors, type Place, type Start } from './container-process.ts'
import { buildContainerRoot } from './container-root.ts'
import type { ContainerSpec, ContainerStatus, IdMapSpec, ProcessSpec } from './protocol.ts'
import { UserError } from './user-error.ts'

/** Finds the container that another one wants to share with. */
export type FindContainer = (id: string) => Container

export class Container {
  readonly id: string
  readonly spec: ContainerSpec
  readonly kernel: Kernel
  readonly place: Place
  /** Of all its processes, wherever they moved: its own part of the hierarchy. */
  readonly cgroup: Cgroup
  status: ContainerStatus = 'created'
  init!: ContainerProcess
  /** What of the host's it has been given, once it was started: of a sandbox's first one with a stack of its own. */
  network: TakenNetwork | undefined = undefined
  /** Those of `exec`'s processes that live and have a name. */
  readonly execs = new Map<string, ContainerProcess>()

  /** Its mounts, namespaces and cgroup; `startInit` makes its process. `fds` are used up. */
  constructor(kernel: Kernel, spec: ContainerSpec, fds: readonly number[], find: FindContainer) {
    this.id = spec.id
    this.spec = spec
    this.kernel = kernel
    const userNs = userNamespace(kernel, spec)
    this.cgroup = makeContainerCgroup(kernel, spec.id, spec.limits, kernel.init === undefined)
    setDeviceRules(this.cgroup, spec.deviceRules)
    try {
      const ns = namespaces(kernel, spec, userNs, this.cgroup, find)
      const mnt = buildContainerRoot(kernel, spec, fds, { userNs, ns })
      const { cgroup } = this
      this.place = {
        kernel,
        userNs,
        ns: { ...ns, mnt },
        cgroup,
        seccomp: spec.seccomp,
        personality: spec.personality ?? 0,
      }
    } catch (error) {
      removeContainerCgroup(this.cgroup)
      throw error
    }
  }

  /** It never came to be. */
  discard(): void {
    this.ns.mnt.put()
    removeContainerCgroup(this.cgroup)
  }

  /** Nothing of it is left, and nobody will ask for it. */
  remove(): void {
    removeContainerCgroup(this.cgroup)
  }

  get ns(): NsProxy {
    return this.place.ns
  }

  startInit(spec: ProcessSpec, descriptors: Descriptors, first: boolean): void {
    this.init = this.#start(spec, descriptors, { first, held: true, makeCwd: true, console: true })
  }

  startExec(spec: ProcessSpec, descriptors: Descriptors): ContainerProcess {
    return this.#start(spec, descriptors, {})
  }

  #start(spec: ProcessSpec, descriptors: Descriptors, start: Start): ContainerProcess {
    return ContainerProcess.start(this.place, spec, descriptors, start)
  }

  /** The process that a request names: the first one, or one of `exec`'s. */
  process(exec: string | undefined): ContainerProcess {
    const found = exec === undefined ? this.init : this.execs.get(exec)
    if (found === undefined) throw new UserError(`container ${this.id} has no process ${exec}`)
    return found
  }

  /** Its tasks, in no order. */
  tasks(): Generator<Task> {
    return this.cgroup.tasks(true)
  }

  signalAll(signo: number): void {
    const groups = new Set<ThreadGroup>()
    for (const task of this.tasks()) groups.add(task.group)
    for (const group of groups) {
      if (group === this.init.group) this.init.signal(signo)
      else sendToGroup(group, kernelSignal(signo))
    }
  }

  /** Holds all of its processes; `done` when none runs any more. */
  pause(done: () => void): void {
    const { cgroup } = this
    setFreeze(cgroup, true)
    if (isFrozen(cgroup)) {
      done()
      return
    }
    const { queue } = cgroup.events
    const entry = queue.add({
      woken: () => {
        if (!isFrozen(cgroup)) return
        queue.remove(entry)
        done()
      },
    })
  }
  resume(): void {
    setFreeze(this.cgroup, false)
  }

  /** What is left ends as by SIGKILL. */
  killAll(): void {
    for (const task of [...this.tasks()]) killGroup(task.group)
  }

  /** The first process has ended. */
  stopped(): void {
    this.status = 'stopped'
    this.killAll()
    this.ns.mnt.put()
  }
}

function userNamespace(kernel: Kernel, spec: ContainerSpec): UserNamespace {
  if (spec.uidMap.length === 0 && spec.gidMap.length === 0) return kernel.userNs
  const ns = new UserNamespace(kernel.userNs, 0, 0, kernel.newInum())
  ns.uidMap = spec.uidMap.map(mapping)
  ns.gidMap = spec.gidMap.map(mapping)
  return ns
}

function mapping({ inside, outside, count }: IdMapSpec): IdMapping {
  return { inside, outside, count }
}

function namespaces(
  kernel: Kernel,
  spec: ContainerSpec,
  userNs: UserNamespace,
  ownCgroup: Cgroup,
  find: FindContainer,
): Omit<NsProxy, 'mnt'> {
  const { pid, ipc, uts, net, cgroup } = spec.namespaces
  const shared = (choice: 'new' | { readonly of: string }): NsProxy | undefined =>
    choice === 'new' ? undefined : find(choice.of).ns
  const time = timeNamespace(kernel, spec, userNs)
  return {
    pidForChildren: shared(pid)?.pidForChildren ?? new PidNamespace(kernel.pidNs, userNs, kernel.newInum()),
    ipc: shared(ipc)?.ipc ?? new IpcNamespace(userNs, kernel.newInum()),
    uts: shared(uts)?.uts ?? utsNamespace(kernel, spec, userNs),
    net: net === 'host' ? kernel.net : (shared(net)?.net ?? newNetwork(kernel, userNs)),
    cgroup: shared(cgroup)?.cgroup ?? new CgroupNamespace(userNs, kernel.newInum(), ownCgroup),
    time,
    timeForChildren: time,
  }
}

/** The first container's is the one of the host's that was made for it and that the sandbox lives in. */
function newNetwork(kernel: Kernel, userNs: UserNamespace): NetNamespace {
  const made = new NetNamespace(userNs, kernel.newInum(), kernel.net.runtime)
  // Containers join each other's: it lives as long as the sandbox.
  made.holders++
  if (kernel.init === undefined) netStack(made).host = netStack(kernel.net).host
  return made
}

function utsNamespace(kernel: Kernel, spec: ContainerSpec, userNs: UserNamespace): UtsNamespace {
  const { hostname = 'caisson', domainname = '(none)' } = spec
  return new UtsNamespace(encodeText(hostname), encodeText(domainname), userNs, kernel.newInum())
}

function timeNamespace(kernel: Kernel, spec: ContainerSpec, userNs: UserNamespace): TimeNamespace {
  if (spec.timeOffsets === undefined) return kernel.time
  const ns = new TimeNamespace(userNs, kernel.newInum())
  ns.monotonicOffset = spec.timeOffsets.monotonic ?? 0
  ns.boottimeOffset = spec.timeOffsets.boottime ?? 0
  return ns
}
