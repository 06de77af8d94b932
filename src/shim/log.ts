/**
 * What the shim has to say: lines as containerd's own shims write them, into the FIFO `log` of the bundle that it was
 * started for, which containerd copies to its own log. Nobody reads there while containerd is down: then lines are lost,
 * rather than that anything waits.
 */
import { constants, openSync, writeSync } from 'node:fs'

export type Level = 'debug' | 'info' | 'warning' | 'error'
export type LogFields = Readonly<Record<string, string | number>>

export class ShimLog {
  readonly #fd: number | undefined
  readonly #debug: boolean

  constructor(path: string, debug: boolean) {
    this.#debug = debug
    try {
      // For reading too, so that there is always a reader, and a write never a SIGPIPE.
      this.#fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
    } catch {
      // Started by hand.
      this.#fd = undefined
    }
  }

  write(level: Level, message: string, fields: LogFields = {}): void {
    if (this.#fd === undefined || (level === 'debug' && !this.#debug)) return
    const rest = Object.entries({ runtime: 'io.containerd.caisson.v1', ...fields })
    const parts = [
      `time=${JSON.stringify(new Date().toISOString())}`,
      `level=${level}`,
      `msg=${JSON.stringify(message)}`,
    ]
    const line = [...parts, ...rest.map(([key, value]) => `${key}=${plain(String(value))}`)].join(' ')
    try {
      writeSync(this.#fd, `${line}\n`)
    } catch {
      // The FIFO is full.
    }
  }

  error(what: string, error: unknown, fields?: LogFields): void {
    const { message, stack } = error as Error
    this.write('error', `${what}: ${this.#debug ? stack : message}`, fields)
  }
}

function plain(value: string): string {
  return /^[\w./:@+-]+$/.test(value) ? value : JSON.stringify(value)
}
