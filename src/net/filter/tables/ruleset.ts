/**
 * Ruleset: the tables of nf_tables of one namespace. A table has chains of rules and sets of elements; base chains hang at
 * hook points. All of it is changed by batches alone (netlink/netfilter/batch.ts), each of which takes effect whole or not at
 * all, and counts `generation` up.
 *
 * Table, Chain, Rule and NfSet live while they are in the maps and lists here; a batch that fails puts back what it took out.
 */
import { NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6, NFT_TABLE_F_DORMANT } from '../../../abi/constants.ts'
import type { Netfilter } from '../netfilter.ts'
import type { Chain } from './chain.ts'
import type { Evaluation } from './evaluation.ts'
import type { NfObject } from './object.ts'
import type { NfSet } from './set.ts'
import { SetNumbers } from './set-numbers.ts'

export class Ruleset {
  readonly netfilter: Netfilter
  /** In order of their making, by `tableKey`. */
  readonly tables = new Map<string, Table>()
  generation = 1
  /** Those that no packet is in. */
  readonly evaluations: Evaluation[] = []
  #handles = 0
  #chainNames = 0

  constructor(netfilter: Netfilter) {
    this.netfilter = netfilter
  }

  find(family: number, name: string): Table | undefined {
    return this.tables.get(tableKey(family, name))
  }
  byHandle(family: number, handle: number): Table | undefined {
    for (const table of this.tables.values())
      if (table.family === family && table.handle === handle) return table
    return undefined
  }
  nextHandle(): number {
    return ++this.#handles
  }
  /** For a chain that is one rule's own: no other one of the table has it. */
  nextChainName({ chains }: Table): string {
    let name: string
    do name = `__chain${++this.#chainNames}`
    while (chains.has(name))
    return name
  }
}

export function tableKey(family: number, name: string): string {
  return `${family} ${name}`
}

export function isSupportedFamily(family: number): boolean {
  return family === NFPROTO_INET || family === NFPROTO_IPV4 || family === NFPROTO_IPV6
}

export class Table {
  readonly ruleset: Ruleset
  readonly family: number
  readonly name: string
  readonly handle: number
  /** NFT_TABLE_F_* */
  flags: number
  readonly userData: Uint8Array | undefined
  readonly chains = new Map<string, Chain>()
  readonly sets = new Map<string, NfSet>()
  /** By `objectKey`. */
  readonly objects = new Map<string, NfObject>()
  readonly setNumbers = new SetNumbers()
  #handles = 0

  constructor(
    ruleset: Ruleset,
    family: number,
    name: string,
    flags: number,
    userData: Uint8Array | undefined,
  ) {
    this.ruleset = ruleset
    this.family = family
    this.name = name
    this.flags = flags
    this.userData = userData
    this.handle = ruleset.nextHandle()
  }

  get netfilter(): Netfilter {
    return this.ruleset.netfilter
  }
  /** Its base chains see no packets. */
  get dormant(): boolean {
    return (this.flags & NFT_TABLE_F_DORMANT) !== 0
  }
  /** For chains, rules and sets. */
  nextHandle(): number {
    return ++this.#handles
  }
  chainByHandle(handle: number): Chain | undefined {
    for (const chain of this.chains.values()) if (chain.handle === handle) return chain
    return undefined
  }
  setByHandle(handle: number): NfSet | undefined {
    for (const set of this.sets.values()) if (set.handle === handle) return set
    return undefined
  }
  objectByHandle(type: number, handle: number): NfObject | undefined {
    for (const object of this.objects.values())
      if (object.type === type && object.handle === handle) return object
    return undefined
  }
}
