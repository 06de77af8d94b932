/** Receiving IPv4: checks, routing, reassembly, delivery or forwarding. RFC 791, RFC 1122 §3.2, RFC 1812 §5. */

import {
  ICMP_DEST_UNREACH,
  ICMP_HOST_UNREACH,
  ICMP_NET_UNREACH,
  ICMP_PARAMETERPROB,
  ICMP_PKT_FILTERED,
  ICMP_PROT_UNREACH,
  NF_INET_LOCAL_IN,
  NF_INET_PRE_ROUTING,
  RTN_BROADCAST,
  RTN_MULTICAST,
  RTN_UNICAST,
} from '../../abi/constants.ts'
import { EACCES, EHOSTUNREACH, ENETUNREACH } from '../../abi/errno.ts'
import { sumView } from '../checksum.ts'
import type { IpStack } from '../ip-stack.ts'
import { PACKET_HOST, PACKET_LOOPBACK, type Packet } from '../packet.ts'
import { forward4 } from './forwarding.ts'
import { type NetfilterHook, PASSED, passHooks } from './hooks.ts'
import { checkOptions4 } from './ipv4-options.ts'
import { IP_MF, IP_OFFSET, IPV4_HEADER } from './numbers.ts'
import { routeInput4 } from './routing4.ts'

/** A packet with its network header at packet.start. */
export function receive4(stack: IpStack, packet: Packet): void {
  const { counters } = stack
  counters.ip.InReceives++
  counters.ipExt.InOctets += packet.length
  if (!checkHeader4(stack, packet)) {
    packet.release()
    return
  }
  const { view, start } = packet
  packet.network = start
  packet.source = stack.runtime.addresses.v4(view.getUint32(start + 12))
  packet.destination = stack.runtime.addresses.v4(view.getUint32(start + 16))
  packet.tos = view.getUint8(start + 1)
  packet.ttl = view.getUint8(start + 8)
  packet.transportProtocol = view.getUint8(start + 9)
  packet.transport = start + (view.getUint8(start) & 15) * 4
  countEcn(stack, packet.tos)
  const hooks = stack.hooks.v4[NF_INET_PRE_ROUTING]
  if (hooks.length > 0) {
    // Filters see whole packets: conntrack reassembles first.
    if (isFragment(packet)) {
      const whole = stack.reassembly.add4(packet)
      if (whole === undefined) return
      packet = whole
    }
    preRouting4(stack, packet)
  } else {
    route(stack, packet)
  }
}

/** Of whole packets. `behind`: see passHooks. */
export function preRouting4(stack: IpStack, packet: Packet, behind?: NetfilterHook): void {
  const hooks = stack.hooks.v4[NF_INET_PRE_ROUTING]
  if (passHooks(stack, hooks, NF_INET_PRE_ROUTING, packet, packet.device, undefined, behind) !== PASSED)
    return
  packet.source = stack.runtime.addresses.v4(packet.view.getUint32(packet.network + 12))
  packet.destination = stack.runtime.addresses.v4(packet.view.getUint32(packet.network + 16))
  route(stack, packet)
}

