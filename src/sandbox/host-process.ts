/**
 * A process of the host that we have started. Node.js's child_process is not used: loading it, with the sockets and
 * streams that come along, takes a good part of a container's creation.
 *
 * Who never looks at `exit` leaves the process's end to whoever adopts it when we are gone. Once looked at, the end is
 * seen by the event loop, and the process is reaped there; until then its number is its own, so that signals reach no
 * other.
 */
import { getSystemErrorMessage } from 'node:util'
import { WNOHANG } from '../abi/constants.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { Addon } from '../platform/addon.ts'
import { UserError } from './user-error.ts'

export interface StartOptions {
  readonly path: string
  /** Begin with the program's name. */
  readonly args: readonly string[]
  /** NAME=value; our own if absent. */
  readonly environment?: readonly string[]
  /** Its descriptors 0, 1, …; -1: /dev/null. It has no others. */
  readonly descriptors: readonly number[]
  /** It leads a session of its own. */
  readonly session?: boolean
}

const READABLE = 1

export class HostProcess {
  readonly pid: number
  readonly #addon: Addon
  #exit: Promise<number> | undefined = undefined
  #ended = false

  /** `pid`: a child of ours that there is. */
  constructor(addon: Addon, pid: number) {
    this.#addon = addon
    this.pid = pid
  }

  /** Throws a UserError where the program can't be executed. */
  static start(addon: Addon, options: StartOptions): HostProcess {
    const { path, args, environment, descriptors, session = false } = options
    const pid = addon.startProcess(path, args, environment, Int32Array.from(descriptors), session)
    if (pid < 0) throw new UserError(`${path} can't be started: ${getSystemErrorMessage(pid)}`)
    return new HostProcess(addon, pid)
  }

  /** The status as wait(2) has it. It keeps the event loop alive. */
  get exit(): Promise<number> {
    this.#exit ??= this.#watch()
    return this.#exit
  }

  kill(signo: number): void {
    if (!this.#ended) this.#addon.syscall(NR.kill, this.pid, signo)
  }

  async #watch(): Promise<number> {
    const addon = this.#addon
    const pidfd = addon.syscall(NR.pidfd_open, this.pid, 0)
    if (pidfd < 0) throw new Error(`process ${this.pid}: pidfd_open: ${getSystemErrorMessage(pidfd)}`)
    await readable(addon, pidfd)
    addon.close(pidfd)
    const status = new Int32Array(1)
    addon.syscall(NR.wait4, this.pid, new Uint8Array(status.buffer), WNOHANG, 0)
    this.#ended = true
    return status[0]
  }
}

/** Resolves when the descriptor, which becomes non-blocking, can be read. */
export function readable(addon: Addon, fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const watch = addon.watchStart(fd, () => {
      addon.watchEnd(watch as object)
      resolve()
    })
    if (typeof watch === 'number') reject(new Error(`descriptor ${fd}: ${getSystemErrorMessage(watch)}`))
    else addon.watchEvents(watch, READABLE)
  })
}

/** What a shell would show of a status: 128 + n after signal n. */
export function exitStatus(status: number): number {
  const signo = status & 0x7f
  return signo === 0 ? (status >> 8) & 0xff : 128 + signo
}
