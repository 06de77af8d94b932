import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  MADV_DONTFORK,
  MADV_DONTNEED,
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
  UFFDIO_REGISTER_MODE_MISSING,
  UFFDIO_REGISTER_MODE_WP,
} from '../abi/constants.ts'
import { ENOMEM } from '../abi/errno.ts'
import { MmContext } from './context.ts'
import { FakeSpace } from './fake-space.ts'
import {
  addArea,
  type FaultServer,
  fillPages,
  mayCopyAreas,
  PAGE_PROTECTED,
  removeAreas,
  restoreRights,
} from './fault-area.ts'
import { pickMmapLayout } from './layout.ts'
import { madvise } from './madvise.ts'
import { Mm } from './mm.ts'
import { mmap } from './mmap.ts'
import { mprotect } from './mprotect.ts'
import { mremap } from './mremap.ts'
import { munmap } from './munmap.ts'
import { PAGE_SIZE } from './vma.ts'

const P = PAGE_SIZE
const RW = PROT_READ | PROT_WRITE
const ANON = MAP_PRIVATE | MAP_ANONYMOUS
const told: string[] = []
const server: FaultServer = {
  closed: false,
  follows: false,
  unmapped: (start, end) => told.push(`unmapped ${(end - start) / P}`),
  removed: (start, end) => told.push(`removed ${(end - start) / P}`),
  moved: () => {},
  inherits: false,
  inherited: () => server,
}

/** Four pages of which the second was touched, registered. */
function registered(modes: number = UFFDIO_REGISTER_MODE_MISSING): { mm: Mm; space: FakeSpace; at: number } {
  const space = new FakeSpace()
  const context = new MmContext({ addressLimit: 0x7ffffffff000, vdso: 0, vdsoSize: 0 }, { random: () => {} })
  const mm = new Mm(space, context)
  pickMmapLayout(mm, 8 << 20, 0)
  const at = mmap(mm, 0, 4 * P, RW, ANON, undefined, 0)
  mm.write(at + P, new Uint8Array(1))
  assert.equal(addArea(mm, at, at + 4 * P, modes, server), 0)
  return { mm, space, at }
}

function rights(space: FakeSpace, at: number, pages = 4): number[] {
  return Array.from({ length: pages }, (_, i) => space.pages.get(at + i * P)!.prot)
}

test('fault areas: the host gives no rights to pages that are absent, whatever mprotect says', () => {
  const { mm, space, at } = registered()
  assert.deepEqual(rights(space, at), [PROT_NONE, RW, PROT_NONE, PROT_NONE])
  assert.equal(mprotect(mm, at, 4 * P, PROT_READ), 0)
  assert.deepEqual(rights(space, at), [PROT_NONE, PROT_READ, PROT_NONE, PROT_NONE])
  assert.equal(mm.find(at)?.prot, PROT_READ)
})

test('fault areas: a page that was filled has the rights of its mapping', () => {
  const { mm, space, at } = registered()
  const area = mm.faultAreas!.at(at)!
  assert.equal(fillPages(mm, area, mm.find(at)!, at, new Uint8Array(P).fill(7), 0), 0)
  assert.deepEqual(rights(space, at), [RW, RW, PROT_NONE, PROT_NONE])
  const bytes = new Uint8Array(1)
  mm.read(at, bytes)
  assert.equal(bytes[0], 7)
})

test('fault areas: a write-protected page can be read', () => {
  const { mm, space, at } = registered(UFFDIO_REGISTER_MODE_WP)
  mm.faultAreas!.at(at)!.setState(at + P, PAGE_PROTECTED)
  restoreRights(mm, at, at + 4 * P)
  assert.deepEqual(rights(space, at), [RW, PROT_READ, RW, RW])
})

test('fault areas: what is thrown away is absent again', () => {
  const { mm, space, at } = registered()
  assert.equal(madvise(mm, at, 4 * P, MADV_DONTNEED, false), 0)
  assert.deepEqual(rights(space, at), [PROT_NONE, PROT_NONE, PROT_NONE, PROT_NONE])
})

test('fault areas: they end with their mappings, and do not move with them', () => {
  const { mm, space, at } = registered()
  assert.equal(munmap(mm, at + 2 * P, P), 0)
  assert.deepEqual(
    mm.faultAreas!.within(at, at + 4 * P).map(area => [(area.start - at) / P, (area.end - at) / P]),
    [
      [0, 2],
      [3, 4],
    ],
  )
  const target = at - 16 * P
  assert.equal(mremap(mm, at, 2 * P, 2 * P, MREMAP_MAYMOVE | MREMAP_FIXED, target), target)
  assert.deepEqual(rights(space, target, 2), [RW, RW])
  assert.equal(mm.faultAreas!.at(at), undefined)
})

test('fault areas: memory that nobody serves any more has all its rights', () => {
  const { mm, space, at } = registered()
  assert.equal(removeAreas(mm, at, at + 4 * P, server), 0)
  assert.deepEqual(rights(space, at), [RW, RW, RW, RW])
  assert.equal(mm.faultAreas, undefined)
})

test('fault areas: a forked child inherits those that it has a copy of', () => {
  const { mm, at } = registered()
  const followed: FaultServer = { ...server, inherits: true, inherited: () => followed }
  assert.equal(removeAreas(mm, at, at + 4 * P, server), 0)
  assert.equal(addArea(mm, at, at + 4 * P, UFFDIO_REGISTER_MODE_WP, followed), 0)
  assert.equal(madvise(mm, at + P, P, MADV_DONTFORK, false), 0)
  const child = mm.fork(new FakeSpace())
  assert.deepEqual(
    child.faultAreas!.within(0, at + 4 * P).map(area => [(area.start - at) / P, (area.end - at) / P]),
    [
      [0, 1],
      [2, 4],
    ],
  )
  assert.equal(mm.context.faultPages, 7)
  child.put()
  assert.equal(mm.context.faultPages, 4)
})

test('fault areas: all that a kernel has are bounded, and what goes makes room', () => {
  const { mm, at } = registered()
  const inheriting: FaultServer = { ...server, inherits: true }
  mm.context.faultPages += 2 ** 26 - 8
  assert.equal(addArea(mm, at - 5 * P, at, UFFDIO_REGISTER_MODE_WP, inheriting), -ENOMEM)
  assert.equal(munmap(mm, at, P), 0)
  assert.equal(mmap(mm, at - 5 * P, 5 * P, RW, ANON, undefined, 0), at - 5 * P)
  assert.equal(addArea(mm, at - 5 * P, at, UFFDIO_REGISTER_MODE_WP, inheriting), 0)
  assert.equal(mayCopyAreas(mm), false)
})

test('fault areas: what is left of one does not hold the states of all its pages', () => {
  const { mm, at } = registered()
  assert.equal(munmap(mm, at + P, 3 * P), 0)
  assert.equal(mm.faultAreas!.at(at)!.pages.buffer.byteLength, 1)
})
