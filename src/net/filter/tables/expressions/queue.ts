/** queue: a program decides on the packet. */
import {
  NFPROTO_NETDEV,
  NFT_QUEUE_FLAG_BYPASS,
  NFT_QUEUE_FLAG_CPU_FANOUT,
  NFT_QUEUE_FLAG_MASK,
  NFTA_QUEUE_FLAGS,
  NFTA_QUEUE_NUM,
  NFTA_QUEUE_SREG_QNUM,
  NFTA_QUEUE_TOTAL,
} from '../../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP, ERANGE } from '../../../../abi/errno.ts'
import type { MessageWriter } from '../../../netlink/message.ts'
import type { Netfilter } from '../../netfilter.ts'
import { queueVerdict } from '../../queue-choice.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionType } from '../expression.ts'
import { readRegister, writeRegister } from '../registers.ts'

export const queue: ExpressionType = {
  name: 'queue',
  parse({ netfilter, family }, attributes) {
    if (family === NFPROTO_NETDEV) return -EOPNOTSUPP
    const first = attributes.be16(NFTA_QUEUE_NUM)
    if ((first !== undefined) === attributes.has(NFTA_QUEUE_SREG_QNUM)) return -EINVAL
    const count = attributes.be16(NFTA_QUEUE_TOTAL) ?? 1
    const flags = attributes.be16(NFTA_QUEUE_FLAGS) ?? 0
    if (first === undefined) {
      const register = readRegister(attributes, NFTA_QUEUE_SREG_QNUM, 4)
      if (register < 0) return register
      return (flags & ~NFT_QUEUE_FLAG_BYPASS) === 0 ? new Queue(netfilter, register, 0, 1, flags) : -EINVAL
    }
    if (count === 0) return -EINVAL
    if (first + count - 1 > 0xffff) return -ERANGE
    return (flags & ~NFT_QUEUE_FLAG_MASK) === 0 ? new Queue(netfilter, -1, first, count, flags) : -EINVAL
  },
}

class Queue implements Expression {
  readonly name = 'queue'
  readonly #netfilter: Netfilter
  /** Where the number stands, or -1. */
  readonly #register: number
  readonly #first: number
  readonly #count: number
  readonly #flags: number

  constructor(netfilter: Netfilter, register: number, first: number, count: number, flags: number) {
    this.#netfilter = netfilter
    this.#register = register
    this.#first = first
    this.#count = count
    this.#flags = flags
  }
  evaluate(run: Evaluation): void {
    const first = this.#register < 0 ? this.#first : run.view.getUint32(this.#register, true) & 0xffff
    const bypass = (this.#flags & NFT_QUEUE_FLAG_BYPASS) !== 0
    const byCpu = (this.#flags & NFT_QUEUE_FLAG_CPU_FANOUT) !== 0
    const choice = { first, count: this.#count, bypass, byCpu }
    run.verdict = queueVerdict(choice, run.packet, this.#netfilter.queues.seed)
  }
  write(writer: MessageWriter): void {
    if (this.#register >= 0) writeRegister(writer, NFTA_QUEUE_SREG_QNUM, this.#register)
    else {
      writer.be16(NFTA_QUEUE_NUM, this.#first)
      writer.be16(NFTA_QUEUE_TOTAL, this.#count)
    }
    writer.be16(NFTA_QUEUE_FLAGS, this.#flags)
  }
}
