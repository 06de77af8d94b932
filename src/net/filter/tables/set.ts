/**
 * NfSet: a set of keys of one length, or a map from them to values or verdicts. Three kinds: plain keys (found by hash),
 * intervals (found by bisection: an element is where something begins or, with NFT_SET_ELEM_INTERVAL_END, where it has
 * ended), and concatenations of ranges (looked through one by one).
 *
 * An anonymous set is one rule's and goes with it. `bindings` are the rules that look things up in it.
 */
import {
  NFT_BREAK,
  NFT_DATA_VERDICT,
  NFT_SET_ANONYMOUS,
  NFT_SET_CONCAT,
  NFT_SET_ELEM_CATCHALL,
  NFT_SET_ELEM_INTERVAL_END,
  NFT_SET_INTERVAL,
  NFT_SET_MAP,
} from '../../../abi/constants.ts'
import { fromBytes } from '../../../base/bytes.ts'
import { Verdict } from './data.ts'
import type { Evaluation } from './evaluation.ts'
import type { Expression } from './expression.ts'
import type { NfObject } from './object.ts'
import type { Table } from './ruleset.ts'

/** Behind a key of intervals, for their order. */
const ENDS = '\0'
const BEGINS = '\x01'

export interface SetElement {
  readonly key: Uint8Array
  /** The last key of a range, of concatenations. */
  readonly keyEnd: Uint8Array | undefined
  /** NFT_SET_ELEM_* */
  readonly flags: number
  readonly data: Uint8Array | Verdict | undefined
  /** Of a map to objects. */
  readonly object: NfObject | undefined
  readonly userData: Uint8Array | undefined
  /** Milliseconds; 0: it stays. */
  readonly timeout: number
  /** Monotonic ns. */
  expires: number
  readonly expressions: readonly Expression[]
}

/** A packet belongs to the element: what that has of its own sees it, and may have the rule left. */
export function seePacket({ expressions }: SetElement, run: Evaluation): void {
  for (const expression of expressions) {
    expression.evaluate(run)
    if (run.verdict === NFT_BREAK) return
  }
}

interface Sorted {
  readonly keys: readonly string[]
  readonly elements: readonly SetElement[]
}

export interface SetDescription {
  readonly name: string
  readonly flags: number
  readonly keyType: number
  readonly keyLength: number
  readonly dataType: number
  readonly dataLength: number
  /** NFT_OBJECT_*, of a map to objects. */
  readonly objectType: number
  readonly policy: number | undefined
  /** How many elements it is for, 0 where nobody has said. */
  readonly size: number
  /** Lengths of the fields of a concatenation. */
  readonly fields: readonly number[]
  /** Milliseconds. */
  readonly timeout: number
  readonly gcInterval: number
  readonly userData: Uint8Array | undefined
  /** What each element has of its own. */
  readonly expressions: readonly Uint8Array[]
}

export class NfSet {
  readonly table: Table
  readonly description: SetDescription
  /** Its name as it was asked for, where that has a `%d`. */
  readonly pattern: string
  readonly handle: number
  /** How many elements it may have, 0 where nobody has said; then the first rule that adds to it says so. */
  limit: number
  bindings = 0
  readonly #byKey = new Map<string, SetElement>()
  /** Of intervals: in order of their keys, ends before beginnings. Made anew for the first who looks after a change. */
  #sorted: Sorted | undefined = undefined
  #catchAll: SetElement | undefined = undefined
  /** An anonymous one whose rule is gone: what its elements name is free. A batch that fails may bring it back. */
  #gone = false

  constructor(table: Table, description: SetDescription, pattern = description.name) {
    this.table = table
    this.description = description
    this.pattern = pattern
    this.handle = table.nextHandle()
    this.limit = description.size
  }

  get name(): string {
    return this.description.name
  }
  get anonymous(): boolean {
    return (this.description.flags & NFT_SET_ANONYMOUS) !== 0
  }
  get isMap(): boolean {
    return (this.description.flags & NFT_SET_MAP) !== 0
  }
  get isVerdictMap(): boolean {
    return this.isMap && this.description.dataType === NFT_DATA_VERDICT
  }
  get intervals(): boolean {
    return (this.description.flags & NFT_SET_INTERVAL) !== 0 && !this.ranges
  }
  /** Of concatenated fields. */
  get ranges(): boolean {
    const { flags, fields } = this.description
    return (flags & NFT_SET_INTERVAL) !== 0 && (flags & NFT_SET_CONCAT) !== 0 && fields.length > 1
  }
  get size(): number {
    return this.#byKey.size + (this.#catchAll === undefined ? 0 : 1)
  }

