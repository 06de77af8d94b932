/**
 * Capture: what goes over a stack's devices, as a pcapng file (draft-ietf-opsawg-pcapng), which tcpdump and Wireshark read.
 *
 * Made with the sandbox over a descriptor that was opened for it; put among a stack's taps; written out when its buffer is
 * full or a moment has passed, and by `close`. Where the descriptor doesn't take it (a full pipe) packets are left out and
 * counted: the network doesn't wait for who watches it.
 */
import { EAGAIN } from '../../abi/errno.ts'
import type { Clock } from '../../base/clock.ts'
import { type Expiry, Timer, type Timers } from '../../kernel/timers.ts'
import type { PacketTap } from '../ip/transport.ts'
import { PACKET_OUTGOING, type Packet } from '../packet.ts'
import type { NetDevice } from './device.ts'

const BUFFER_SIZE = 1 << 20
/** ns between a packet and its place in the file. */
const DELAY = 200e6

const SECTION_HEADER = 0x0a0d0d0a
const INTERFACE_DESCRIPTION = 1
const ENHANCED_PACKET = 6
const BYTE_ORDER = 0x1a2b3c4d
const LINKTYPE_ETHERNET = 1
const LINKTYPE_RAW = 101
const OPTION_IF_NAME = 2
const OPTION_EPB_FLAGS = 2
const INBOUND = 1
const OUTBOUND = 2
/** Of an Enhanced Packet Block: everything but the packet. */
const PACKET_OVERHEAD = 44

export class Capture implements PacketTap, Expiry {
  readonly #clock: Clock
  readonly #timers: Timers
  readonly #write: (bytes: Uint8Array) => number
  readonly #buffer = new Uint8Array(BUFFER_SIZE)
  readonly #view = new DataView(this.#buffer.buffer)
  /** Weak: a guest makes and removes as many as it likes. */
  readonly #interfaces = new WeakMap<NetDevice, number>()
  #described = 0
  readonly #timer = new Timer(this)
  /** What of the buffer is to be written: from..to. */
  #from = 0
  #to = 0
  #failed = false
  /** Packets that are not in the file. */
  lost = 0

  /** `write`: as write(2), to a descriptor that doesn't block. */
  constructor(clock: Clock, timers: Timers, write: (bytes: Uint8Array) => number) {
    this.#clock = clock
    this.#timers = timers
    this.#write = write
    const at = this.#begin(SECTION_HEADER, 28)
    this.#view.setUint32(at, BYTE_ORDER, true)
    this.#view.setUint16(at + 4, 1, true)
    // The section's length isn't known.
    this.#view.setInt32(at + 8, -1, true)
    this.#view.setInt32(at + 12, -1, true)
  }

  seen(device: NetDevice, packet: Packet): void {
    const outgoing = packet.type === PACKET_OUTGOING
    // What goes out there comes in again.
    if (this.#failed || (outgoing && device.isLoopback)) return
    const from = device.headerLength > 0 ? packet.link : packet.start
    const length = packet.end - from
    const padded = (length + 3) & ~3
    if (!this.#hasRoom(padded + PACKET_OVERHEAD + 64)) {
      this.lost++
      return
    }
    const number = this.#interfaces.get(device) ?? this.#describe(device)
    const { sec, nsec } = this.#clock.realtime()
    const microseconds = sec * 1e6 + Math.floor(nsec / 1000)
    const view = this.#view
    const at = this.#begin(ENHANCED_PACKET, padded + PACKET_OVERHEAD)
    view.setUint32(at, number, true)
    view.setUint32(at + 4, Math.floor(microseconds / 2 ** 32), true)
    view.setUint32(at + 8, microseconds % 2 ** 32, true)
    view.setUint32(at + 12, length, true)
    view.setUint32(at + 16, length, true)
    this.#buffer.set(packet.bytes.subarray(from, packet.end), at + 20)
    const options = at + 20 + padded
    view.setUint16(options, OPTION_EPB_FLAGS, true)
    view.setUint16(options + 2, 4, true)
    view.setUint32(options + 4, outgoing ? OUTBOUND : INBOUND, true)
    if (!this.#timer.armed) this.#timers.add(this.#timer, this.#clock.monotonic() + DELAY)
  }

  expired(): void {
    this.#flush()
    if (this.#from < this.#to) this.#timers.add(this.#timer, this.#clock.monotonic() + DELAY)
  }

  /** Writes what is left. */
  close(): void {
    this.#timers.cancel(this.#timer)
    this.#flush()
  }

  #describe(device: NetDevice): number {
    const number = this.#described++
    this.#interfaces.set(device, number)
    const { name } = device
    const padded = (name.length + 3) & ~3
    const at = this.#begin(INTERFACE_DESCRIPTION, 28 + padded)
    const view = this.#view
    view.setUint16(at, device.headerLength > 0 ? LINKTYPE_ETHERNET : LINKTYPE_RAW, true)
    view.setUint16(at + 8, OPTION_IF_NAME, true)
    view.setUint16(at + 10, name.length, true)
    for (let i = 0; i < name.length; i++) this.#buffer[at + 12 + i] = name.charCodeAt(i)
    return number
  }

  /** A block of zeros with its type and lengths: where its body begins. There is room for it. */
  #begin(type: number, length: number): number {
    const at = this.#to
    this.#to += length
    this.#buffer.fill(0, at, this.#to)
    this.#view.setUint32(at, type, true)
    this.#view.setUint32(at + 4, length, true)
    this.#view.setUint32(at + length - 4, length, true)
    return at + 8
  }

  #hasRoom(bytes: number): boolean {
    if (this.#to + bytes <= BUFFER_SIZE) return true
    this.#flush()
    return this.#to + bytes <= BUFFER_SIZE
  }

  #flush(): void {
    while (this.#from < this.#to) {
      const written = this.#write(this.#buffer.subarray(this.#from, this.#to))
      if (written === -EAGAIN) break
      if (written < 0) {
        // Nobody reads it, or the disk is full: a file that ends in the middle is of no more use with a hole.
        this.#failed = true
        this.#from = this.#to
        break
      }
      this.#from += written
    }
    this.#buffer.copyWithin(0, this.#from, this.#to)
    this.#to -= this.#from
    this.#from = 0
  }
}
