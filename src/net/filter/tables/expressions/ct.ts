/** ct: what conntrack knows of the packet's connection; its mark; the zone that it is to be tracked in. notrack: the packet is not to be tracked. */
import {
  IP_CT_IS_REPLY,
  NF_CT_STATE_INVALID_BIT,
  NF_CT_STATE_UNTRACKED_BIT,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFT_BREAK,
  NFT_CT_AVGPKT,
  NFT_CT_BYTES,
  NFT_CT_DIRECTION,
  NFT_CT_DST,
  NFT_CT_DST_IP,
  NFT_CT_DST_IP6,
  NFT_CT_EXPIRATION,
  NFT_CT_HELPER,
  NFT_CT_ID,
  NFT_CT_L3PROTOCOL,
  NFT_CT_LABELS,
  NFT_CT_MARK,
  NFT_CT_PKTS,
  NFT_CT_PROTO_DST,
  NFT_CT_PROTO_SRC,
  NFT_CT_PROTOCOL,
  NFT_CT_SRC,
  NFT_CT_SRC_IP,
  NFT_CT_SRC_IP6,
  NFT_CT_STATE,
  NFT_CT_STATUS,
  NFT_CT_ZONE,
  NFTA_CT_DIRECTION,
  NFTA_CT_DREG,
  NFTA_CT_KEY,
  NFTA_CT_SREG,
} from '../../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../../../abi/errno.ts'
import type { OrErrno } from '../../../../base/result.ts'
import type { IpAddress } from '../../../address.ts'
import type { Attributes, MessageWriter } from '../../../netlink/message.ts'
import type { Packet } from '../../../packet.ts'
import { type Connection, connectionOf, directionOf, UNTRACKED } from '../../conntrack/connection.ts'
import { LABELS_SIZE, replaceLabels } from '../../conntrack/labels.ts'
import { PLAIN, Template, ZONE_BOTH, ZONE_ORIGINAL } from '../../conntrack/template.ts'
import { isIcmp } from '../../conntrack/tuple.ts'
import type { Netfilter } from '../../netfilter.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionContext, ExpressionType } from '../expression.ts'
import { readRegister, writeRegister } from '../registers.ts'

/** Keys of the connection as a whole, and the lengths of their values. */
const OF_CONNECTION: ReadonlyMap<number, number> = new Map([
  [NFT_CT_STATE, 4],
  [NFT_CT_DIRECTION, 1],
  [NFT_CT_STATUS, 4],
  [NFT_CT_MARK, 4],
  [NFT_CT_EXPIRATION, 4],
  [NFT_CT_ID, 4],
  [NFT_CT_LABELS, LABELS_SIZE],
  [NFT_CT_HELPER, 16],
])
/** Keys of one of its directions, which must be said. */
const OF_DIRECTION: ReadonlyMap<number, number> = new Map([
  [NFT_CT_SRC_IP, 4],
  [NFT_CT_DST_IP, 4],
  [NFT_CT_SRC_IP6, 16],
  [NFT_CT_DST_IP6, 16],
  [NFT_CT_PROTO_SRC, 2],
  [NFT_CT_PROTO_DST, 2],
])
/** Keys that may have a direction. */
const OF_EITHER: ReadonlyMap<number, number> = new Map([
  [NFT_CT_L3PROTOCOL, 1],
  [NFT_CT_PROTOCOL, 1],
  [NFT_CT_PKTS, 8],
  [NFT_CT_BYTES, 8],
  [NFT_CT_AVGPKT, 8],
  [NFT_CT_ZONE, 2],
])

const COUNTED: ReadonlySet<number> = new Set([NFT_CT_PKTS, NFT_CT_BYTES, NFT_CT_AVGPKT])

export const ct: ExpressionType = {
  name: 'ct',
  parse(context, attributes) {
    const key = attributes.be32(NFTA_CT_KEY)
    if (key === undefined) return -EINVAL
    if (attributes.has(NFTA_CT_DREG) === attributes.has(NFTA_CT_SREG)) return -EINVAL
    if (attributes.has(NFTA_CT_SREG)) {
      if (key === NFT_CT_ZONE) return parseSetZone(context, attributes)
      if (key !== NFT_CT_MARK && key !== NFT_CT_LABELS) return -EOPNOTSUPP
      if (attributes.has(NFTA_CT_DIRECTION)) return -EINVAL
      if (key === NFT_CT_LABELS) {
        const at = readRegister(attributes, NFTA_CT_SREG, LABELS_SIZE)
        return at < 0 ? at : new SetLabels(context, at)
      }
      const register = readRegister(attributes, NFTA_CT_SREG, 4)
      return register < 0 ? register : new SetMark(context, register)
    }
    const direction = attributes.u8(NFTA_CT_DIRECTION)
    if (direction !== undefined && direction > 1) return -EINVAL
    const length = lengthOf(context, key, direction)
    if (length < 0) return length
    // Only what is counted can be asked for.
    if (COUNTED.has(key)) context.netfilter.conntrack.settings.nf_conntrack_acct = 1
    const register = readRegister(attributes, NFTA_CT_DREG, length)
    return register < 0 ? register : new GetCt(context, register, key, direction)
  },
}

