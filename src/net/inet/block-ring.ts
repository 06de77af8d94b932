/**
 * BlockRing: PACKET_RX_RING of version 3 (TPACKET_V3): frames of any size one behind the other in blocks, of which the program
 * gets one at a time: when the next frame has no room in it, or some time after its first frame came. Made, mapped and ended
 * as a PacketRing.
 *
 * Each block begins with a struct tpacket_block_desc, whose status says whose it is. When the next block is still the
 * program's the queue is frozen: frames are lost until the program gives that block back. Of all that the program can write
 * only the status words are read.
 */
import {
  TP_STATUS_BLK_TMO,
  TP_STATUS_KERNEL,
  TP_STATUS_LOSING,
  TP_STATUS_USER,
  TPACKET_V3,
} from '../../abi/constants.ts'
import { EINVAL } from '../../abi/errno.ts'
import {
  SOCKADDR_LL,
  TPACKET_BLOCK_DESC,
  TPACKET_HDR_V1,
  TPACKET_REQ3,
  TPACKET3_HDR,
} from '../../abi/layout.ts'
import { NSEC_PER_SEC } from '../../base/clock.ts'
import { failed, type OrErrno } from '../../base/result.ts'
import { createSharedPages, type SharedPages } from '../../fs/memfd/shared-pages.ts'
import type { Task } from '../../kernel/task.ts'
import { type Expiry, Timer, type Timers } from '../../kernel/timers.ts'
import type { MapSource } from '../../vfs/file.ts'
import { alignFrame, LEAST_LINK_HEADER, type RingFrame, ringSize } from './packet-ring.ts'

/** DEFAULT_PRB_RETIRE_TOV: where the program leaves it to the kernel (ms). */
const DEFAULT_TIMEOUT = 8
/** V3_ALIGNMENT */
const ALIGNMENT = 8
/** Where the link address stands behind a frame's header, and where a frame's bytes may begin: TPACKET3_HDRLEN. */
const ADDRESS_AT = alignFrame(TPACKET3_HDR.size)
const HEADER_LENGTH = ADDRESS_AT + SOCKADDR_LL.size
const STATUS_AT = TPACKET_BLOCK_DESC.hdr + TPACKET_HDR_V1.block_status

/** What a ring needs of the socket that has it. */
export interface RingOwner {
  readonly timers: Timers
  /** Monotonic ns. */
  now(): number
  /** A block is the program's. */
  retired(): void
}

export class BlockRing implements Expiry {
  readonly size: number
  readonly #pages: SharedPages
  readonly #owner: RingOwner
  readonly #reserve: number
  readonly #blockSize: number
  readonly #blocks: number
  /** Where frames begin in a block: behind its header and the program's own part. */
  readonly #first: number
  /** ns */
  readonly #timeout: number
  readonly #timer = new Timer(this)
  /** The open block; `#used` bytes of it; how many frames; where the last of them stands. */
  #block = 0
  #used = 0
  #frames = 0
  #last = 0
  #sequence = 1
  #lastTime = 0
  #frozen = false
  /** PACKET_STATISTICS: how often the queue was frozen. */
  freezes = 0

  private constructor(pages: SharedPages, owner: RingOwner, reserve: number, request: DataView) {
    this.#pages = pages
    this.#owner = owner
    this.#reserve = reserve
    this.#blockSize = request.getUint32(TPACKET_REQ3.tp_block_size, true)
    this.#blocks = request.getUint32(TPACKET_REQ3.tp_block_nr, true)
    this.#first = firstFrame(request.getUint32(TPACKET_REQ3.tp_sizeof_priv, true))
    this.#timeout = (request.getUint32(TPACKET_REQ3.tp_retire_blk_tov, true) || DEFAULT_TIMEOUT) * 1e6
    this.size = this.#blockSize * this.#blocks
    this.#open()
  }

  /** As `struct tpacket_req3` asks: packet_set_ring. Undefined: no ring. `reserve`: PACKET_RESERVE. */
  static of(
    task: Task,
    owner: RingOwner,
    request: DataView,
    reserve: number,
  ): OrErrno<BlockRing> | undefined {
    const first = firstFrame(request.getUint32(TPACKET_REQ3.tp_sizeof_priv, true))
    const size = ringSize(request, HEADER_LENGTH + reserve, first)
    if (size <= 0) return size === 0 ? undefined : size
    const pages = createSharedPages(task.kernel, 'packet_ring', size, task.cred)
    return failed(pages) ? pages : new BlockRing(pages, owner, reserve, request)
  }

  /** Whether the program has a block that it has not given back. */
  get readable(): boolean {
    return !this.#isFree((this.#block + this.#blocks - 1) % this.#blocks)
  }
  /** Whether a frame would find room: PACKET_FANOUT. */
  get hasRoom(): boolean {
    return !this.#frozen || this.#isFree(this.#block)
  }

