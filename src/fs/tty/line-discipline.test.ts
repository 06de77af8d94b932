import assert from 'node:assert/strict'
import test from 'node:test'
import {
  ECHO,
  ECHOCTL,
  ECHOE,
  ECHOK,
  ECHOKE,
  ECHONL,
  ECHOPRT,
  ICANON,
  ICRNL,
  IEXTEN,
  IGNCR,
  INLCR,
  ISIG,
  ISTRIP,
  IUCLC,
  IUTF8,
  IXANY,
  IXON,
  NOFLSH,
  OCRNL,
  OLCUC,
  ONLCR,
  ONLRET,
  ONOCR,
  OPOST,
  PARMRK,
  TAB3,
  VEOL,
  VEOL2,
  VMIN,
  VTIME,
} from '../../abi/constants.ts'
import { fromBytes, toBytes } from '../../base/bytes.ts'
import { BufferDst } from '../../base/io.ts'
import { LineDiscipline, type LineOwner } from './line-discipline.ts'
import { OutputProcessor, type OutputSink } from './output.ts'
import { Termios } from './termios.ts'

interface Flags {
  iflag?: number
  oflag?: number
  lflag?: number
  cc?: Record<number, number>
}

/** A terminal without a kernel: remembers signals and what went out. */
class Bench implements LineOwner, OutputSink {
  out = ''
  signals: number[] = []
  stopped = false
  capacity = Number.POSITIVE_INFINITY
  termios: Termios
  processor: OutputProcessor
  line: LineDiscipline

  constructor(flags: Flags) {
    this.termios = withFlags(flags)
    this.processor = new OutputProcessor(this, this.termios)
    this.line = new LineDiscipline(this, this.processor, this.termios)
  }
  signal(signo: number): void {
    this.signals.push(signo)
  }
  flushedByKey(): void {}
  stop(): void {
    this.stopped = true
  }
  start(): void {
    this.stopped = false
    this.processor.drainEchoes()
  }
  readable(): void {}
  room(): number {
    return this.stopped ? 0 : this.capacity - this.out.length
  }
  put(byte: number): void {
    this.out += String.fromCharCode(byte)
  }
  putAll(bytes: Uint8Array): number {
    const n = Math.min(bytes.length, this.room())
    this.out += fromBytes(bytes, 0, n)
    return n
  }
  flushed(): void {}

  type(text: string): number {
    return this.line.receive(toBytes(text))
  }
  read(size = 100): string {
    const dst = new BufferDst(new Uint8Array(size))
    const n = this.line.read(dst)
    return fromBytes(dst.bytes, 0, n)
  }
  /** All reads that would not wait; an end-of-file shows as ''. */
  readAll(size = 100): string[] {
    const reads: string[] = []
    while (this.line.inputAvailable(1)) reads.push(this.read(size))
    return reads
  }
  set(flags: Flags): void {
    this.termios = withFlags(flags)
    this.processor.termios = this.termios
    this.line.setTermios(this.termios)
  }
}

const DEFAULTS = new Termios()
const I = DEFAULTS.iflag
const O = DEFAULTS.oflag
const L = DEFAULTS.lflag

function withFlags(flags: Flags): Termios {
  const termios = new Termios()
  termios.iflag = flags.iflag ?? I
  termios.oflag = flags.oflag ?? O
  termios.lflag = flags.lflag ?? L
  for (const [index, value] of Object.entries(flags.cc ?? {})) termios.cc[Number(index)] = value
  return termios
}

interface Case extends Flags {
  name: string
  type: string
  echo: string
  reads: string[]
  signals?: number[]
}

