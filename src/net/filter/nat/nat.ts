/**
 * Nat: connections whose packets get other addresses or ports on their way: RFC 3022.
 *
 * What a connection becomes is decided once, while its first packet passes: destinations at PRE_ROUTING or LOCAL_OUT, sources
 * at POST_ROUTING or LOCAL_IN, by the first rule of the nat chains there that says something; or it stays as it is, unless
 * another connection looks like that behind us. The decision is the connection's `reply` tuple: from then on each packet is
 * made to look like the inverse of the other direction's tuple, whatever the rules say by then.
 */
import {
  IP_CT_IS_REPLY,
  IP_CT_NEW,
  IP_CT_RELATED,
  IPS_DST_NAT,
  IPS_DST_NAT_DONE,
  IPS_NAT_MASK,
  IPS_SRC_NAT,
  IPS_SRC_NAT_DONE,
  NF_ACCEPT,
  NF_DROP,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NF_INET_PRE_ROUTING,
  NF_IP_PRI_NAT_DST,
  NF_IP_PRI_NAT_SRC,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
} from '../../../abi/constants.ts'
import type { NetfilterHook } from '../../ip/hooks.ts'
import type { IpStack } from '../../ip-stack.ts'
import type { NetDevice } from '../../link/device.ts'
import type { Packet } from '../../packet.ts'
import { type Connection, connectionOf, directionOf, ORIGINAL, stateOf } from '../conntrack/connection.ts'
import type { Conntrack } from '../conntrack/conntrack.ts'
import { quotedPacket } from '../conntrack/quoted.ts'
import { isIcmp } from '../conntrack/tuple.ts'
import { manglePacket, mangleQuoted } from './mangle.ts'
import { chooseTuple, type NatRange, sameAddress } from './range.ts'

const POINTS = [NF_INET_PRE_ROUTING, NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING, NF_INET_LOCAL_IN] as const

/** The nat chains of one family, by point, in order of their priorities. */
class Chains {
  readonly points: NetfilterHook[][] = [[], [], [], [], []]
  count = 0
}

export class Nat {
  readonly #stack: IpStack
  readonly #conntrack: Conntrack
  readonly #v4 = new Chains()
  readonly #v6 = new Chains()
  readonly #destination: NetfilterHook = this.#hook(NF_IP_PRI_NAT_DST)
  readonly #source: NetfilterHook = this.#hook(NF_IP_PRI_NAT_SRC)

  constructor(stack: IpStack, conntrack: Conntrack) {
    this.#stack = stack
    this.#conntrack = conntrack
  }

  /** A chain that decides about connections. The first one of a family brings NAT's own hooks with it. */
  add(isV4: boolean, point: number, chain: NetfilterHook): void {
    const chains = isV4 ? this.#v4 : this.#v6
    const list = chains.points[point]
    const at = list.findIndex(other => other.priority > chain.priority)
    list.splice(at < 0 ? list.length : at, 0, chain)
    if (chains.count++ > 0) return
    this.#conntrack.use(isV4 ? NFPROTO_IPV4 : NFPROTO_IPV6)
    for (const each of POINTS) this.#stack.hooks.add(isV4, each, this.#hookAt(each))
  }
  remove(isV4: boolean, point: number, chain: NetfilterHook): void {
    const chains = isV4 ? this.#v4 : this.#v6
    const list = chains.points[point]
    const at = list.indexOf(chain)
    if (at < 0) return
    list.splice(at, 1)
    if (--chains.count > 0) return
    for (const each of POINTS) this.#stack.hooks.remove(isV4, each, this.#hookAt(each))
    this.#conntrack.unuse(isV4 ? NFPROTO_IPV4 : NFPROTO_IPV6)
  }

