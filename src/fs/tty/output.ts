/**
 * Output processing and echo of a terminal: what OPOST makes of written bytes, the column that it keeps, and the queue
 * of echoes that wait while the output is stopped or full. How far an erase has to go back depends on the column
 * at the moment of output, so echoes are queued as operations, not as bytes.
 */
import {
  ECHOCTL,
  IUTF8,
  OCRNL,
  OLCUC,
  ONLCR,
  ONLRET,
  ONOCR,
  OPOST,
  TAB3,
  TABDLY,
} from '../../abi/constants.ts'
import type { Termios } from './termios.ts'

/** Where the bytes go: the other end of a pseudo terminal. */
export interface OutputSink {
  /** Bytes that it takes now; 0 while output is stopped. */
  room(): number
  /** Takes one byte; the caller has asked for room. */
  put(byte: number): void
  /** Takes as many as fit. */
  putAll(bytes: Uint8Array): number
  /** Output has been put: whoever reads the other end is to be told. */
  flushed(): void
}

// Echo operations above the byte values.
/** A byte to print as ^X if ECHOCTL says so. */
const SHOW_CONTROL = 0x100
const SET_CANON_COLUMN = 0x200
const MOVE_BACK = 0x201
/** Erase a tab: + (columns in front of it << 1) + 1 when these are counted from another tab. */
const ERASE_TAB = 0x10000

const MAX_ECHOES = 4096
const SPACES = new Uint8Array(8).fill(0x20)
const BACKSPACE = 8
const TAB = 9
const NEWLINE = 10
const RETURN = 13

export function isControl(byte: number): boolean {
  return byte < 0x20 || byte === 0x7f
}

/** Whether the byte goes on with a UTF-8 character that began before it. */
export function isContinuation(termios: Termios, byte: number): boolean {
  return (termios.iflag & IUTF8) !== 0 && (byte & 0xc0) === 0x80
}

export class OutputProcessor {
  readonly #sink: OutputSink
  termios: Termios
  #column = 0
  /** The column where the line being edited began. */
  #canonColumn = 0
  #echoes: number[] = []

  constructor(sink: OutputSink, termios: Termios) {
    this.#sink = sink
    this.termios = termios
  }

  /** Writes bytes as OPOST says: how many of them went out before there was no more room. */
  write(bytes: Uint8Array): number {
    this.drainEchoes()
    let n = 0
    if ((this.termios.oflag & OPOST) === 0) n = this.#sink.putAll(bytes)
    else while (n < bytes.length && this.#process(bytes[n])) n++
    if (n > 0) this.#sink.flushed()
    return n
  }

  /** Echoes a byte, control characters as ^X with ECHOCTL. */
  echo(byte: number): void {
    this.#queue(byte | SHOW_CONTROL)
  }
  /** Echoes a byte as it is. */
  echoRaw(byte: number): void {
    this.#queue(byte)
  }
  /** Remembers where the line begins, when the echoes before have been put. */
  echoLineStart(): void {
    this.#queue(SET_CANON_COLUMN)
  }
  echoMoveBack(): void {
    this.#queue(MOVE_BACK)
  }
  /** Goes back over a tab that follows `columns` columns, counted from the line's start or from an `afterTab`. */
  echoEraseTab(columns: number, afterTab: boolean): void {
    this.#queue(ERASE_TAB + (columns << 1) + (afterTab ? 1 : 0))
  }

  forgetEchoes(): void {
    this.#echoes.length = 0
  }

  /** Puts queued echoes as far as there is room. */
  drainEchoes(): void {
    if (this.#echoes.length === 0) return
    let done = 0
    while (done < this.#echoes.length && this.#perform(this.#echoes[done])) done++
    if (done === 0) return
    this.#echoes.splice(0, done)
    this.#sink.flushed()
  }

  #queue(operation: number): void {
    if (this.#echoes.length < MAX_ECHOES) this.#echoes.push(operation)
  }

  #perform(operation: number): boolean {
    if (operation >= ERASE_TAB) return this.#eraseTab((operation - ERASE_TAB) >> 1, (operation & 1) === 1)
    if (operation === SET_CANON_COLUMN) {
      this.#canonColumn = this.#column
      return true
    }
    if (operation === MOVE_BACK) {
      if (this.#column > 0) this.#column--
      return true
    }
    const byte = operation & 0xff
    const asCaret =
      (operation & SHOW_CONTROL) !== 0 &&
      (this.termios.lflag & ECHOCTL) !== 0 &&
      isControl(byte) &&
      byte !== TAB
    if (asCaret) {
      if (this.#sink.room() < 2) return false
      this.#sink.put(0x5e)
      this.#sink.put(byte ^ 0x40)
      this.#column += 2
      return true
    }
    if ((this.termios.oflag & OPOST) !== 0) return this.#process(byte)
    if (this.#sink.room() < 1) return false
    this.#sink.put(byte)
    return true
  }

  #eraseTab(columns: number, afterTab: boolean): boolean {
    const used = afterTab ? columns : columns + this.#canonColumn
    const back = 8 - (used & 7)
    if (this.#sink.room() < back) return false
    for (let i = 0; i < back; i++) {
      this.#sink.put(BACKSPACE)
      if (this.#column > 0) this.#column--
    }
    return true
  }

  /** Puts one byte with output processing; false when there is no room for all that it becomes. */
  #process(byte: number): boolean {
    const { oflag } = this.termios
    const room = this.#sink.room()
    if (room === 0) return false
    switch (byte) {
      case NEWLINE:
        if ((oflag & ONLRET) !== 0) this.#column = 0
        if ((oflag & ONLCR) !== 0) {
          if (room < 2) return false
          this.#sink.put(RETURN)
          this.#column = 0
        }
        this.#canonColumn = this.#column
        break
      case RETURN:
        if ((oflag & ONOCR) !== 0 && this.#column === 0) return true
        if ((oflag & OCRNL) !== 0) {
          byte = NEWLINE
          if ((oflag & ONLRET) !== 0) this.#column = this.#canonColumn = 0
        } else this.#column = this.#canonColumn = 0
        break
      case TAB: {
        const width = 8 - (this.#column & 7)
        if ((oflag & TABDLY) === TAB3) {
          if (room < width) return false
          this.#column += width
          this.#sink.putAll(SPACES.subarray(0, width))
          return true
        }
        this.#column += width
        break
      }
      case BACKSPACE:
        if (this.#column > 0) this.#column--
        break
      default:
        if (isControl(byte)) break
        if ((oflag & OLCUC) !== 0 && byte >= 0x61 && byte <= 0x7a) byte -= 0x20
        if (!isContinuation(this.termios, byte)) this.#column++
    }
    this.#sink.put(byte)
    return true
  }
}
