/**
 * systrap: guest code in ordinary host processes, system calls by a seccomp trap or a patched call site, requests and
 * replies over shared memory. docs/architecture.md draws the whole; here is what ties it together: start-up, the making of
 * processes and threads, and the wait for the next one that stops.
 */

import { MFD_CLOEXEC, POLLIN } from '../../abi/constants.ts'
import { EAGAIN, EIO, ENOMEM, ESRCH } from '../../abi/errno.ts'
import {
  COMMAND_REPORT,
  FD_RECEIVED,
  FD_RECEIVED_SECOND,
  OP_CLONE,
  OP_FORK,
  OP_RECEIVE_FD,
  OP_SYSCALL,
  PREFETCH_BITS,
  PREFETCH_BUFFER,
  PREFETCH_MAX,
  PREFETCH_STRING,
  PREFETCH_STRUCT,
  PREFETCH_VECTOR,
  SLOT,
  SLOT_COUNT,
  SLOT_SIZE,
  SLOTS,
  STATE_SLEEP,
  STUB_TEXT,
} from '../../abi/protocol.ts'
import { NR } from '../../abi/syscall-numbers.ts'
import { cpusOfMask } from '../../base/cpu-list.ts'
import type { LinuxHost } from '../linux-host.ts'
import {
  type AddressSpace,
  type Platform,
  type PlatformThread,
  type SpaceUsage,
  STOP_DEAD,
} from '../platform.ts'
import { NEXT_READY, type SystrapAddon, TOKEN_LOOP, TOKEN_QUIET } from './addon.ts'
import { Trampolines } from './patcher-x86-64.ts'
import { Slots } from './slots.ts'
import { SystrapSpace } from './space.ts'
import { stubFilter } from './stub-calls.ts'
import { SystrapThread } from './thread.ts'

/** Guest threads in one sandbox. */
const MAX_THREADS = 8192
const TRAMPOLINE_BYTES = 16 * 1024 * 1024
/** Pause instructions that a new thread spends on its first reply before it sleeps: as in native/addon/systrap.c. */
const STUB_SPIN = 2500
/** How long the sentry spins for the next request before it sleeps, in ns. */
const SENTRY_SPIN = 150_000

/** What the platform copies along with a call: per argument a kind and a size, or where the count is and of what size each is. */
export interface PrefetchRule {
  readonly nr: number
  readonly args: readonly (
    | { kind: 'string' }
    | { kind: 'buffer'; lengthArg: number; unit: number }
    | { kind: 'vector'; lengthArg: number; unit: number }
    | { kind: 'struct'; size: number }
    | { kind: 'bits'; lengthArg: number }
    | undefined
  )[]
}

/** The slots of a process and the socket to it; its first thread waits in `slot`. */
interface Channel {
  readonly memfd: number
  readonly slot: number
  readonly socket: number
  /** The process's end, until it is sent. */
  readonly peer: number
}

export interface SystrapOptions {
  readonly addon: SystrapAddon
  readonly host: LinuxHost
  /** The socket to the zygote, which the launcher has started. */
  readonly zygote: number
  readonly prefetch: readonly PrefetchRule[]
}

export class Systrap implements Platform {
  readonly addon: SystrapAddon
  readonly host: LinuxHost
  readonly slots: Slots
  readonly trampolines: Trampolines
  readonly addressLimit = STUB_TEXT
  readonly vdso: number
  readonly vdsoSize: number
  readonly vvar: number
  readonly hwcap: number
  readonly hwcap2: number
  readonly rseqFeatureSize: number
  readonly rseqAlign: number
  readonly minSignalStack: number
  cpus: readonly number[] = [0]
  cpuCount = 1
  readonly xstateSize: number
  readonly xstateMask: number
  patching = true
  stopReason = 0
  /** Node's event loop has work: the caller of `next` is to return to it. */
  loopReady = false
  /** Called when the zygote is gone: no program can be started any more. */
  onZygoteGone: (() => void) | undefined = undefined
  /** Called when there is nothing to do for a while after some work. */
  onQuiet: (() => void) | undefined = undefined
  /** Host facts about a process, given by the sandbox when it has a /proc. */
  residentPages: ((pid: number) => number) | undefined = undefined
  peakPages: ((pid: number) => number) | undefined = undefined
  usage: ((pid: number) => SpaceUsage | undefined) | undefined = undefined
  lastCpu: ((pid: number, tid: number) => number | undefined) | undefined = undefined
  /** How long a new thread may spin while it waits for the sentry; later the addon decides. */
  stubSpin = 0

