/** The requests of a userfaultfd: ioctl_userfaultfd(2), in the order of checks of fs/userfaultfd.c. */

import {
  _UFFDIO_API,
  _UFFDIO_COPY,
  _UFFDIO_REGISTER,
  _UFFDIO_UNREGISTER,
  _UFFDIO_WAKE,
  _UFFDIO_WRITEPROTECT,
  _UFFDIO_ZEROPAGE,
  CAP_SYS_PTRACE,
  UFFD_API,
  UFFD_FEATURE_EVENT_FORK,
  UFFD_FEATURE_EVENT_REMAP,
  UFFD_FEATURE_EVENT_REMOVE,
  UFFD_FEATURE_EVENT_UNMAP,
  UFFD_FEATURE_EXACT_ADDRESS,
  UFFD_FEATURE_MISSING_SHMEM,
  UFFD_FEATURE_PAGEFAULT_FLAG_WP,
  UFFD_FEATURE_SIGBUS,
  UFFD_FEATURE_THREAD_ID,
  UFFDIO_API,
  UFFDIO_COPY,
  UFFDIO_COPY_MODE_DONTWAKE,
  UFFDIO_COPY_MODE_WP,
  UFFDIO_REGISTER,
  UFFDIO_REGISTER_MODE_MISSING,
  UFFDIO_REGISTER_MODE_WP,
  UFFDIO_UNREGISTER,
  UFFDIO_WAKE,
  UFFDIO_WRITEPROTECT,
  UFFDIO_WRITEPROTECT_MODE_DONTWAKE,
  UFFDIO_WRITEPROTECT_MODE_WP,
  UFFDIO_ZEROPAGE,
  UFFDIO_ZEROPAGE_MODE_DONTWAKE,
} from '../../abi/constants.ts'
import { EAGAIN, EBUSY, EEXIST, EFAULT, EINVAL, ENOENT, ENOMEM, EPERM, ESRCH } from '../../abi/errno.ts'
import {
  UFFDIO_API_ARG,
  UFFDIO_COPY_ARG,
  UFFDIO_RANGE,
  UFFDIO_REGISTER_ARG,
  UFFDIO_WRITEPROTECT_ARG,
  UFFDIO_ZEROPAGE_ARG,
} from '../../abi/layout.ts'
import type { Status } from '../../base/result.ts'
import { put64, take64 } from '../../base/words.ts'
import type { Task } from '../../kernel/task.ts'
import {
  addArea,
  type FaultArea,
  fillPages,
  PAGE_ABSENT,
  PAGE_PROTECTED,
  removeAreas,
  restoreRights,
  zeroPage,
} from '../../mm/fault-area.ts'
import { MMAP_MIN_ADDR } from '../../mm/layout.ts'
import type { Mm } from '../../mm/mm.ts'
import { PAGE_SIZE, VM_MAYWRITE, VM_SHARED, type Vma } from '../../mm/vma.ts'
import type { IoctlContext } from '../../vfs/file.ts'
import { TmpfsFile } from '../tmpfs/regular.ts'
import type { UserfaultFile } from './userfaultfd.ts'

/** What is there of UFFD_FEATURE_*: no minor faults, no huge pages. */
export const SUPPORTED_FEATURES =
  UFFD_FEATURE_EVENT_FORK |
  UFFD_FEATURE_EVENT_REMAP |
  UFFD_FEATURE_EVENT_REMOVE |
  UFFD_FEATURE_EVENT_UNMAP |
  UFFD_FEATURE_PAGEFAULT_FLAG_WP |
  UFFD_FEATURE_MISSING_SHMEM |
  UFFD_FEATURE_SIGBUS |
  UFFD_FEATURE_THREAD_ID |
  UFFD_FEATURE_EXACT_ADDRESS

/** Copied at once, in bytes: other processes want to be served, too. */
const COPY_LIMIT = 8 << 20
const MODES = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP

export function serveRequest(
  file: UserfaultFile,
  context: IoctlContext,
  request: number,
  at: number,
): number {
  if (request === UFFDIO_API) return agree(file, context, at)
  if (file.features === undefined) return -EINVAL
  switch (request) {
    case UFFDIO_REGISTER:
      return register(file, context, at)
    case UFFDIO_UNREGISTER:
      return unregister(file, context, at)
    case UFFDIO_WAKE:
      return wake(file, context, at)
    case UFFDIO_COPY:
      return copy(file, context, at)
    case UFFDIO_ZEROPAGE:
      return zero(file, context, at)
    case UFFDIO_WRITEPROTECT:
      return writeProtect(file, context, at)
  }
  return -EINVAL
}

