/** Terminal attributes: termios(3), ioctl_tty(2). The kernel's struct has 19 control characters and a line number. */
import {
  B9600,
  B38400,
  BOTHER,
  CBAUD,
  CLOCAL,
  CREAD,
  CS8,
  CSIZE,
  ECHO,
  ECHOCTL,
  ECHOE,
  ECHOK,
  ECHOKE,
  IBSHIFT,
  ICANON,
  ICRNL,
  IEXTEN,
  ISIG,
  IXON,
  NCCS,
  ONLCR,
  OPOST,
  PARENB,
  VDISCARD,
  VEOF,
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
import { TERMIOS, TERMIOS2 } from '../../abi/layout.ts'

export class Termios {
  iflag = ICRNL | IXON
  oflag = OPOST | ONLCR
  cflag = B38400 | CS8 | CREAD
  lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN
  line = 0
  readonly cc = new Uint8Array(NCCS)
  ispeed = 38400
  ospeed = 38400

  constructor() {
    const ctrl = (letter: string) => letter.charCodeAt(0) & 0x1f
    this.cc[VINTR] = ctrl('C')
    this.cc[VQUIT] = 0x1c
    this.cc[VERASE] = 0x7f
    this.cc[VKILL] = ctrl('U')
    this.cc[VEOF] = ctrl('D')
    this.cc[VTIME] = 0
    this.cc[VMIN] = 1
    this.cc[VSTART] = ctrl('Q')
    this.cc[VSTOP] = ctrl('S')
    this.cc[VSUSP] = ctrl('Z')
    this.cc[VREPRINT] = ctrl('R')
    this.cc[VDISCARD] = ctrl('O')
    this.cc[VWERASE] = ctrl('W')
    this.cc[VLNEXT] = ctrl('V')
  }

  /** The master's end: nothing is translated, echoed or edited. */
  static raw(): Termios {
    const termios = new Termios()
    termios.iflag = 0
    termios.oflag = 0
    termios.lflag = 0
    return termios
  }

  /** Nothing locked: TIOCGLCKTRMIOS. */
  static none(): Termios {
    const termios = Termios.raw()
    termios.cflag = 0
    termios.cc.fill(0)
    return termios
  }

  clone(): Termios {
    const copy = new Termios()
    copy.iflag = this.iflag
    copy.oflag = this.oflag
    copy.cflag = this.cflag
    copy.lflag = this.lflag
    copy.line = this.line
    copy.cc.set(this.cc)
    copy.ispeed = this.ispeed
    copy.ospeed = this.ospeed
    return copy
  }

  /** What `locked` has as one bits, or as a character that is not 0, stays as `old` has it. */
  keepLocked(old: Termios, locked: Termios): void {
    const merge = (before: number, after: number, mask: number) => ((before & mask) | (after & ~mask)) >>> 0
    this.iflag = merge(old.iflag, this.iflag, locked.iflag)
    this.oflag = merge(old.oflag, this.oflag, locked.oflag)
    this.cflag = merge(old.cflag, this.cflag, locked.cflag)
    this.lflag = merge(old.lflag, this.lflag, locked.lflag)
    if (locked.line !== 0) this.line = old.line
    for (let i = 0; i < NCCS; i++) if (locked.cc[i] !== 0) this.cc[i] = old.cc[i]
  }

  /** What a pseudo terminal has in any case: eight bits, no parity, a receiver that is on. */
  forPty(): void {
    this.cflag &= ~(CSIZE | PARENB)
    this.cflag |= CS8 | CREAD
  }
}

/** struct termios (36 bytes), or termios2 (44) with the speeds. */
export function encodeTermios(termios: Termios, withSpeeds: boolean): Uint8Array {
  const bytes = new Uint8Array(withSpeeds ? TERMIOS2.size : TERMIOS.size)
  const view = new DataView(bytes.buffer)
  view.setUint32(TERMIOS.c_iflag, termios.iflag, true)
  view.setUint32(TERMIOS.c_oflag, termios.oflag, true)
  view.setUint32(TERMIOS.c_cflag, termios.cflag, true)
  view.setUint32(TERMIOS.c_lflag, termios.lflag, true)
  bytes[TERMIOS.c_line] = termios.line
  bytes.set(termios.cc, TERMIOS.c_cc)
  if (withSpeeds) {
    view.setUint32(TERMIOS2.c_ispeed, termios.ispeed, true)
    view.setUint32(TERMIOS2.c_ospeed, termios.ospeed, true)
  }
  return bytes
}

/** The attributes that the bytes of a struct termios or termios2 ask for; `old` gives what the struct can't say. */
export function decodeTermios(bytes: Uint8Array, old: Termios): Termios {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const termios = old.clone()
  termios.iflag = view.getUint32(TERMIOS.c_iflag, true)
  termios.oflag = view.getUint32(TERMIOS.c_oflag, true)
  termios.cflag = view.getUint32(TERMIOS.c_cflag, true)
  termios.lflag = view.getUint32(TERMIOS.c_lflag, true)
  termios.line = bytes[TERMIOS.c_line]
  termios.cc.set(bytes.subarray(TERMIOS.c_cc, TERMIOS.c_cc + NCCS))
  if (bytes.length >= TERMIOS2.size) {
    termios.ispeed = view.getUint32(TERMIOS2.c_ispeed, true)
    termios.ospeed = view.getUint32(TERMIOS2.c_ospeed, true)
  }
  const outCode = termios.cflag & CBAUD
  if (outCode !== BOTHER) termios.ospeed = speedOf(outCode)
  const inCode = (termios.cflag >>> IBSHIFT) & CBAUD
  if (inCode === 0) termios.ispeed = termios.ospeed
  else if (inCode !== BOTHER) termios.ispeed = speedOf(inCode)
  return termios
}

/** struct termio of old System V (TCGETA): 16-bit flags, a line number and eight control characters; 18 bytes. */
export const TERMIO_SIZE = 18
const TERMIO_CHARACTERS = 8

export function encodeTermio(termios: Termios): Uint8Array {
  const bytes = new Uint8Array(TERMIO_SIZE)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, termios.iflag, true)
  view.setUint16(2, termios.oflag, true)
  view.setUint16(4, termios.cflag, true)
  view.setUint16(6, termios.lflag, true)
  bytes[8] = termios.line
  bytes.set(termios.cc.subarray(0, TERMIO_CHARACTERS), 9)
  return bytes
}

