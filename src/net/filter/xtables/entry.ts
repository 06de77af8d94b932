/**
 * XtEntry: one rule of a table of x_tables. Made from its part of the table's blob (read.ts); lives as long as the TableInfo
 * that has it.
 */
import type { Extension, Match, Target } from '../tables/compat/extension.ts'
import type { HeaderMatch } from './header-match.ts'

export class XtEntry {
  /** In the blob. */
  readonly offset: number
  readonly header: HeaderMatch
  /** Neither header nor matches ask anything. */
  readonly unconditional: boolean
  /** A jump here does not come back. */
  readonly isGoto: boolean
  /** Of the target ''; 0: another target. */
  readonly verdict: number
  /** Where the extensions' structs are; the target's is the last. */
  readonly parts: readonly EntryPart[]
  /** Index of the entry at which `verdict` goes on; -1: nowhere. */
  jump = -1
  /** Points from which it can be reached, as bits. */
  points = 0
  matches: readonly Match[] = []
  /** Undefined: a verdict. */
  target: Target | undefined = undefined
  /** What its matches and target are, where they are no built-in ones. */
  extensions: readonly Extension<unknown>[] = []
  packets = 0
  bytes = 0

  constructor(
    offset: number,
    header: HeaderMatch,
    unconditional: boolean,
    isGoto: boolean,
    verdict: number,
    parts: readonly EntryPart[],
  ) {
    this.offset = offset
    this.header = header
    this.unconditional = unconditional
    this.isGoto = isGoto
    this.verdict = verdict
    this.parts = parts
  }

  /** Chains end with such ones: whoever comes here goes no further in this one. */
  get endsChain(): boolean {
    return this.unconditional && this.verdict < 0
  }
}

/** One `struct xt_entry_match` or `xt_entry_target`. */
export interface EntryPart {
  readonly name: string
  readonly revision: number
  /** Of what stands behind its head. */
  readonly at: number
  readonly length: number
}
