/**
 * The host's terminal at the other end of a guest terminal. The guest has a line discipline of its own, so that job
 * control works inside; the host's terminal is raw, and this object is the master that carries bytes between the two.
 *
 * Made by who sets up the guest's standard descriptors; `close` gives the host's terminal its old attributes back and
 * must be called however the sandbox ends.
 */
import {
  BRKINT,
  CS8,
  CSIZE,
  ECHO,
  ECHONL,
  ICANON,
  ICRNL,
  IEXTEN,
  IGNBRK,
  IGNCR,
  INLCR,
  ISIG,
  ISTRIP,
  IXON,
  OPOST,
  PARENB,
  PARMRK,
  POLLHUP,
  POLLIN,
  POLLOUT,
  TCGETS,
  TCSETS,
  TIOCGWINSZ,
  VMIN,
  VTIME,
} from '../../abi/constants.ts'
import { EAGAIN } from '../../abi/errno.ts'
import { TERMIOS, WINSIZE } from '../../abi/layout.ts'
import type { WaitEntry, Waiter } from '../../base/wait-queue.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { type Expiry, Timer } from '../../kernel/timers.ts'
import type { Host } from '../../platform/host.ts'
import { decodeTermios, encodeTermios, Termios } from './termios.ts'
import type { Tty } from './tty.ts'

/** Small enough that a terminal that says it can be written to takes it without waiting. */
const PIECE = 1024

export class HostTerminal implements Waiter, Expiry {
  readonly tty: Tty
  readonly #kernel: Kernel
  readonly #host: Host
  readonly #inFd: number
  readonly #outFd: number
  readonly #entry: WaitEntry
  /** Being woken must not do the work itself: this does, at once, from the kernel's loop. */
  readonly #soon: Timer
  #saved: Uint8Array | undefined = undefined
  /** Typed, but the guest's terminal had no room. */
  #pending: Uint8Array = new Uint8Array(0)
  readonly #buffer = new Uint8Array(PIECE)
  #ended = false
  /** Until when what is left may be written, monotonic ns, and who waits for that. */
  #drainUntil = Number.POSITIVE_INFINITY
  #drained: (() => void) | undefined = undefined

  /**
   * `tty`: allocated for it in a devpts; the descriptors are the host's, of its terminal. Without one to read from
   * (`inFd` -1) it carries output only, and the host's terminal keeps its attributes.
   */
  constructor(kernel: Kernel, tty: Tty, inFd: number, outFd: number) {
    this.#kernel = kernel
    this.#host = kernel.host
    this.tty = tty
    this.#inFd = inFd
    this.#outFd = outFd
    this.#soon = new Timer(this)
    tty.locked = false
    this.#entry = tty.masterQueue.add(this)
  }

