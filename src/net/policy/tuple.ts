/** FlowTuple: what tells the flows of packets apart, read out of a frame's bytes. One object is used again for each packet. */
import {
  ICMP_ECHO,
  ICMP_ECHOREPLY,
  ICMPV6_ECHO_REPLY,
  ICMPV6_ECHO_REQUEST,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_TCP,
  IPPROTO_UDP,
} from '../../abi/constants.ts'
import { HeaderWalk } from '../ip/extension-headers.ts'
import { IPV4_HEADER, IPV6_HEADER } from '../ip/numbers.ts'

const IPPROTO_IGMP = 2
const SYN = 2
const ACK = 16
/** Added to the protocol of fragments behind the first, which are known by their identification. */
export const FRAGMENT = 0x100

export class FlowTuple {
  isV4 = true
  /** IPPROTO_ICMP for both families. */
  protocol = 0
  /** Words of the addresses, IPv4 mapped. */
  readonly source = new Uint32Array(4)
  readonly destination = new Uint32Array(4)
  sourcePort = 0
  destinationPort = 0
  /** Where the transport header is. */
  transport = 0
  /** TCP: the first segment of a connection. */
  opens = false
  /** Of a packet that was cut to pieces: what the pieces have in common; -1 of a whole one. */
  identification = -1
  /** Neighbours, routers, groups: what keeps the link working. */
  isLinkControl = false
  /** An ICMP error: where the packet that it quotes begins. */
  quoted = -1
  readonly #walk = new HeaderWalk()

  /** False: the packet at `at` is none, or cut off. */
  read(view: DataView, at: number, end: number): boolean {
    this.opens = this.isLinkControl = false
    this.identification = this.quoted = -1
    this.sourcePort = this.destinationPort = 0
    if (at >= end) return false
    const version = view.getUint8(at) >> 4
    if (version === 4) return this.#readV4(view, at, end)
    return version === 6 && this.#readV6(view, at, end)
  }

  #readV4(view: DataView, at: number, end: number): boolean {
    if (at + IPV4_HEADER > end) return false
    const header = (view.getUint8(at) & 15) * 4
    if (header < IPV4_HEADER || at + header > end) return false
    this.isV4 = true
    setV4(this.source, view.getUint32(at + 12))
    setV4(this.destination, view.getUint32(at + 16))
    const fragment = view.getUint16(at + 6)
    if ((fragment & 0x3fff) !== 0) this.identification = view.getUint16(at + 4)
    return this.#readTransport(view, at + header, end, view.getUint8(at + 9), (fragment & 0x1fff) !== 0)
  }

  #readV6(view: DataView, at: number, end: number): boolean {
    if (at + IPV6_HEADER > end) return false
    this.isV4 = false
    for (let i = 0; i < 4; i++) {
      this.source[i] = view.getUint32(at + 8 + 4 * i)
      this.destination[i] = view.getUint32(at + 24 + 4 * i)
    }
    const walk = this.#walk
    walk.walk(view, at, end)
    if (walk.truncated) return false
    let isLater = false
    if (walk.fragment >= 0) {
      this.identification = view.getUint32(walk.fragment + 4)
      isLater = (view.getUint16(walk.fragment + 2) & 0xfff8) !== 0
    }
    return this.#readTransport(view, walk.transport, end, walk.protocol, isLater)
  }

  #readTransport(view: DataView, at: number, end: number, protocol: number, isLater: boolean): boolean {
    this.transport = at
    this.protocol = protocol === IPPROTO_ICMPV6 && !this.isV4 ? IPPROTO_ICMP : protocol
    if (isLater) {
      this.asFragment()
      return true
    }
    if (protocol === IPPROTO_TCP || protocol === IPPROTO_UDP) {
      if (at + 8 > end) return false
      this.sourcePort = view.getUint16(at)
      this.destinationPort = view.getUint16(at + 2)
      if (protocol === IPPROTO_UDP) return true
      if (at + 14 > end) return end - at === 8 // As much as an ICMP error quotes.
      this.opens = (view.getUint8(at + 13) & (SYN | ACK)) === SYN
      return true
    }
    this.isLinkControl = protocol === IPPROTO_IGMP && this.isV4
    if (this.protocol !== IPPROTO_ICMP) return true
    if (at + 8 > end) return false
    const type = view.getUint8(at)
    if (this.isV4) this.#readIcmp(view, at, type === ICMP_ECHO || type === ICMP_ECHOREPLY, isError4(type))
    else {
      this.#readIcmp(view, at, type === ICMPV6_ECHO_REQUEST || type === ICMPV6_ECHO_REPLY, type < 128)
      // MLD and neighbour discovery.
      this.isLinkControl = (type >= 130 && type <= 137) || type === 143
    }
    return true
  }

  #readIcmp(view: DataView, at: number, isEcho: boolean, isError: boolean): void {
    // The identifier is the same both ways.
    if (isEcho) this.sourcePort = this.destinationPort = view.getUint16(at + 4)
    if (isError) this.quoted = at + 8
  }

  /** From now on the tuple of the pieces behind the first. */
  asFragment(): void {
    this.protocol |= FRAGMENT
    this.sourcePort = this.identification & 0xffff
    this.destinationPort = this.identification >>> 16
  }
}

/** Unreachable, source quench, redirect, time exceeded, parameter problem. */
function isError4(type: number): boolean {
  return type === 3 || type === 4 || type === 5 || type === 11 || type === 12
}

function setV4(words: Uint32Array, word: number): void {
  words[0] = words[1] = 0
  words[2] = 0xffff
  words[3] = word
}
