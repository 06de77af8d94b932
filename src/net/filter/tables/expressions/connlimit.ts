/** connlimit (`ct count`): goes on with the rule as long as no more connections than so many have come this far. */
import {
  NFT_BREAK,
  NFT_CONNLIMIT_F_INV,
  NFTA_CONNLIMIT_COUNT,
  NFTA_CONNLIMIT_FLAGS,
} from '../../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../../../abi/errno.ts'
import type { MessageWriter } from '../../../netlink/message.ts'
import { connectionOf } from '../../conntrack/connection.ts'
import type { Conntrack } from '../../conntrack/conntrack.ts'
import { ConnectionCount } from '../../conntrack/count.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionType } from '../expression.ts'

export const connlimit: ExpressionType = {
  name: 'connlimit',
  parse({ netfilter, family }, attributes) {
    const limit = attributes.be32(NFTA_CONNLIMIT_COUNT)
    if (limit === undefined) return -EINVAL
    const flags = attributes.be32(NFTA_CONNLIMIT_FLAGS) ?? 0
    if ((flags & ~NFT_CONNLIMIT_F_INV) !== 0) return -EOPNOTSUPP
    return new ConnectionLimit(netfilter.conntrack, family, limit, flags)
  },
}

class ConnectionLimit implements Expression {
  readonly name = 'connlimit'
  readonly #conntrack: Conntrack
  readonly #family: number
  readonly #limit: number
  readonly #flags: number
  readonly #count = new ConnectionCount()

  constructor(conntrack: Conntrack, family: number, limit: number, flags: number) {
    this.#conntrack = conntrack
    this.#family = family
    this.#limit = limit
    this.#flags = flags
  }
  evaluate(run: Evaluation): void {
    const connection = connectionOf(run.packet)
    const exceeds =
      connection !== undefined && this.#count.exceeds(this.#limit, connection, run.stack.runtime.now())
    if (connection === undefined || exceeds !== ((this.#flags & NFT_CONNLIMIT_F_INV) !== 0))
      run.verdict = NFT_BREAK
  }
  attach(): void {
    this.#conntrack.use(this.#family)
  }
  detach(): void {
    this.#conntrack.unuse(this.#family)
  }
  clone(): ConnectionLimit {
    return new ConnectionLimit(this.#conntrack, this.#family, this.#limit, this.#flags)
  }
  write(writer: MessageWriter): void {
    writer.be32(NFTA_CONNLIMIT_COUNT, this.#limit)
    writer.be32(NFTA_CONNLIMIT_FLAGS, this.#flags)
  }
}