/** A request's structure, of which the first `length` bytes are read. */
function readArgument(context: IoctlContext, at: number, length: number): DataView | undefined {
  const bytes = new Uint8Array(length)
  return context.copyIn(at, bytes) < 0 ? undefined : new DataView(bytes.buffer)
}

/** Signed. */
function putWord(context: IoctlContext, at: number, value: number): Status {
  const bytes = new Uint8Array(8)
  const view = new DataView(bytes.buffer)
  put64(view, 0, value)
  return context.copyOut(at, bytes)
}

function bit(...numbers: number[]): number {
  return numbers.reduce((bits, number) => bits + 2 ** number, 0)
}

function agree(file: UserfaultFile, context: IoctlContext, at: number): number {
  const view = readArgument(context, at, UFFDIO_API_ARG.size)
  if (view === undefined) return -EFAULT
  const features = take64(view, UFFDIO_API_ARG.features)
  const known = features < 2 ** 31 && (features & ~SUPPORTED_FEATURES) === 0
  if (take64(view, UFFDIO_API_ARG.api) !== UFFD_API || !known) return refuse(context, at, -EINVAL)
  const { cred, task } = context
  const { userNs } = (task as Task).kernel
  // Its descriptor reaches into another process.
  if ((features & UFFD_FEATURE_EVENT_FORK) !== 0 && !cred.capable(CAP_SYS_PTRACE, userNs)) {
    return refuse(context, at, -EPERM)
  }
  view.setUint32(UFFDIO_API_ARG.features, SUPPORTED_FEATURES, true)
  view.setUint32(UFFDIO_API_ARG.ioctls, bit(_UFFDIO_REGISTER, _UFFDIO_UNREGISTER), true)
  view.setUint32(UFFDIO_API_ARG.ioctls + 4, bit(_UFFDIO_API - 32), true)
  if (context.copyOut(at, new Uint8Array(view.buffer)) < 0) return -EFAULT
  if (file.features !== undefined) return refuse(context, at, -EINVAL)
  file.features = features
  return 0
}

function refuse(context: IoctlContext, at: number, error: number): number {
  return context.copyOut(at, new Uint8Array(UFFDIO_API_ARG.size)) < 0 ? -EFAULT : error
}

function validRange(mm: Mm, start: number, length: number): boolean {
  const limit = mm.context.addressLimit
  if (start % PAGE_SIZE !== 0 || length % PAGE_SIZE !== 0 || length === 0) return false
  return start >= MMAP_MIN_ADDR && start < limit && length <= limit - start
}

/** vma_can_userfault. */
function servable(vma: Vma, modes: number): boolean {
  if (vma.anonymous) return vma.label === undefined
  const { file } = vma
  const shmem = file === undefined || (file instanceof TmpfsFile && file.inode === file.node)
  // Private mappings of it would have pages of two kinds.
  return shmem && (vma.flags & VM_SHARED) !== 0 && (modes & UFFDIO_REGISTER_MODE_WP) === 0
}

/** What is mapped in the range, if `modes` can be served there: 0, or an errno. */
function checkMappings(file: UserfaultFile, start: number, end: number, modes: number): Status {
  const { mm } = file
  const first = mm.vmas.find(start)
  if (first === undefined) return -ENOMEM
  if (first.start >= end) return -EINVAL
  for (let vma: Vma | undefined = first; vma !== undefined && vma.start < end; vma = vma.next) {
    if (!servable(vma, modes)) return -EINVAL
    if ((vma.flags & VM_MAYWRITE) === 0) return -EPERM
  }
  return 0
}

