/**
 * Splits, merges and removals: the changes of a vma tree that all calls are made of. They only keep the books; the
 * host's mappings are changed first, by the caller, so that a refusal of the host leaves the books true.
 */
import { fileGet, filePut } from '../vfs/file-ref.ts'
import { mergeable, Vma } from './vma.ts'
import type { VmaTree } from './vma-tree.ts'

/** Cuts `vma` at `at`, which lies inside it: the upper part is a new vma, which is returned. */
export function splitVma(tree: VmaTree, vma: Vma, at: number): Vma {
  const upper = new Vma(
    at,
    vma.end,
    vma.flags,
    vma.file,
    vma.offset + (at - vma.start),
    vma.shared,
    vma.label,
  )
  upper.name = vma.name
  if (vma.file !== undefined) fileGet(vma.file)
  tree.resize(vma, vma.start, at)
  tree.insert(upper)
  return upper
}

/** Joins `vma` with its neighbours where they are alike: the vma that now holds the range. */
export function mergeVma(tree: VmaTree, vma: Vma): Vma {
  const { prev, next } = vma
  if (prev !== undefined && mergeable(prev, vma)) {
    const end = vma.end
    dropVma(tree, vma)
    tree.resize(prev, prev.start, end)
    vma = prev
  }
  if (next !== undefined && mergeable(vma, next)) {
    const end = next.end
    dropVma(tree, next)
    tree.resize(vma, vma.start, end)
  }
  return vma
}

/** Inserts a vma, whose file reference it takes over, and merges it. */
export function addVma(tree: VmaTree, vma: Vma): Vma {
  tree.insert(vma)
  return mergeVma(tree, vma)
}

/** Gives the part [start, end) of `vma` other flags: the vma that then holds it. */
export function modifyVma(tree: VmaTree, vma: Vma, start: number, end: number, flags: number): Vma {
  if (vma.flags === flags) return vma
  if (vma.start < start) vma = splitVma(tree, vma, start)
  if (vma.end > end) splitVma(tree, vma, end)
  tree.setFlags(vma, flags)
  return mergeVma(tree, vma)
}

/** The same with a name; undefined takes it away. */
export function nameVma(tree: VmaTree, vma: Vma, start: number, end: number, name: string | undefined): void {
  if (vma.name === name) return
  if (vma.start < start) vma = splitVma(tree, vma, start)
  if (vma.end > end) splitVma(tree, vma, end)
  vma.name = name
  mergeVma(tree, vma)
}

/** Forgets all mappings in [start, end). */
export function carve(tree: VmaTree, start: number, end: number): void {
  let vma = tree.intersecting(start, end)
  if (vma === undefined) return
  if (vma.start < start) vma = splitVma(tree, vma, start)
  while (vma !== undefined && vma.start < end) {
    if (vma.end > end) splitVma(tree, vma, end)
    const next: Vma | undefined = vma.next
    dropVma(tree, vma)
    vma = next
  }
}

/** How many more vmas there are after the borders of [start, end) have become borders of vmas. */
export function splitsFor(tree: VmaTree, start: number, end: number): number {
  const low = tree.at(start)
  const high = tree.at(end)
  return (low !== undefined && low.start < start ? 1 : 0) + (high !== undefined && high.start < end ? 1 : 0)
}

/** Where the unbroken run of mappings from `start` on ends, looking no further than `end`; `start` if it is not mapped. */
export function mappedUntil(tree: VmaTree, start: number, end: number): number {
  let at = start
  for (let vma = tree.at(start); vma !== undefined && vma.start <= at && at < end; vma = vma.next)
    at = vma.end
  return Math.min(at, end)
}

function dropVma(tree: VmaTree, vma: Vma): void {
  tree.remove(vma)
  if (vma.file !== undefined) filePut(vma.file)
}