const RUBOUT = '\b \b'
const cases: Case[] = [
  { name: 'a line can be read when it is ended', type: 'ab\n', echo: 'ab\r\n', reads: ['ab\n'] },
  { name: 'a line without end stays', type: 'ab', echo: 'ab', reads: [] },
  { name: 'each read gives one line', type: 'a\nb\n', echo: 'a\r\nb\r\n', reads: ['a\n', 'b\n'] },
  { name: 'ICRNL makes return a newline', type: 'a\r', echo: 'a\r\n', reads: ['a\n'] },
  {
    name: 'without ICRNL return is a control character',
    iflag: 0,
    type: 'a\r\n',
    echo: 'a^M\r\n',
    reads: ['a\r\n'],
  },
  { name: 'IGNCR drops return', iflag: IGNCR | ICRNL, type: 'a\r\n', echo: 'a\r\n', reads: ['a\n'] },
  { name: 'INLCR makes newline a return', iflag: INLCR, type: 'a\n\x04', echo: 'a^M', reads: ['a\r'] },
  { name: 'ISTRIP clears the eighth bit', iflag: ISTRIP, type: '\xe1\n', echo: 'a\r\n', reads: ['a\n'] },
  { name: 'IUCLC lowers letters', iflag: IUCLC, type: 'AbZ\n', echo: 'abz\r\n', reads: ['abz\n'] },
  { name: 'PARMRK doubles 0377', iflag: PARMRK, type: '\xff\n', echo: '\xff\r\n', reads: ['\xff\xff\n'] },
  { name: 'VERASE rubs out', type: 'ab\x7fc\n', echo: `ab${RUBOUT}c\r\n`, reads: ['ac\n'] },
  { name: 'VERASE on an empty line does nothing', type: '\x7fa\n', echo: 'a\r\n', reads: ['a\n'] },
  {
    name: 'VERASE does not reach into the line before',
    type: 'a\n\x7fb\n',
    echo: 'a\r\nb\r\n',
    reads: ['a\n', 'b\n'],
  },
  {
    name: 'a control character is shown and rubbed out in two columns',
    type: '\x01\x7f\n',
    echo: `^A${RUBOUT}${RUBOUT}\r\n`,
    reads: ['\n'],
  },
  {
    name: 'without ECHOCTL a control character has no width',
    lflag: L & ~ECHOCTL,
    type: '\x01\x7f\n',
    echo: '\x01\r\n',
    reads: ['\n'],
  },
  {
    name: 'without ECHOE the erase character is echoed',
    lflag: L & ~ECHOE,
    type: 'ab\x7f\n',
    echo: 'ab^?\r\n',
    reads: ['a\n'],
  },
  {
    name: 'erasing a tab goes back to where it began',
    type: 'ab\t\x7fc\n',
    echo: `ab\t${'\b'.repeat(6)}c\r\n`,
    reads: ['abc\n'],
  },
  {
    name: 'erasing a tab behind a tab counts from that',
    type: '\tabc\t\x7f\n',
    echo: `\tabc\t${'\b'.repeat(5)}\r\n`,
    reads: ['\tabc\n'],
  },
  {
    name: 'IUTF8 erases a whole character',
    iflag: I | IUTF8,
    type: 'a\xc3\xa9\x7f\n',
    echo: `a\xc3\xa9${RUBOUT}\r\n`,
    reads: ['a\n'],
  },
  {
    name: 'without IUTF8 it erases a byte',
    type: 'a\xc3\xa9\x7f\n',
    echo: `a\xc3\xa9${RUBOUT}\r\n`,
    reads: ['a\xc3\n'],
  },
  {
    name: 'VWERASE erases a word and what is behind it',
    type: 'ab cd_1 .\x17x\n',
    echo: `ab cd_1 .${RUBOUT.repeat(6)}x\r\n`,
    reads: ['ab x\n'],
  },
  {
    name: 'without IEXTEN VWERASE is text',
    lflag: L & ~IEXTEN,
    type: 'a\x17\n',
    echo: 'a^W\r\n',
    reads: ['a\x17\n'],
  },
  {
    name: 'VKILL rubs out the line',
    type: 'abc\x15d\n',
    echo: `abc${RUBOUT.repeat(3)}d\r\n`,
    reads: ['d\n'],
  },
  {
    name: 'without ECHOKE VKILL starts a new line',
    lflag: L & ~ECHOKE,
    type: 'ab\x15d\n',
    echo: 'ab^U\r\nd\r\n',
    reads: ['d\n'],
  },
  {
    name: 'without ECHOK either it only shows',
    lflag: L & ~(ECHOKE | ECHOK),
    type: 'ab\x15d\n',
    echo: 'ab^Ud\r\n',
    reads: ['d\n'],
  },
  {
    name: 'ECHOPRT shows what is erased',
    lflag: L | ECHOPRT,
    type: 'abc\x7f\x7fd\n',
    echo: 'abc\\cb/d\r\n',
    reads: ['ad\n'],
  },
  {
    name: 'ECHOPRT closes when the line is empty',
    lflag: L | ECHOPRT,
    type: 'a\x7f\n',
    echo: 'a\\a/\r\n',
    reads: ['\n'],
  },
  { name: 'VREPRINT shows the line again', type: 'ab\x12c\n', echo: 'ab^R\r\nabc\r\n', reads: ['abc\n'] },
  {
    name: 'VLNEXT takes the next byte as it is',
    type: '\x16\x03\x16\x7f\n',
    echo: '^\b^C^\b^?\r\n',
    reads: ['\x03\x7f\n'],
  },
  { name: 'VLNEXT newline is text', type: '\x16\n\n', echo: '^\b^J\r\n', reads: ['\n\n'].map(() => '\n\n') },
  { name: 'VEOF ends a read without being read', type: 'ab\x04c\n', echo: 'abc\r\n', reads: ['ab', 'c\n'] },
  { name: 'VEOF on an empty line is end-of-file', type: '\x04', echo: '', reads: [''] },
  {
    name: 'VEOL ends a line and is read',
    cc: { [VEOL]: 0x3b },
    type: 'a;b\n',
    echo: 'a;b\r\n',
    reads: ['a;', 'b\n'],
  },
  { name: 'VEOL2 too', cc: { [VEOL2]: 0x3a }, type: 'a:b\n', echo: 'a:b\r\n', reads: ['a:', 'b\n'] },
  {
    name: 'VEOL2 needs IEXTEN',
    lflag: L & ~IEXTEN,
    cc: { [VEOL2]: 0x3a },
    type: 'a:b\n',
    echo: 'a:b\r\n',
    reads: ['a:b\n'],
  },
  { name: 'NUL is no special character', type: '\0\n', echo: '^@\r\n', reads: ['\0\n'] },
  {
    name: 'VINTR signals and flushes the line with its echo',
    type: 'ab\x03c\n',
    echo: '^Cc\r\n',
    reads: ['c\n'],
    signals: [2],
  },
  { name: 'VINTR flushes lines that nobody read', type: 'a\n\x03', echo: '^C', reads: [], signals: [2] },
  {
    name: 'NOFLSH keeps the input',
    lflag: L | NOFLSH,
    type: 'ab\x03c\n',
    echo: 'ab^Cc\r\n',
    reads: ['abc\n'],
    signals: [2],
  },
  { name: 'VQUIT and VSUSP', type: '\x1c\x1a', echo: '^Z', reads: [], signals: [3, 20] },
  {
    name: 'without ISIG they are text',
    lflag: L & ~ISIG,
    type: '\x03\x1c\x1a\n',
    echo: '^C^\\^Z\r\n',
    reads: ['\x03\x1c\x1a\n'],
  },
  { name: 'without ECHO nothing shows', lflag: L & ~ECHO, type: 'ab\x7f\x15c\n', echo: '', reads: ['c\n'] },
  {
    name: 'ECHONL shows the newline alone',
    lflag: (L & ~ECHO) | ECHONL,
    type: 'ab\n',
    echo: '\r\n',
    reads: ['ab\n'],
  },
  { name: 'flow control characters are not read', type: 'a\x13\x11b\n', echo: 'ab\r\n', reads: ['ab\n'] },
  {
    name: 'without IXON they are',
    iflag: ICRNL,
    type: '\x13\x11\n',
    echo: '^S^Q\r\n',
    reads: ['\x13\x11\n'],
  },
  {
    name: 'raw: every byte can be read at once',
    iflag: 0,
    lflag: 0,
    type: 'a\x03\r\x7f',
    echo: '',
    reads: ['a\x03\r\x7f'],
  },
  { name: 'raw with echo', lflag: ECHO, type: 'a\x01\n', echo: 'a\x01\r\n', reads: ['a\x01\n'] },
  {
    name: 'raw: a newline is a control character, a translated return is none',
    lflag: ECHO | ECHOCTL,
    type: '\n\r',
    echo: '^J\r\n',
    reads: ['\n\n'],
  },
  {
    name: 'an end-of-file behind a line is a read of its own',
    type: 'a\n\x04',
    echo: 'a\r\n',
    reads: ['a\n', ''],
  },
]

