/** IPv6 extension headers: RFC 8200 §4. Finding the transport header, and checking options. */
import {
  ICMPV6_UNK_OPTION,
  IPPROTO_AH,
  IPPROTO_DSTOPTS,
  IPPROTO_FRAGMENT,
  IPPROTO_HOPOPTS,
  IPPROTO_ROUTING,
} from '../../abi/constants.ts'
import { IPV6_HEADER } from './numbers.ts'

/** A chain longer than this is an attack, not a packet. */
const MAX_HEADERS = 16

/** Where a chain of headers ends; one object used again. */
export class HeaderWalk {
  /** The first protocol that is no extension header. */
  protocol = 0
  /** Offset of its header. */
  transport = 0
  /** Offset of the byte that names it. */
  nextAt = 0
  /** Offset of the first fragment header, -1 for none. */
  fragment = -1
  /** The chain was cut off. */
  truncated = false

  /** Of the packet at `network`, which ends at `end`. Doesn't look behind the fragment header of a later fragment. */
  walk(view: DataView, network: number, end: number): void {
    this.protocol = view.getUint8(network + 6)
    this.nextAt = network + 6
    this.transport = network + IPV6_HEADER
    this.fragment = -1
    this.truncated = false
    for (let i = 0; i < MAX_HEADERS; i++) {
      if (!isExtension(this.protocol)) return
      const at = this.transport
      if (at + 8 > end) break
      const isFragment = this.protocol === IPPROTO_FRAGMENT
      const length = isFragment
        ? 8
        : this.protocol === IPPROTO_AH
          ? (view.getUint8(at + 1) + 2) * 4
          : (view.getUint8(at + 1) + 1) * 8
      if (at + length > end) break
      if (isFragment && this.fragment < 0) this.fragment = at
      this.nextAt = at
      this.protocol = view.getUint8(at)
      this.transport = at + length
      if (isFragment && (view.getUint16(at + 2) & 0xfff8) !== 0) return
    }
    this.truncated = isExtension(this.protocol)
  }
}

export function isExtension(protocol: number): boolean {
  return (
    protocol === IPPROTO_HOPOPTS ||
    protocol === IPPROTO_DSTOPTS ||
    protocol === IPPROTO_ROUTING ||
    protocol === IPPROTO_FRAGMENT ||
    protocol === IPPROTO_AH
  )
}

/** What is wrong with a header of options. */
export class OptionProblem {
  /** Offset of the fault in the view. */
  at = 0
  /** ICMPV6 parameter problem code; -1: drop without a word. */
  code = -1
  /** To be told even if the packet was for many: RFC 8200 §4.2, action 10. */
  always = false
}

const PAD1 = 0
const PADN = 1
const ROUTER_ALERT = 5

/**
 * Options of a hop-by-hop or destination header at `at`, `length` long, of which at most `limit` may be there. True: fine.
 * Unknown options are treated as their two high bits say.
 */
export function checkOptions6(
  view: DataView,
  at: number,
  length: number,
  limit: number,
  problem: OptionProblem,
): boolean {
  const end = at + length
  let count = 0
  let padding = 0
  problem.code = -1
  problem.always = false
  for (let i = at + 2; i < end; ) {
    const kind = view.getUint8(i)
    problem.at = i
    if (kind === PAD1) {
      if (++padding > 7) return false
      i++
      continue
    }
    if (i + 1 >= end) return false
    const size = view.getUint8(i + 1) + 2
    if (i + size > end) return false
    if (kind === PADN) {
      padding += size
      // RFC 4942 §2.1.9.5: padding longer than needed, or with something in it, is a covert channel.
      if (padding > 7) return false
      for (let k = i + 2; k < i + size; k++) if (view.getUint8(k) !== 0) return false
      i += size
      continue
    }
    padding = 0
    if (++count > limit) return false
    if (kind !== ROUTER_ALERT || size !== 4) {
      const action = kind >> 6
      if (action !== 0) {
        problem.code = action === 1 ? -1 : ICMPV6_UNK_OPTION
        problem.always = action === 2
        return false
      }
    }
    i += size
  }
  return true
}
