/** NFTA_DATA: a value of some bytes, or a verdict. */
import {
  NF_ACCEPT,
  NF_DROP,
  NF_QUEUE,
  NFT_BREAK,
  NFT_CONTINUE,
  NFT_DATA_VALUE_MAXLEN,
  NFT_GOTO,
  NFT_JUMP,
  NFT_RETURN,
  NFTA_DATA_VALUE,
  NFTA_DATA_VERDICT,
  NFTA_VERDICT_CHAIN,
  NFTA_VERDICT_CHAIN_ID,
  NFTA_VERDICT_CODE,
} from '../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../../abi/errno.ts'
import type { OrErrno } from '../../../base/result.ts'
import type { Attributes, MessageWriter } from '../../netlink/message.ts'
import type { Chain } from './chain.ts'
import type { Evaluation } from './evaluation.ts'
import type { ExpressionContext } from './expression.ts'

export class Verdict {
  /** NFT_* or NF_*. */
  readonly code: number
  readonly chain: Chain | undefined

  constructor(code: number, chain: Chain | undefined) {
    this.code = code
    this.chain = chain
  }
  apply(run: Evaluation): void {
    run.verdict = this.code
    run.target = this.chain
  }
  attach(): void {
    if (this.chain !== undefined) this.chain.references++
  }
  detach(): void {
    if (this.chain !== undefined) this.chain.references--
  }
}

/** The value of a nested attribute; -EINVAL: there is none, or a verdict. */
export function readValue(attributes: Attributes, type: number): OrErrno<Uint8Array> {
  const value = attributes.nested(type)?.get(NFTA_DATA_VALUE)
  if (value === undefined || value.length === 0 || value.length > NFT_DATA_VALUE_MAXLEN) return -EINVAL
  return value.slice()
}

export function isVerdict(attributes: Attributes, type: number): boolean {
  return attributes.nested(type)?.has(NFTA_DATA_VERDICT) === true
}

export function readVerdict(
  context: ExpressionContext,
  attributes: Attributes,
  type: number,
  mayBind = false,
): OrErrno<Verdict> {
  const verdict = attributes.nested(type)?.nested(NFTA_DATA_VERDICT)
  const number = verdict?.be32(NFTA_VERDICT_CODE)
  if (verdict === undefined || number === undefined) return -EINVAL
  const code = number | 0
  switch (code) {
    case NF_ACCEPT:
    case NF_DROP:
    case NFT_CONTINUE:
    case NFT_BREAK:
    case NFT_RETURN:
      return new Verdict(code, undefined)
    case NFT_JUMP:
    case NFT_GOTO: {
      const chain = context.chain(verdict, NFTA_VERDICT_CHAIN, NFTA_VERDICT_CHAIN_ID)
      if (typeof chain === 'number') return chain
      if (chain.base !== undefined) return -EOPNOTSUPP
      // The own chain of a rule is no element's.
      return chain.binding && !mayBind ? -EINVAL : new Verdict(code, chain)
    }
  }
  // What goes into a queue says so by the expression `queue`.
  return (code & 0xff) === NF_QUEUE ? -EOPNOTSUPP : -EINVAL
}

export function writeValue(writer: MessageWriter, type: number, value: Uint8Array): void {
  const nest = writer.nest(type)
  writer.bytes(NFTA_DATA_VALUE, value)
  writer.close(nest)
}

export function writeVerdict(writer: MessageWriter, type: number, { code, chain }: Verdict): void {
  const nest = writer.nest(type)
  const verdict = writer.nest(NFTA_DATA_VERDICT)
  writer.be32(NFTA_VERDICT_CODE, code)
  if (chain !== undefined) writer.string(NFTA_VERDICT_CHAIN, chain.name)
  writer.close(verdict)
  writer.close(nest)
}