function register(file: UserfaultFile, context: IoctlContext, at: number): number {
  const { mm } = file
  const view = readArgument(context, at, UFFDIO_REGISTER_ARG.ioctls)
  if (view === undefined) return -EFAULT
  const modes = take64(view, UFFDIO_REGISTER_ARG.mode)
  if (modes === 0 || modes > MODES) return -EINVAL
  const start = take64(view, UFFDIO_REGISTER_ARG.start)
  const length = take64(view, UFFDIO_REGISTER_ARG.len)
  if (!validRange(mm, start, length)) return -EINVAL
  const end = start + length
  if (mm.users <= 0) return -ENOMEM
  const checked = checkMappings(file, start, end, modes)
  if (checked < 0) return checked
  const others = mm.faultAreas?.within(start, end).some(area => area.server !== file && !area.server.closed)
  if (others) return -EBUSY
  const status = addArea(mm, start, end, modes, file)
  if (status < 0) return status === -ESRCH ? -EAGAIN : status
  const writeProtects = (modes & UFFDIO_REGISTER_MODE_WP) !== 0 ? [_UFFDIO_WRITEPROTECT] : []
  const ioctls = bit(_UFFDIO_WAKE, _UFFDIO_COPY, _UFFDIO_ZEROPAGE, ...writeProtects)
  return putWord(context, at + UFFDIO_REGISTER_ARG.ioctls, ioctls)
}

function unregister(file: UserfaultFile, context: IoctlContext, at: number): number {
  const { mm } = file
  const view = readArgument(context, at, UFFDIO_RANGE.size)
  if (view === undefined) return -EFAULT
  const start = take64(view, UFFDIO_RANGE.start)
  const length = take64(view, UFFDIO_RANGE.len)
  if (!validRange(mm, start, length)) return -EINVAL
  const end = start + length
  if (mm.users <= 0) return -ENOMEM
  const checked = checkMappings(file, start, end, UFFDIO_REGISTER_MODE_MISSING)
  if (checked < 0) return checked === -EPERM ? -EINVAL : checked
  const status = removeAreas(mm, start, end, file)
  if (status < 0) return status === -ESRCH ? -EAGAIN : status
  file.wakeRange(start, end)
  return 0
}

function wake(file: UserfaultFile, context: IoctlContext, at: number): number {
  const view = readArgument(context, at, UFFDIO_RANGE.size)
  if (view === undefined) return -EFAULT
  const start = take64(view, UFFDIO_RANGE.start)
  const length = take64(view, UFFDIO_RANGE.len)
  if (!validRange(file.mm, start, length)) return -EINVAL
  file.wakeRange(start, start + length)
  return 0
}

/** Where pages are to be put: one mapping, and an area in it; else an errno. */
function targetOf(mm: Mm, start: number, end: number): { vma: Vma; area: FaultArea } | number {
  const vma = mm.vmas.at(start)
  const area = mm.faultAreas?.at(start)
  if (vma === undefined || area === undefined || area.server.closed) return -ENOENT
  return end > vma.end || end > area.end ? -ENOENT : { vma, area }
}

/** What COPY and ZEROPAGE end with: `done` bytes, or an errno if there are none. */
function finish(
  file: UserfaultFile,
  context: IoctlContext,
  at: number,
  start: number,
  length: number,
  done: number,
  quiet: boolean,
): number {
  if (putWord(context, at, done) < 0) return -EFAULT
  if (done < 0) return done
  if (!quiet) file.wakeRange(start, start + done)
  return done === length ? 0 : -EAGAIN
}

function copy(file: UserfaultFile, context: IoctlContext, at: number): number {
  if (file.changing) return -EAGAIN
  const { mm } = file
  const view = readArgument(context, at, UFFDIO_COPY_ARG.copy)
  if (view === undefined) return -EFAULT
  const target = take64(view, UFFDIO_COPY_ARG.dst)
  const source = take64(view, UFFDIO_COPY_ARG.src)
  const length = take64(view, UFFDIO_COPY_ARG.len)
  const mode = take64(view, UFFDIO_COPY_ARG.mode)
  if (source + length > mm.context.addressLimit || !validRange(mm, target, length)) return -EINVAL
  if (mode > (UFFDIO_COPY_MODE_DONTWAKE | UFFDIO_COPY_MODE_WP)) return -EINVAL
  if (mm.users <= 0) return -ESRCH
  const state = (mode & UFFDIO_COPY_MODE_WP) !== 0 ? PAGE_PROTECTED : 0
  const done = copyPages(file, context, target, source, length, state)
  const quiet = (mode & UFFDIO_COPY_MODE_DONTWAKE) !== 0
  return finish(file, context, at + UFFDIO_COPY_ARG.copy, target, length, done, quiet)
}

