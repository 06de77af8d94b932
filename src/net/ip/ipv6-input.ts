/** Receiving IPv6: checks, routing, extension headers, delivery or forwarding. RFC 8200. */

import {
  ICMPV6_ADM_PROHIBITED,
  ICMPV6_DEST_UNREACH,
  ICMPV6_HDR_FIELD,
  ICMPV6_NOROUTE,
  ICMPV6_PARAMPROB,
  ICMPV6_UNK_NEXTHDR,
  IPPROTO_DSTOPTS,
  IPPROTO_FRAGMENT,
  IPPROTO_HOPOPTS,
  IPPROTO_NONE,
  IPPROTO_ROUTING,
  NF_INET_LOCAL_IN,
  NF_INET_PRE_ROUTING,
  RTN_LOCAL,
  RTN_MULTICAST,
  RTN_UNICAST,
} from '../../abi/constants.ts'
import { EACCES, ENETUNREACH } from '../../abi/errno.ts'
import type { IpStack } from '../ip-stack.ts'
import { PACKET_HOST, PACKET_LOOPBACK, type Packet } from '../packet.ts'
import { checkOptions6, HeaderWalk, isExtension, OptionProblem } from './extension-headers.ts'
import { forward6 } from './forwarding.ts'
import { type NetfilterHook, PASSED, passHooks } from './hooks.ts'
import { IPV6_HEADER } from './numbers.ts'
import { routeInput6 } from './routing6.ts'

const MAX_HEADERS = 16

/** A packet with its network header at packet.start. */
export function receive6(stack: IpStack, packet: Packet): void {
  const { counters } = stack
  counters.ip6.InReceives++
  counters.ip6.InOctets += packet.length
  if (!checkHeader6(stack, packet)) {
    packet.release()
    return
  }
  const { view, start } = packet
  packet.network = start
  packet.source = stack.runtime.addresses.v6(view, start + 8)
  packet.destination = stack.runtime.addresses.v6(view, start + 24)
  packet.tos = (view.getUint16(start) >> 4) & 0xff
  packet.flowLabel = view.getUint32(start) & 0xfffff
  packet.ttl = view.getUint8(start + 7)
  // Link-local IPv4-mapped addresses on the wire would let the outside speak as 127.0.0.1: RFC 4942 §2.2.
  if (packet.source.isV4 || packet.destination.isV4) {
    counters.ip6.InAddrErrors++
    packet.release()
    return
  }
  const walk = stack.headerWalk
  walk.walk(view, start, packet.end)
  if (walk.truncated) {
    counters.ip6.InTruncatedPkts++
    packet.release()
    return
  }
  packet.transportProtocol = walk.protocol
  packet.transport = walk.transport
  // Hop-by-hop options are everybody's to look at.
  if (view.getUint8(start + 6) === IPPROTO_HOPOPTS && !hopByHop(stack, packet)) return
  const hooks = stack.hooks.v6[NF_INET_PRE_ROUTING]
  if (hooks.length > 0) {
    if (walk.fragment >= 0) {
      const whole = reassemble(stack, packet, walk)
      if (whole === undefined) return
      packet = whole
    }
    preRouting6(stack, packet)
  } else {
    route(stack, packet)
  }
}

/** Of whole packets. `behind`: see passHooks. */
export function preRouting6(stack: IpStack, packet: Packet, behind?: NetfilterHook): void {
  const hooks = stack.hooks.v6[NF_INET_PRE_ROUTING]
  if (passHooks(stack, hooks, NF_INET_PRE_ROUTING, packet, packet.device, undefined, behind) !== PASSED)
    return
  packet.destination = stack.runtime.addresses.v6(packet.view, packet.network + 24)
  packet.source = stack.runtime.addresses.v6(packet.view, packet.network + 8)
  route(stack, packet)
}