  #zygote: number
  readonly #vdsoFrom: number
  readonly #vdsoTo: number
  readonly #bySlot: (SystrapThread | undefined)[] = new Array(MAX_THREADS)
  readonly #deadThreads: SystrapThread[] = []
  readonly #spaces = new Set<SystrapSpace>()
  readonly #ready: Float64Array
  // What is made ahead, and what can wait until nobody asks for anything.
  /** A process of the zygote's. */
  #spare: Channel | undefined = undefined
  /** For the next process. */
  #spareChannel: Channel | undefined = undefined
  #sparesDue = false
  /** Dead processes that still hold something. */
  readonly #graves: SystrapSpace[] = []

  /** To be made before the jail closes. Throws Error with the reason when the host refuses. */
  constructor(options: SystrapOptions) {
    const { addon, host } = options
    this.addon = addon
    this.host = host
    const arena = reserveArena()
    const start = addon.systrapStart(arena)
    if (typeof start === 'number') throw new Error(`cannot set up shared memory (errno ${-start})`)
    this.slots = new Slots(arena, MAX_THREADS)
    this.#ready = start.ready
    this.hwcap = start.hwcap
    // FSGSBASE is not announced: a guest that writes GS by itself would lose its slot.
    this.hwcap2 = start.hwcap2 & ~2
    this.minSignalStack = start.minSignalStack
    this.rseqFeatureSize = start.rseqFeatureSize
    this.rseqAlign = start.rseqAlign
    this.lookAtCpus()
    const info = new DataView(start.info)
    this.xstateSize = info.getUint32(16, true)
    this.xstateMask = info.getUint32(8, true) + info.getUint32(12, true) * 4294967296
    writePrefetch(new Uint8Array(start.info), options.prefetch)

    this.#zygote = options.zygote
    const answer = new Uint8Array(32)
    if (addon.receiveBytes(this.#zygote, answer) !== answer.length)
      throw new Error('the zygote did not start')
    addon.sendFds(this.#zygote, stubFilter(), start.infoFd, start.eventFd)
    const view = new DataView(answer.buffer)
    this.#vdsoFrom = Number(view.getBigUint64(0, true))
    this.#vdsoTo = Number(view.getBigUint64(8, true))
    this.vdso = Number(view.getBigUint64(16, true))
    this.vvar = this.#vdsoFrom
    this.vdsoSize = this.vdso === 0 ? 0 : this.#vdsoTo - this.vdso

    const memfd = host.memfd('caisson-trampolines', MFD_CLOEXEC)
    host.ftruncate(memfd, TRAMPOLINE_BYTES)
    const memory = addon.mapShared(memfd, TRAMPOLINE_BYTES)
    if (typeof memory === 'number') throw new Error(`cannot map trampolines (errno ${-memory})`)
    this.trampolines = new Trampolines(memfd, memory, Number(view.getBigUint64(24, true)))
    this.#spare = this.#request()
  }

  /** To be called when our CPUs may be others than at the start, before there is a guest. */
  lookAtCpus(): void {
    this.cpus = allowedCpus(this.addon)
    this.cpuCount = this.cpus.length
    this.stubSpin = this.cpuCount > 1 ? STUB_SPIN : 0
  }

  /** From now on `next` returns when node's event loop wants to run. */
  followLoop(): void {
    this.addon.followLoop()
    this.host.watch(this.#zygote, POLLIN, () => {
      this.host.unwatch(this.#zygote)
      this.onZygoteGone?.()
    })
  }

  // Slots.

  /** No thread is behind the slot any more; it stays mapped. */
  leaveSlot(slot: number): void {
    this.#bySlot[slot] = undefined
  }
  freeSlot(slot: number): void {
    this.leaveSlot(slot)
    this.addon.unmapSlot(slot)
    this.slots.give(slot)
  }

  /** `first`: the slot of the process's first thread, which it is itself by default. */
  #newSlot(memfd: number, local: number, first?: number): number {
    const slot = this.slots.take() ?? this.#reclaim()
    if (slot === undefined) return -EAGAIN
    const status = this.addon.mapSlot(slot, memfd, local, first ?? slot)
    if (status < 0) {
      this.slots.give(slot)
      return status
    }
    this.slots.initialize(slot, local, this.stubSpin)
    return slot
  }

  /** A slot of those that were kept for later use. */
  #reclaim(): number | undefined {
    while (this.#graves.length > 0) this.#graves.pop()!.bury()
    for (const space of this.#spaces) space.trim()
    return this.slots.take()
  }

  /** What a new process needs to talk to the sentry. */
  #newChannel(): Channel | undefined {
    const memfd = this.host.memfd('caisson-slots', MFD_CLOEXEC)
    if (memfd < 0) return undefined
    const status = this.host.ftruncate(memfd, SLOT_COUNT * SLOT_SIZE)
    const slot = status < 0 ? status : this.#newSlot(memfd, 0)
    const pair = new Int32Array(2)
    if (slot >= 0 && this.addon.socketpair(pair) === 0) {
      const [socket, peer] = pair
      return { memfd, slot, socket: socket!, peer: peer! }
    }
    if (slot >= 0) this.freeSlot(slot)
    this.host.close(memfd)
    return undefined
  }

  /** A channel whose other end was sent over `via`: to the zygote, or to a process that forks. */
  #passChannel(via: number, spin: number): Channel | undefined {
    const channel = this.#spareChannel ?? this.#newChannel()
    this.#spareChannel = undefined
    this.#sparesDue = true
    if (channel === undefined) return undefined
    this.slots.u32[this.slots.at(channel.slot, SLOT.spin)] = spin
    const sent = this.addon.sendFds(via, ONE_BYTE, channel.memfd, channel.peer)
    this.host.close(channel.peer)
    if (sent >= 0) return channel
    this.#drop(channel)
    return undefined
  }

  #drop(channel: Channel): void {
    this.host.close(channel.socket)
    this.host.close(channel.memfd)
    this.freeSlot(channel.slot)
  }

