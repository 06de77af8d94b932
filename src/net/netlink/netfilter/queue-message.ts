/** NFQNL_MSG_PACKET: a packet that waits in a queue, as its listener is told of it. */
import {
  ETH_ALEN,
  ETH_P_IP,
  ETH_P_IPV6,
  NF_INET_FORWARD,
  NFNL_SUBSYS_QUEUE,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFQA_CAP_LEN,
  NFQA_CFG_F_UID_GID,
  NFQA_GID,
  NFQA_HWADDR,
  NFQA_IFINDEX_INDEV,
  NFQA_IFINDEX_OUTDEV,
  NFQA_MARK,
  NFQA_PACKET_HDR,
  NFQA_PAYLOAD,
  NFQA_PRIORITY,
  NFQA_SKB_CSUMNOTREADY,
  NFQA_SKB_GSO,
  NFQA_SKB_INFO,
  NFQA_TIMESTAMP,
  NFQA_UID,
  NFQNL_MSG_PACKET,
} from '../../../abi/constants.ts'
import { NFQNL_MSG_PACKET_HDR, NFQNL_MSG_PACKET_HW, NFQNL_MSG_PACKET_TIMESTAMP } from '../../../abi/layout.ts'
import type { HeldPacket } from '../../ip/hooks.ts'
import { CHECKSUM_PARTIAL, GSO_NONE, type Packet } from '../../packet.ts'
import type { MessageWriter } from '../message.ts'
import { startMessage } from './header.ts'

/** Nobody asked for it: to no request of the listener's. */
const UNASKED = { sequence: 0, port: 0 }

/** `range`: how many bytes of the packet at most. */
export function writeHeldPacket(
  writer: MessageWriter,
  held: HeldPacket,
  queue: number,
  id: number,
  range: number,
  flags: number,
): void {
  const { packet, input, output, isV4, point } = held
  const family = isV4 ? NFPROTO_IPV4 : NFPROTO_IPV6
  startMessage(writer, NFNL_SUBSYS_QUEUE, NFQNL_MSG_PACKET, 0, UNASKED, family, queue)
  const head = writer.attribute(NFQA_PACKET_HDR, NFQNL_MSG_PACKET_HDR.size)
  for (let i = 0; i < 4; i++)
    writer.set8(head + NFQNL_MSG_PACKET_HDR.packet_id + i, (id >>> (24 - 8 * i)) & 0xff)
  const protocol = isV4 ? ETH_P_IP : ETH_P_IPV6
  writer.set8(head + NFQNL_MSG_PACKET_HDR.hw_protocol, protocol >> 8)
  writer.set8(head + NFQNL_MSG_PACKET_HDR.hw_protocol + 1, protocol & 0xff)
  writer.set8(head + NFQNL_MSG_PACKET_HDR.hook, point)
  if (input !== undefined) writer.be32(NFQA_IFINDEX_INDEV, input.index)
  if (output !== undefined) writer.be32(NFQA_IFINDEX_OUTDEV, output.index)
  if (packet.mark !== 0) writer.be32(NFQA_MARK, packet.mark)
  if (packet.priority !== 0) writer.be32(NFQA_PRIORITY, packet.priority)
  if (input !== undefined) writeSender(writer, packet, input.headerLength)
  if (point <= NF_INET_FORWARD && packet.timestamp !== 0) writeTime(writer, packet.timestamp)
  if ((flags & NFQA_CFG_F_UID_GID) !== 0 && packet.owner !== undefined) {
    writer.be32(NFQA_UID, packet.owner.uid)
    writer.be32(NFQA_GID, packet.owner.gid)
  }
  const whole = packet.end - packet.network
  const copied = Math.min(whole, range)
  if (range > 0 && whole > copied) writer.be32(NFQA_CAP_LEN, whole)
  const info =
    (packet.checksum === CHECKSUM_PARTIAL ? NFQA_SKB_CSUMNOTREADY : 0) |
    (packet.gsoType === GSO_NONE ? 0 : NFQA_SKB_GSO)
  if (info !== 0) writer.be32(NFQA_SKB_INFO, info)
  if (copied > 0) writer.bytes(NFQA_PAYLOAD, packet.bytes.subarray(packet.network, packet.network + copied))
  writer.end()
}

function writeSender(writer: MessageWriter, { bytes, link, network }: Packet, headerLength: number): void {
  if (headerLength === 0 || link < 0 || link + headerLength > network) return
  const at = writer.attribute(NFQA_HWADDR, NFQNL_MSG_PACKET_HW.size)
  writer.set8(at + NFQNL_MSG_PACKET_HW.hw_addrlen + 1, ETH_ALEN)
  writer.setBytes(at + NFQNL_MSG_PACKET_HW.hw_addr, bytes.subarray(link + ETH_ALEN, link + 2 * ETH_ALEN))
}

function writeTime(writer: MessageWriter, nanoseconds: number): void {
  const at = writer.attribute(NFQA_TIMESTAMP, NFQNL_MSG_PACKET_TIMESTAMP.size)
  const put = (offset: number, value: number) => {
    for (let i = 0; i < 8; i++) writer.set8(at + offset + i, Math.floor(value / 2 ** (8 * (7 - i))) % 256)
  }
  put(NFQNL_MSG_PACKET_TIMESTAMP.sec, Math.floor(nanoseconds / 1e9))
  put(NFQNL_MSG_PACKET_TIMESTAMP.usec, Math.floor((nanoseconds % 1e9) / 1000))
}
