/**
 * Control groups: cgroups(7), Documentation/admin-guide/cgroup-v2.rst.
 *
 * A Cgroup is one directory of the hierarchy. It is made by mkdir(2) or, for a container, by the sandbox. Each process is
 * in exactly one (ThreadGroup.cgroup): children are born in their parent's, writing to cgroup.procs moves one. It goes by
 * rmdir(2) when no process and no cgroup is left in it; what is still charged to it (files in memory) keeps the object and
 * those above it. Threads of one process are never in different ones: there is no threaded mode.
 *
 * What a controller counts and limits is in an object of its own (PidsController, MemoryController, CpuController, CpusetController); a
 * charge goes to the cgroup and all above it. A controller's files are shown where the parent enables it for its children.
 */
import { EAGAIN, EBUSY, EEXIST, EINVAL, ENOENT, EOPNOTSUPP } from '../../abi/errno.ts'
import { Changes } from '../../base/changes.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { Kernel } from '../kernel.ts'
import { applyScheduling } from '../scheduling.ts'
import type { Task } from '../task.ts'
import type { ThreadGroup } from '../thread-group.ts'
import { CpuController } from './cpu.ts'
import { CpusetController } from './cpuset.ts'
import type { DeviceGuard } from './device-guard.ts'
import { holdsOf, setHolds } from './freezer.ts'
import { HOLD_SHARE } from './holds.ts'
import { MemoryController } from './memory.ts'
import { PidsController } from './pids.ts'
import { CgroupPressure, countHolds } from './pressure.ts'

/** The controllers, in the order in which Linux lists them. */
export const CONTROLLERS = ['cpuset', 'cpu', 'io', 'memory', 'pids'] as const
export type ControllerName = (typeof CONTROLLERS)[number]
/** Of all containers: each one takes memory of the sentry. */
const MOST_CGROUPS = 16384
const ALL_CONTROLLERS = (1 << CONTROLLERS.length) - 1
/** Those that may compete with processes of the same cgroup: they work on threads. */
const THREADED = maskOf('cpuset') | maskOf('cpu') | maskOf('pids')

export function maskOf(name: ControllerName): number {
  return 1 << CONTROLLERS.indexOf(name)
}

export class Cgroup {
  readonly kernel: Kernel
  readonly parent: Cgroup | undefined
  readonly name: string
  /** Who made it: the files in it are theirs. */
  readonly uid: number
  readonly gid: number
  readonly children = new Map<string, Cgroup>()
  /** Cgroups below. */
  descendants = 0
  /** Numbers its children, for readdir. */
  #lastKey = 0
  readonly key: number
  /** Processes with live threads. */
  readonly groups = new Set<ThreadGroup>()
  /** Processes here and below. */
  population = 0
  removed = false
  /** Controllers that the children have. */
  subtreeControl = 0
  maxDepth = Number.POSITIVE_INFINITY
  maxDescendants = Number.POSITIVE_INFINITY
  /** cgroup.freeze. */
  freeze = false
  /** cgroup.stat.local: when it began to freeze, and how long it was frozen or freezing before; ns. */
  frozenSince: number | undefined = undefined
  frozenTime = 0
  /** As cgroup.events was last announced. */
  shownFrozen = false
  readonly events = new Changes()
  readonly pids: PidsController
  readonly memory: MemoryController
  readonly cpu: CpuController
  readonly cpuset: CpusetController
  /** To who is in it, it is a machine's root, where processes may be beside cgroups with controllers. */
  standsForRoot = false
  /** Programs that say which devices may be used; made by the first. */
  devices: DeviceGuard | undefined = undefined

  constructor(kernel: Kernel, parent: Cgroup | undefined, name: string, uid = 0, gid = 0) {
    this.kernel = kernel
    this.parent = parent
    this.name = name
    this.uid = uid
    this.gid = gid
    this.key = parent === undefined ? 0 : ++parent.#lastKey
    this.pids = new PidsController(parent?.pids)
    this.memory = new MemoryController(this, parent?.memory)
    this.cpu = new CpuController(this)
    this.cpuset = new CpusetController(this)
    if (parent === undefined) {
      this.subtreeControl = ALL_CONTROLLERS
      this.maxDescendants = MOST_CGROUPS
    }
  }

  /** Made when somebody first waits, or asks. */
  get pressure(): CgroupPressure {
    this.#pressure ??= new CgroupPressure(this)
    return this.#pressure
  }
  #pressure: CgroupPressure | undefined = undefined

  get level(): number {
    return this.parent === undefined ? 0 : this.parent.level + 1
  }
  /** The controllers that it has. */
  get controllers(): number {
    return this.parent === undefined ? ALL_CONTROLLERS : this.parent.subtreeControl
  }
  has(controller: ControllerName): boolean {
    return (this.controllers & maskOf(controller)) !== 0
  }
  /** Frozen by itself or by one above. */
  get freezing(): boolean {
    return this.freeze || (this.parent?.freezing ?? false)
  }

  /** This one and all below it, parents first. */
  *subtree(): Generator<Cgroup> {
    yield this
    for (const child of this.children.values()) yield* child.subtree()
  }
  isSelfOrBelow(ancestor: Cgroup): boolean {
    for (let at: Cgroup | undefined = this; at !== undefined; at = at.parent) if (at === ancestor) return true
    return false
  }

