/**
 * NamespaceIds: the numbers by which one network namespace knows others: `ip netns set`, RTM_NEWNSID. One that has none gets it when a
 * cable is told of whose other end it has. Each namespace has its own; a number ends with the namespace that it stands for.
 */
import { NETNSA_NSID_NOT_ASSIGNED } from '../abi/constants.ts'
import { EEXIST } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'
import type { IpStack } from './ip-stack.ts'

export class NamespaceIds {
  readonly #owner: IpStack
  readonly #byId = new Map<number, IpStack>()
  readonly #byStack = new Map<IpStack, number>()

  constructor(owner: IpStack) {
    this.#owner = owner
  }

  get ids(): number[] {
    return [...this.#byId.keys()].sort((a, b) => a - b)
  }
  find(id: number): IpStack | undefined {
    return this.#byId.get(id)
  }
  of(other: IpStack): number {
    return this.#byStack.get(other) ?? NETNSA_NSID_NOT_ASSIGNED
  }
  /** Its number, or a new one. */
  numberOf(other: IpStack): number {
    if (!this.#byStack.has(other)) this.give(other, NETNSA_NSID_NOT_ASSIGNED)
    return this.of(other)
  }

  /** For who has none. -1, and what is below it: the least that is free. */
  give(other: IpStack, wanted: number): Status {
    let id = wanted
    if (wanted < 0) for (id = 0; this.#byId.has(id); ) id++
    if (this.#byId.has(id)) return -EEXIST
    this.#byId.set(id, other)
    this.#byStack.set(other, id)
    this.#owner.listener?.namespaceIdChanged(id, false)
    return 0
  }
  forget(other: IpStack): void {
    const id = this.#byStack.get(other)
    if (id === undefined) return
    this.#byStack.delete(other)
    this.#byId.delete(id)
    this.#owner.listener?.namespaceIdChanged(id, true)
  }
}
