/** ICMPv6: RFC 4443. Echoes, errors in and out; neighbour discovery and MLD are handed on to ndp.ts and mld.ts. */
import {
  ICMPV6_DEST_UNREACH,
  ICMPV6_ECHO_REPLY,
  ICMPV6_ECHO_REQUEST,
  ICMPV6_INFOMSG_MASK,
  ICMPV6_MGM_QUERY,
  ICMPV6_MGM_REDUCTION,
  ICMPV6_MGM_REPORT,
  ICMPV6_MLD2_REPORT,
  ICMPV6_PARAMPROB,
  ICMPV6_PKT_TOOBIG,
  ICMPV6_TIME_EXCEED,
  ICMPV6_UNK_OPTION,
  IPPROTO_ICMPV6,
  IPV6_MIN_MTU,
} from '../../abi/constants.ts'
import type { Status } from '../../base/result.ts'
import { type IpAddress, V6_ANY } from '../address.ts'
import { checksumOf, pseudoHeaderSum, sumView } from '../checksum.ts'
import type { IpStack } from '../ip-stack.ts'
import { CHECKSUM_NONE, PACKET_HOST, PACKET_LOOPBACK, type Packet } from '../packet.ts'
import { countType } from './counters.ts'
import { HeaderWalk } from './extension-headers.ts'
import type { Flow } from './flow.ts'
import { explainError } from './icmp-errno.ts'
import { IcmpLimit } from './icmp-limit.ts'
import { plainFlow } from './ipv4-output.ts'
import { ND_NEIGHBOR_ADVERT, ND_NEIGHBOR_SOLICIT, ND_REDIRECT, ND_ROUTER_SOLICIT } from './ndp-message.ts'
import { IPV6_HEADER } from './numbers.ts'
import { IcmpError, type TransportProtocol } from './transport.ts'

const ICMP_HEADER = 8

export class Icmp6 implements TransportProtocol {
  readonly #stack: IpStack
  readonly #limit: IcmpLimit
  readonly #error = new IcmpError()

  constructor(stack: IpStack) {
    this.#stack = stack
    this.#limit = new IcmpLimit(stack)
  }

  /** The header at packet.start. */
  receive(packet: Packet): void {
    const stack = this.#stack
    const { icmp6, icmp6In } = stack.counters
    icmp6.InMsgs++
    const { start, length, view, source, destination } = packet
    if (length < ICMP_HEADER) {
      icmp6.InErrors++
      packet.release()
      return
    }
    if (packet.checksum === CHECKSUM_NONE) {
      const sum = sumView(view, start, length, pseudoHeaderSum(source, destination, IPPROTO_ICMPV6, length))
      if (sum !== 0xffff) {
        icmp6.InCsumErrors++
        icmp6.InErrors++
        packet.release()
        return
      }
    }
    const type = view.getUint8(start)
    countType(icmp6In, type)
    if (type >= ND_ROUTER_SOLICIT && type <= ND_REDIRECT) {
      stack.ndp.receive(packet, type)
    } else if (type === ICMPV6_ECHO_REQUEST) {
      icmp6.InEchos++
      this.#echo(packet)
    } else if (type === ICMPV6_ECHO_REPLY) {
      icmp6.InEchoReplies++
      stack.echo?.reply(packet)
    } else if (type === ICMPV6_MGM_QUERY) {
      icmp6.InGroupMembQueries++
      stack.multicast.mldReceived(packet)
    } else if (type === ICMPV6_MGM_REPORT || type === ICMPV6_MLD2_REPORT) {
      if (type === ICMPV6_MGM_REPORT) icmp6.InGroupMembResponses++
      else icmp6.InMLDv2Reports++
      stack.multicast.mldReceived(packet)
    } else if (type === ICMPV6_MGM_REDUCTION) {
      icmp6.InGroupMembReductions++
    } else if ((type & ICMPV6_INFOMSG_MASK) === 0) {
      this.#errorReceived(packet, type)
    }
    packet.release()
  }

