import assert from 'node:assert/strict'
import test from 'node:test'
import {
  ECHO,
  ICANON,
  ISIG,
  IXON,
  POLLHUP,
  POLLIN,
  POLLOUT,
  POLLPRI,
  TIOCPKT_DOSTOP,
  TIOCPKT_FLUSHREAD,
  TIOCPKT_FLUSHWRITE,
  TIOCPKT_NOSTOP,
  TIOCPKT_START,
  TIOCPKT_STOP,
  VMIN,
} from '../../abi/constants.ts'
import { fromBytes, toBytes } from '../../base/bytes.ts'
import { BufferDst } from '../../base/io.ts'
import { ByteQueue } from './byte-queue.ts'
import { decodeTermio, decodeTermios, encodeTermio, encodeTermios, Termios } from './termios.ts'
import { Tty } from './tty.ts'

function output(tty: Tty): string {
  let text = ''
  while (tty.output.size > 0) {
    const bytes = tty.output.peek(100000)
    text += fromBytes(bytes)
    tty.output.drop(bytes.length)
  }
  tty.outputTaken()
  return text
}
function input(tty: Tty, size = 10000): string {
  const dst = new BufferDst(new Uint8Array(size))
  const n = tty.read(dst)
  return fromBytes(dst.bytes, 0, n)
}
function change(tty: Tty, edit: (termios: Termios) => void): void {
  const termios = tty.termios.clone()
  edit(termios)
  tty.setTermios(termios)
}
function raw(tty: Tty): void {
  change(tty, termios => {
    termios.lflag = 0
    termios.iflag = 0
    termios.oflag = 0
  })
}

test('terminal: what is typed is echoed to the master and read by the slave', () => {
  const tty = new Tty(0, 0)
  tty.type(toBytes('hi\n'))
  assert.equal(output(tty), 'hi\r\n')
  assert.equal(input(tty), 'hi\n')
})

test('terminal: output that nobody takes fills up, and goes on when it is taken', () => {
  const tty = new Tty(0, 0)
  raw(tty)
  const first = tty.write(new Uint8Array(100000))
  assert.equal(first, tty.output.capacity)
  assert.equal(tty.poll() & POLLOUT, 0)
  assert.equal(tty.write(new Uint8Array(1)), 0)
  output(tty)
  assert.notEqual(tty.poll() & POLLOUT, 0)
})

test('terminal: input that nobody reads fills up, and goes on when it is read', () => {
  const tty = new Tty(0, 0)
  raw(tty)
  let sent = 0
  for (let n = 1; n > 0; sent += n) n = tty.type(new Uint8Array(1000).fill(0x61))
  assert.equal(tty.pollMaster() & POLLOUT, 0)
  let received = 0
  while (tty.poll() & POLLIN) received += input(tty, 500).length
  assert.equal(received, sent)
})

test('terminal: stopped output is held until start, by key or by call', () => {
  const tty = new Tty(0, 0)
  tty.type(toBytes('\x13'))
  assert.equal(tty.write(toBytes('a')), 0)
  tty.type(toBytes('\x11'))
  assert.equal(tty.write(toBytes('a')), 1)
  tty.suspendOutput(true)
  tty.type(toBytes('\x11'))
  assert.equal(tty.write(toBytes('b')), 0)
  tty.suspendOutput(false)
  assert.equal(tty.write(toBytes('b')), 1)
  assert.equal(output(tty), 'ab')
})

test('terminal: switching IXON off starts stopped output', () => {
  const tty = new Tty(0, 0)
  tty.type(toBytes('\x13'))
  change(tty, termios => {
    termios.iflag &= ~IXON
  })
  assert.equal(tty.stopped, false)
})

test('terminal: packet mode tells of flow control and flushes', () => {
  const tty = new Tty(0, 0)
  tty.packetMode = true
  assert.equal(tty.pollMaster() & POLLPRI, 0)
  tty.type(toBytes('\x13'))
  assert.notEqual(tty.pollMaster() & POLLPRI, 0)
  assert.equal(tty.takePacketStatus(), TIOCPKT_STOP)
  tty.type(toBytes('\x13\x11'))
  assert.equal(tty.takePacketStatus(), TIOCPKT_START)
  tty.flushInput()
  tty.flushOutput()
  assert.equal(tty.takePacketStatus(), TIOCPKT_FLUSHREAD | TIOCPKT_FLUSHWRITE)
  change(tty, termios => {
    termios.iflag &= ~IXON
  })
  assert.equal(tty.takePacketStatus(), TIOCPKT_NOSTOP)
  change(tty, termios => {
    termios.iflag |= IXON
  })
  assert.equal(tty.takePacketStatus(), TIOCPKT_DOSTOP)
  assert.equal(tty.takePacketStatus(), 0)
})

test('terminal: the interrupt character drops output beyond what the master holds', () => {
  const tty = new Tty(0, 0)
  change(tty, termios => {
    termios.oflag = 0
  })
  tty.write(new Uint8Array(10000).fill(0x61))
  tty.type(toBytes('\x03'))
  assert.equal(output(tty), `${'a'.repeat(4095)}^C`)
})

test('terminal: the master closing is a hang-up', () => {
  const tty = new Tty(0, 0)
  tty.closeMaster()
  assert.equal(tty.hangups, 1)
  assert.notEqual(tty.poll() & POLLHUP, 0)
  assert.equal(tty.write(toBytes('x')), 0)
})

test('terminal: raw mode is ready when VMIN bytes are there', () => {
  const tty = new Tty(0, 0)
  change(tty, termios => {
    termios.lflag &= ~(ICANON | ECHO | ISIG)
    termios.cc[VMIN] = 3
  })
  tty.type(toBytes('ab'))
  assert.equal(tty.poll() & POLLIN, 0)
  tty.type(toBytes('c'))
  assert.notEqual(tty.poll() & POLLIN, 0)
})

test('termios: survives its own encoding, and termio keeps the upper halves', () => {
  const termios = new Termios()
  termios.lflag = 0x12345
  termios.ispeed = termios.ospeed = 1234
  termios.cflag = (termios.cflag & ~0x100f) | 0x1000
  assert.deepEqual(decodeTermios(encodeTermios(termios, true), new Termios()), termios)
  assert.equal(encodeTermios(termios, false).length, 36)
  const changed = decodeTermio(encodeTermio(termios), termios)
  assert.equal(changed.lflag, 0x12345)
})

test('termios: the speed follows its code', () => {
  const termios = new Termios()
  termios.cflag = (termios.cflag & ~0x100f) | 0x1002
  assert.equal(decodeTermios(encodeTermios(termios, false), new Termios()).ospeed, 115200)
})

test('byte queue: wraps, grows and truncates', () => {
  const queue = new ByteQueue(1000)
  let next = 0
  let expected = 0
  for (let round = 0; round < 200; round++) {
    const bytes = Uint8Array.from({ length: 7 }, () => next++ & 0xff)
    assert.equal(queue.pushAll(bytes), 7)
    for (let i = 0; i < 5; i++) assert.equal(queue.shift(), expected++ & 0xff)
  }
  assert.equal(queue.size, 400)
  queue.truncate(3)
  assert.equal(queue.size, 3)
  queue.push(0xaa)
  assert.deepEqual(
    [queue.shift(), queue.shift(), queue.shift(), queue.shift()],
    [expected & 0xff, (expected + 1) & 0xff, (expected + 2) & 0xff, 0xaa],
  )
  assert.equal(queue.pushAll(new Uint8Array(2000)), 1000)
})
