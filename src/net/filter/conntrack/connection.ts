/**
 * Connection: what conntrack knows of one connection, an entry of /proc/net/nf_conntrack.
 *
 * Its first packet makes it and carries it; until that packet has passed all filters (POST_ROUTING or LOCAL_IN) nobody else
 * knows of it, and NAT may still choose what the answers will look like. Then it is *confirmed*: in the table under both
 * tuples, until it times out, is deleted, or makes room. `reply` is what the packets in the other direction look like where
 * they come in: the inverse of `original` but for NAT.
 */
import {
  IP_CT_ESTABLISHED,
  IP_CT_IS_REPLY,
  IP_CT_NEW,
  IP_CT_RELATED,
  IPS_CONFIRMED,
  IPS_DST_NAT,
  IPS_DYING,
  IPS_SEEN_REPLY,
  IPS_SRC_NAT,
  IPS_UNTRACKED,
} from '../../../abi/constants.ts'
import type { Packet } from '../../packet.ts'
import type { TcpTracking } from './tcp.ts'
import type { Tuple } from './tuple.ts'

export const ORIGINAL = 0
export const REPLY = 1

/** One direction of a connection in the table. */
export interface TableEntry {
  readonly tuple: Tuple
  readonly connection: Connection
  readonly direction: number
  readonly hash: number
  next: TableEntry | undefined
}

export class Connection {
  readonly original: Tuple
  reply: Tuple
  /** IPS_* */
  status = 0
  mark = 0
  /** Monotonic ns. */
  expires = 0
  /** How long it lives without packets (ns): the protocol's, at the last packet. */
  timeout = 0
  readonly id: number
  tcp: TcpTracking | undefined = undefined
  /** UDP: when it began (ns), since a long talk lives longer. */
  readonly began: number
  /** Where nf_conntrack_acct is on: packets and bytes of each direction. */
  counters: Float64Array | undefined = undefined
  /** See labels.ts; absent where none have been set. */
  labels: Uint8Array | undefined = undefined
  /** Index of the device whose address masquerades it, 0 for none. */
  masqueradeDevice = 0
  /** See `target`; made when first asked for. */
  readonly #targets: (Tuple | undefined)[] = [undefined, undefined]

  constructor(original: Tuple, reply: Tuple, id: number, now: number) {
    this.original = original
    this.reply = reply
    this.id = id
    this.began = now
  }

  tuple(direction: number): Tuple {
    return direction === ORIGINAL ? this.original : this.reply
  }
  /** NAT has chosen what the answers look like. */
  answeredBy(reply: Tuple): void {
    this.reply = reply
    this.#targets[ORIGINAL] = this.#targets[REPLY] = undefined
  }
  /** What NAT makes the packets of a direction look like: the inverse of the other direction's. */
  target(direction: number): Tuple | undefined {
    this.#targets[direction] ??= this.tuple(1 - direction).invert()
    return this.#targets[direction]
  }
  get protocol(): number {
    return this.original.protocol
  }
  get confirmed(): boolean {
    return (this.status & IPS_CONFIRMED) !== 0
  }
  get dying(): boolean {
    return (this.status & IPS_DYING) !== 0
  }
  get seenReply(): boolean {
    return (this.status & IPS_SEEN_REPLY) !== 0
  }
  get translated(): boolean {
    return (this.status & (IPS_SRC_NAT | IPS_DST_NAT)) !== 0
  }
}

/** What stands in packet.connection of a packet that is not to be tracked. */
export const UNTRACKED: { readonly status: number } = { status: IPS_UNTRACKED }

export function connectionOf(packet: Packet): Connection | undefined {
  return packet.connection instanceof Connection ? packet.connection : undefined
}
export function directionOf(packet: Packet): number {
  return packet.connectionInfo >= IP_CT_IS_REPLY ? REPLY : ORIGINAL
}
/** IP_CT_ESTABLISHED, IP_CT_RELATED or IP_CT_NEW: without the direction. */
export function stateOf(packet: Packet): number {
  return packet.connectionInfo % IP_CT_IS_REPLY
}

export function setConnection(packet: Packet, connection: Connection, info: number): void {
  packet.connection = connection
  packet.connectionInfo = info
}

/** nf_ct_attach: what we answer a packet with (an ICMP error, a reset) is related to its connection. */
export function attachRelated(answer: Packet, to: Packet): void {
  const connection = connectionOf(to)
  if (connection === undefined) return
  const reply = directionOf(to) === ORIGINAL
  setConnection(answer, connection, IP_CT_RELATED + (reply ? IP_CT_IS_REPLY : 0))
}

/** As what a packet of this direction belongs to the connection. */
export function infoFor(connection: Connection, direction: number): number {
  if (direction === REPLY) return IP_CT_ESTABLISHED + IP_CT_IS_REPLY
  return connection.seenReply ? IP_CT_ESTABLISHED : IP_CT_NEW
}
