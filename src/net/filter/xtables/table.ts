/**
 * XtTable: one table of iptables-legacy (ip_tables, ip6_tables): `filter`, `nat`… Made with a policy of ACCEPT in each of its
 * chains when somebody first asks for it by name (tables.ts); from then on it sees packets.
 *
 * Its rules are those of nf_tables' expressions `match` and `target`: the same extensions (../tables/compat), walked through as
 * Linux does it: entry by entry, with a stack of where jumps have come from.
 */
import { NF_ACCEPT, NF_DROP, NF_QUEUE, NFT_CONTINUE } from '../../../abi/constants.ts'
import type { Netfilter } from '../netfilter.ts'
import type { Evaluation } from '../tables/evaluation.ts'
import { RulesHook } from '../tables/rules-hook.ts'
import type { XtEntry } from './entry.ts'
import { XT_RETURN } from './read.ts'
import type { TableInfo } from './table-info.ts'

export interface TableDefinition {
  readonly name: string
  /** NF_INET_*, each with the priority there. */
  readonly points: readonly (readonly [point: number, priority: number])[]
}

export class XtTable {
  readonly definition: TableDefinition
  readonly #netfilter: Netfilter
  #info: TableInfo

  constructor(netfilter: Netfilter, definition: TableDefinition, info: TableInfo) {
    this.definition = definition
    this.#netfilter = netfilter
    this.#info = info
    const { isV4 } = info.layout
    for (const [point, priority] of definition.points) {
      const hook = new TableHook(this, netfilter, isV4, priority)
      // NAT's tables are asked by NAT, once for each connection.
      if (definition.name === 'nat') netfilter.nat.add(isV4, point, hook)
      else netfilter.stack.hooks.add(isV4, point, hook)
    }
  }

  get info(): TableInfo {
    return this.#info
  }
  /** Bits by NF_INET_*. */
  get points(): number {
    return this.definition.points.reduce((bits, [point]) => bits | (1 << point), 0)
  }

  /** The rules that there were. */
  replace(info: TableInfo): TableInfo {
    const old = this.#info
    info.attach(this.#netfilter)
    this.#info = info
    old.detach(this.#netfilter)
    return old
  }

  /** NF_* */
  walk(run: Evaluation): number {
    const { point, packet, input, output } = run
    const { entries, starts, ends } = this.#info
    let at = starts[point]
    let callers: number[] | undefined
    while (--run.steps > 0) {
      const entry = entries[at]
      if (!entry.header.matches(packet, input, output) || !matchesAll(entry, run)) {
        if (run.dropped) return NF_DROP
        at++
        continue
      }
      entry.packets++
      entry.bytes += packet.end - packet.network
      if (entry.target !== undefined) {
        const verdict = entry.target.apply(run, this.#netfilter)
        if (verdict !== NFT_CONTINUE) return verdict
        at++
      } else if (entry.jump >= 0) {
        if (entry.jump !== at + 1 && !entry.isGoto) {
          callers ??= []
          callers.push(at)
        }
        at = entry.jump
      } else if (entry.verdict === XT_RETURN) {
        const caller = callers?.pop()
        at = caller === undefined ? ends[point] : caller + 1
      } else {
        const code = -entry.verdict - 1
        return code === NF_ACCEPT || code === NF_QUEUE ? code : NF_DROP
      }
    }
    return NF_DROP
  }
}

function matchesAll({ matches }: XtEntry, run: Evaluation): boolean {
  for (const match of matches) if (!match.matches(run)) return false
  return true
}

class TableHook extends RulesHook {
  readonly #table: XtTable

  constructor(table: XtTable, { ruleset }: Netfilter, isV4: boolean, priority: number) {
    super(ruleset, isV4, priority)
    this.#table = table
  }
  protected override run(evaluation: Evaluation): number {
    return this.#table.walk(evaluation)
  }
}
