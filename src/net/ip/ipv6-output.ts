/** Sending IPv6: the header, the filters, fragments, and the next hop. RFC 8200. */
import {
  ETH_P_IPV6,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  RTN_LOCAL,
  RTN_MULTICAST,
} from '../../abi/constants.ts'
import { EMSGSIZE, ENETDOWN, ENOBUFS } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { GSO_NONE, type Packet } from '../packet.ts'
import { multicastMac } from './ethernet.ts'
import { Flow, type Route } from './flow.ts'
import { fragment6 } from './fragmentation.ts'
import { type NetfilterHook, PASSED, passHooks } from './hooks.ts'
import { mtuFor } from './ipv4-output.ts'
import { IPV6_HEADER } from './numbers.ts'
import { routeOutput6 } from './routing6.ts'

/** See IpLayer.send. */
export function send6(stack: IpStack, packet: Packet, flow: Flow, route: Route): Status {
  const { options } = flow
  packet.transport = packet.start
  packet.transportProtocol = flow.protocol
  let next = flow.protocol
  if (options !== undefined && options.length > 0) {
    packet.bytes.set(options, packet.push(options.length))
    // The last of the headers names the transport.
    let last = packet.start
    for (let at = packet.start; at < packet.transport; at += (packet.view.getUint8(at + 1) + 1) * 8) last = at
    packet.view.setUint8(last, flow.protocol)
    next = flow.optionsProtocol
  }
  const payload = packet.length
  if (payload > 65535) {
    packet.release()
    return -EMSGSIZE
  }
  packet.source = route.source
  packet.destination = flow.destination.isAny ? route.destination : flow.destination
  packet.mark = flow.mark
  packet.priority = flow.priority
  packet.owner = flow.owner
  const at = packet.push(IPV6_HEADER)
  const { view } = packet
  packet.network = at
  packet.networkProtocol = ETH_P_IPV6
  view.setUint32(at, (0x60000000 | (flow.tos << 20) | flow.flowLabel) >>> 0)
  view.setUint16(at + 4, payload)
  view.setUint8(at + 6, next)
  view.setUint8(at + 7, hopLimitOf(stack, flow, route))
  packet.source.writeV6(view, at + 8)
  packet.destination.writeV6(view, at + 24)
  stack.counters.ip6.OutRequests++
  return localOut6(stack, packet, route, mtuFor(flow, route), flow.mayFragment, flow.multicastLoop)
}

/** A packet of ours with a complete header. */
export function localOut6(
  stack: IpStack,
  packet: Packet,
  route: Route,
  mtu: number,
  fragment: boolean,
  multicastLoop: boolean,
): Status {
  const hooks = stack.hooks.v6[NF_INET_LOCAL_OUT]
  if (hooks.length > 0) {
    const { mark, destination } = packet
    const verdict = passHooks(stack, hooks, NF_INET_LOCAL_OUT, packet, undefined, route.device)
    if (verdict !== PASSED) return verdict
    const now = stack.runtime.addresses.v6(packet.view, packet.network + 24)
    if (packet.mark !== mark || !now.equals(destination)) {
      const other = reroute6(stack, packet, route.device)
      if (typeof other === 'number') {
        packet.release()
        return other
      }
      route = other
      mtu = other.mtu
    }
  }
  return output6(stack, packet, route, mtu, fragment, multicastLoop)
}

export function output6(
  stack: IpStack,
  packet: Packet,
  route: Route,
  mtu: number,
  fragment: boolean,
  multicastLoop: boolean,
): Status {
  const { device } = route
  if (!device.up) {
    packet.release()
    return device.isLoopback ? 0 : -ENETDOWN
  }
  packet.device = device
  return postRouting6(stack, packet, route, mtu, fragment, multicastLoop)
}

/** `behind`: see passHooks. */
export function postRouting6(
  stack: IpStack,
  packet: Packet,
  route: Route,
  mtu: number,
  fragment: boolean,
  multicastLoop: boolean,
  behind?: NetfilterHook,
): Status {
  const { device } = route
  const { ip6 } = stack.counters
  const hooks = stack.hooks.v6[NF_INET_POST_ROUTING]
  const verdict = passHooks(stack, hooks, NF_INET_POST_ROUTING, packet, undefined, device, behind)
  if (verdict !== PASSED) return verdict
  ip6.OutTransmits++
  ip6.OutOctets += packet.length
  if (route.type === RTN_MULTICAST) {
    ip6.OutMcastPkts++
    ip6.OutMcastOctets += packet.length
    if (multicastLoop && !device.isLoopback && stack.multicast.isMember(device, packet.destination)) {
      stack.loopBack(device, packet.clone())
    }
    const scope = (packet.destination.w0 >>> 16) & 0xf
    if (packet.view.getUint8(packet.network + 7) === 0 || (scope === 1 && !device.isLoopback)) {
      packet.release()
      return 0
    }
  }
  if (packet.length > mtu && packet.gsoType === GSO_NONE) {
    if (!fragment) {
      ip6.FragFails++
      packet.release()
      return -EMSGSIZE
    }
    return fragment6(stack, packet, route, mtu)
  }
  return toNextHop6(stack, packet, route)
}

export function toNextHop6(stack: IpStack, packet: Packet, route: Route): Status {
  const { device } = route
  if (route.type === RTN_LOCAL || device.isLoopback || device.headerLength === 0) {
    return stack.transmitTo(device, packet, device.address, ETH_P_IPV6)
  }
  if (route.type === RTN_MULTICAST) {
    return stack.transmitTo(device, packet, multicastMac(false, packet.destination.w3), ETH_P_IPV6)
  }
  let { neighbour } = route
  if (neighbour === undefined || neighbour.gone) {
    neighbour = stack.neighbours6.get(device, route.nextHop)
    if (neighbour === undefined) {
      packet.release()
      stack.counters.ip6.OutDiscards++
      return -ENOBUFS
    }
    route.neighbour = neighbour
  }
  return neighbour.output(packet)
}

/** As reroute4. */
export function reroute6(stack: IpStack, packet: Packet, device?: NetDevice): Route | number {
  const { view, network } = packet
  const flow = new Flow()
  packet.source = stack.runtime.addresses.v6(view, network + 8)
  packet.destination = stack.runtime.addresses.v6(view, network + 24)
  flow.source = packet.source
  flow.destination = packet.destination
  flow.mark = packet.mark
  flow.protocol = packet.transportProtocol
  flow.anySource = true
  const everywhere = flow.destination.needsScope || flow.destination.isMulticast
  if (everywhere && device?.isLoopback === false) flow.device = device.index
  return routeOutput6(stack, flow)
}

function hopLimitOf(stack: IpStack, flow: Flow, route: Route): number {
  if (route.type === RTN_MULTICAST) return flow.multicastTtl
  if (flow.ttl >= 0) return flow.ttl
  return route.hopLimit || stack.slaac.hopLimit(route.device)
}
