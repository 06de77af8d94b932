/**
 * eventfd(2): a 64-bit counter behind a descriptor. A write adds to it, a read takes it all (or one, as a semaphore).
 * The counter is two words; its largest value is 2^64 - 2.
 */
import {
  EFD_SEMAPHORE,
  O_NONBLOCK,
  O_RDWR,
  POLLERR,
  POLLIN,
  POLLOUT,
  POLLRDNORM,
  POLLWRNORM,
} from '../../abi/constants.ts'
import { EAGAIN, EFAULT, EINVAL } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { IoDst, IoSrc } from '../../base/io.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import { File } from '../../vfs/file.ts'
import type { Path } from '../../vfs/path.ts'

const WORD = 0x100000000
const MAX_WORD = 0xffffffff

export class EventFdFile extends File {
  readonly #queue = new WaitQueue()
  readonly #semaphore: boolean
  readonly id: number
  #lo: number
  #hi = 0
  readonly #buffer = new DataView(new ArrayBuffer(8))

  constructor(path: Path, flags: number, cred: Credentials, initial: number, id: number) {
    super(path, O_RDWR | (flags & O_NONBLOCK), cred)
    this.#lo = initial
    this.#semaphore = (flags & EFD_SEMAPHORE) !== 0
    this.id = id
  }

  override get waitQueue(): WaitQueue {
    return this.#queue
  }

  override poll(): number {
    const max = this.#hi === MAX_WORD && this.#lo === MAX_WORD
    let events = 0
    if (this.#lo !== 0 || this.#hi !== 0) events |= POLLIN | POLLRDNORM
    if (max) events |= POLLERR
    // Room for at least 1.
    else if (this.#hi !== MAX_WORD || this.#lo < MAX_WORD - 1) events |= POLLOUT | POLLWRNORM
    return events
  }

  /** It has no position, but seeking is no error. */
  override seek(): number {
    return 0
  }

  override read(into: IoDst): number {
    if (into.remaining < 8) return -EINVAL
    if (this.#lo === 0 && this.#hi === 0) return -EAGAIN
    if (this.#semaphore) {
      this.#buffer.setUint32(0, 1, true)
      this.#buffer.setUint32(4, 0, true)
      if (this.#lo === 0) {
        this.#hi--
        this.#lo = MAX_WORD
      } else this.#lo--
    } else {
      this.#buffer.setUint32(0, this.#lo, true)
      this.#buffer.setUint32(4, this.#hi, true)
      this.#lo = this.#hi = 0
    }
    this.#queue.wake(POLLOUT | POLLWRNORM)
    return into.put(new Uint8Array(this.#buffer.buffer))
  }

  override write(from: IoSrc): number {
    if (from.remaining !== 8) return -EINVAL
    const n = from.take(new Uint8Array(this.#buffer.buffer))
    if (n < 8) return -EFAULT
    const lo = this.#buffer.getUint32(0, true)
    const hi = this.#buffer.getUint32(4, true)
    if (lo === MAX_WORD && hi === MAX_WORD) return -EINVAL
    const low = this.#lo + lo
    const high = this.#hi + hi + (low >= WORD ? 1 : 0)
    const newLo = low >= WORD ? low - WORD : low
    if (high > MAX_WORD || (high === MAX_WORD && newLo === MAX_WORD)) return -EAGAIN
    this.#lo = newLo
    this.#hi = high
    this.#queue.wake(POLLIN | POLLRDNORM)
    return 8
  }

  /** The kernel's own add (eventfd_signal), saturating: for completions reported through an eventfd. */
  signal(): void {
    if (this.#hi === MAX_WORD && this.#lo === MAX_WORD) return
    if (++this.#lo === WORD) {
      this.#lo = 0
      this.#hi++
    }
    this.#queue.wake(POLLIN | POLLRDNORM)
  }

  override fdinfo(): string {
    const count = (BigInt(this.#hi) << 32n) | BigInt(this.#lo)
    const semaphore = this.#semaphore ? 1 : 0
    return `eventfd-count: ${count.toString(16).padStart(16)}\neventfd-id: ${this.id}\neventfd-semaphore: ${semaphore}\n`
  }
}
