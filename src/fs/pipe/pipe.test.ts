import assert from 'node:assert/strict'
import { test } from 'node:test'
import { POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM } from '../../abi/constants.ts'
import { EAGAIN, EBUSY, EPIPE } from '../../abi/errno.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import { PIPE_PAGE, Pipe } from './pipe.ts'
import { moveSlots, PipeDst, PipeSrc } from './splice.ts'

function open(slots?: number): Pipe {
  const pipe = new Pipe(slots)
  pipe.opened(true, false)
  pipe.opened(false, true)
  return pipe
}
function fill(length: number, seed = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + seed + (i >> 8)) & 0xff)
}
function write(pipe: Pipe, bytes: Uint8Array, packets = false): number {
  return pipe.write(new BufferSrc(bytes), packets)
}
function read(pipe: Pipe, length: number): Uint8Array | number {
  const dst = new BufferDst(new Uint8Array(length))
  const n = pipe.read(dst)
  return n < 0 ? n : dst.bytes.subarray(0, n)
}

test('a pipe takes 64 KiB in whole pages and then would block', () => {
  const pipe = open()
  assert.equal(write(pipe, fill(100000)), 65536)
  assert.equal(write(pipe, fill(1)), -EAGAIN)
  assert.equal(pipe.poll(false, true, false), 0)
  assert.equal((read(pipe, PIPE_PAGE - 1) as Uint8Array).length, PIPE_PAGE - 1)
  assert.equal(write(pipe, fill(1)), -EAGAIN)
  read(pipe, 1)
  assert.equal(pipe.poll(false, true, false), POLLOUT | POLLWRNORM)
  assert.equal(write(pipe, fill(5000)), 4096)
})

test('small writes share a page while they fit, and come out in order', () => {
  const pipe = open()
  for (let i = 0; i < 4096; i++) assert.equal(write(pipe, Uint8Array.of(i & 0xff)), 1)
  assert.equal(pipe.usedSlots, 1)
  write(pipe, fill(10))
  assert.equal(pipe.usedSlots, 2)
  assert.equal(pipe.bytes, 4106)
  const got = read(pipe, 5000) as Uint8Array
  assert.equal(got.length, 4106)
  assert.equal(got[4095], 4095 & 0xff)
  assert.deepEqual(got.subarray(4096), fill(10))
})

test('bytes survive any mix of sizes, wrapping included', () => {
  const pipe = open()
  const sent: number[] = []
  const got: number[] = []
  let seed = 1
  const random = (max: number) => {
    seed = (seed * 1103515245 + 12345) % 2147483648
    return seed % max
  }
  for (let round = 0; round < 500; round++) {
    const bytes = fill(1 + random(9000), round)
    const n = write(pipe, bytes)
    if (n > 0) for (const byte of bytes.subarray(0, n)) sent.push(byte)
    const out = read(pipe, 1 + random(9000))
    if (typeof out !== 'number') for (const byte of out) got.push(byte)
  }
  const rest = read(pipe, 100000)
  if (typeof rest !== 'number') for (const byte of rest) got.push(byte)
  assert.equal(got.length, sent.length)
  assert.ok(got.every((byte, i) => byte === sent[i]))
})

test('packets keep their borders and lose what does not fit', () => {
  const pipe = open()
  write(pipe, fill(10), true)
  write(pipe, fill(20, 3), true)
  assert.deepEqual(read(pipe, 4), fill(10).subarray(0, 4))
  assert.deepEqual(read(pipe, 100), fill(20, 3))
  assert.equal(read(pipe, 1), -EAGAIN)
})

test('the end of the writers is end of file, the end of the readers EPIPE', () => {
  const pipe = open()
  write(pipe, fill(3))
  pipe.closed(false, true)
  assert.equal(pipe.poll(true, false, false), POLLIN | POLLRDNORM | POLLHUP)
  assert.equal((read(pipe, 10) as Uint8Array).length, 3)
  assert.equal((read(pipe, 10) as Uint8Array).length, 0)
  const other = open()
  other.closed(true, false)
  assert.equal(write(other, fill(1)), -EPIPE)
  assert.equal(other.poll(false, true, false), POLLOUT | POLLWRNORM | POLLERR)
})

test('a waiting reader is woken by the first write, a waiting writer by the first free page', () => {
  const pipe = open()
  let woken = 0
  pipe.queue.add({ woken: () => void woken++ }, POLLIN)
  write(pipe, fill(1))
  assert.equal(woken, 1)
  write(pipe, fill(1))
  assert.equal(woken, 1)
  const full = open(1)
  write(full, fill(4096))
  let room = 0
  full.queue.add({ woken: () => void room++ }, POLLOUT)
  read(full, 100)
  assert.equal(room, 0)
  read(full, 4000)
  assert.equal(room, 1)
})

test('a pipe can be made larger with its content, not smaller than it', () => {
  const pipe = open()
  const bytes = fill(3 * 4096)
  write(pipe, bytes)
  assert.equal(pipe.resize(2), -EBUSY)
  assert.equal(pipe.resize(4), 0)
  assert.equal(pipe.resize(64), 0)
  assert.equal(write(pipe, fill(300000)), 61 * 4096)
  assert.deepEqual((read(pipe, 3 * 4096) as Uint8Array).length, 3 * 4096)
})

test('splice moves between pipes and through windows without losing a byte', () => {
  const from = open()
  const to = open(2)
  const bytes = fill(10000)
  write(from, bytes)
  assert.equal(moveSlots(from, to, 100000, false), 8192)
  assert.equal(from.bytes, 10000)
  assert.deepEqual(read(to, 9000), bytes.subarray(0, 8192))
  assert.equal(moveSlots(from, to, 5000, true), 5000)
  const sink = new BufferDst(new Uint8Array(20000))
  const src = new PipeSrc(to, 20000)
  while (src.remaining > 0) {
    const window = src.window(3000) as Uint8Array
    sink.put(window)
    src.consume(window.length)
  }
  assert.deepEqual(sink.bytes.subarray(0, sink.done), bytes.subarray(0, 5000))
  assert.equal(new PipeDst(to, 100000).put(fill(100000)), 8192)
})
