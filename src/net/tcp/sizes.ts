/** Sizes that follow from the path, the peer and the settings: segments, the first flight, the send buffer. */
import { TCP_CLOSE, TCP_SYN_SENT } from '../../abi/constants.ts'
import type { Flow } from '../ip/flow.ts'
import { INITIAL_WINDOW } from './congestion/control.ts'
import type { TcpConnection } from './connection.ts'
import type { TcpRoute } from './network.ts'
import { TCP_HEADER } from './segment.ts'
import type { TcpSettings } from './settings.ts'

/** A packet's longest payload with its headers: IP's limit. */
const MAX_PACKET = 65535

/** The MSS of our SYN: RFC 9293 §3.7.1. */
export function advertisedMss(flow: Flow, route: TcpRoute, settings: TcpSettings): number {
  let mss = route.mtu - ipHeader(flow) - TCP_HEADER
  if (route.advmss > 0) mss = Math.min(mss, route.advmss)
  if (settings.maxSegment > 0) mss = Math.min(mss, settings.maxSegment)
  // IPv6's limit is the payload's, IPv4's the packet's.
  const most = flow.destination.isV4 ? MAX_PACKET - ipHeader(flow) : MAX_PACKET
  return Math.min(Math.max(mss, 88), most - TCP_HEADER)
}

/** Fits the segment size to the path, the peer's MSS and its window: RFC 9293 §3.7.1, RFC 1191. */
export function updateMss(conn: TcpConnection): void {
  const { network } = conn.protocol
  const route = network.routeFor(conn.flow)
  if (typeof route === 'number') return
  const { flow, settings } = conn
  const { ipv4 } = network.sysctl
  if (conn.pmtu === 0) conn.advertisedMss = advertisedMss(flow, route, settings)
  conn.pmtu = Math.min(route.mtu, MAX_PACKET)
  if (conn.mtuCap > 0) conn.pmtu = Math.min(conn.pmtu, conn.mtuCap)
  let mss = conn.pmtu - ipHeader(flow) - TCP_HEADER - (flow.options?.length ?? 0)
  if (conn.state !== TCP_CLOSE && conn.state !== TCP_SYN_SENT) mss = Math.min(mss, conn.peerMss)
  if (settings.maxSegment > 0) mss = Math.min(mss, settings.maxSegment)
  mss = Math.max(mss, ipv4.tcp_min_snd_mss) - (conn.timestamps ? 12 : 0)
  // A receiver with a tiny buffer: half of it at a time, or nothing would ever fit. RFC 9293 §3.8.6.2.1.
  if (conn.maxWindow > 0)
    mss = Math.min(mss, Math.max(conn.maxWindow > 536 ? conn.maxWindow / 2 : conn.maxWindow, 48))
  conn.mss = Math.floor(mss)
  conn.congestion.mss = conn.mss
}

/** The longest payload of one packet: the device's and IP's limit, less room for headers. */
export function gsoMaxSize(conn: TcpConnection): number {
  const { route } = conn.flow
  const most = route === undefined ? MAX_PACKET : Math.min(route.device.features.gsoMaxSize, MAX_PACKET)
  return most - 120
}

/** RFC 6928, or what the route says. */
export function initialCongestionWindow(conn: TcpConnection): number {
  const segments = conn.flow.route?.initialWindow ?? 0
  return (segments > 0 ? segments : INITIAL_WINDOW) * conn.mss
}

/** tcp_wmem: room for twice the congestion window. */
export function expandSendBuffer(conn: TcpConnection): void {
  const { settings, congestion } = conn
  if (settings.sndbufLocked || conn.protocol.memory.pressure) return
  const perSegment = 2 ** Math.ceil(Math.log2(conn.mss + 576)) + 256
  const segments = Math.max(INITIAL_WINDOW, congestion.segments, conn.rack.reordering + 1)
  const wanted = Math.min(2 * segments * perSegment, conn.protocol.network.sysctl.ipv4.tcp_wmem[2])
  if (wanted > settings.sndbuf) settings.sndbuf = wanted
}

function ipHeader(flow: Flow): number {
  return flow.destination.isV4 ? 20 : 40
}
