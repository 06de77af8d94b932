/** nat, masq, redir: what a new connection becomes. All of them end the rule, and the chain where they have decided. */
import {
  NF_ACCEPT,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NF_INET_PRE_ROUTING,
  NF_NAT_RANGE_MAP_IPS,
  NF_NAT_RANGE_MASK,
  NF_NAT_RANGE_PROTO_SPECIFIED,
  NFPROTO_INET,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFT_NAT_DNAT,
  NFT_NAT_SNAT,
  NFTA_MASQ_FLAGS,
  NFTA_MASQ_REG_PROTO_MAX,
  NFTA_MASQ_REG_PROTO_MIN,
  NFTA_NAT_FAMILY,
  NFTA_NAT_FLAGS,
  NFTA_NAT_REG_ADDR_MAX,
  NFTA_NAT_REG_ADDR_MIN,
  NFTA_NAT_REG_PROTO_MAX,
  NFTA_NAT_REG_PROTO_MIN,
  NFTA_NAT_TYPE,
  NFTA_REDIR_FLAGS,
  NFTA_REDIR_REG_PROTO_MAX,
  NFTA_REDIR_REG_PROTO_MIN,
} from '../../../../abi/constants.ts'
import { EAFNOSUPPORT, EINVAL, EOPNOTSUPP } from '../../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../../base/result.ts'
import { IpAddress } from '../../../address.ts'
import type { Attributes, MessageWriter } from '../../../netlink/message.ts'
import { connectionOf } from '../../conntrack/connection.ts'
import { masquerade, redirect } from '../../nat/masquerade.ts'
import type { Nat } from '../../nat/nat.ts'
import type { NatRange } from '../../nat/range.ts'
import type { Netfilter } from '../../netfilter.ts'
import type { BaseChain } from '../chain.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionContext, ExpressionType } from '../expression.ts'
import { readRegister, writeRegister } from '../registers.ts'

/** Registers with the ends of a range; -1 for none. */
interface Ends {
  readonly min: number
  readonly max: number
}

function readEnds(attributes: Attributes, min: number, max: number, length: number): OrErrno<Ends> {
  if (!attributes.has(min)) return attributes.has(max) ? -EINVAL : { min: -1, max: -1 }
  const low = readRegister(attributes, min, length)
  if (low < 0) return low
  const high = attributes.has(max) ? readRegister(attributes, max, length) : low
  return high < 0 ? high : { min: low, max: high }
}

function writeEnds(writer: MessageWriter, ends: Ends, min: number, max: number): void {
  if (ends.min < 0) return
  writeRegister(writer, min, ends.min)
  writeRegister(writer, max, ends.max)
}

/** What all three have: conntrack, flags, and a range of ports. */
abstract class Translation implements Expression {
  abstract readonly name: string
  readonly netfilter: Netfilter
  readonly flags: number
  readonly ports: Ends
  readonly #chainFamily: number

