/**
 * FlowGuard: holds a sandbox's policy where its packets leave: on each device that leads out of the kernel, and on loopback
 * devices. It stands below all of IP, so that raw and packet sockets, bridges, and namespaces of the guest's own are held to it
 * as well; and it stays with a device that is moved to another namespace.
 *
 *   leaves    a frame of a flow that is known goes; the first one of a new flow is decided on (NewFlow); what is refused is
 *             told to its sender as a firewall's REJECT would: ICMP, administratively prohibited. Questions to resolvers are
 *             decided on one by one
 *   arrives   who speaks to the guest may be answered; answers of the resolver teach what names stand for (names.ts)
 *
 * There is one for all devices of a kernel.
 */
import {
  ETH_P_ARP,
  ETH_P_IP,
  ETH_P_IPV6,
  ICMP_DEST_UNREACH,
  ICMP_PKT_FILTERED,
  ICMPV6_ADM_PROHIBITED,
  ICMPV6_DEST_UNREACH,
  IPPROTO_TCP,
  IPPROTO_UDP,
} from '../../abi/constants.ts'
import { NSEC_PER_SEC } from '../../base/clock.ts'
import { IpAddress } from '../address.ts'
import type { NetRuntime } from '../ip/runtime.ts'
import type { DeviceGuard, NetDevice } from '../link/device.ts'
import { PACKET_HOST, type Packet } from '../packet.ts'
import type { NewFlow, OnFlow, OnQuestion } from './flow.ts'
import { FlowTable } from './flow-table.ts'
import { NamePins, questionOf } from './names.ts'
import { FlowTuple } from './tuple.ts'

/** Seconds after which a flow without an end of its own is a new one. */
const IDLE_LIMIT = 180
const DNS_PORT = 53
const UDP_HEADER = 8

export interface FlowGuardOptions {
  readonly onFlow: OnFlow
  /** Asked about each question to a resolver that `onFlow` denies; without it there are none of these. */
  readonly onQuestion?: OnQuestion
  /** The sandbox's resolvers, whose answers are believed. */
  readonly resolvers: readonly IpAddress[]
  /** Told of each flow that was refused. */
  readonly refused: (flow: NewFlow) => void
}

export class FlowGuard implements DeviceGuard {
  readonly #runtime: NetRuntime
  readonly #options: FlowGuardOptions
  readonly #flows: FlowTable
  readonly #names = new NamePins()
  readonly #tuple = new FlowTuple()
  readonly #quoted = new FlowTuple()
  /** What is being sent is our own answer to what was refused. */
  #rejecting = false

  constructor(runtime: NetRuntime, options: FlowGuardOptions) {
    this.#runtime = runtime
    this.#options = options
    this.#flows = new FlowTable(runtime.random.u32())
  }

