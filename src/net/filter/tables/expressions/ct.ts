/** ct: what conntrack knows of the packet's connection; and its mark. notrack: the packet is not to be tracked. */
import {
  IP_CT_IS_REPLY,
  NF_CT_STATE_INVALID_BIT,
  NF_CT_STATE_UNTRACKED_BIT,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFT_BREAK,
  NFT_CT_BYTES,
  NFT_CT_DIRECTION,
  NFT_CT_DST,
  NFT_CT_DST_IP,
  NFT_CT_DST_IP6,
  NFT_CT_EXPIRATION,
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
import type { IpAddress } from '../../../address.ts'
import type { MessageWriter } from '../../../netlink/message.ts'
import type { Packet } from '../../../packet.ts'
import { type Connection, connectionOf, directionOf, UNTRACKED } from '../../conntrack/connection.ts'
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
  [NFT_CT_LABELS, 16],
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
  [NFT_CT_ZONE, 2],
])

export const ct: ExpressionType = {
  name: 'ct',
  parse(context, attributes) {
    const key = attributes.be32(NFTA_CT_KEY)
    if (key === undefined) return -EINVAL
    if (attributes.has(NFTA_CT_DREG) === attributes.has(NFTA_CT_SREG)) return -EINVAL
    if (attributes.has(NFTA_CT_SREG)) {
      if (key !== NFT_CT_MARK) return -EOPNOTSUPP
      if (attributes.has(NFTA_CT_DIRECTION)) return -EINVAL
      const register = readRegister(attributes, NFTA_CT_SREG, 4)
      return register < 0 ? register : new SetMark(context, register)
    }
    const direction = attributes.u8(NFTA_CT_DIRECTION)
    if (direction !== undefined && direction > 1) return -EINVAL
    const length = lengthOf(context, key, direction)
    if (length < 0) return length
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
        bytes.fill(0, at, at + 16)
        return true
      case NFT_CT_ZONE:
        view.setUint32(at, 0, true)
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

  #count(view: DataView, { counters }: Connection, which: number): boolean {
    const one = (direction: number) => counters?.[2 * direction + which] ?? 0
    const value = this.#direction === undefined ? one(0) + one(1) : one(this.#direction)
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