function route(stack: IpStack, packet: Packet): void {
  const { counters } = stack
  const status = routeInput4(stack, packet)
  const found = stack.inputRoute
  if (status < 0) {
    counters.ip.InAddrErrors++
    const device = packet.device!
    // A host says nothing about what it wouldn't forward: only routers send unreachables.
    if (stack.sysctls.ipv4Conf.of(device.index).forwarding !== 0) {
      if (status === -ENETUNREACH) {
        counters.ipExt.InNoRoutes++
        stack.icmp4.sendError(packet, ICMP_DEST_UNREACH, ICMP_NET_UNREACH, 0)
      } else if (status === -EHOSTUNREACH)
        stack.icmp4.sendError(packet, ICMP_DEST_UNREACH, ICMP_HOST_UNREACH, 0)
      else if (status === -EACCES) stack.icmp4.sendError(packet, ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, 0)
    }
    packet.release()
    return
  }
  const { type } = found
  if (packet.transport - packet.network > IPV4_HEADER) {
    const problem = checkOptions4(stack, packet)
    if (problem !== 0) {
      counters.ip.InHdrErrors++
      if (problem > 0) stack.icmp4.sendError(packet, ICMP_PARAMETERPROB, 0, problem << 24)
      packet.release()
      return
    }
  }
  if (type === RTN_UNICAST) {
    forward4(stack, packet, found.route!, found.redirect)
    return
  }
  packet.toMany = type === RTN_BROADCAST || type === RTN_MULTICAST
  if (type === RTN_MULTICAST) {
    counters.ipExt.InMcastPkts++
    counters.ipExt.InMcastOctets += packet.end - packet.network
  } else if (type === RTN_BROADCAST) {
    counters.ipExt.InBcastPkts++
    counters.ipExt.InBcastOctets += packet.end - packet.network
  } else if (packet.type !== PACKET_HOST && packet.type !== PACKET_LOOPBACK) {
    // RFC 1122 §3.3.6: a unicast packet in a link broadcast is nobody's.
    counters.ip.InDiscards++
    packet.release()
    return
  }
  deliver4(stack, packet)
}

/** To this machine's protocols. */
function deliver4(stack: IpStack, packet: Packet): void {
  if (isFragment(packet)) {
    const whole = stack.reassembly.add4(packet)
    if (whole === undefined) return
    packet = whole
  }
  localIn4(stack, packet)
}

export function localIn4(stack: IpStack, packet: Packet, behind?: NetfilterHook): void {
  const { counters } = stack
  const hooks = stack.hooks.v4[NF_INET_LOCAL_IN]
  if (passHooks(stack, hooks, NF_INET_LOCAL_IN, packet, packet.device, undefined, behind) !== PASSED) return
  packet.start = packet.transport
  const raw = stack.raw?.deliver(packet) === true
  const protocol = stack.protocols[packet.transportProtocol]
  if (protocol === undefined) {
    if (raw) {
      counters.ip.InDelivers++
    } else {
      counters.ip.InUnknownProtos++
      stack.icmp4.sendError(packet, ICMP_DEST_UNREACH, ICMP_PROT_UNREACH, 0)
    }
    packet.release()
    return
  }
  counters.ip.InDelivers++
  protocol.receive(packet)
}

export function isFragment(packet: Packet): boolean {
  return (packet.view.getUint16(packet.network + 6) & (IP_MF | IP_OFFSET)) !== 0
}

/** Lengths, version, checksum; what the link padded is cut off. */
function checkHeader4(stack: IpStack, packet: Packet): boolean {
  const { view, start, length } = packet
  const { ip, ipExt } = stack.counters
  if (length < IPV4_HEADER) {
    ip.InHdrErrors++
    return false
  }
  const first = view.getUint8(start)
  const headerLength = (first & 15) * 4
  if (first >> 4 !== 4 || headerLength < IPV4_HEADER || headerLength > length) {
    ip.InHdrErrors++
    return false
  }
  if (sumView(view, start, headerLength) !== 0xffff) {
    ipExt.InCsumErrors++
    ip.InHdrErrors++
    return false
  }
  const total = view.getUint16(start + 2)
  if (total < headerLength) {
    ip.InHdrErrors++
    return false
  }
  if (total > length) {
    ipExt.InTruncatedPkts++
    return false
  }
  packet.trim(total)
  return true
}

function countEcn(stack: IpStack, tos: number): void {
  const { ipExt } = stack.counters
  const ecn = tos & 3
  if (ecn === 0) ipExt.InNoECTPkts++
  else if (ecn === 1) ipExt.InECT1Pkts++
  else if (ecn === 2) ipExt.InECT0Pkts++
  else ipExt.InCEPkts++
}
