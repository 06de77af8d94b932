/**
 * The sentry's side of control connections (protocol.ts).
 *
 * A connection comes from the launcher; it is read until its request is whole, with the descriptors that came along; the
 * request waits for `work`, since what it does must not happen while the platform calls watchers; it is answered once,
 * by whoever serves it, at once or later. Then it ends, unless it was `kept` as the life of a process: signals come in
 * until its end is told by `end`, or the client has gone.
 *
 * Clients are trusted, but not to be quick or right: nothing here waits for one.
 */
import { POLLIN, POLLOUT } from '../abi/constants.ts'
import { EAGAIN } from '../abi/errno.ts'
import type { Log } from '../kernel/kernel.ts'
import type { LinuxHost } from '../platform/linux-host.ts'
import { type ControlAnswer, type ControlRequest, MAX_DESCRIPTORS, MAX_REQUEST } from './protocol.ts'
import { UserError } from './user-error.ts'

/** Throws what is to be answered as an error; a UserError as it is. */
export type RequestHandler = (request: ControlRequest, connection: Connection) => void

export class ControlServer {
  readonly #host: LinuxHost
  readonly #log: Log
  readonly #handle: RequestHandler
  readonly #waiting: Connection[] = []

  constructor(host: LinuxHost, log: Log, handle: RequestHandler) {
    this.#host = host
    this.#log = log
    this.#handle = handle
  }

  /** Takes over `fd`, a non-blocking socket. */
  connected(fd: number): void {
    new Connection(this.#host, fd, connection => this.#waiting.push(connection)).open()
  }

  /** Serves the requests that have come. */
  work(): void {
    while (this.#waiting.length > 0) this.#serve(this.#waiting.shift()!)
  }

  #serve(connection: Connection): void {
    let request: ControlRequest
    try {
      request = JSON.parse(connection.request)
    } catch {
      connection.fail('the request is not JSON')
      return
    }
    try {
      this.#handle(request, connection)
    } catch (error) {
      if (error instanceof UserError) connection.fail(error.message, error.exitStatus)
      else {
        const { message, stack } =
          error instanceof Error ? error : { message: String(error), stack: undefined }
        this.#log.error(`bug: the control request '${request?.command}' failed: ${stack ?? message}`)
        connection.fail(`the sandbox failed: ${message}`)
      }
    } finally {
      connection.closeDescriptors()
    }
  }
}

export class Connection {
  readonly #host: LinuxHost
  readonly #fd: number
  readonly #complete: (connection: Connection) => void
  readonly #pieces: Buffer[] = []
  #length = 0
  #descriptors: number[] = []
  #state: 'asking' | 'waiting' | 'kept' | 'ending' | 'closed' = 'asking'
  #unsent: Uint8Array = new Uint8Array(0)
  /** Of a kept connection: the client sent a signal, or has gone before the end was told. */
  onSignal: (signo: number) => void = () => {}
  onGone: () => void = () => {}

  constructor(host: LinuxHost, fd: number, complete: (connection: Connection) => void) {
    this.#host = host
    this.#fd = fd
    this.#complete = complete
  }

  open(): void {
    const status = this.#host.watch(this.#fd, POLLIN | POLLOUT, () => this.#ready())
    if (status < 0) this.#host.close(this.#fd)
  }

  /** The line, once it is whole. */
  get request(): string {
    return Buffer.concat(this.#pieces).toString()
  }

  /** Whether a descriptor came along at this index. */
  has(index: number): boolean {
    return this.#descriptors[index] !== undefined
  }

  /** The descriptor at an index of the request's: the taker's from here on. Taken twice, it is doubled. */
  takeDescriptor(index: number): number {
    const fd = this.#descriptors[index]
    if (fd === undefined) throw new UserError(`descriptor ${index} did not come with the request`)
    if (fd >= 0) {
      this.#descriptors[index] = -fd - 1
      return fd
    }
    const copy = this.#host.dup(-fd - 1)
    if (copy < 0) throw new UserError('the sandbox has too many descriptors open')
    return copy
  }

  /** Those that nobody has taken. */
  closeDescriptors(): void {
    for (const fd of this.#descriptors) if (fd >= 0) this.#host.close(fd)
    this.#descriptors = []
  }

  answer(answer: ControlAnswer): void {
    this.#send(Buffer.from(`${JSON.stringify(answer)}\n`))
    if (this.#state !== 'closed') this.#state = 'ending'
    this.#endIfSent()
  }

  fail(error: string, status?: number): void {
    this.answer(status === undefined ? { error } : { error, status })
  }

  /** Answers, and stays for a process's life. */
  keep(answer: ControlAnswer): void {
    if (this.#state !== 'waiting') return
    this.#state = 'kept'
    this.#send(Buffer.from(`${JSON.stringify(answer)}\n`))
    // Signals that came right behind the request.
    this.#ready()
  }

  /** The process has ended: `status` as wait(2) has it. */
  end(status: number): void {
    const bytes = new Uint8Array(4)
    new DataView(bytes.buffer).setUint32(0, status, true)
    this.say(bytes)
    this.finish()
  }

  /** To the client of a kept connection. */
  say(bytes: Uint8Array): void {
    if (this.#state === 'kept') this.#send(bytes)
  }

  /** There is nothing more to say. */
  finish(): void {
    if (this.#state !== 'kept') return
    this.#state = 'ending'
    this.#endIfSent()
  }

  #ready(): void {
    if (this.#unsent.length > 0) this.#send(new Uint8Array(0))
    this.#endIfSent()
    if (this.#state === 'asking') this.#readRequest()
    else if (this.#state === 'kept') this.#readSignals()
  }

  #readRequest(): void {
    const descriptors = new Int32Array(1 + MAX_DESCRIPTORS)
    for (;;) {
      const piece = Buffer.allocUnsafe(65536)
      const length = this.#host.receiveAll(this.#fd, piece, descriptors)
      for (let i = 0; i < descriptors[0]; i++) this.#descriptors.push(descriptors[1 + i])
      if (length === -EAGAIN) return
      this.#length += Math.max(0, length)
      if (length <= 0 || this.#length > MAX_REQUEST || this.#descriptors.length > MAX_DESCRIPTORS) {
        this.closeDescriptors()
        this.#close()
        return
      }
      const newline = piece.subarray(0, length).indexOf(10)
      this.#pieces.push(piece.subarray(0, newline < 0 ? length : newline))
      if (newline < 0) continue
      this.#state = 'waiting'
      this.#complete(this)
      return
    }
  }

  #readSignals(): void {
    const bytes = new Uint8Array(64)
    while (this.#state === 'kept') {
      const length = this.#host.pread(this.#fd, bytes, -1)
      if (length === -EAGAIN) return
      if (length <= 0) {
        this.#close()
        this.onGone()
        return
      }
      for (const signo of bytes.subarray(0, length)) this.onSignal(signo)
    }
  }

  #send(bytes: Uint8Array): void {
    let rest = this.#unsent.length > 0 ? Buffer.concat([this.#unsent, bytes]) : bytes
    while (rest.length > 0 && this.#state !== 'closed') {
      const sent = this.#host.pwrite(this.#fd, rest, -1)
      if (sent === -EAGAIN) break
      if (sent < 0) {
        const kept = this.#state === 'kept'
        this.#close()
        if (kept) this.onGone()
        return
      }
      rest = rest.subarray(sent)
    }
    this.#unsent = rest
  }

  #endIfSent(): void {
    if (this.#state === 'ending' && this.#unsent.length === 0) this.#close()
  }

  #close(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#host.unwatch(this.#fd)
    this.#host.close(this.#fd)
  }
}
