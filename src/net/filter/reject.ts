/** Telling the sender of a packet that a filter refuses it: an ICMP error, or for TCP a reset. */
import { ICMP_DEST_UNREACH, ICMPV6_DEST_UNREACH, IPPROTO_TCP } from '../../abi/constants.ts'
import { pseudoHeaderSum } from '../checksum.ts'
import { Flow } from '../ip/flow.ts'
import { IP_OFFSET } from '../ip/numbers.ts'
import type { IpStack } from '../ip-stack.ts'
import { CHECKSUM_PARTIAL, type Packet } from '../packet.ts'
import { ACK, FIN, RST, SYN, TCP_HEADER } from '../tcp/segment.ts'
import { attachRelated } from './conntrack/connection.ts'

export function sendUnreachable(stack: IpStack, packet: Packet, code: number): void {
  if (packet.source.isV4) stack.icmp4.sendError(packet, ICMP_DEST_UNREACH, code, 0)
  else stack.icmp6.sendError(packet, ICMPV6_DEST_UNREACH, code, 0)
}

/** RFC 9293 §3.10.7.1: the reset that a closed port would send. */
export function sendReset(stack: IpStack, packet: Packet): void {
  const { view, transport, end, source, destination } = packet
  if (packet.transportProtocol !== IPPROTO_TCP || end - transport < TCP_HEADER) return
  if (source.isV4 && (view.getUint16(packet.network + 6) & IP_OFFSET) !== 0) return
  const flags = view.getUint8(transport + 13)
  // Nobody answers a reset, nor what was for many.
  if ((flags & RST) !== 0 || packet.toMany || source.isMulticast || destination.isMulticast) return
  const headerLength = (view.getUint8(transport + 12) >> 4) * 4
  const reset = stack.packets.allocate(TCP_HEADER)
  const at = reset.append(TCP_HEADER)
  reset.bytes.fill(0, at, at + TCP_HEADER)
  reset.view.setUint16(at, view.getUint16(transport + 2))
  reset.view.setUint16(at + 2, view.getUint16(transport))
  reset.view.setUint8(at + 12, (TCP_HEADER / 4) << 4)
  if ((flags & ACK) !== 0) {
    reset.view.setUint32(at + 4, view.getUint32(transport + 8))
    reset.view.setUint8(at + 13, RST)
  } else {
    const counted = ((flags & SYN) !== 0 ? 1 : 0) + ((flags & FIN) !== 0 ? 1 : 0)
    const length = end - transport - headerLength + counted
    reset.view.setUint32(at + 8, (view.getUint32(transport + 4) + length) >>> 0)
    reset.view.setUint8(at + 13, RST | ACK)
  }
  reset.view.setUint16(at + 16, pseudoHeaderSum(destination, source, IPPROTO_TCP, TCP_HEADER))
  reset.checksum = CHECKSUM_PARTIAL
  reset.checksumStart = at
  reset.checksumOffset = 16
  attachRelated(reset, packet)
  const flow = new Flow()
  flow.protocol = IPPROTO_TCP
  // Of a packet that only passes here it looks as if its destination had answered.
  flow.source = destination
  flow.destination = source
  flow.anySource = true
  stack.ip.send(reset, flow)
}
