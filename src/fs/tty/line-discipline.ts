/**
 * N_TTY: what a terminal makes of the bytes that come in. `receive` takes them from the wire: signal characters and flow
 * control act at once, the rest goes to the read buffer, edited line by line in canonical mode; echoes go out
 * through the OutputProcessor. `read` hands out whole lines (canonical) or whatever there is (raw).
 *
 * The read buffer is a ring of 4096 bytes addressed by counters that only grow: tail <= lineEnd <= head. In canonical
 * mode only [tail, lineEnd) can be read, [lineEnd, head) is the line being edited. A mark at a byte says that a
 * read ends there.
 */
import {
  ECHO,
  ECHOCTL,
  ECHOE,
  ECHOK,
  ECHOKE,
  ECHONL,
  ECHOPRT,
  EXTPROC,
  ICANON,
  ICRNL,
  IEXTEN,
  IGNCR,
  INLCR,
  ISIG,
  ISTRIP,
  IUCLC,
  IXANY,
  IXON,
  NOFLSH,
  PARMRK,
  SIGINT,
  SIGQUIT,
  SIGTSTP,
  VEOF,
  VEOL,
  VEOL2,
  VERASE,
  VINTR,
  VKILL,
  VLNEXT,
  VMIN,
  VQUIT,
  VREPRINT,
  VSTART,
  VSTOP,
  VSUSP,
  VTIME,
  VWERASE,
} from '../../abi/constants.ts'
import type { IoDst } from '../../base/io.ts'
import { isContinuation, isControl, type OutputProcessor } from './output.ts'
import type { Termios } from './termios.ts'

/** What the line discipline asks of its terminal. */
export interface LineOwner {
  /** Sends a signal to the foreground process group. */
  signal(signo: number): void
  /** A signal character without NOFLSH threw away the input; the output goes with it. */
  flushedByKey(): void
  /** ^S and ^Q. */
  stop(): void
  start(): void
  readonly stopped: boolean
  /** There is something new to read. */
  readable(): void
}

const SIZE = 4096
const MASK = SIZE - 1
/** At a line's last byte. */
const MARK_LINE = 1
/** At the place of an end-of-file character, which is not handed out. */
const MARK_EOF = 2

const NEWLINE = 10
const RETURN = 13
const BACKSPACE = 8
const SPACE = 0x20

export class LineDiscipline {
  readonly #owner: LineOwner
  readonly #out: OutputProcessor
  #termios: Termios
  readonly #bytes = new Uint8Array(SIZE)
  readonly #marks = new Uint8Array(SIZE)
  #tail = 0
  #lineEnd = 0
  #head = 0
  /** The next byte is taken as it is (after VLNEXT). */
  #literal = false
  /** Inside of an ECHOPRT erasure, shown as \…/. */
  #erasing = false

  constructor(owner: LineOwner, out: OutputProcessor, termios: Termios) {
    this.#owner = owner
    this.#out = out
    this.#termios = termios
  }

