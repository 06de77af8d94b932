/**
 * Memory whose page faults a guest process serves: the ranges of userfaultfd(2).
 *
 * The host serves the page faults of guest processes by itself. So what is to fault here is out of the host's reach: pages
 * that are absent have no rights at all there, pages that are write-protected lack the right to write, whatever their
 * vma says. Who touches one is stopped by a signal, which the kernel knows to be a fault (kernel/page-wait.ts).
 *
 * An area is made by UFFDIO_REGISTER, and is cut whenever mappings in it go. It ends with UFFDIO_UNREGISTER, its server, or its
 * mm. Areas are apart from the vmas, which do not split where an area ends; everything that gives the host rights goes
 * through `protectOnHost`.
 */
import {
  MADV_POPULATE_READ,
  MADV_WILLNEED,
  PROT_NONE,
  PROT_WRITE,
  UFFDIO_REGISTER_MODE_MISSING,
} from '../abi/constants.ts'
import { ENOMEM } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'
import type { MmContext } from './context.ts'
import type { Mm } from './mm.ts'
import { PAGE_SIZE, VM_ACCESS, type Vma } from './vma.ts'

/** A page's state. */
export const PAGE_ABSENT = 1
export const PAGE_PROTECTED = 2

/** An area has a byte a page: this many in all of a kernel's. */
const MAX_PAGES = 2 ** 26

/** Who hears of the faults. */
export interface FaultServer {
  /** It has gone: its areas are as if they were none, and go when somebody comes by. */
  readonly closed: boolean
  /** Its areas stay with mappings that move. */
  readonly follows: boolean
  // What becomes of its areas, for those who want to be told.
  unmapped(start: number, end: number): void
  removed(start: number, end: number): void
  moved(from: number, to: number, length: number): void
  /** Whether somebody serves a forked child's copy of them, and who. */
  readonly inherits: boolean
  inherited(child: Mm): FaultServer
}

export class FaultArea {
  readonly start: number
  /** Exclusive. */
  readonly end: number
  /** UFFDIO_REGISTER_MODE_*. */
  readonly modes: number
  readonly server: FaultServer
  /** PAGE_* of each page. */
  readonly pages: Uint8Array

  constructor(start: number, end: number, modes: number, server: FaultServer, pages: Uint8Array) {
    this.start = start
    this.end = end
    this.modes = modes
    this.server = server
    this.pages = pages
  }

  state(address: number): number {
    return this.pages[Math.floor((address - this.start) / PAGE_SIZE)]
  }
  setState(address: number, state: number): void {
    this.pages[Math.floor((address - this.start) / PAGE_SIZE)] = state
  }
  part(start: number, end: number): FaultArea {
    const from = (start - this.start) / PAGE_SIZE
    const pages = this.pages.subarray(from, from + (end - start) / PAGE_SIZE)
    // What is left of an array must not hold much more than itself.
    const kept = pages.length * 2 < pages.buffer.byteLength ? pages.slice() : pages
    return new FaultArea(start, end, this.modes, this.server, kept)
  }
}

/** All areas of an mm, in order; none overlap. */
export class FaultAreas {
  readonly #context: MmContext
  #areas: FaultArea[] = []

  constructor(context: MmContext) {
    this.#context = context
  }

  get empty(): boolean {
    return this.#areas.length === 0
  }
  at(address: number): FaultArea | undefined {
    return this.#areas.find(area => area.start <= address && address < area.end)
  }
  within(start: number, end: number): FaultArea[] {
    return this.#areas.filter(area => area.start < end && start < area.end)
  }
  of(server: FaultServer): FaultArea[] {
    return this.#areas.filter(area => area.server === server)
  }
  add(area: FaultArea): void {
    this.#context.faultPages += area.pages.length
    this.#areas.push(area)
    this.#areas.sort((left, right) => left.start - right.start)
  }
  /** Forgets [start, end). */
  cut(start: number, end: number): void {
    if (this.within(start, end).length === 0) return
    const kept: FaultArea[] = []
    for (const area of this.#areas) {
      if (area.end <= start || end <= area.start) {
        kept.push(area)
        continue
      }
      this.#context.faultPages -= (Math.min(area.end, end) - Math.max(area.start, start)) / PAGE_SIZE
      if (area.start < start) kept.push(area.part(area.start, start))
      if (area.end > end) kept.push(area.part(end, area.end))
    }
    this.#areas = kept
  }
}

/** The rights that the host may give to a page of this state. */
function rightsOf(state: number, prot: number): number {
  if ((state & PAGE_ABSENT) !== 0) return PROT_NONE
  return (state & PAGE_PROTECTED) !== 0 ? prot & ~PROT_WRITE : prot
}

