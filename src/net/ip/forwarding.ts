/** Forwarding: what a router does with packets for others. RFC 1812 §5, RFC 8200. */
import {
  ICMP_DEST_UNREACH,
  ICMP_EXC_TTL,
  ICMP_FRAG_NEEDED,
  ICMP_REDIR_HOST,
  ICMP_REDIRECT,
  ICMP_TIME_EXCEEDED,
  ICMPV6_EXC_HOPLIMIT,
  ICMPV6_PKT_TOOBIG,
  ICMPV6_TIME_EXCEED,
  NF_INET_FORWARD,
} from '../../abi/constants.ts'
import { updateChecksum16 } from '../checksum.ts'
import type { IpStack } from '../ip-stack.ts'
import { GSO_NONE, GSO_UDP, PACKET_HOST, type Packet } from '../packet.ts'
import type { Route } from './flow.ts'
import { type NetfilterHook, PASSED, passHooks } from './hooks.ts'
import { output4 } from './ipv4-output.ts'
import { output6 } from './ipv6-output.ts'
import { IP_DF } from './numbers.ts'

/** A packet with its network header at packet.start and a way out. */
export function forward4(stack: IpStack, packet: Packet, route: Route, redirect: boolean): void {
  const { counters, icmp4, sysctls } = stack
  const input = packet.device!
  if (packet.type !== PACKET_HOST || sysctls.ipv4Conf.of(input.index).forwarding === 0) {
    counters.ip.InAddrErrors++
    packet.release()
    return
  }
  if (packet.ttl <= 1) {
    counters.ip.InHdrErrors++
    icmp4.sendError(packet, ICMP_TIME_EXCEEDED, ICMP_EXC_TTL, 0)
    packet.release()
    return
  }
  const { view, network } = packet
  const unfragmentable = (view.getUint16(network + 6) & IP_DF) !== 0
  if (tooLong(packet, route.mtu) && unfragmentable) {
    counters.ip.FragFails++
    icmp4.sendError(packet, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, route.mtu)
    packet.release()
    return
  }
  if (redirect && sysctls.either(input.index, 'send_redirects')) {
    icmp4.sendRedirect(packet, ICMP_REDIRECT, ICMP_REDIR_HOST, route.nextHop)
  }
  const before = view.getUint16(network + 8)
  view.setUint16(network + 8, before - 0x100)
  view.setUint16(network + 10, updateChecksum16(view.getUint16(network + 10), before, before - 0x100))
  packet.ttl--
  forwarded4(stack, packet, route)
}

/** `behind`: see passHooks. */
export function forwarded4(stack: IpStack, packet: Packet, route: Route, behind?: NetfilterHook): void {
  const hooks = stack.hooks.v4[NF_INET_FORWARD]
  if (passHooks(stack, hooks, NF_INET_FORWARD, packet, packet.device, route.device, behind) !== PASSED) return
  stack.counters.ip.ForwDatagrams++
  output4(stack, packet, route, route.mtu, true, false)
}

export function forward6(stack: IpStack, packet: Packet, route: Route): void {
  const { counters, icmp6, sysctls } = stack
  const input = packet.device!
  if (packet.type !== PACKET_HOST || sysctls.ipv6Conf.of(input.index).forwarding === 0) {
    counters.ip6.InDiscards++
    packet.release()
    return
  }
  if (packet.ttl <= 1) {
    counters.ip6.InHdrErrors++
    icmp6.sendError(packet, ICMPV6_TIME_EXCEED, ICMPV6_EXC_HOPLIMIT, 0)
    packet.release()
    return
  }
  if (tooLong(packet, route.mtu)) {
    counters.ip6.InTooBigErrors++
    counters.ip6.FragFails++
    icmp6.sendError(packet, ICMPV6_PKT_TOOBIG, 0, route.mtu)
    packet.release()
    return
  }
  packet.view.setUint8(packet.network + 7, --packet.ttl)
  forwarded6(stack, packet, route)
}

export function forwarded6(stack: IpStack, packet: Packet, route: Route, behind?: NetfilterHook): void {
  const hooks = stack.hooks.v6[NF_INET_FORWARD]
  if (passHooks(stack, hooks, NF_INET_FORWARD, packet, packet.device, route.device, behind) !== PASSED) return
  stack.counters.ip6.OutForwDatagrams++
  output6(stack, packet, route, route.mtu, false, false)
}

/** Of a packet that is to be split only its segments have to fit. */
function tooLong(packet: Packet, mtu: number): boolean {
  if (packet.gsoType === GSO_NONE) return packet.length > mtu
  const { transport, end, network, view } = packet
  if (transport + 20 > end) return true
  const headers =
    transport - network + (packet.gsoType === GSO_UDP ? 8 : (view.getUint8(transport + 12) >> 4) * 4)
  return packet.gsoSize + headers > mtu
}
