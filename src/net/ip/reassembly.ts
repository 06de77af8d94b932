/**
 * Reassembly of fragments, for both families. A Datagram collects the fragments of one packet from its first one's coming
 * until it is whole, until ipfrag_time is over, or until memory is needed.
 *
 * Overlapping fragments end the whole datagram (RFC 5722, and Linux for IPv4 too), since no honest sender makes them;
 * exact duplicates are dropped. Memory of all fragments is bounded by ipfrag_high_thresh: then the oldest datagrams go.
 */
import {
  ICMP_EXC_FRAGTIME,
  ICMP_TIME_EXCEEDED,
  ICMPV6_EXC_FRAGTIME,
  ICMPV6_TIME_EXCEED,
} from '../../abi/constants.ts'
import { NSEC_PER_SEC } from '../../base/clock.ts'
import { type Expiry, Timer } from '../../kernel/timers.ts'
import type { IpStack } from '../ip-stack.ts'
import { CHECKSUM_NONE, HEADROOM, type Packet } from '../packet.ts'
import { finishHeader4 } from './ipv4-output.ts'
import { IP_MF, IP_OFFSET, IPV6_HEADER } from './numbers.ts'

/** Cost of a fragment besides its bytes. */
const OVERHEAD = 256
const MAX_PAYLOAD = 65535
/** Fragments of one datagram: 64 KiB in pieces of the smallest MTU. */
const MAX_FRAGMENTS = 1400
/** TOS bits of fragments, combined: RFC 3168 §5.3. */
const ECN_MASK = 3
const ECN_CE = 3

interface Piece {
  packet: Packet
  /** Of the fragmentable part. */
  offset: number
  end: number
}

class Datagram implements Expiry {
  readonly owner: Reassembly
  readonly key: string
  readonly isV4: boolean
  readonly timer = new Timer(this)
  /** In order of offset, without gaps being closed. */
  readonly pieces: Piece[] = []
  /** Length of the whole, -1 until the last fragment has come. */
  total = -1
  received = 0
  memory = 0
  /** Which ECN values have been seen, as bits. */
  ecn = 0

  constructor(owner: Reassembly, key: string, isV4: boolean) {
    this.owner = owner
    this.key = key
    this.isV4 = isV4
  }

  get complete(): boolean {
    return this.total >= 0 && this.received === this.total
  }

  expired(): void {
    this.owner.timedOut(this)
  }
}

export class Reassembly {
  readonly #stack: IpStack
  /** In order of their beginning. */
  readonly #datagrams = new Map<string, Datagram>()
  #memory4 = 0
  #memory6 = 0

  constructor(stack: IpStack) {
    this.#stack = stack
  }

  get count(): number {
    return this.#datagrams.size
  }

