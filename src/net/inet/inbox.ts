/** Inbox: packets that wait for recvmsg(2), up to SO_RCVBUF: of raw, ping and packet sockets. */
import { MSG_TRUNC } from '../../abi/constants.ts'
import { EFAULT } from '../../abi/errno.ts'
import { type Packet, PacketQueue } from '../packet.ts'
import type { ReceiveRequest } from '../socket.ts'

/** What a queued packet costs besides its buffer. */
const OVERHEAD = 256

export class Inbox {
  readonly #queue = new PacketQueue()
  /** Packets that found no room. */
  drops = 0

  get length(): number {
    return this.#queue.length
  }
  /** Bytes that the packets cost. */
  get memory(): number {
    return this.#queue.memory + this.#queue.length * OVERHEAD
  }
  get first(): Packet | undefined {
    return this.#queue.first
  }

  /** Whether another packet of this size stays within `limit`. */
  hasRoom(packet: Packet, limit: number): boolean {
    return this.memory + packet.bytes.length + OVERHEAD <= limit
  }
  /** Where it doesn't, the packet is counted as lost. */
  refuses(packet: Packet, limit: number): boolean {
    if (this.hasRoom(packet, limit)) return false
    this.drops++
    return true
  }
  /** Owns the packet from now on. */
  push(packet: Packet): void {
    this.#queue.push(packet)
  }

  /** The first packet's bytes to the reader: how many, with MSG_TRUNC how many there are, or -EFAULT. */
  copy({ length, bytes, start }: Packet, request: ReceiveRequest): number {
    const size = Math.min(length, request.dst.remaining)
    if (size < length) request.outFlags |= MSG_TRUNC
    const done = size === 0 ? 0 : request.dst.put(bytes.subarray(start, start + size))
    if (done < size) return done < 0 ? done : -EFAULT
    return (request.flags & MSG_TRUNC) !== 0 ? length : size
  }
  /** The first packet has been read. */
  shift(): void {
    this.#queue.shift()?.release()
  }

  clear(): void {
    this.#queue.clear()
  }
}
