/** limit: a token bucket: goes on with the rule while packets, or bytes, come no faster than the rate. */
import {
  NFT_BREAK,
  NFT_LIMIT_F_INV,
  NFT_LIMIT_PKT_BYTES,
  NFT_LIMIT_PKTS,
  NFTA_LIMIT_BURST,
  NFTA_LIMIT_FLAGS,
  NFTA_LIMIT_RATE,
  NFTA_LIMIT_TYPE,
  NFTA_LIMIT_UNIT,
} from '../../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP, EOVERFLOW } from '../../../../abi/errno.ts'
import { NSEC_PER_SEC } from '../../../../base/clock.ts'
import type { MessageWriter } from '../../../netlink/message.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionType } from '../expression.ts'

/** NFT_LIMIT_PKT_BURST_DEFAULT */
const DEFAULT_BURST = 5

export const limit: ExpressionType = {
  name: 'limit',
  parse(context, attributes) {
    const rate = attributes.be64(NFTA_LIMIT_RATE)
    const unit = attributes.be64(NFTA_LIMIT_UNIT)
    if (rate === undefined || unit === undefined || rate === 0 || unit === 0) return -EINVAL
    const type = attributes.be32(NFTA_LIMIT_TYPE) ?? NFT_LIMIT_PKTS
    if (type > NFT_LIMIT_PKT_BYTES) return -EOPNOTSUPP
    const flags = attributes.be32(NFTA_LIMIT_FLAGS) ?? 0
    if ((flags & ~NFT_LIMIT_F_INV) !== 0) return -EOPNOTSUPP
    const asked = attributes.be32(NFTA_LIMIT_BURST) ?? 0
    const burst = type === NFT_LIMIT_PKTS && asked === 0 ? DEFAULT_BURST : asked
    if (unit > Number.MAX_SAFE_INTEGER / NSEC_PER_SEC) return -EOVERFLOW
    return new Limit(rate, unit, burst, type, flags, context.netfilter.stack.runtime.now())
  },
}

class Limit implements Expression {
  readonly name = 'limit'
  readonly #rate: number
  /** Seconds in which the rate's number may pass. */
  readonly #unit: number
  readonly #burst: number
  readonly #type: number
  readonly #flags: number
  /** In packets, or bytes. */
  #tokens: number
  #filled: number

  constructor(rate: number, unit: number, burst: number, type: number, flags: number, now: number) {
    this.#rate = rate
    this.#unit = unit
    this.#burst = burst
    this.#type = type
    this.#flags = flags
    this.#tokens = this.#most
    this.#filled = now
  }
  get #most(): number {
    return this.#type === NFT_LIMIT_PKTS ? this.#burst : this.#rate + this.#burst
  }
  evaluate(run: Evaluation): void {
    const { packet } = run
    const cost = this.#type === NFT_LIMIT_PKTS ? 1 : packet.end - packet.network
    const exceeded = !this.#take(cost, run.stack.runtime.now())
    if (exceeded !== ((this.#flags & NFT_LIMIT_F_INV) !== 0)) run.verdict = NFT_BREAK
  }
  #take(cost: number, now: number): boolean {
    const gained = ((now - this.#filled) * this.#rate) / (this.#unit * NSEC_PER_SEC)
    this.#tokens = Math.min(this.#tokens + gained, this.#most)
    this.#filled = now
    if (this.#tokens < cost) return false
    this.#tokens -= cost
    return true
  }
  clone(now: number): Limit {
    return new Limit(this.#rate, this.#unit, this.#burst, this.#type, this.#flags, now)
  }
  write(writer: MessageWriter): void {
    writer.be64(NFTA_LIMIT_RATE, this.#rate)
    writer.be64(NFTA_LIMIT_UNIT, this.#unit)
    writer.be32(NFTA_LIMIT_BURST, this.#burst)
    writer.be32(NFTA_LIMIT_TYPE, this.#type)
    writer.be32(NFTA_LIMIT_FLAGS, this.#flags)
  }
}
