/** BatchContext: what an expression in a batch's message may refer to. */
import { NFT_SET_ANONYMOUS } from '../../../abi/constants.ts'
import { EBUSY, EINVAL, ENOENT } from '../../../abi/errno.ts'
import type { OrErrno } from '../../../base/result.ts'
import type { Netfilter } from '../../filter/netfilter.ts'
import type { Chain } from '../../filter/tables/chain.ts'
import type { ExpressionContext } from '../../filter/tables/expression.ts'
import type { Table } from '../../filter/tables/ruleset.ts'
import type { NfSet } from '../../filter/tables/set.ts'
import type { Attributes } from '../message.ts'
import type { Batch } from './batch.ts'

export class BatchContext implements ExpressionContext {
  readonly table: Table
  readonly protocol: number
  readonly #batch: Batch

  constructor(batch: Batch, table: Table, protocol: number) {
    this.#batch = batch
    this.table = table
    this.protocol = protocol
  }
  get netfilter(): Netfilter {
    return this.table.netfilter
  }
  get family(): number {
    return this.table.family
  }
  chain(attributes: Attributes, name: number, id: number): OrErrno<Chain> {
    const text = attributes.string(name)
    const number = attributes.be32(id)
    if (text === undefined && number === undefined) return -EINVAL
    const chain = text === undefined ? this.#batch.chains.get(number ?? 0) : this.table.chains.get(text)
    if (chain === undefined || chain.table !== this.table) return -ENOENT
    return chain.bound ? -EINVAL : chain
  }
  /** One that this batch has made has a number, but its name is not known to who made it. */
  set(attributes: Attributes, name: number, id: number): OrErrno<NfSet> {
    const number = attributes.be32(id)
    const set =
      this.table.sets.get(attributes.string(name) ?? '') ??
      (number === undefined ? undefined : this.#batch.sets.get(number))
    if (set === undefined || set.table !== this.table) return -ENOENT
    const taken = (set.description.flags & NFT_SET_ANONYMOUS) !== 0 && set.bindings > 0
    return taken ? -EBUSY : set
  }
}
