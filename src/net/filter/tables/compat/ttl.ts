/** ttl and hl, TTL and HL: how many routers a packet may still pass: asked for, and changed. */
import {
  IPT_TTL_EQ,
  IPT_TTL_GT,
  IPT_TTL_INC,
  IPT_TTL_LT,
  IPT_TTL_MAXMODE,
  IPT_TTL_NE,
  IPT_TTL_SET,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFT_CONTINUE,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import { IPT_TTL_INFO } from '../../../../abi/layout.ts'
import { hopLimitOf, setHopLimit } from '../../header-fields.ts'
import type { Extension, Match, Target } from './extension.ts'

/** The structs and modes of the two families are the same, the targets' as well as the matches'. */
const { size, mode: MODE, ttl: TTL } = IPT_TTL_INFO

function hopMatch(name: string, family: number): Extension<Match> {
  return {
    ...{ name, revision: 0, family, size },
    parse(info) {
      const mode = info.getUint8(MODE)
      const wanted = info.getUint8(TTL)
      return { matches: ({ packet }) => compares(mode, hopLimitOf(packet), wanted) }
    },
  }
}

function compares(mode: number, found: number, wanted: number): boolean {
  switch (mode) {
    case IPT_TTL_EQ:
      return found === wanted
    case IPT_TTL_NE:
      return found !== wanted
    case IPT_TTL_LT:
      return found < wanted
    case IPT_TTL_GT:
      return found > wanted
  }
  return false
}

function hopTarget(name: string, family: number): Extension<Target> {
  return {
    ...{ name, revision: 0, family, size },
    tables: ['mangle'],
    parse(info) {
      const mode = info.getUint8(MODE)
      const amount = info.getUint8(TTL)
      if (mode > IPT_TTL_MAXMODE || (mode !== IPT_TTL_SET && amount === 0)) return -EINVAL
      return {
        apply({ packet }) {
          const before = hopLimitOf(packet)
          const after =
            mode === IPT_TTL_SET
              ? amount
              : mode === IPT_TTL_INC
                ? Math.min(before + amount, 255)
                : Math.max(before - amount, 0)
          setHopLimit(packet, after)
          return NFT_CONTINUE
        },
      }
    },
  }
}

export const ttlMatches = [hopMatch('ttl', NFPROTO_IPV4), hopMatch('hl', NFPROTO_IPV6)]
export const ttlTargets = [hopTarget('TTL', NFPROTO_IPV4), hopTarget('HL', NFPROTO_IPV6)]