  /** mmap(2): the whole ring, nothing else. */
  mapping(offset: number, length: number): MapSource | number {
    return offset !== 0 || length !== this.size ? -EINVAL : { hostFd: this.#pages.hostFd, offset: 0 }
  }

  /** False: there is no block to put it in. */
  put(frame: RingFrame): boolean {
    if (this.#frozen && !this.#thaw()) return false
    const network = alignFrame(HEADER_LENGTH + Math.max(frame.linkHeader, LEAST_LINK_HEADER)) + this.#reserve
    const room = this.#blockSize - this.#first
    const data = Math.min(network - frame.linkHeader, room)
    const kept = Math.min(frame.end - frame.start, room - data)
    const whole = align(data + kept)
    // What would just fill it is put into the next one too.
    if (this.#used + whole >= this.#blockSize) {
      this.#retire(0)
      if (!this.#thaw()) return false
    }
    const at = this.#block * this.#blockSize + this.#used
    if (kept > 0) this.#pages.write(frame.bytes.subarray(frame.start, frame.start + kept), at + data)
    this.#writeHeader(frame, at, kept, data, network)
    if (this.#frames > 0) this.#pages.putU32(this.#last + TPACKET3_HDR.tp_next_offset, at - this.#last)
    else this.#owner.timers.add(this.#timer, this.#owner.now() + this.#timeout)
    this.#lastTime = frame.time
    this.#last = at
    this.#used += whole
    this.#frames++
    return true
  }

  #writeHeader(frame: RingFrame, at: number, kept: number, data: number, network: number): void {
    const header = new Uint8Array(HEADER_LENGTH)
    const view = new DataView(header.buffer)
    const [seconds, rest] = split(frame.time)
    view.setUint32(TPACKET3_HDR.tp_sec, seconds, true)
    view.setUint32(TPACKET3_HDR.tp_nsec, rest, true)
    view.setUint32(TPACKET3_HDR.tp_snaplen, kept, true)
    view.setUint32(TPACKET3_HDR.tp_len, frame.length, true)
    view.setUint32(TPACKET3_HDR.tp_status, frame.status, true)
    view.setUint16(TPACKET3_HDR.tp_mac, data, true)
    view.setUint16(TPACKET3_HDR.tp_net, network, true)
    header.set(frame.address, ADDRESS_AT)
    this.#pages.write(header, at)
    if (this.#frames === 0) this.#writeTime(TPACKET_HDR_V1.ts_first_pkt, frame.time)
  }

  /** The block's first frame has waited long enough. */
  expired(): void {
    if (this.#frozen || this.#frames === 0) return
    this.#retire(TP_STATUS_BLK_TMO)
    this.#thaw()
  }

  /** The open block becomes the program's: prb_close_block. */
  #retire(why: number): void {
    const at = this.#block * this.#blockSize
    this.#owner.timers.cancel(this.#timer)
    this.#writeTime(TPACKET_HDR_V1.ts_last_pkt, this.#lastTime)
    this.#word(TPACKET_HDR_V1.num_pkts, this.#frames)
    this.#word(TPACKET_HDR_V1.blk_len, this.#used)
    const losing = this.freezes > 0 ? TP_STATUS_LOSING : 0
    this.#pages.putU32(at + STATUS_AT, TP_STATUS_USER | why | losing)
    this.#block = (this.#block + 1) % this.#blocks
    this.#frozen = true
    if (!this.#isFree(this.#block)) this.freezes++
    this.#owner.retired()
  }

  /** Goes on with the next block, if the program has given it back. */
  #thaw(): boolean {
    if (!this.#isFree(this.#block)) return false
    this.#open()
    return true
  }
  #isFree(block: number): boolean {
    return this.#pages.u32(block * this.#blockSize + STATUS_AT) === TP_STATUS_KERNEL
  }

  /** prb_open_block */
  #open(): void {
    const at = this.#block * this.#blockSize
    this.#frozen = false
    this.#frames = 0
    this.#used = this.#first
    this.#pages.putU32(at + TPACKET_BLOCK_DESC.version, TPACKET_V3)
    this.#pages.putU32(at + TPACKET_BLOCK_DESC.offset_to_priv, TPACKET_BLOCK_DESC.size)
    this.#word(TPACKET_HDR_V1.num_pkts, 0)
    this.#word(TPACKET_HDR_V1.offset_to_first_pkt, this.#first)
    this.#word(TPACKET_HDR_V1.blk_len, this.#first)
    this.#word(TPACKET_HDR_V1.seq_num, this.#sequence >>> 0)
    this.#word(TPACKET_HDR_V1.seq_num + 4, Math.floor(this.#sequence / 2 ** 32))
    this.#sequence++
  }

  #word(field: number, value: number): void {
    this.#pages.putU32(this.#block * this.#blockSize + TPACKET_BLOCK_DESC.hdr + field, value)
  }
  #writeTime(field: number, time: number): void {
    const [seconds, rest] = split(time)
    this.#word(field, seconds)
    this.#word(field + 4, rest)
  }

  release(): void {
    this.#owner.timers.cancel(this.#timer)
    this.#pages.release()
  }
}

/** BLK_PLUS_PRIV */
function firstFrame(own: number): number {
  return TPACKET_BLOCK_DESC.size + Math.ceil(own / ALIGNMENT) * ALIGNMENT
}
function align(size: number): number {
  return Math.ceil(size / ALIGNMENT) * ALIGNMENT
}
/** Seconds and nanoseconds. */
function split(time: number): [number, number] {
  const seconds = Math.floor(time / NSEC_PER_SEC)
  return [seconds, time - seconds * NSEC_PER_SEC]
}
