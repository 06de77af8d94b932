/**
 * Packet: one packet's bytes and what is known of it on its way through the stack.
 *
 *     bytes: |  headroom  | link header | network header | transport header | payload |  room  |
 *                         ^start (moves by push and pull)                              ^end
 *
 * A transport takes one from the pool, appends header and payload, and gives it to IpStack.ip.send; each layer below
 * pushes its header in front. A device takes one, fills it and gives it to IpStack.receive; each layer above pulls its
 * header off. Whoever is given a packet owns it: it gives the packet on, queues it, or releases it, once. Who wants to
 * keep what it doesn't own takes a `clone`. A packet that is never released is only lost to the pool.
 */
import type { IpAddress } from './address.ts'
import { V4_ANY } from './address.ts'
import { checksumOf, sumView } from './checksum.ts'
import type { NetDevice } from './link/device.ts'
import type { Redirected } from './qdisc/redirected.ts'

/** Nobody has looked at the transport checksum (received), or it is complete (sent). */
export const CHECKSUM_NONE = 0
/** Received: it is right, or the packet never left this machine. */
export const CHECKSUM_VERIFIED = 1
/**
 * The checksum field holds only the pseudo header's sum: who needs the whole one sums from `checksumStart` and stores at
 * `checksumStart + checksumOffset` (virtio-net's VIRTIO_NET_HDR_F_NEEDS_CSUM). On reception as good as verified.
 */
export const CHECKSUM_PARTIAL = 2

/** Kinds of packets that are to be split, as virtio-net numbers them. */
export const GSO_NONE = 0
export const GSO_TCPV4 = 1
export const GSO_TCPV6 = 4
export const GSO_UDP = 5
/** Flag beside a TCP kind: the packet has CWR, which only the first segment gets. */
export const GSO_ECN = 0x80

/** For whom a frame was: the values of packet(7)'s sll_pkttype. */
export const PACKET_HOST = 0
export const PACKET_BROADCAST = 1
export const PACKET_MULTICAST = 2
export const PACKET_OTHERHOST = 3
export const PACKET_OUTGOING = 4
/** A copy of a packet that we sent to a group of which we are a member. */
export const PACKET_LOOPBACK = 5

/** Room for the headers that are pushed: Ethernet with a tag, IPv6 with options or IPv4 with options, TCP with options. */
export const HEADROOM = 192

/** Whose a socket is: of file system ids. */
export interface SocketOwner {
  readonly uid: number
  readonly gid: number
}

export class Packet {
  readonly bytes: Uint8Array
  readonly view: DataView
  readonly pool: PacketPool | undefined
  start = HEADROOM
  end = HEADROOM

  /** Offsets of headers in `bytes`, -1 where unknown. */
  link = -1
  network = -1
  transport = -1
  /** ETH_P_*: what the network header is. */
  networkProtocol = 0
  /** IPPROTO_*: what the transport header is. */
  transportProtocol = 0
  /** PACKET_*. */
  type = PACKET_HOST
  /** Where it came in, or is to go out. */
  device: NetDevice | undefined = undefined

  /** Set by the network layer on reception, for transports and sockets. */
  source: IpAddress = V4_ANY
  destination: IpAddress = V4_ANY
  ttl = 0
  tos = 0
  flowLabel = 0
  /** The destination is a broadcast or multicast address. */
  toMany = false
  /** The address it was really routed to, as IP_PKTINFO's ipi_spec_dst tells; undefined: the destination. */
  localAddress: IpAddress | undefined = undefined

  checksum = CHECKSUM_NONE
  checksumStart = 0
  checksumOffset = 0
  gsoType = GSO_NONE
  /** Payload of each segment. */
  gsoSize = 0
  /** Wall-clock time of arrival in ns since the epoch (for SO_TIMESTAMP), 0 where nobody has asked for it. */
  timestamp = 0
  /** SO_MARK, fwmark. */
  mark = 0
  priority = 0
  /** What conntrack knows of it (filter/connection.ts), and as what it belongs to that connection: IP_CT_*. */
  connection: unknown = undefined
  connectionInfo = 0
  /** What those who listen know it by, where a rule has said that its way is to be told of; 0: it is not. */
  traceId = 0
  /** Where it goes next on a link without addresses: a tunnel's end, if it has none of its own. */
  nextHop: IpAddress | undefined = undefined
  /** The endpoint that is to have it, whatever its addresses say: of TPROXY. */
  assigned: unknown = undefined
  /** Of a packet that a socket here has sent: whose the socket is. */
  owner: SocketOwner | undefined = undefined
  /** Filters of tc(8) have sent it on from there. */
  redirected: Redirected | undefined = undefined

  /** Link of the PacketQueue that holds it. */
  next: Packet | undefined = undefined
  released = false

