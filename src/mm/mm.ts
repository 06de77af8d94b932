/**
 * Mm: one guest address space (mm_struct): its vma tree, brk, limits, and the way to its bytes.
 *
 * Made empty by exec (`new Mm`, then filled by the loader) or as a copy by `fork`; held by the tasks that run in it and
 * by whoever looks into it for longer than a call (`get`, `put`). The last `put` gives up the mapped files and ends the
 * host process behind it.
 *
 * Memory is the host's: pages, copy-on-write and faults are those of a stub process. What is kept here says which
 * ranges exist and what may be done with them. Every change is made on the host first and, if the host agreed, in the
 * tree. Two kinds of host memory are in no vma: the room that the main stack has not grown into yet (stackFloor), and
 * ranges that the platform reserved for its trampolines (reserved).
 *
 * The calls are in files of their own: mmap.ts, munmap.ts, mprotect.ts, mremap.ts, madvise.ts, mlock.ts, brk.ts.
 */
import { IOV_MAX, PATH_MAX, PR_MDWE_NO_INHERIT, RLIM_INFINITY } from '../abi/constants.ts'
import { EFAULT, EINVAL, ENAMETOOLONG } from '../abi/errno.ts'
import { IOVEC } from '../abi/layout.ts'
import { fromBytes } from '../base/bytes.ts'
import { BufferDst, type IoDst, type IoSrc } from '../base/io.ts'
import type { Status } from '../base/result.ts'
import { put64, take64 } from '../base/words.ts'
import type { AddressSpace, SpaceOwner } from '../platform/platform.ts'
import type { File } from '../vfs/file.ts'
import { allowWrite, denyWrite, fileGet, filePut } from '../vfs/file-ref.ts'
import type { MmContext } from './context.ts'
import { copyAreas, type FaultAreas } from './fault-area.ts'
import { reserveNear } from './layout.ts'
import { refreshStack } from './stack.ts'
import { GuestDst, GuestSrc, segmentsDst, segmentsSrc } from './user-access.ts'
import {
  PAGE_SIZE,
  type SharedMemory,
  VM_DONTCOPY,
  VM_EXEC,
  VM_LOCKED,
  VM_LOCKONFAULT,
  VM_MAYSHARE,
  VM_READ,
  VM_WRITE,
  Vma,
} from './vma.ts'
import { VmaTree } from './vma-tree.ts'

/** A guest address: never an index, never dereferenced by mistake. Kept a plain number for arithmetic. */
export type GuestAddr = number

/** The resource limits of the caller, as kernel/rlimits.ts has them (Infinity: none). */
export interface Limits {
  soft(resource: number): number
}

/** No read or write moves more: Linux's MAX_RW_COUNT. */
export const MAX_RW_COUNT = 0x7ffff000

/** vm.max_map_count. */
export const MAX_MAP_COUNT = 65530

const noLimits: Limits = { soft: () => RLIM_INFINITY }

export class Mm implements SpaceOwner {
  readonly space: AddressSpace
  readonly context: MmContext
  readonly vmas = new VmaTree()
  /** Tasks and others that hold this mm. */
  users = 1

  // Whose limits count: those of the task that makes the present call. Set by the system call before it changes
  // anything here, since tasks of several processes may share an mm.
  limits: Limits = noLimits
  /** CAP_IPC_LOCK of that task: RLIMIT_MEMLOCK is not looked at. */
  lockUnlimited = false
  /** personality(2) of that task. */
  personality = 0

  // Layout.
  topDown = true
  mmapBase = 0
  /** Where upward searches start. */
  legacyBase = 0
  /** Host memory for the main stack begins here and reaches to the stack's vma; 0 if there is none to grow into. */
  stackFloor = 0
  /** Ranges of the platform's, hidden from the guest, in no order. */
  readonly reserved: { start: number; end: number }[] = []
  /** Where shared anonymous memory is mapped once more, out of the guest's reach: remap-pages.ts. Made on first use. */
  mirrors: Map<SharedMemory, number> | undefined = undefined
  /** VM_* flags that new mappings get: mlockall(MCL_FUTURE). */
  defFlags = 0

  // For /proc/PID/stat and friends and prctl(PR_SET_MM), as in mm_struct.
  startCode = 0
  endCode = 0
  startData = 0
  endData = 0
  startBrk = 0
  brk = 0
  startStack = 0
  argStart = 0
  argEnd = 0
  envStart = 0
  envEnd = 0
  /** The auxiliary vector as it was put on the stack. */
  auxv: Uint8Array = new Uint8Array(0)
  /** /proc/PID/exe. One reference is held, and nobody can open it for writing. */
  exeFile: File | undefined = undefined
  /** prctl(PR_SET_DUMPABLE): 1 unless the program is set-id or changed identity. */
  dumpable = 1
  /** prctl(PR_SET_MDWE): PR_MDWE_* bits. */
  denyWriteExec = 0
  /** prctl(PR_SET_THP_DISABLE). Which pages are huge is the host's affair. */
  thpDisabled = false
  /** Whose page faults userfaultfd(2) serves; undefined: none. */
  faultAreas: FaultAreas | undefined = undefined
  /** What io_setup(2) made, by address; ends with the mm. Made on first use. */
  ioContexts: Map<number, { destroy(): void }> | undefined = undefined
  /** Which mappings a core dump holds: /proc/PID/coredump_filter. */
  coredumpFilter = 0x33

