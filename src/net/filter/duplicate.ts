/** A copy of a packet to another machine, beside the packet itself: TEE, `dup`. */
import { IPPROTO_IP, NF_INET_LOCAL_IN, NF_INET_PRE_ROUTING } from '../../abi/constants.ts'
import { type IpAddress, V4_ANY, V6_ANY } from '../address.ts'
import { finishHeader4, localOut4, plainFlow } from '../ip/ipv4-output.ts'
import { localOut6 } from '../ip/ipv6-output.ts'
import { IP_DF } from '../ip/numbers.ts'
import type { Packet } from '../packet.ts'
import { UNTRACKED } from './conntrack/connection.ts'
import { hopLimitOf, setHopLimit } from './header-fields.ts'
import type { Netfilter } from './netfilter.ts'

/** `device`: its index, 0 for any. */
export function duplicate(
  netfilter: Netfilter,
  packet: Packet,
  point: number,
  gateway: IpAddress,
  device: number,
): void {
  const { stack } = netfilter
  if (netfilter.duplicating) return
  const { isV4 } = gateway
  const cameIn = point === NF_INET_PRE_ROUTING || point === NF_INET_LOCAL_IN
  // Two that copy to each other come to an end, and so does one that copies to itself.
  if (cameIn && hopLimitOf(packet) === 0) return
  const flow = plainFlow(IPPROTO_IP, isV4 ? V4_ANY : V6_ANY, gateway)
  flow.device = device
  flow.anySource = true
  flow.mark = packet.mark
  const route = stack.ip.routeFor(flow)
  if (typeof route === 'number') return
  const copy = packet.clone()
  copy.connection = UNTRACKED
  if (cameIn) setHopLimit(copy, hopLimitOf(copy) - 1)
  if (isV4) {
    const { view, network } = copy
    view.setUint16(network + 6, view.getUint16(network + 6) | IP_DF)
    finishHeader4(copy)
  }
  netfilter.duplicating = true
  const send = isV4 ? localOut4 : localOut6
  send(stack, copy, route, route.mtu, true, false)
  netfilter.duplicating = false
}
