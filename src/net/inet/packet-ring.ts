/**
 * PacketRing: PACKET_RX_RING of versions 1 and 2: memory shared with the program into which frames are written as they come,
 * so that who captures packets reads them without a call for each: packet(7), Documentation/networking/packet_mmap. Made by
 * setsockopt(2), mapped by mmap(2) of the socket, and there until it is replaced, or the socket ends.
 *
 * The ring is frames of equal size in blocks. Each begins with its header, whose status says whose the frame is: the program gives
 * it back by writing TP_STATUS_KERNEL. All that the program can write is hostile: of the whole only that one word is read.
 */
import {
  TP_STATUS_KERNEL,
  TPACKET_ALIGNMENT,
  TPACKET_HDRLEN,
  TPACKET_V1,
  TPACKET_V2,
  TPACKET_V3,
} from '../../abi/constants.ts'
import { EINVAL, ENOMEM } from '../../abi/errno.ts'
import { SOCKADDR_LL, TPACKET_HDR, TPACKET_REQ, TPACKET2_HDR, TPACKET3_HDR } from '../../abi/layout.ts'
import { failed, type OrErrno } from '../../base/result.ts'
import { createSharedPages, type SharedPages } from '../../fs/memfd/shared-pages.ts'
import type { Task } from '../../kernel/task.ts'
import { PAGE_SIZE } from '../../mm/vma.ts'
import type { MapSource } from '../../vfs/file.ts'

/** More is refused as for want of memory: whoever asks tries again with less. */
const MAX_RING_SIZE = 64 << 20
/** Where the link address stands in a frame. */
const ADDRESS_AT = TPACKET_HDRLEN - SOCKADDR_LL.size
/** What is kept free for a link header, even where there is none. */
export const LEAST_LINK_HEADER = 16

/** One frame as it is to be written. */
export interface RingFrame {
  readonly bytes: Uint8Array
  /** Of the frame in `bytes`, as far as it is wanted. */
  readonly start: number
  readonly end: number
  /** As it was on the link. */
  readonly length: number
  /** Of the link header that is shown. */
  readonly linkHeader: number
  /** TP_STATUS_* */
  readonly status: number
  /** Wall-clock time in ns. */
  readonly time: number
  /** struct sockaddr_ll */
  readonly address: Uint8Array
}

/**
 * The size of the ring that a `struct tpacket_req` asks for, once packet_set_ring's checks have passed; 0: none. Blocks have
 * to have room for one frame of `leastFrame` bytes behind the first `blockHeader` of them.
 */
export function ringSize(request: DataView, leastFrame: number, blockHeader: number): OrErrno<number> {
  const blocks = request.getUint32(TPACKET_REQ.tp_block_nr, true)
  const blockSize = request.getUint32(TPACKET_REQ.tp_block_size, true)
  const frameSize = request.getUint32(TPACKET_REQ.tp_frame_size, true)
  const frames = request.getUint32(TPACKET_REQ.tp_frame_nr, true)
  if (blocks === 0) return frames === 0 ? 0 : -EINVAL
  if (blockSize === 0 || blockSize > 0x7fffffff || blockSize % PAGE_SIZE !== 0) return -EINVAL
  if (blockSize < blockHeader + leastFrame) return -EINVAL
  if (frameSize < leastFrame || frameSize % TPACKET_ALIGNMENT !== 0) return -EINVAL
  const perBlock = Math.floor(blockSize / frameSize)
  if (perBlock === 0 || perBlock * blocks !== frames) return -EINVAL
  return blockSize * blocks > MAX_RING_SIZE ? -ENOMEM : blockSize * blocks
}

/** The size of a frame's header in this version; -EINVAL: there is none. */
export function ringHeaderSize(version: number): number {
  if (version === TPACKET_V1) return TPACKET_HDR.size
  if (version === TPACKET_V2) return TPACKET2_HDR.size
  return version === TPACKET_V3 ? TPACKET3_HDR.size : -EINVAL
}

export class PacketRing {
  readonly size: number
  readonly #pages: SharedPages
  readonly #version: number
  readonly #reserve: number
  readonly #blockSize: number
  readonly #frameSize: number
  readonly #framesPerBlock: number
  readonly #count: number
  #head = 0
  readonly #header = new Uint8Array(TPACKET_HDRLEN)
  readonly #view = new DataView(this.#header.buffer)