  /** mkdir(2). */
  makeChild(name: string, uid = 0, gid = 0): OrErrno<Cgroup> {
    if (this.removed) return -ENOENT
    if (name.includes('\n')) return -EINVAL
    if (this.children.has(name)) return -EEXIST
    const level = this.level + 1
    for (let at: Cgroup | undefined = this; at !== undefined; at = at.parent) {
      if (level - at.level > at.maxDepth || at.descendants + 1 > at.maxDescendants) return -EAGAIN
    }
    const child = new Cgroup(this.kernel, this, name, uid, gid)
    if (child.freezing) child.frozenSince = this.kernel.now()
    this.children.set(name, child)
    this.#countDescendants(1)
    return child
  }
  #countDescendants(by: number): void {
    for (let at: Cgroup | undefined = this; at !== undefined; at = at.parent) at.descendants += by
  }

  /** rmdir(2) of a child. */
  removeChild(name: string): Status {
    const child = this.children.get(name)
    if (child === undefined) return -ENOENT
    if (child.population > 0 || child.children.size > 0) return -EBUSY
    this.children.delete(name)
    this.#countDescendants(-1)
    child.removed = true
    child.cpu.removed()
    this.memory.inheritFaults(child.memory)
    child.memory.reset()
    return 0
  }

  /** A write to cgroup.subtree_control: masks of what to enable and to disable. */
  controlSubtree(enable: number, disable: number): Status {
    enable &= ~this.subtreeControl
    if ((enable & ~this.controllers) !== 0) return -ENOENT
    for (const child of this.children.values()) if ((child.subtreeControl & disable) !== 0) return -EBUSY
    if (enable !== 0 && !this.#mayEnable(enable)) return -EBUSY
    this.subtreeControl = (this.subtreeControl | enable) & ~disable
    for (const child of this.children.values()) child.#loseControllers()
    return 0
  }

  /** What a controller that was taken away has limited is free again. */
  #loseControllers(): void {
    if (!this.has('pids')) this.pids.reset()
    if (!this.has('memory')) this.memory.reset()
    if (!this.has('cpu')) this.cpu.reset()
    if (!this.has('cpuset')) this.cpuset.reset()
  }

  /** Processes would compete with child cgroups ("no internal processes"). */
  #mayEnable(enable: number): boolean {
    if (this.groups.size === 0 || this.standsForRoot) return true
    return (enable & ~THREADED) === 0 && this.#couldHoldThreads
  }
  /** cgroup_can_be_thread_root. */
  get #couldHoldThreads(): boolean {
    if ((this.subtreeControl & ~THREADED) !== 0) return false
    for (const child of this.children.values()) if (child.population > 0) return false
    return true
  }
  /** cgroup_migrate_vet_dst: whether processes may come here. */
  get takesProcesses(): Status {
    if (this.removed) return -ENOENT
    return this.subtreeControl === 0 || this.standsForRoot || this.#couldHoldThreads ? 0 : -EBUSY
  }

  /** The path as seen from `root`, with '..' for what is not below it. */
  pathFrom(root: Cgroup): string {
    let up = ''
    let top = root
    while (!this.isSelfOrBelow(top)) {
      up += '/..'
      top = top.parent!
    }
    let down = ''
    for (let at: Cgroup = this; at !== top; at = at.parent!) down = `/${at.name}${down}`
    const path = `${up}${down}`
    return `${path === '' ? '/' : path}${this.removed ? ' (deleted)' : ''}`
  }

  /** All live tasks here; with `below` those in the cgroups below too. */
  *tasks(below: boolean): Generator<Task> {
    for (const cgroup of below ? this.subtree() : [this]) {
      for (const group of cgroup.groups) for (const task of group.tasks) if (!task.ended) yield task
    }
  }
}

/** A process with its first thread comes to be in `cgroup`. */
export function joinCgroup(group: ThreadGroup, cgroup: Cgroup): void {
  group.cgroup = cgroup
  countHolds(group, 0, group.holds)
  cgroup.groups.add(group)
  cgroup.cpu.joined(group)
  changePopulation(cgroup, 1)
  if (cgroup.groups.size === 1) cgroup.kernel.cpuShares.populated()
  const holds = holdsOf(cgroup) | (group.holds & HOLD_SHARE)
  if (holds !== group.holds) setHolds(group, holds)
}

/** Its last thread has ended, or it goes elsewhere. */
export function leaveCgroup(group: ThreadGroup): void {
  const { cgroup } = group
  if (!cgroup.groups.has(group)) return
  countHolds(group, group.holds, 0)
  cgroup.groups.delete(group)
  cgroup.cpu.left(group)
  cgroup.memory.countFaults(group, 1)
  changePopulation(cgroup, -1)
}

/** cgroup_attach_task. The caller has checked that it may. */
export function moveToCgroup(group: ThreadGroup, to: Cgroup): Status {
  const from = group.cgroup
  if (from === to) return 0
  const status = to.takesProcesses
  if (status < 0) return status
  if (group.dead) return -EOPNOTSUPP
  // Limits on the number of tasks are no reason to refuse: pids.max bounds what is made, not what is moved.
  from.pids.uncharge(group.live)
  to.pids.charge(group.live)
  leaveCgroup(group)
  joinCgroup(group, to)
  to.memory.countFaults(group, -1)
  for (const task of group.tasks) applyScheduling(task)
  return 0
}

function changePopulation(cgroup: Cgroup, by: number): void {
  for (let at: Cgroup | undefined = cgroup; at !== undefined; at = at.parent) {
    const was = at.population
    at.population += by
    if ((was === 0) !== (at.population === 0)) at.events.changed()
  }
}
