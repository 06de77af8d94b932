import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EFD_SEMAPHORE, POLLERR, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM } from '../../abi/constants.ts'
import { EAGAIN, EINVAL } from '../../abi/errno.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import { TestWorld } from '../../net/testing.ts'
import { EventFdFile } from './eventfd.ts'

function make(initial: number, flags = 0): EventFdFile {
  const { anonFs, cred } = new TestWorld()
  return new EventFdFile(anonFs.path('anon_inode:[eventfd]', 0o600), flags, cred, initial, 1)
}
function add(file: EventFdFile, value: bigint): number {
  return file.write(new BufferSrc(new Uint8Array(BigUint64Array.of(value).buffer)))
}
function take(file: EventFdFile): bigint | number {
  const dst = new BufferDst(new Uint8Array(8))
  const n = file.read(dst)
  return n < 0 ? n : new BigUint64Array(dst.bytes.buffer)[0]
}

test('eventfd: a read takes the sum of all writes', () => {
  const file = make(3)
  assert.equal(add(file, 4n), 8)
  assert.equal(add(file, 0xffffffffn), 8)
  assert.equal(take(file), 0x100000006n)
  assert.equal(take(file), -EAGAIN)
})

test('eventfd: a semaphore gives one at a time', () => {
  const file = make(2, EFD_SEMAPHORE)
  assert.equal(take(file), 1n)
  assert.equal(take(file), 1n)
  assert.equal(take(file), -EAGAIN)
})

test('eventfd: the counter never passes 2^64 - 2', () => {
  const file = make(0)
  assert.equal(add(file, 0xffffffffffffffffn), -EINVAL)
  assert.equal(add(file, 0xfffffffffffffffen), 8)
  assert.equal(add(file, 1n), -EAGAIN)
  assert.equal(file.poll(), POLLIN | POLLRDNORM)
  file.signal()
  assert.equal(file.poll(), POLLIN | POLLRDNORM | POLLERR)
  assert.equal(take(file), 0xffffffffffffffffn)
  assert.equal(file.poll(), POLLOUT | POLLWRNORM)
})