/** Gives the rights `prot` to [start, end) on the host, as far as its pages may have them. */
export function protectOnHost(mm: Mm, start: number, end: number, prot: number): Status {
  let at = start
  for (const area of mm.faultAreas?.within(start, end) ?? []) {
    if (area.server.closed) continue
    if (area.start > at) {
      const status = mm.space.protect(at, area.start - at, prot)
      if (status < 0) return status
      at = area.start
    }
    for (const to = Math.min(area.end, end); at < to; ) {
      const rights = rightsOf(area.state(at), prot)
      let next = at + PAGE_SIZE
      while (next < to && rightsOf(area.state(next), prot) === rights) next += PAGE_SIZE
      const status = mm.space.protect(at, next - at, rights)
      if (status < 0) return status
      at = next
    }
  }
  return at < end ? mm.space.protect(at, end - at, prot) : 0
}

/** The same with the rights that the vmas grant. */
export function restoreRights(mm: Mm, start: number, end: number): Status {
  return eachMapping(mm, start, end, (vma, from, to) => protectOnHost(mm, from, to, vma.flags & VM_ACCESS))
}

/** Registers what is mapped in [start, end): with UFFDIO_REGISTER_MODE_MISSING pages that are not there now are absent. */
export function addArea(mm: Mm, start: number, end: number, modes: number, server: FaultServer): Status {
  if (!hasRoom(mm, (end - start) / PAGE_SIZE)) return -ENOMEM
  return eachMapping(mm, start, end, (vma, from, to) => {
    const pages = new Uint8Array((to - from) / PAGE_SIZE)
    const missing = (modes & UFFDIO_REGISTER_MODE_MISSING) !== 0
    const looked = missing ? findAbsent(mm, from, to, pages) : 0
    mm.faultAreas ??= new FaultAreas(mm.context)
    mm.faultAreas.cut(from, to)
    mm.faultAreas.add(new FaultArea(from, to, modes, server, pages))
    const status = looked < 0 ? looked : protectOnHost(mm, from, to, vma.flags & VM_ACCESS)
    if (status < 0) removeAreas(mm, from, to, server)
    return status
  })
}

function hasRoom({ context }: Mm, pages: number): boolean {
  return context.faultPages + pages <= MAX_PAGES
}

/** Which of the pages are not there. They have no rights then: nothing may come while it is looked. */
function findAbsent(mm: Mm, start: number, end: number, pages: Uint8Array): Status {
  const length = end - start
  // What was swapped out is there, too, but only what is being read in again shows.
  mm.space.advise(start, length, MADV_WILLNEED)
  const status = mm.space.protect(start, length, PROT_NONE)
  const looked = status < 0 ? status : mm.space.incore(start, length, pages)
  for (let i = 0; i < pages.length; i++) pages[i] = (pages[i] & 1) !== 0 ? 0 : PAGE_ABSENT
  return looked
}

/** The mapping behind the area grows to `end`. */
export function extendArea(mm: Mm, { end: start, modes, server }: FaultArea, end: number): Status {
  return addArea(mm, start, end, modes, server)
}

/** Ends what `server` has registered in [start, end), which stays mapped; waiting for a stopped thread of the mm: -ESRCH. */
export function removeAreas(mm: Mm, start: number, end: number, server: FaultServer): Status {
  for (const area of mm.faultAreas?.within(start, end) ?? []) {
    if (area.server !== server) continue
    const from = Math.max(area.start, start)
    const to = Math.min(area.end, end)
    const status = eachMapping(mm, from, to, (vma, at, until) =>
      mm.space.protect(at, until - at, vma.flags & VM_ACCESS),
    )
    if (status < 0) return status
    forgetAreas(mm, from, to)
  }
  return 0
}

/** The mappings in [start, end) have gone. */
export function unmapAreas(mm: Mm, start: number, end: number): void {
  if (mm.faultAreas === undefined) return
  const servers = new Set(mm.faultAreas.within(start, end).map(area => area.server))
  forgetAreas(mm, start, end)
  for (const server of servers) server.unmapped(start, end)
}

/**
 * What was mapped at [from, from + length) is at `to` now, `newLength` long; with `keep` the old place is still mapped, and
 * empty.
 */
