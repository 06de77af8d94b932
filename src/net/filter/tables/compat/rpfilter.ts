/** rpfilter: whether what answers the packet would leave through the device that it has come in on. */
import {
  NF_INET_PRE_ROUTING,
  NFPROTO_UNSPEC,
  RTN_LOCAL,
  RTN_UNICAST,
  XT_RPFILTER_ACCEPT_LOCAL,
  XT_RPFILTER_INVERT,
  XT_RPFILTER_LOOSE,
  XT_RPFILTER_VALID_MARK,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import { XT_RPFILTER_INFO } from '../../../../abi/layout.ts'
import { V4_ANY, V6_ANY } from '../../../address.ts'
import { plainFlow } from '../../../ip/ipv4-output.ts'
import { PACKET_LOOPBACK } from '../../../packet.ts'
import { addressType } from '../../address-type.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Extension, Match } from './extension.ts'

const FLAGS = XT_RPFILTER_LOOSE | XT_RPFILTER_VALID_MARK | XT_RPFILTER_ACCEPT_LOCAL | XT_RPFILTER_INVERT

export const rpfilterMatch: Extension<Match> = {
  name: 'rpfilter',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_RPFILTER_INFO.size,
  points: [NF_INET_PRE_ROUTING],
  tables: ['raw', 'mangle'],
  parse(info) {
    const flags = info.getUint8(XT_RPFILTER_INFO.flags)
    if ((flags & ~FLAGS) !== 0) return -EINVAL
    return { matches: run => comesBack(run, flags) !== ((flags & XT_RPFILTER_INVERT) !== 0) }
  },
}

function comesBack({ stack, packet, input }: Evaluation, flags: number): boolean {
  const { source, destination } = packet
  if (packet.type === PACKET_LOOPBACK || input?.isLoopback === true) return true
  if (destination.isMulticast && source.isAny) return true
  const type = addressType(stack, source)
  if (type === RTN_LOCAL && (flags & XT_RPFILTER_ACCEPT_LOCAL) === 0) return false
  if (type !== RTN_LOCAL && type !== RTN_UNICAST) return false
  const flow = plainFlow(0, source.isV4 ? V4_ANY : V6_ANY, source)
  if ((flags & XT_RPFILTER_VALID_MARK) !== 0) flow.mark = packet.mark
  if (source.isLinkLocal && !source.isV4) flow.device = input?.index ?? 0
  const route = stack.ip.routeFor(flow)
  if (typeof route === 'number') return false
  return (flags & XT_RPFILTER_LOOSE) !== 0 || route.device === input
}