for (const c of cases) {
  test(`line discipline: ${c.name}`, () => {
    const bench = new Bench(c)
    assert.equal(bench.type(c.type), c.type.length)
    assert.deepEqual(
      { echo: bench.out, reads: bench.readAll(), signals: bench.signals },
      { echo: c.echo, reads: c.reads, signals: c.signals ?? [] },
    )
  })
}

test('line discipline: a short read leaves the rest of the line', () => {
  const bench = new Bench({})
  bench.type('abcdef\n')
  assert.deepEqual(bench.readAll(4), ['abcd', 'ef\n'])
})

test('line discipline: an end-of-file behind a read that was filled exactly goes with it', () => {
  const bench = new Bench({})
  bench.type('abcd\x04')
  assert.deepEqual(bench.readAll(4), ['abcd'])
})

test('line discipline: a newline behind a read that was filled exactly stays', () => {
  const bench = new Bench({})
  bench.type('abcd\n')
  assert.deepEqual(bench.readAll(4), ['abcd', '\n'])
})

test('line discipline: a line longer than the buffer loses bytes but can be ended', () => {
  const bench = new Bench({ lflag: ICANON })
  const text = `${'x'.repeat(5000)}\n`
  assert.equal(bench.type(text), text.length)
  assert.equal(bench.read(8192), `${'x'.repeat(4095)}\n`)
})

test('line discipline: a full buffer of whole lines takes no more until it is read', () => {
  const bench = new Bench({ lflag: ICANON })
  const text = 'abcdefg\n'.repeat(1000)
  const taken = bench.type(text)
  assert.equal(taken, 4095)
  bench.read()
  assert.equal(bench.line.receive(toBytes(text.slice(taken))), 8)
})