function lengthOf(context: ExpressionContext, key: number, direction: number | undefined): number {
  const whole = OF_CONNECTION.get(key)
  if (whole !== undefined) return direction === undefined ? whole : -EINVAL
  const either = OF_EITHER.get(key)
  if (either !== undefined) return either
  // Addresses of the chain's family, from before a rule could be for both.
  const isV6 = context.family === NFPROTO_IPV6
  const one =
    key === NFT_CT_SRC || key === NFT_CT_DST
      ? context.family === NFPROTO_IPV4
        ? 4
        : isV6
          ? 16
          : undefined
      : OF_DIRECTION.get(key)
  if (one !== undefined) return direction === undefined ? -EINVAL : one
  return key === NFT_CT_SRC || key === NFT_CT_DST ? -EINVAL : -EOPNOTSUPP
}

abstract class UsesConntrack {
  readonly #netfilter: Netfilter
  readonly #family: number

  constructor({ netfilter, family }: ExpressionContext) {
    this.#netfilter = netfilter
    this.#family = family
  }
  attach(): void {
    this.#netfilter.conntrack.use(this.#family)
  }
  detach(): void {
    this.#netfilter.conntrack.unuse(this.#family)
  }
}

class GetCt extends UsesConntrack implements Expression {
  readonly name = 'ct'
  readonly #register: number
  readonly #key: number
  readonly #direction: number | undefined

