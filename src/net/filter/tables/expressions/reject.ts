/** reject: the packet is dropped, and its sender told so. */
import {
  ICMP_HOST_UNREACH,
  ICMP_NET_UNREACH,
  ICMP_PKT_FILTERED,
  ICMP_PORT_UNREACH,
  ICMPV6_ADDR_UNREACH,
  ICMPV6_ADM_PROHIBITED,
  ICMPV6_NOROUTE,
  ICMPV6_PORT_UNREACH,
  NF_DROP,
  NF_INET_FORWARD,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NF_INET_PRE_ROUTING,
  NFPROTO_INET,
  NFT_REJECT_ICMP_UNREACH,
  NFT_REJECT_ICMPX_ADMIN_PROHIBITED,
  NFT_REJECT_ICMPX_HOST_UNREACH,
  NFT_REJECT_ICMPX_NO_ROUTE,
  NFT_REJECT_ICMPX_PORT_UNREACH,
  NFT_REJECT_ICMPX_UNREACH,
  NFT_REJECT_TCP_RST,
  NFTA_REJECT_ICMP_CODE,
  NFTA_REJECT_TYPE,
} from '../../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../../../abi/errno.ts'
import type { Status } from '../../../../base/result.ts'
import type { MessageWriter } from '../../../netlink/message.ts'
import { sendReset, sendUnreachable } from '../../reject.ts'
import type { BaseChain } from '../chain.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionType } from '../expression.ts'

const POINTS: ReadonlySet<number> = new Set([
  NF_INET_PRE_ROUTING,
  NF_INET_LOCAL_IN,
  NF_INET_FORWARD,
  NF_INET_LOCAL_OUT,
])

/** Codes that mean the same in both families, as each of them says it. */
const BOTH: Readonly<Record<number, readonly [v4: number, v6: number]>> = {
  [NFT_REJECT_ICMPX_NO_ROUTE]: [ICMP_NET_UNREACH, ICMPV6_NOROUTE],
  [NFT_REJECT_ICMPX_PORT_UNREACH]: [ICMP_PORT_UNREACH, ICMPV6_PORT_UNREACH],
  [NFT_REJECT_ICMPX_HOST_UNREACH]: [ICMP_HOST_UNREACH, ICMPV6_ADDR_UNREACH],
  [NFT_REJECT_ICMPX_ADMIN_PROHIBITED]: [ICMP_PKT_FILTERED, ICMPV6_ADM_PROHIBITED],
}

export const reject: ExpressionType = {
  name: 'reject',
  parse(context, attributes) {
    const type = attributes.be32(NFTA_REJECT_TYPE)
    if (type === undefined) return -EINVAL
    if (type === NFT_REJECT_TCP_RST) return new Reject(type, 0)
    const code = attributes.u8(NFTA_REJECT_ICMP_CODE)
    if (type === NFT_REJECT_ICMP_UNREACH) {
      return code === undefined ? -EINVAL : new Reject(type, code)
    }
    if (type !== NFT_REJECT_ICMPX_UNREACH || context.family !== NFPROTO_INET) return -EINVAL
    return code === undefined || !(code in BOTH) ? -EINVAL : new Reject(type, code)
  },
}

class Reject implements Expression {
  readonly name = 'reject'
  readonly #type: number
  readonly #code: number

  constructor(type: number, code: number) {
    this.#type = type
    this.#code = code
  }
  validate(base: BaseChain): Status {
    return POINTS.has(base.point) ? 0 : -EOPNOTSUPP
  }
  evaluate(run: Evaluation): void {
    const { stack, packet, isV4 } = run
    if (this.#type === NFT_REJECT_TCP_RST) sendReset(stack, packet)
    else if (this.#type === NFT_REJECT_ICMP_UNREACH) sendUnreachable(stack, packet, this.#code)
    else sendUnreachable(stack, packet, BOTH[this.#code][isV4 ? 0 : 1])
    run.verdict = NF_DROP
  }
  write(writer: MessageWriter): void {
    writer.be32(NFTA_REJECT_TYPE, this.#type)
    if (this.#type !== NFT_REJECT_TCP_RST) writer.u8(NFTA_REJECT_ICMP_CODE, this.#code)
  }
}