  constructor(space: AddressSpace, context: MmContext) {
    this.space = space
    this.context = context
    space.owner = this
  }

  // Life.

  get(): Mm {
    this.users++
    return this
  }

  put(): void {
    if (--this.users > 0) return
    if (this.users < 0) throw new Error('an mm was put more often than got')
    if (this.ioContexts !== undefined) for (const context of this.ioContexts.values()) context.destroy()
    for (let vma = this.vmas.first; vma !== undefined; vma = vma.next) {
      if (vma.file !== undefined) filePut(vma.file)
    }
    // A zombie keeps its mm.
    this.vmas.clear()
    this.faultAreas?.cut(0, Number.POSITIVE_INFINITY)
    this.faultAreas = undefined
    this.setExeFile(undefined)
    this.space.destroy()
  }

  /** The copy for a child whose host process was just forked from this one's: dup_mmap. */
  fork(childSpace: AddressSpace): Mm {
    const child = new Mm(childSpace, this.context)
    for (let vma = this.vmas.first; vma !== undefined; vma = vma.next) {
      // The host left these out too: it was told by madvise.
      if ((vma.flags & VM_DONTCOPY) !== 0) continue
      if (vma.file !== undefined) fileGet(vma.file)
      const flags = vma.flags & ~(VM_LOCKED | VM_LOCKONFAULT)
      const copy = new Vma(vma.start, vma.end, flags, vma.file, vma.offset, vma.shared, vma.label)
      copy.name = vma.name
      child.vmas.insert(copy)
    }
    child.topDown = this.topDown
    child.mmapBase = this.mmapBase
    child.legacyBase = this.legacyBase
    child.stackFloor = this.stackFloor
    for (const range of this.reserved) child.reserved.push({ ...range })
    if (this.mirrors !== undefined) child.mirrors = new Map(this.mirrors)
    child.startCode = this.startCode
    child.endCode = this.endCode
    child.startData = this.startData
    child.endData = this.endData
    child.startBrk = this.startBrk
    child.brk = this.brk
    child.startStack = this.startStack
    child.argStart = this.argStart
    child.argEnd = this.argEnd
    child.envStart = this.envStart
    child.envEnd = this.envEnd
    child.auxv = this.auxv
    child.dumpable = this.dumpable
    this.passFlags(child)
    child.setExeFile(this.exeFile)
    if (this.faultAreas !== undefined) copyAreas(this, child)
    return child
  }

  /** What a fork and an exec leave to the new address space (MMF_INIT_MASK). */
  passFlags(to: Mm): void {
    to.coredumpFilter = this.coredumpFilter
    to.thpDisabled = this.thpDisabled
    to.denyWriteExec = (this.denyWriteExec & PR_MDWE_NO_INHERIT) !== 0 ? 0 : this.denyWriteExec
  }

  /** Makes `file` what /proc/PID/exe leads to; takes a reference of its own and denies writing. */
  setExeFile(file: File | undefined): Status {
    if (file !== undefined) {
      const status = denyWrite(file.inode)
      if (status < 0) return status
      fileGet(file)
    }
    const old = this.exeFile
    this.exeFile = file
    if (old !== undefined) {
      allowWrite(old.inode)
      filePut(old)
    }
    return 0
  }

  // What is where.

  /** The vma that holds `address`. */
  find(address: GuestAddr): Vma | undefined {
    return this.vmas.at(address)
  }

  /** Brings up to date what only the host knows, before vmas are shown: how far the stack has grown. */
  refresh(): void {
    refreshStack(this)
  }

  /** What /proc/PID/maps shows in place of a file's name: '[heap]', '[stack]', …; undefined if it has none. */
  vmaLabel(vma: Vma): string | undefined {
    if (vma.label !== undefined) return vma.label
    if (vma.file !== undefined) return undefined
    if (vma.shared !== undefined)
      return vma.name === undefined ? '/dev/zero (deleted)' : `[anon_shmem:${vma.name}]`
    if (vma.start <= this.brk && vma.end >= this.startBrk && this.brk > this.startBrk) return '[heap]'
    if (vma.start <= this.startStack && vma.end >= this.startStack) return '[stack]'
    return vma.name === undefined ? undefined : `[anon:${vma.name}]`
  }

