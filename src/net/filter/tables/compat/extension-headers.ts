/** rt, hbh, dst, frag, ipv6header, and ah of IPv6: what extension headers a packet has. */
import {
  IP6T_AH_INV_LEN,
  IP6T_AH_INV_MASK,
  IP6T_AH_INV_SPI,
  IP6T_FRAG_FST,
  IP6T_FRAG_IDS,
  IP6T_FRAG_INV_IDS,
  IP6T_FRAG_INV_MASK,
  IP6T_FRAG_MF,
  IP6T_FRAG_NMF,
  IP6T_OPTS_INV_LEN,
  IP6T_OPTS_INV_MASK,
  IP6T_OPTS_LEN,
  IP6T_OPTS_NSTRICT,
  IP6T_OPTS_OPTS,
  IP6T_RT_FST_MASK,
  IP6T_RT_INV_LEN,
  IP6T_RT_INV_MASK,
  IP6T_RT_INV_SGS,
  IP6T_RT_INV_TYP,
  IP6T_RT_LEN,
  IP6T_RT_SGS,
  IP6T_RT_TYP,
  IPPROTO_AH,
  IPPROTO_DSTOPTS,
  IPPROTO_ESP,
  IPPROTO_FRAGMENT,
  IPPROTO_HOPOPTS,
  IPPROTO_NONE,
  IPPROTO_ROUTING,
  MASK_AH,
  MASK_DSTOPTS,
  MASK_ESP,
  MASK_FRAGMENT,
  MASK_HOPOPTS,
  MASK_NONE,
  MASK_PROTO,
  MASK_ROUTING,
  NFPROTO_IPV6,
} from '../../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../../../abi/errno.ts'
import { IP6T_AH, IP6T_FRAG, IP6T_IPV6HEADER_INFO, IP6T_OPTS, IP6T_RT } from '../../../../abi/layout.ts'
import { IPV6_HEADER } from '../../../ip/numbers.ts'
import type { Packet } from '../../../packet.ts'
import type { Extension, Match } from './extension.ts'

/** A chain longer than this is an attack, not a packet. */
const MAX_HEADERS = 16

const BITS: ReadonlyMap<number, number> = new Map([
  [IPPROTO_HOPOPTS, MASK_HOPOPTS],
  [IPPROTO_DSTOPTS, MASK_DSTOPTS],
  [IPPROTO_ROUTING, MASK_ROUTING],
  [IPPROTO_FRAGMENT, MASK_FRAGMENT],
  [IPPROTO_AH, MASK_AH],
  [IPPROTO_ESP, MASK_ESP],
  [IPPROTO_NONE, MASK_NONE],
])

/** Calls `seen` for each header but the transport's, until that says true: then true. */
function someHeader(
  { view, network, end }: Packet,
  seen: (type: number, at: number, length: number) => boolean,
): boolean {
  let type = view.getUint8(network + 6)
  let at = network + IPV6_HEADER
  for (let i = 0; i < MAX_HEADERS && BITS.has(type) && type !== IPPROTO_NONE; i++) {
    if (at + 8 > end) return false
    const units = view.getUint8(at + 1)
    const length = type === IPPROTO_FRAGMENT ? 8 : type === IPPROTO_AH ? (units + 2) * 4 : (units + 1) * 8
    if (type !== IPPROTO_ESP && at + length > end) return false
    if (seen(type, at, length)) return true
    if (type === IPPROTO_ESP) return false
    type = view.getUint8(at)
    at += length
  }
  return false
}

/** Where the first header of this type stands, -1 for nowhere. */
export function findExtensionHeader(packet: Packet, type: number): number {
  let found = -1
  someHeader(packet, (other, at) => {
    if (other === type) found = at
    return other === type
  })
  return found
}

/** A match of the first header of this type. */
function headerMatch(
  name: string,
  size: number,
  type: number,
  parse: (info: DataView) => number | ((view: DataView, at: number, length: number) => boolean),
): Extension<Match> {
  return {
    ...{ name, revision: 0, family: NFPROTO_IPV6, size },
    parse(info) {
      const fits = parse(info)
      if (typeof fits === 'number') return fits
      return {
        matches({ packet }) {
          let found = false
          const look = (other: number, at: number, length: number) => {
            if (other === type) found = fits(packet.view, at, length)
            return other === type
          }
          return someHeader(packet, look) && found
        },
      }
    },
  }
}

/** Two numbers of the machine's byte order: from, to. */
function inRange(info: DataView, at: number, value: number): boolean {
  return value >= info.getUint32(at, true) && value <= info.getUint32(at + 4, true)
}

const rtMatch = headerMatch('rt', IP6T_RT.size, IPPROTO_ROUTING, info => {
  const flags = info.getUint8(IP6T_RT.flags)
  const inverted = info.getUint8(IP6T_RT.invflags)
  if ((inverted & ~IP6T_RT_INV_MASK) !== 0) return -EINVAL
  // What was asked of routing headers of type 0, which nobody may send any more (RFC 5095).
  if ((flags & IP6T_RT_FST_MASK) !== 0) return -EOPNOTSUPP
  const fits = (flag: number, inversion: number, found: boolean) =>
    (flags & flag) === 0 || found !== ((inverted & inversion) !== 0)
  return (view, at, length) =>
    fits(IP6T_RT_SGS, IP6T_RT_INV_SGS, inRange(info, IP6T_RT.segsleft, view.getUint8(at + 3))) &&
    fits(IP6T_RT_LEN, IP6T_RT_INV_LEN, length === info.getUint32(IP6T_RT.hdrlen, true)) &&
    fits(IP6T_RT_TYP, IP6T_RT_INV_TYP, view.getUint8(at + 2) === info.getUint32(IP6T_RT.rt_type, true))
})