  get canonical(): boolean {
    return (this.#termios.lflag & ICANON) !== 0
  }

  /** New attributes; bytes that are in the buffer already become readable when ICANON changes. */
  setTermios(termios: Termios): void {
    const changed = (this.#termios.lflag ^ termios.lflag) & (ICANON | EXTPROC)
    this.#termios = termios
    if (changed === 0) return
    this.#marks.fill(0)
    this.#lineEnd = this.#tail
    if (this.canonical && this.#head !== this.#tail) {
      this.#marks[(this.#head - 1) & MASK] = MARK_LINE
      this.#lineEnd = this.#head
    }
    this.#erasing = this.#literal = false
    this.#owner.readable()
  }

  /** Throws away all input. */
  flush(): void {
    this.#head = this.#lineEnd = this.#tail
    this.#marks.fill(0)
    this.#literal = this.#erasing = false
  }

  /** FIONREAD: bytes that reads would return, end-of-file marks not counted. */
  get available(): number {
    if (!this.canonical) return this.#head - this.#tail
    let n = this.#lineEnd - this.#tail
    for (let at = this.#tail; at < this.#lineEnd; at++) if (this.#marks[at & MASK] === MARK_EOF) n--
    return n
  }

  /** Whether a read would find at least `minimum` bytes, or in canonical mode a line. */
  inputAvailable(minimum: number): boolean {
    if (this.canonical && (this.#termios.lflag & EXTPROC) === 0) return this.#lineEnd !== this.#tail
    return this.#head - this.#tail >= minimum
  }

  /** For poll: VMIN counts only when there is no VTIME. */
  get pollable(): boolean {
    const { cc } = this.#termios
    return this.inputAvailable(cc[VTIME] === 0 && cc[VMIN] > 0 ? cc[VMIN] : 1)
  }

  /** Hands out one line (canonical) or what there is (raw): bytes put, or -EFAULT. There is input. */
  read(into: IoDst): number {
    return this.canonical ? this.#readLine(into) : this.#readRaw(into)
  }

  #readRaw(into: IoDst): number {
    let done = 0
    while (this.#tail !== this.#head && into.remaining > 0) {
      const at = this.#tail & MASK
      const n = into.put(this.#bytes.subarray(at, Math.min(SIZE, at + this.#head - this.#tail)))
      if (n < 0) return done > 0 ? done : n
      this.#tail += n
      done += n
    }
    if (this.#lineEnd < this.#tail) this.#lineEnd = this.#tail
    return done
  }

  #readLine(into: IoDst): number {
    const limit = Math.min(this.#lineEnd, this.#tail + into.remaining)
    let end = this.#tail
    while (end < limit && this.#marks[end & MASK] === 0) end++
    const whole = end < limit && this.#marks[end & MASK] === MARK_LINE
    if (whole) end++
    let done = 0
    while (this.#tail < end) {
      const at = this.#tail & MASK
      const n = into.put(this.#bytes.subarray(at, Math.min(SIZE, at + end - this.#tail)))
      if (n < 0) return done > 0 ? done : n
      if (n === 0) return done
      this.#marks.fill(0, at, at + n)
      this.#tail += n
      done += n
    }
    // An end-of-file mark right behind what was read goes with it, even if the reader had no room for more.
    if (!whole && this.#tail < this.#lineEnd && this.#marks[this.#tail & MASK] === MARK_EOF) {
      this.#marks[this.#tail & MASK] = 0
      this.#tail++
    }
    return done
  }

  /** Takes bytes from the wire: how many; less than all when the buffer is full. */
  receive(bytes: Uint8Array): number {
    let n = 0
    while (n < bytes.length && this.#hasRoom()) this.#receiveByte(bytes[n++])
    if (n > 0) {
      this.#out.drainEchoes()
      if (this.inputAvailable(1)) this.#owner.readable()
    }
    return n
  }

  /**
   * One byte stays free, so that a line can always be ended. When it is used up by a line without an end, each further
   * byte replaces the one before.
   */
  #hasRoom(): boolean {
    const room = SIZE - 1 - (this.#head - this.#tail)
    const perByte = (this.#termios.iflag & PARMRK) !== 0 ? 2 : 1
    if (room >= perByte) return true
    if (!this.canonical || this.#lineEnd !== this.#tail) return false
    if (room < 0) this.#head--
    return true
  }

  #receiveByte(byte: number): void {
    const { iflag, lflag, cc } = this.#termios
    if ((iflag & ISTRIP) !== 0) byte &= 0x7f
    if ((iflag & IUCLC) !== 0 && (lflag & IEXTEN) !== 0 && byte >= 0x41 && byte <= 0x5a) byte += 0x20
    if ((lflag & EXTPROC) !== 0) {
      this.#put(byte)
      return
    }
    if (this.#literal) {
      this.#literal = false
      this.#echoAndPut(byte, false)
      return
    }
    // A control character that is NUL is switched off.
    const is = (which: number) => byte !== 0 && byte === cc[which]
    if ((iflag & IXON) !== 0) {
      if (is(VSTART)) {
        this.#owner.start()
        return
      }
      if (is(VSTOP)) {
        this.#owner.stop()
        return
      }
    }
    if ((lflag & ISIG) !== 0) {
      if (is(VINTR)) {
        this.#signal(SIGINT, byte)
        return
      }
      if (is(VQUIT)) {
        this.#signal(SIGQUIT, byte)
        return
      }
      if (is(VSUSP)) {
        this.#signal(SIGTSTP, byte)
        return
      }
    }
    if (this.#owner.stopped && (iflag & (IXON | IXANY)) === (IXON | IXANY)) this.#owner.start()
    const translated = byte === RETURN && (iflag & ICRNL) !== 0
    if (byte === RETURN) {
      if ((iflag & IGNCR) !== 0) return
      if (translated) byte = NEWLINE
    } else if (byte === NEWLINE && (iflag & INLCR) !== 0) byte = RETURN
    if ((lflag & ICANON) !== 0 && this.#edit(byte)) return
    this.#echoAndPut(byte, translated)
  }

  #signal(signo: number, byte: number): void {
    const { iflag, lflag } = this.#termios
    this.#owner.signal(signo)
    if ((lflag & NOFLSH) === 0) {
      this.#out.forgetEchoes()
      this.flush()
      this.#owner.flushedByKey()
    }
    if ((iflag & IXON) !== 0) this.#owner.start()
    if ((lflag & ECHO) !== 0) this.#out.echo(byte)
  }

  /** Canonical mode's own characters: whether it was one. */
  #edit(byte: number): boolean {
    const { lflag, cc } = this.#termios
    const extended = (lflag & IEXTEN) !== 0
    const echo = (lflag & ECHO) !== 0
    const is = (which: number) => byte !== 0 && byte === cc[which]
    if (is(VERASE)) {
      this.#erase(false)
      return true
    }
    if (is(VKILL)) {
      this.#kill(byte)
      return true
    }
    if (extended && is(VWERASE)) {
      this.#erase(true)
      return true
    }
    if (extended && is(VLNEXT)) {
      this.#literal = true
      if (!echo) return true
      this.#finishErasing()
      if ((lflag & ECHOCTL) !== 0) {
        this.#out.echoRaw(0x5e)
        this.#out.echoRaw(BACKSPACE)
      }
      return true
    }
    if (extended && echo && is(VREPRINT)) {
      this.#finishErasing()
      this.#out.echo(byte)
      this.#out.echoRaw(NEWLINE)
      for (let at = this.#lineEnd; at < this.#head; at++) this.#out.echo(this.#bytes[at & MASK])
      return true
    }
    if (byte === NEWLINE) {
      if ((lflag & (ECHO | ECHONL)) !== 0) this.#out.echoRaw(NEWLINE)
      this.#endLine(byte, MARK_LINE)
      return true
    }
    if (is(VEOF)) {
      this.#endLine(0, MARK_EOF)
      return true
    }
    if (is(VEOL) || (extended && is(VEOL2))) {
      if (echo) {
        if (this.#lineEnd === this.#head) this.#out.echoLineStart()
        this.#out.echo(byte)
      }
      if ((this.#termios.iflag & PARMRK) !== 0 && byte === 0xff) this.#put(byte)
      this.#endLine(byte, MARK_LINE)
      return true
    }
    return false
  }

  #endLine(byte: number, mark: number): void {
    this.#marks[this.#head & MASK] = mark
    this.#put(byte)
    this.#lineEnd = this.#head
  }

  #echoAndPut(byte: number, newlineRaw: boolean): void {
    if ((this.#termios.lflag & ECHO) !== 0) {
      this.#finishErasing()
      if (byte === NEWLINE && newlineRaw) this.#out.echoRaw(byte)
      else {
        if (this.#lineEnd === this.#head) this.#out.echoLineStart()
        this.#out.echo(byte)
      }
    }
    // With PARMRK, 0377 is doubled to tell it from the mark of a framing error.
    if ((this.#termios.iflag & PARMRK) !== 0 && byte === 0xff) this.#put(byte)
    this.#put(byte)
  }

  #put(byte: number): void {
    this.#bytes[this.#head & MASK] = byte
    this.#head++
  }

  #finishErasing(): void {
    if (!this.#erasing) return
    this.#out.echoRaw(0x2f)
    this.#erasing = false
  }

  #kill(byte: number): void {
    const { lflag } = this.#termios
    if (this.#head === this.#lineEnd) return
    if ((lflag & ECHO) === 0) {
      this.#head = this.#lineEnd
      return
    }
    if ((lflag & (ECHOK | ECHOKE | ECHOE)) !== (ECHOK | ECHOKE | ECHOE)) {
      this.#head = this.#lineEnd
      this.#finishErasing()
      this.#out.echo(byte)
      if ((lflag & ECHOK) !== 0) this.#out.echoRaw(NEWLINE)
      return
    }
    while (this.#head !== this.#lineEnd && this.#eraseCharacter(false) !== undefined);
    if (this.#head === this.#lineEnd) this.#finishErasing()
  }

  /** Erases a character or, back to the start of it, a word (letters, digits, underscores). */
  #erase(word: boolean): void {
    if (this.#head === this.#lineEnd) return
    let seenWord = false
    while (this.#head !== this.#lineEnd) {
      const next = this.#lastCharacterStart()
      const byte = this.#bytes[next & MASK]
      if (isContinuation(this.#termios, byte)) break
      if (word) {
        if (isWordByte(byte)) seenWord = true
        else if (seenWord) break
      }
      this.#eraseCharacter(!word)
      if (!word) break
    }
    if (this.#head === this.#lineEnd && (this.#termios.lflag & ECHO) !== 0) this.#finishErasing()
  }

  /** Where the last character of the line begins: before the continuation bytes with IUTF8. */
  #lastCharacterStart(): number {
    let at = this.#head
    do at--
    while (at !== this.#lineEnd && isContinuation(this.#termios, this.#bytes[at & MASK]))
    return at
  }

  /** Removes the last character and shows that: its first byte, undefined when it has no beginning. */
  #eraseCharacter(single: boolean): number | undefined {
    const { lflag, cc } = this.#termios
    const start = this.#lastCharacterStart()
    const byte = this.#bytes[start & MASK]
    if (isContinuation(this.#termios, byte)) return undefined
    const end = this.#head
    this.#head = start
    if ((lflag & ECHO) === 0) return byte
    if ((lflag & ECHOPRT) !== 0) {
      if (!this.#erasing) this.#out.echoRaw(0x5c)
      this.#erasing = true
      this.#out.echo(byte)
      for (let at = start + 1; at < end; at++) {
        this.#out.echoRaw(this.#bytes[at & MASK])
        this.#out.echoMoveBack()
      }
      return byte
    }
    if (single && (lflag & ECHOE) === 0) {
      this.#out.echo(cc[VERASE])
      return byte
    }
    if (byte === 9) {
      this.#eraseTab()
      return byte
    }
    const caret = isControl(byte) && (lflag & ECHOCTL) !== 0
    const columns = caret ? 2 : isControl(byte) ? 0 : 1
    for (let i = 0; i < columns; i++) {
      this.#out.echoRaw(BACKSPACE)
      this.#out.echoRaw(SPACE)
      this.#out.echoRaw(BACKSPACE)
    }
    return byte
  }

  /** The tab is gone from the buffer already: counts the columns between it and the tab or line start before. */
  #eraseTab(): void {
    let columns = 0
    for (let at = this.#head - 1; at >= this.#lineEnd; at--) {
      const byte = this.#bytes[at & MASK]
      if (byte === 9) {
        this.#out.echoEraseTab(columns, true)
        return
      }
      if (isControl(byte)) columns += (this.#termios.lflag & ECHOCTL) !== 0 ? 2 : 0
      else if (!isContinuation(this.#termios, byte)) columns++
    }
    this.#out.echoEraseTab(columns, false)
  }
}

/** Letters (Latin-1's among them, as the kernel's ctype has it), digits, underscore. */
function isWordByte(byte: number): boolean {
  return (
    (byte >= 0x30 && byte <= 0x39) ||
    ((byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a) ||
    byte === 0x5f ||
    (byte >= 0xc0 && byte !== 0xd7 && byte !== 0xf7)
  )
}