  constructor({ netfilter, family }: ExpressionContext, flags: number, ports: Ends) {
    this.netfilter = netfilter
    this.#chainFamily = family
    this.flags = flags | (ports.min < 0 ? 0 : NF_NAT_RANGE_PROTO_SPECIFIED)
    this.ports = ports
  }
  get nat(): Nat {
    return this.netfilter.nat
  }
  attach(): void {
    this.netfilter.conntrack.use(this.#chainFamily)
  }
  detach(): void {
    this.netfilter.conntrack.unuse(this.#chainFamily)
  }
  abstract get points(): readonly number[]
  validate(base: BaseChain): Status {
    return base.type === 'nat' && this.points.includes(base.point) ? 0 : -EOPNOTSUPP
  }
  abstract evaluate(run: Evaluation): void
  abstract write(writer: MessageWriter): void

  protected portRange({ view }: Evaluation): NatRange {
    const { ports, flags } = this
    if (ports.min < 0) return { flags }
    const minPort = view.getUint16(ports.min)
    const maxPort = view.getUint16(ports.max)
    return { flags, minPort, maxPort }
  }
}

export const nat: ExpressionType = {
  name: 'nat',
  parse(context, attributes) {
    const type = attributes.be32(NFTA_NAT_TYPE)
    const family = attributes.be32(NFTA_NAT_FAMILY)
    const addressGiven = attributes.has(NFTA_NAT_REG_ADDR_MIN)
    if (type === undefined || (!addressGiven && !attributes.has(NFTA_NAT_REG_PROTO_MIN))) return -EINVAL
    if (type !== NFT_NAT_SNAT && type !== NFT_NAT_DNAT) return -EINVAL
    if (family === undefined) return -EINVAL
    if (context.family !== NFPROTO_INET && context.family !== family) return -EOPNOTSUPP
    if (family !== NFPROTO_IPV4 && family !== NFPROTO_IPV6) {
      if (family !== NFPROTO_INET) return -EAFNOSUPPORT
      // In a chain of both families an address is of one of them.
      if (addressGiven) return -EAFNOSUPPORT
    }
    const addresses = readEnds(
      attributes,
      NFTA_NAT_REG_ADDR_MIN,
      NFTA_NAT_REG_ADDR_MAX,
      family === NFPROTO_IPV4 ? 4 : 16,
    )
    if (typeof addresses === 'number') return addresses
    const ports = readEnds(attributes, NFTA_NAT_REG_PROTO_MIN, NFTA_NAT_REG_PROTO_MAX, 2)
    if (typeof ports === 'number') return ports
    const flags = attributes.be32(NFTA_NAT_FLAGS) ?? 0
    if ((flags & ~NF_NAT_RANGE_MASK) !== 0) return -EOPNOTSUPP
    const mapped = flags | (addressGiven ? NF_NAT_RANGE_MAP_IPS : 0)
    return new NatExpression(context, mapped, ports, type, family, addresses)
  },
}

class NatExpression extends Translation {
  override readonly name = 'nat'
  readonly #type: number
  readonly #family: number
  readonly #addresses: Ends

  constructor(
    context: ExpressionContext,
    flags: number,
    ports: Ends,
    type: number,
    family: number,
    addresses: Ends,
  ) {
    super(context, flags, ports)
    this.#type = type
    this.#family = family
    this.#addresses = addresses
  }
  override get points(): readonly number[] {
    return this.#type === NFT_NAT_SNAT
      ? [NF_INET_POST_ROUTING, NF_INET_LOCAL_IN]
      : [NF_INET_PRE_ROUTING, NF_INET_LOCAL_OUT]
  }
  override evaluate(run: Evaluation): void {
    const connection = connectionOf(run.packet)
    run.verdict = NF_ACCEPT
    if (connection === undefined) return
    const { isV4 } = run
    if (this.#family !== NFPROTO_INET && isV4 !== (this.#family === NFPROTO_IPV4)) return
    let range = this.portRange(run)
    if (this.#addresses.min >= 0) {
      const minAddress = IpAddress.read(run.view, this.#addresses.min, isV4)
      const maxAddress = IpAddress.read(run.view, this.#addresses.max, isV4)
      range = { ...range, minAddress, maxAddress }
    }
    run.verdict = this.nat.setUp(connection, range, this.#type === NFT_NAT_SNAT)
  }
  override write(writer: MessageWriter): void {
    writer.be32(NFTA_NAT_TYPE, this.#type)
    writer.be32(NFTA_NAT_FAMILY, this.#family)
    writeEnds(writer, this.#addresses, NFTA_NAT_REG_ADDR_MIN, NFTA_NAT_REG_ADDR_MAX)
    writeEnds(writer, this.ports, NFTA_NAT_REG_PROTO_MIN, NFTA_NAT_REG_PROTO_MAX)
    if (this.flags !== 0) writer.be32(NFTA_NAT_FLAGS, this.flags)
  }
}

export const masq: ExpressionType = {
  name: 'masq',
  parse(context, attributes) {
    const flags = attributes.be32(NFTA_MASQ_FLAGS) ?? 0
    if ((flags & ~NF_NAT_RANGE_MASK) !== 0) return -EINVAL
    const ports = readEnds(attributes, NFTA_MASQ_REG_PROTO_MIN, NFTA_MASQ_REG_PROTO_MAX, 2)
    return typeof ports === 'number' ? ports : new Masquerade(context, flags, ports)
  },
}

class Masquerade extends Translation {
  override readonly name = 'masq'
  override get points(): readonly number[] {
    return [NF_INET_POST_ROUTING]
  }
  override evaluate(run: Evaluation): void {
    run.verdict = masquerade(run.stack, this.nat, run.packet, run.output, this.portRange(run))
  }
  override write(writer: MessageWriter): void {
    if (this.flags !== 0) writer.be32(NFTA_MASQ_FLAGS, this.flags)
    writeEnds(writer, this.ports, NFTA_MASQ_REG_PROTO_MIN, NFTA_MASQ_REG_PROTO_MAX)
  }
}

export const redir: ExpressionType = {
  name: 'redir',
  parse(context, attributes) {
    const ports = readEnds(attributes, NFTA_REDIR_REG_PROTO_MIN, NFTA_REDIR_REG_PROTO_MAX, 2)
    if (typeof ports === 'number') return ports
    const flags = attributes.be32(NFTA_REDIR_FLAGS) ?? 0
    if ((flags & ~NF_NAT_RANGE_MASK) !== 0) return -EINVAL
    return new Redirect(context, flags, ports)
  },
}

class Redirect extends Translation {
  override readonly name = 'redir'
  override get points(): readonly number[] {
    return [NF_INET_PRE_ROUTING, NF_INET_LOCAL_OUT]
  }
  override evaluate(run: Evaluation): void {
    run.verdict = redirect(run.stack, this.nat, run.packet, run.point, run.input, this.portRange(run))
  }
  override write(writer: MessageWriter): void {
    writeEnds(writer, this.ports, NFTA_REDIR_REG_PROTO_MIN, NFTA_REDIR_REG_PROTO_MAX)
    if (this.flags !== 0) writer.be32(NFTA_REDIR_FLAGS, this.flags)
  }
}
