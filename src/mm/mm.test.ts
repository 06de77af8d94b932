import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  MADV_DONTFORK,
  MADV_DONTNEED,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_FIXED_NOREPLACE,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  MREMAP_DONTUNMAP,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  PROT_EXEC,
  PROT_GROWSDOWN,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
  RLIMIT_AS,
  RLIMIT_DATA,
} from '../abi/constants.ts'
import { EEXIST, EFAULT, EINVAL, ENAMETOOLONG, ENOMEM, EPERM } from '../abi/errno.ts'
import { brk } from './brk.ts'
import { MmContext } from './context.ts'
import { FakeSpace } from './fake-space.ts'
import { pickMmapLayout, reserveNear } from './layout.ts'
import { madvise } from './madvise.ts'
import { Mm } from './mm.ts'
import { mmap } from './mmap.ts'
import { mprotect, mseal } from './mprotect.ts'
import { mremap } from './mremap.ts'
import { munmap } from './munmap.ts'
import { growDown, mapStack } from './stack.ts'
import { PAGE_SIZE, VM_GROWSDOWN, VM_MAYALL, VM_READ, VM_WRITE } from './vma.ts'

const P = PAGE_SIZE
const RW = PROT_READ | PROT_WRITE
const ANON = MAP_PRIVATE | MAP_ANONYMOUS
const LIMIT = 0x7ffffffff000

function newMm(limit = LIMIT): { mm: Mm; space: FakeSpace } {
  let seed = 1
  const random = (into: Uint8Array): void => {
    for (let i = 0; i < into.length; i++) {
      seed = (seed * 1103515245 + 12345) % 2147483648
      into[i] = seed >>> 16
    }
  }
  const space = new FakeSpace()
  const context = new MmContext({ addressLimit: limit, vdso: 0, vdsoSize: 0 }, { random })
  const mm = new Mm(space, context)
  pickMmapLayout(mm, 8 << 20, 0)
  return { mm, space }
}

function ranges(mm: Mm): string[] {
  const lines: string[] = []
  for (let vma = mm.vmas.first; vma !== undefined; vma = vma.next) {
    lines.push(`${(vma.start / P).toString(16)}-${(vma.end / P).toString(16)} ${vma.prot}`)
  }
  return lines
}

test('mmap: new mappings are placed downwards and merge with their equals', () => {
  const { mm } = newMm()
  const a = mmap(mm, 0, 3 * P, RW, ANON, undefined, 0)
  const b = mmap(mm, 0, P, RW, ANON, undefined, 0)
  assert.equal(a, mm.mmapBase - 3 * P)
  assert.equal(b, a - P)
  assert.equal(mm.vmas.count, 1)
  mmap(mm, 0, P, PROT_READ, ANON, undefined, 0)
  assert.equal(mm.vmas.count, 2)
})

test('mmap: a hole is used again, the highest that fits', () => {
  const { mm } = newMm()
  const a = mmap(mm, 0, 10 * P, RW, ANON, undefined, 0)
  munmap(mm, a + 2 * P, 2 * P)
  munmap(mm, a + 6 * P, P)
  assert.equal(mmap(mm, 0, 2 * P, RW, ANON, undefined, 0), a + 2 * P)
  assert.equal(mmap(mm, 0, P, RW, ANON, undefined, 0), a + 6 * P)
  assert.equal(mm.vmas.count, 1)
})

test('mmap: hints are taken when free; MAP_FIXED replaces; MAP_FIXED_NOREPLACE does not', () => {
  const { mm } = newMm()
  const at = 0x10000000
  assert.equal(mmap(mm, at + 5, 4 * P, RW, ANON, undefined, 0), at)
  assert.notEqual(mmap(mm, at, P, RW, ANON, undefined, 0), at)
  assert.equal(mmap(mm, at + P, P, PROT_READ, ANON | MAP_FIXED, undefined, 0), at + P)
  assert.deepEqual(ranges(mm).slice(0, 3), ['10000-10001 3', '10001-10002 1', '10002-10004 3'])
  assert.equal(mmap(mm, at, P, RW, ANON | MAP_FIXED_NOREPLACE, undefined, 0), -EEXIST)
  assert.equal(mmap(mm, at + 1, P, RW, ANON | MAP_FIXED, undefined, 0), -EINVAL)
  assert.equal(mmap(mm, 0, P, RW, ANON | MAP_FIXED, undefined, 0), -EPERM)
  assert.equal(mmap(mm, 0, 0, RW, ANON, undefined, 0), -EINVAL)
  assert.equal(mmap(mm, 0, 2 ** 60, RW, ANON, undefined, 0), -ENOMEM)
  assert.equal(mmap(mm, 0, P, RW, MAP_ANONYMOUS, undefined, 0), -EINVAL)
})