  private constructor(pages: SharedPages, version: number, reserve: number, request: DataView) {
    this.#pages = pages
    this.#version = version
    this.#reserve = reserve
    this.#blockSize = request.getUint32(TPACKET_REQ.tp_block_size, true)
    this.#frameSize = request.getUint32(TPACKET_REQ.tp_frame_size, true)
    this.#framesPerBlock = Math.floor(this.#blockSize / this.#frameSize)
    this.#count = request.getUint32(TPACKET_REQ.tp_frame_nr, true)
    this.size = this.#blockSize * request.getUint32(TPACKET_REQ.tp_block_nr, true)
  }

  /** As `struct tpacket_req` asks: packet_set_ring. Undefined: no ring. `reserve`: PACKET_RESERVE. */
  static of(
    task: Task,
    request: DataView,
    version: number,
    reserve: number,
  ): OrErrno<PacketRing> | undefined {
    const size = ringSize(request, TPACKET_HDRLEN + reserve, 0)
    if (size <= 0) return size === 0 ? undefined : size
    const pages = createSharedPages(task.kernel, 'packet_ring', size, task.cred)
    return failed(pages) ? pages : new PacketRing(pages, version, reserve, request)
  }

  /** Whether there is a frame that the program has not given back. */
  get readable(): boolean {
    const last = (this.#head + this.#count - 1) % this.#count
    return this.#pages.u32(this.#offsetOf(last)) !== TP_STATUS_KERNEL
  }

  /** Whether a frame would find room: PACKET_FANOUT. */
  get hasRoom(): boolean {
    return this.#pages.u32(this.#offsetOf(this.#head)) === TP_STATUS_KERNEL
  }

  /** mmap(2): the whole ring, nothing else. */
  mapping(offset: number, length: number): MapSource | number {
    return offset !== 0 || length !== this.size ? -EINVAL : { hostFd: this.#pages.hostFd, offset: 0 }
  }

  /** False: the program has not given back the next frame. */
  put(frame: RingFrame): boolean {
    const at = this.#offsetOf(this.#head)
    if (this.#pages.u32(at) !== TP_STATUS_KERNEL) return false
    this.#head = (this.#head + 1) % this.#count
    const network = alignFrame(TPACKET_HDRLEN + Math.max(frame.linkHeader, LEAST_LINK_HEADER)) + this.#reserve
    const data = network - frame.linkHeader
    const kept = Math.max(Math.min(frame.end - frame.start, this.#frameSize - data), 0)
    if (kept > 0) this.#pages.write(frame.bytes.subarray(frame.start, frame.start + kept), at + data)
    this.#writeHeader(frame, kept, data, network)
    this.#pages.write(this.#header.subarray(4), at + 4)
    this.#pages.putU32(at, frame.status)
    return true
  }

  /** All but the status, with which the frame becomes the program's. */
  #writeHeader({ length, time, address }: RingFrame, kept: number, data: number, network: number): void {
    const view = this.#view
    const isFirst = this.#version === TPACKET_V1
    const layout = isFirst ? TPACKET_HDR : TPACKET2_HDR
    const seconds = Math.floor(time / 1e9)
    const rest = time - seconds * 1e9
    view.setUint32(layout.tp_len, length, true)
    view.setUint32(layout.tp_snaplen, kept, true)
    view.setUint16(layout.tp_mac, data, true)
    view.setUint16(layout.tp_net, network, true)
    view.setUint32(layout.tp_sec, seconds, true)
    if (isFirst) view.setUint32(TPACKET_HDR.tp_usec, rest / 1000, true)
    else view.setUint32(TPACKET2_HDR.tp_nsec, rest, true)
    this.#header.set(address, ADDRESS_AT)
  }

  #offsetOf(frame: number): number {
    const block = Math.floor(frame / this.#framesPerBlock)
    return block * this.#blockSize + (frame % this.#framesPerBlock) * this.#frameSize
  }

  release(): void {
    this.#pages.release()
  }
}

export function alignFrame(size: number): number {
  return (size + TPACKET_ALIGNMENT - 1) & ~(TPACKET_ALIGNMENT - 1)
}
