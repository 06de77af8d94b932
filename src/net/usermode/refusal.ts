/** What the gateway tells the guest when the outside refuses: the ICMP error that a router or the host there would send. */
import {
  ICMP_DEST_UNREACH,
  ICMP_HOST_UNREACH,
  ICMP_NET_UNREACH,
  ICMP_PKT_FILTERED,
  ICMP_PORT_UNREACH,
  ICMPV6_ADDR_UNREACH,
  ICMPV6_ADM_PROHIBITED,
  ICMPV6_DEST_UNREACH,
  ICMPV6_NOROUTE,
  ICMPV6_PORT_UNREACH,
} from '../../abi/constants.ts'
import { EACCES, ECONNREFUSED, ENETUNREACH, EPERM } from '../../abi/errno.ts'
import type { IpStack } from '../ip-stack.ts'
import type { Packet } from '../packet.ts'

/** `packet`: what the guest has sent, its network header at packet.network; still the caller's. `error`: negative. */
export function refuse(stack: IpStack, packet: Packet, error: number): void {
  if (packet.source.isV4) stack.icmp4.sendError(packet, ICMP_DEST_UNREACH, code4(error), 0)
  else stack.icmp6.sendError(packet, ICMPV6_DEST_UNREACH, code6(error), 0)
}

function code4(error: number): number {
  if (error === -ECONNREFUSED) return ICMP_PORT_UNREACH
  if (error === -ENETUNREACH) return ICMP_NET_UNREACH
  return error === -EACCES || error === -EPERM ? ICMP_PKT_FILTERED : ICMP_HOST_UNREACH
}

function code6(error: number): number {
  if (error === -ECONNREFUSED) return ICMPV6_PORT_UNREACH
  if (error === -ENETUNREACH) return ICMPV6_NOROUTE
  return error === -EACCES || error === -EPERM ? ICMPV6_ADM_PROHIBITED : ICMPV6_ADDR_UNREACH
}
