/** hash: a number below a modulus, of bytes in registers (`jhash`), or of the packet's flow in either direction (`symhash`). */
import {
  NFT_HASH_JENKINS,
  NFT_HASH_SYM,
  NFTA_HASH_DREG,
  NFTA_HASH_LEN,
  NFTA_HASH_MODULUS,
  NFTA_HASH_OFFSET,
  NFTA_HASH_SEED,
  NFTA_HASH_SREG,
  NFTA_HASH_TYPE,
} from '../../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP, EOVERFLOW, ERANGE } from '../../../../abi/errno.ts'
import type { OrErrno } from '../../../../base/result.ts'
import type { Attributes, MessageWriter } from '../../../netlink/message.ts'
import type { Packet } from '../../../packet.ts'
import { hasPorts } from '../../conntrack/tuple.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionType } from '../expression.ts'
import { jenkinsHash } from '../jenkins-hash.ts'
import { readRegister, writeRegister } from '../registers.ts'

export const hash: ExpressionType = {
  name: 'hash',
  parse({ netfilter }, attributes) {
    const type = attributes.be32(NFTA_HASH_TYPE) ?? NFT_HASH_JENKINS
    if (type !== NFT_HASH_JENKINS && type !== NFT_HASH_SYM) return -EOPNOTSUPP
    const into = readInto(attributes)
    if (typeof into === 'number') return into
    if (type === NFT_HASH_SYM) return new SymmetricHash(into)
    const length = attributes.be32(NFTA_HASH_LEN)
    if (length === undefined || !attributes.has(NFTA_HASH_SREG)) return -EINVAL
    if (length === 0 || length > 255) return -ERANGE
    const source = readRegister(attributes, NFTA_HASH_SREG, length)
    if (source < 0) return source
    const given = attributes.be32(NFTA_HASH_SEED)
    return new JenkinsHash(into, source, length, given, given ?? netfilter.stack.random.u32())
  },
}

interface Into {
  readonly register: number
  readonly modulus: number
  readonly offset: number
}
function readInto(attributes: Attributes): OrErrno<Into> {
  const modulus = attributes.be32(NFTA_HASH_MODULUS)
  const offset = attributes.be32(NFTA_HASH_OFFSET) ?? 0
  if (modulus === undefined) return -EINVAL
  if (modulus < 1) return -ERANGE
  if (offset + modulus - 1 > 0xffffffff) return -EOVERFLOW
  const register = readRegister(attributes, NFTA_HASH_DREG, 4)
  return register < 0 ? register : { register, modulus, offset }
}
function store({ view }: Evaluation, value: number, { register, modulus, offset }: Into): void {
  view.setUint32(register, Math.floor((value * modulus) / 2 ** 32) + offset, true)
}
function writeInto(writer: MessageWriter, { register, modulus, offset }: Into): void {
  writeRegister(writer, NFTA_HASH_DREG, register)
  writer.be32(NFTA_HASH_MODULUS, modulus)
  if (offset !== 0) writer.be32(NFTA_HASH_OFFSET, offset)
}

class JenkinsHash implements Expression {
  readonly name = 'hash'
  readonly #into: Into
  readonly #source: number
  readonly #length: number
  readonly #given: number | undefined
  readonly #seed: number

  constructor(into: Into, source: number, length: number, given: number | undefined, seed: number) {
    this.#into = into
    this.#source = source
    this.#length = length
    this.#given = given
    this.#seed = seed
  }
  evaluate(run: Evaluation): void {
    store(run, jenkinsHash(run.view, this.#source, this.#length, this.#seed), this.#into)
  }
  write(writer: MessageWriter): void {
    writeRegister(writer, NFTA_HASH_SREG, this.#source)
    writer.be32(NFTA_HASH_LEN, this.#length)
    writeInto(writer, this.#into)
    if (this.#given !== undefined) writer.be32(NFTA_HASH_SEED, this.#given)
    writer.be32(NFTA_HASH_TYPE, NFT_HASH_JENKINS)
  }
}

class SymmetricHash implements Expression {
  readonly name = 'hash'
  readonly #into: Into

  constructor(into: Into) {
    this.#into = into
  }
  evaluate(run: Evaluation): void {
    store(run, flowHash(run.packet), this.#into)
  }
  write(writer: MessageWriter): void {
    writeInto(writer, this.#into)
    writer.be32(NFTA_HASH_TYPE, NFT_HASH_SYM)
  }
}

/** The same for what answers: sums don't say which was first. */
function flowHash({ source: a, destination: b, view, transport, transportProtocol, end }: Packet): number {
  const withPorts = hasPorts(transportProtocol) && transport >= 0 && transport + 4 <= end
  const scratch = new DataView(new ArrayBuffer(12))
  const ports = withPorts ? view.getUint16(transport) + view.getUint16(transport + 2) : 0
  scratch.setUint32(0, a.w3 + b.w3)
  scratch.setUint32(4, a.w0 + b.w0 + a.w1 + b.w1 + a.w2 + b.w2)
  scratch.setUint32(8, ports ^ (transportProtocol << 24))
  return jenkinsHash(scratch, 0, 12, 0)
}