  constructor(bytes: Uint8Array, pool?: PacketPool) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    this.pool = pool
  }

  get length(): number {
    return this.end - this.start
  }
  /** Bytes that can still be appended. */
  get tailroom(): number {
    return this.bytes.length - this.end
  }

  /** Makes room for `n` bytes in front: their offset. */
  push(n: number): number {
    if (n > this.start) throw new Error('packet: no headroom left')
    this.start -= n
    return this.start
  }
  /** Takes the first `n` bytes off: the new start. The caller has checked that they are there. */
  pull(n: number): number {
    this.start += n
    return this.start
  }
  /** Makes room for `n` bytes at the end: their offset. */
  append(n: number): number {
    if (n > this.tailroom) throw new Error('packet: no tailroom left')
    const at = this.end
    this.end += n
    return at
  }
  /** Cuts what stands beyond `length` bytes. */
  trim(length: number): void {
    if (this.start + length < this.end) this.end = this.start + length
  }
  /** What start..end holds, in place. */
  data(): Uint8Array {
    return this.bytes.subarray(this.start, this.end)
  }

  /** Puts the whole checksum where only the pseudo header's sum was. */
  completeChecksum(): void {
    if (this.checksum !== CHECKSUM_PARTIAL) return
    this.checksum = CHECKSUM_NONE
    const { checksumStart, view } = this
    // A link may have said it of padding, which IP has cut off since.
    if (checksumStart + this.checksumOffset + 2 > this.end) return
    const sum = checksumOf(sumView(view, checksumStart, this.end - checksumStart))
    // A UDP checksum of zero means that there is none; in the other protocols 0xffff is as good as zero.
    view.setUint16(checksumStart + this.checksumOffset, sum || 0xffff)
  }

  /** A copy with its own bytes: of what start..end holds and of the headers already pulled. */
  clone(): Packet {
    const from = this.headersStart()
    const copy = this.#sibling(this.end - from, Math.max(HEADROOM, from))
    const shift = copy.start - from
    copy.bytes.set(this.bytes.subarray(from, this.end), copy.start)
    copy.start = this.start + shift
    copy.end = this.end + shift
    copy.describe(this, shift)
    return copy
  }

  /** Itself if it has room for `n` bytes in front, HEADROOM at most, or a copy in its place that has. */
  withHeadroom(n: number): Packet {
    if (this.start >= n) return this
    const copy = this.clone()
    this.release()
    return copy
  }

  /** Takes over everything that isn't bytes; offsets are moved by `shift`. */
  describe(from: Packet, shift: number): void {
    this.link = from.link < 0 ? -1 : from.link + shift
    this.network = from.network < 0 ? -1 : from.network + shift
    this.transport = from.transport < 0 ? -1 : from.transport + shift
    this.networkProtocol = from.networkProtocol
    this.transportProtocol = from.transportProtocol
    this.type = from.type
    this.device = from.device
    this.source = from.source
    this.destination = from.destination
    this.ttl = from.ttl
    this.tos = from.tos
    this.flowLabel = from.flowLabel
    this.toMany = from.toMany
    this.localAddress = from.localAddress
    this.checksum = from.checksum
    this.checksumStart = from.checksumStart + shift
    this.checksumOffset = from.checksumOffset
    this.gsoType = from.gsoType
    this.gsoSize = from.gsoSize
    this.timestamp = from.timestamp
    this.mark = from.mark
    this.priority = from.priority
    this.connection = from.connection
    this.connectionInfo = from.connectionInfo
    this.traceId = from.traceId
    this.nextHop = from.nextHop
    this.assigned = from.assigned
    this.owner = from.owner
    this.redirected = from.redirected
  }

  /** Where the oldest header that is still there begins. */
  headersStart(): number {
    let from = this.start
    if (this.transport >= 0 && this.transport < from) from = this.transport
    if (this.network >= 0 && this.network < from) from = this.network
    if (this.link >= 0 && this.link < from) from = this.link
    return from
  }

  /** Forgets what the way out knew of it: when it comes back over loopback. It still belongs to its connection. */
  scrub(): void {
    this.network = -1
    this.transport = -1
    this.transportProtocol = 0
    this.toMany = false
    this.localAddress = undefined
    this.timestamp = 0
    this.nextHop = undefined
    this.assigned = undefined
    this.owner = undefined
    this.redirected = undefined
  }
  /** Forgets what another namespace knew of it: when it crosses a veth pair. */
  scrubAll(): void {
    this.scrub()
    this.mark = 0
    this.priority = 0
    this.connection = undefined
    this.connectionInfo = this.traceId = 0
  }

  release(): void {
    if (this.released) throw new Error('packet: released twice')
    this.released = true
    this.pool?.put(this)
  }

  /** A packet from the pool again: as new. */
  reset(headroom: number): void {
    this.start = this.end = headroom
    this.link = this.network = this.transport = -1
    this.networkProtocol = this.transportProtocol = 0
    this.type = PACKET_HOST
    this.device = undefined
    this.source = this.destination = V4_ANY
    this.ttl = this.tos = this.flowLabel = 0
    this.toMany = false
    this.localAddress = undefined
    this.checksum = CHECKSUM_NONE
    this.checksumStart = this.checksumOffset = 0
    this.gsoType = GSO_NONE
    this.gsoSize = 0
    this.timestamp = this.mark = this.priority = 0
    this.connection = undefined
    this.connectionInfo = this.traceId = 0
    this.nextHop = undefined
    this.assigned = undefined
    this.owner = undefined
    this.redirected = undefined
    this.next = undefined
    this.released = false
  }

  #sibling(size: number, headroom: number): Packet {
    if (this.pool !== undefined) return this.pool.allocate(size, headroom)
    const packet = new Packet(new Uint8Array(headroom + size))
    packet.start = packet.end = headroom
    return packet
  }
}

