/** esp, and ah of IPv4: the security parameter index. */
import {
  IPPROTO_AH,
  IPPROTO_ESP,
  IPT_AH_INV_MASK,
  IPT_AH_INV_SPI,
  NFPROTO_IPV4,
  NFPROTO_UNSPEC,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import { IPT_AH } from '../../../../abi/layout.ts'
import type { Extension, Match } from './extension.ts'

/** `spiAt`: where it stands in the header. The structs (`ipt_ah`, `xt_esp`) and their flags are the same. */
function spiMatch(name: string, family: number, protocol: number, spiAt: number): Extension<Match> {
  return {
    ...{ name, revision: 0, family, size: IPT_AH.size, protocol },
    parse(info) {
      const inverted = info.getUint8(IPT_AH.invflags)
      if ((inverted & ~IPT_AH_INV_MASK) !== 0) return -EINVAL
      const min = info.getUint32(IPT_AH.spis, true)
      const max = info.getUint32(IPT_AH.spis + 4, true)
      return {
        matches({ packet }) {
          const { view, transport, end } = packet
          if (transport < 0 || transport + spiAt + 4 > end) return false
          const spi = view.getUint32(transport + spiAt)
          return (spi >= min && spi <= max) !== ((inverted & IPT_AH_INV_SPI) !== 0)
        },
      }
    },
  }
}

export const securityHeaderMatches = [
  spiMatch('esp', NFPROTO_UNSPEC, IPPROTO_ESP, 0),
  spiMatch('ah', NFPROTO_IPV4, IPPROTO_AH, 4),
]