export function moveAreas(
  mm: Mm,
  from: number,
  to: number,
  length: number,
  newLength: number,
  keep: boolean,
): void {
  const moved = Math.min(length, newLength)
  const servers = new Set(mm.faultAreas?.within(from, from + length).map(area => area.server))
  const followers = (mm.faultAreas?.within(from, from + moved) ?? [])
    .filter(({ server }) => server.follows && !server.closed)
    .map(area => area.part(Math.max(area.start, from), Math.min(area.end, from + moved)))
  for (const { start, end, modes, server, pages } of followers) {
    mm.faultAreas!.add(new FaultArea(start - from + to, end - from + to, modes, server, pages.slice()))
  }
  if (keep) dropPages(mm, from, from + length)
  else forgetAreas(mm, from, from + length)
  const last = mm.faultAreas?.at(to + moved - 1)
  if (last !== undefined && newLength > moved) extendArea(mm, last, to + newLength)
  restoreRights(mm, to, to + newLength)
  for (const server of new Set(followers.map(area => area.server))) server.moved(from, to, length)
  if (!keep) for (const server of servers) server.unmapped(from, from + length)
}

function forgetAreas(mm: Mm, start: number, end: number): void {
  if (mm.faultAreas === undefined) return
  mm.faultAreas.cut(start, end)
  if (mm.faultAreas.empty) mm.faultAreas = undefined
}

/** The contents of [start, end) are about to be thrown away. */
export function discardPages(mm: Mm, start: number, end: number): Status {
  const servers = new Set(mm.faultAreas?.within(start, end).map(area => area.server))
  for (const server of servers) server.removed(start, end)
  return dropPages(mm, start, end)
}

function dropPages(mm: Mm, start: number, end: number): Status {
  for (const area of mm.faultAreas?.within(start, end) ?? []) {
    const from = Math.max(area.start, start)
    const to = Math.min(area.end, end)
    const state = (area.modes & UFFDIO_REGISTER_MODE_MISSING) !== 0 ? PAGE_ABSENT : 0
    for (let at = from; at < to; at += PAGE_SIZE) area.setState(at, state)
    const status = restoreRights(mm, from, to)
    if (status < 0) return status
  }
  return 0
}

/** Whether a forked child can have what it inherits. */
export function mayCopyAreas(mm: Mm): boolean {
  const areas = mm.faultAreas?.within(0, Number.POSITIVE_INFINITY) ?? []
  return hasRoom(
    mm,
    areas.reduce((sum, { server, pages }) => sum + (server.inherits ? pages.length : 0), 0),
  )
}

/** A forked child's memory has its own server, or none: then it has the rights that its vmas say. */
export function copyAreas(parent: Mm, child: Mm): void {
  const heirs = new Map<FaultServer, FaultServer | undefined>()
  for (const area of parent.faultAreas?.within(0, Number.POSITIVE_INFINITY) ?? []) {
    const { start, end, modes, server, pages } = area
    if (!heirs.has(server)) heirs.set(server, server.inherits ? server.inherited(child) : undefined)
    const heir = heirs.get(server)
    if (heir !== undefined) {
      const areas = child.faultAreas ?? new FaultAreas(child.context)
      child.faultAreas = areas
      // Not all of it may have been copied.
      eachMapping(child, start, end, (_vma, from, to) => {
        const copy = pages.slice((from - start) / PAGE_SIZE, (to - start) / PAGE_SIZE)
        areas.add(new FaultArea(from, to, modes, heir, copy))
        return 0
      })
    }
    restoreRights(child, start, end)
  }
}

/** Puts `bytes`, whole pages, into absent pages of one mapping, which have the state `state` then. */
export function fillPages(
  mm: Mm,
  area: FaultArea,
  vma: Vma,
  address: number,
  bytes: Uint8Array,
  state: number,
): Status {
  const status = mm.space.fill(address, bytes, rightsOf(state, vma.flags & VM_ACCESS))
  if (status < 0) return status
  for (let at = address; at < address + bytes.length; at += PAGE_SIZE) area.setState(at, state)
  return 0
}

/** An absent page is one of zeros from now on: the host puts it there. */
export function zeroPage(mm: Mm, area: FaultArea, vma: Vma, address: number): Status {
  area.setState(address, 0)
  const rights = vma.flags & VM_ACCESS
  const status = mm.space.protect(address, PAGE_SIZE, rights)
  if (status === 0 && rights !== 0) mm.space.advise(address, PAGE_SIZE, MADV_POPULATE_READ)
  return status
}

function eachMapping(
  mm: Mm,
  start: number,
  end: number,
  act: (vma: Vma, from: number, to: number) => Status,
): Status {
  for (let vma = mm.vmas.intersecting(start, end); vma !== undefined && vma.start < end; vma = vma.next) {
    const status = act(vma, Math.max(vma.start, start), Math.min(vma.end, end))
    if (status < 0) return status
  }
  return 0
}
