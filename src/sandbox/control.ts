/**
 * The control socket's protocol: a client connects, sends one request, gets one answer, and the connection ends. Both
 * are a line of JSON. The client's side is cli/control-client.ts.
 *
 * A connection lives from `connected` until its answer is written, or the client goes or sends too much.
 */
import { POLLIN } from '../abi/constants.ts'
import { EAGAIN } from '../abi/errno.ts'
import type { LinuxHost } from '../platform/linux-host.ts'

export type ControlRequest =
  | { readonly command: 'info' }
  | { readonly command: 'strace'; readonly on: boolean }

export interface SandboxInfo {
  readonly id: string
  readonly command: string
  /** Since the epoch. */
  readonly startedMs: number
  /** Guest processes alive. */
  readonly processes: number
}

export type ControlAnswer =
  | { readonly info: SandboxInfo }
  | { readonly done: true }
  | { readonly error: string }

/** What of a running sandbox can be asked and changed from outside. */
export interface ControlTarget {
  info(): SandboxInfo
  setStrace(on: boolean): void
}

const MAX_REQUEST = 65536

export class ControlServer {
  readonly #host: LinuxHost
  readonly #target: ControlTarget

  constructor(host: LinuxHost, target: ControlTarget) {
    this.#host = host
    this.#target = target
  }

  /** Serves one client on `fd`, a non-blocking socket, and closes it. */
  connected(fd: number): void {
    const piece = new Uint8Array(4096)
    let request = ''
    const end = () => {
      this.#host.unwatch(fd)
      this.#host.close(fd)
    }
    const status = this.#host.watch(fd, POLLIN, () => {
      for (;;) {
        const length = this.#host.pread(fd, piece, -1)
        if (length === -EAGAIN) return
        if (length <= 0) return end()
        request += Buffer.from(piece.subarray(0, length)).toString()
        if (request.length > MAX_REQUEST) return end()
        const newline = request.indexOf('\n')
        if (newline < 0) continue
        const answer = answerTo(request.slice(0, newline), this.#target)
        // Shorter than any socket's buffer.
        this.#host.pwrite(fd, Buffer.from(`${JSON.stringify(answer)}\n`), -1)
        return end()
      }
    })
    if (status < 0) this.#host.close(fd)
  }
}

/** The answer to one request line. */
export function answerTo(line: string, target: ControlTarget): ControlAnswer {
  let request: ControlRequest
  try {
    request = JSON.parse(line)
  } catch {
    return { error: 'the request is not JSON' }
  }
  switch (request?.command) {
    case 'info':
      return { info: target.info() }
    case 'strace':
      if (typeof request.on !== 'boolean') return { error: 'strace: `on` must be true or false' }
      target.setStrace(request.on)
      return { done: true }
    default:
      return { error: 'unknown command' }
  }
}