test('line discipline: raw input beyond the buffer waits', () => {
  const bench = new Bench({ iflag: 0, lflag: 0 })
  assert.equal(bench.type('x'.repeat(5000)), 4095)
  assert.equal(bench.read(5000).length, 4095)
})

test('line discipline: the ring wraps', () => {
  const bench = new Bench({ lflag: ICANON })
  for (let i = 0; i < 2000; i++) {
    const line = `line ${i}\n`
    bench.type(line)
    assert.equal(bench.read(), line)
  }
})

test('line discipline: bytes typed in raw mode can be read when canonical mode comes', () => {
  const bench = new Bench({ lflag: 0 })
  bench.type('abc')
  bench.set({})
  assert.deepEqual(bench.readAll(), ['abc'])
})

test('line discipline: an unfinished line can be read when canonical mode goes', () => {
  const bench = new Bench({})
  bench.type('one\ntw')
  bench.set({ lflag: 0 })
  assert.deepEqual(bench.readAll(), ['one\ntw'])
})

test('line discipline: FIONREAD counts whole lines without end-of-file marks', () => {
  const bench = new Bench({})
  bench.type('ab\ncd\x04ef')
  assert.equal(bench.line.available, 5)
})

test('line discipline: poll counts VMIN only without VTIME', () => {
  const three = new Bench({ lflag: 0, cc: { [VMIN]: 3 } })
  three.type('ab')
  assert.equal(three.line.pollable, false)
  three.type('c')
  assert.equal(three.line.pollable, true)
  const timed = new Bench({ lflag: 0, cc: { [VMIN]: 3, [VTIME]: 1 } })
  timed.type('a')
  assert.equal(timed.line.pollable, true)
})

test('line discipline: while output is stopped echoes wait, with IXANY any byte starts it', () => {
  const bench = new Bench({ iflag: I | IXANY })
  bench.type('\x13')
  assert.equal(bench.stopped, true)
  bench.type('a')
  assert.equal(bench.stopped, false)
  assert.equal(bench.out, 'a')

  const plain = new Bench({})
  plain.type('\x13ab\n')
  assert.equal(plain.out, '')
  assert.deepEqual(plain.readAll(), ['ab\n'])
  plain.type('\x11')
  assert.equal(plain.out, 'ab\r\n')
})

const outputs: { name: string; oflag: number; write: string; out: string }[] = [
  { name: 'without OPOST bytes go as they are', oflag: ONLCR, write: 'a\n\t\r', out: 'a\n\t\r' },
  { name: 'ONLCR', oflag: OPOST | ONLCR, write: 'a\nb', out: 'a\r\nb' },
  { name: 'OCRNL', oflag: OPOST | OCRNL, write: 'a\rb', out: 'a\nb' },
  { name: 'ONOCR drops return in column 0', oflag: OPOST | ONOCR, write: '\ra\r\rb', out: 'a\rb' },
  { name: 'ONLRET: newline is column 0', oflag: OPOST | ONLRET | ONOCR, write: 'a\n\r', out: 'a\n' },
  { name: 'OLCUC', oflag: OPOST | OLCUC, write: 'aZ{', out: 'AZ{' },
  { name: 'TAB3 fills with spaces', oflag: OPOST | TAB3, write: 'ab\tc\t', out: 'ab      c       ' },
  { name: 'backspace takes a column', oflag: OPOST | TAB3, write: 'ab\b\t', out: 'ab\b       ' },
  { name: 'control characters have no width', oflag: OPOST | TAB3, write: '\x1b\t', out: '\x1b        ' },
]

for (const c of outputs) {
  test(`output processing: ${c.name}`, () => {
    const bench = new Bench({ oflag: c.oflag })
    assert.equal(bench.processor.write(toBytes(c.write)), c.write.length)
    assert.equal(bench.out, c.out)
  })
}

test('output processing: a byte that does not fit with its translation is not taken', () => {
  const bench = new Bench({})
  bench.capacity = 3
  assert.equal(bench.processor.write(toBytes('ab\n')), 2)
  bench.capacity = 4
  assert.equal(bench.processor.write(toBytes('\n')), 1)
  assert.equal(bench.out, 'ab\r\n')
})

test('output processing: a UTF-8 character has one column', () => {
  const bench = new Bench({ iflag: IUTF8, oflag: OPOST | TAB3 })
  bench.processor.write(toBytes('\xc3\xa9\t'))
  assert.equal(bench.out, `\xc3\xa9${' '.repeat(7)}`)
})

test('output processing: the flags of the default terminal', () => {
  assert.equal(I, ICRNL | IXON)
  assert.equal(O, OPOST | ONLCR)
})
