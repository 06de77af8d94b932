/** log: tells of the packet, in the kernel's log or, with a group, over nfnetlink. */
import {
  NF_LOG_MASK,
  NF_LOG_PREFIXLEN,
  NFT_LOGLEVEL_AUDIT,
  NFT_LOGLEVEL_WARNING,
  NFTA_LOG_FLAGS,
  NFTA_LOG_GROUP,
  NFTA_LOG_LEVEL,
  NFTA_LOG_PREFIX,
  NFTA_LOG_QTHRESHOLD,
  NFTA_LOG_SNAPLEN,
} from '../../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP, ERANGE } from '../../../../abi/errno.ts'
import type { MessageWriter } from '../../../netlink/message.ts'
import type { GroupOptions, PacketLog } from '../../log/packet-log.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionType } from '../expression.ts'

export const log: ExpressionType = {
  name: 'log',
  parse({ netfilter }, attributes) {
    const prefix = attributes.string(NFTA_LOG_PREFIX) ?? ''
    if (prefix.length >= NF_LOG_PREFIXLEN) return -ERANGE
    const group = attributes.be16(NFTA_LOG_GROUP)
    const level = attributes.be32(NFTA_LOG_LEVEL)
    if (group !== undefined) {
      if (level !== undefined || attributes.has(NFTA_LOG_FLAGS)) return -EINVAL
      const snapshot = attributes.be32(NFTA_LOG_SNAPLEN)
      const threshold = attributes.be16(NFTA_LOG_QTHRESHOLD) ?? 0
      return new GroupLog(netfilter.log, prefix, { group, snapshot, threshold })
    }
    // Linux has audit where it has been built with it.
    if (level === NFT_LOGLEVEL_AUDIT) return -EOPNOTSUPP
    if (level !== undefined && level > NFT_LOGLEVEL_AUDIT) return -EINVAL
    const flags = attributes.be32(NFTA_LOG_FLAGS) ?? 0
    if ((flags & ~NF_LOG_MASK) !== 0) return -EINVAL
    return new KernelLog(netfilter.log, prefix, level ?? NFT_LOGLEVEL_WARNING, flags)
  },
}

class KernelLog implements Expression {
  readonly name = 'log'
  readonly #log: PacketLog
  readonly #prefix: string
  readonly #level: number
  readonly #flags: number

  constructor(log: PacketLog, prefix: string, level: number, flags: number) {
    this.#log = log
    this.#prefix = prefix
    this.#level = level
    this.#flags = flags
  }
  evaluate(run: Evaluation): void {
    this.#log.toKernel(run, this.#level, this.#flags, this.#prefix)
  }
  write(writer: MessageWriter): void {
    if (this.#prefix !== '') writer.string(NFTA_LOG_PREFIX, this.#prefix)
    writer.be32(NFTA_LOG_LEVEL, this.#level)
    if (this.#flags !== 0) writer.be32(NFTA_LOG_FLAGS, this.#flags)
  }
}

class GroupLog implements Expression {
  readonly name = 'log'
  readonly #log: PacketLog
  readonly #prefix: string
  readonly #options: GroupOptions

  constructor(log: PacketLog, prefix: string, options: GroupOptions) {
    this.#log = log
    this.#prefix = prefix
    this.#options = options
  }
  evaluate(run: Evaluation): void {
    this.#log.toGroup(run, this.#prefix, this.#options)
  }
  write(writer: MessageWriter): void {
    if (this.#prefix !== '') writer.string(NFTA_LOG_PREFIX, this.#prefix)
    const { group, snapshot, threshold } = this.#options
    writer.be16(NFTA_LOG_GROUP, group)
    if (snapshot !== undefined && snapshot !== 0) writer.be32(NFTA_LOG_SNAPLEN, snapshot)
    if (threshold !== 0) writer.be16(NFTA_LOG_QTHRESHOLD, threshold)
  }
}