test('mmap: big anonymous mappings are aligned for huge pages', () => {
  const { mm } = newMm()
  assert.equal(mmap(mm, 0, 4 << 20, RW, ANON, undefined, 0) % (2 << 20), 0)
})

test('mmap: a refusal of the host changes nothing', () => {
  const { mm, space } = newMm()
  const a = mmap(mm, 0, 2 * P, RW, ANON, undefined, 0)
  const before = ranges(mm)
  space.failNextMap = -ENOMEM
  assert.equal(mmap(mm, a, P, PROT_READ, ANON | MAP_FIXED, undefined, 0), -ENOMEM)
  assert.deepEqual(ranges(mm), before)
})

test('limits: RLIMIT_AS bounds everything, RLIMIT_DATA what is private and writable', () => {
  const { mm } = newMm()
  mm.limits = {
    soft: resource => (resource === RLIMIT_AS ? 10 * P : resource === RLIMIT_DATA ? 4 * P : Infinity),
  }
  assert.equal(mmap(mm, 0, 5 * P, RW, ANON, undefined, 0), -ENOMEM)
  const a = mmap(mm, 0, 5 * P, PROT_NONE, ANON, undefined, 0)
  assert.ok(a > 0)
  assert.equal(mprotect(mm, a, 5 * P, RW), -ENOMEM)
  assert.equal(mprotect(mm, a, 4 * P, RW), 0)
  assert.equal(mmap(mm, 0, 6 * P, PROT_NONE, ANON, undefined, 0), -ENOMEM)
  assert.ok(mmap(mm, 0, 5 * P, PROT_NONE, ANON, undefined, 0) > 0)
})

test('mprotect: what lies before a hole is changed', () => {
  const { mm } = newMm()
  const a = mmap(mm, 0, 6 * P, RW, ANON, undefined, 0)
  munmap(mm, a + 3 * P, P)
  assert.equal(mprotect(mm, a, 6 * P, PROT_READ), -ENOMEM)
  assert.equal(mm.find(a)!.prot, PROT_READ)
  assert.equal(mm.find(a + 4 * P)!.prot, RW)
  assert.equal(mprotect(mm, a, 3 * P, RW), 0)
  assert.equal(mprotect(mm, a + 1, P, RW), -EINVAL)
  assert.equal(mprotect(mm, a, P, 0x40), -EINVAL)
})

test('mseal: sealed mappings can not be changed', () => {
  const { mm } = newMm()
  const a = mmap(mm, 0, 4 * P, RW, ANON, undefined, 0)
  assert.equal(mseal(mm, a + P, P), 0)
  assert.equal(munmap(mm, a, 4 * P), -EPERM)
  assert.equal(mprotect(mm, a + P, P, PROT_READ), -EPERM)
  assert.equal(mmap(mm, a, 2 * P, RW, ANON | MAP_FIXED, undefined, 0), -EPERM)
  assert.equal(mremap(mm, a + P, P, 2 * P, MREMAP_MAYMOVE, 0), -EPERM)
  assert.equal(munmap(mm, a, P), 0)
})

test('mremap: grows in place, moves with its bytes, keeps the old range with MREMAP_DONTUNMAP', () => {
  const { mm } = newMm()
  const at = 0x20000000
  mmap(mm, at, 2 * P, RW, ANON | MAP_FIXED, undefined, 0)
  mm.copyOut(at, new Uint8Array([7, 8]))
  assert.equal(mremap(mm, at, 2 * P, 4 * P, 0, 0), at)
  mmap(mm, at + 4 * P, P, PROT_READ, ANON | MAP_FIXED, undefined, 0)
  assert.equal(mremap(mm, at, 4 * P, 5 * P, 0, 0), -ENOMEM)
  const moved = mremap(mm, at, 4 * P, 5 * P, MREMAP_MAYMOVE, 0)
  assert.equal(moved, mm.mmapBase - 5 * P)
  assert.equal(mm.u32(moved), 0x0807)
  assert.equal(mm.find(at), undefined)
  assert.equal(mremap(mm, moved, 5 * P, P, 0, 0), moved)
  const kept = mremap(mm, moved, P, P, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0)
  assert.equal(mm.u32(kept), 0x0807)
  assert.equal(mm.u32(moved), 0)
  assert.equal(mremap(mm, moved, P, P, MREMAP_FIXED, at), -EINVAL)
  assert.equal(mremap(mm, kept, P, P, MREMAP_FIXED | MREMAP_MAYMOVE, at), at)
  assert.equal(mremap(mm, 0x7000000, P, P, 0, 0), -EFAULT)
  assert.equal(mremap(mm, at, 0, P, MREMAP_MAYMOVE, 0), -EINVAL)
})

