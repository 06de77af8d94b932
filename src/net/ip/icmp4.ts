/** ICMP: RFC 792, RFC 1122 §3.2.2, RFC 1812 §4.3. Answers echoes, tells transports of errors, and sends errors itself. */
import {
  ICMP_DEST_UNREACH,
  ICMP_ECHO,
  ICMP_ECHOREPLY,
  ICMP_FRAG_NEEDED,
  ICMP_PARAMETERPROB,
  ICMP_REDIR_NET,
  ICMP_REDIRECT,
  ICMP_SOURCE_QUENCH,
  ICMP_TIME_EXCEEDED,
  ICMP_TIMESTAMP,
  ICMP_TIMESTAMPREPLY,
  IP_PMTUDISC_DONT,
  IPPROTO_ICMP,
  RTN_LOCAL,
  RTN_UNICAST,
} from '../../abi/constants.ts'
import { type IpAddress, V4_ANY } from '../address.ts'
import { checksumOf, sumView } from '../checksum.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { CHECKSUM_NONE, PACKET_HOST, PACKET_LOOPBACK, type Packet } from '../packet.ts'
import { countType } from './counters.ts'
import type { Flow, Route } from './flow.ts'
import { explainError } from './icmp-errno.ts'
import { IcmpLimit } from './icmp-limit.ts'
import { plainFlow } from './ipv4-output.ts'
import { IP_OFFSET, IPV4_HEADER } from './numbers.ts'
import { addressType4, isLocal4 } from './routing4.ts'
import { IcmpError, type TransportProtocol } from './transport.ts'

const ICMP_HEADER = 8
/** RFC 1812 §4.3.2.3: errors quote as much as fits in this. */
const MAX_ERROR = 576
/** RFC 1191 §7.1: what paths are likely to have, for routers that don't say. */
const PLATEAUS = [32000, 17914, 8166, 4352, 2002, 1492, 576, 296, 216, 128, 68]

export class Icmp4 implements TransportProtocol {
  readonly #stack: IpStack
  readonly #limit: IcmpLimit
  readonly #error = new IcmpError()

  constructor(stack: IpStack) {
    this.#stack = stack
    this.#limit = new IcmpLimit(stack)
  }

  /** The header at packet.start. */
  receive(packet: Packet): void {
    const { icmp, icmpIn } = this.#stack.counters
    icmp.InMsgs++
    if (packet.length < ICMP_HEADER) {
      icmp.InErrors++
      packet.release()
      return
    }
    if (packet.checksum === CHECKSUM_NONE && sumView(packet.view, packet.start, packet.length) !== 0xffff) {
      icmp.InCsumErrors++
      icmp.InErrors++
      packet.release()
      return
    }
    const type = packet.view.getUint8(packet.start)
    countType(icmpIn, type)
    switch (type) {
      case ICMP_ECHO:
        icmp.InEchos++
        this.#echo(packet)
        break
      case ICMP_ECHOREPLY:
        icmp.InEchoReps++
        this.#stack.echo?.reply(packet)
        break
      case ICMP_TIMESTAMP:
        icmp.InTimestamps++
        this.#timestamp(packet)
        break
      case ICMP_TIMESTAMPREPLY:
        icmp.InTimestampReps++
        break
      case ICMP_DEST_UNREACH:
        icmp.InDestUnreachs++
        this.#errorReceived(packet)
        break
      case ICMP_TIME_EXCEEDED:
        icmp.InTimeExcds++
        this.#errorReceived(packet)
        break
      case ICMP_PARAMETERPROB:
        icmp.InParmProbs++
        this.#errorReceived(packet)
        break
      case ICMP_REDIRECT:
        icmp.InRedirects++
        this.#redirected(packet)
        break
      case ICMP_SOURCE_QUENCH:
        // RFC 6633: ignored.
        icmp.InSrcQuenchs++
        break
      default:
        // RFC 1122 §3.2.2: unknown types are silently dropped.
        icmp.InErrors++
    }
    packet.release()
  }

  /** Errors about our own echo requests. */
  error(packet: Packet, error: IcmpError): void {
    if (packet.view.getUint8(packet.start) === ICMP_ECHO) this.#stack.echo?.error(packet, error)
  }

