/** The structs in which x_tables gives ranges for NAT. */
import { NF_NAT_RANGE_MASK } from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import {
  NF_NAT_IPV4_MULTI_RANGE,
  NF_NAT_IPV4_RANGE,
  NF_NAT_RANGE,
  NF_NAT_RANGE2,
} from '../../../../abi/layout.ts'
import type { OrErrno } from '../../../../base/result.ts'
import { IpAddress } from '../../../address.ts'
import type { NatRange } from '../../nat/range.ts'

/** Of IPv4, and of one range only. */
export function readMultiRange(info: DataView): OrErrno<NatRange> {
  if (info.getUint32(NF_NAT_IPV4_MULTI_RANGE.rangesize, true) !== 1) return -EINVAL
  const at = NF_NAT_IPV4_MULTI_RANGE.range
  const flags = info.getUint32(at + NF_NAT_IPV4_RANGE.flags, true)
  if ((flags & ~NF_NAT_RANGE_MASK) !== 0) return -EINVAL
  return {
    flags,
    minAddress: IpAddress.read(info, at + NF_NAT_IPV4_RANGE.min_ip, true),
    maxAddress: IpAddress.read(info, at + NF_NAT_IPV4_RANGE.max_ip, true),
    minPort: info.getUint16(at + NF_NAT_IPV4_RANGE.min),
    maxPort: info.getUint16(at + NF_NAT_IPV4_RANGE.max),
  }
}

/** Of the chain's family: an IPv4 address stands in the first word. */
export function readRange(info: DataView, isV4: boolean, hasBase: boolean): OrErrno<NatRange> {
  const flags = info.getUint32(NF_NAT_RANGE.flags, true)
  if ((flags & ~NF_NAT_RANGE_MASK) !== 0) return -EINVAL
  return {
    flags,
    minAddress: IpAddress.read(info, NF_NAT_RANGE.min_addr, isV4),
    maxAddress: IpAddress.read(info, NF_NAT_RANGE.max_addr, isV4),
    minPort: info.getUint16(NF_NAT_RANGE.min_proto),
    maxPort: info.getUint16(NF_NAT_RANGE.max_proto),
    basePort: hasBase ? info.getUint16(NF_NAT_RANGE2.base_proto) : 0,
  }
}