test('brk: grows and shrinks, refuses to touch a mapping, obeys RLIMIT_DATA', () => {
  const { mm } = newMm()
  mm.startBrk = mm.brk = 0x10000100
  assert.equal(brk(mm, 0), 0x10000100)
  assert.equal(brk(mm, 0x10003000), 0x10003000)
  assert.equal(mm.vmaLabel(mm.find(0x10001000)!), '[heap]')
  assert.equal(brk(mm, 0x10001000), 0x10001000)
  assert.equal(mm.find(0x10001000), undefined)
  mmap(mm, 0x10003000, P, RW, ANON | MAP_FIXED, undefined, 0)
  assert.equal(brk(mm, 0x10003000), 0x10001000)
  mm.limits = { soft: () => 0x3000 }
  assert.equal(brk(mm, 0x10005000), 0x10001000)
})

test('stack: shows what was touched; a mapping put into its room takes the room away', () => {
  const { mm, space } = newMm()
  const top = 0x7fff0000_0000
  const flags = VM_READ | VM_WRITE | VM_MAYALL
  assert.equal(mapStack(mm, top, 16 * P, 8 << 20, flags), 0)
  assert.equal(mm.copyOut(top - 100 * P, new Uint8Array(1)), 0)
  assert.equal(mm.vmas.stack, 16 * P)
  mm.refresh()
  assert.equal(mm.vmas.stack, 100 * P)
  mmap(mm, top - 1000 * P, P, RW, ANON | MAP_FIXED, undefined, 0)
  assert.equal(mm.stackFloor, top - 999 * P + 256 * P)
  assert.equal(space.pages.has(mm.stackFloor - P), false)
  assert.equal(space.pages.has(mm.stackFloor), true)
  assert.equal(mprotect(mm, top - P, P, RW | PROT_EXEC | PROT_GROWSDOWN), 0)
  assert.equal(space.pages.get(mm.stackFloor)!.prot, 7)
  assert.equal(munmap(mm, top - 100 * P, 100 * P), 0)
  assert.equal(space.pages.has(top - 101 * P), false)
})

test('stack: MAP_GROWSDOWN mappings grow at a fault, up to the guard gap', () => {
  const { mm } = newMm()
  mmap(mm, 0x20000000, P, RW, ANON | MAP_FIXED | VM_GROWSDOWN, undefined, 0)
  assert.equal(growDown(mm, 0x20000000 - 5 * P + 3), true)
  assert.equal(mm.find(0x20000000 - 5 * P)!.start, 0x20000000 - 5 * P)
  mmap(mm, 0x20000000 - 300 * P, P, RW, ANON | MAP_FIXED, undefined, 0)
  assert.equal(growDown(mm, 0x20000000 - 100 * P), false)
  assert.equal(growDown(mm, 0x20000000 - 43 * P), true)
})

test('fork: the child has the same mappings but those of MADV_DONTFORK', () => {
  const { mm } = newMm()
  const a = mmap(mm, 0, 4 * P, RW, ANON, undefined, 0)
  assert.equal(madvise(mm, a, P, MADV_DONTFORK, false), 0)
  const child = mm.fork(new FakeSpace())
  assert.equal(child.find(a), undefined)
  assert.equal(child.find(a + P)!.end, a + 4 * P)
  assert.equal(child.vmas.total, 3 * P)
})

test("reserved ranges are avoided and not the guest's to replace", () => {
  const { mm } = newMm()
  const at = reserveNear(mm, 0x40000000, P, 2 ** 31)
  assert.ok(at >= 65536 && at < 0x40000000)
  assert.equal(mmap(mm, at, P, RW, ANON | MAP_FIXED, undefined, 0), -ENOMEM)
  assert.notEqual(mmap(mm, at, P, RW, ANON, undefined, 0), at)
  assert.equal(munmap(mm, at, P), 0)
})

