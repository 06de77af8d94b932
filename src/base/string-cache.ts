/**
 * Byte strings that come again and again, such as the paths that a program opens: found by their bytes, so that a hit
 * makes no new string, and the one it gives has its hash already for the tables in which it is looked up next.
 *
 * Direct-mapped: a string lives until another one takes its place.
 */
import { fromBytes } from './bytes.ts'

const ENTRIES = 1024
/** Longer ones are not for this cache. */
const MAX_LENGTH = 255

export class StringCache {
  readonly #strings: string[] = new Array(ENTRIES).fill('')
  /** The guest may change its bytes at any time: they are read once, into here. */
  readonly #bytes = new Uint8Array(MAX_LENGTH)

  /** The NUL-terminated string that `bytes` begins with; undefined when there is none, or a long one. */
  read(bytes: Uint8Array): string | undefined {
    const own = this.#bytes
    const limit = Math.min(bytes.length, MAX_LENGTH)
    let hash = 0
    let length = 0
    for (; length < limit; length++) {
      const byte = bytes[length]
      if (byte === 0) break
      own[length] = byte
      hash = (Math.imul(hash, 31) + byte) | 0
    }
    if (length === limit) return undefined
    const entry = (hash ^ (hash >>> 10)) & (ENTRIES - 1)
    const known = this.#strings[entry]
    if (known.length === length && isText(own, known)) return known
    const made = fromBytes(own, 0, length)
    this.#strings[entry] = made
    return made
  }
}

function isText(bytes: Uint8Array, text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) !== bytes[i]) return false
  return true
}
