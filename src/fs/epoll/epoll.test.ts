import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EPOLLET, EPOLLEXCLUSIVE, EPOLLIN, EPOLLONESHOT, EPOLLOUT, POLLIN } from '../../abi/constants.ts'
import { EEXIST, EINVAL, ELOOP, ENOENT } from '../../abi/errno.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import { TestWorld } from '../../net/testing.ts'
import { filePut } from '../../vfs/file-ref.ts'
import { makePipe, type PipeFile } from '../pipe/pipe-file.ts'
import { EpollFile } from './epoll.ts'

const world = new TestWorld()

function epoll(): EpollFile {
  return new EpollFile(world.anonFs.path('anon_inode:[eventpoll]', 0o600), world.cred)
}
function pipe(): [PipeFile, PipeFile] {
  return makePipe(world.anonFs, 0, world.cred)
}
function put(file: PipeFile, text = 'x'): void {
  file.write(new BufferSrc(new TextEncoder().encode(text)))
}
function drain(file: PipeFile): void {
  file.read(new BufferDst(new Uint8Array(100)))
}
/** The data words of the events that are reported now. */
function events(file: EpollFile, max = 10): number[] {
  const found: number[] = []
  file.collect(max, (_events, lo) => found.push(lo) > 0)
  return found
}

test('epoll: a level-triggered item is reported as long as it is ready', () => {
  const [reader, writer] = pipe()
  const ep = epoll()
  assert.equal(ep.add(reader, 3, EPOLLIN, 7, 0), 0)
  assert.deepEqual(events(ep), [])
  put(writer)
  assert.equal(ep.poll() & POLLIN, POLLIN)
  assert.deepEqual(events(ep), [7])
  assert.deepEqual(events(ep), [7])
  drain(reader)
  assert.deepEqual(events(ep), [])
  assert.equal(ep.poll(), 0)
})

test('epoll: an edge-triggered item is reported once for each write', () => {
  const [reader, writer] = pipe()
  const ep = epoll()
  ep.add(reader, 3, EPOLLIN | EPOLLET, 7, 0)
  put(writer)
  assert.deepEqual(events(ep), [7])
  assert.deepEqual(events(ep), [])
  put(writer)
  assert.deepEqual(events(ep), [7])
})

test('epoll: a one-shot item rests until it is modified', () => {
  const [reader, writer] = pipe()
  const ep = epoll()
  ep.add(reader, 3, EPOLLIN | EPOLLONESHOT, 7, 0)
  put(writer)
  assert.deepEqual(events(ep), [7])
  put(writer)
  assert.deepEqual(events(ep), [])
  assert.equal(ep.modify(reader, 3, EPOLLIN | EPOLLONESHOT, 8, 0), 0)
  assert.deepEqual(events(ep), [8])
})

test('epoll: with fewer places than ready items everybody gets a turn', () => {
  const ep = epoll()
  for (let i = 0; i < 4; i++) {
    const [reader, writer] = pipe()
    put(writer)
    ep.add(reader, 10 + i, EPOLLIN, i, 0)
  }
  assert.deepEqual(events(ep, 3), [0, 1, 2])
  assert.deepEqual(events(ep, 3), [3, 0, 1])
  assert.deepEqual(events(ep, 3), [2, 3, 0])
})

test('epoll: an item goes with the last reference to its file', () => {
  const [reader, writer] = pipe()
  const ep = epoll()
  put(writer)
  ep.add(reader, 3, EPOLLIN, 7, 0)
  filePut(reader)
  assert.deepEqual(events(ep), [])
  assert.equal(ep.remove(reader, 3), -ENOENT)
})

test('epoll: the same file may be watched under two numbers, not twice under one', () => {
  const [, writer] = pipe()
  const ep = epoll()
  assert.equal(ep.add(writer, 3, EPOLLOUT, 1, 0), 0)
  assert.equal(ep.add(writer, 3, EPOLLOUT, 1, 0), -EEXIST)
  assert.equal(ep.add(writer, 4, EPOLLOUT, 2, 0), 0)
  assert.deepEqual(events(ep), [1, 2])
  assert.equal(ep.remove(writer, 3), 0)
  assert.deepEqual(events(ep), [2])
})

test('epoll: epoll files may be nested, but not in a circle and not too deep', () => {
  const [a, b] = [epoll(), epoll()]
  const [reader, writer] = pipe()
  a.add(b, 3, EPOLLIN, 1, 0)
  assert.equal(b.add(a, 4, EPOLLIN, 1, 0), -ELOOP)
  b.add(reader, 5, EPOLLIN, 2, 0)
  assert.deepEqual(events(a), [])
  put(writer)
  assert.deepEqual(events(a), [1])
  let top = epoll()
  let status = 0
  let levels = 0
  while (status === 0) {
    const next = epoll()
    status = next.add(top, 3, EPOLLIN, 0, 0)
    top = next
    levels++
  }
  assert.equal(status, -ELOOP)
  assert.equal(levels, 5)
})

test('epoll: of those that watch exclusively, one with a waiter is told', () => {
  const [reader, writer] = pipe()
  const [idle, waiting] = [epoll(), epoll()]
  assert.equal(idle.add(reader, 3, EPOLLIN | EPOLLEXCLUSIVE, 1, 0), 0)
  assert.equal(waiting.add(reader, 3, EPOLLIN | EPOLLEXCLUSIVE, 1, 0), 0)
  assert.equal(idle.modify(reader, 3, EPOLLIN, 1, 0), -EINVAL)
  let told = 0
  waiting.waiters.add({ woken: () => void told++ }, 0, true)
  put(writer)
  assert.equal(told, 1)
})
