import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } from '../abi/constants.ts'
import { EINVAL, ENOMEM } from '../abi/errno.ts'
import { setAnonName } from './anon-name.ts'
import { MmContext } from './context.ts'
import { FakeSpace } from './fake-space.ts'
import { pickMmapLayout } from './layout.ts'
import { Mm } from './mm.ts'
import { mmap } from './mmap.ts'
import { munmap } from './munmap.ts'
import { PAGE_SIZE } from './vma.ts'

const RW = PROT_READ | PROT_WRITE

function newMm(): Mm {
  const context = new MmContext({ addressLimit: 0x7ffffffff000, vdso: 0, vdsoSize: 0 }, { random: () => {} })
  const mm = new Mm(new FakeSpace(), context)
  pickMmapLayout(mm, 8 << 20, 0)
  return mm
}

function labels(mm: Mm): string[] {
  const list: string[] = []
  for (let vma = mm.vmas.first; vma !== undefined; vma = vma.next) {
    list.push(`${vma.pages} ${mm.vmaLabel(vma) ?? '-'}`)
  }
  return list
}

test('names divide a mapping, and mappings of one name are one', () => {
  const mm = newMm()
  const at = mmap(mm, 0, 4 * PAGE_SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS, undefined, 0)
  assert.equal(setAnonName(mm, at + PAGE_SIZE, PAGE_SIZE, 'stack of a thread'), 0)
  assert.deepEqual(labels(mm), ['1 -', '1 [anon:stack of a thread]', '2 -'])
  assert.equal(setAnonName(mm, at, 1, 'stack of a thread'), 0)
  assert.deepEqual(labels(mm), ['2 [anon:stack of a thread]', '2 -'])
  assert.deepEqual(labels(mm.fork(new FakeSpace())), labels(mm))
  assert.equal(setAnonName(mm, at, 4 * PAGE_SIZE, undefined), 0)
  assert.deepEqual(labels(mm), ['4 -'])
})

test('shared anonymous memory says that it is shared', () => {
  const mm = newMm()
  const at = mmap(mm, 0, PAGE_SIZE, RW, MAP_SHARED | MAP_ANONYMOUS, undefined, 0)
  assert.equal(setAnonName(mm, at, PAGE_SIZE, 'ring'), 0)
  assert.deepEqual(labels(mm), ['1 [anon_shmem:ring]'])
})

test('names that would confuse readers of the file are refused, holes are passed over', () => {
  const mm = newMm()
  const at = mmap(mm, 0, 3 * PAGE_SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS, undefined, 0)
  for (const name of ['a[', 'a]', 'a\\', '`', '$x', '\n', '\x7f', '\xc3']) {
    assert.equal(setAnonName(mm, at, PAGE_SIZE, name), -EINVAL)
  }
  assert.equal(setAnonName(mm, at + 1, PAGE_SIZE, 'x'), -EINVAL)
  assert.equal(munmap(mm, at + PAGE_SIZE, PAGE_SIZE), 0)
  assert.equal(setAnonName(mm, at, 3 * PAGE_SIZE, 'x'), -ENOMEM)
  assert.deepEqual(labels(mm), ['1 [anon:x]', '1 [anon:x]'])
})