/** TCSETA: the upper halves of the flags stay. */
export function decodeTermio(bytes: Uint8Array, old: Termios): Termios {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const termios = old.clone()
  const lower = (before: number, half: number) => ((before & ~0xffff) | half) >>> 0
  termios.iflag = lower(old.iflag, view.getUint16(0, true))
  termios.oflag = lower(old.oflag, view.getUint16(2, true))
  termios.cflag = lower(old.cflag, view.getUint16(4, true))
  termios.lflag = lower(old.lflag, view.getUint16(6, true))
  termios.line = bytes[8]
  termios.cc.set(bytes.subarray(9, 9 + TERMIO_CHARACTERS), 0)
  const code = termios.cflag & CBAUD
  if (code !== BOTHER) termios.ispeed = termios.ospeed = speedOf(code)
  return termios
}

const SLOW = [0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400]
const FAST = [
  57600, 115200, 230400, 460800, 500000, 576000, 921600, 1000000, 1152000, 1500000, 2000000, 2500000, 3000000,
  3500000, 4000000,
]

/** Bits per second of a speed code (B9600, …). */
function speedOf(code: number): number {
  const speed = code > BOTHER ? FAST[code - BOTHER - 1] : SLOW[code]
  return speed ?? SLOW[B9600]
}

/** Whether the terminal is always online (no modem control). */
export function isLocal(termios: Termios): boolean {
  return (termios.cflag & CLOCAL) !== 0
}