  error(packet: Packet, error: IcmpError): void {
    if (packet.view.getUint8(packet.start) === ICMPV6_ECHO_REQUEST) this.#stack.echo?.error(packet, error)
  }

  /**
   * As Icmp4.sendError. `always`: also about a packet that was for many (RFC 4443 §2.4 (e.3), too big and some unknown
   * options).
   */
  sendError(
    packet: Packet,
    type: number,
    code: number,
    info: number,
    always = type === ICMPV6_PKT_TOOBIG,
  ): void {
    const stack = this.#stack
    if (!this.#mayAnswer(packet, always)) return
    const { destination } = packet
    const own = !destination.isMulticast && stack.addresses.isLocal(destination)
    const flow = plainFlow(IPPROTO_ICMPV6, own ? destination : V6_ANY, packet.source)
    if (packet.source.isLinkLocal) flow.device = packet.device?.index ?? 0
    const route = stack.ip.routeFor(flow)
    if (typeof route === 'number') return
    if (!route.device.isLoopback && type !== ICMPV6_PKT_TOOBIG) {
      const interval = stack.sysctls.ipv6Icmp.ratelimit
      if (!this.#limit.allowsGlobally() || !this.#limit.allowsHost(packet.source, interval)) {
        stack.counters.icmp6.OutRateLimitHost++
        return
      }
    }
    const { network } = packet
    // RFC 4443 §2.4 (c): as much as fits without exceeding the smallest MTU.
    const quoted = Math.min(packet.end - network, IPV6_MIN_MTU - IPV6_HEADER - ICMP_HEADER)
    const message = stack.packets.allocate(ICMP_HEADER + quoted)
    const at = message.append(ICMP_HEADER + quoted)
    message.view.setUint8(at, type)
    message.view.setUint8(at + 1, code)
    message.view.setUint32(at + 4, info >>> 0)
    message.bytes.set(packet.bytes.subarray(network, network + quoted), at + ICMP_HEADER)
    stack.hooks.attach?.(message, packet)
    this.send(message, flow)
  }

  /** Any ICMPv6 message (checksum field open, at packet.start): counts it, fills the checksum, sends. */
  send(message: Packet, flow: Flow): Status {
    const stack = this.#stack
    const { counters } = stack
    const route = stack.ip.routeFor(flow)
    if (typeof route === 'number') {
      counters.icmp6.OutErrors++
      message.release()
      return route
    }
    const { view, start, length } = message
    const type = view.getUint8(start)
    view.setUint16(start + 2, 0)
    const pseudo = pseudoHeaderSum(route.source, flow.destination, IPPROTO_ICMPV6, length)
    view.setUint16(start + 2, checksumOf(sumView(view, start, length, pseudo)))
    counters.icmp6.OutMsgs++
    countType(counters.icmp6Out, type)
    this.#countOut(type)
    return stack.ip.send(message, flow)
  }

  #countOut(type: number): void {
    const { icmp6 } = this.#stack.counters
    if (type === ICMPV6_DEST_UNREACH) icmp6.OutDestUnreachs++
    else if (type === ICMPV6_PKT_TOOBIG) icmp6.OutPktTooBigs++
    else if (type === ICMPV6_TIME_EXCEED) icmp6.OutTimeExcds++
    else if (type === ICMPV6_PARAMPROB) icmp6.OutParmProblems++
    else if (type === ICMPV6_ECHO_REPLY) icmp6.OutEchoReplies++
    else if (type === ICMPV6_ECHO_REQUEST) icmp6.OutEchos++
    else if (type === ICMPV6_MLD2_REPORT) icmp6.OutMLDv2Reports++
    else if (type === ICMPV6_MGM_REPORT) icmp6.OutGroupMembResponses++
    else if (type === ICMPV6_MGM_REDUCTION) icmp6.OutGroupMembReductions++
    else if (type === ND_ROUTER_SOLICIT) icmp6.OutRouterSolicits++
    else if (type === ND_NEIGHBOR_SOLICIT) icmp6.OutNeighborSolicits++
    else if (type === ND_NEIGHBOR_ADVERT) icmp6.OutNeighborAdvertisements++
    else if (type === ND_REDIRECT) icmp6.OutRedirects++
  }

