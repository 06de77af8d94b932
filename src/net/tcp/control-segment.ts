/**
 * Putting one segment on the wire, for a connection or for nobody: header, options, checksum. What to send when is
 * decided in output.ts, retransmit.ts and timers.ts; here it is written.
 */
import { TCP_SYN_SENT } from '../../abi/constants.ts'
import type { Status } from '../../base/result.ts'
import type { Flow } from '../ip/flow.ts'
import { GSO_ECN, GSO_TCPV4, GSO_TCPV6, type Packet } from '../packet.ts'
import type { TcpConnection } from './connection.ts'
import {
  type SynOffer,
  synOptionsLength,
  TIMESTAMP_LENGTH,
  writeSynOptions,
  writeTimestamp,
} from './options.ts'
import type { TcpProtocol } from './protocol.ts'
import {
  ACK,
  CWR,
  ECE,
  RST,
  type Segment,
  startChecksum,
  TCP_HEADER,
  TCP_MAX_OPTIONS,
  URG,
  writeHeader,
} from './segment.ts'
import { type Seq, seqAdd, seqAfter, seqDiff } from './sequence.ts'
import { advertiseWindow, initialWindow, receiveWindow, windowOfSpace } from './window.ts'

/** ECN codepoint of data: RFC 3168. */
const ECT0 = 2

/** The MSS as of now: SACK blocks take their room from the payload. */
export function currentMss(conn: TcpConnection): number {
  return conn.sacks.blocks === 0 ? conn.mss : conn.mss - sackLength(conn)
}

function sackLength(conn: TcpConnection): number {
  const { blocks } = conn.sacks
  if (blocks === 0 || !conn.sackOk) return 0
  const room = TCP_MAX_OPTIONS - (conn.timestamps ? TIMESTAMP_LENGTH : 0) - 4
  return 4 + 8 * Math.min(blocks, Math.floor(room / 8))
}

/**
 * Sends `length` bytes of the send buffer from `seq` on; `flags` besides ACK. As many segments of the wire as it takes: the
 * packet is split below. `ect`: new data of an ECN connection.
 */
export function sendSegment(
  conn: TcpConnection,
  seq: Seq,
  flags: number,
  length: number,
  ect: boolean,
): Status {
  const { protocol, flow } = conn
  const sackOptions = sackLength(conn)
  const header = TCP_HEADER + (conn.timestamps ? TIMESTAMP_LENGTH : 0) + sackOptions
  const packet = protocol.network.runtime.packets.allocate(header + length)
  packet.append(header + length)
  const { view, start } = packet
  flags |= ACK
  if (conn.ecnEchoing) flags |= ECE
  if (ect && conn.cwrPending) {
    flags |= CWR
    conn.cwrPending = false
  }
  const window = advertiseWindow(conn)
  writeHeader(packet, flow.sourcePort, flow.destinationPort, seq, conn.rcvNxt, header, flags, window)
  let at = start + TCP_HEADER
  if (conn.timestamps) at = writeTimestamp(view, at, stampNow(conn), conn.tsRecent)
  if (sackOptions > 0) conn.sacks.write(view, at, (sackOptions - 4) / 8)
  writeUrgent(conn, packet, seq)
  if (length > 0) conn.buffer.copy(seq, length, packet.bytes, start + header)
  const unit = conn.mss - sackOptions
  if (length > unit) {
    packet.gsoType = flow.destination.isV4 ? GSO_TCPV4 : GSO_TCPV6
    if ((flags & CWR) !== 0) packet.gsoType |= GSO_ECN
    packet.gsoSize = unit
  }
  countOut(conn, length)
  acknowledged(conn)
  return give(protocol, packet, flow, ect && conn.ecn && length > 0)
}

function stampNow(conn: TcpConnection): Seq {
  const stamp = conn.tsNow
  if (stamp !== conn.stamp) {
    conn.stamp = stamp
    conn.stampedAt = conn.protocol.now
  }
  return stamp
}

function writeUrgent(conn: TcpConnection, packet: Packet, seq: Seq): void {
  // The pointer is one past the urgent byte: RFC 6093 §2.1.
  const distance = seqDiff(conn.sndUp, seq)
  if (distance <= 0 || !seqAfter(conn.sndUp, conn.sndUna)) return
  const { view, start } = packet
  view.setUint8(start + 13, view.getUint8(start + 13) | URG)
  view.setUint16(start + 18, Math.min(distance, 0xffff))
}

function countOut(conn: TcpConnection, length: number): void {
  const segments = length > conn.mss ? Math.ceil(length / conn.mss) : 1
  conn.segmentsOut += segments
  conn.protocol.network.counters.tcp.OutSegs += segments
  if (length === 0) return
  conn.dataSegmentsOut += segments
  conn.bytesSent += length
}

/** An acknowledgement is on its way: no other is needed. */
function acknowledged(conn: TcpConnection): void {
  if (conn.quickAcks > 0) conn.quickAcks--
  conn.ackPending = false
  conn.ackNow = false
  conn.ackPushed = 0
  conn.lastAckSent = conn.rcvNxt
  conn.delackTimer.clear()
}