  /** A rule that uses it has come, or gone. An anonymous set is there as long as its rule is. */
  bind(): void {
    this.bindings++
    if (!this.anonymous) return
    this.table.sets.set(this.name, this)
    if (!this.#gone) return
    this.#gone = false
    for (const element of this.#all()) attach(element)
  }
  unbind(): void {
    if (--this.bindings > 0 || !this.anonymous) return
    this.table.sets.delete(this.name)
    this.table.setNumbers.free(this)
    this.#gone = true
    for (const element of this.#all()) detach(element)
  }

  *#all(): IterableIterator<SetElement> {
    yield* this.#byKey.values()
    if (this.#catchAll !== undefined) yield this.#catchAll
  }

  /** Takes out those whose time is over. */
  sweep(): void {
    const now = this.#now()
    for (const element of this.#byKey.values()) if (element.expires <= now) this.remove(element)
  }

  /** Those whose time is not over. */
  *elements(): IterableIterator<SetElement> {
    const now = this.#now()
    const list = this.intervals ? [...this.#inOrder().elements].reverse() : this.#byKey.values()
    for (const element of list) if (element.expires > now) yield element
    if (this.#catchAll !== undefined) yield this.#catchAll
  }

  /** The element that is just this one. */
  find(key: Uint8Array, keyEnd: Uint8Array | undefined, flags: number): SetElement | undefined {
    if ((flags & NFT_SET_ELEM_CATCHALL) !== 0) return this.#catchAll
    const name = elementName(key, keyEnd, flags)
    const element = this.#byKey.get(name)
    if (element === undefined || element.expires > this.#now()) return element
    this.remove(element)
    return undefined
  }

  add(element: SetElement): void {
    if ((element.flags & NFT_SET_ELEM_CATCHALL) !== 0) this.#catchAll = element
    else {
      this.#byKey.set(elementName(element.key, element.keyEnd, element.flags), element)
      this.#sorted = undefined
    }
    if (!this.#gone) attach(element)
  }
  /** Does nothing for one that is gone already: its time may have been over. */
  remove(element: SetElement): void {
    if (element === this.#catchAll) this.#catchAll = undefined
    else {
      const name = elementName(element.key, element.keyEnd, element.flags)
      if (this.#byKey.get(name) !== element) return
      this.#byKey.delete(name)
      this.#sorted = undefined
    }
    if (!this.#gone) detach(element)
  }

  /** The element that the key at `at` of `bytes` belongs to. */
  lookup(bytes: Uint8Array, at: number): SetElement | undefined {
    const { keyLength } = this.description
    const found = this.ranges
      ? this.#inRanges(bytes, at)
      : this.intervals
        ? this.#inIntervals(fromBytes(bytes, at, at + keyLength))
        : this.#byKey.get(fromBytes(bytes, at, at + keyLength))
    if (found === undefined || found.expires <= this.#now()) return this.#catchAll
    return found
  }

  #inIntervals(key: string): SetElement | undefined {
    const { keys, elements } = this.#inOrder()
    const wanted = key + BEGINS
    let low = 0
    let high = keys.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (keys[middle] <= wanted) low = middle + 1
      else high = middle
    }
    const found = elements[low - 1]
    if (found === undefined || (found.flags & NFT_SET_ELEM_INTERVAL_END) !== 0) return undefined
    return found
  }

  #inOrder(): Sorted {
    if (this.#sorted !== undefined) return this.#sorted
    const pairs = Array.from(this.#byKey.values(), element => ({ element, key: sortKeyOf(element) }))
    pairs.sort((a, b) => (a.key < b.key ? -1 : 1))
    this.#sorted = { keys: pairs.map(({ key }) => key), elements: pairs.map(({ element }) => element) }
    return this.#sorted
  }

  #inRanges(bytes: Uint8Array, at: number): SetElement | undefined {
    const { fields } = this.description
    for (const element of this.#byKey.values()) {
      let offset = 0
      let fits = true
      for (const length of fields) {
        const value = fromBytes(bytes, at + offset, at + offset + length)
        const last = element.keyEnd ?? element.key
        fits =
          fromBytes(element.key, offset, offset + length) <= value &&
          value <= fromBytes(last, offset, offset + length)
        if (!fits) break
        // Each field fills whole registers.
        offset += (length + 3) & ~3
      }
      if (fits) return element
    }
    return undefined
  }

  #now(): number {
    return this.table.netfilter.stack.runtime.now()
  }
}

/** What an element names is in use from now on, or no more. */
function attach({ data, object, expressions }: SetElement): void {
  if (data instanceof Verdict) data.attach()
  object?.attach()
  for (const expression of expressions) expression.attach?.()
}
function detach({ data, object, expressions }: SetElement): void {
  if (data instanceof Verdict) data.detach()
  object?.detach()
  for (const expression of expressions) expression.detach?.()
}

function elementName(key: Uint8Array, keyEnd: Uint8Array | undefined, flags: number): string {
  if (keyEnd !== undefined) return `${fromBytes(key)}-${fromBytes(keyEnd)}`
  return (flags & NFT_SET_ELEM_INTERVAL_END) !== 0 ? `${fromBytes(key)}|` : fromBytes(key)
}

/** Where one interval ends and the next begins, the key belongs to the next. */
function sortKeyOf({ key, flags }: SetElement): string {
  return fromBytes(key) + ((flags & NFT_SET_ELEM_INTERVAL_END) !== 0 ? ENDS : BEGINS)
}
