/**
 * SetNumbers: which numbers names like `__set%d` have in a table. The first free one is found without looking through those
 * that are taken: nft makes an anonymous set for each `{ … }` of a rule.
 */
import type { NfSet } from './set.ts'

/** As many as Linux gives. */
const MAX_NUMBERED = 65536
/** Patterns that are remembered: nft uses a handful. */
const MAX_PATTERNS = 64

export class SetNumbers {
  /** By pattern: below it all are taken. */
  readonly #lowest = new Map<string, number>()

  /** The first number that nobody has; undefined: they are used up. */
  take(pattern: string, isTaken: (name: string) => boolean): number | undefined {
    for (let number = this.#lowest.get(pattern) ?? 0; number < MAX_NUMBERED; number++) {
      if (isTaken(numberedName(pattern, number))) continue
      if (this.#lowest.size >= MAX_PATTERNS && !this.#lowest.has(pattern)) this.#lowest.clear()
      this.#lowest.set(pattern, number)
      return number
    }
    return undefined
  }

  /** The set is gone. */
  free({ pattern, name }: NfSet): void {
    const lowest = this.#lowest.get(pattern)
    if (lowest === undefined) return
    const at = pattern.indexOf('%d')
    const number = Number(name.slice(at, name.length - (pattern.length - at - 2)))
    if (number < lowest) this.#lowest.set(pattern, number)
  }
}

export function numberedName(pattern: string, number: number): string {
  return pattern.replace('%d', String(number))
}