test('guest memory: strings end at the first NUL and fault at a missing page', () => {
  const { mm } = newMm()
  const at = 0x20000000
  mmap(mm, at, 2 * P, RW, ANON | MAP_FIXED, undefined, 0)
  mm.copyOut(at + P - 3, new TextEncoder().encode('hello\0'))
  assert.equal(mm.readString(at + P - 3, 100), 'hello')
  assert.equal(mm.readString(at + P - 3, 5), -ENAMETOOLONG)
  mm.copyOut(at + 2 * P - 2, new TextEncoder().encode('ab'))
  assert.equal(mm.readPath(at + 2 * P - 2), -EFAULT)
  assert.equal(mm.readPath(LIMIT + 5), -EFAULT)
  assert.equal(mm.putU64(at, 2 ** 40 + 3), 0)
  assert.equal(mm.u64(at), 2 ** 40 + 3)
  mm.out(16).setUint32(4, 9, true)
  assert.equal(mm.commit(at), 0)
  assert.equal(mm.view(at, 16)!.getUint32(4, true), 9)
})

test('guest memory: vectors gather and scatter across segments, up to the first missing page', () => {
  const { mm } = newMm()
  const at = 0x20000000
  mmap(mm, at, 2 * P, RW, ANON | MAP_FIXED, undefined, 0)
  const iov = new Uint32Array([at, 0, 3, 0, at + 100, 0, 0, 0, at + P, 0, 4, 0])
  mm.copyOut(at + 1024, new Uint8Array(iov.buffer))
  const dst = mm.dstVector(at + 1024, 3)
  assert.ok(typeof dst !== 'number')
  assert.equal(dst.put(new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8])), 7)
  const src = mm.srcVector(at + 1024, 3)
  assert.ok(typeof src !== 'number')
  const window = src.window(100)
  assert.deepEqual(window, new Uint8Array([1, 2, 3, 4, 5, 6, 7]))
  src.consume(4)
  assert.deepEqual(src.window(100), new Uint8Array([5, 6, 7]))
  const edge = mm.dst(at + 2 * P - 2, 100)
  assert.equal(edge.put(new Uint8Array(50)), 2)
  assert.equal(mm.srcVector(at + 1024, 1025), -EINVAL)
  assert.equal(mm.dst(0x100, 5).put(new Uint8Array(5)), -EFAULT)
})

/** A page as the naive model knows it. */
interface ModelPage {
  prot: number
  value: number
}

