/** RuleTracer: who hears of the way that marked packets (Packet.traceId) take through rules. */
import type { Chain, Rule } from './chain.ts'
import type { Evaluation } from './evaluation.ts'

export interface RuleTracer {
  /**
   * `type`: NFT_TRACETYPE_*. `rule`: undefined where a chain has ended, or its policy decides. `first`: nothing has been told
   * of the packet in this base chain yet.
   */
  traced(
    run: Evaluation,
    type: number,
    chain: Chain,
    rule: Rule | undefined,
    verdict: number,
    first: boolean,
  ): void
}