  leaves(device: NetDevice, packet: Packet): boolean {
    if (this.#rejecting) return true
    const at = packet.start + device.headerLength
    const protocol = linkProtocol(device, packet)
    if (protocol === ETH_P_ARP) return true
    const tuple = this.#tuple
    if (protocol !== ETH_P_IP && protocol !== ETH_P_IPV6) return false
    if (!tuple.read(packet.view, at, packet.end)) return false
    const asks = this.#asksResolver(tuple)
    if (tuple.isLinkControl || (!asks && this.#isKnown(tuple)) || this.#answersQuoted(tuple, packet))
      return true
    const question = asks ? this.#questionIn(tuple, packet) : undefined
    const flow = this.#flowOf(tuple, device, question)
    if (this.#options.onFlow(flow) === 'allow' || this.#mayAskFor(question)) {
      this.#remember(tuple)
      return true
    }
    this.#options.refused(flow)
    this.#rejecting = true
    reject(device, packet, at, flow)
    this.#rejecting = false
    return false
  }

  arrives(device: NetDevice, packet: Packet): void {
    const tuple = this.#tuple
    // What a loopback device brings it has let go.
    if (device.isLoopback || !tuple.read(packet.view, packet.start, packet.end)) return
    const { source, destination, sourcePort, destinationPort, protocol } = tuple
    const now = this.#now()
    const place = this.#flows.find(destination, source, destinationPort, sourcePort, protocol)
    if (place < 0) {
      this.#flows.add(destination, source, destinationPort, sourcePort, protocol, now)
      return
    }
    this.#flows.touch(place, now)
    if (protocol === IPPROTO_UDP && sourcePort === DNS_PORT && this.#isResolver(source)) {
      this.#names.learn(packet.bytes.subarray(tuple.transport + UDP_HEADER, packet.end), this.#runtime.now())
    }
  }

  /** Whether a message may go to the resolver at an address for the guest, who has asked it over a relay. */
  mayAsk(message: Uint8Array, resolver: IpAddress): boolean {
    const question = questionOf(message)
    const flow: NewFlow = {
      protocol: IPPROTO_UDP,
      source: resolver,
      sourcePort: 0,
      destination: resolver,
      destinationPort: DNS_PORT,
      names: [],
      question,
      local: false,
    }
    if (this.#options.onFlow(flow) === 'allow' || this.#mayAskFor(question)) return true
    this.#options.refused(flow)
    return false
  }
  /** What has come over the relay teaches what names stand for. */
  learn(answer: Uint8Array): void {
    this.#names.learn(answer, this.#runtime.now())
  }

  #now(): number {
    return Math.floor(this.#runtime.now() / NSEC_PER_SEC)
  }

  /** A packet of a flow that was decided on. The first of a connection is always a new one's. */
  #isKnown(tuple: FlowTuple): boolean {
    const { source, destination, sourcePort, destinationPort, protocol } = tuple
    if (tuple.opens) return false
    const place = this.#flows.find(source, destination, sourcePort, destinationPort, protocol)
    if (place < 0) return false
    const now = this.#now()
    if (protocol !== IPPROTO_TCP && this.#flows.used(place) + IDLE_LIMIT < now) return false
    this.#flows.touch(place, now)
    // Each datagram's pieces have an identification of their own.
    if (tuple.identification >= 0) this.#rememberPieces(tuple)
    return true
  }

  /** An ICMP error belongs to the flow of what it quotes, which has come from where it goes. */
  #answersQuoted(tuple: FlowTuple, packet: Packet): boolean {
    const quoted = this.#quoted
    if (tuple.quoted < 0 || !quoted.read(packet.view, tuple.quoted, packet.end)) return false
    const { source, destination, sourcePort, destinationPort, protocol } = quoted
    return this.#flows.find(destination, source, destinationPort, sourcePort, protocol) >= 0
  }

  #remember(tuple: FlowTuple): void {
    const { source, destination, sourcePort, destinationPort, protocol } = tuple
    const now = this.#now()
    const place = this.#flows.find(source, destination, sourcePort, destinationPort, protocol)
    if (place >= 0) this.#flows.touch(place, now)
    else this.#flows.add(source, destination, sourcePort, destinationPort, protocol, now)
    if (tuple.identification >= 0) this.#rememberPieces(tuple)
  }

  #rememberPieces(tuple: FlowTuple): void {
    tuple.asFragment()
    const { source, destination, sourcePort, destinationPort, protocol } = tuple
    if (this.#flows.find(source, destination, sourcePort, destinationPort, protocol) >= 0) return
    this.#flows.add(source, destination, sourcePort, destinationPort, protocol, this.#now())
  }

  /** A datagram to a resolver: each is decided on, as each has a question of its own. */
  #asksResolver({ protocol, destinationPort, destination }: FlowTuple): boolean {
    return protocol === IPPROTO_UDP && destinationPort === DNS_PORT && this.#isResolver(destination)
  }

  #questionIn(tuple: FlowTuple, packet: Packet): string | undefined {
    // Whose other pieces nobody has seen.
    if (tuple.identification >= 0) return undefined
    return questionOf(packet.bytes.subarray(tuple.transport + UDP_HEADER, packet.end))
  }

  #mayAskFor(question: string | undefined): boolean {
    return question !== undefined && this.#options.onQuestion?.(question) === 'allow'
  }

  #flowOf(tuple: FlowTuple, device: NetDevice, question: string | undefined): NewFlow {
    const destination = addressOf(tuple.destination)
    const hasPorts = tuple.protocol === IPPROTO_TCP || tuple.protocol === IPPROTO_UDP
    return {
      protocol: tuple.protocol,
      source: addressOf(tuple.source),
      sourcePort: hasPorts ? tuple.sourcePort : 0,
      destination,
      destinationPort: hasPorts ? tuple.destinationPort : 0,
      names: this.#names.namesOf(destination, this.#runtime.now()),
      question,
      local: device.isLoopback,
    }
  }

  #isResolver(address: Uint32Array): boolean {
    return this.#options.resolvers.some(({ w0, w1, w2, w3 }) => {
      return address[3] === w3 && address[2] === w2 && address[1] === w1 && address[0] === w0
    })
  }
}

/** ETH_P_*: what the frame carries. */
function linkProtocol(device: NetDevice, packet: Packet): number {
  if (device.headerLength < 2) return packet.networkProtocol
  return packet.length < device.headerLength
    ? 0
    : packet.view.getUint16(packet.start + device.headerLength - 2)
}

function addressOf(words: Uint32Array): IpAddress {
  return new IpAddress(words[0], words[1], words[2], words[3])
}

/** The packet is about to be dropped: its sender hears why, unless nobody may be told (ICMP about ICMP). */
function reject(device: NetDevice, packet: Packet, at: number, flow: NewFlow): void {
  const { stack } = device
  if (stack === undefined || flow.destination.isMulticast) return
  packet.start = packet.network = at
  packet.source = flow.source
  packet.destination = flow.destination
  packet.type = PACKET_HOST
  if (flow.source.isV4) stack.icmp4.sendError(packet, ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, 0)
  else stack.icmp6.sendError(packet, ICMPV6_DEST_UNREACH, ICMPV6_ADM_PROHIBITED, 0)
}