  residentPages(): number {
    return this.space.residentPages()
  }
  peakPages(): number {
    return Math.max(this.space.peakPages?.() ?? 0, this.residentPages())
  }

  /** The part of [start, end) that the platform reserved, if any. */
  reservedIn(start: number, end: number): { start: number; end: number } | undefined {
    for (const range of this.reserved) if (range.start < end && start < range.end) return range
    return undefined
  }

  /** Whether [start, end) reaches into the room that the main stack may still grow into. */
  stackReserveTouches(start: number, end: number): boolean {
    if (this.stackFloor === 0 || end <= this.stackFloor) return false
    const stack = this.vmas.find(this.stackFloor)
    return stack !== undefined && start < stack.start
  }

  isFileText(address: number): boolean {
    const vma = this.vmas.at(address)
    if (vma === undefined || vma.file === undefined) return false
    return (vma.flags & (VM_EXEC | VM_WRITE | VM_MAYSHARE)) === VM_EXEC
  }

  /** SpaceOwner. */
  readText(address: number, into: Uint8Array): number {
    const vma = this.vmas.at(address)
    if (vma?.file === undefined || address + into.length > vma.end) return 0
    return vma.file.readAt(new BufferDst(into), vma.offset + (address - vma.start))
  }

  reserveNear(near: number, length: number, reach: number): number {
    return reserveNear(this, near, length, reach)
  }

  /** SpaceOwner: by the vmas; a file's pages beyond its end are not thought of, so they don't count. */
  isWritable(address: number, length: number): boolean {
    const vma = this.vmas.find(address)
    if (vma === undefined || (vma.flags & VM_WRITE) === 0) return false
    if (vma.file !== undefined && !filePageExists(vma, address + length)) return false
    if (this.faultAreas !== undefined && this.faultAreas.within(address, address + length).length > 0)
      return false
    if (address < vma.start && (address < this.stackFloor || !this.stackReserveTouches(address, vma.start)))
      return false
    return address + length <= vma.end
  }

  /** SpaceOwner. */
  protectionAt(address: number): number | undefined {
    // What is forced at such a page would be seen by others as what it is to be.
    if (this.faultAreas?.at(address)?.server.closed === false) return undefined
    const vma = this.vmas.at(address)
    // PROT_READ, PROT_WRITE and PROT_EXEC are the same bits.
    return vma === undefined ? undefined : vma.flags & (VM_READ | VM_WRITE | VM_EXEC)
  }

  // Bytes.

  /** access_ok: whether the range lies below the end of user addresses. */
  accessOk(address: GuestAddr, length: number): boolean {
    return address >= 0 && address + length <= this.context.addressLimit
  }

  /** How many bytes from `address` on, up to `length`, lie in vmas that have all the `access` flags. */
  accessible(address: GuestAddr, length: number, access: number): number {
    const end = address + length
    let at = address
    for (let vma = this.vmas.find(address); vma !== undefined && at < end; vma = vma.next) {
      if (vma.start > at && !this.stackReserveTouches(at, vma.start)) break
      if ((vma.flags & access) !== access) break
      at = vma.end
    }
    return Math.min(at, end) - address
  }

  /** Reads what can be read: the count before the first byte that is not there, or -EFAULT if that is the first one. */
  read(address: GuestAddr, into: Uint8Array): number {
    if (into.length === 0) return 0
    if (!this.accessOk(address, into.length)) return -EFAULT
    return this.space.read(address, into)
  }
  /** Writes what can be written; as `read`. */
  write(address: GuestAddr, from: Uint8Array): number {
    if (from.length === 0) return 0
    if (!this.accessOk(address, from.length)) return -EFAULT
    return this.space.write(address, from)
  }

  /** copy_from_user of all of `into`: 0 or -EFAULT. */
  copyIn(address: GuestAddr, into: Uint8Array): Status {
    return this.read(address, into) === into.length ? 0 : -EFAULT
  }
  /** copy_to_user: 0 or -EFAULT. */
  copyOut(address: GuestAddr, from: Uint8Array): Status {
    return this.write(address, from) === from.length ? 0 : -EFAULT
  }

  /**
   * copy_from_user of a struct: a view of `length` bytes (at most 4096), valid until the next call of this method (the
   * view is one scratch buffer: read the fields at once, once), or undefined for EFAULT.
   */
  view(address: GuestAddr, length: number): DataView | undefined {
    const scratch = this.context.access.structIn
    return this.copyIn(address, scratch.bytes(length)) === 0 ? scratch.view(length) : undefined
  }

