/**
 * The client's side of a sandbox's control socket (protocol.ts): asks, and holds the connections that go on as the life
 * of a process.
 *
 * What comes back is from the sentry, which may have been taken over by its guest: lengths and times are bounded, and
 * an answer is believed to be nothing but data (control-answer.ts).
 */
import type { Socket } from 'node:net'
import { ECONNREFUSED, ECONNRESET, ENOENT, ENOTCONN, EPIPE, ETIMEDOUT, errnoName } from '../abi/errno.ts'
import type { ControlAddon } from '../platform/addon.ts'
import { parseAnswer } from './control-answer.ts'
import { type ControlAnswer, type ControlRequest, MAX_DESCRIPTORS, MAX_REQUEST } from './protocol.ts'
import { UserError } from './user-error.ts'

/** A sandbox that says nothing for so long hangs. */
const TIMEOUT_MS = 10_000

export interface AskOptions {
  /** Descriptors that go with the request; they stay the caller's. */
  readonly descriptors?: readonly number[]
  readonly timeoutMs?: number
}

/** An answer that is not an error. */
export type GoodAnswer = Exclude<ControlAnswer, { readonly error: string }>

/** There is no sandbox behind the socket: it ended, or never was. */
export class NoSandboxError extends UserError {}

export class ControlClient {
  readonly #addon: ControlAddon
  readonly #path: string
  readonly #blocking: boolean

  /**
   * `path`: of the socket; '@NAME' for an abstract one. `blocking`: the process has nothing else to do while it waits for
   * an answer, and gets it sooner.
   */
  constructor(addon: ControlAddon, path: string, blocking = false) {
    this.#addon = addon
    this.#path = path
    this.#blocking = blocking
  }

  /** One request and its answer. Throws a UserError for an error that was answered, a NoSandboxError where nobody is there. */
  async ask(request: ControlRequest, options: AskOptions = {}): Promise<GoodAnswer> {
    const { answer, connection } = await this.open(request, options)
    this.#addon.close(connection)
    return answer
  }

  /** The same, and the connection stays: it is the process's life, for `ProcessConnection` or `caisson attach`. */
  async open(
    request: ControlRequest,
    options: AskOptions = {},
  ): Promise<{ readonly answer: GoodAnswer; readonly connection: number }> {
    const line = Buffer.from(`${JSON.stringify(request)}\n`)
    const descriptors = Int32Array.from(options.descriptors ?? [])
    if (descriptors.length > MAX_DESCRIPTORS) {
      throw new UserError(
        `too many mounts and passed descriptors: ${descriptors.length}; ${MAX_DESCRIPTORS} can be had`,
      )
    }
    if (line.length > MAX_REQUEST) {
      const mib = (bytes: number) => (bytes / (1 << 20)).toFixed(1)
      throw new UserError(
        `arguments, environment and mounts of the container are ${mib(line.length)} MiB; ` +
          `${mib(MAX_REQUEST)} MiB at most go to a sandbox`,
      )
    }
    const timeoutMs = options.timeoutMs ?? TIMEOUT_MS
    const got = await this.#addon.controlAsk(this.#path, line, descriptors, timeoutMs, this.#blocking)
    if (got.error !== 0) throw this.#failure(got.error, request.command, timeoutMs)
    const answer = parseAnswer(got.line)
    if (answer === undefined || 'error' in answer) {
      this.#addon.close(got.connection)
      if (answer === undefined) throw new UserError('the sandbox gave an answer that makes no sense')
      throw new UserError(answer.error, answer.status)
    }
    return { answer, connection: got.connection }
  }

  #failure(error: number, command: string, timeoutMs: number): UserError {
    if (GONE.has(-error)) return new NoSandboxError('the sandbox is not running (any more)')
    if (error === -ETIMEDOUT) {
      return new UserError(`the sandbox did not answer '${command}' within ${timeoutMs / 1000} s`)
    }
    return new UserError(`the sandbox can't be asked (${this.#path}): ${errnoName(-error)}`)
  }
}
const GONE = new Set([ENOENT, ECONNREFUSED, ECONNRESET, EPIPE, ENOTCONN])

/** A process that was sandboxed away: 137, as of one that was killed. */
const KILLED = 9

/**
 * A process's life over its connection, for who stays to see its end (the shim); `caisson attach` is the same as a process
 * of its own. Without `close` it lasts as long as the process.
 */
export class ProcessConnection {
  /** The exit status as wait(2) has it; that of a kill when the sandbox went away. */
  readonly exit: Promise<number>
  readonly #socket: Socket

  /** Takes over the descriptor. */
  static async over(connection: number): Promise<ProcessConnection> {
    // Here, since most clients have no use for it.
    const { Socket } = await import('node:net')
    return new ProcessConnection(new Socket({ fd: connection, readable: true, writable: true }))
  }

  private constructor(socket: Socket) {
    this.#socket = socket
    this.exit = new Promise(resolve => {
      let status = Buffer.alloc(0)
      socket.on('data', (piece: Buffer) => {
        status = Buffer.concat([status, piece]).subarray(0, 4)
        if (status.length === 4) socket.destroy()
      })
      socket.on('error', () => {})
      socket.on('close', () => resolve(status.length === 4 ? status.readUInt32LE() & 0xffff : KILLED))
    })
  }

  /** SIGWINCH: the size of its terminal has changed. */
  signal(signo: number): void {
    this.#socket.write(Uint8Array.of(signo))
  }

  /** Lets go: a process that `create` or `exec` made is killed by that. */
  close(): void {
    this.#socket.destroy()
  }
}
