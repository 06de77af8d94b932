/** TCP_INFO: struct tcp_info of a connection, as linux/tcp.h has it. Times in µs, sizes in segments where Linux counts those. */
import { TCP_LISTEN } from '../../abi/constants.ts'
import { TCP_INFO } from '../../abi/layout.ts'
import type { TcpConnection } from './connection.ts'
import type { TcpEndpoint } from './endpoint.ts'

const OPT_TIMESTAMPS = 1
const OPT_SACK = 2
const OPT_WSCALE = 4
const OPT_ECN = 8
const OPT_ECN_SEEN = 16
const INFINITE_SSTHRESH = 0x7fffffff

export function tcpInfo(endpoint: TcpEndpoint): Uint8Array {
  const bytes = new Uint8Array(TCP_INFO.size)
  const view = new DataView(bytes.buffer)
  view.setUint8(TCP_INFO.tcpi_state, endpoint.state)
  const { listener, connection } = endpoint
  if (listener !== undefined) {
    view.setUint8(TCP_INFO.tcpi_state, TCP_LISTEN)
    // The accept queue and its limit.
    view.setUint32(TCP_INFO.tcpi_unacked, listener.ready, true)
    view.setUint32(TCP_INFO.tcpi_sacked, listener.backlog, true)
  } else if (connection !== undefined) {
    connection.protocol.enter()
    writeState(view, connection)
    writeSizes(view, connection)
    writeTimes(view, connection)
    writeCounters(view, connection)
  }
  return bytes
}

function writeState(view: DataView, conn: TcpConnection): void {
  let options = 0
  if (conn.timestamps) options |= OPT_TIMESTAMPS
  if (conn.sackOk) options |= OPT_SACK
  if (conn.sndWscale > 0 || conn.rcvWscale > 0) options |= OPT_WSCALE
  if (conn.ecn) options |= OPT_ECN
  if (conn.ecnSeen) options |= OPT_ECN_SEEN
  view.setUint8(TCP_INFO.tcpi_ca_state, conn.recovery.state)
  view.setUint8(TCP_INFO.tcpi_retransmits, Math.min(conn.retransmits, 255))
  view.setUint8(TCP_INFO.tcpi_probes, Math.min(conn.probesOut, 255))
  view.setUint8(TCP_INFO.tcpi_backoff, Math.min(conn.backoff, 255))
  view.setUint8(TCP_INFO.tcpi_options, options)
  view.setUint8(TCP_INFO.tcpi_wscales, conn.sndWscale | (conn.rcvWscale << 4))
  view.setUint8(TCP_INFO.tcpi_delivery_rate_flags, conn.appLimitedUntil > 0 ? 1 : 0)
}

function writeSizes(view: DataView, conn: TcpConnection): void {
  const { sent, mss, congestion } = conn
  const segments = (n: number): number => Math.ceil(n / mss)
  const u32 = (at: number, value: number): void => view.setUint32(at, Math.min(value, 0xffffffff), true)
  u32(TCP_INFO.tcpi_snd_mss, mss)
  u32(TCP_INFO.tcpi_rcv_mss, conn.rcvMss)
  u32(TCP_INFO.tcpi_unacked, segments(sent.outstanding))
  u32(TCP_INFO.tcpi_sacked, segments(sent.sacked + conn.recovery.renoSacked))
  u32(TCP_INFO.tcpi_lost, segments(sent.lost))
  u32(TCP_INFO.tcpi_retrans, segments(sent.retransmitted))
  u32(TCP_INFO.tcpi_pmtu, conn.pmtu)
  u32(TCP_INFO.tcpi_rcv_ssthresh, conn.rcvSsthresh)
  u32(TCP_INFO.tcpi_snd_cwnd, congestion.segments)
  const infinite = congestion.ssthresh === Number.POSITIVE_INFINITY
  u32(TCP_INFO.tcpi_snd_ssthresh, infinite ? INFINITE_SSTHRESH : segments(congestion.ssthresh))
  u32(TCP_INFO.tcpi_advmss, conn.advertisedMss)
  u32(TCP_INFO.tcpi_reordering, conn.rack.reordering)
  u32(TCP_INFO.tcpi_rcv_space, conn.space)
  u32(TCP_INFO.tcpi_notsent_bytes, conn.unsent)
  u32(TCP_INFO.tcpi_snd_wnd, conn.sndWnd)
  u32(TCP_INFO.tcpi_rcv_wnd, conn.rcvWnd)
}

