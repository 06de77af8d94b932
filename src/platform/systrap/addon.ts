/** native/addon/systrap.c as TypeScript sees it: see the comments there. Slots are indexes into the arena. */
export interface SystrapStart {
  info: ArrayBuffer
  /** [count, token, events, …] of the last `next` that returned NEXT_READY. */
  ready: Float64Array
  infoFd: number
  eventFd: number
  hwcap: number
  hwcap2: number
  minSignalStack: number
  rseqFeatureSize: number
  rseqAlign: number
}

export interface SystrapAddon {
  /** `arena`: a place for every slot. */
  systrapStart(arena: Uint8Array): SystrapStart | number
  resume(slot: number, what: number): void
  watchSlot(slot: number): void
  forgetSlot(slot: number): void
  /** Whether a running thread has stopped. */
  pending(): boolean
  /** `watched`: a pidfd with POLLIN, or the socket to the process with 0. */
  awaitRequest(slot: number, watched: number, events: number): number
  exchange(slot: number, count: number, watched: number, events: number): number
  next(spinNs: number, timeoutNs: number): number
  /** NEXT_READY or NEXT_TIMEOUT. */
  look(): number
  mapSlot(slot: number, memfd: number, local: number, first: number): number
  unmapSlot(slot: number): number
  /** Messages that `out[0]` receives carry their sender's pid. */
  socketpair(out: Int32Array): number
  sendFds(socket: number, bytes: Uint8Array, fd0: number, fd1: number): number
  receiveSender(socket: number): number
  receiveBytes(socket: number, into: Uint8Array): number
  pidfdOpen(pid: number): number
  pidfdKill(pidfd: number): number
  kick(slot: number, pid: number, tid: number): number
  /** Where a host thread may run: a CPU mask. -ESRCH if it is none of that process. */
  setCpus(pid: number, tid: number, mask: Uint8Array): number
  /** Whether a thread that was kicked stops within `ns`. */
  awaitStop(slot: number, ns: number): boolean
  slotTid(slot: number): number
  vmRead(pid: number, address: number, into: Uint8Array): number
  vmWrite(pid: number, address: number, from: Uint8Array): number
  mapShared(fd: number, length: number): ArrayBuffer | number
  unmapShared(buffer: ArrayBuffer): number
  awaitQuiet(): void
  followLoop(): number
  allowedCpus(into: Uint8Array): number
  processClock(pid: number): number
}

export const NEXT_TIMEOUT = -1
export const NEXT_READY = -2
/** The token of node's own event loop in `ready`. */
export const TOKEN_LOOP = 2 * 2 ** 40
/** Some work was done, and now there is none for a while. */
export const TOKEN_QUIET = 3 * 2 ** 40