function optionsMatch(name: string, type: number): Extension<Match> {
  return headerMatch(name, IP6T_OPTS.size, type, info => {
    const flags = info.getUint8(IP6T_OPTS.flags)
    const inverted = info.getUint8(IP6T_OPTS.invflags)
    if ((inverted & ~IP6T_OPTS_INV_MASK) !== 0) return -EINVAL
    if ((flags & IP6T_OPTS_NSTRICT) !== 0) return -EINVAL
    const wanted = Array.from({ length: Math.min(info.getUint8(IP6T_OPTS.optsnr), MAX_OPTIONS) }, (_, i) =>
      info.getUint16(IP6T_OPTS.opts + 2 * i, true),
    )
    return (view, at, length) => {
      if ((flags & IP6T_OPTS_LEN) !== 0) {
        const same = length === info.getUint32(IP6T_OPTS.hdrlen, true)
        if (same === ((inverted & IP6T_OPTS_INV_LEN) !== 0)) return false
      }
      return (flags & IP6T_OPTS_OPTS) === 0 || hasOptions(view, at + 2, at + length, wanted)
    }
  })
}
const MAX_OPTIONS = 16
/** Of an option of any length. */
const ANY_LENGTH = 0xff

/** `wanted`: types (upper byte) and lengths, in their order, one right behind the other. */
function hasOptions(view: DataView, at: number, end: number, wanted: readonly number[]): boolean {
  for (const option of wanted) {
    if (at >= end || view.getUint8(at) !== option >> 8) return false
    const isPad1 = option >> 8 === 0
    if (!isPad1 && at + 1 >= end) return false
    const length = isPad1 ? 0 : view.getUint8(at + 1)
    if (!isPad1 && (option & 0xff) !== ANY_LENGTH && length !== (option & 0xff)) return false
    at += isPad1 ? 1 : length + 2
  }
  return true
}

/** Only of a raw socket's packets: what comes in was put together before. */
const fragMatch = headerMatch('frag', IP6T_FRAG.size, IPPROTO_FRAGMENT, info => {
  const flags = info.getUint8(IP6T_FRAG.flags)
  const inverted = info.getUint8(IP6T_FRAG.invflags)
  if ((inverted & ~IP6T_FRAG_INV_MASK) !== 0) return -EINVAL
  return (view, at) => {
    const word = view.getUint16(at + 2)
    const sameId = inRange(info, IP6T_FRAG.ids, view.getUint32(at + 4))
    if ((flags & IP6T_FRAG_IDS) !== 0 && sameId === ((inverted & IP6T_FRAG_INV_IDS) !== 0)) return false
    if ((flags & IP6T_FRAG_FST) !== 0 && word >> 3 !== 0) return false
    if ((flags & IP6T_FRAG_MF) !== 0 && (word & 1) === 0) return false
    return (flags & IP6T_FRAG_NMF) === 0 || (word & 1) === 0
  }
})

const ahMatch = headerMatch('ah', IP6T_AH.size, IPPROTO_AH, info => {
  const flags = info.getUint8(IP6T_AH.hdrres)
  const inverted = info.getUint8(IP6T_AH.invflags)
  if ((inverted & ~IP6T_AH_INV_MASK) !== 0) return -EINVAL
  const wantedLength = info.getUint32(IP6T_AH.hdrlen, true)
  return (view, at, length) => {
    const sameSpi = inRange(info, IP6T_AH.spis, view.getUint32(at + 4))
    if (sameSpi === ((inverted & IP6T_AH_INV_SPI) !== 0)) return false
    const sameLength = wantedLength === 0 || wantedLength === length
    if (sameLength === ((inverted & IP6T_AH_INV_LEN) !== 0)) return false
    return flags === 0 || view.getUint16(at + 2) === 0
  }
})

const ipv6headerMatch: Extension<Match> = {
  name: 'ipv6header',
  revision: 0,
  family: NFPROTO_IPV6,
  size: IP6T_IPV6HEADER_INFO.size,
  parse(info) {
    const wanted = info.getUint8(IP6T_IPV6HEADER_INFO.matchflags)
    const inverted = info.getUint8(IP6T_IPV6HEADER_INFO.invflags)
    const isSoft = info.getUint8(IP6T_IPV6HEADER_INFO.modeflag) !== 0
    if (!isSoft && inverted !== 0 && inverted !== 0xff) return -EINVAL
    return {
      matches({ packet }) {
        let found = 0
        someHeader(packet, type => {
          found |= BITS.get(type)!
          return false
        })
        if ((found & MASK_ESP) === 0)
          found |= packet.transportProtocol === IPPROTO_NONE ? MASK_NONE : MASK_PROTO
        if (isSoft) return ((found ^ inverted) & wanted) === wanted
        return inverted === 0 ? found === wanted : found !== wanted
      },
    }
  },
}

export const extensionHeaderMatches = [
  ...[rtMatch, optionsMatch('hbh', IPPROTO_HOPOPTS), optionsMatch('dst', IPPROTO_DSTOPTS)],
  ...[fragMatch, ahMatch, ipv6headerMatch],
]
