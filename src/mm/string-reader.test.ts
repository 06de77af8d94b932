import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EFAULT, ENAMETOOLONG } from '../abi/errno.ts'
import type { Mm } from './mm.ts'
import { StringReader } from './string-reader.ts'

/** Memory of two pages from 0x1000 on. */
class Memory {
  readonly bytes = new Uint8Array(0x2000).fill(0x61)
  reads = 0

  read(address: number, into: Uint8Array): number {
    this.reads++
    const count = Math.min(into.length, 0x3000 - address)
    if (address < 0x1000 || count <= 0) return -EFAULT
    into.set(this.bytes.subarray(address - 0x1000, address - 0x1000 + count))
    return count
  }
  put(address: number, text: string): void {
    this.bytes.set(Buffer.from(`${text}\0`, 'latin1'), address - 0x1000)
  }
}

function readerOf(memory: Memory): StringReader {
  return new StringReader(memory as unknown as Mm)
}

test('string reader: strings on one page take one read', () => {
  const memory = new Memory()
  memory.put(0x1010, 'first')
  memory.put(0x1016, '')
  memory.put(0x1017, 'third')
  const reader = readerOf(memory)
  assert.deepEqual(
    [0x1010, 0x1016, 0x1017].map(at => reader.read(at, 100)),
    ['first', '', 'third'],
  )
  assert.equal(memory.reads, 1)
})

test('string reader: a string goes on over the end of a page', () => {
  const memory = new Memory()
  memory.put(0x1ffd, 'abcdef')
  const reader = readerOf(memory)
  assert.equal(reader.read(0x1ffd, 100), 'abcdef')
  assert.equal(reader.read(0x2000, 100), 'def')
  assert.equal(memory.reads, 2)
})

test('string reader: no NUL below the limit, or no memory before it', () => {
  const memory = new Memory()
  memory.put(0x1010, 'abcd')
  assert.equal(readerOf(memory).read(0x1010, 4), -ENAMETOOLONG)
  assert.equal(readerOf(memory).read(0x1010, 5), 'abcd')
  assert.equal(readerOf(memory).read(0x2f00, 0x1000), -EFAULT)
  assert.equal(readerOf(memory).read(0x10, 0x1000), -EFAULT)
})
