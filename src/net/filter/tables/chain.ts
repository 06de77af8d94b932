/**
 * Chain: rules in their order; Rule: expressions in theirs. A base chain sees the packets of a hook point, after those of
 * lower priority; others are jumped to.
 *
 * BaseChain registers with the stack's hooks, or with NAT, when its table has it and is not dormant.
 */
import {
  NF_ACCEPT,
  NF_INET_FORWARD,
  NF_INET_LOCAL_OUT,
  NFPROTO_INET,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFT_CHAIN_BINDING,
} from '../../../abi/constants.ts'
import type { NetfilterHook } from '../../ip/hooks.ts'
import type { Evaluation } from './evaluation.ts'
import type { Expression } from './expression.ts'
import { RulesHook } from './rules-hook.ts'
import type { Table } from './ruleset.ts'

export type ChainType = 'filter' | 'nat' | 'route'

export class Chain {
  readonly table: Table
  name: string
  readonly handle: number
  readonly rules: Rule[] = []
  /** NFT_CHAIN_* */
  readonly flags: number
  readonly userData: Uint8Array | undefined
  readonly base: BaseChain | undefined
  /** How many rules and elements jump here. */
  references = 0
  /** Of one that is a rule's own: that rule is there, and there will be no other, nor other rules in here. */
  bound = false
  /** How deep chains that are rules' own stand in each other here. */
  depth = 0

  constructor(
    table: Table,
    name: string,
    flags: number,
    userData: Uint8Array | undefined,
    base: BaseChain | undefined,
  ) {
    this.table = table
    this.name = name
    this.flags = flags
    this.userData = userData
    this.base = base
    this.handle = table.nextHandle()
    if (base !== undefined) base.chain = this
  }
  /** It is the own of the one rule that jumps here, and goes with it. */
  get binding(): boolean {
    return (this.flags & NFT_CHAIN_BINDING) !== 0
  }
  /** The rule whose own it is has come into force, or is gone. */
  bind(): void {
    this.bound = true
    this.table.chains.set(this.name, this)
    for (const rule of this.rules) rule.attach()
  }
  unbind(): void {
    this.table.chains.delete(this.name)
    for (const rule of this.rules) rule.detach()
  }
  /** As NFTA_CHAIN_USE counts. */
  get use(): number {
    return this.rules.length + this.references
  }
  ruleByHandle(handle: number): Rule | undefined {
    return this.rules.find(rule => rule.handle === handle)
  }
}

export class Rule {
  readonly chain: Chain
  readonly handle: number
  readonly expressions: readonly Expression[]
  readonly userData: Uint8Array | undefined
  /** Number of the message that made it, in a batch that is not over. */
  message = -1
  #inForce = false

  constructor(
    chain: Chain,
    handle: number,
    expressions: readonly Expression[],
    userData: Uint8Array | undefined,
  ) {
    this.chain = chain
    this.handle = handle
    this.expressions = expressions
    this.userData = userData
  }

  /** It is in its chain from now on, or no more: what its expressions use is in use. */
  attach(): void {
    if (this.#inForce) return
    this.#inForce = true
    for (const expression of this.expressions) expression.attach?.()
  }
  detach(): void {
    if (!this.#inForce) return
    this.#inForce = false
    for (const expression of this.expressions) expression.detach?.()
  }
}

export class BaseChain {
  chain!: Chain
  readonly type: ChainType
  readonly point: number
  readonly priority: number
  /** NF_ACCEPT or NF_DROP. */
  policy = NF_ACCEPT
  /** Of packets that the policy decided on: absent where nobody has asked for them. */
  counters: { packets: number; bytes: number } | undefined = undefined
  readonly #hooks: { readonly isV4: boolean; readonly hook: NetfilterHook }[] = []

  constructor(type: ChainType, point: number, priority: number) {
    this.type = type
    this.point = point
    this.priority = priority
  }

  register(): void {
    if (this.#hooks.length > 0) return
    const { family, netfilter } = this.chain.table
    for (const isV4 of [true, false]) {
      if (family !== NFPROTO_INET && family !== (isV4 ? NFPROTO_IPV4 : NFPROTO_IPV6)) continue
      const hook = new ChainHook(this, isV4)
      this.#hooks.push({ isV4, hook })
      if (this.type === 'nat') netfilter.nat.add(isV4, this.point, hook)
      else netfilter.stack.hooks.add(isV4, this.point, hook)
    }
  }
  unregister(): void {
    const { netfilter } = this.chain.table
    for (const { isV4, hook } of this.#hooks) {
      if (this.type === 'nat') netfilter.nat.remove(isV4, this.point, hook)
      else netfilter.stack.hooks.remove(isV4, this.point, hook)
    }
    this.#hooks.length = 0
  }
}

class ChainHook extends RulesHook {
  readonly #base: BaseChain

  constructor(base: BaseChain, isV4: boolean) {
    super(base.chain.table.ruleset, isV4, base.priority)
    this.#base = base
  }
  protected override run(evaluation: Evaluation): number {
    return evaluation.run(this.#base)
  }
}

/** Which points a type of chain can be at. */
export function isPointOf(type: ChainType, point: number): boolean {
  // NAT decides everywhere but in between; routes are made only for what is sent from here.
  if (type === 'nat') return point !== NF_INET_FORWARD
  return type === 'filter' || point === NF_INET_LOCAL_OUT
}
