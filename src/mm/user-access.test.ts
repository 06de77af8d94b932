import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../abi/constants.ts'
import { EFAULT } from '../abi/errno.ts'
import { MmContext } from './context.ts'
import { FakeSpace } from './fake-space.ts'
import { pickMmapLayout } from './layout.ts'
import { Mm } from './mm.ts'
import { mmap } from './mmap.ts'
import { segmentsDst } from './user-access.ts'
import { PAGE_SIZE } from './vma.ts'

/** Two writable pages at `address`, behind which there is nothing. */
function twoPages(): { mm: Mm; address: number } {
  const platform = { addressLimit: 0x7ffffffff000, vdso: 0, vdsoSize: 0 }
  const mm = new Mm(new FakeSpace(), new MmContext(platform, { random: into => into.fill(0) }))
  pickMmapLayout(mm, 8 << 20, 0)
  const flags = MAP_PRIVATE | MAP_ANONYMOUS
  return { mm, address: mmap(mm, 0, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, flags, undefined, 0) }
}

function contents(mm: Mm, address: number, length: number): string {
  const bytes = new Uint8Array(length)
  assert.equal(mm.read(address, bytes), length)
  return Buffer.from(bytes).toString()
}

test('guest memory: what is put fills the segments in their order, as far as they go', () => {
  const { mm, address } = twoPages()
  const dst = segmentsDst(mm, [address, 3, address + 100, 0, address + PAGE_SIZE, 4])
  assert.equal(dst.put(Buffer.from('ab')), 2)
  assert.equal(dst.put(Buffer.from('cdefghij')), 5)
  assert.equal(dst.remaining, 0)
  assert.equal(dst.put(Buffer.from('k')), 0)
  assert.equal(contents(mm, address, 3), 'abc')
  assert.equal(contents(mm, address + PAGE_SIZE, 4), 'defg')
})

test('guest memory: put tells how much got there before the end of a mapping, and fails where that is nothing', () => {
  const { mm, address } = twoPages()
  const dst = segmentsDst(mm, [address + 2 * PAGE_SIZE - 4, 100])
  assert.equal(dst.put(Buffer.from('abcdefgh')), 4)
  assert.equal(dst.put(Buffer.from('efgh')), -EFAULT)
  assert.equal(contents(mm, address + 2 * PAGE_SIZE - 4, 4), 'abcd')
})
