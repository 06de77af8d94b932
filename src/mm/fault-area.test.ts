import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
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
import { MmContext } from './context.ts'
import { FakeSpace } from './fake-space.ts'
import {
  addArea,
  type FaultServer,
  fillPages,
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
  inherited: () => undefined,
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
