/**
 * What the three kinds of System V IPC share (svipc(7)): objects with a key, an id, an owner and a mode, in one table per
 * kind and namespace.
 *
 * An object is made by a …get call, is found by its id from then on (by its key only in further …get calls), and ends with
 * IPC_RMID: `removed` tells those who sleep on it. An id is sequence number × 32768 + index, so that the id of a removed
 * object does not soon mean another one.
 */
import { CAP_IPC_OWNER, CAP_SYS_ADMIN, IPC_CREAT, IPC_EXCL, IPC_PRIVATE } from '../../abi/constants.ts'
import { EACCES, EEXIST, EINVAL, ENOENT, ENOSPC, EPERM } from '../../abi/errno.ts'
import type { Credentials, UserNamespace } from '../../base/credentials.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import type { IpcLimits, NextId } from './limits.ts'

const INDEX_BITS = 15
const MOST_INDEXES = 2 ** INDEX_BITS
const MAX_SEQUENCE = 0xffff
/** Indexes are used round robin among at least so many. */
const MIN_CYCLE = 64

/** What is asked of an object: the bits of one class of its mode. */
export const IPC_READ = 0o444
export const IPC_WRITE = 0o222

export abstract class IpcObject {
  key: number
  id = -1
  /** Kernel-wide ids. */
  uid: number
  gid: number
  readonly cuid: number
  readonly cgid: number
  /** Permission bits, and what else the kind keeps there (SHM_DEST). */
  mode: number
  /** Seconds since the epoch. */
  ctime: number
  removed = false

  constructor(key: number, mode: number, cred: Credentials, now: number) {
    this.key = key
    this.mode = mode & 0o777
    this.uid = this.cuid = cred.euid
    this.gid = this.cgid = cred.egid
    this.ctime = now
  }

  get index(): number {
    return this.id & ((1 << INDEX_BITS) - 1)
  }
  get sequence(): number {
    return this.id >>> INDEX_BITS
  }
}

export abstract class IpcTable<T extends IpcObject> {
  readonly userNs: UserNamespace
  readonly limits: IpcLimits
  readonly #byIndex = new Map<number, T>()
  readonly #byKey = new Map<number, T>()
  #lastIndex = -1
  #sequence = 0

  constructor(userNs: UserNamespace, limits: IpcLimits) {
    this.userNs = userNs
    this.limits = limits
  }

  /** How many objects there may be. */
  abstract get limit(): number
  /** Where the id is that the next object shall have. */
  abstract readonly nextId: NextId

  get size(): number {
    return this.#byIndex.size
  }
  /** By rising index. */
  objects(): T[] {
    return [...this.#byIndex.values()].sort((a, b) => a.index - b.index)
  }
  /** The highest index in use, -1 if there is none. */
  get highest(): number {
    let highest = -1
    for (const index of this.#byIndex.keys()) highest = Math.max(highest, index)
    return highest
  }

  /** ipcget: the id for `key`. `check`: whether a found object fits what was asked for; `make`: a new one. */
  get(
    key: number,
    flags: number,
    cred: Credentials,
    check: (object: T) => Status,
    make: () => OrErrno<T>,
  ): number {
    const found = key === IPC_PRIVATE ? undefined : this.#byKey.get(key)
    if (found === undefined) {
      if (key !== IPC_PRIVATE && (flags & IPC_CREAT) === 0) return -ENOENT
      return this.#add(make)
    }
    if ((flags & (IPC_CREAT | IPC_EXCL)) === (IPC_CREAT | IPC_EXCL)) return -EEXIST
    const status = check(found)
    if (status < 0) return status
    return this.permission(found, flags, cred) < 0 ? -EACCES : found.id
  }

  /** By id; -EINVAL when there is none. */
  find(id: number): OrErrno<T> {
    const object = id < 0 ? undefined : this.#byIndex.get(id & ((1 << INDEX_BITS) - 1))
    return object === undefined || object.id !== id ? -EINVAL : object
  }
  /** By index, for the …_STAT commands. */
  at(index: number): OrErrno<T> {
    return this.#byIndex.get(index & ((1 << INDEX_BITS) - 1)) ?? -EINVAL
  }

  /** ipcperms. `asked`: bits of any class of the mode. */
  permission(object: T, asked: number, cred: Credentials): Status {
    const wanted = (asked >> 6) | (asked >> 3) | asked
    let granted = object.mode
    if (cred.euid === object.cuid || cred.euid === object.uid) granted >>= 6
    else if (inGroup(cred, object.cgid) || inGroup(cred, object.gid)) granted >>= 3
    if ((wanted & ~granted & 7) === 0) return 0
    return cred.capable(CAP_IPC_OWNER, this.userNs) ? 0 : -EACCES
  }

  /** IPC_SET and IPC_RMID are for owner, creator and administrator: -EPERM for others. */
  mayControl(object: T, cred: Credentials): Status {
    if (cred.euid === object.cuid || cred.euid === object.uid) return 0
    return cred.capable(CAP_SYS_ADMIN, this.userNs) ? 0 : -EPERM
  }

  remove(object: T): void {
    object.removed = true
    this.forgetKey(object)
    this.#byIndex.delete(object.index)
  }
  /** No …get call finds it any more. */
  forgetKey(object: T): void {
    if (this.#byKey.get(object.key) === object) this.#byKey.delete(object.key)
  }

  #add(make: () => OrErrno<T>): number {
    if (this.#byIndex.size >= this.limit) return -ENOSPC
    const wanted = this.limits[this.nextId]
    const asked = wanted < 0 ? -1 : this.#freeFrom(wanted & (MOST_INDEXES - 1))
    if (asked >= MOST_INDEXES) return -ENOSPC
    const object = make()
    if (failed(object)) return object
    this.limits[this.nextId] = -1
    const index = asked < 0 ? this.#nextIndex() : asked
    const sequence = asked < 0 ? this.#sequence : Math.floor(wanted / MOST_INDEXES)
    object.id = sequence * MOST_INDEXES + index
    this.#byIndex.set(index, object)
    if (object.key !== IPC_PRIVATE) this.#byKey.set(object.key, object)
    return object.id
  }

  #freeFrom(index: number): number {
    while (this.#byIndex.has(index)) index++
    return index
  }

  /** Round robin. */
  #nextIndex(): number {
    const cycle = Math.min(this.limit, Math.max(Math.floor((this.#byIndex.size * 3) / 2), MIN_CYCLE))
    let index = (this.#lastIndex + 1) % cycle
    while (this.#byIndex.has(index)) index = (index + 1) % cycle
    if (index <= this.#lastIndex) this.#sequence = (this.#sequence + 1) % MAX_SEQUENCE
    this.#lastIndex = index
    return index
  }
}

function inGroup(cred: Credentials, gid: number): boolean {
  return cred.egid === gid || cred.groups.includes(gid)
}
