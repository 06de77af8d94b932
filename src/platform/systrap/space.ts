/**
 * SystrapSpace: one guest address space, which is one host process.
 *
 * Made by Systrap.newProcess or fork; its slots memfd and socket live as long as it does. It ends by `destroy` or when
 * its host process dies, which the pidfd tells; both end all of its threads.
 *
 * Guest memory is reached the cheapest way that is there: bytes that came along with the call, the bounce buffer of
 * the thread that the kernel is serving, or process_vm_readv.
 */

import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FUTEX_PRIVATE_FLAG,
  FUTEX_WAKE,
  MAP_FIXED,
  PR_SET_MM,
  PR_SET_MM_MAP,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
  RUSAGE_SELF,
} from '../../abi/constants.ts'
import { EAGAIN, EFAULT, EIO, ESRCH } from '../../abi/errno.ts'
import { PRCTL_MM_MAP, RUSAGE } from '../../abi/layout.ts'
import {
  FD_RECEIVED,
  OP_ATTEMPT,
  OP_EXCHANGE4,
  OP_RECEIVE_FD,
  OP_SYSCALL,
  SLOT_BOUNCE,
  SLOT_SIZE,
  SLOTS,
  STUB_TEXT,
  STUB_TEXT_SIZE,
} from '../../abi/protocol.ts'
import { NR } from '../../abi/syscall-numbers.ts'
import type { Status } from '../../base/result.ts'
import type { AddressSpace, ArgumentLayout, SpaceOwner, SpaceUsage } from '../platform.ts'
import { Patcher } from './patcher-x86-64.ts'
import type { Systrap } from './systrap.ts'
import { SystrapThread } from './thread.ts'

/** Up to here the bounce buffer is cheaper than process_vm_readv. */
const BOUNCE_MAX = 0x4000

/** Room for a thread: its index in the process, and the place in the arena that is mapped to it, -1 for none. */
export interface Place {
  readonly local: number
  slot: number
}

export class SystrapSpace implements AddressSpace {
  readonly platform: Systrap
  readonly pid: number
  readonly pidfd: number
  readonly memfd: number
  readonly socket: number
  /** The first thread's, in the arena. */
  readonly firstSlot: number
  readonly threads = new Set<SystrapThread>()
  /** One has ended: the process's CPU time is more than that of the threads that it has. */
  lostThreads = false
  readonly patcher: Patcher
  owner: SpaceOwner | undefined = undefined
  alive = true
  /** The stopped thread that the kernel is serving. */
  active: SystrapThread | undefined = undefined
  /** Where threads were that ended. */
  readonly #freePlaces: Place[] = []
  /** So many of them, from the first, take no memory any more. */
  #trimmed = 0
  #nextLocal = 1
  /** Threads told to exit whose host thread may still run on its slot. */
  #leaving: SystrapThread[] = []

  constructor(
    platform: Systrap,
    pid: number,
    pidfd: number,
    memfd: number,
    socket: number,
    firstSlot: number,
  ) {
    this.platform = platform
    this.pid = pid
    this.pidfd = pidfd
    this.memfd = memfd
    this.socket = socket
    this.firstSlot = firstSlot
    this.patcher = new Patcher(this)
  }

  // Threads.

  /** A place that no host thread uses. */
  takePlace(): Place {
    this.#reap()
    const place = this.#freePlaces.pop() ?? { local: this.#nextLocal++, slot: -1 }
    this.#trimmed = Math.min(this.#trimmed, this.#freePlaces.length)
    return place
  }
  givePlace(place: Place): void {
    this.#freePlaces.push(place)
  }

  threadExited(thread: SystrapThread): void {
    this.threads.delete(thread)
    this.lostThreads = true
    if (this.threads.size === 0) {
      this.destroy()
      return
    }
    // The first thread has no word that the host clears: its slot stays until the process ends.
    if (thread.local !== 0) this.#leaving.push(thread)
  }

