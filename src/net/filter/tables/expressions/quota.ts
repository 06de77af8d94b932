/** quota: goes on with the rule as long as no more bytes than so many have come this far (or, inverted, once they have). */
import {
  NFT_BREAK,
  NFT_QUOTA_F_DEPLETED,
  NFT_QUOTA_F_INV,
  NFTA_QUOTA_BYTES,
  NFTA_QUOTA_CONSUMED,
  NFTA_QUOTA_FLAGS,
} from '../../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP, EOVERFLOW } from '../../../../abi/errno.ts'
import type { MessageWriter } from '../../../netlink/message.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionType } from '../expression.ts'

/** What a signed 64-bit number holds. */
const MAX_QUOTA = 2 ** 63

export const quota: ExpressionType = {
  name: 'quota',
  parse(_context, attributes) {
    const bytes = attributes.be64(NFTA_QUOTA_BYTES)
    if (bytes === undefined) return -EINVAL
    if (bytes >= MAX_QUOTA) return -EOVERFLOW
    const flags = attributes.be32(NFTA_QUOTA_FLAGS) ?? 0
    if ((flags & ~(NFT_QUOTA_F_INV | NFT_QUOTA_F_DEPLETED)) !== 0) return -EINVAL
    if ((flags & NFT_QUOTA_F_DEPLETED) !== 0) return -EOPNOTSUPP
    return new Quota(bytes, flags, attributes.be64(NFTA_QUOTA_CONSUMED) ?? 0)
  },
}

export class Quota implements Expression {
  readonly name = 'quota'
  bytes: number
  flags: number
  #consumed: number

  constructor(bytes: number, flags: number, consumed: number) {
    this.bytes = bytes
    this.flags = flags
    this.#consumed = consumed
  }
  evaluate(run: Evaluation): void {
    this.#consumed += run.packet.end - run.packet.network
    const over = this.#consumed > this.bytes
    if (over !== ((this.flags & NFT_QUOTA_F_INV) !== 0)) run.verdict = NFT_BREAK
  }
  clone(): Quota {
    return new Quota(this.bytes, this.flags, this.#consumed)
  }
  reset(): void {
    this.#consumed = 0
  }
  write(writer: MessageWriter): void {
    const depleted = this.#consumed >= this.bytes
    writer.be64(NFTA_QUOTA_BYTES, this.bytes)
    // What comes beyond is counted, but not shown.
    writer.be64(NFTA_QUOTA_CONSUMED, Math.min(this.#consumed, this.bytes))
    writer.be32(NFTA_QUOTA_FLAGS, depleted ? this.flags | NFT_QUOTA_F_DEPLETED : this.flags)
  }
}
