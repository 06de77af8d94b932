/** iprange, length, pkttype, statistic: addresses and sizes of packets, and chance. */
import {
  IPRANGE_DST,
  IPRANGE_DST_INV,
  IPRANGE_SRC,
  IPRANGE_SRC_INV,
  NFPROTO_IPV4,
  NFPROTO_UNSPEC,
  XT_STATISTIC_INVERT,
  XT_STATISTIC_MODE_NTH,
  XT_STATISTIC_MODE_RANDOM,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import {
  XT_IPRANGE_MTINFO,
  XT_LENGTH_INFO,
  XT_PKTTYPE_INFO,
  XT_STATISTIC_INFO,
} from '../../../../abi/layout.ts'
import { compareAddresses, IpAddress } from '../../../address.ts'
import type { Extension, Match } from './extension.ts'

export const iprangeMatch: Extension<Match> = {
  name: 'iprange',
  revision: 1,
  family: NFPROTO_UNSPEC,
  size: XT_IPRANGE_MTINFO.size,
  parse(info, { family }) {
    const flags = info.getUint8(XT_IPRANGE_MTINFO.flags)
    const range = (min: number, max: number) => {
      const low = IpAddress.read(info, min, family === NFPROTO_IPV4)
      const high = IpAddress.read(info, max, family === NFPROTO_IPV4)
      return (address: IpAddress) =>
        compareAddresses(address, low) >= 0 && compareAddresses(address, high) <= 0
    }
    const inSources = range(XT_IPRANGE_MTINFO.src_min, XT_IPRANGE_MTINFO.src_max)
    const inDestinations = range(XT_IPRANGE_MTINFO.dst_min, XT_IPRANGE_MTINFO.dst_max)
    return {
      matches({ packet }) {
        if ((flags & IPRANGE_SRC) !== 0 && inSources(packet.source) === ((flags & IPRANGE_SRC_INV) !== 0))
          return false
        if ((flags & IPRANGE_DST) === 0) return true
        return inDestinations(packet.destination) !== ((flags & IPRANGE_DST_INV) !== 0)
      },
    }
  },
}

export const lengthMatch: Extension<Match> = {
  name: 'length',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_LENGTH_INFO.size,
  parse(info) {
    const min = info.getUint16(XT_LENGTH_INFO.min, true)
    const max = info.getUint16(XT_LENGTH_INFO.max, true)
    const invert = info.getUint8(XT_LENGTH_INFO.invert) !== 0
    return {
      matches({ packet }) {
        const length = packet.end - packet.network
        return (length >= min && length <= max) !== invert
      },
    }
  },
}

export const pkttypeMatch: Extension<Match> = {
  name: 'pkttype',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_PKTTYPE_INFO.size,
  parse(info) {
    const type = info.getInt32(XT_PKTTYPE_INFO.pkttype, true)
    const invert = info.getInt32(XT_PKTTYPE_INFO.invert, true) !== 0
    return { matches: ({ packet }) => (packet.type === type) !== invert }
  },
}

/** Of 2^31: the probability that a packet is meant. */
const CERTAIN = 0x80000000

export const statisticMatch: Extension<Match> = {
  name: 'statistic',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_STATISTIC_INFO.size,
  userSize: XT_STATISTIC_INFO.master,
  parse(info) {
    const mode = info.getUint16(XT_STATISTIC_INFO.mode, true)
    const flags = info.getUint16(XT_STATISTIC_INFO.flags, true)
    if (mode > XT_STATISTIC_MODE_NTH || (flags & ~XT_STATISTIC_INVERT) !== 0) return -EINVAL
    const invert = (flags & XT_STATISTIC_INVERT) !== 0
    if (mode === XT_STATISTIC_MODE_RANDOM) {
      const probability = info.getUint32(XT_STATISTIC_INFO.probability, true)
      return { matches: ({ stack }) => stack.random.below(CERTAIN) < probability !== invert }
    }
    const every = info.getUint32(XT_STATISTIC_INFO.every, true)
    let count = info.getUint32(XT_STATISTIC_INFO.packet, true)
    return {
      matches() {
        const hit = count === every
        count = hit ? 0 : count + 1
        return hit !== invert
      },
    }
  },
}