  #reap(): void {
    this.#leaving = this.#leaving.filter(thread => {
      if (this.platform.addon.slotTid(thread.slot) !== 0) return true
      this.platform.leaveSlot(thread.slot)
      this.#freePlaces.push({ local: thread.local, slot: thread.slot })
      return false
    })
  }

  /** In a quiet time: the slots of threads that ended go back to the host. */
  trim(): void {
    this.#reap()
    for (const place of this.#freePlaces.slice(this.#trimmed)) {
      if (place.slot >= 0) this.platform.freeSlot(place.slot)
      place.slot = -1
      this.platform.host.fallocate(this.memfd, PUNCH_HOLE, place.local * SLOT_SIZE, SLOT_SIZE)
    }
    this.#trimmed = this.#freePlaces.length
  }

  /** The host process is gone, or is to be. */
  died(): void {
    if (!this.alive) return
    this.alive = false
    this.active = undefined
    for (const thread of this.threads) {
      thread.dead = true
      this.platform.addon.forgetSlot(thread.slot)
      if (thread.owner !== undefined) this.platform.reportDead(thread)
      thread.stopped = true
      this.givePlace({ local: thread.local, slot: thread.slot })
    }
    for (const { local, slot } of this.#leaving) this.givePlace({ local, slot })
    this.#leaving.length = 0
    this.threads.clear()
    this.platform.spaceGone(this)
  }

  /** Gives back what a dead space still holds. Put off, since somebody may be waiting for the news of its end. */
  bury(): void {
    const { host } = this.platform
    for (const place of this.#freePlaces) if (place.slot >= 0) this.platform.freeSlot(place.slot)
    this.#freePlaces.length = 0
    this.patcher.release()
    host.close(this.pidfd)
    host.close(this.socket)
    host.close(this.memfd)
  }

  destroy(): void {
    if (!this.alive) return
    this.platform.addon.pidfdKill(this.pidfd)
    this.died()
  }

  // Memory.

  /** The thread whose stub can work for the space right now, if any. */
  #worker(): SystrapThread | undefined {
    const active = this.active
    if (active?.stopped && !active.dead) return active
    for (const thread of this.threads) if (thread.stopped && !thread.dead) return thread
    return undefined
  }

  read(address: number, into: Uint8Array, force = false): number {
    const active = this.active
    if (active !== undefined) {
      const ready = active.prefetched(address)
      if (ready !== undefined && ready.length >= into.length) {
        into.set(ready.length === into.length ? ready : ready.subarray(0, into.length))
        return into.length
      }
      if (into.length <= BOUNCE_MAX && active.attentive) {
        const n = active.copyIn(address, into)
        if (n > 0) return n
      } else active.flush()
    }
    // The pid may be another process's by now: who uses what is shared outlives who made it.
    if (!this.alive) return -EFAULT
    const n = this.platform.addon.vmRead(this.pid, address, into)
    if (n > 0) return n
    if (force) return this.#forced(address, into, PROT_READ)
    return -EFAULT
  }

  prefetched(address: number): Uint8Array | undefined {
    return this.active?.prefetched(address)
  }

  write(address: number, from: Uint8Array, force = false): number {
    const active = this.active
    if (
      active !== undefined &&
      !force &&
      from.length <= BOUNCE_MAX &&
      this.owner?.isWritable?.(address, from.length)
    ) {
      if (active.copyOutLater(address, from)) return from.length
    }
    active?.flush()
    if (!this.alive) return -EFAULT
    const n = this.platform.addon.vmWrite(this.pid, address, from)
    if (n > 0) return n
    if (force) return this.#forced(address, from, PROT_READ | PROT_WRITE)
    return -EFAULT
  }

  flush(): void {
    this.active?.flush()
  }

  /** The page is touched by a read first: what is not there must not fault inside the stub. */
  compareExchange(address: number, expected: number, desired: number): number {
    const worker = this.#worker()
    const prot = this.owner?.protectionAt?.(address) ?? 0
    if (worker === undefined || (prot & PROT_WRITE) === 0 || this.read(address, WORD) !== 4) return -EFAULT
    return worker.operate(OP_EXCHANGE4, 0, address, expected, desired)
  }

  /** FUTEX_WAKE by a stopped thread: how many woke. */
  wakeFutex(address: number, count: number, shared: boolean): number {
    const op = shared ? FUTEX_WAKE : FUTEX_WAKE | FUTEX_PRIVATE_FLAG
    return Math.max(this.#worker()?.operate(OP_SYSCALL, NR.futex, address, op, count) ?? 0, 0)
  }

  /** Past the protection of a private mapping, which allows more for a moment: at most a page. */
  #forced(address: number, bytes: Uint8Array, needs: number): number {
    const prot = this.owner?.protectionAt?.(address)
    const worker = this.#worker()
    if (prot === undefined || worker === undefined) return -EFAULT
    const writes = (needs & PROT_WRITE) !== 0
    if (writes) this.patcher.textTouched = true
    return worker.moveUnprotected(address, bytes, writes, prot | needs, prot)
  }

  /**
   * A memory call by a stopped thread. Where nobody else runs in the space it travels with the reply, and counts as
   * done: if the host refuses it after all (it has limits of its own), its errno is the guest's result.
   */
  #call(nr: number, a0: number, a1: number, a2 = 0, a3 = 0, a4 = 0, a5 = 0): number {
    const worker = this.#worker()
    if (worker === undefined) return -ESRCH
    if (this.threads.size === 1 && worker === this.active && PUT_OFF.has(nr)) {
      worker.queue(OP_SYSCALL, nr, a0, a1, a2, a3, a4, a5)
      return 0
    }
    return worker.operate(OP_SYSCALL, nr, a0, a1, a2, a3, a4, a5)
  }

  /** A call that needs one of the sentry's descriptors: passed, used and closed in one exchange. */
  #callWithFd(
    hostFd: number,
    nr: number,
    a0: number,
    a1: number,
    a2: number,
    a3: number,
    a4: number,
    a5: number,
  ): number {
    const worker = this.#worker()
    if (worker === undefined) return -ESRCH
    // A program's segments come one after the other from one file, which is passed once.
    if (!worker.continuesWith(hostFd)) {
      if (this.platform.addon.sendFds(this.socket, ONE_BYTE, hostFd, -1) < 0) return -EIO
      worker.makeRoom(3)
      worker.queue(OP_RECEIVE_FD, 0)
    }
    const call = worker.queue(OP_SYSCALL, nr, a0, a1, a2, a3, a4, a5)
    worker.queue(OP_SYSCALL, NR.close, FD_RECEIVED)
    worker.endsWith(hostFd)
    // Nobody else takes descriptors from the socket, so the operations may wait for the reply.
    if (this.threads.size === 1 && worker === this.active && PUT_OFF.has(nr)) return 0
    return worker.exchange() < 0 ? -ESRCH : worker.result(call)
  }

  map(address: number, length: number, prot: number, flags: number, hostFd: number, offset: number): Status {
    this.patcher.forget(address, length)
    const result =
      hostFd < 0
        ? this.#call(NR.mmap, address, length, prot, flags | MAP_FIXED, -1, 0)
        : this.#callWithFd(hostFd, NR.mmap, address, length, prot, flags | MAP_FIXED, FD_RECEIVED, offset)
    return result < 0 && result > -4096 ? result : 0
  }
  unmap(address: number, length: number): Status {
    this.patcher.forget(address, length)
    return this.#call(NR.munmap, address, length)
  }
  protect(address: number, length: number, prot: number): Status {
    if ((prot & PROT_EXEC) === 0) this.patcher.forget(address, length)
    return this.#call(NR.mprotect, address, length, prot)
  }
  remap(address: number, oldLength: number, newLength: number, flags: number, newAddress: number): Status {
    this.patcher.forget(address, oldLength)
    const result = this.#call(NR.mremap, address, oldLength, newLength, flags, newAddress)
    return result < 0 && result > -4096 ? result : 0
  }
  advise(address: number, length: number, advice: number): Status {
    return this.#call(NR.madvise, address, length, advice)
  }
  fill(address: number, bytes: Uint8Array, prot: number): Status {
    const worker = this.#worker()
    if (worker === undefined) return -ESRCH
    const still = this.patcher.holdOthers(worker, PATIENCE_TO_FILL)
    if (still === undefined) return -EAGAIN
    worker.operate(OP_SYSCALL, NR.mprotect, address, bytes.length, PROT_READ | PROT_WRITE)
    const written = this.platform.addon.vmWrite(this.pid, address, bytes)
    const status = worker.operate(OP_SYSCALL, NR.mprotect, address, bytes.length, prot)
    for (const other of still) other.native.release()
    return written === bytes.length ? status : -EFAULT
  }
  incore(address: number, length: number, into: Uint8Array): Status {
    const worker = this.#worker()
    if (worker === undefined) return -ESRCH
    const pages = Math.ceil(length / 4096)
    for (let done = 0; done < pages; ) {
      const count = Math.min(pages - done, 0x4000)
      const bounce = SLOTS + worker.local * SLOT_SIZE + SLOT_BOUNCE + 0x8000
      const status = worker.operate(OP_SYSCALL, NR.mincore, address + done * 4096, count * 4096, bounce)
      if (status < 0) return status
      const from = this.platform.slots.bounce(worker.slot) + 0x8000
      into.set(this.platform.slots.bytes.subarray(from, from + count), done)
      done += count
    }
    return 0
  }
  lock(address: number, length: number, flags: number): Status {
    return this.#call(NR.mlock2, address, length, flags)
  }
  unlock(address: number, length: number): Status {
    return this.#call(NR.munlock, address, length)
  }

  readFile(hostFd: number, offset: number, address: number, length: number): number {
    return this.#transferFile(NR.preadv, hostFd, offset, address, length)
  }
  writeFile(hostFd: number, offset: number, address: number, length: number): number {
    return this.#transferFile(NR.pwritev, hostFd, offset, address, length)
  }
  #transferFile(nr: number, hostFd: number, offset: number, address: number, length: number): number {
    const worker = this.#worker()
    if (worker === undefined) return -ESRCH
    worker.flush()
    // The iovec lies at the end of the usable bounce buffer.
    const at = SLOT_BOUNCE + SystrapThread.BOUNCE_LIMIT - 16
    const index = this.platform.slots.at(worker.slot, at)
    this.platform.slots.put64(index, address)
    this.platform.slots.put64(index + 2, length)
    const iovec = SLOTS + worker.local * SLOT_SIZE + at
    return this.#callWithFd(
      hostFd,
      nr,
      FD_RECEIVED,
      iovec,
      1,
      offset % 4294967296,
      Math.floor(offset / 4294967296),
      0,
    )
  }

  /**
   * With the reply. Only arguments and environment are the guest's; the host gets harmless values for the parts of a
   * program that it insists on, since it would refuse some of the guest's own.
   */
  showArguments({ startStack, argStart, argEnd, envStart, envEnd }: ArgumentLayout): void {
    const worker = this.#worker()
    if (worker === undefined) return
    const map = new Uint32Array(PRCTL_MM_MAP.size / 4)
    const put = (at: number, value: number): void => {
      map[at / 4] = value
      map[at / 4 + 1] = Math.floor(value / 2 ** 32)
    }
    for (const at of PROGRAM_PARTS) put(at, STUB_TEXT)
    put(PRCTL_MM_MAP.end_code, STUB_TEXT + STUB_TEXT_SIZE)
    put(PRCTL_MM_MAP.start_brk, STUB_TEXT + STUB_TEXT_SIZE)
    put(PRCTL_MM_MAP.brk, STUB_TEXT + STUB_TEXT_SIZE)
    put(PRCTL_MM_MAP.start_stack, startStack)
    put(PRCTL_MM_MAP.arg_start, argStart)
    put(PRCTL_MM_MAP.arg_end, argEnd)
    put(PRCTL_MM_MAP.env_start, envStart)
    put(PRCTL_MM_MAP.env_end, envEnd)
    map[PRCTL_MM_MAP.exe_fd / 4] = -1
    const address = worker.stage(new Uint8Array(map.buffer))
    if (address !== 0)
      worker.queue(OP_ATTEMPT, NR.prctl, PR_SET_MM, PR_SET_MM_MAP, address, PRCTL_MM_MAP.size)
  }

  setTraced(on: boolean): void {
    if (on) {
      const worker = this.#worker()
      if (worker !== undefined) this.patcher.suspend(worker)
    } else this.patcher.resume()
  }

  residentPages(): number {
    return this.platform.residentPages?.(this.pid) ?? 0
  }
  peakPages(): number {
    const asked = this.#askUsage()
    if (asked !== undefined) return asked.peakPages
    return this.alive ? (this.platform.peakPages?.(this.pid) ?? 0) : 0
  }
  usage(): SpaceUsage | undefined {
    return this.#askUsage() ?? (this.alive ? this.platform.usage?.(this.pid) : undefined)
  }
  /** Asked of the process itself if it listens, since /proc takes ten times as long. */
  #askUsage(): SpaceUsage | undefined {
    const worker = this.#worker()
    return worker?.attentive ? this.usageOf(worker, RUSAGE_SELF) : undefined
  }
  /** getrusage(2) by a stopped thread, of itself (RUSAGE_THREAD) or the process. */
  usageOf(worker: SystrapThread, who: number): SpaceUsage | undefined {
    const at = SLOT_BOUNCE + SystrapThread.BOUNCE_LIMIT - RUSAGE.size
    const address = SLOTS + worker.local * SLOT_SIZE + at
    if (worker.operate(OP_SYSCALL, NR.getrusage, who, address) < 0) return undefined
    const { slots } = this.platform
    const field = (offset: number): number => slots.get64(slots.at(worker.slot, at + offset))
    const time = (offset: number): number => field(offset) * 1e6 + field(offset + 8)
    return {
      peakPages: field(RUSAGE.ru_maxrss) / 4,
      minorFaults: field(RUSAGE.ru_minflt),
      majorFaults: field(RUSAGE.ru_majflt),
      user: time(RUSAGE.ru_utime),
      system: time(RUSAGE.ru_stime),
    }
  }
  /** CPU time of the whole process in ns. */
  cpuTime(): number {
    return this.alive ? this.platform.addon.processClock(this.pid) : 0
  }
}

const PROGRAM_PARTS = [PRCTL_MM_MAP.start_code, PRCTL_MM_MAP.start_data, PRCTL_MM_MAP.end_data]
/** Calls whose success the vmas promise. */
const PUT_OFF: ReadonlySet<number> = new Set([NR.mmap, NR.munmap, NR.mprotect])
/** How long threads may take to stand still while a page is filled, in ns. */
const PATIENCE_TO_FILL = 20_000_000
const PUNCH_HOLE = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
const ONE_BYTE = new Uint8Array(1)
const WORD = new Uint8Array(4)
