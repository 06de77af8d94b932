/**
 * Page faults that a guest process serves (userfaultfd(2)): what becomes of the task that made one.
 *
 * A fault of guest code stops its thread. The task waits until the page is there, or a signal comes, and then goes on with the
 * instruction, which faults anew if it has to. A system call must not find half-way that a page is absent, since what it
 * has done by then can't be undone: so before each try the memory that its arguments point to is looked at, and the task
 * waits for the pages one after the other, messages and vectors included. What only the call itself finds, by a pointer in
 * another structure, fails with EFAULT.
 */
import { BUS_ADRERR, SIGBUS, UFFD_PAGEFAULT_FLAG_WP, UFFD_PAGEFAULT_FLAG_WRITE } from '../abi/constants.ts'
import type { WaitQueue } from '../base/wait-queue.ts'
import {
  type FaultServer,
  PAGE_ABSENT,
  PAGE_PROTECTED,
  removeAreas,
  restoreRights,
} from '../mm/fault-area.ts'
import { PAGE_SIZE, pageFloor, VM_ACCESS, VM_EXEC, VM_WRITE } from '../mm/vma.ts'
import { attempt, finishCall } from './loop.ts'
import { returnToGuest } from './return-to-guest.ts'
import { forceSignal } from './signal.ts'
import { faultSignal } from './signal-info.ts'
import { NO_RESULT, type Task } from './task.ts'

/** Bits of the CPU's error code of a page fault. */
const ERROR_WRITE = 2
const ERROR_FETCH = 16

/** A task's wait for a page. */
export interface PageWait {
  /** Woken when the page may be there. */
  readonly queue: WaitQueue
  /** Nobody waits any more. */
  end(): void
}

/** Something that a server is told of a call: the call waits until it was read. */
export interface PageNotice {
  readonly queue: WaitQueue
  readonly read: boolean
}

/** All of one call. */
export interface PageNotices {
  readonly unread: PageNotice[]
  /** The call's, which is over; undefined while it is not. */
  result: number | undefined
}

/** What serves the faults of an area, as the kernel sees it. */
export interface PageServer extends FaultServer {
  /** UFFD_FEATURE_SIGBUS: nobody waits. */
  readonly raisesBus: boolean
  /** UFFD_USER_MODE_ONLY: system calls don't wait. */
  readonly userModeOnly: boolean
  /** `flags`: UFFD_PAGEFAULT_FLAG_*. */
  serve(task: Task, address: number, flags: number): PageWait
}

/** A page fault of guest code: whether it was in memory that somebody serves, and has been seen to. */
export function takePageFault(task: Task, address: number, error: number): boolean {
  const { mm } = task
  const area = mm.faultAreas?.at(address)
  const vma = area === undefined ? undefined : mm.find(address)
  if (area === undefined || vma === undefined) return false
  const writes = (error & ERROR_WRITE) !== 0
  const needed = writes ? VM_WRITE : (error & ERROR_FETCH) !== 0 ? VM_EXEC : VM_ACCESS
  if ((vma.flags & needed) === 0) return false
  const server = area.server as PageServer
  if (server.closed) {
    removeAreas(mm, area.start, area.end, server)
    returnToGuest(task, NO_RESULT)
    return true
  }
  const flags = faultFlags(area.state(address), writes)
  if (flags < 0) {
    // It came meanwhile.
    const page = pageFloor(address)
    restoreRights(mm, page, page + PAGE_SIZE)
    returnToGuest(task, NO_RESULT)
  } else if (server.raisesBus) {
    task.faultAddress = address
    forceSignal(task, faultSignal(SIGBUS, BUS_ADRERR, address))
    returnToGuest(task, NO_RESULT)
  } else if (task.signalPending()) returnToGuest(task, NO_RESULT)
  else sleepFor(task, server.serve(task, address, flags))
  return true
}

/** UFFD_PAGEFAULT_FLAG_* of a fault at a page of this state; -1 for none. */
function faultFlags(state: number, writes: boolean): number {
  if ((state & PAGE_ABSENT) !== 0) return writes ? UFFD_PAGEFAULT_FLAG_WRITE : 0
  return writes && (state & PAGE_PROTECTED) !== 0 ? UFFD_PAGEFAULT_FLAG_WP | UFFD_PAGEFAULT_FLAG_WRITE : -1
}

function sleepFor(task: Task, wait: PageWait): void {
  task.pageWait = wait
  task.block(wait.queue)
  // In a call only a fatal signal ends the wait.
  task.uninterruptible = task.callNumber !== -1
  task.fallAsleep()
}

/** The page is there, or a signal. */
export function pageArrived(task: Task): void {
  task.stopWaiting()
  leavePageWait(task)
  if (task.callNumber === -1) returnToGuest(task, NO_RESULT)
  else attempt(task)
}

/** The call is over but for its notices: it ends with `result` when they have been read. */
export function awaitNotices(task: Task, result: number): void {
  const { unread } = task.pageNotices!
  task.stopWaiting()
  while (unread.length > 0 && unread[0].read) unread.shift()
  if (unread.length === 0 || task.signals.fatalPending(task)) {
    task.pageNotices = undefined
    finishCall(task, result)
    return
  }
  task.pageNotices!.result = result
  task.block(unread[0].queue)
  task.uninterruptible = true
  task.fallAsleep()
}

export function leavePageWait(task: Task): void {
  task.pageWait?.end()
  task.pageWait = undefined
}

/** Before a try of the call in progress: whether the task waits for memory that its arguments point to. */
export function awaitsPages(task: Task): boolean {
  const areas = task.mm.faultAreas
  if (areas === undefined) return false
  return task.kernel.syscalls.touches(task, task.callNumber, (start, length, writes) => {
    for (const area of areas.within(start, start + length)) {
      const server = area.server as PageServer
      if (server.closed || server.raisesBus || server.userModeOnly) continue
      const end = Math.min(area.end, start + length)
      for (let at = Math.max(area.start, pageFloor(start)); at < end; at += PAGE_SIZE) {
        const flags = faultFlags(area.state(at), writes)
        if (flags < 0) continue
        task.kernel.trace?.blocked(task)
        sleepFor(task, server.serve(task, Math.max(at, start), flags))
        return true
      }
    }
    return false
  })
}
