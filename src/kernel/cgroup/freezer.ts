/**
 * Holding processes: a held task finishes the call that it is in and stops on its way back to guest code, until the last
 * reason to hold it is gone. It is not stopped in the sense of job control: nobody is told, signals wait, and one that is
 * fatal ends it. cgroup.freeze, cpu.max and memory.high all work so.
 */
import { isWorking } from '../cpu-alarm.ts'
import { BLOCKED, RUNNING, STOPPED, type Task, TRACED } from '../task.ts'
import type { ThreadGroup } from '../thread-group.ts'
import type { Cgroup } from './cgroup.ts'
import { HOLD_CPU, HOLD_FREEZE, HOLD_MEMORY, HOLD_SHARE } from './holds.ts'
import { countHolds } from './pressure.ts'

/** What holds the processes of a cgroup now. */
export function holdsOf(cgroup: Cgroup): number {
  let holds = 0
  for (let at: Cgroup | undefined = cgroup; at !== undefined; at = at.parent) {
    if (at.freeze) holds |= HOLD_FREEZE
    if (at.cpu.throttled) holds |= HOLD_CPU
    if (at.memory.slowed) holds |= HOLD_MEMORY
  }
  return holds
}

/** After one of the reasons came or went: all processes here and below. */
export function updateHolds(cgroup: Cgroup): void {
  for (const each of cgroup.subtree()) {
    if (each.groups.size === 0) continue
    const holds = holdsOf(each)
    for (const group of each.groups) setHolds(group, holds | (group.holds & HOLD_SHARE))
  }
}

/** Whether it runs guest code, or is about to. */
export function isActive(task: Task): boolean {
  const waits = task.state === BLOCKED || task.state === TRACED
  return !waits && task.group.holds === 0 && !task.signals.stopped
}

export function setHolds(group: ThreadGroup, holds: number): void {
  // Who has ended is held no more, and was counted so (leaveCgroup).
  if (group.dead) return
  const was = group.holds
  countHolds(group, was, holds)
  group.holds = holds
  if (holds === 0) {
    if (was !== 0) letGo(group)
  } else if (holds === HOLD_SHARE) {
    // Who waits by itself uses no CPU: it is looked at again while the others are held.
    for (const task of group.tasks) if (isWorking(task)) task.thread.kick()
  } else if (!isHeldWhole(was)) {
    for (const task of group.tasks) if (task.state === RUNNING) task.thread.kick()
  }
}

function letGo({ tasks }: ThreadGroup): void {
  for (const task of tasks)
    if (task.state === STOPPED && !task.signals.stopped) task.kernel.makeRunnable(task)
}

/** Whether those of a process that wait by themselves in the host's kernel are held as well. */
export function isHeldWhole(holds: number): boolean {
  return (holds & ~HOLD_SHARE) !== 0
}

/** `task`, on its way to guest code, is held; `result` is given to the guest when it goes on. */
export function hold(task: Task, result: number): void {
  task.result = result
  task.state = STOPPED
  task.thread.park()
  const { cgroup } = task.group
  if (cgroup.freezing) announceFrozen(cgroup)
}

/** cgroup.freeze: takes effect for each task when it next comes from guest code. */
export function setFreeze(cgroup: Cgroup, freeze: boolean): void {
  if (cgroup.freeze === freeze) return
  cgroup.freeze = freeze
  updateHolds(cgroup)
  for (const each of cgroup.subtree()) {
    countFrozenTime(each)
    announce(each)
  }
  if (cgroup.parent !== undefined) announceFrozen(cgroup.parent)
}

function countFrozenTime(cgroup: Cgroup): void {
  const { freezing, frozenSince, kernel } = cgroup
  if (freezing === (frozenSince !== undefined)) return
  if (frozenSince !== undefined) cgroup.frozenTime += kernel.now() - frozenSince
  cgroup.frozenSince = freezing ? kernel.now() : undefined
}

/** 'frozen' of cgroup.events: nothing here and below runs. */
export function isFrozen(cgroup: Cgroup): boolean {
  if (!cgroup.freezing) return false
  for (const task of cgroup.tasks(true))
    if (task.state === RUNNING || task === task.kernel.current) return false
  return true
}

/** This one, and those above, may be frozen now. */
function announceFrozen(cgroup: Cgroup): void {
  for (let at: Cgroup | undefined = cgroup; at !== undefined; at = at.parent) announce(at)
}

function announce(cgroup: Cgroup): void {
  const frozen = isFrozen(cgroup)
  if (frozen === cgroup.shownFrozen) return
  cgroup.shownFrozen = frozen
  cgroup.events.changed()
}