  // Processes.

  /** Asks the zygote for a process; it is ready when its slot has a request. It will wait for long: it sleeps at once. */
  #request(): Channel | undefined {
    return this.#passChannel(this.#zygote, 0)
  }

  /** A process of the zygote's that is ready: the spare one, or where that was killed a new one. */
  #takeNewborn(): Channel | undefined {
    for (let newborn = this.#spare ?? this.#request(); newborn !== undefined; newborn = this.#request()) {
      this.#spare = undefined
      if (this.addon.awaitRequest(newborn.slot, newborn.socket, 0) >= 0) return newborn
      this.#drop(newborn)
    }
    return undefined
  }

  expectProcess(): void {
    const spare = this.#spare
    if (spare === undefined || this.slots.u32[this.slots.at(spare.slot, SLOT.state)] !== STATE_SLEEP) return
    this.slots.u32[this.slots.at(spare.slot, SLOT.spin)] = this.stubSpin
    this.addon.resume(spare.slot, COMMAND_REPORT)
  }

  newProcess(): PlatformThread | number {
    const spare = this.#takeNewborn()
    if (spare === undefined) return -EAGAIN
    const thread = this.#adopt(spare)
    if (typeof thread === 'number') return thread
    // What the zygote left in the address space goes, except the vDSO.
    const end = SLOTS + SLOT_COUNT * SLOT_SIZE
    thread.queue(OP_SYSCALL, NR.munmap, 0, this.#vdsoFrom || STUB_TEXT)
    if (this.#vdsoFrom > 0 && this.#vdsoTo < STUB_TEXT) {
      thread.queue(OP_SYSCALL, NR.munmap, this.#vdsoTo, STUB_TEXT - this.#vdsoTo)
      thread.queue(OP_SYSCALL, NR.munmap, end, USER_END - end)
    } else if (this.#vdsoFrom >= end) {
      thread.queue(OP_SYSCALL, NR.munmap, 0, STUB_TEXT)
      thread.queue(OP_SYSCALL, NR.munmap, end, this.#vdsoFrom - end)
      thread.queue(OP_SYSCALL, NR.munmap, this.#vdsoTo, USER_END - this.#vdsoTo)
    }
    thread.writeExtendedState(new Uint8Array(0))
    return thread
  }

  /** The first thread of a process that waits in `slot`: finds out its pid and watches for its end. */
  #adopt(channel: Channel): SystrapThread | number {
    const { memfd, socket, slot } = channel
    // It has sent a byte over its socket, and the host's kernel says who it is.
    const pid = this.addon.receiveSender(socket)
    const pidfd = pid > 0 ? this.addon.pidfdOpen(pid) : -ESRCH
    if (pidfd < 0) {
      this.#drop(channel)
      return -EAGAIN
    }
    const space = new SystrapSpace(this, pid, pidfd, memfd, socket, slot)
    const thread = new SystrapThread(this, space, slot, 0)
    thread.tid = pid
    this.#bySlot[slot] = thread
    space.threads.add(thread)
    this.#spaces.add(space)
    space.active = thread
    this.host.watch(pidfd, POLLIN, () => space.died())
    return thread
  }

  fork(parent: PlatformThread): PlatformThread | number {
    const from = parent as SystrapThread
    const channel = this.#passChannel(from.space.socket, this.stubSpin)
    if (channel === undefined) return -EAGAIN
    from.saveExtendedState()
    from.makeRoom(4)
    from.queue(OP_RECEIVE_FD, 0)
    const n = from.queue(OP_FORK, 0)
    from.queue(OP_SYSCALL, NR.close, FD_RECEIVED)
    from.queue(OP_SYSCALL, NR.close, FD_RECEIVED_SECOND)
    const pid = from.exchange() === 0 ? from.result(n) : -EIO
    if (pid < 0 || this.addon.awaitRequest(channel.slot, channel.socket, 0) < 0) {
      this.#drop(channel)
      return pid === -ENOMEM ? -ENOMEM : -EAGAIN
    }
    const thread = this.#adopt(channel)
    if (typeof thread === 'number') return thread
    thread.inherit(from)
    thread.space.patcher.inherit(from.space.patcher)
    return thread
  }

  cloneThread(parent: PlatformThread): PlatformThread | number {
    const from = parent as SystrapThread
    const space = from.space
    const place = space.takePlace()
    const { local } = place
    if (local >= SLOT_COUNT) {
      space.givePlace(place)
      return -EAGAIN
    }
    if (place.slot < 0) place.slot = this.#newSlot(space.memfd, local, space.firstSlot)
    else this.slots.initialize(place.slot, local, this.stubSpin)
    const { slot } = place
    if (slot < 0) {
      space.givePlace(place)
      return -EAGAIN
    }
    from.saveExtendedState()
    const tid = from.operate(OP_CLONE, 0, local)
    if (tid < 0 || this.addon.awaitRequest(slot, space.pidfd, POLLIN) < 0) {
      if (space.alive) space.givePlace(place)
      else this.freeSlot(slot)
      return -EAGAIN
    }
    const thread = new SystrapThread(this, space, slot, local)
    thread.tid = tid
    thread.inherit(from)
    this.#bySlot[slot] = thread
    space.threads.add(thread)
    return thread
  }

  futexWake(space: AddressSpace, address: number, count: number, shared: boolean): number {
    return (space as SystrapSpace).wakeFutex(address, count, shared)
  }

  /** A space ended. */
  spaceGone(space: SystrapSpace): void {
    this.#spaces.delete(space)
    this.host.unwatch(space.pidfd)
    this.#graves.push(space)
  }

  /** Does what was put off, until somebody asks for something. */
  #catchUp(): void {
    while (this.#graves.length > 0 || this.#sparesDue) {
      if (this.#graves.length <= MAX_GRAVES && this.addon.pending()) return
      if (this.#graves.length > 0) this.#graves.pop()!.bury()
      else {
        this.#spare ??= this.#request()
        this.#spareChannel ??= this.#newChannel()
        this.#sparesDue = false
      }
    }
  }

  /** A thread's process died: the kernel hears of it as a stop, even of one that waits in a call. */
  reportDead(thread: SystrapThread): void {
    this.#deadThreads.push(thread)
  }

  // The wait.

  next(deadline: number): PlatformThread | undefined {
    const dead = this.#deadThreads.pop()
    if (dead !== undefined) {
      this.stopReason = STOP_DEAD
      return dead
    }
    if (deadline > 0) this.#catchUp()
    let timeout = 0
    if (deadline === Number.POSITIVE_INFINITY) timeout = -1
    else if (deadline > 0) timeout = Math.max(0, deadline - this.host.monotonic())
    const found = this.addon.next(timeout === 0 || this.cpuCount === 1 ? 0 : SENTRY_SPIN, timeout)
    this.host.newTurn()
    if (found >= 0) return this.#stopped(found)
    if (found === NEXT_READY) this.#dispatchReady()
    return undefined
  }

  lookAtHost(): void {
    if (this.addon.look() === NEXT_READY) this.#dispatchReady()
  }

  #stopped(slot: number): PlatformThread | undefined {
    const thread = this.#bySlot[slot]
    if (thread === undefined || thread.stopped) return undefined
    this.stopReason = thread.accept()
    return thread
  }

  #dispatchReady(): void {
    const ready = this.#ready
    const count = ready[0]!
    if (count === 1) {
      this.#descriptorReady(ready[1]!, ready[2]!)
      return
    }
    // Copied first: a watcher may cause another wait.
    const pairs = ready.slice(1, 1 + count * 2)
    for (let i = 0; i < pairs.length; i += 2) this.#descriptorReady(pairs[i]!, pairs[i + 1]!)
  }

  #descriptorReady(token: number, events: number): void {
    if (token === TOKEN_LOOP) this.loopReady = true
    else if (token === TOKEN_QUIET) this.#quiet()
    else this.host.hostReady(token, events)
  }

  #quiet(): void {
    for (const space of this.#spaces) space.trim()
    this.onQuiet?.()
  }

  destroy(): void {
    for (const space of this.#spaces) space.destroy()
    this.host.close(this.#zygote)
  }
}

/**
 * Memory for all slots, of which only what is used takes any. A WebAssembly memory that has grown to its size, since V8
 * counts other foreign memory, and what such a memory begins with, against its heap, and would collect garbage at the
 * sight of a gigabyte: 10 ms of each start.
 */
function reserveArena(): Uint8Array {
  const pages = (MAX_THREADS * SLOT_SIZE) / WASM_PAGE
  const memory = new WebAssembly.Memory({ initial: 0, maximum: pages, shared: true })
  memory.grow(pages)
  return new Uint8Array(memory.buffer)
}
const WASM_PAGE = 65536
/** TypeScript knows it in browsers alone. */
declare const WebAssembly: {
  Memory: new (limits: {
    initial: number
    maximum: number
    shared: boolean
  }) => { readonly buffer: SharedArrayBuffer; grow(pages: number): number }
}

function allowedCpus(addon: SystrapAddon): number[] {
  const mask = new Uint8Array(MAX_CPUS / 8)
  return addon.allowedCpus(mask) > 0 ? cpusOfMask(mask) : [0]
}
const MAX_CPUS = 8192

/** So many dead processes may wait for their burial while others ask for something. */
const MAX_GRAVES = 16
const ONE_BYTE = new Uint8Array(1)
const USER_END = 0x7ffffffff000

function writePrefetch(info: Uint8Array, rules: readonly PrefetchRule[]): void {
  for (const rule of rules) {
    if (rule.nr >= PREFETCH_MAX) continue
    rule.args.forEach((argument, i) => {
      if (argument === undefined) return
      const row = PREFETCH_TABLE + rule.nr * 24
      const at = row + 1 + i * 3
      info[row] = 1
      if (argument.kind === 'string') info[at] = PREFETCH_STRING
      else if (argument.kind === 'buffer' || argument.kind === 'vector') {
        info[at] = argument.kind === 'buffer' ? PREFETCH_BUFFER : PREFETCH_VECTOR
        info[at + 1] = argument.lengthArg
        info[at + 2] = argument.unit
      } else if (argument.kind === 'bits') {
        info[at] = PREFETCH_BITS
        info[at + 1] = argument.lengthArg
      } else {
        info[at] = PREFETCH_STRUCT
        info[at + 1] = argument.size & 0xff
        info[at + 2] = argument.size >> 8
      }
    })
  }
}
const PREFETCH_TABLE = 64
