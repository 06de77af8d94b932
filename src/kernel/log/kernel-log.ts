/**
 * The kernel's log, which dmesg(1) shows: a ring of records, the sandbox's own. The kernel writes what happens to
 * processes (`put`), privileged ones write through /dev/kmsg. The oldest records go when it is full; a record is
 * known by its number (`sequence`), and readers keep the one that they come to next: each open /dev/kmsg has its
 * own place, while syslog(2) and /proc/kmsg share `reader`.
 *
 * The priority of a record is as syslog(3) has it: a facility (0: the kernel) and a level, 0 the most urgent.
 */
import { POLLIN, POLLRDNORM } from '../../abi/constants.ts'
import type { Clock } from '../../base/clock.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import { KERNEL_VERSION } from '../version.ts'
import { RateLimit } from './rate-limit.ts'

export const LOGLEVEL_EMERG = 0
export const LOGLEVEL_ERR = 3
export const LOGLEVEL_WARNING = 4
export const LOGLEVEL_NOTICE = 5
export const LOGLEVEL_INFO = 6

/** What the ring takes, as syslog(2) tells it. */
export const LOG_BUFFER_SIZE = 1 << 18
/** What a record takes besides its text. */
const RECORD_OVERHEAD = 96
/** PRINTKRB_RECORD_MAX: with the NUL at its end a text has no more. */
export const RECORD_MAX = 1024

export interface LogRecord {
  readonly sequence: number
  readonly facility: number
  readonly level: number
  /** CLOCK_MONOTONIC in µs. */
  readonly time: number
  /** A byte string without the newline at its end. */
  readonly text: string
}

/** Whether programs may write to /dev/kmsg: kernel.printk_devkmsg. */
export type DevkmsgMode = 'on' | 'off' | 'ratelimit'

export class KernelLog {
  readonly #clock: Clock
  readonly #repeats: RateLimit
  readonly #records: LogRecord[] = []
  #size = 0
  #next = 0
  /** Readers that came to the end. */
  readonly queue = new WaitQueue()

  /** Where SYSLOG_ACTION_CLEAR was: what is older is not shown by dmesg. */
  cleared = 0
  /** Where syslog(2) and /proc/kmsg read on, and how much of that record they had already. */
  reader = 0
  readerPartial = 0

  /** kernel.dmesg_restrict. */
  restricted = true
  devkmsg: DevkmsgMode = 'ratelimit'
  /** debug.exception-trace: fault-report.ts. */
  tellsFaults = true
  /** kernel.printk. No console shows any of it, but the levels are kept. */
  consoleLevel = LOGLEVEL_WARNING
  defaultLevel = LOGLEVEL_WARNING
  minimumConsoleLevel = 1
  bootConsoleLevel = 7
  /** The level before SYSLOG_ACTION_CONSOLE_OFF. */
  savedConsoleLevel: number | undefined = undefined

  /** @param release of the kernel. Its first words are which kernel it is. */
  constructor(clock: Clock, release: string) {
    this.#clock = clock
    this.#repeats = new RateLimit(clock)
    this.put(LOGLEVEL_NOTICE, `Linux version ${release} ${KERNEL_VERSION}`)
  }

  /** The kernel says something. `text`: one line, a byte string. */
  put(level: number, text: string): void {
    this.append(0, level, text)
  }

  /** Whether what a guest can cause as often as it likes may be told now (printk_ratelimit). */
  mayRepeat(): boolean {
    return this.#repeats.pass()
  }

  append(facility: number, level: number, text: string): void {
    const time = Math.floor(this.#clock.monotonic() / 1000)
    const kept = text.slice(0, RECORD_MAX - 1)
    this.#records.push({ sequence: this.#next++, facility, level, time, text: kept })
    this.#size += kept.length + RECORD_OVERHEAD
    while (this.#size > LOG_BUFFER_SIZE) this.#size -= this.#records.shift()!.text.length + RECORD_OVERHEAD
    this.queue.wake(POLLIN | POLLRDNORM)
  }

  /** The number of the oldest record that is there. */
  get first(): number {
    return this.#next - this.#records.length
  }
  /** The number that the next record will have. */
  get end(): number {
    return this.#next
  }
  /** The record of this number, or the oldest one that is newer; undefined at the end. */
  at(sequence: number): LogRecord | undefined {
    return this.#records[Math.max(0, sequence - this.first)]
  }
}

/** As dmesg(1) and syslog(2) show a record: each of its lines with priority and time. */
export function formatRecord(record: LogRecord): string {
  const { facility, level, time, text } = record
  const seconds = String(Math.floor(time / 1e6)).padStart(5)
  const prefix = `<${facility * 8 + level}>[${seconds}.${String(time % 1e6).padStart(6, '0')}] `
  return text
    .split('\n')
    .map(line => `${prefix}${line}\n`)
    .join('')
}

/** As /dev/kmsg shows it: what would be no printable character is escaped. */
export function formatExtended(record: LogRecord): string {
  const { facility, level, sequence, time, text } = record
  const escaped = text.replace(/[^ -~]|\\/g, c => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`)
  return `${facility * 8 + level},${sequence},${time},-;${escaped}\n`
}
