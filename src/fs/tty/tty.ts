/**
 * Tty: a terminal, seen from the program's side: the slave of a pseudo terminal. What is written goes through the
 * OutputProcessor into `output`, where the master's end reads it; what the master writes waits in `#input` until
 * the line discipline has room for it.
 *
 *     master ── type() ──► #input ──► LineDiscipline ──► read()   slave
 *     master ◄── output ◄── OutputProcessor ◄──────────── write()
 *
 * Made by devpts when a master is opened, or by the sandbox for the host's terminal; it ends when master and slaves
 * are closed. As a Terminal it is what a session holds for job control.
 */
import {
  ECHO,
  EXTPROC,
  IXON,
  POLLHUP,
  POLLIN,
  POLLOUT,
  POLLPRI,
  POLLRDNORM,
  POLLWRNORM,
  SIGWINCH,
  TIOCPKT_DOSTOP,
  TIOCPKT_FLUSHREAD,
  TIOCPKT_FLUSHWRITE,
  TIOCPKT_IOCTL,
  TIOCPKT_NOSTOP,
  TIOCPKT_START,
  TIOCPKT_STOP,
  VSTART,
  VSTOP,
} from '../../abi/constants.ts'
import type { IoDst } from '../../base/io.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import type { ProcessGroup, Session, Terminal } from '../../kernel/session.ts'
import { ByteQueue } from './byte-queue.ts'
import { hangupTerminal, signalForeground } from './job-control.ts'
import { LineDiscipline, type LineOwner } from './line-discipline.ts'
import { OutputProcessor, type OutputSink } from './output.ts'
import { Termios } from './termios.ts'

/** What is on its way in one direction: a pseudo terminal's transfer buffer, and the master's read buffer. */
const TRANSFER = 8192
const MASTER_READ = 4095

export interface WindowSize {
  rows: number
  columns: number
  xPixels: number
  yPixels: number
}

const POLL_INPUT = POLLIN | POLLRDNORM
const POLL_OUTPUT = POLLOUT | POLLWRNORM

export class Tty implements Terminal, LineOwner, OutputSink {
  readonly rdev: number
  /** N of /dev/pts/N. */
  readonly index: number
  termios = new Termios()
  /** The attributes that setTermios leaves alone: TIOCSLCKTRMIOS. */
  lockedTermios = Termios.none()
  readonly window: WindowSize = { rows: 0, columns: 0, xPixels: 0, yPixels: 0 }

  session: Session | undefined = undefined
  foreground: ProcessGroup | undefined = undefined

  readonly discipline: LineDiscipline
  readonly processor: OutputProcessor
  /** Slaves' readers and writers wait here; the master's in `masterQueue`. */
  readonly queue = new WaitQueue()
  readonly masterQueue = new WaitQueue()
  readonly output = new ByteQueue(TRANSFER + MASTER_READ)
  readonly #input = new ByteQueue(TRANSFER)

  /** Output is held: by ^S, or by TCOOFF, which ^Q can't undo. */
  #stoppedByKey = false
  #stoppedByCall = false
  /** The master's own writes are held (TCOOFF on the master). */
  inputStopped = false
  /** TIOCSPTLCK: the slave can't be opened. New pseudo terminals are locked. */
  locked = true
  /** TIOCEXCL. */
  exclusive = false
  /** Open slaves. */
  slaves = 0
  /** The last slave was closed: the master reads EIO when what is left was read. */
  slaveClosed = false
  masterClosed = false
  /** Counts hang-ups: a slave opened before the last one is dead. */
  hangups = 0
  /** TIOCPKT, and the status bits that the next read of the master brings. */
  packetMode = false
  #packetStatus = 0

  constructor(index: number, rdev: number) {
    this.index = index
    this.rdev = rdev
    this.termios.forPty()
    this.processor = new OutputProcessor(this, this.termios)
    this.discipline = new LineDiscipline(this, this.processor, this.termios)
  }

  // The slave's side.

  /** Writes through output processing: how many bytes were taken; 0 when output is stopped or full. */
  write(bytes: Uint8Array): number {
    return this.processor.write(bytes)
  }

  /** Hands out input; there is some. Makes room for what waits. */
  read(into: IoDst): number {
    const n = this.discipline.read(into)
    this.#feed()
    return n
  }

  /** POLL* bits of a slave. */
  poll(): number {
    let events = 0
    if (this.discipline.pollable) events |= POLL_INPUT
    if (this.masterClosed) events |= POLLHUP
    if (this.room() > 0) events |= POLL_OUTPUT
    return events
  }

  // The master's side.

  /** Bytes come from the master: how many there was room for. */
  type(bytes: Uint8Array): number {
    if (this.inputStopped) return 0
    const n = this.#input.pushAll(bytes)
    this.#feed()
    return n
  }