/** Sizes of buffers: acknowledgements, full frames, unsegmented packets. */
const SIZES: readonly number[] = [512, 2048, 16384, 65536 + 512]
/** Of each size at most so many bytes are kept. */
const KEPT_BYTES = 64 << 20
/** After so many packets have come back, those go that nobody has asked for meanwhile. */
const PERIOD = 8192

/** Buffers of one size that wait for their next use, the last one first. */
class FreePackets {
  readonly size: number
  readonly #packets: Packet[] = []
  /** The fewest of this period: more than what was needed by so many. */
  #least = 0
  #left = PERIOD

  constructor(size: number) {
    this.size = size
  }

  take(): Packet | undefined {
    const packet = this.#packets.pop()
    if (this.#packets.length < this.#least) this.#least = this.#packets.length
    return packet
  }

  put(packet: Packet): void {
    const packets = this.#packets
    if ((packets.length + 1) * this.size <= KEPT_BYTES) packets.push(packet)
    if (--this.#left > 0) return
    // The oldest, which are the coldest too.
    packets.splice(0, this.#least)
    this.#least = packets.length
    this.#left = PERIOD
  }

  clear(): void {
    this.#packets.length = 0
    this.#least = 0
    this.#left = PERIOD
  }
}

/**
 * Where packets come from and go back to: one for all stacks of a kernel, since veth pairs join them. What is kept follows
 * what is used: a new buffer costs as much as copying it full, so receive queues of megabytes must find theirs again.
 */
export class PacketPool {
  readonly #free: readonly FreePackets[] = SIZES.map(size => new FreePackets(size))
  /** Packets that somebody has: for tests, which find with it those that were forgotten. */
  outstanding = 0

  /** An empty packet with room for `size` bytes behind `headroom`. */
  allocate(size: number, headroom = HEADROOM): Packet {
    const total = size + headroom
    this.outstanding++
    for (let i = 0; i < SIZES.length; i++) {
      if (total > SIZES[i]) continue
      const packet = this.#free[i].take() ?? new Packet(new Uint8Array(SIZES[i]), this)
      packet.reset(headroom)
      return packet
    }
    const packet = new Packet(new Uint8Array(total), this)
    packet.reset(headroom)
    return packet
  }

  /** Keeps nothing. */
  trim(): void {
    for (const free of this.#free) free.clear()
  }

  put(packet: Packet): void {
    this.outstanding--
    // Nothing of the packet may keep devices or connections alive.
    packet.device = undefined
    packet.connection = undefined
    packet.assigned = undefined
    packet.owner = undefined
    packet.redirected = undefined
    packet.next = undefined
    for (let i = 0; i < SIZES.length; i++) {
      if (packet.bytes.length !== SIZES[i]) continue
      this.#free[i].put(packet)
      return
    }
  }
}

/** Packets in the order of their coming. */
export class PacketQueue {
  first: Packet | undefined = undefined
  #last: Packet | undefined = undefined
  length = 0
  /** Sum of the packets' lengths as they were when pushed in. */
  bytes = 0
  /** Bytes of their buffers, which may be far larger than what they hold. */
  memory = 0

  push(packet: Packet): void {
    packet.next = undefined
    if (this.#last === undefined) this.first = packet
    else this.#last.next = packet
    this.#last = packet
    this.length++
    this.bytes += packet.length
    this.memory += packet.bytes.length
  }

  shift(): Packet | undefined {
    const packet = this.first
    if (packet === undefined) return undefined
    this.first = packet.next
    if (this.first === undefined) this.#last = undefined
    packet.next = undefined
    this.length--
    this.bytes -= packet.length
    this.memory -= packet.bytes.length
    return packet
  }

  clear(): void {
    for (let packet = this.shift(); packet !== undefined; packet = this.shift()) packet.release()
  }
}
