/**
 * UDP: RFC 768, RFC 8200 §8.1; and UDP-Lite (lite.ts). One UdpProtocol per stack finds the endpoint of each datagram: the most specific one of
 * those that are bound to its port, one of a SO_REUSEPORT group by the flow's hash, or all that match for a broadcast or
 * multicast.
 */
import {
  ICMP_DEST_UNREACH,
  ICMP_PORT_UNREACH,
  ICMPV6_DEST_UNREACH,
  ICMPV6_PORT_UNREACH,
  IP_PMTUDISC_DONT,
  IPPROTO_UDP,
} from '../../abi/constants.ts'
import { type IpAddress, V4_LOOPBACK, V6_LOOPBACK } from '../address.ts'
import { pseudoHeaderSum, sumView } from '../checksum.ts'
import type { UdpCounters } from '../ip/counters.ts'
import { quotedError } from '../ip/error-queue.ts'
import type { IcmpError, TransportProtocol } from '../ip/transport.ts'
import type { IpStack } from '../ip-stack.ts'
import { CHECKSUM_NONE, CHECKSUM_VERIFIED, GSO_NONE, GSO_UDP, type Packet } from '../packet.ts'
import { UDP_HEADER, UdpEndpoint } from './endpoint.ts'
import { checkLite } from './lite.ts'
import { choosePort, conflicts } from './ports.ts'

export class UdpProtocol implements TransportProtocol {
  readonly stack: IpStack
  /** IPPROTO_UDP or IPPROTO_UDPLITE. */
  readonly number: number
  readonly #ports = new Map<number, UdpEndpoint[]>()
  readonly #secret: number

  constructor(stack: IpStack, number = IPPROTO_UDP) {
    this.stack = stack
    this.number = number
    this.#secret = stack.random.u32()
    stack.protocols[number] = this
  }

  get isLite(): boolean {
    return this.number !== IPPROTO_UDP
  }
  /** What it counts. */
  mib(isV4: boolean): UdpCounters {
    const { udp, udp6, udpLite, udpLite6 } = this.stack.counters
    if (this.isLite) return isV4 ? udpLite : udpLite6
    return isV4 ? udp : udp6
  }

  endpoint(isV6: boolean): UdpEndpoint {
    return new UdpEndpoint(this, isV6)
  }

