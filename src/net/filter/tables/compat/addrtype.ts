/** addrtype: what kind of addresses the packet's are. */
import {
  NFPROTO_IPV6,
  NFPROTO_UNSPEC,
  RTN_BLACKHOLE,
  RTN_BROADCAST,
  XT_ADDRTYPE_INVERT_DEST,
  XT_ADDRTYPE_INVERT_SOURCE,
  XT_ADDRTYPE_LIMIT_IFACE_IN,
  XT_ADDRTYPE_LIMIT_IFACE_OUT,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import { XT_ADDRTYPE_INFO_V1 } from '../../../../abi/layout.ts'
import { addressType } from '../../address-type.ts'
import type { Extension, Match } from './extension.ts'

/** Bits by RTN_*: neither broadcast nor blackhole, nor what comes after unreachable. */
const IPV6_TYPES = 0xff & ~((1 << RTN_BROADCAST) | (1 << RTN_BLACKHOLE))
const LIMITS = XT_ADDRTYPE_LIMIT_IFACE_IN | XT_ADDRTYPE_LIMIT_IFACE_OUT

export const addrtypeMatch: Extension<Match> = {
  name: 'addrtype',
  revision: 1,
  family: NFPROTO_UNSPEC,
  size: XT_ADDRTYPE_INFO_V1.size,
  parse(info, context) {
    // Bits by RTN_*.
    const sources = info.getUint16(XT_ADDRTYPE_INFO_V1.source, true)
    const destinations = info.getUint16(XT_ADDRTYPE_INFO_V1.dest, true)
    const flags = info.getUint32(XT_ADDRTYPE_INFO_V1.flags, true)
    if ((flags & LIMITS) === LIMITS) return -EINVAL
    if (context.family === NFPROTO_IPV6 && ((sources | destinations) & ~IPV6_TYPES) !== 0) return -EINVAL
    return {
      matches({ stack, packet, input, output }) {
        let device = (flags & XT_ADDRTYPE_LIMIT_IFACE_IN) !== 0 ? input : undefined
        if ((flags & XT_ADDRTYPE_LIMIT_IFACE_OUT) !== 0) device = output
        const isOf = (address: typeof packet.source, types: number) =>
          (types & (1 << addressType(stack, address, device))) !== 0
        if (sources !== 0) {
          const inverted = (flags & XT_ADDRTYPE_INVERT_SOURCE) !== 0
          if (isOf(packet.source, sources) === inverted) return false
        }
        if (destinations === 0) return true
        return isOf(packet.destination, destinations) !== ((flags & XT_ADDRTYPE_INVERT_DEST) !== 0)
      },
    }
  },
}
