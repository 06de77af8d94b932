/**
 * A terminal as an open file: /dev/pts/N. Reads and writes of background processes are answered by job control; a
 * raw read may have to wait for a number of bytes or for a time (VMIN, VTIME: termios(3), "Canonical and
 * noncanonical mode").
 */
import {
  CAP_SYS_ADMIN,
  FIONREAD,
  O_NOCTTY,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  POLLRDNORM,
  POLLWRNORM,
  SIGTTIN,
  SIGTTOU,
  TIOCSPGRP,
  TOSTOP,
  VMIN,
  VTIME,
} from '../../abi/constants.ts'
import { EAGAIN, EBUSY, EIO, ENOTTY } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { IoDst, IoSrc } from '../../base/io.ts'
import type { OrErrno } from '../../base/result.ts'
import type { WaitQueue } from '../../base/wait-queue.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { type Expiry, Timer } from '../../kernel/timers.ts'
import { File, type IoctlContext } from '../../vfs/file.ts'
import type { Path } from '../../vfs/path.ts'
import { acquireOnOpen, checkForeground } from './job-control.ts'
import type { Tty } from './tty.ts'
import { ttyIoctl } from './tty-ioctl.ts'

/** VTIME counts tenths of a second. */
const TENTH = 1e8

/** Opens the slave's end. A session leader without a terminal gets it as its own, unless O_NOCTTY. */
export function openSlave(
  tty: Tty,
  kernel: Kernel,
  path: Path,
  flags: number,
  cred: Credentials,
): OrErrno<SlaveFile> {
  if (tty.locked || tty.masterClosed) return -EIO
  if (tty.exclusive && !cred.capable(CAP_SYS_ADMIN)) return -EBUSY
  const file = new SlaveFile(path, flags & ~O_NOCTTY, cred, tty, kernel)
  if ((flags & O_NOCTTY) === 0 && kernel.current !== undefined)
    acquireOnOpen(tty, kernel.current, file.readable)
  return file
}

export class SlaveFile extends File implements Expiry {
  readonly tty: Tty
  readonly isMaster = false
  readonly #kernel: Kernel
  readonly #hangupsAtOpen: number
  /** VTIME of the read that waits. */
  readonly #timer: Timer
  #timedOut = false
  /** What was there when the timer was set: more starts it again. */
  #seen = 0

  constructor(path: Path, flags: number, cred: Credentials, tty: Tty, kernel: Kernel) {
    super(path, flags, cred)
    this.tty = tty
    this.#kernel = kernel
    this.#timer = new Timer(this)
    this.#hangupsAtOpen = tty.hangups
    tty.slaves++
    tty.slaveClosed = false
  }

  get #hungUp(): boolean {
    return this.tty.hangups !== this.#hangupsAtOpen
  }
  override get canSignal(): boolean {
    return true
  }
  override get ownedWhenAsync(): boolean {
    return true
  }
  override defaultOwner(): unknown {
    return this.tty.foreground?.pid
  }
  override get waitQueue(): WaitQueue {
    return this.tty.queue
  }
  override get writesAll(): boolean {
    return true
  }

  override poll(): number {
    if (this.#hungUp) return POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDNORM | POLLWRNORM
    return this.tty.poll()
  }

  override read(into: IoDst): number {
    if (this.#hungUp) return 0
    const allowed = checkForeground(this.tty, this.#kernel.current!, SIGTTIN)
    if (allowed !== 0) return allowed
    const { tty } = this
    if (into.remaining === 0) return 0
    const ready = tty.discipline.canonical ? tty.discipline.inputAvailable(1) : this.#rawReady(into.remaining)
    if (ready) return this.#take(into)
    if (tty.masterClosed) return -EIO
    return -EAGAIN
  }

  #take(into: IoDst): number {
    this.#kernel.timers.cancel(this.#timer)
    this.#timedOut = false
    const n = this.tty.read(into)
    return n
  }

  /** Whether a raw read of `length` bytes is to return now; else its timer runs if it has one. */
  #rawReady(length: number): boolean {
    const { discipline, termios } = this.tty
    const minimum = Math.min(termios.cc[VMIN], length)
    const time = termios.cc[VTIME] * TENTH
    const available = discipline.available
    if (available >= Math.max(1, minimum)) return true
    if (this.tty.masterClosed) return available > 0
    if (this.nonblocking) return available > 0 || (minimum === 0 && time === 0)
    if (time === 0) return minimum === 0
    if (this.#timedOut) return true
    // With a minimum, the time counts from byte to byte, and only once the first is there.
    if (minimum > 0 && available === 0) return false
    if (!this.#timer.armed || available !== this.#seen) {
      this.#seen = available
      this.#kernel.timers.add(this.#timer, this.#kernel.clock.monotonic() + time)
    }
    return false
  }

  /** Expiry: VTIME is over. Nobody waits any more where a signal ended the read. */
  expired(): void {
    if (this.tty.queue.empty) return
    this.#timedOut = true
    this.tty.queue.wakeAll(POLLIN | POLLRDNORM)
  }

  override write(from: IoSrc): number {
    if (this.#hungUp) return -EIO
    const { tty } = this
    if ((tty.termios.lflag & TOSTOP) !== 0) {
      const allowed = checkForeground(tty, this.#kernel.current!, SIGTTOU)
      if (allowed !== 0) return allowed
    }
    if (tty.masterClosed) return -EIO
    let done = 0
    while (from.remaining > 0) {
      const window = from.window(4096)
      if (typeof window === 'number') return done > 0 ? done : window
      const n = tty.write(window)
      from.consume(n)
      done += n
      if (n < window.length) return done > 0 ? done : -EAGAIN
    }
    return done
  }

  override ioctl(context: IoctlContext, request: number, argument: number): number {
    if (!this.#hungUp) return ttyIoctl(this, context, request, argument)
    if (request === FIONREAD) return -EIO
    return request === TIOCSPGRP ? -ENOTTY : -EIO
  }

  override release(): void {
    this.#kernel.timers.cancel(this.#timer)
    if (--this.tty.slaves > 0) return
    this.tty.slaveClosed = true
    this.tty.packetMode = false
    this.tty.exclusive = false
    this.tty.masterQueue.wakeAll()
  }
}
