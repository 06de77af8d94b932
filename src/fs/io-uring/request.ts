/**
 * UringRequest: one submission entry of an io_uring (io_kiocb).
 *
 * Made from a copy of the entry when it is submitted and prepared then; queued at once, or behind the request that it
 * is linked to; tried, and tried again, as an Operation; over with one completion, or with several when it is a
 * multishot one. A chain goes on when a request is over without failing; when one fails, those behind it are
 * cancelled, unless it is linked by IOSQE_IO_HARDLINK.
 */

import {
  IORING_CQE_F_MORE,
  IORING_OP_LINK_TIMEOUT,
  IOSQE_CQE_SKIP_SUCCESS,
  IOSQE_FIXED_FILE,
  IOSQE_IO_DRAIN,
  IOSQE_IO_HARDLINK,
  IOSQE_IO_LINK,
  O_PATH,
} from '../../abi/constants.ts'
import { EBADF, ECANCELED } from '../../abi/errno.ts'
import { IO_URING_SQE } from '../../abi/layout.ts'
import { take64, takeSigned64 } from '../../base/words.ts'
import { Operation } from '../../kernel/operation.ts'
import type { Task } from '../../kernel/task.ts'
import type { File } from '../../vfs/file.ts'
import { fileGet, filePut } from '../../vfs/file-ref.ts'
import type { GuestBuffer, IoUringFile, Resource } from './io-uring.ts'

/** What an opcode does. */
export interface UringOperation {
  /** It works on the entry's descriptor. */
  readonly file?: boolean
  /** The entry's ioprio has a meaning. */
  readonly ioprio?: boolean
  /** IOSQE_BUFFER_SELECT has a meaning. */
  readonly bufferSelect?: boolean
  /** IORING_SETUP_IOPOLL lets it pass. */
  readonly polled?: boolean
  /** It has its own idea of time: its completion is not counted by timeouts, unless it was taken back. */
  readonly timeout?: boolean
  /** How many were cancelled is told even where one was meant: Linux counts these. */
  readonly counted?: boolean
  /** Checks the entry and reads what must not change later: 0 or a negative errno. */
  prepare(task: Task, request: UringRequest): number
  /** One try: the result, or BLOCK. With `request.file`, if it has one. */
  issue(task: Task, request: UringRequest): number
}

export class UringRequest extends Operation {
  readonly ring: IoUringFile
  readonly operation: UringOperation

  /** The entry, a copy, and its usual fields. */
  readonly entry: DataView
  readonly opcode: number
  readonly flags: number
  readonly ioprio: number
  readonly fd: number
  /** Signed; or an address, below 2^53. */
  readonly off: number
  readonly addr: number
  readonly len: number
  readonly opFlags: number
  readonly bufIndex: number
  readonly fileIndex: number
  readonly addr3: number
  userLo: number
  userHi: number

  /** The second file that it works on: a reference is held. */
  input: File | undefined = undefined
  /** The registered buffer that it uses, from its first try on. */
  buffer: Resource<GuestBuffer> | undefined = undefined
  /** The fixed file that `file` is. */
  #fixed: Resource<File> | undefined = undefined
  /** The operation's own, from `prepare` on. */
  state: unknown = undefined
  /** IORING_CQE_F_* of its completion. */
  cqeFlags = 0
  /** What its result is for those behind it, where the sign does not tell: a short transfer fails a chain. */
  fails: boolean | undefined = undefined
  /** The next of its chain. */
  link: UringRequest | undefined = undefined
  /** IORING_OP_LINK_TIMEOUT: what it cancels. */
  limits: UringRequest | undefined = undefined
  /** The number of completions that a timeout waits for, as its ring counts. */
  countsTo: number | undefined = undefined
  /** The errno of a preparation that failed. */
  refused = 0
  /** No completion is posted for it when its chain is cancelled. */
  #silent = false
  /** The linked timeout that runs. */
  #limit: UringRequest | undefined = undefined

  constructor(task: Task, ring: IoUringFile, entry: DataView, operation: UringOperation) {
    super(task)
    this.ring = ring
    this.operation = operation
    this.entry = entry
    this.opcode = entry.getUint8(IO_URING_SQE.opcode)
    this.flags = entry.getUint8(IO_URING_SQE.flags)
    this.ioprio = entry.getUint16(IO_URING_SQE.ioprio, true)
    this.fd = entry.getInt32(IO_URING_SQE.fd, true)
    this.off = takeSigned64(entry, IO_URING_SQE.off)
    this.addr = take64(entry, IO_URING_SQE.addr)
    this.len = entry.getUint32(IO_URING_SQE.len, true)
    this.opFlags = entry.getUint32(IO_URING_SQE.rw_flags, true)
    this.userLo = entry.getUint32(IO_URING_SQE.user_data, true)
    this.userHi = entry.getUint32(IO_URING_SQE.user_data + 4, true)
    this.bufIndex = entry.getUint16(IO_URING_SQE.buf_index, true)
    this.fileIndex = entry.getUint32(IO_URING_SQE.file_index, true)
    this.addr3 = take64(entry, IO_URING_SQE.addr3)
    task.kernel.uring.requests++
  }

