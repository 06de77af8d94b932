/**
 * Reads strings of the guest that lie close together, as argv and envp do: a page at a time, not a string at a time. What
 * is read once is not read again, so a reader serves one call.
 */
import { EFAULT, ENAMETOOLONG } from '../abi/errno.ts'
import { fromBytes } from '../base/bytes.ts'
import type { GuestAddr, Mm } from './mm.ts'
import { PAGE_SIZE } from './vma.ts'

export class StringReader {
  readonly #mm: Mm
  readonly #page = new Uint8Array(PAGE_SIZE)
  /** Which bytes `#page` begins with. */
  #start = 0
  #end = 0

  constructor(mm: Mm) {
    this.#mm = mm
  }

  /** As Mm.readString. */
  read(address: GuestAddr, limit: number): string | number {
    let text = ''
    for (let at = address; text.length < limit; at = this.#end) {
      if (at < this.#start || at >= this.#end) {
        const status = this.#fill(at)
        if (status < 0) return status
      }
      const from = at - this.#start
      const end = this.#page.subarray(0, this.#end - this.#start).indexOf(0, from)
      if (end >= 0) {
        text += fromBytes(this.#page, from, end)
        return text.length < limit ? text : -ENAMETOOLONG
      }
      text += fromBytes(this.#page, from, this.#end - this.#start)
    }
    return -ENAMETOOLONG
  }

  /** The rest of the page that `at` lies on, as far as it can be read. */
  #fill(at: GuestAddr): number {
    const bytes = this.#page.subarray(0, PAGE_SIZE - (at % PAGE_SIZE))
    const count = this.#mm.read(at, bytes)
    if (count <= 0) return -EFAULT
    this.#start = at
    this.#end = at + count
    return 0
  }
}