function route(stack: IpStack, packet: Packet): void {
  const { counters } = stack
  const status = routeInput6(stack, packet)
  if (packet.destination.isMulticast) {
    counters.ip6.InMcastPkts++
    counters.ip6.InMcastOctets += packet.end - packet.network
    // Of a group that nobody here is in: nothing is wrong with it.
    if (status < 0) {
      packet.release()
      return
    }
  }
  if (status < 0) {
    counters.ip6.InAddrErrors++
    if (stack.sysctls.ipv6Conf.of(packet.device!.index).forwarding !== 0) {
      if (status === -ENETUNREACH) {
        counters.ip6.InNoRoutes++
        stack.icmp6.sendError(packet, ICMPV6_DEST_UNREACH, ICMPV6_NOROUTE, 0)
      } else if (status === -EACCES)
        stack.icmp6.sendError(packet, ICMPV6_DEST_UNREACH, ICMPV6_ADM_PROHIBITED, 0)
    }
    packet.release()
    return
  }
  const { type, route: way, redirect } = stack.inputRoute
  if (type === RTN_UNICAST) {
    if (redirect) stack.ndp.sendRedirect(packet, way!)
    forward6(stack, packet, way!)
    return
  }
  packet.toMany = type === RTN_MULTICAST
  const here = packet.type === PACKET_HOST || packet.type === PACKET_LOOPBACK
  if (!packet.toMany && (type !== RTN_LOCAL || !here)) {
    counters.ip6.InDiscards++
    packet.release()
    return
  }
  localIn6(stack, packet)
}

export function localIn6(stack: IpStack, packet: Packet, behind?: NetfilterHook): void {
  const hooks = stack.hooks.v6[NF_INET_LOCAL_IN]
  if (passHooks(stack, hooks, NF_INET_LOCAL_IN, packet, packet.device, undefined, behind) !== PASSED) return
  deliver6(stack, packet)
}

/** Goes through the extension headers that are for this machine, up to the protocol. */
function deliver6(stack: IpStack, packet: Packet): void {
  const { counters } = stack
  let at = packet.network + IPV6_HEADER
  let nextAt = packet.network + 6
  let protocol = packet.view.getUint8(nextAt)
  if (isExtension(protocol)) {
    // A filter may have made other headers of them since they were looked at first.
    const walk = stack.headerWalk
    walk.walk(packet.view, packet.network, packet.end)
    if (walk.truncated) {
      counters.ip6.InTruncatedPkts++
      packet.release()
      return
    }
  }
  for (let i = 0; i < MAX_HEADERS; i++) {
    const { view } = packet
    if (protocol === IPPROTO_HOPOPTS && i > 0) {
      // RFC 8200 §4.1: only the first may be one.
      refuse(stack, packet, ICMPV6_UNK_NEXTHDR, nextAt)
      return
    }
    if (protocol === IPPROTO_HOPOPTS || protocol === IPPROTO_DSTOPTS) {
      if (protocol === IPPROTO_DSTOPTS && !destinationOptions(stack, packet, at)) return
      nextAt = at
      protocol = view.getUint8(at)
      at += (view.getUint8(at + 1) + 1) * 8
    } else if (protocol === IPPROTO_ROUTING) {
      // RFC 5095: no type of source route is obeyed; one that has nothing left to do is passed over.
      if (view.getUint8(at + 3) !== 0) {
        refuse(stack, packet, ICMPV6_HDR_FIELD, at + 2)
        return
      }
      nextAt = at
      protocol = view.getUint8(at)
      at += (view.getUint8(at + 1) + 1) * 8
    } else if (protocol === IPPROTO_FRAGMENT) {
      const walk = new HeaderWalk()
      walk.walk(view, packet.network, packet.end)
      const whole = reassemble(stack, packet, walk)
      if (whole === undefined) return
      packet = whole
      at = packet.network + IPV6_HEADER
      nextAt = packet.network + 6
      protocol = packet.view.getUint8(nextAt)
      i = -1
      const again = new HeaderWalk()
      again.walk(packet.view, packet.network, packet.end)
      if (again.truncated || again.fragment >= 0) {
        counters.ip6.InHdrErrors++
        packet.release()
        return
      }
      packet.transportProtocol = again.protocol
      packet.transport = again.transport
    } else {
      break
    }
  }
  packet.start = packet.transport = at
  packet.transportProtocol = protocol
  // What we send to an address of another device of ours comes over loopback, but counts as come to that device: scopes.
  if (packet.device!.isLoopback && !packet.toMany) {
    packet.device = stack.addresses.find(packet.destination)?.device ?? packet.device
  }
  if (protocol === IPPROTO_NONE) {
    packet.release()
    return
  }
  const raw = stack.raw?.deliver(packet) === true
  const receiver = stack.protocols[protocol]
  if (receiver !== undefined) {
    counters.ip6.InDelivers++
    receiver.receive(packet)
    return
  }
  if (raw) {
    counters.ip6.InDelivers++
    packet.release()
    return
  }
  counters.ip6.InUnknownProtos++
  refuse(stack, packet, ICMPV6_UNK_NEXTHDR, nextAt)
}