  /** All that are bound, for /proc/net/udp and sock_diag. */
  *endpoints(): IterableIterator<UdpEndpoint> {
    for (const list of this.#ports.values()) yield* list
  }

  loopbackFor(any: IpAddress): IpAddress {
    return any.isV4 ? V4_LOOPBACK : V6_LOOPBACK
  }

  /** Gives an endpoint its port (0: a free one). False if another one has it. */
  claim(endpoint: UdpEndpoint, port: number): boolean {
    const taken = (candidate: number): boolean =>
      this.#ports.get(candidate)?.some(other => conflicts(endpoint, other)) === true
    if (port !== 0 && taken(port)) return false
    const chosen = port || choosePort(this.stack, taken)
    if (chosen === 0) return false
    endpoint.localPort = chosen
    const list = this.#ports.get(chosen)
    if (list === undefined) this.#ports.set(chosen, [endpoint])
    else list.push(endpoint)
    return true
  }

  /** The endpoint has no port any more. */
  drop(endpoint: UdpEndpoint): void {
    const list = this.#ports.get(endpoint.localPort)
    const at = list?.indexOf(endpoint) ?? -1
    if (list !== undefined && at >= 0) {
      list.splice(at, 1)
      if (list.length === 0) this.#ports.delete(endpoint.localPort)
    }
    endpoint.localPort = 0
  }

  receive(packet: Packet): void {
    const { view, start, source, destination } = packet
    const mib = this.mib(destination.isV4)
    // RFC 2675's length of zero is for jumbograms, which nobody sends.
    const said = packet.length < UDP_HEADER ? 0 : view.getUint16(start + 4)
    const length = this.isLite ? packet.length : said
    if (length < UDP_HEADER || length > packet.length) {
      mib.InErrors++
      packet.release()
      return
    }
    packet.trim(length)
    if (this.isLite ? checkLite(packet) === 0 : !this.#checksumRight(packet, length)) {
      mib.InCsumErrors++
      mib.InErrors++
      packet.release()
      return
    }
    const sourcePort = view.getUint16(start)
    const list = this.#ports.get(view.getUint16(start + 2))
    if (packet.toMany) {
      this.#deliverToAll(packet, list ?? [], sourcePort)
      return
    }
    const { assigned } = packet
    const endpoint =
      assigned instanceof UdpEndpoint && assigned.localPort !== 0
        ? assigned
        : this.find(packet, view.getUint16(start + 2), source, sourcePort, destination)
    if (endpoint === undefined) {
      mib.NoPorts++
      if (destination.isV4) this.stack.icmp4.sendError(packet, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0)
      else this.stack.icmp6.sendError(packet, ICMPV6_DEST_UNREACH, ICMPV6_PORT_UNREACH, 0)
      packet.release()
      return
    }
    this.#hand(endpoint, packet)
  }

  /** A datagram of ours did not get there: `packet` quotes it. */
  error(packet: Packet, error: IcmpError): void {
    const { view, transport } = packet
    const localPort = view.getUint16(transport)
    const remotePort = view.getUint16(transport + 2)
    const list = this.#ports.get(localPort)
    const endpoint = list?.find(each => isSender(each, error, remotePort))
    if (endpoint === undefined) return
    let { hard } = error
    if (error.tooBig) {
      if (endpoint.flow.pmtuDiscovery === IP_PMTUDISC_DONT && error.isV4) return
      this.stack.ip.lowerMtu(error)
      if (!endpoint.recvErr && !error.isV4) return
      hard = true
    }
    // RFC 1122 §4.1.3.3: only who is connected (or has asked for it) hears of errors, since others couldn't tell whose.
    if (!endpoint.recvErr && (!hard || !endpoint.connected)) return
    const queued = endpoint.recvErr
      ? quotedError(packet, error, packet.transport - packet.start + UDP_HEADER, remotePort)
      : undefined
    endpoint.failed(error.errno, queued)
  }

  #hand(endpoint: UdpEndpoint, packet: Packet): void {
    if (packet.gsoType === GSO_UDP && !endpoint.gro) this.#handSegments(endpoint, packet)
    else this.#handOne(endpoint, packet)
  }

