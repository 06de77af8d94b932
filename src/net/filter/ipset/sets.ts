/** IpSets: the sets of one network namespace, by name and by the number under which rules refer to them. */
import {
  IPSET_ERR_BUSY,
  IPSET_ERR_EXIST_SETNAME2,
  IPSET_ERR_MAX_SETS,
  IPSET_ERR_REFERENCED,
  IPSET_ERR_TYPE_MISMATCH,
  IPSET_INVALID_ID,
} from '../../../abi/constants.ts'
import { EEXIST } from '../../../abi/errno.ts'
import type { Status } from '../../../base/result.ts'
import type { FilterRoom } from '../room.ts'
import type { IpSet } from './set.ts'

export class IpSets {
  readonly room: FilterRoom
  readonly #byName = new Map<string, IpSet>()
  readonly #byIndex: (IpSet | undefined)[] = []

  constructor(room: FilterRoom) {
    this.room = room
  }

  find(name: string): IpSet | undefined {
    return this.#byName.get(name)
  }
  at(index: number): IpSet | undefined {
    return this.#byIndex[index]
  }
  /** By their numbers. */
  all(): IpSet[] {
    return this.#byIndex.filter(set => set !== undefined)
  }

  add(set: IpSet): Status {
    if (this.#byName.has(set.name)) return -EEXIST
    let index = this.#byIndex.indexOf(undefined)
    if (index < 0) index = this.#byIndex.length
    if (index >= IPSET_INVALID_ID || !this.room.take(1)) return -IPSET_ERR_MAX_SETS
    set.index = index
    this.#byIndex[index] = set
    this.#byName.set(set.name, set)
    return 0
  }

  remove(set: IpSet): Status {
    if (set.references > 0) return -IPSET_ERR_BUSY
    set.clear()
    this.room.give(1)
    this.#byName.delete(set.name)
    this.#byIndex[set.index] = undefined
    return 0
  }
  /** None of them, if one is in use. */
  removeAll(): Status {
    if (this.all().some(({ references }) => references > 0)) return -IPSET_ERR_BUSY
    this.clear()
    return 0
  }
  clear(): void {
    for (const set of this.all()) set.clear()
    this.room.give(this.#byName.size)
    this.#byName.clear()
    this.#byIndex.length = 0
  }

  rename(set: IpSet, name: string): Status {
    if (set.references > 0) return -IPSET_ERR_REFERENCED
    if (this.#byName.has(name)) return -IPSET_ERR_EXIST_SETNAME2
    this.#byName.delete(set.name)
    set.name = name
    this.#byName.set(name, set)
    return 0
  }

  /** Each becomes what the other was, for rules too. */
  swap(from: IpSet, to: IpSet): Status {
    const sameFields = from.type.fields.join() === to.type.fields.join()
    if (!sameFields || from.isV4 !== to.isV4) return -IPSET_ERR_TYPE_MISMATCH
    const { name, index, references } = from
    this.#put(from, to.name, to.index, to.references)
    this.#put(to, name, index, references)
    return 0
  }
  #put(set: IpSet, name: string, index: number, references: number): void {
    set.name = name
    set.index = index
    set.references = references
    this.#byName.set(name, set)
    this.#byIndex[index] = set
  }

  /** A rule refers to the set of this number, or no more. */
  use(index: number): void {
    const set = this.at(index)
    if (set !== undefined) set.references++
  }
  unuse(index: number): void {
    const set = this.at(index)
    if (set !== undefined) set.references--
  }
}
