/** Packets that have waited for somebody's verdict (NF_QUEUE) go on where they were. */
import {
  NF_INET_FORWARD,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NF_INET_PRE_ROUTING,
} from '../../abi/constants.ts'
import { V4_ANY, V6_ANY } from '../address.ts'
import { readAgain } from '../filter/header-fields.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { CHECKSUM_NONE, GSO_NONE, type Packet } from '../packet.ts'
import { HeaderWalk } from './extension-headers.ts'
import { forwarded4, forwarded6 } from './forwarding.ts'
import { type HeldPacket, type NetfilterHook, PASSED, passHooks } from './hooks.ts'
import { localIn4, preRouting4 } from './ipv4-input.ts'
import { output4, postRouting4, reroute4 } from './ipv4-output.ts'
import { localIn6, preRouting6 } from './ipv6-input.ts'
import { output6, postRouting6, reroute6 } from './ipv6-output.ts'
import { IP_DF, IPV4_HEADER, IPV6_HEADER } from './numbers.ts'
import { routeInput4 } from './routing4.ts'
import { routeInput6 } from './routing6.ts'

/** Behind the hook that has put it into a queue. Routes are looked for again: the old one may be gone. */
export function resume(stack: IpStack, { packet, hook, isV4, point, output }: HeldPacket): void {
  if (point === NF_INET_PRE_ROUTING) {
    if (isV4) preRouting4(stack, packet, hook)
    else preRouting6(stack, packet, hook)
  } else if (point === NF_INET_LOCAL_IN) {
    if (isV4) localIn4(stack, packet, hook)
    else localIn6(stack, packet, hook)
  } else if (point === NF_INET_FORWARD) {
    forward(stack, packet, isV4, hook)
  } else {
    if (point === NF_INET_LOCAL_OUT) {
      const hooks = (isV4 ? stack.hooks.v4 : stack.hooks.v6)[point]
      if (passHooks(stack, hooks, point, packet, undefined, output, hook) !== PASSED) return
    }
    send(stack, packet, isV4, output, point === NF_INET_LOCAL_OUT ? undefined : hook)
  }
}

function forward(stack: IpStack, packet: Packet, isV4: boolean, hook: NetfilterHook): void {
  const status = isV4 ? routeInput4(stack, packet) : routeInput6(stack, packet)
  const { route } = stack.inputRoute
  if (status < 0 || route === undefined) packet.release()
  else if (isV4) forwarded4(stack, packet, route, hook)
  else forwarded6(stack, packet, route, hook)
}

/** `behind`: undefined for one that has not come to POST_ROUTING yet. */
function send(
  stack: IpStack,
  packet: Packet,
  isV4: boolean,
  output: NetDevice | undefined,
  behind: NetfilterHook | undefined,
): void {
  const route = (isV4 ? reroute4 : reroute6)(stack, packet, output)
  if (typeof route === 'number') {
    packet.release()
    return
  }
  const fragment = !isV4 || (packet.view.getUint16(packet.network + 6) & IP_DF) === 0
  // What neighbours are asked, and what others have sent, doesn't come back here.
  const loops = packet.owner !== undefined
  if (behind === undefined) (isV4 ? output4 : output6)(stack, packet, route, route.mtu, fragment, loops)
  else (isV4 ? postRouting4 : postRouting6)(stack, packet, route, route.mtu, fragment, loops, behind)
}

/** It becomes another one, of which nothing is believed. False: it is no IP packet, and gone. */
export function replacePacket(stack: IpStack, held: HeldPacket, bytes: Uint8Array): boolean {
  const old = held.packet
  const { isV4 } = held
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const walk = new HeaderWalk()
  if (isV4) {
    const headerLength = bytes.length < IPV4_HEADER ? 0 : (bytes[0] & 15) * 4
    const fits = bytes[0] >> 4 === 4 && headerLength >= IPV4_HEADER && headerLength <= bytes.length
    if (fits && view.getUint16(2) >= headerLength && view.getUint16(2) <= bytes.length) {
      walk.transport = headerLength
      walk.protocol = bytes[9]
      bytes = bytes.subarray(0, view.getUint16(2))
    } else walk.truncated = true
  } else if (bytes.length < IPV6_HEADER || bytes[0] >> 4 !== 6) walk.truncated = true
  else walk.walk(view, 0, bytes.length)
  if (walk.truncated) {
    old.release()
    return false
  }
  const packet = stack.packets.allocate(bytes.length)
  packet.append(bytes.length)
  packet.bytes.set(bytes, packet.start)
  packet.describe(old, packet.start - old.start)
  old.release()
  // Where the link header was there is none.
  packet.link = -1
  packet.network = packet.start
  packet.transport = packet.start + walk.transport
  packet.transportProtocol = walk.protocol
  packet.checksum = CHECKSUM_NONE
  packet.gsoType = GSO_NONE
  packet.gsoSize = 0
  packet.source = isV4 ? V4_ANY : V6_ANY
  readAgain(packet)
  held.packet = packet
  // An IPv6 header can't speak for IPv4's addresses: see receive6.
  if (packet.source.isV4 === isV4 && packet.destination.isV4 === isV4) return true
  packet.release()
  return false
}
