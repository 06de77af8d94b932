/**
 * TableInfo: the rules of a table, which are replaced as a whole. What its rules use of conntrack is in use from `attach` to
 * `detach`.
 */

import { XT_COUNTERS } from '../../../abi/layout.ts'
import { put64 } from '../../../base/words.ts'
import type { Netfilter } from '../netfilter.ts'
import type { XtEntry } from './entry.ts'
import type { FamilyLayout } from './layout.ts'

export class TableInfo {
  readonly layout: FamilyLayout
  readonly entries: readonly XtEntry[]
  /** Indices of the first rule and of the policy, by point; points that the table has not are left out. */
  readonly starts: readonly number[]
  readonly ends: readonly number[]
  /** As it came. */
  readonly #bytes: Uint8Array

  constructor(
    layout: FamilyLayout,
    bytes: Uint8Array,
    entries: readonly XtEntry[],
    starts: readonly number[],
    ends: readonly number[],
  ) {
    this.layout = layout
    this.#bytes = bytes
    this.entries = entries
    this.starts = starts
    this.ends = ends
  }

  get size(): number {
    return this.#bytes.length
  }

  attach(netfilter: Netfilter): void {
    for (const { extensions, matches, target } of this.entries) {
      for (const { usesConntrack } of extensions)
        if (usesConntrack === true) netfilter.conntrack.use(this.layout.family)
      for (const match of matches) match.attach?.()
      target?.attach?.()
    }
  }
  detach(netfilter: Netfilter): void {
    for (const { extensions, matches, target } of this.entries) {
      for (const { usesConntrack } of extensions)
        if (usesConntrack === true) netfilter.conntrack.unuse(this.layout.family)
      for (const match of matches) match.detach?.()
      target?.detach?.()
    }
  }

  /** `struct xt_counters` of all entries, in their order. */
  counters(): Uint8Array {
    const bytes = new Uint8Array(this.entries.length * XT_COUNTERS.size)
    const view = new DataView(bytes.buffer)
    for (const [index, entry] of this.entries.entries()) writeCounters(view, index * XT_COUNTERS.size, entry)
    return bytes
  }

  /** The entries as getsockopt(2) shows them: with their counters, without what is the kernel's own in their extensions. */
  show(): Uint8Array {
    const bytes = this.#bytes.slice()
    const view = new DataView(bytes.buffer)
    const { counters, comefrom } = this.layout.entry
    for (const entry of this.entries) {
      writeCounters(view, entry.offset + counters, entry)
      view.setUint32(entry.offset + comefrom, entry.points, true)
      entry.extensions.forEach(({ userSize }, index) => {
        const { at, length } = entry.parts[index]
        if (userSize !== undefined) bytes.fill(0, at + userSize, at + length)
      })
    }
    return bytes
  }
}

function writeCounters(view: DataView, at: number, { packets, bytes }: XtEntry): void {
  put64(view, at + XT_COUNTERS.pcnt, packets)
  put64(view, at + XT_COUNTERS.bcnt, bytes)
}
