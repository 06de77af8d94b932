/**
 * Vma: one mapping of an address space (vm_area_struct): a range of pages with one set of flags and one source of
 * bytes. Made by mmap, brk, the loader and fork; split and merged by everything that changes part of one; it ends
 * in munmap or with its mm, and then gives up its reference to the file. Only VmaTree changes one that is in a tree.
 */
import { PROT_EXEC, PROT_READ, PROT_WRITE } from '../abi/constants.ts'
import type { File } from '../vfs/file.ts'

export const PAGE_SIZE = 4096

// Linux's bits where Linux has them, so that /proc/PID/smaps can print them by its table.
export const VM_READ = 0x1
export const VM_WRITE = 0x2
export const VM_EXEC = 0x4
export const VM_SHARED = 0x8
/** What mprotect may turn on: each four bits above the right itself. */
export const VM_MAYREAD = 0x10
export const VM_MAYWRITE = 0x20
export const VM_MAYEXEC = 0x40
export const VM_MAYSHARE = 0x80
export const VM_GROWSDOWN = 0x100
/** mseal(2): ours; Linux has it above bit 31. */
export const VM_SEALED = 0x400
/** MADV_MERGEABLE: ours; Linux has it in bit 31. */
export const VM_MERGEABLE = 0x800
/** MAP_DROPPABLE: ours. */
export const VM_DROPPABLE = 0x1000
export const VM_LOCKED = 0x2000
/** Pages of the kernel's, such as the vDSO's data: nobody else reads them. */
export const VM_IO = 0x4000
export const VM_SEQ_READ = 0x8000
export const VM_RAND_READ = 0x10000
export const VM_DONTCOPY = 0x20000
export const VM_DONTEXPAND = 0x40000
export const VM_LOCKONFAULT = 0x80000
/** The host accounts for its pages; kept because it decides what merges. */
export const VM_ACCOUNT = 0x100000
export const VM_NORESERVE = 0x200000
export const VM_WIPEONFORK = 0x2000000
export const VM_DONTDUMP = 0x4000000
export const VM_HUGEPAGE = 0x20000000
export const VM_NOHUGEPAGE = 0x40000000

export const VM_ACCESS = VM_READ | VM_WRITE | VM_EXEC
export const VM_MAYALL = VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC

/** The identity of a shared anonymous mapping: Linux's unlinked file of /dev/zero. */
export interface SharedMemory {
  readonly ino: number
  /** Bytes, as it was mapped first. */
  readonly size: number
}

export class Vma {
  start: number
  /** Exclusive. */
  end: number
  flags: number
  /** One reference is held. Undefined for anonymous memory. */
  readonly file: File | undefined
  /**
   * Where `start` is in the file, in bytes. For private anonymous memory the address at which it was first
   * mapped, so that neighbours merge only if they always were neighbours.
   */
  offset: number
  readonly shared: SharedMemory | undefined
  /** '[vdso]' and the like; undefined for what is named by its file or place. */
  readonly label: string | undefined
  /** PR_SET_VMA_ANON_NAME: what its owner calls it. */
  name: string | undefined = undefined
  next: Vma | undefined = undefined
  prev: Vma | undefined = undefined
  /** The tree's own. */
  chunk: unknown = undefined

  constructor(
    start: number,
    end: number,
    flags: number,
    file: File | undefined,
    offset: number,
    shared?: SharedMemory,
    label?: string,
  ) {
    this.start = start
    this.end = end
    this.flags = flags
    this.file = file
    this.offset = offset
    this.shared = shared
    this.label = label
  }

  get pages(): number {
    return (this.end - this.start) / PAGE_SIZE
  }
  /** PROT_* bits. */
  get prot(): number {
    return this.flags & VM_ACCESS
  }
  /** Where the bytes come from when a page is first touched: nowhere, and not shared. */
  get anonymous(): boolean {
    return this.file === undefined && this.shared === undefined
  }
}

/** Whether `right` could be the continuation of `left`: is_mergeable_vma and the offsets. */
export function mergeable(left: Vma, right: Vma): boolean {
  return (
    left.end === right.start &&
    left.flags === right.flags &&
    left.file === right.file &&
    left.shared === right.shared &&
    left.label === undefined &&
    right.label === undefined &&
    left.name === right.name &&
    left.offset + (left.end - left.start) === right.offset
  )
}

/** PROT_* as VM_* (they are equal bits; PROT_SEM and the GROWS bits fall away). */
export function protFlags(prot: number): number {
  return prot & (PROT_READ | PROT_WRITE | PROT_EXEC)
}

/** Infinity, as a limit, stays what it is. */
export function pageFloor(address: number): number {
  return Math.floor(address / PAGE_SIZE) * PAGE_SIZE
}

/** The next page boundary; exact for addresses and lengths below 2^53. */
export function pageCeil(length: number): number {
  return Math.ceil(length / PAGE_SIZE) * PAGE_SIZE
}