  /** Takes a fragment (checked header at packet.network). The whole packet if this was the last that was missing. */
  add4(packet: Packet): Packet | undefined {
    const { view, network, end, transport } = packet
    this.#stack.counters.ip.ReasmReqds++
    const field = view.getUint16(network + 6)
    const key = `4${packet.source.key}${packet.destination.key}${packet.transportProtocol},${view.getUint16(network + 4)}`
    return this.#add(
      packet,
      key,
      true,
      (field & IP_OFFSET) * 8,
      (field & IP_MF) !== 0,
      end - transport,
      packet.tos,
    )
  }

  /** `transport` must be behind the fragment header, whose field at +2 is `field`. */
  add6(packet: Packet, field: number, id: number): Packet | undefined {
    this.#stack.counters.ip6.ReasmReqds++
    const scope = packet.source.isLinkLocal ? packet.device!.index : 0
    const key = `6${packet.source.key}${packet.destination.key}${id},${scope}`
    return this.#add(
      packet,
      key,
      false,
      field & 0xfff8,
      (field & 1) !== 0,
      packet.end - packet.transport,
      packet.tos,
    )
  }

  #add(
    packet: Packet,
    key: string,
    isV4: boolean,
    offset: number,
    more: boolean,
    length: number,
    tos: number,
  ): Packet | undefined {
    const end = offset + length
    // All but the last are a multiple of 8 long, none is empty, and the whole is no longer than a packet may be.
    if (length <= 0 || (more && (length & 7) !== 0) || end > MAX_PAYLOAD) return this.#refuse(packet, isV4)
    let datagram = this.#datagrams.get(key)
    if (datagram === undefined) {
      this.#makeRoom(isV4)
      datagram = new Datagram(this, key, isV4)
      this.#datagrams.set(key, datagram)
      const seconds = isV4 ? this.#stack.sysctls.ipv4.ipfrag_time : this.#stack.sysctls.ipv6.ip6frag_time
      this.#stack.timers.add(datagram.timer, this.#stack.runtime.now() + seconds * NSEC_PER_SEC)
    }
    const consistent = more ? datagram.total < 0 || end <= datagram.total : this.#lastFits(datagram, end)
    if (!consistent) return this.#spoil(datagram, packet)
    const at = this.#place(datagram, offset, end)
    if (at === DUPLICATE) {
      packet.release()
      return undefined
    }
    if (at === OVERLAP || datagram.pieces.length >= MAX_FRAGMENTS) {
      this.#stack.counters.ipExt.ReasmOverlaps++
      return this.#spoil(datagram, packet)
    }
    if (!more) datagram.total = end
    datagram.pieces.splice(at, 0, { packet, offset, end })
    datagram.received += length
    datagram.ecn |= 1 << (tos & ECN_MASK)
    const memory = packet.bytes.length + OVERHEAD
    datagram.memory += memory
    if (isV4) this.#memory4 += memory
    else this.#memory6 += memory
    return datagram.complete ? this.#join(datagram) : undefined
  }

  timedOut(datagram: Datagram): void {
    const { counters, icmp4, icmp6 } = this.#stack
    const first = datagram.pieces[0]
    if (datagram.isV4) {
      counters.ip.ReasmTimeout++
      counters.ip.ReasmFails++
    } else {
      counters.ip6.ReasmTimeout++
      counters.ip6.ReasmFails++
    }
    // RFC 792, RFC 8200 §4.5: only who has the first fragment can be told which packet it was.
    if (first !== undefined && first.offset === 0) {
      if (datagram.isV4) icmp4.sendError(first.packet, ICMP_TIME_EXCEEDED, ICMP_EXC_FRAGTIME, 0)
      else icmp6.sendError(first.packet, ICMPV6_TIME_EXCEED, ICMPV6_EXC_FRAGTIME, 0)
    }
    this.#end(datagram)
  }

  close(): void {
    for (const datagram of [...this.#datagrams.values()]) this.#end(datagram)
  }

  #lastFits(datagram: Datagram, end: number): boolean {
    if (datagram.total >= 0) return datagram.total === end
    const { pieces } = datagram
    return pieces.length === 0 || pieces[pieces.length - 1].end <= end
  }

  /** Index to insert at, DUPLICATE or OVERLAP. */
  #place(datagram: Datagram, offset: number, end: number): number {
    const { pieces } = datagram
    let at = pieces.length
    while (at > 0 && pieces[at - 1].offset >= offset) at--
    const next = pieces[at]
    if (next !== undefined && next.offset === offset && next.end === end) return DUPLICATE
    if (next !== undefined && next.offset < end) return OVERLAP
    const before = pieces[at - 1]
    if (before === undefined || before.end <= offset) return at
    return before.end >= end ? DUPLICATE : OVERLAP
  }

  #join(datagram: Datagram): Packet | undefined {
    const first = datagram.pieces[0].packet
    const headers = first.transport - first.network
    const whole = this.#stack.packets.allocate(headers + datagram.total, HEADROOM)
    whole.append(headers + datagram.total)
    whole.bytes.set(first.bytes.subarray(first.network, first.transport), whole.start)
    for (const { packet, offset } of datagram.pieces) {
      const bytes = packet.bytes.subarray(packet.transport, packet.end)
      whole.bytes.set(bytes, whole.start + headers + offset)
    }
    whole.describe(first, whole.start - first.network)
    whole.link = -1
    whole.checksum = CHECKSUM_NONE
    const { counters } = this.#stack
    const ecn = joinedEcn(datagram.ecn)
    // IPv6's length doesn't count its header.
    const total = headers + datagram.total
    const longest = datagram.isV4 ? MAX_PAYLOAD : MAX_PAYLOAD + IPV6_HEADER
    this.#end(datagram)
    if (ecn < 0 || total > longest) {
      if (datagram.isV4) counters.ip.ReasmFails++
      else counters.ip6.ReasmFails++
      whole.release()
      return undefined
    }
    whole.tos = (whole.tos & ~ECN_MASK) | ecn
    const { view, network } = whole
    if (datagram.isV4) {
      counters.ip.ReasmOKs++
      view.setUint16(network + 2, total)
      view.setUint16(network + 6, 0)
      view.setUint8(network + 1, whole.tos)
      finishHeader4(whole)
    } else {
      counters.ip6.ReasmOKs++
      view.setUint16(network + 4, total - IPV6_HEADER)
    }
    return whole
  }

  #refuse(packet: Packet, isV4: boolean): undefined {
    if (isV4) this.#stack.counters.ip.ReasmFails++
    else this.#stack.counters.ip6.ReasmFails++
    packet.release()
    return undefined
  }

  #spoil(datagram: Datagram, packet: Packet): undefined {
    this.#end(datagram)
    return this.#refuse(packet, datagram.isV4)
  }

  /** The oldest go when the limit is reached. */
  #makeRoom(isV4: boolean): void {
    const { ipv4, ipv6 } = this.#stack.sysctls
    const limit = isV4 ? ipv4.ipfrag_high_thresh : ipv6.ip6frag_high_thresh
    if ((isV4 ? this.#memory4 : this.#memory6) < limit) return
    for (const datagram of this.#datagrams.values()) {
      if (datagram.isV4 !== isV4) continue
      if (isV4) this.#stack.counters.ip.ReasmFails++
      else this.#stack.counters.ip6.ReasmFails++
      this.#end(datagram)
      if ((isV4 ? this.#memory4 : this.#memory6) < limit) return
    }
  }

  #end(datagram: Datagram): void {
    this.#datagrams.delete(datagram.key)
    this.#stack.timers.cancel(datagram.timer)
    if (datagram.isV4) this.#memory4 -= datagram.memory
    else this.#memory6 -= datagram.memory
    for (const { packet } of datagram.pieces) packet.release()
  }
}

const DUPLICATE = -1
const OVERLAP = -2

/** RFC 3168 §5.3: CE wins over ECT; a mixture with not-ECT and CE, which no router makes, is refused: -1. */
function joinedEcn(seen: number): number {
  const ce = (seen & (1 << ECN_CE)) !== 0
  const none = (seen & 1) !== 0
  if (ce) return none ? -1 : ECN_CE
  if (none) return 0
  return (seen & (1 << 2)) !== 0 ? 2 : 1
}