  get linked(): boolean {
    return (this.flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)) !== 0
  }
  get drains(): boolean {
    return (this.flags & IOSQE_IO_DRAIN) !== 0
  }

  /** The first of a chain, or one that stands alone: its first try, now. */
  start(): void {
    this.#begin()
    this.attempt()
    this.#armTimeout()
  }

  /** Waits for its turn: IOSQE_IO_DRAIN. */
  defer(): void {
    this.ring.deferred.add(this)
    this.track()
  }

  /** Ends a request that was never started, and its chain. */
  endUnstarted(): void {
    this.#begin()
    this.abandoned = true
    this.end(-ECANCELED)
  }

  override abandon(): void {
    if (this.ring.deferred.delete(this)) this.endUnstarted()
    else super.abandon()
  }

  /** A chain, one of whose requests was refused: the others are cancelled. */
  refuse(): void {
    for (let at: UringRequest | undefined = this; at !== undefined; at = at.link) {
      at.#post(at.refused !== 0 ? at.refused : -ECANCELED)
    }
  }

  /** A multishot request has a result and goes on. */
  postMore(result: number, flags = 0): void {
    this.cqeFlags = 0
    const counts = this.operation.timeout !== true
    this.ring.post(this.userLo, this.userHi, result, flags | IORING_CQE_F_MORE, counts)
  }

  /** A timeout goes on without its task. */
  protected override get endsWithTask(): boolean {
    return this.operation.timeout !== true
  }

  protected override run(task: Task): number {
    if (this.operation.file && this.file === undefined) {
      const fixed = (this.flags & IOSQE_FIXED_FILE) !== 0
      const resource = fixed ? this.ring.files?.[this.fd] : undefined
      const file = fixed ? resource?.value : task.fds.get(this.fd)
      if (file === undefined || (file.flags & O_PATH) !== 0) return -EBADF
      if (resource !== undefined) resource.users++
      this.#fixed = resource
      this.file = fileGet(file)
    }
    return this.operation.issue(task, this)
  }

  /** The registered buffer that the entry names; it stays until the request is over. */
  useBuffer(): GuestBuffer | undefined {
    if (this.buffer === undefined) {
      this.buffer = this.ring.buffers?.[this.bufIndex]
      if (this.buffer !== undefined) this.buffer.users++
    }
    return this.buffer?.value
  }

  protected override finished(result: number): void {
    this.#conclude(result)
  }

  /** Tried later, when the call in hand is served: the next of a chain. */
  #startLater(): void {
    this.#begin()
    this.tryLater()
  }

  override attempt(): void {
    super.attempt()
    this.#armTimeout()
  }

  protected override enqueue(): void {
    if (this.ring.defersWork) this.ring.addWork(this)
    else super.enqueue()
  }

  #begin(): void {
    this.ring.requests.add(this)
  }

  /** IORING_OP_LINK_TIMEOUT behind it: its time begins when this one has to wait, and it is out of the chain then. */
  #armTimeout(): void {
    const timeout = this.link
    if (this.done || timeout?.opcode !== IORING_OP_LINK_TIMEOUT) return
    this.link = timeout.link
    timeout.link = undefined
    timeout.limits = this
    this.#limit = timeout
    timeout.start()
  }

  #conclude(result: number): void {
    const { ring, link } = this
    const failed = this.fails ?? result < 0
    this.#post(result, failed)
    if (this.file !== undefined) filePut(this.file)
    this.file = undefined
    if (this.input !== undefined) filePut(this.input)
    this.input = undefined
    ring.retire(this.#fixed)
    ring.retire(this.buffer)
    ring.requests.delete(this)
    ring.dropWork(this)
    ring.stopCounting(this)
    this.link = undefined
    // If it has not run out it is not needed any more.
    this.#limit?.cancelSoon()
    let next = link
    if (next?.opcode === IORING_OP_LINK_TIMEOUT) {
      next.#post(-ECANCELED)
      next = next.link
    }
    if (next !== undefined) {
      if (this.abandoned || (failed && (this.flags & IOSQE_IO_HARDLINK) === 0))
        next.#cancelChain(this.#silent)
      else next.#startLater()
    }
    // What drains runs alone, so it is over, chain and all, when nothing runs.
    if (ring.requests.size === 0) ring.draining = false
    startDeferred(ring)
  }

  #cancelChain(silent: boolean): void {
    for (let at: UringRequest | undefined = this; at !== undefined; at = at.link) {
      at.#silent = silent
      at.#post(-ECANCELED)
    }
  }

  /** It is over, one way or another. */
  #post(result: number, failed = this.fails ?? result < 0): void {
    this.task.kernel.uring.requests--
    if ((this.flags & IOSQE_CQE_SKIP_SUCCESS) !== 0) {
      if (!failed) return
      // Of the rest of the chain only this one is told.
      if (this.#silent) return
      this.#silent = true
    } else if (this.#silent) return
    const counts = this.operation.timeout !== true || result === -ECANCELED
    this.ring.post(this.userLo, this.userHi, result, this.cqeFlags, counts)
  }
}

/** Starts a chain, or puts it off: nothing overtakes a request that drains, and that one waits for all before it. */
export function startOrDefer(head: UringRequest): void {
  const { ring } = head
  if (ring.deferred.size === 0 && !ring.draining && !(chainDrains(head) && ring.requests.size > 0)) {
    if (chainDrains(head)) ring.draining = true
    head.start()
  } else head.defer()
}

function startDeferred(ring: IoUringFile): void {
  // What ends at once comes here again.
  if (ring.startsDeferred) return
  ring.startsDeferred = true
  for (const head of ring.deferred) {
    if (ring.draining || ring.closed || (chainDrains(head) && ring.requests.size > 0)) break
    ring.deferred.delete(head)
    if (chainDrains(head)) ring.draining = true
    head.start()
  }
  ring.startsDeferred = false
}

/** A request of a chain that drains holds up the chain as a whole. */
function chainDrains(head: UringRequest): boolean {
  for (let at: UringRequest | undefined = head; at !== undefined; at = at.link) if (at.drains) return true
  return false
}