  /** Makes the host's terminal raw and begins to carry. */
  start(): void {
    const attributes = new Uint8Array(TERMIOS.size)
    if (this.#inFd >= 0 && this.#host.ioctl(this.#outFd, TCGETS, attributes) >= 0) {
      this.#saved = attributes.slice()
      const guest = decodeTermios(attributes, new Termios())
      this.tty.setTermios(guest)
      this.#host.ioctl(this.#outFd, TCSETS, encodeTermios(rawOf(guest), false))
    }
    this.resize()
    if (this.#inFd >= 0) this.#host.watch(this.#inFd, POLLIN, () => this.#pump())
    if (this.#outFd !== this.#inFd) this.#host.watch(this.#outFd, POLLOUT, () => this.#pump())
    this.#pump()
  }

  /** The host's window changed: SIGWINCH came. */
  resize(): void {
    const bytes = new Uint8Array(WINSIZE.size)
    if (this.#host.ioctl(this.#outFd, TIOCGWINSZ, bytes) < 0) return
    const view = new DataView(bytes.buffer)
    this.tty.setWindow({
      rows: view.getUint16(WINSIZE.ws_row, true),
      columns: view.getUint16(WINSIZE.ws_col, true),
      xPixels: view.getUint16(WINSIZE.ws_xpixel, true),
      yPixels: view.getUint16(WINSIZE.ws_ypixel, true),
    })
  }

  /**
   * The guest is done: what is still on its way out is written, as far as the host's terminal takes it within the time (in
   * ms); then `done`. Nobody waits meanwhile, so that a reader who doesn't read holds up nothing else.
   */
  drain(patience: number, done: () => void): void {
    this.#drained = done
    this.#drainUntil = this.#kernel.now() + patience * 1e6
    this.#pump()
  }

  /** What is still on its way out is written, even if the host's terminal makes us wait; then that is as it was. */
  close(): void {
    if (this.#ended) return
    this.#writeOut(true)
    this.#release()
    if (this.#saved !== undefined) this.#host.ioctl(this.#outFd, TCSETS, this.#saved)
  }

  #release(): void {
    this.#ended = true
    this.tty.masterQueue.remove(this.#entry)
    this.#kernel.timers.cancel(this.#soon)
    this.#host.unwatch(this.#inFd)
    this.#host.unwatch(this.#outFd)
  }

  /** Waiter: the guest wrote, or made room. */
  woken(): void {
    if (!this.#soon.armed) this.#kernel.timers.add(this.#soon, 0)
  }
  /** Expiry. */
  expired(): void {
    this.#pump()
  }

  #pump(): void {
    if (!this.#ended) this.#writeOut(false)
    if (!this.#ended) this.#readIn()
    if (this.#drained === undefined) return
    if (!this.#ended && this.tty.output.size > 0 && this.#kernel.now() < this.#drainUntil) return
    const done = this.#drained
    this.#drained = undefined
    done()
  }

  #readIn(): void {
    if (this.#inFd < 0) return
    for (;;) {
      if (this.#pending.length > 0) {
        const taken = this.tty.type(this.#pending)
        this.#pending = this.#pending.slice(taken)
        if (this.#pending.length > 0) return
      }
      const events = this.#host.poll(this.#inFd, POLLIN)
      if (events < 0 || (events & (POLLIN | POLLHUP)) === 0) return
      const n = this.#host.pread(this.#inFd, this.#buffer, -1)
      if (n === -EAGAIN) return
      if (n <= 0) {
        // The user's terminal is gone: so is the guest's.
        this.#release()
        this.tty.closeMaster()
        return
      }
      this.#pending = this.#buffer.slice(0, n)
    }
  }

  /** @param all even if the host's terminal makes us wait. */
  #writeOut(all: boolean): void {
    const { output } = this.tty
    let wrote = false
    while (output.size > 0) {
      if (!all && (this.#host.poll(this.#outFd, POLLOUT) & POLLOUT) === 0) {
        this.#tryLater()
        break
      }
      const n = this.#host.pwrite(this.#outFd, output.peek(PIECE), -1)
      if (n === -EAGAIN) {
        this.#tryLater()
        break
      }
      if (n <= 0) {
        output.clear()
        break
      }
      output.drop(n)
      wrote = true
    }
    if (wrote) this.tty.outputTaken()
  }

  /** A descriptor that is read, too, is watched for input only. */
  #tryLater(): void {
    if (!this.#soon.armed) this.#kernel.timers.add(this.#soon, this.#kernel.now() + 5e6)
  }
}

/** cfmakeraw(3). */
function rawOf(guest: Termios): Termios {
  const raw = guest.clone()
  raw.iflag &= ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON)
  raw.oflag &= ~OPOST
  raw.lflag &= ~(ECHO | ECHONL | ICANON | ISIG | IEXTEN)
  raw.cflag = (raw.cflag & ~(CSIZE | PARENB)) | CS8
  raw.cc[VMIN] = 1
  raw.cc[VTIME] = 0
  return raw
}