/** Bytes that were put up to the first page that is there already, or an errno if that is the first one. */
function copyPages(
  { mm }: UserfaultFile,
  context: IoctlContext,
  target: number,
  source: number,
  length: number,
  state: number,
): number {
  const found = targetOf(mm, target, target + length)
  if (typeof found === 'number') return found
  const { area, vma } = found
  if (state !== 0 && (area.modes & UFFDIO_REGISTER_MODE_WP) === 0) return -EINVAL
  let room = 0
  while (room < Math.min(length, COPY_LIMIT) && (area.state(target + room) & PAGE_ABSENT) !== 0)
    room += PAGE_SIZE
  if (room === 0) return -EEXIST
  const bytes = new Uint8Array(room)
  if (context.copyIn(source, bytes) < 0) return -EFAULT
  const status = fillPages(mm, area, vma, target, bytes, state)
  if (status < 0) return status === -ESRCH ? -EAGAIN : status
  return room
}

function zero(file: UserfaultFile, context: IoctlContext, at: number): number {
  if (file.changing) return -EAGAIN
  const { mm } = file
  const view = readArgument(context, at, UFFDIO_ZEROPAGE_ARG.zeropage)
  if (view === undefined) return -EFAULT
  const start = take64(view, UFFDIO_ZEROPAGE_ARG.start)
  const length = take64(view, UFFDIO_ZEROPAGE_ARG.len)
  const mode = take64(view, UFFDIO_ZEROPAGE_ARG.mode)
  if (!validRange(mm, start, length) || mode > UFFDIO_ZEROPAGE_MODE_DONTWAKE) return -EINVAL
  if (mm.users <= 0) return -ESRCH
  const done = zeroPages(mm, start, length)
  return finish(file, context, at + UFFDIO_ZEROPAGE_ARG.zeropage, start, length, done, mode !== 0)
}

function zeroPages(mm: Mm, start: number, length: number): number {
  const found = targetOf(mm, start, start + length)
  if (typeof found === 'number') return found
  const { area, vma } = found
  let done = 0
  for (; done < length; done += PAGE_SIZE) {
    const there = (area.state(start + done) & PAGE_ABSENT) === 0
    const status = there ? -EEXIST : zeroPage(mm, area, vma, start + done)
    if (status < 0) return done > 0 ? done : status === -ESRCH ? -EAGAIN : status
  }
  return done
}

function writeProtect(file: UserfaultFile, context: IoctlContext, at: number): number {
  if (file.changing) return -EAGAIN
  const { mm } = file
  const view = readArgument(context, at, UFFDIO_WRITEPROTECT_ARG.size)
  if (view === undefined) return -EFAULT
  const start = take64(view, UFFDIO_WRITEPROTECT_ARG.start)
  const length = take64(view, UFFDIO_WRITEPROTECT_ARG.len)
  const mode = take64(view, UFFDIO_WRITEPROTECT_ARG.mode)
  if (!validRange(mm, start, length)) return -EINVAL
  const on = (mode & UFFDIO_WRITEPROTECT_MODE_WP) !== 0
  const quiet = (mode & UFFDIO_WRITEPROTECT_MODE_DONTWAKE) !== 0
  if (mode > (UFFDIO_WRITEPROTECT_MODE_WP | UFFDIO_WRITEPROTECT_MODE_DONTWAKE) || (on && quiet))
    return -EINVAL
  if (mm.users <= 0) return -ESRCH
  const status = protectPages(mm, start, start + length, on)
  if (status < 0) return status === -ESRCH ? -EAGAIN : status
  if (!on && !quiet) file.wakeRange(start, start + length)
  return 0
}

/** Pages that are not there can't be protected: a write to one makes it. */
function protectPages(mm: Mm, start: number, end: number, on: boolean): Status {
  const areas = mm.faultAreas?.within(start, end) ?? []
  const covered = areas.reduce((sum, area) => sum + Math.min(area.end, end) - Math.max(area.start, start), 0)
  if (covered < end - start || areas.some(area => (area.modes & UFFDIO_REGISTER_MODE_WP) === 0))
    return -ENOENT
  for (const area of areas) {
    const from = Math.max(area.start, start)
    const to = Math.min(area.end, end)
    const present = new Uint8Array((to - from) / PAGE_SIZE)
    const status = on ? mm.space.incore(from, to - from, present) : 0
    if (status < 0) return status
    for (let page = from; page < to; page += PAGE_SIZE) {
      const state = area.state(page) & ~PAGE_PROTECTED
      const there = (present[(page - from) / PAGE_SIZE] & 1) !== 0
      area.setState(page, on && there && state === 0 ? PAGE_PROTECTED : state)
    }
    const restored = restoreRights(mm, from, to)
    if (restored < 0) return restored
  }
  return 0
}