test('mmap, munmap, mprotect, mremap: random operations agree with an array of pages', () => {
  const PAGES = 96
  const BASE = 0x20000000
  let seed = 42
  const below = (n: number): number => {
    seed = (seed * 1103515245 + 12345) % 2147483648
    return Math.floor((seed / 2147483648) * n)
  }
  const { mm, space } = newMm()
  const model: (ModelPage | undefined)[] = new Array(PAGES).fill(undefined)
  const at = (page: number): number => BASE + page * P
  let value = 1
  for (let step = 0; step < 6000; step++) {
    const page = below(PAGES - 8)
    const count = 1 + below(8)
    const kind = below(6)
    if (kind === 0) {
      const prot = [PROT_READ, RW, RW, PROT_NONE][below(4)]!
      const shared = below(4) === 0
      const flags =
        (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS | MAP_FIXED | (below(5) === 0 ? MAP_NORESERVE : 0)
      assert.equal(mmap(mm, at(page), count * P, prot, flags, undefined, 0), at(page))
      for (let i = page; i < page + count; i++) model[i] = { prot, value: 0 }
    } else if (kind === 1) {
      assert.equal(munmap(mm, at(page), count * P), 0)
      model.fill(undefined, page, page + count)
    } else if (kind === 2) {
      const prot = [PROT_READ, RW, PROT_NONE][below(3)]!
      let expected = 0
      for (let i = page; i < page + count; i++) {
        if (model[i] === undefined) {
          expected = -ENOMEM
          break
        }
        model[i]!.prot = prot
      }
      assert.equal(mprotect(mm, at(page), count * P, prot), expected)
    } else if (kind === 3) {
      if (model[page] === undefined || model[page].prot !== RW) continue
      mm.putU32(at(page), value)
      model[page].value = value++
    } else if (kind === 4) {
      if (model[page] === undefined || mm.find(at(page))!.shared !== undefined) continue
      if (madvise(mm, at(page), P, MADV_DONTNEED, false) === 0) model[page].value = 0
    } else randomMremap(mm, model, page, count, below, at)
    check(mm, space, model, at)
  }
})

function randomMremap(
  mm: Mm,
  model: (ModelPage | undefined)[],
  page: number,
  count: number,
  below: (n: number) => number,
  at: (page: number) => number,
): void {
  const newCount = 1 + below(8)
  const target = below(model.length - 8)
  const vma = mm.find(at(page))
  const spansVmas = vma !== undefined && vma.end < at(page + Math.min(count, newCount))
  const result = mremap(mm, at(page), count * P, newCount * P, MREMAP_MAYMOVE | MREMAP_FIXED, at(target))
  const overlap = page + count > target && target + newCount > page
  if (overlap || vma === undefined || (spansVmas && count !== newCount)) {
    assert.equal(result, overlap ? -EINVAL : -EFAULT)
    return
  }
  assert.equal(result, at(target))
  const source = model.slice(page, page + Math.min(count, newCount))
  for (let i = 0; i < newCount; i++) {
    if (i >= source.length) model[target + i] = { prot: source[0]!.prot, value: 0 }
    // A gap between the moved mappings leaves what is at its place.
    else if (source[i] !== undefined) model[target + i] = { ...source[i]! }
  }
  for (let i = page; i < page + count; i++) model[i] = undefined
}

function check(
  mm: Mm,
  space: FakeSpace,
  model: readonly (ModelPage | undefined)[],
  at: (page: number) => number,
): void {
  let total = 0
  let count = 0
  for (let vma = mm.vmas.first; vma !== undefined; vma = vma.next) {
    count++
    total += vma.end - vma.start
    assert.ok(vma.start < vma.end)
    assert.ok(vma.prev === undefined || vma.prev.end <= vma.start)
    assert.equal(mm.vmas.find(vma.start), vma)
    assert.equal(mm.vmas.find(vma.end - 1), vma)
  }
  assert.equal(mm.vmas.count, count)
  assert.equal(mm.vmas.total, total)
  for (let page = 0; page < model.length; page++) {
    const expected = model[page]
    const vma = mm.find(at(page))
    assert.equal(vma?.prot, expected?.prot, `page ${page}`)
    const host = space.pages.get(at(page))
    assert.equal(host?.prot, expected?.prot, `host page ${page}`)
    if (expected !== undefined)
      assert.equal(new DataView(host!.bytes.buffer).getUint32(0, true), expected.value)
  }
}

test('vma tree: holes are found as a plain scan finds them', () => {
  const { mm } = newMm()
  let seed = 7
  const below = (n: number): number => {
    seed = (seed * 1103515245 + 12345) % 2147483648
    return Math.floor((seed / 2147483648) * n)
  }
  const BASE = 0x20000000
  const PAGES = 3000
  const used = new Uint8Array(PAGES)
  for (let step = 0; step < 3000; step++) {
    const page = below(PAGES - 4)
    const count = 1 + below(4)
    if (below(3) === 0) {
      munmap(mm, BASE + page * P, count * P)
      used.fill(0, page, page + count)
    } else {
      mmap(
        mm,
        BASE + page * P,
        count * P,
        [PROT_READ, RW, PROT_NONE][below(3)]!,
        ANON | MAP_FIXED,
        undefined,
        0,
      )
      used.fill(1, page, page + count)
    }
    if (step % 10 !== 0) continue
    const want = 1 + below(12)
    const low = below(PAGES / 2)
    const high = low + below(PAGES - low)
    const fits = (from: number): boolean => {
      if (from + want > high) return false
      for (let i = from; i < from + want; i++) if (used[i] !== 0) return false
      return true
    }
    let highest = -1
    for (let from = high - want; from >= low && highest < 0; from--) if (fits(from)) highest = from
    let lowest = -1
    for (let from = low; from + want <= high && lowest < 0; from++) if (fits(from)) lowest = from
    const address = (n: number): number => (n < 0 ? -1 : BASE + n * P)
    assert.equal(mm.vmas.highestHole(BASE + low * P, BASE + high * P, want * P), address(highest))
    assert.equal(mm.vmas.lowestHole(BASE + low * P, BASE + high * P, want * P), address(lowest))
  }
  assert.ok(mm.vmas.count > 300)
})
