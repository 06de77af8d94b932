/**
 * Conntrack: which connection each packet of a namespace belongs to. It looks at packets only while somebody wants to know
 * (a rule that matches on it, NAT): `use` registers its hooks, `unuse` of the last user takes them out.
 * What it knows it keeps: the next user may come at once, when rules are replaced.
 *
 * A packet gets its connection where it comes in (PRE_ROUTING) or is made (LOCAL_OUT), before all filters but `raw`; what it
 * begins is confirmed behind all filters, where it leaves (POST_ROUTING) or has arrived (LOCAL_IN). What comes in again
 * over loopback has its connection already.
 */
import {
  ETH_P_IP,
  IP_CT_ESTABLISHED,
  IP_CT_IS_REPLY,
  IP_CT_NEW,
  IP_CT_RELATED,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPS_ASSURED,
  IPS_SEEN_REPLY,
  NF_ACCEPT,
  NF_DROP,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NF_INET_PRE_ROUTING,
  NF_IP_PRI_CONNTRACK,
  NF_IP_PRI_CONNTRACK_CONFIRM,
  NFPROTO_INET,
  NFPROTO_IPV4,
} from '../../../abi/constants.ts'
import { NSEC_PER_SEC } from '../../../base/clock.ts'
import { pseudoHeaderSum, sumView } from '../../checksum.ts'
import type { NetfilterHook } from '../../ip/hooks.ts'
import { IP_MF, IP_OFFSET } from '../../ip/numbers.ts'
import type { NetRuntime } from '../../ip/runtime.ts'
import type { IpStack } from '../../ip-stack.ts'
import { CHECKSUM_NONE, type Packet } from '../../packet.ts'
import {
  attachRelated,
  Connection,
  connectionOf,
  infoFor,
  ORIGINAL,
  REPLY,
  setConnection,
  type TableEntry,
} from './connection.ts'
import { isError, isQuestion, isUntracked6 } from './icmp-types.ts'
import { quotedPacket } from './quoted.ts'
import { ConntrackSettings } from './settings.ts'
import { ConnectionTable } from './table.ts'
import { TcpTracking, TRACK_ANEW, TRACK_END, TRACK_IGNORE, TRACK_INVALID } from './tcp.ts'
import { TcpSegment } from './tcp-segment.ts'
import { PLAIN, Template } from './template.ts'
import { isIcmp, readTuple, type Tuple } from './tuple.ts'

/** A UDP exchange that goes on for longer than this (ns) is a stream. */
const UDP_STREAM_AFTER = 2 * NSEC_PER_SEC

/** Who wants to know of connections' coming and going. */
export interface ConntrackListener {
  connectionChanged(connection: Connection, change: 'new' | 'update' | 'destroy'): void
}