function writeTimes(view: DataView, conn: TcpConnection): void {
  const { now } = conn.protocol
  const us = (at: number, ns: number): void =>
    view.setUint32(at, Math.min(Math.floor(ns / 1e3), 0xffffffff), true)
  const since = (at: number, then: number): void =>
    view.setUint32(at, Math.floor((now - then) / 1e6) >>> 0, true)
  us(TCP_INFO.tcpi_rto, conn.rtt.rto)
  us(TCP_INFO.tcpi_ato, conn.ato)
  us(TCP_INFO.tcpi_rtt, conn.rtt.srtt)
  us(TCP_INFO.tcpi_rttvar, conn.rtt.rttvar / 4)
  us(TCP_INFO.tcpi_rcv_rtt, conn.rcvRtt)
  us(TCP_INFO.tcpi_min_rtt, conn.rtt.min.value)
  since(TCP_INFO.tcpi_last_data_sent, conn.lastSentAt)
  since(TCP_INFO.tcpi_last_data_recv, conn.lastReceivedAt)
  since(TCP_INFO.tcpi_last_ack_recv, conn.lastAckAt)
}

function writeCounters(view: DataView, conn: TcpConnection): void {
  const u32 = (at: number, value: number): void => view.setUint32(at, value >>> 0, true)
  const u64 = (at: number, value: number): void => {
    if (value === Number.POSITIVE_INFINITY) {
      view.setUint32(at, 0xffffffff, true)
      view.setUint32(at + 4, 0xffffffff, true)
      return
    }
    view.setUint32(at, Math.floor(value) % 2 ** 32, true)
    view.setUint32(at + 4, Math.floor(value / 2 ** 32), true)
  }
  u32(TCP_INFO.tcpi_total_retrans, conn.totalRetransmits)
  u64(TCP_INFO.tcpi_pacing_rate, conn.pacingRate)
  u64(TCP_INFO.tcpi_max_pacing_rate, conn.settings.maxPacingRate)
  u64(TCP_INFO.tcpi_bytes_acked, conn.bytesAcked)
  u64(TCP_INFO.tcpi_bytes_received, conn.bytesReceived)
  u32(TCP_INFO.tcpi_segs_out, conn.segmentsOut)
  u32(TCP_INFO.tcpi_segs_in, conn.segmentsIn)
  u32(TCP_INFO.tcpi_data_segs_in, conn.dataSegmentsIn)
  u32(TCP_INFO.tcpi_data_segs_out, conn.dataSegmentsOut)
  u64(TCP_INFO.tcpi_delivery_rate, conn.deliveryRate)
  u32(TCP_INFO.tcpi_delivered, Math.ceil(conn.delivered / conn.mss))
  u32(TCP_INFO.tcpi_delivered_ce, conn.deliveredCe)
  u64(TCP_INFO.tcpi_bytes_sent, conn.bytesSent)
  u64(TCP_INFO.tcpi_bytes_retrans, conn.bytesRetransmitted)
  u32(TCP_INFO.tcpi_dsack_dups, conn.dsackDuplicates)
  u32(TCP_INFO.tcpi_reord_seen, conn.rack.reorderings)
  u32(TCP_INFO.tcpi_rcv_ooopack, conn.outOfOrderSegments)
  view.setUint16(TCP_INFO.tcpi_total_rto, Math.min(conn.totalRto, 0xffff), true)
}