  constructor(context: ExpressionContext, register: number, key: number, direction: number | undefined) {
    super(context)
    this.#register = register
    this.#key = key
    this.#direction = direction
  }
  evaluate(run: Evaluation): void {
    const { packet, view } = run
    if (this.#key === NFT_CT_STATE) {
      view.setUint32(this.#register, stateBit(packet), true)
      return
    }
    const connection = connectionOf(packet)
    if (connection === undefined || !this.#load(run, connection)) run.verdict = NFT_BREAK
  }

  #load({ packet, bytes, view, stack }: Evaluation, connection: Connection): boolean {
    const at = this.#register
    const { original } = connection
    switch (this.#key) {
      case NFT_CT_DIRECTION:
        view.setUint32(at, directionOf(packet), true)
        return true
      case NFT_CT_STATUS:
        view.setUint32(at, connection.status, true)
        return true
      case NFT_CT_MARK:
        view.setUint32(at, connection.mark, true)
        return true
      case NFT_CT_EXPIRATION:
        view.setUint32(at, Math.max(connection.expires - stack.runtime.now(), 0) / 1e6, true)
        return true
      case NFT_CT_ID:
        view.setUint32(at, connection.id, true)
        return true
      case NFT_CT_LABELS:
        if (connection.labels === undefined) bytes.fill(0, at, at + LABELS_SIZE)
        else bytes.set(connection.labels, at)
        return true
      case NFT_CT_ZONE:
        view.setUint32(at, this.#zone(connection), true)
        return true
      case NFT_CT_L3PROTOCOL:
        view.setUint32(at, original.source.isV4 ? NFPROTO_IPV4 : NFPROTO_IPV6, true)
        return true
      case NFT_CT_PROTOCOL:
        view.setUint32(at, original.protocol, true)
        return true
      case NFT_CT_PKTS:
        return this.#count(view, connection, 0)
      case NFT_CT_BYTES:
        return this.#count(view, connection, 1)
      case NFT_CT_AVGPKT:
        return this.#average(view, connection)
      // There are none, so no connection has one.
      case NFT_CT_HELPER:
        return false
    }
    const tuple = connection.tuple(this.#direction ?? 0)
    switch (this.#key) {
      case NFT_CT_PROTO_SRC:
      case NFT_CT_PROTO_DST: {
        view.setUint32(at, 0)
        const source = this.#key === NFT_CT_PROTO_SRC
        view.setUint16(at, source || isIcmp(tuple.protocol) ? tuple.from : tuple.to)
        return true
      }
      case NFT_CT_SRC:
      case NFT_CT_SRC_IP:
      case NFT_CT_SRC_IP6:
        if (!fitsFamily(this.#key, tuple.source)) return false
        tuple.source.write(view, at)
        return true
    }
    if (!fitsFamily(this.#key, tuple.destination)) return false
    tuple.destination.write(view, at)
    return true
  }

  /** Of a connection that has one in one direction only, it is to be said which. */
  #zone({ original, reply }: Connection): number {
    if (this.#direction === undefined) return original.zone === reply.zone ? original.zone : 0
    return this.#direction === 0 ? original.zone : reply.zone
  }

  #counted({ counters }: Connection, which: number): number {
    const one = (direction: number) => counters?.[2 * direction + which] ?? 0
    return this.#direction === undefined ? one(0) + one(1) : one(this.#direction)
  }
  #average(view: DataView, connection: Connection): boolean {
    const packets = this.#counted(connection, 0)
    view.setUint32(this.#register, packets === 0 ? 0 : this.#counted(connection, 1) / packets, true)
    view.setUint32(this.#register + 4, 0)
    return true
  }
  #count(view: DataView, connection: Connection, which: number): boolean {
    const value = this.#counted(connection, which)
    view.setUint32(this.#register, value % 0x100000000, true)
    view.setUint32(this.#register + 4, value / 0x100000000, true)
    return true
  }

  write(writer: MessageWriter): void {
    writer.be32(NFTA_CT_KEY, this.#key)
    writeRegister(writer, NFTA_CT_DREG, this.#register)
    if (this.#direction !== undefined) writer.u8(NFTA_CT_DIRECTION, this.#direction)
  }
}

class SetMark extends UsesConntrack implements Expression {
  readonly name = 'ct'
  readonly #register: number

  constructor(context: ExpressionContext, register: number) {
    super(context)
    this.#register = register
  }
  evaluate({ packet, view }: Evaluation): void {
    const connection = connectionOf(packet)
    if (connection !== undefined) connection.mark = view.getUint32(this.#register, true)
  }
  write(writer: MessageWriter): void {
    writer.be32(NFTA_CT_KEY, NFT_CT_MARK)
    writeRegister(writer, NFTA_CT_SREG, this.#register)
  }
}

class SetLabels extends UsesConntrack implements Expression {
  readonly name = 'ct'
  readonly #register: number

  constructor(context: ExpressionContext, register: number) {
    super(context)
    this.#register = register
  }
  evaluate({ packet, bytes }: Evaluation): void {
    const connection = connectionOf(packet)
    if (connection === undefined) return
    const value = bytes.subarray(this.#register, this.#register + LABELS_SIZE)
    replaceLabels(connection, value, value)
  }
  write(writer: MessageWriter): void {
    writer.be32(NFTA_CT_KEY, NFT_CT_LABELS)
    writeRegister(writer, NFTA_CT_SREG, this.#register)
  }
}

function parseSetZone(context: ExpressionContext, attributes: Attributes): OrErrno<Expression> {
  const direction = attributes.u8(NFTA_CT_DIRECTION)
  if (direction !== undefined && direction > 1) return -EINVAL
  const register = readRegister(attributes, NFTA_CT_SREG, 2)
  return register < 0 ? register : new SetZone(context, register, direction)
}

class SetZone extends UsesConntrack implements Expression {
  readonly name = 'ct'
  readonly #register: number
  readonly #direction: number | undefined
  /** The last one: it is mostly the same. */
  #template = PLAIN

  constructor(context: ExpressionContext, register: number, direction: number | undefined) {
    super(context)
    this.#register = register
    this.#direction = direction
  }
  evaluate({ packet, view }: Evaluation): void {
    const zone = view.getUint16(this.#register, true)
    const directions = this.#direction === undefined ? ZONE_BOTH : ZONE_ORIGINAL << this.#direction
    if ((this.#template.original | this.#template.reply) !== zone)
      this.#template = new Template(zone, directions)
    this.#template.attach(packet)
  }
  write(writer: MessageWriter): void {
    writer.be32(NFTA_CT_KEY, NFT_CT_ZONE)
    writeRegister(writer, NFTA_CT_SREG, this.#register)
    if (this.#direction !== undefined) writer.u8(NFTA_CT_DIRECTION, this.#direction)
  }
}

/** NFT_CT_SRC and NFT_CT_DST are of the chain's family, and so are its packets. */
function fitsFamily(key: number, { isV4 }: IpAddress): boolean {
  if (key === NFT_CT_SRC_IP || key === NFT_CT_DST_IP) return isV4
  return !isV4 || (key !== NFT_CT_SRC_IP6 && key !== NFT_CT_DST_IP6)
}

/** NF_CT_STATE_*: invalid, untracked, or a bit for established, related, new. */
export function stateBit({ connection, connectionInfo }: Packet): number {
  if (connection === undefined) return NF_CT_STATE_INVALID_BIT
  if (connection === UNTRACKED) return NF_CT_STATE_UNTRACKED_BIT
  return 1 << ((connectionInfo % IP_CT_IS_REPLY) + 1)
}

export const notrack: ExpressionType = {
  name: 'notrack',
  parse: () => new NoTrack(),
}

class NoTrack implements Expression {
  readonly name = 'notrack'
  evaluate({ packet }: Evaluation): void {
    // Where it already belongs to a connection it is too late.
    packet.connection ??= UNTRACKED
  }
  write(): void {}
}