export class Conntrack {
  readonly settings = new ConntrackSettings()
  readonly table: ConnectionTable
  listener: ConntrackListener | undefined = undefined
  readonly #stack: IpStack
  readonly #segment = new TcpSegment()
  readonly #track: NetfilterHook = {
    priority: NF_IP_PRI_CONNTRACK,
    filter: (_stack, point, packet) => this.#in(packet, point),
  }
  readonly #confirm: NetfilterHook = {
    priority: NF_IP_PRI_CONNTRACK_CONFIRM,
    filter: (_stack, _point, packet) => this.#confirmPacket(packet),
  }
  /** Of IPv4, and of IPv6. */
  readonly #users = [0, 0]
  #nextId = 0

  constructor(stack: IpStack) {
    this.#stack = stack
    this.table = new ConnectionTable(stack.runtime, connection =>
      this.listener?.connectionChanged(connection, 'destroy'),
    )
  }

  get used(): boolean {
    return this.#users[0] + this.#users[1] > 0
  }
  get runtime(): NetRuntime {
    return this.#stack.runtime
  }

  /** `family`: NFPROTO_IPV4, NFPROTO_IPV6, or NFPROTO_INET for both. */
  use(family: number): void {
    const { hooks } = this.#stack
    for (const isV4 of familiesOf(family)) {
      if (this.#users[isV4 ? 0 : 1]++ > 0) continue
      hooks.attach = attachRelated
      hooks.add(isV4, NF_INET_PRE_ROUTING, this.#track)
      hooks.add(isV4, NF_INET_LOCAL_OUT, this.#track)
      hooks.add(isV4, NF_INET_POST_ROUTING, this.#confirm)
      hooks.add(isV4, NF_INET_LOCAL_IN, this.#confirm)
    }
  }
  unuse(family: number): void {
    const { hooks } = this.#stack
    for (const isV4 of familiesOf(family)) {
      if (--this.#users[isV4 ? 0 : 1] > 0) continue
      if (!this.used) hooks.attach = undefined
      hooks.remove(isV4, NF_INET_PRE_ROUTING, this.#track)
      hooks.remove(isV4, NF_INET_LOCAL_OUT, this.#track)
      hooks.remove(isV4, NF_INET_POST_ROUTING, this.#confirm)
      hooks.remove(isV4, NF_INET_LOCAL_IN, this.#confirm)
    }
  }

  create(original: Tuple, reply: Tuple): Connection {
    // Ids say nothing of how many there have been before them.
    this.#nextId = (this.#nextId + 1 + (this.runtime.random.u32() & 0xff)) >>> 0
    return new Connection(original, reply, this.#nextId, this.runtime.now())
  }

  #in(packet: Packet, point: number): number {
    let template = PLAIN
    if (packet.connection instanceof Template) {
      template = packet.connection
      packet.connection = undefined
      packet.connectionInfo = 0
    } else if (packet.connection !== undefined) {
      // Over loopback, or a rule has said that it is not to be tracked.
      return NF_ACCEPT
    }
    const { transport, transportProtocol } = packet
    if (transport < 0 || transport > packet.end || isFragment(packet)) return NF_ACCEPT
    if (isIcmp(transportProtocol) && !this.#icmp(packet, point, template)) return NF_ACCEPT
    const tuple = this.#tupleOf(packet)
    if (tuple === undefined) return NF_ACCEPT
    if (!this.#resolve(packet, tuple, point, template)) {
      packet.connection = undefined
      packet.connectionInfo = 0
    }
    return NF_ACCEPT
  }

  #tupleOf(packet: Packet): Tuple | undefined {
    const { view, transport, end, transportProtocol, source, destination } = packet
    return readTuple(view, transport, end - transport, transportProtocol, source, destination)
  }

  /** False: it is invalid. */
  #resolve(packet: Packet, tuple: Tuple, point: number, template: Template): boolean {
    const isTcp = tuple.protocol === IPPROTO_TCP
    if (isTcp && !this.#tcpValid(packet, point)) return false
    if (tuple.protocol === IPPROTO_UDP && !this.#udpValid(packet, point)) return false
    const found = this.#find(tuple, template)
    let connection = found?.connection
    let direction = found?.direction ?? ORIGINAL
    const before = connection?.status
    const stateBefore = connection?.tcp?.state
    if (connection !== undefined && isTcp) {
      const result = this.#tcp(connection, direction, packet)
      if (result === TRACK_INVALID) return false
      if (result === TRACK_ANEW) {
        this.table.remove(connection)
        connection = undefined
        direction = ORIGINAL
      }
    }
    if (connection === undefined) {
      connection = this.#begin(packet, tuple, template)
      if (connection === undefined) return false
    } else if (!isTcp) {
      this.#refresh(connection, direction)
    }
    setConnection(packet, connection, infoFor(connection, direction))
    this.#count(connection, direction, packet)
    if (direction === REPLY) connection.status |= IPS_SEEN_REPLY
    const changed = connection.status !== before || connection.tcp?.state !== stateBefore
    if (changed && connection.confirmed && !connection.dying)
      this.listener?.connectionChanged(connection, 'update')
    return true
  }

  /** The zone of what it may be the original of can be another one than that of what it may answer. */
  #find(tuple: Tuple, { original, reply }: Template): TableEntry | undefined {
    const found = this.table.find(tuple.in(original))
    if (original === reply) return found
    if (found?.direction === ORIGINAL) return found
    const answered = this.table.find(tuple.in(reply))
    return answered?.direction === REPLY ? answered : undefined
  }

  #begin(packet: Packet, tuple: Tuple, template: Template): Connection | undefined {
    const { protocol } = tuple
    if (isIcmp(protocol) && !isQuestion(protocol, tuple.to >> 8)) return undefined
    const reply = tuple.invert()
    if (reply === undefined) return undefined
    const connection = this.create(tuple.in(template.original), reply.in(template.reply))
    if (protocol === IPPROTO_TCP) {
      connection.tcp = TcpTracking.begin(this.#segment, this.settings)
      if (connection.tcp === undefined || this.#tcp(connection, ORIGINAL, packet) === TRACK_INVALID)
        return undefined
    } else {
      this.#refresh(connection, ORIGINAL)
    }
    if (this.settings.nf_conntrack_acct !== 0) connection.counters = new Float64Array(4)
    return connection
  }

  /** TRACK_*. */
  #tcp(connection: Connection, direction: number, packet: Packet): number {
    const { tcp } = connection
    if (tcp === undefined) return TRACK_INVALID
    const result = tcp.segment(connection, direction, this.#segment, this.settings)
    if (result === TRACK_END) {
      // The refusal still belongs to it.
      setConnection(packet, connection, IP_CT_ESTABLISHED + IP_CT_IS_REPLY)
      this.table.remove(connection)
      return result
    }
    if (result === TRACK_INVALID || result === TRACK_ANEW || result === TRACK_IGNORE) return result
    connection.expires = this.runtime.now() + connection.timeout
    return result
  }

  #refresh(connection: Connection, direction: number): void {
    const { settings } = this
    const now = this.runtime.now()
    let seconds = settings.nf_conntrack_generic_timeout
    if (connection.protocol === IPPROTO_UDP) {
      seconds = settings.nf_conntrack_udp_timeout
      if (connection.seenReply && now - connection.began > UDP_STREAM_AFTER) {
        seconds = settings.nf_conntrack_udp_timeout_stream
        connection.status |= IPS_ASSURED
      }
    } else if (connection.protocol === IPPROTO_ICMP) seconds = settings.nf_conntrack_icmp_timeout
    else if (connection.protocol === IPPROTO_ICMPV6) seconds = settings.nf_conntrack_icmpv6_timeout
    else if (direction === REPLY) connection.status |= IPS_ASSURED
    connection.timeout = seconds * NSEC_PER_SEC
    connection.expires = now + connection.timeout
  }

  #count({ counters }: Connection, direction: number, packet: Packet): void {
    if (counters === undefined) return
    counters[2 * direction]++
    counters[2 * direction + 1] += packet.end - packet.network
  }

  #confirmPacket(packet: Packet): number {
    const connection = connectionOf(packet)
    if (connection === undefined || connection.confirmed) return NF_ACCEPT
    // What quotes it, or answers it while it is being refused, does not make it known.
    if (packet.connectionInfo !== IP_CT_NEW) return NF_ACCEPT
    if (!this.table.insert(connection, this.settings.nf_conntrack_max)) return NF_DROP
    this.listener?.connectionChanged(connection, 'new')
    return NF_ACCEPT
  }

  #tcpValid(packet: Packet, point: number): boolean {
    return this.#segment.read(packet) && (!this.#checks(point) || checksumRight(packet))
  }
  #udpValid(packet: Packet, point: number): boolean {
    const { view, transport, end } = packet
    if (end - transport < 8) return false
    const length = view.getUint16(transport + 4)
    if (length < 8 || transport + length > end) return false
    const hasSum = view.getUint16(transport + 6) !== 0
    return !hasSum || !this.#checks(point) || checksumRight(packet)
  }
  #checks(point: number): boolean {
    return point === NF_INET_PRE_ROUTING && this.settings.nf_conntrack_checksum !== 0
  }

  /** False: it is not to be looked at further: it is invalid, untracked, or tells of an error of a connection. */
  #icmp(packet: Packet, point: number, template: Template): boolean {
    const { view, transport, end, transportProtocol } = packet
    if (end - transport < 8) return false
    if (this.#checks(point) && !checksumRight(packet)) return false
    const type = view.getUint8(transport)
    if (transportProtocol === IPPROTO_ICMPV6 && isUntracked6(type)) return false
    if (!isError(transportProtocol, type)) return true
    const quoted = quotedPacket(this.#stack, packet)
    const answered = quoted?.tuple.invert()
    if (answered === undefined) return false
    const found = this.#find(answered, template)
    if (found === undefined) return false
    // Found by what would answer the quoted packet: the message goes the way of that answer.
    const reply = found.direction === REPLY
    setConnection(packet, found.connection, IP_CT_RELATED + (reply ? IP_CT_IS_REPLY : 0))
    return false
  }
}

function familiesOf(family: number): readonly boolean[] {
  if (family === NFPROTO_INET) return [true, false]
  return [family === NFPROTO_IPV4]
}

/** Only a raw socket's can still be one: what comes in was put together before. */
function isFragment({ view, network, networkProtocol }: Packet): boolean {
  return networkProtocol === ETH_P_IP && (view.getUint16(network + 6) & (IP_MF | IP_OFFSET)) !== 0
}

/** Of the transport header and what it covers. */
function checksumRight(packet: Packet): boolean {
  if (packet.checksum !== CHECKSUM_NONE) return true
  const { view, transport, end, transportProtocol, source, destination } = packet
  const length = end - transport
  const seed =
    transportProtocol === IPPROTO_ICMP ? 0 : pseudoHeaderSum(source, destination, transportProtocol, length)
  return sumView(view, transport, length, seed) === 0xffff
}
