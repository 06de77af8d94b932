/**
 * The sentry's log: lines to standard error, or to the descriptor it is given. Warnings and errors are for whoever
 * runs the sandbox; info and debug lines carry the time since the start and are for whoever works on caisson.
 * Written at once with write(2), so that no line is lost when the sandbox ends.
 */
import { CLOCK_MONOTONIC } from '../abi/constants.ts'
import type { HostAddon } from '../platform/addon.ts'
import type { LogLevel } from './options.ts'

const LEVELS: readonly LogLevel[] = ['error', 'warn', 'info', 'debug']

export class Log {
  readonly #addon: HostAddon
  readonly #fd: number
  #rank: number
  readonly #start: number
  readonly #said = new Set<string>()

  constructor(addon: HostAddon, level: LogLevel, fd = 2) {
    this.#addon = addon
    this.#fd = fd
    this.#rank = LEVELS.indexOf(level)
    this.#start = addon.clock(CLOCK_MONOTONIC)
  }

  set level(level: LogLevel) {
    this.#rank = LEVELS.indexOf(level)
  }

  error(text: string): void {
    this.#write('error', `caisson: ${text}`)
  }
  warn(text: string): void {
    this.#write('warn', `caisson: ${text}`)
  }
  info(text: string): void {
    this.#write('info', text)
  }
  debug(text: string): void {
    this.#write('debug', text)
  }

  /** A debug line that is written only the first time: about what a program does over and over. */
  debugOnce(text: string): void {
    if (this.#said.size > 1000 || this.#said.has(text)) return
    this.#said.add(text)
    this.debug(text)
  }

  /** A line as it is, whatever the level: --strace. */
  line(text: string): void {
    this.#put(`${text}\n`)
  }

  #write(level: LogLevel, text: string): void {
    if (LEVELS.indexOf(level) > this.#rank) return
    if (this.#rank < LEVELS.indexOf('info')) {
      this.#put(`${text}\n`)
      return
    }
    const seconds = ((this.#addon.clock(CLOCK_MONOTONIC) - this.#start) / 1e9).toFixed(6)
    this.#put(`[${seconds}] ${level}: ${text}\n`)
  }

  #put(text: string): void {
    let bytes: Uint8Array = Buffer.from(text)
    while (bytes.length > 0) {
      const written = this.#addon.pwrite(this.#fd, bytes, -1)
      if (written <= 0) return
      bytes = bytes.subarray(written)
    }
  }
}