  /**
   * Tells the sender of `packet` (network header at packet.network, still the caller's) what became of it. `info`: the
   * second word of the message. Does nothing where RFC 1122 §3.2.2 forbids it or the limits are reached.
   */
  sendError(packet: Packet, type: number, code: number, info: number): void {
    const stack = this.#stack
    const { view, network } = packet
    if (!this.#mayAnswer(packet)) return
    const flow = plainFlow(IPPROTO_ICMP, this.#errorSource(packet), packet.source)
    // RFC 1812 §4.3.2.5: precedence 6, internetwork control.
    flow.tos = (view.getUint8(network + 1) & 0x1e) | 0xc0
    const route = stack.ip.routeFor(flow)
    if (typeof route === 'number' || !this.#mayGo(route, packet.source, type, code)) return
    const quoted = Math.min(packet.end - network, MAX_ERROR - IPV4_HEADER - ICMP_HEADER)
    const message = stack.packets.allocate(ICMP_HEADER + quoted)
    const at = message.append(ICMP_HEADER + quoted)
    message.view.setUint8(at, type)
    message.view.setUint8(at + 1, code)
    message.view.setUint32(at + 4, info >>> 0)
    message.bytes.set(packet.bytes.subarray(network, network + quoted), at + ICMP_HEADER)
    stack.hooks.attach?.(message, packet)
    this.#send(message, flow, type)
  }

  /** RFC 1812 §4.3.3.2: to a neighbour that could send straight to `gateway`. */
  sendRedirect(packet: Packet, type: number, code: number, gateway: IpAddress): void {
    if (!this.#limit.allowsHost(packet.source, this.#stack.sysctls.ipv4.icmp_ratelimit)) return
    this.sendError(packet, type, code, gateway.w3)
  }

  #send(message: Packet, flow: Flow, type: number): void {
    const { start, length, view } = message
    // An answer may be as long as the question was, however it came.
    flow.pmtuDiscovery = IP_PMTUDISC_DONT
    view.setUint16(start + 2, 0)
    view.setUint16(start + 2, checksumOf(sumView(view, start, length)))
    const { icmp, icmpOut } = this.#stack.counters
    icmp.OutMsgs++
    countType(icmpOut, type)
    if (type === ICMP_ECHOREPLY) icmp.OutEchoReps++
    else if (type === ICMP_TIMESTAMPREPLY) icmp.OutTimestampReps++
    else if (type === ICMP_DEST_UNREACH) icmp.OutDestUnreachs++
    else if (type === ICMP_TIME_EXCEEDED) icmp.OutTimeExcds++
    else if (type === ICMP_PARAMETERPROB) icmp.OutParmProbs++
    else if (type === ICMP_REDIRECT) icmp.OutRedirects++
    if (this.#stack.ip.send(message, flow) < 0) icmp.OutErrors++
  }

  /** Within the limits, which don't hold for what stays on this machine, nor for path MTU discovery. */
  #mayGo(route: Route, destination: IpAddress, type: number, code: number): boolean {
    const { ipv4 } = this.#stack.sysctls
    if ((ipv4.icmp_ratemask & (1 << type)) === 0 || route.device.isLoopback) return true
    if (type === ICMP_DEST_UNREACH && code === ICMP_FRAG_NEEDED) return true
    const { icmp } = this.#stack.counters
    if (!this.#limit.allowsGlobally()) {
      icmp.OutRateLimitGlobal++
      return false
    }
    if (this.#limit.allowsHost(destination, ipv4.icmp_ratelimit)) return true
    icmp.OutRateLimitHost++
    return false
  }

  /** RFC 1122 §3.2.2: no error about errors, about what was for many, about later fragments, or to nobody. */
  #mayAnswer(packet: Packet): boolean {
    const { view, network, source } = packet
    if (packet.type !== PACKET_HOST && packet.type !== PACKET_LOOPBACK) return false
    if (packet.toMany || source.isAny || source.isMulticast || source.isLimitedBroadcast) return false
    if ((view.getUint16(network + 6) & IP_OFFSET) !== 0) return false
    const from = addressType4(this.#stack, source)
    if (from !== RTN_UNICAST && from !== RTN_LOCAL) return false
    const to = addressType4(this.#stack, packet.destination)
    if (to !== RTN_UNICAST && to !== RTN_LOCAL) return false
    if (view.getUint8(network + 9) !== IPPROTO_ICMP) return true
    const header = network + (view.getUint8(network) & 15) * 4
    if (header + 1 > packet.end) return false
    const type = view.getUint8(header)
    return (
      type === ICMP_ECHO || type === ICMP_ECHOREPLY || type === ICMP_TIMESTAMP || type === ICMP_TIMESTAMPREPLY
    )
  }

  /** The address that was spoken to, if it is ours; else the stack chooses by the way back. */
  #errorSource(packet: Packet): IpAddress {
    return isLocal4(this.#stack, packet.destination) ? packet.destination : V4_ANY
  }

  #echo(packet: Packet): void {
    const { ipv4 } = this.#stack.sysctls
    if (ipv4.icmp_echo_ignore_all !== 0) return
    if (packet.toMany && ipv4.icmp_echo_ignore_broadcasts !== 0) return
    this.#reply(packet, ICMP_ECHOREPLY)
  }

  #timestamp(packet: Packet): void {
    const { length, start, view } = packet
    if (length < 20 || (packet.toMany && this.#stack.sysctls.ipv4.icmp_echo_ignore_broadcasts !== 0)) {
      this.#stack.counters.icmp.InErrors++
      return
    }
    const now = this.#stack.runtime.clock.realtime()
    const sinceMidnight = (now.sec % 86400) * 1000 + Math.floor(now.nsec / 1e6)
    view.setUint32(start + 12, sinceMidnight)
    view.setUint32(start + 16, sinceMidnight)
    packet.trim(20)
    this.#reply(packet, ICMP_TIMESTAMPREPLY)
  }

  /** The same message back, as another type. */
  #reply(packet: Packet, type: number): void {
    const { start, length } = packet
    const answer = this.#stack.packets.allocate(length)
    answer.bytes.set(packet.bytes.subarray(start, packet.end), answer.append(length))
    answer.view.setUint8(answer.start, type)
    answer.view.setUint8(answer.start + 1, 0)
    const flow = plainFlow(IPPROTO_ICMP, packet.toMany ? V4_ANY : packet.destination, packet.source)
    flow.tos = packet.tos & 0xfc
    this.#send(answer, flow, type)
  }

  /** An error about a packet of ours: its protocol is told. */
  #errorReceived(packet: Packet): void {
    const stack = this.#stack
    const { icmp } = stack.counters
    const inner = packet.start + ICMP_HEADER
    const { view } = packet
    if (packet.end - inner < IPV4_HEADER) {
      icmp.InErrors++
      return
    }
    const headerLength = (view.getUint8(inner) & 15) * 4
    if (
      view.getUint8(inner) >> 4 !== 4 ||
      headerLength < IPV4_HEADER ||
      packet.end - inner < headerLength + 8
    ) {
      icmp.InErrors++
      return
    }
    const error = this.#error
    error.isV4 = true
    error.type = view.getUint8(packet.start)
    error.code = view.getUint8(packet.start + 1)
    error.tooBig = false
    if (!explainError(error)) return
    error.info = error.type === ICMP_PARAMETERPROB ? view.getUint8(packet.start + 4) : 0
    if (error.type === ICMP_DEST_UNREACH && error.code === ICMP_FRAG_NEEDED) {
      if (stack.sysctls.ipv4.ip_no_pmtu_disc === 1) return
      error.tooBig = true
      error.info = view.getUint16(packet.start + 6) || guessMtu(view.getUint16(inner + 2))
    }
    error.offender = packet.source
    error.source = stack.runtime.addresses.v4(view.getUint32(inner + 12))
    error.destination = stack.runtime.addresses.v4(view.getUint32(inner + 16))
    error.device = packet.device
    // RFC 1122 §3.2.2.1: a broadcast's sender isn't to blame.
    if (stack.sysctls.ipv4.icmp_ignore_bogus_error_responses !== 0 && packet.toMany) return
    const protocol = view.getUint8(inner + 9)
    packet.network = inner
    packet.transport = inner + headerLength
    packet.transportProtocol = protocol
    packet.start = packet.transport
    stack.raw?.error(packet, error)
    stack.protocols[protocol]?.error(packet, error)
  }

  /** RFC 1122 §3.2.2.2: from the gateway in use, to one on the same link. */
  #redirected(packet: Packet): void {
    const stack = this.#stack
    const { view, start } = packet
    const device = packet.device!
    const code = view.getUint8(start + 1)
    if (packet.length < ICMP_HEADER + IPV4_HEADER || code < ICMP_REDIR_NET || code > 3) return
    if (!stack.sysctls.acceptsRedirects(device.index)) return
    const inner = start + ICMP_HEADER
    const source = stack.runtime.addresses.v4(view.getUint32(inner + 12))
    const destination = stack.runtime.addresses.v4(view.getUint32(inner + 16))
    const gateway = stack.runtime.addresses.v4(view.getUint32(start + 4))
    if (!isLocal4(stack, source) || !isNeighbour(stack, device, gateway)) return
    if (addressType4(stack, gateway) !== RTN_UNICAST) return
    const flow = plainFlow(IPPROTO_ICMP, V4_ANY, destination, undefined)
    const route = stack.ip.routeFor(flow)
    if (typeof route === 'number' || route.device !== device || !route.gateway?.equals(packet.source)) return
    stack.exceptions.get(destination).gateway = gateway
    stack.generation++
  }
}

function isNeighbour(stack: IpStack, device: NetDevice, address: IpAddress): boolean {
  return stack.addresses
    .of(device)
    .some(entry => entry.address.isV4 && address.inPrefix(entry.prefixAddress, entry.length))
}

function guessMtu(length: number): number {
  return PLATEAUS.find(plateau => plateau < length) ?? 68
}