  /**
   * A zeroed scratch view to build a struct in (at most 4096 bytes); `commit()` then copies it to the guest. Use: const
   * out = mm.out(STAT.size); out.setUint32(…); return mm.commit(address).
   */
  out(length: number): DataView {
    const { access } = this.context
    access.outLength = length
    access.structOut.bytes(length).fill(0)
    return access.structOut.view(length)
  }
  /** Copies the scratch that `out` gave to `address`: 0 or -EFAULT. */
  commit(address: GuestAddr): Status {
    const { access } = this.context
    return this.copyOut(address, access.structOut.bytes(access.outLength))
  }

  /** A NUL-terminated byte string below `limit` bytes: -EFAULT, or -ENAMETOOLONG when there is no NUL. */
  readString(address: GuestAddr, limit: number): string | number {
    // Most strings came along with the call.
    const ready = this.space.prefetched?.(address)
    if (ready !== undefined) {
      const known = this.context.access.strings.read(ready)
      if (known !== undefined && known.length < limit) return known
    }
    let text = ''
    // The first piece is small, since most strings are; none crosses a page, since the next one may be missing.
    let piece = 256 - (address % 256)
    while (text.length < limit) {
      const at = address + text.length
      const bytes = this.context.access.text.bytes(Math.min(piece, limit - text.length))
      const read = this.read(at, bytes)
      if (read < 0) return read
      const end = bytes.indexOf(0)
      if (end >= 0 && end < read) return text + fromBytes(bytes, 0, end)
      if (read < bytes.length) return -EFAULT
      text += fromBytes(bytes)
      piece = PAGE_SIZE - ((address + text.length) % PAGE_SIZE)
    }
    return -ENAMETOOLONG
  }
  /** A path: as readString with PATH_MAX. */
  readPath(address: GuestAddr): string | number {
    return this.readString(address, PATH_MAX)
  }

  u32(address: GuestAddr): number | undefined {
    const { word } = this.context.access
    return this.copyIn(address, word.bytes(4)) === 0 ? word.view(4).getUint32(0, true) : undefined
  }
  /** A 64-bit value as an unsigned double. */
  u64(address: GuestAddr): number | undefined {
    const { word } = this.context.access
    if (this.copyIn(address, word.bytes(8)) < 0) return undefined
    return take64(word.view(8), 0)
  }
  /** Puts a u32 / a 64-bit value (from a double): 0 or -EFAULT. */
  putU32(address: GuestAddr, value: number): Status {
    const { word } = this.context.access
    word.view(4).setUint32(0, value, true)
    return this.copyOut(address, word.bytes(4))
  }
  putU64(address: GuestAddr, value: number): Status {
    const { word } = this.context.access
    put64(word.view(8), 0, value)
    return this.copyOut(address, word.bytes(8))
  }

  /** read()'s target: `length` bytes at `address`. */
  dst(address: GuestAddr, length: number): IoDst {
    const total = Math.min(length, MAX_RW_COUNT)
    return new GuestDst(this, address, total, total, [])
  }
  src(address: GuestAddr, length: number): IoSrc {
    const total = Math.min(length, MAX_RW_COUNT)
    return new GuestSrc(this, address, total, total, [])
  }

  /** readv's: an iovec array in guest memory; -EINVAL, -EFAULT as import_iovec gives. */
  dstVector(iov: GuestAddr, count: number): IoDst | number {
    const segments = this.importIovec(iov, count)
    return typeof segments === 'number' ? segments : segmentsDst(this, segments)
  }
  srcVector(iov: GuestAddr, count: number): IoSrc | number {
    const segments = this.importIovec(iov, count)
    return typeof segments === 'number' ? segments : segmentsSrc(this, segments)
  }

  /** An iovec array as base and length by turns, checked and cut to MAX_RW_COUNT: import_iovec. */
  importIovec(iov: GuestAddr, count: number): number[] | number {
    if (count > IOV_MAX || count < 0) return -EINVAL
    const raw = new Uint8Array(count * IOVEC.size)
    if (this.copyIn(iov, raw) < 0) return -EFAULT
    const words = new Uint32Array(raw.buffer)
    const segments: number[] = []
    let room = MAX_RW_COUNT
    for (let i = 0; i < words.length; i += 4) {
      if (words[i + 3]! >= 0x80000000) return -EINVAL
      const base = words[i + 1]! * 2 ** 32 + words[i]!
      const length = words[i + 3]! * 2 ** 32 + words[i + 2]!
      if (!this.accessOk(base, length)) return -EFAULT
      const taken = Math.min(length, room)
      room -= taken
      segments.push(base, taken)
    }
    return segments
  }
}

/** Whether the page of a private file mapping in which the range below `end` ends has a piece of the file in it. */
function filePageExists(vma: Vma, end: number): boolean {
  if ((vma.flags & VM_MAYSHARE) !== 0) return false
  const last = Math.floor((end - 1) / PAGE_SIZE) * PAGE_SIZE
  return vma.offset + (last - vma.start) < vma.file!.inode.size
}
