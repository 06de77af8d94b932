/** rt: what is known of the packet's route: the next hop, and the segment size that its path lets through. */
import {
  NF_INET_FORWARD,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NFT_BREAK,
  NFT_RT_CLASSID,
  NFT_RT_NEXTHOP4,
  NFT_RT_NEXTHOP6,
  NFT_RT_TCPMSS,
  NFT_RT_XFRM,
  NFTA_RT_DREG,
  NFTA_RT_KEY,
} from '../../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../../../abi/errno.ts'
import type { Status } from '../../../../base/result.ts'
import { V4_ANY, V6_ANY } from '../../../address.ts'
import { plainFlow } from '../../../ip/ipv4-output.ts'
import type { MessageWriter } from '../../../netlink/message.ts'
import type { BaseChain } from '../chain.ts'
import { pathMss } from '../compat/tcpmss.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionType } from '../expression.ts'
import { readRegister, writeRegister } from '../registers.ts'

/** Routes have no classes, and there is no IPsec: both are always 0. */
const LENGTHS: ReadonlyMap<number, number> = new Map([
  [NFT_RT_CLASSID, 4],
  [NFT_RT_NEXTHOP4, 4],
  [NFT_RT_NEXTHOP6, 16],
  [NFT_RT_TCPMSS, 2],
  [NFT_RT_XFRM, 1],
])
const LEAVING = [NF_INET_FORWARD, NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING]
/** TCP_MSS_DEFAULT: where a path's is no sensible one. */
const DEFAULT_MSS = 536

export const rt: ExpressionType = {
  name: 'rt',
  parse(_context, attributes) {
    const key = attributes.be32(NFTA_RT_KEY)
    if (key === undefined || !attributes.has(NFTA_RT_DREG)) return -EINVAL
    const length = LENGTHS.get(key)
    if (length === undefined) return -EOPNOTSUPP
    const register = readRegister(attributes, NFTA_RT_DREG, length)
    return register < 0 ? register : new LoadRoute(register, key)
  },
}

class LoadRoute implements Expression {
  readonly name = 'rt'
  readonly #register: number
  readonly #key: number

  constructor(register: number, key: number) {
    this.#register = register
    this.#key = key
  }
  validate({ point }: BaseChain): Status {
    return this.#key !== NFT_RT_TCPMSS || LEAVING.includes(point) ? 0 : -EOPNOTSUPP
  }
  evaluate(run: Evaluation): void {
    const { view, stack, packet, isV4 } = run
    const at = this.#register
    switch (this.#key) {
      case NFT_RT_TCPMSS: {
        const mss = pathMss(stack, packet)
        view.setUint32(at, 0)
        view.setUint16(at, mss > 0 && mss <= 0xffff ? mss : DEFAULT_MSS, true)
        return
      }
      case NFT_RT_NEXTHOP4:
      case NFT_RT_NEXTHOP6: {
        const route = stack.ip.routeFor(plainFlow(0, isV4 ? V4_ANY : V6_ANY, packet.destination))
        if (isV4 !== (this.#key === NFT_RT_NEXTHOP4) || typeof route === 'number') run.verdict = NFT_BREAK
        else route.nextHop.write(view, at)
        return
      }
    }
    view.setUint32(at, 0)
  }
  write(writer: MessageWriter): void {
    writer.be32(NFTA_RT_KEY, this.#key)
    writeRegister(writer, NFTA_RT_DREG, this.#register)
  }
}