function give(protocol: TcpProtocol, packet: Packet, flow: Flow, ect: boolean): Status {
  startChecksum(packet, flow.source, flow.destination)
  if (!ect) return protocol.network.send(packet, flow)
  flow.tos |= ECT0
  const status = protocol.network.send(packet, flow)
  flow.tos &= ~3
  return status
}

/** A pure acknowledgement. */
export function sendAck(conn: TcpConnection): void {
  if (conn.synchronized) sendSegment(conn, acceptableSeq(conn), 0, 0, false)
}

/** A sequence number that the peer takes even when it has shrunk its window. */
function acceptableSeq(conn: TcpConnection): Seq {
  const beyond = seqDiff(conn.sndNxt, conn.windowEnd)
  return beyond > 0 && beyond >= 2 ** conn.sndWscale ? conn.windowEnd : conn.sndNxt
}

/** A segment without data that the peer has to answer, since its sequence number is an old one. */
export function sendProbeSegment(conn: TcpConnection): void {
  sendSegment(conn, seqAdd(conn.sndUna, -1), 0, 0, false)
}

/** RST of a synchronized connection. */
export function sendReset(conn: TcpConnection): void {
  const { protocol, flow } = conn
  protocol.network.counters.tcp.OutRsts++
  if (conn.state === TCP_SYN_SENT) return
  const options = conn.timestamps ? TIMESTAMP_LENGTH : 0
  const packet = protocol.network.runtime.packets.allocate(TCP_HEADER + options)
  packet.append(TCP_HEADER + options)
  const window = Math.floor(Math.min(receiveWindow(conn) / 2 ** conn.rcvWscale, 0xffff))
  const seq = acceptableSeq(conn)
  writeHeader(
    packet,
    flow.sourcePort,
    flow.destinationPort,
    seq,
    conn.rcvNxt,
    TCP_HEADER + options,
    RST | ACK,
    window,
  )
  if (options > 0) writeTimestamp(packet.view, packet.start + TCP_HEADER, conn.tsNow, conn.tsRecent)
  countOut(conn, 0)
  give(protocol, packet, flow, false)
}

/** SYN, or SYN-ACK of a simultaneous open. */
export function sendSyn(conn: TcpConnection, flags: number): Status {
  const offer: SynOffer = {
    mss: conn.advertisedMss,
    wscale: conn.offersWscale ? conn.rcvWscale : -1,
    sackPermitted: conn.offersSack,
    timestamp: conn.offersTimestamps,
    tsval: conn.tsNow,
    tsecr: (flags & ACK) !== 0 ? conn.tsRecent : 0,
  }
  const space = windowOfSpace(conn, conn.settings.rcvbuf)
  conn.rcvWnd = initialWindow(space, conn.advertisedMss, conn.settings.windowClamp)
  conn.rcvWup = conn.rcvNxt
  if (conn.offersEcn) flags |= (flags & ACK) !== 0 ? ECE : ECE | CWR
  countOut(conn, 0)
  return sendHandshake(conn.protocol, conn.flow, conn.iss, conn.rcvNxt, flags, conn.rcvWnd, offer)
}

/** SYN or SYN-ACK with its options. */
export function sendHandshake(
  protocol: TcpProtocol,
  flow: Flow,
  seq: Seq,
  ack: Seq,
  flags: number,
  window: number,
  offer: SynOffer,
): Status {
  const header = TCP_HEADER + synOptionsLength(offer)
  const packet = protocol.network.runtime.packets.allocate(header)
  packet.append(header)
  if ((flags & ACK) === 0) ack = 0
  writeHeader(packet, flow.sourcePort, flow.destinationPort, seq, ack, header, flags, window)
  writeSynOptions(packet.view, packet.start + TCP_HEADER, offer)
  return give(protocol, packet, flow, false)
}

/** An acknowledgement or reset that no connection sends: for requests, TIME-WAIT and segments to nobody. */
export function sendBare(
  protocol: TcpProtocol,
  flow: Flow,
  seq: Seq,
  ack: Seq,
  flags: number,
  window: number,
  timestamp: { tsval: Seq; tsecr: Seq } | undefined,
): void {
  const header = TCP_HEADER + (timestamp !== undefined ? TIMESTAMP_LENGTH : 0)
  const packet = protocol.network.runtime.packets.allocate(header)
  packet.append(header)
  writeHeader(packet, flow.sourcePort, flow.destinationPort, seq, ack, header, flags, window)
  if (timestamp !== undefined)
    writeTimestamp(packet.view, packet.start + TCP_HEADER, timestamp.tsval, timestamp.tsecr)
  protocol.network.counters.tcp.OutSegs++
  if ((flags & RST) !== 0) protocol.network.counters.tcp.OutRsts++
  give(protocol, packet, flow, false)
}

/** The reset that answers a segment which belongs to nobody: RFC 9293 §3.10.7.1. */
export function resetReply(protocol: TcpProtocol, segment: Segment): void {
  if (segment.has(RST) || segment.packet!.toMany) return
  const flow = protocol.replyFlow(segment)
  if (segment.has(ACK)) sendBare(protocol, flow, segment.ack, 0, RST, 0, undefined)
  else sendBare(protocol, flow, 0, segment.end, RST | ACK, 0, undefined)
}
