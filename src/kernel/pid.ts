/**
 * Pids (pid_namespaces(7)). A Pid is the identity that numbers stand for: it has one number in its own namespace and one
 * in each ancestor. It is used as a thread's id, and through its leader as a process's, a process group's and a
 * session's; its numbers are free again when none of these is left.
 */

import { EAGAIN, EEXIST, EINVAL, ENOMEM } from '../abi/errno.ts'
import type { UserNamespace } from '../base/credentials.ts'
import type { OrErrno } from '../base/result.ts'
import type { ProcessGroup, Session } from './session.ts'
import type { Task } from './task.ts'
import type { ThreadGroup } from './thread-group.ts'

export const PID_MAX = 4194304
/** After a wrap, numbers start here (RESERVED_PIDS). */
const RESERVED_PIDS = 300
/** clone3's set_tid can't be deeper. */
export const MAX_PID_NS_LEVEL = 32

export class Pid {
  /** The deepest namespace, in which the owner lives. */
  readonly ns: PidNamespace
  /** By level: 0 is the first namespace. */
  readonly numbers: readonly number[]
  /** The thread with this id, zombies included. */
  task: Task | undefined = undefined
  /** The process whose leader has this id. */
  group: ThreadGroup | undefined = undefined
  processGroup: ProcessGroup | undefined = undefined
  session: Session | undefined = undefined

  constructor(ns: PidNamespace, numbers: readonly number[]) {
    this.ns = ns
    this.numbers = numbers
  }

  /** Its number as `ns` sees it, 0 if it is not visible there. */
  in(ns: PidNamespace): number {
    const level = ns.level
    if (level > this.ns.level) return 0
    let at: PidNamespace | undefined = this.ns
    while (at !== undefined && at.level > level) at = at.parent
    return at === ns ? this.numbers[level] : 0
  }

  /** Frees the numbers when nobody uses this identity any more. */
  releaseIfUnused(): void {
    if (this.task !== undefined || this.group !== undefined) return
    if (this.processGroup !== undefined || this.session !== undefined) return
    for (let ns: PidNamespace | undefined = this.ns; ns !== undefined; ns = ns.parent) {
      ns.free(this.numbers[ns.level], this)
    }
  }
}

export class PidNamespace {
  readonly parent: PidNamespace | undefined
  readonly level: number
  readonly userNs: UserNamespace
  readonly inum: number
  /** Process 1: the reaper of orphans. Undefined before it was made and after it ended. */
  init: ThreadGroup | undefined = undefined
  /** Its init ended: nothing can be made in it any more (clone: ENOMEM). */
  dead = false
  readonly #pids = new Map<number, Pid>()
  #last = 0
  /** /proc/sys/kernel/pid_max. */
  max = PID_MAX

  constructor(parent: PidNamespace | undefined, userNs: UserNamespace, inum: number) {
    this.parent = parent
    this.level = parent === undefined ? 0 : parent.level + 1
    this.userNs = userNs
    this.inum = inum
  }

  find(nr: number): Pid | undefined {
    return this.#pids.get(nr)
  }
  /** The thread with this id. */
  task(nr: number): Task | undefined {
    return this.#pids.get(nr)?.task
  }
  /** The process with this id, zombies included. */
  group(nr: number): ThreadGroup | undefined {
    return this.#pids.get(nr)?.group
  }
  pids(): IterableIterator<Pid> {
    return this.#pids.values()
  }
  /** The number given out last: /proc/loadavg, ns_last_pid. */
  get last(): number {
    return this.#last
  }
  set last(value: number) {
    this.#last = value
  }

  /** Whether `ns` is this one or lies below it. */
  contains(ns: PidNamespace): boolean {
    let at: PidNamespace | undefined = ns
    while (at !== undefined && at.level > this.level) at = at.parent
    return at === this
  }

  /**
   * A new identity in this namespace and all its ancestors. `wanted`: clone3's set_tid, from this namespace outwards.
   */
  allocate(wanted: readonly number[] = []): OrErrno<Pid> {
    if (this.dead) return -ENOMEM
    if (wanted.length > this.level + 1) return -EINVAL
    const numbers = new Array<number>(this.level + 1)
    let ns: PidNamespace | undefined = this
    for (let i = 0; ns !== undefined; ns = ns.parent, i++) {
      const nr = i < wanted.length ? ns.#reserve(wanted[i]) : ns.#choose()
      if (nr < 0) return nr
      numbers[ns.level] = nr
    }
    const pid = new Pid(this, numbers)
    for (ns = this; ns !== undefined; ns = ns.parent) {
      ns.#pids.set(numbers[ns.level], pid)
    }
    return pid
  }

  free(nr: number, pid: Pid): void {
    if (this.#pids.get(nr) === pid) this.#pids.delete(nr)
  }

  #choose(): number {
    for (let tries = 0; tries < this.max; tries++) {
      const nr = this.#last + 1 < this.max ? this.#last + 1 : RESERVED_PIDS
      this.#last = nr
      if (!this.#pids.has(nr)) return nr
    }
    return -EAGAIN
  }

  #reserve(nr: number): number {
    if (nr < 1 || nr >= this.max) return -EINVAL
    if (nr !== 1 && this.init === undefined) return -EINVAL
    return this.#pids.has(nr) ? -EEXIST : nr
  }
}