  pollMaster(): number {
    let events = 0
    if (this.output.size > 0) events |= POLL_INPUT
    if (this.packetMode && this.#packetStatus !== 0) events |= POLL_INPUT | POLLPRI
    if (this.slaveClosed) events |= POLLHUP
    if (!this.inputStopped && this.#input.room > 0) events |= POLL_OUTPUT
    return events
  }

  /** Packet mode's status byte, which reading resets; 0 if there is nothing to tell. */
  takePacketStatus(): number {
    const status = this.#packetStatus
    this.#packetStatus = 0
    return status
  }

  /** The master took output: writers and echoes go on. */
  outputTaken(): void {
    this.processor.drainEchoes()
    this.queue.wakeAll(POLL_OUTPUT)
  }

  /** The master is closed: everything that has the terminal open sees a hang-up. */
  closeMaster(): void {
    this.masterClosed = true
    this.packetMode = false
    this.output.clear()
    this.vhangup()
  }

  // Control.

  setTermios(termios: Termios): void {
    const old = this.termios
    termios.keepLocked(old, this.lockedTermios)
    termios.forPty()
    if (this.packetMode) this.#tellTermios(old, termios)
    this.termios = termios
    this.processor.termios = termios
    this.discipline.setTermios(termios)
    if ((old.iflag & IXON) !== 0 && (termios.iflag & IXON) === 0) this.start()
    if ((old.lflag & ECHO) !== 0 && (termios.lflag & ECHO) === 0) this.processor.drainEchoes()
    this.queue.wakeAll()
  }

  setWindow(window: WindowSize): void {
    const old = this.window
    const same =
      old.rows === window.rows &&
      old.columns === window.columns &&
      old.xPixels === window.xPixels &&
      old.yPixels === window.yPixels
    if (same) return
    Object.assign(old, window)
    signalForeground(this, SIGWINCH)
  }

  /** TCIFLUSH. */
  flushInput(): void {
    this.#input.clear()
    this.discipline.flush()
    this.#packet(TIOCPKT_FLUSHREAD)
    this.masterQueue.wakeAll(POLL_OUTPUT)
  }

  /** TCOFLUSH: what the master's read buffer holds already isn't on the line any more. */
  flushOutput(): void {
    this.processor.forgetEchoes()
    this.output.truncate(MASTER_READ)
    this.#packet(TIOCPKT_FLUSHWRITE)
    this.queue.wakeAll(POLL_OUTPUT)
  }

  /** TCOOFF and TCOON. */
  suspendOutput(suspend: boolean): void {
    if (this.#stoppedByCall === suspend) return
    if (suspend) {
      this.stop()
      this.#stoppedByCall = true
      return
    }
    this.#stoppedByCall = false
    this.start()
  }

  /** vhangup(2), or the master's end: open slaves are dead, the session loses its terminal. */
  vhangup(): void {
    this.hangups++
    this.discipline.flush()
    this.#input.clear()
    hangupTerminal(this)
    this.queue.wakeAll()
    this.masterQueue.wakeAll()
  }

  /** Terminal: the session leader ended. Pseudo terminals stay usable. */
  hangup(): void {}

  // LineOwner.

  signal(signo: number): void {
    signalForeground(this, signo)
  }
  flushedByKey(): void {
    this.flushOutput()
    this.#packet(TIOCPKT_FLUSHREAD)
  }
  get stopped(): boolean {
    return this.#stoppedByKey || this.#stoppedByCall
  }
  stop(): void {
    if (this.stopped) return
    this.#stoppedByKey = true
    this.#packet(TIOCPKT_STOP, TIOCPKT_START)
  }
  start(): void {
    if (!this.#stoppedByKey || this.#stoppedByCall) return
    this.#stoppedByKey = false
    this.#packet(TIOCPKT_START, TIOCPKT_STOP)
    this.processor.drainEchoes()
    this.queue.wakeAll(POLL_OUTPUT)
  }
  readable(): void {
    this.queue.wakeAll(POLL_INPUT)
  }

  // OutputSink.

  room(): number {
    return this.stopped || this.masterClosed ? 0 : this.output.room
  }
  put(byte: number): void {
    this.output.push(byte)
  }
  putAll(bytes: Uint8Array): number {
    return this.stopped || this.masterClosed ? 0 : this.output.pushAll(bytes)
  }
  flushed(): void {
    this.masterQueue.wakeAll(POLL_INPUT)
  }

  /** Moves what came in to the line discipline as far as it takes it. */
  #feed(): void {
    let moved = false
    while (this.#input.size > 0) {
      const n = this.discipline.receive(this.#input.peek(TRANSFER))
      if (n === 0) break
      this.#input.drop(n)
      moved = true
    }
    if (moved) this.masterQueue.wakeAll(POLL_OUTPUT)
  }

  #packet(set: number, clear = 0): void {
    if (!this.packetMode) return
    this.#packetStatus = (this.#packetStatus & ~clear) | set
    this.masterQueue.wakeAll(POLL_INPUT | POLLPRI)
  }

  /** Packet mode tells whether ^S and ^Q are local to the master's user. */
  #tellTermios(old: Termios, termios: Termios): void {
    const usual = (t: Termios) => (t.iflag & IXON) !== 0 && t.cc[VSTOP] === 0x13 && t.cc[VSTART] === 0x11
    if (usual(old) !== usual(termios)) {
      if (usual(termios)) this.#packet(TIOCPKT_DOSTOP, TIOCPKT_NOSTOP)
      else this.#packet(TIOCPKT_NOSTOP, TIOCPKT_DOSTOP)
    }
    if (((old.lflag | termios.lflag) & EXTPROC) !== 0) this.#packet(TIOCPKT_IOCTL)
  }
}