  #mayAnswer(packet: Packet, always: boolean): boolean {
    const { view, network, source } = packet
    if (packet.type !== PACKET_HOST && packet.type !== PACKET_LOOPBACK && !always) return false
    if (source.isAny || source.isMulticast) return false
    if (packet.destination.isMulticast && !always) return false
    const walk = new HeaderWalk()
    walk.walk(view, network, packet.end)
    if (walk.fragment >= 0 && (view.getUint16(walk.fragment + 2) & 0xfff8) !== 0) return false
    if (walk.protocol !== IPPROTO_ICMPV6) return true
    return walk.transport < packet.end && (view.getUint8(walk.transport) & ICMPV6_INFOMSG_MASK) !== 0
  }

  #echo(packet: Packet): void {
    const { ipv6Icmp } = this.#stack.sysctls
    if (ipv6Icmp.echo_ignore_all !== 0) return
    if (packet.toMany && ipv6Icmp.echo_ignore_multicast !== 0) return
    const { start, length } = packet
    const answer = this.#stack.packets.allocate(length)
    answer.bytes.set(packet.bytes.subarray(start, packet.end), answer.append(length))
    answer.view.setUint8(answer.start, ICMPV6_ECHO_REPLY)
    const flow = plainFlow(IPPROTO_ICMPV6, packet.toMany ? V6_ANY : packet.destination, packet.source)
    if (packet.source.isLinkLocal || packet.toMany) flow.device = packet.device!.index
    if (packet.device!.isLoopback) flow.device = 0
    flow.tos = packet.tos
    flow.pmtuDiscovery = 0
    this.send(answer, flow)
  }

  #errorReceived(packet: Packet, type: number): void {
    const stack = this.#stack
    const { icmp6 } = stack.counters
    const { view, start } = packet
    if (type === ICMPV6_DEST_UNREACH) icmp6.InDestUnreachs++
    else if (type === ICMPV6_PKT_TOOBIG) icmp6.InPktTooBigs++
    else if (type === ICMPV6_TIME_EXCEED) icmp6.InTimeExcds++
    else if (type === ICMPV6_PARAMPROB) icmp6.InParmProblems++
    const inner = start + ICMP_HEADER
    if (packet.end - inner < IPV6_HEADER || view.getUint8(inner) >> 4 !== 6) {
      icmp6.InErrors++
      return
    }
    const walk = new HeaderWalk()
    walk.walk(view, inner, packet.end)
    if (walk.truncated || walk.transport + 8 > packet.end) {
      icmp6.InErrors++
      return
    }
    const error = this.#error
    error.isV4 = false
    error.type = type
    error.code = view.getUint8(start + 1)
    if (!explainError(error)) return
    // An unknown option is only to be told, not to end anything.
    if (type === ICMPV6_PARAMPROB && error.code === ICMPV6_UNK_OPTION) error.hard = false
    error.info = view.getUint32(start + 4)
    error.tooBig = type === ICMPV6_PKT_TOOBIG
    error.offender = packet.source
    error.source = this.#address(view, inner + 8)
    error.destination = this.#address(view, inner + 24)
    error.device = packet.device
    packet.network = inner
    packet.transport = walk.transport
    packet.transportProtocol = walk.protocol
    packet.start = walk.transport
    stack.raw?.error(packet, error)
    stack.protocols[walk.protocol]?.error(packet, error)
  }

  #address(view: DataView, at: number): IpAddress {
    return this.#stack.runtime.addresses.v6(view, at)
  }
}