  /** What was sent as many (UDP_SEGMENT) and came as one over a link that didn't split it. */
  #handSegments(endpoint: UdpEndpoint, packet: Packet): void {
    const { bytes, start, end, gsoSize } = packet
    for (let at = start + UDP_HEADER; at < end; at += gsoSize) {
      const data = bytes.subarray(at, Math.min(at + gsoSize, end))
      const piece = this.stack.packets.allocate(UDP_HEADER + data.length)
      const to = piece.append(UDP_HEADER + data.length)
      piece.describe(packet, to - start)
      piece.link = piece.network = -1
      piece.gsoType = GSO_NONE
      piece.gsoSize = 0
      piece.bytes.set(bytes.subarray(start, start + UDP_HEADER), to)
      piece.bytes.set(data, to + UDP_HEADER)
      this.#handOne(endpoint, piece)
    }
    packet.release()
  }

  #handOne(endpoint: UdpEndpoint, packet: Packet): void {
    const { destination, length } = packet
    const mib = this.mib(destination.isV4)
    if (this.isLite && !endpoint.coverage.takes(packet.view.getUint16(packet.start + 4) || length, length)) {
      mib.InErrors++
      packet.release()
      return
    }
    if (endpoint.filter !== undefined) {
      const kept = endpoint.filter.run(packet, packet.start)
      if (kept === 0) {
        mib.InErrors++
        endpoint.drops++
        packet.release()
        return
      }
      packet.trim(Math.min(Math.max(kept, UDP_HEADER), length))
    }
    packet.pull(UDP_HEADER)
    if (endpoint.encapsulated !== undefined) {
      mib.InDatagrams++
      endpoint.encapsulated(packet)
    } else if (endpoint.deliver(packet)) {
      mib.InDatagrams++
    } else {
      mib.RcvbufErrors++
      mib.InErrors++
    }
  }

  #checksumRight(packet: Packet, length: number): boolean {
    const { view, start, source, destination } = packet
    if (packet.checksum !== CHECKSUM_NONE) return true
    // RFC 768: zero is 'none'; IPv6 has nothing else that would protect the addresses.
    if (view.getUint16(start + 6) === 0) return destination.isV4
    if (sumView(view, start, length, pseudoHeaderSum(source, destination, IPPROTO_UDP, length)) !== 0xffff)
      return false
    packet.checksum = CHECKSUM_VERIFIED
    return true
  }

  #deliverToAll(packet: Packet, list: readonly UdpEndpoint[], sourcePort: number): void {
    const { source, destination } = packet
    const { isMulticast } = destination
    const takers = list.filter(
      endpoint =>
        score(endpoint, packet, source, sourcePort, destination) >= 0 &&
        (!isMulticast || endpoint.wantsMulticast(packet)),
    )
    if (takers.length === 0) {
      this.mib(destination.isV4).IgnoredMulti++
      packet.release()
      return
    }
    for (let i = 1; i < takers.length; i++) this.#hand(takers[i], packet.clone())
    this.#hand(takers[0], packet)
  }

  /** The endpoint that a datagram for the port and the address is for. */
  find(
    packet: Packet,
    port: number,
    source: IpAddress,
    sourcePort: number,
    destination: IpAddress,
  ): UdpEndpoint | undefined {
    const list = this.#ports.get(port)
    if (list === undefined) return undefined
    let best: UdpEndpoint | undefined
    let bestScore = -1
    let equals = 0
    for (const endpoint of list) {
      const points = score(endpoint, packet, source, sourcePort, destination)
      // Of several that are alike the last one bound gets everything, as in Linux.
      if (points < 0 || points < bestScore) continue
      equals = points === bestScore ? equals + 1 : 1
      best = endpoint
      bestScore = points
    }
    if (best === undefined || equals === 1 || !best.reusePort || best.connected) return best
    const group = list.filter(
      each =>
        each.reusePort &&
        !each.connected &&
        score(each, packet, source, sourcePort, destination) === bestScore,
    )
    const steering = group.find(each => each.steering !== undefined)?.steering
    const chosen = steering && group[steering.run(packet, packet.start + UDP_HEADER)]
    return chosen ?? group[this.#hash(source, sourcePort, destination, best.localPort) % group.length]
  }

  /** Those that share an endpoint's address and port by SO_REUSEPORT, with itself. */
  group(of: UdpEndpoint): UdpEndpoint[] {
    const list = this.#ports.get(of.localPort) ?? []
    return list.filter(each => each === of || (each.reusePort && each.local.equals(of.local)))
  }

  #hash(source: IpAddress, sourcePort: number, destination: IpAddress, port: number): number {
    let hash = this.#secret ^ source.w3 ^ Math.imul(source.w0 ^ source.w1 ^ source.w2, 0x9e3779b1)
    hash = Math.imul(hash ^ (sourcePort << 16) ^ port ^ destination.w3, 0x7feb352d)
    hash = Math.imul(hash ^ (hash >>> 15), 0x846ca68b)
    return (hash ^ (hash >>> 16)) >>> 0
  }
}

/** How well a datagram fits an endpoint, -1 for not at all: compute_score. The local address counts most. */
function score(
  endpoint: UdpEndpoint,
  packet: Packet,
  source: IpAddress,
  sourcePort: number,
  destination: IpAddress,
): number {
  let points = 0
  if (destination.isV4 ? endpoint.onlyV6 : !endpoint.isV6) return -1
  if (!endpoint.local.isAny) {
    if (!endpoint.local.equals(destination)) return -1
    points += 16
  } else if (endpoint.local.isV4 && !destination.isV4) {
    return -1
  }
  if (endpoint.connected) {
    if (endpoint.remotePort !== sourcePort || !endpoint.remote.equals(source)) return -1
    points += 8
  }
  const bound = endpoint.flow.device
  if (bound !== 0) {
    if (bound !== packet.device?.index) return -1
    points += 4
  }
  if (endpoint.isV6 !== destination.isV4) points += 1
  return points
}

/** Whether the endpoint may have sent the datagram that an error quotes. */
function isSender(endpoint: UdpEndpoint, error: IcmpError, remotePort: number): boolean {
  if (error.isV4 ? endpoint.onlyV6 : !endpoint.isV6) return false
  if (!endpoint.local.isAny && !endpoint.local.equals(error.source)) return false
  if (!endpoint.connected) return true
  return endpoint.remotePort === remotePort && endpoint.remote.equals(error.destination)
}
