/**
 * The runtime of `create` that stands by for `start` (native/launcher/standby.c), so that Node.js is started once for both.
 *
 *   take     once, at the start: the socket to the launcher, which waits for `create`
 *   serve    says that the container is created, with which the launcher ends, and does what `start` is told to, if that
 *            comes soon and the container lives. Somebody else may do it as well: nothing of it is known here alone.
 *
 * What the caller has given us is let go of first: as far as he can see, this process has ended.
 */
import { closeSync, constants, openSync } from 'node:fs'
import {
  AF_UNIX,
  F_SETFD,
  FD_CLOEXEC,
  MSG_NOSIGNAL,
  PR_SET_PDEATHSIG,
  SOCK_SEQPACKET,
} from '../abi/constants.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { unixAddress } from '../oci/unix-address.ts'
import type { Addon } from '../platform/addon.ts'
import { pollIn } from '../platform/poll-in.ts'

/** As the launcher has them. */
const VARIABLE = 'CAISSON_STANDBY'
const SOCKET = 'standby.sock'
const MAX_COMMAND_LINE = 8192

/** Engines need so long between the two, when many containers are made at once. */
const PATIENCE_MS = 5000

export class Standby {
  readonly #addon: Addon
  readonly #launcher: number
  readonly #inherited: readonly number[]

  private constructor(addon: Addon, launcher: number, inherited: readonly number[]) {
    this.#addon = addon
    this.#launcher = launcher
    this.#inherited = inherited
    addon.syscall(NR.fcntl, launcher, F_SETFD, FD_CLOEXEC)
  }

  /** Undefined where no launcher waits for this process, or it was taken before. */
  static take(addon: Addon): Standby | undefined {
    const text = process.env[VARIABLE]
    if (text === undefined) return undefined
    delete process.env[VARIABLE]
    const [launcher, ...inherited] = text.split(',').map(Number)
    return new Standby(addon, launcher, inherited)
  }

  /**
   * `directory`: of the container's state; `pid`: the process that stands for it. `run` does a command line, says what
   * went wrong and returns the exit status.
   */
  async serve(
    directory: string,
    pid: number,
    run: (words: readonly string[]) => Promise<number>,
  ): Promise<void> {
    const addon = this.#addon
    this.#letGo()
    const place = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY)
    const container = addon.syscall(NR.pidfd_open, pid, 0)
    const listener = this.#listen(`/proc/self/fd/${place}/${SOCKET}`)
    addon.syscall(NR.prctl, PR_SET_PDEATHSIG, 0, 0, 0, 0)
    this.#answer(this.#launcher, 0)
    addon.close(this.#launcher)
    const ready = listener >= 0 && container >= 0 && this.#await(listener, container)
    addon.unlinkat(place, SOCKET, 0)
    if (!ready) return
    const connection = addon.acceptSocket(listener)
    const words = connection < 0 ? undefined : this.#receive(connection, container)
    if (words === undefined) return
    const status = await run(words)
    this.#answer(connection, status)
  }

  #answer(socket: number, status: number): void {
    this.#addon.sendMessage(socket, Uint8Array.of(status), MSG_NOSIGNAL, undefined, undefined)
  }

  #letGo(): void {
    const addon = this.#addon
    for (const fd of this.#inherited) addon.close(fd)
    const nothing = openSync('/dev/null', constants.O_RDWR)
    for (const fd of [0, 1, 2]) addon.syscall(NR.dup3, nothing, fd, 0)
    closeSync(nothing)
    process.chdir('/')
  }

  /** The socket, or what went wrong: there is nobody who should be told. */
  #listen(path: string): number {
    const addon = this.#addon
    const fd = addon.makeSocket(AF_UNIX, SOCK_SEQPACKET, 0)
    if (fd < 0) return fd
    const bound = addon.bindSocket(fd, unixAddress(path))
    return bound < 0 ? bound : addon.listenSocket(fd, 1) || fd
  }

  /** Whether there is something to read from `fd` before the container ends or all patience does. */
  #await(fd: number, container: number): boolean {
    return pollIn(this.#addon, [fd, container], PATIENCE_MS) === 0
  }

  /** The command line; what it has to say goes to the standard error that came along. */
  #receive(connection: number, container: number): string[] | undefined {
    const addon = this.#addon
    if (!this.#await(connection, container)) return undefined
    const bytes = new Uint8Array(MAX_COMMAND_LINE)
    const descriptors = new Int32Array(2)
    const length = addon.receiveAll(connection, bytes, descriptors)
    if (length <= 0 || descriptors[0] !== 1) return undefined
    for (const fd of [1, 2]) addon.syscall(NR.dup3, descriptors[1], fd, 0)
    addon.close(descriptors[1])
    const [directory, ...words] = Buffer.from(bytes.buffer, 0, length - 1)
      .toString()
      .split('\0')
    process.chdir(directory)
    return words
  }
}