  /** A rule's decision. NF_ACCEPT, or NF_DROP where the connection has been decided on already. */
  setUp(connection: Connection, range: NatRange, source: boolean): number {
    const done = source ? IPS_SRC_NAT_DONE : IPS_DST_NAT_DONE
    if (connection.confirmed) return NF_ACCEPT
    if ((connection.status & done) !== 0) return NF_DROP
    const current = connection.reply.invert()
    if (current === undefined) return NF_DROP
    const chosen = chooseTuple(this.#conntrack, current, range, source)
    if (!chosen.equals(current)) {
      const reply = chosen.invert()
      if (reply === undefined) return NF_DROP
      connection.answeredBy(reply)
      connection.status |= source ? IPS_SRC_NAT : IPS_DST_NAT
    }
    connection.status |= done
    return NF_ACCEPT
  }

  /** Behind another address the answers to what was masqueraded by the device's would never be understood. */
  deviceDown(device: NetDevice): void {
    const { table } = this.#conntrack
    for (const connection of table.connections())
      if (connection.masqueradeDevice === device.index) table.remove(connection)
  }

  #hook(priority: number): NetfilterHook {
    return {
      priority,
      filter: (_stack, point, packet, input, output) => this.#filter(point, packet, input, output),
    }
  }
  #hookAt(point: number): NetfilterHook {
    return isSourcePoint(point) ? this.#source : this.#destination
  }

  #filter(
    point: number,
    packet: Packet,
    input: NetDevice | undefined,
    output: NetDevice | undefined,
  ): number {
    const connection = connectionOf(packet)
    // What can't be tracked can't be translated.
    if (connection === undefined) return NF_ACCEPT
    const source = isSourcePoint(point)
    const state = stateOf(packet)
    if (state === IP_CT_RELATED && isIcmp(packet.transportProtocol))
      return this.#translateError(packet, connection, source) ? NF_ACCEPT : NF_DROP
    const done = source ? IPS_SRC_NAT_DONE : IPS_DST_NAT_DONE
    if ((state === IP_CT_NEW || state === IP_CT_RELATED) && (connection.status & done) === 0) {
      const verdict = this.#decide(point, packet, connection, input, output)
      if (verdict !== NF_ACCEPT) return verdict
    } else if (source && this.#hasMoved(packet, connection, output)) {
      // Behind the other device the answers would never find back.
      this.#conntrack.table.remove(connection)
      return NF_DROP
    }
    this.#translate(packet, connection, source)
    return NF_ACCEPT
  }

  #decide(
    point: number,
    packet: Packet,
    connection: Connection,
    input: NetDevice | undefined,
    output: NetDevice | undefined,
  ): number {
    const source = isSourcePoint(point)
    const done = source ? IPS_SRC_NAT_DONE : IPS_DST_NAT_DONE
    const chains = connection.original.source.isV4 ? this.#v4 : this.#v6
    for (const chain of chains.points[point]) {
      const verdict = chain.filter(this.#stack, point, packet, input, output)
      if (verdict !== NF_ACCEPT) return verdict
      if ((connection.status & done) !== 0) return NF_ACCEPT
    }
    const { reply } = connection
    return this.setUp(connection, sameAddress(source ? reply.destination : reply.source), source)
  }

  #hasMoved(packet: Packet, connection: Connection, output: NetDevice | undefined): boolean {
    const { masqueradeDevice } = connection
    if (masqueradeDevice === 0 || output === undefined || directionOf(packet) !== ORIGINAL) return false
    return output.index !== masqueradeDevice
  }

  /** Whether packets of this direction are translated here. */
  #applies(packet: Packet, connection: Connection, source: boolean): boolean {
    const mine = source ? IPS_SRC_NAT : IPS_DST_NAT
    const bit = packet.connectionInfo >= IP_CT_IS_REPLY ? mine ^ IPS_NAT_MASK : mine
    return (connection.status & bit) !== 0
  }

  #translate(packet: Packet, connection: Connection, source: boolean): void {
    if (!this.#applies(packet, connection, source)) return
    const target = connection.target(directionOf(packet))
    if (target !== undefined) manglePacket(packet, target, source)
  }

  /** The packet that it quotes is one of the other direction, as it looked when it had passed us. */
  #translateError(packet: Packet, connection: Connection, source: boolean): boolean {
    if (!this.#applies(packet, connection, source)) return true
    const quoted = quotedPacket(this.#stack, packet)
    if (quoted === undefined) return false
    const other = connection.tuple(1 - directionOf(packet))
    const { network, transport, tuple } = quoted
    mangleQuoted(packet, network, transport, tuple.protocol, other, !source)
    const target = connection.target(directionOf(packet))
    if (target !== undefined) manglePacket(packet, target, source)
    return true
  }
}

function isSourcePoint(point: number): boolean {
  return point === NF_INET_POST_ROUTING || point === NF_INET_LOCAL_IN
}
