/** RulesHook: rules as a hook of the stack's or of NAT's: each packet gets an Evaluation of those that the ruleset keeps. */
import type { NetfilterHook } from '../../ip/hooks.ts'
import type { IpStack } from '../../ip-stack.ts'
import type { NetDevice } from '../../link/device.ts'
import type { Packet } from '../../packet.ts'
import { Evaluation } from './evaluation.ts'
import type { Ruleset } from './ruleset.ts'

export abstract class RulesHook implements NetfilterHook {
  readonly priority: number
  readonly #ruleset: Ruleset
  readonly #isV4: boolean

  constructor(ruleset: Ruleset, isV4: boolean, priority: number) {
    this.#ruleset = ruleset
    this.#isV4 = isV4
    this.priority = priority
  }

  /** What the rules say: NF_*. */
  protected abstract run(evaluation: Evaluation): number

  filter(
    stack: IpStack,
    point: number,
    packet: Packet,
    input: NetDevice | undefined,
    output: NetDevice | undefined,
  ): number {
    const { evaluations } = this.#ruleset
    const evaluation = evaluations.pop() ?? new Evaluation()
    evaluation.begin(stack, this.#isV4, point, packet, input, output)
    const verdict = this.run(evaluation)
    evaluation.end()
    evaluations.push(evaluation)
    return verdict
  }
}
