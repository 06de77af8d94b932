/**
 * Evaluation: one packet's way through the rules of a base chain: registers, the verdict, and where to go on after a jump.
 * Expressions read and write it. The ruleset keeps those that are not in
 * use: while one runs, a rule may send a packet that runs through rules itself.
 */
import {
  NF_ACCEPT,
  NF_DROP,
  NFT_BREAK,
  NFT_CONTINUE,
  NFT_GOTO,
  NFT_JUMP,
  NFT_RETURN,
  NFT_TRACETYPE_POLICY,
  NFT_TRACETYPE_RULE,
} from '../../../abi/constants.ts'
import type { IpStack } from '../../ip-stack.ts'
import type { NetDevice } from '../../link/device.ts'
import type { Packet } from '../../packet.ts'
import type { BaseChain, Chain, Rule } from './chain.ts'
import { REGISTERS_SIZE } from './registers.ts'

/** NFT_JUMP_STACK_SIZE: deeper jumps are refused when rules are made. */
export const MAX_JUMPS = 16
/** What one packet may cost: jumps of jumps could else keep the kernel busy for ever. A rule is a step at least. */
const MAX_STEPS = 1 << 20

export class Evaluation {
  readonly bytes = new Uint8Array(REGISTERS_SIZE)
  readonly view = new DataView(this.bytes.buffer)
  /** NFT_CONTINUE, NFT_BREAK…, or NF_*. */
  verdict = NFT_CONTINUE
  /** Of a match that says that the packet is to be dropped, whatever else the rule says (hotdrop). */
  dropped = false
  /** How many more there may be. Expressions that take much longer than others take theirs from it. */
  steps = MAX_STEPS
  /** Of NFT_JUMP and NFT_GOTO. */
  target: Chain | undefined = undefined
  stack!: IpStack
  isV4 = true
  point = 0
  packet!: Packet
  input: NetDevice | undefined = undefined
  output: NetDevice | undefined = undefined
  base!: BaseChain
  readonly #returnChains: Chain[] = []
  /** Of a traced packet: it has been described. */
  #told = false
  readonly #returnIndices: number[] = []

  /** Nothing that it has seen is to be kept alive. */
  end(): void {
    this.target = this.input = this.output = undefined
    this.#returnChains.length = this.#returnIndices.length = 0
  }

  begin(
    stack: IpStack,
    isV4: boolean,
    point: number,
    packet: Packet,
    input: NetDevice | undefined,
    output: NetDevice | undefined,
  ): void {
    this.dropped = false
    this.steps = MAX_STEPS
    this.stack = stack
    this.isV4 = isV4
    this.point = point
    this.packet = packet
    this.input = input
    this.output = output
  }

  /** NF_* */
  run(base: BaseChain): number {
    this.base = base
    this.#told = false
    const { packet } = this
    let { chain } = base
    let { rules }: { rules: readonly Rule[] } = chain
    let at = 0
    for (;;) {
      let ends = at >= rules.length
      if (ends) {
        // As Linux says it: not NFT_TRACETYPE_RETURN.
        if (packet.traceId !== 0) this.#trace(NFT_TRACETYPE_RULE, chain, undefined, NFT_CONTINUE)
      } else {
        if (--this.steps <= 0) return NF_DROP
        const rule = rules[at++]
        this.#rule(rule)
        const { verdict } = this
        if (verdict === NFT_BREAK) continue
        ends = verdict === NFT_RETURN
        if (packet.traceId !== 0) this.#trace(NFT_TRACETYPE_RULE, chain, rule, verdict)
        if (verdict === NFT_CONTINUE) continue
        if (verdict >= 0) return verdict
      }
      if (ends) {
        const back = this.#returnChains.pop()
        if (back === undefined) return this.#policy(base)
        chain = back
        rules = chain.rules
        at = this.#returnIndices.pop()!
        continue
      }
      const { verdict } = this
      if (verdict !== NFT_JUMP && verdict !== NFT_GOTO) return NF_DROP
      if (verdict === NFT_JUMP) {
        if (this.#returnChains.length >= MAX_JUMPS) return NF_DROP
        this.#returnChains.push(chain)
        this.#returnIndices.push(at)
      }
      chain = this.target!
      rules = chain.rules
      at = 0
    }
  }

  #trace(type: number, chain: Chain, rule: Rule | undefined, verdict: number): void {
    this.base.chain.table.netfilter.tracer?.traced(this, type, chain, rule, verdict, !this.#told)
    this.#told = true
  }

  #rule(rule: Rule): void {
    this.verdict = NFT_CONTINUE
    for (const expression of rule.expressions) {
      expression.evaluate(this)
      if (this.verdict !== NFT_CONTINUE) return
    }
  }

  #policy({ chain, policy, counters }: BaseChain): number {
    if (this.packet.traceId !== 0) this.#trace(NFT_TRACETYPE_POLICY, chain, undefined, policy)
    if (counters !== undefined) {
      counters.packets++
      counters.bytes += this.packet.end - this.packet.network
    }
    return policy === NF_ACCEPT ? NF_ACCEPT : NF_DROP
  }
}
