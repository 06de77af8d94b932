/**
 * log: writes of the packet to the kernel's log. As on Linux in every network namespace but the first (without
 * net.netfilter.nf_log_all_netns), nothing is written: a guest must not fill anybody's log. Rules are kept and shown.
 */
import {
  NF_LOG_MASK,
  NFT_LOGLEVEL_AUDIT,
  NFT_LOGLEVEL_WARNING,
  NFTA_LOG_FLAGS,
  NFTA_LOG_GROUP,
  NFTA_LOG_LEVEL,
  NFTA_LOG_PREFIX,
  NFTA_LOG_QTHRESHOLD,
  NFTA_LOG_SNAPLEN,
} from '../../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../../../abi/errno.ts'
import type { MessageWriter } from '../../../netlink/message.ts'
import type { Expression, ExpressionType } from '../expression.ts'

export const log: ExpressionType = {
  name: 'log',
  parse(_context, attributes) {
    const prefix = attributes.string(NFTA_LOG_PREFIX) ?? ''
    const group = attributes.be16(NFTA_LOG_GROUP)
    const level = attributes.be32(NFTA_LOG_LEVEL)
    if (group !== undefined) {
      if (level !== undefined || attributes.has(NFTA_LOG_FLAGS)) return -EINVAL
      return new Log(prefix, {
        group,
        snapshot: attributes.be32(NFTA_LOG_SNAPLEN) ?? 0,
        threshold: attributes.be16(NFTA_LOG_QTHRESHOLD) ?? 0,
      })
    }
    // Linux has audit where it has been built with it.
    if (level === NFT_LOGLEVEL_AUDIT) return -EOPNOTSUPP
    if (level !== undefined && level > NFT_LOGLEVEL_AUDIT) return -EINVAL
    const flags = attributes.be32(NFTA_LOG_FLAGS) ?? 0
    if ((flags & ~NF_LOG_MASK) !== 0) return -EINVAL
    return new Log(prefix, { level: level ?? NFT_LOGLEVEL_WARNING, flags })
  },
}

type Way =
  | { readonly level: number; readonly flags: number }
  | { readonly group: number; readonly snapshot: number; readonly threshold: number }

class Log implements Expression {
  readonly name = 'log'
  readonly #prefix: string
  readonly #way: Way

  constructor(prefix: string, way: Way) {
    this.#prefix = prefix
    this.#way = way
  }
  evaluate(): void {}
  write(writer: MessageWriter): void {
    if (this.#prefix !== '') writer.string(NFTA_LOG_PREFIX, this.#prefix)
    const way = this.#way
    if ('group' in way) {
      writer.be16(NFTA_LOG_GROUP, way.group)
      if (way.snapshot !== 0) writer.be32(NFTA_LOG_SNAPLEN, way.snapshot)
      if (way.threshold !== 0) writer.be16(NFTA_LOG_QTHRESHOLD, way.threshold)
      return
    }
    writer.be32(NFTA_LOG_LEVEL, way.level)
    if (way.flags !== 0) writer.be32(NFTA_LOG_FLAGS, way.flags)
  }
}