/** The whole packet when `packet` was the last fragment of it. */
function reassemble(stack: IpStack, packet: Packet, walk: HeaderWalk): Packet | undefined {
  const { view } = packet
  const at = walk.fragment
  const field = view.getUint16(at + 2)
  const id = view.getUint32(at + 4)
  const protocol = view.getUint8(at)
  const more = (field & 1) !== 0
  const length = packet.end - at - 8
  if (more && (length & 7) !== 0) {
    // RFC 8200 §4.5: the payload length is at fault.
    refuse(stack, packet, ICMPV6_HDR_FIELD, packet.network + 4)
    return undefined
  }
  if ((field & 0xfff8) + length > 65535) {
    refuse(stack, packet, ICMPV6_HDR_FIELD, at + 2)
    return undefined
  }
  // Takes the fragment header out: what names it now names what is behind it.
  let nextAt = packet.network + 6
  for (let i = packet.network + IPV6_HEADER; i < at; i += (view.getUint8(i + 1) + 1) * 8) nextAt = i
  view.setUint8(nextAt, protocol)
  packet.bytes.copyWithin(packet.network + 8, packet.network, at)
  packet.network += 8
  packet.start = packet.network
  packet.transport = at + 8
  packet.transportProtocol = protocol
  if ((field & 0xfff9) === 0) {
    // RFC 6946: an atomic fragment is a whole packet.
    view.setUint16(packet.network + 4, packet.end - packet.network - IPV6_HEADER)
    return packet
  }
  return stack.reassembly.add6(packet, field, id)
}

function hopByHop(stack: IpStack, packet: Packet): boolean {
  const at = packet.network + IPV6_HEADER
  return options(stack, packet, at, stack.sysctls.ipv6.max_hbh_opts_number)
}

function destinationOptions(stack: IpStack, packet: Packet, at: number): boolean {
  return options(stack, packet, at, stack.sysctls.ipv6.max_dst_opts_number)
}

function options(stack: IpStack, packet: Packet, at: number, limit: number): boolean {
  const problem = new OptionProblem()
  const length = (packet.view.getUint8(at + 1) + 1) * 8
  if (checkOptions6(packet.view, at, length, limit, problem)) return true
  stack.counters.ip6.InHdrErrors++
  if (problem.code >= 0) {
    const pointer = problem.at - packet.network
    stack.icmp6.sendError(packet, ICMPV6_PARAMPROB, problem.code, pointer, problem.always)
  }
  packet.release()
  return false
}

function refuse(stack: IpStack, packet: Packet, code: number, at: number): void {
  stack.counters.ip6.InHdrErrors++
  stack.icmp6.sendError(packet, ICMPV6_PARAMPROB, code, at - packet.network)
  packet.release()
}

function checkHeader6(stack: IpStack, packet: Packet): boolean {
  const { view, start, length } = packet
  const { ip6 } = stack.counters
  if (length < IPV6_HEADER || view.getUint8(start) >> 4 !== 6 || !stack.ipv6Enabled(packet.device!)) {
    ip6.InHdrErrors++
    return false
  }
  const payload = view.getUint16(start + 4)
  if (payload + IPV6_HEADER > length) {
    ip6.InTruncatedPkts++
    return false
  }
  packet.trim(payload + IPV6_HEADER)
  const ecn = (view.getUint8(start + 1) >> 4) & 3
  if (ecn === 0) ip6.InNoECTPkts++
  else if (ecn === 1) ip6.InECT1Pkts++
  else if (ecn === 2) ip6.InECT0Pkts++
  else ip6.InCEPkts++
  return true
}
