/** Finding a text in a packet, in time that no packet can make long: Knuth, Morris and Pratt's way. */

export class TextSearch {
  readonly #pattern: Uint8Array
  /** For each length of a beginning of the pattern: how long the longest beginning is that it ends with. */
  readonly #borders: Uint8Array
  readonly #foldsCase: boolean

  /** `pattern`: 1 to 255 bytes. */
  constructor(pattern: Uint8Array, foldsCase: boolean) {
    this.#foldsCase = foldsCase
    this.#pattern = pattern.map(byte => this.#fold(byte))
    this.#borders = new Uint8Array(pattern.length)
    for (let i = 1, border = 0; i < pattern.length; i++) {
      while (border > 0 && this.#pattern[i] !== this.#pattern[border]) border = this.#borders[border - 1]
      if (this.#pattern[i] === this.#pattern[border]) border++
      this.#borders[i] = border
    }
  }

  /** Whether it stands, whole, in `bytes` from `start` up to `end`. */
  isIn(bytes: Uint8Array, start: number, end: number): boolean {
    const pattern = this.#pattern
    for (let i = start, found = 0; i < end; i++) {
      const byte = this.#fold(bytes[i])
      while (found > 0 && byte !== pattern[found]) found = this.#borders[found - 1]
      if (byte === pattern[found] && ++found === pattern.length) return true
    }
    return false
  }

  #fold(byte: number): number {
    return this.#foldsCase && byte >= 0x61 && byte <= 0x7a ? byte - 0x20 : byte
  }
}
