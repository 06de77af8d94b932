/**
 * Copies bytes from one descriptor to another for as long as there are any, at the pace of the slower one: it reads again
 * only when all that it has read is written. Meanwhile it waits for the one that is not ready, in Node.js's own loop.
 */
import { EAGAIN, errnoName } from '../abi/errno.ts'
import type { Addon } from '../platform/addon.ts'

const READABLE = 1
const WRITABLE = 2
const BUFFER_SIZE = 32768
/** So many buffers at a time, so that a flood of output holds up nothing else. */
const ROUNDS = 8

export class Copier {
  readonly #addon: Addon
  readonly #source: Watched
  readonly #sink: Watched
  readonly #buffer = Buffer.allocUnsafe(BUFFER_SIZE)
  /** What is read and not written yet. */
  #start = 0
  #end = 0
  #stopped = false
  #finish: () => void = () => {}
  /** The source has ended, one of the two has failed, or the Copier was stopped. */
  readonly done: Promise<void>

  /** The descriptors become non-blocking, and stay open until `done`. A file can be the sink, not the source. */
  constructor(addon: Addon, source: number, sink: number) {
    this.#addon = addon
    this.done = new Promise(resolve => {
      this.#finish = resolve
    })
    this.#source = new Watched(addon, source, () => this.#run())
    this.#sink = new Watched(addon, sink, () => this.#run())
    this.#source.await(READABLE)
  }

  stop(): void {
    if (this.#stopped) return
    this.#stopped = true
    this.#source.end()
    this.#sink.end()
    this.#finish()
  }

  /** When it returns, and is not at its end, one of the two is waited for. */
  #run(): void {
    for (let round = 0; round < ROUNDS && !this.#stopped; round++) {
      if (this.#start === this.#end && !this.#read()) return
      if (!this.#write()) return
    }
  }

  /** Whether there is something to write now. */
  #read(): boolean {
    const length = this.#addon.pread(this.#source.fd, this.#buffer, -1)
    if (length === -EAGAIN) {
      this.#sink.await(0)
      this.#source.await(READABLE)
      return false
    }
    if (length <= 0) {
      // EIO: the last slave of a terminal was closed.
      this.stop()
      return false
    }
    this.#start = 0
    this.#end = length
    return true
  }

  /** Whether something was written. */
  #write(): boolean {
    const length = this.#addon.pwrite(this.#sink.fd, this.#buffer.subarray(this.#start, this.#end), -1)
    if (length === -EAGAIN) {
      this.#source.await(0)
      this.#sink.await(WRITABLE)
      return false
    }
    if (length < 0) {
      this.stop()
      return false
    }
    this.#start += length
    return true
  }
}

/** A descriptor that is waited for now and then. */
class Watched {
  readonly fd: number
  readonly #addon: Addon
  readonly #ready: () => void
  #watch: object | undefined = undefined
  #events = 0

  constructor(addon: Addon, fd: number, ready: () => void) {
    this.#addon = addon
    this.fd = fd
    this.#ready = ready
  }

  await(events: number): void {
    if (events === this.#events) return
    this.#events = events
    this.#watch ??= this.#start()
    this.#addon.watchEvents(this.#watch, events)
  }

  end(): void {
    if (this.#watch !== undefined) this.#addon.watchEnd(this.#watch)
    this.#watch = undefined
  }

  #start(): object {
    const watch = this.#addon.watchStart(this.fd, this.#ready)
    if (typeof watch === 'number') throw new Error(`a descriptor can't be waited for: ${errnoName(-watch)}`)
    return watch
  }
}
