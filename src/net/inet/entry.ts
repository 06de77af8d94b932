/**
 * InetEntry: what /proc/net and sock_diag show of a socket, or of a connection that has none (half-open, orphan, in
 * TIME-WAIT).
 */
import { IPPROTO_TCP, TCP_CLOSE, TCP_SYN_RECV } from '../../abi/constants.ts'
import type { IpAddress } from '../address.ts'
import type { TcpConnection } from '../tcp/connection.ts'
import type { SynRequest } from '../tcp/request.ts'
import { CONNECTION, REQUEST } from '../tcp/table.ts'
import type { TimeWait } from '../tcp/time-wait.ts'
import type { InetNetwork } from './network.ts'
import type { InetSocket } from './socket.ts'
import { TcpSocket } from './tcp.ts'
import { UdpSocket } from './udp.ts'

export interface InetEntry {
  readonly isV6: boolean
  readonly state: number
  readonly local: IpAddress
  readonly localPort: number
  readonly remote: IpAddress | undefined
  readonly remotePort: number
  readonly device: number
  readonly receiveQueue: number
  readonly sendQueue: number
  /** Kind of timer: 0 none, 1 retransmission, 2 keep-alive, 3 TIME-WAIT, 4 zero-window probe. */
  readonly timer: number
  /** Monotonic ns. */
  readonly timerDue: number
  readonly retransmits: number
  readonly uid: number
  readonly ino: number
  readonly drops: number
  readonly socket: InetSocket | undefined
  readonly connection: TcpConnection | undefined
}

const TIMER_NONE = 0
const TIMER_RETRANSMIT = 1
const TIMER_KEEPALIVE = 2
const TIMER_TIME_WAIT = 3
const TIMER_PROBE = 4

/** All of one protocol: TCP with its connections that have no socket. */
export function* inetEntries(net: InetNetwork, protocol: number): IterableIterator<InetEntry> {
  const seen = new Set<unknown>()
  for (const socket of net.sockets) {
    if (socket.protocol !== protocol || (protocol !== IPPROTO_TCP && socket instanceof TcpSocket)) continue
    if (socket instanceof TcpSocket) {
      if (socket.endpoint.connection !== undefined) seen.add(socket.endpoint.connection)
      // One that neither listens nor is connected, or not any more, stands in no table of those two.
      if (socket.state === TCP_CLOSE) continue
    } else if (socket instanceof UdpSocket && socket.localPort === 0) {
      continue
    }
    yield ofSocket(net, socket)
  }
  if (protocol !== IPPROTO_TCP) return
  for (const entry of net.tcp.table.entries()) {
    if (entry.kind === CONNECTION) {
      if (!seen.has(entry)) yield ofConnection(entry as TcpConnection)
    } else if (entry.kind === REQUEST) {
      yield ofRequest(entry as SynRequest)
    } else {
      yield ofTimeWait(entry as TimeWait)
    }
  }
}

function ofSocket(_net: InetNetwork, socket: InetSocket): InetEntry {
  const connection = socket instanceof TcpSocket ? socket.endpoint.connection : undefined
  const listener = socket instanceof TcpSocket ? socket.endpoint.listener : undefined
  return {
    isV6: socket.isIpv6,
    state: socket.state,
    local: socket.localAddress,
    localPort: socket.localPort,
    remote: connection?.flow.destination ?? socket.remoteAddress,
    remotePort: socket.remotePort,
    device: socket.boundDevice || socket.flow.device,
    receiveQueue:
      listener?.ready ?? (socket instanceof TcpSocket ? socket.receiveQueued : socket.receiveMemory),
    sendQueue: listener === undefined ? socket.sendQueued : 0,
    ...timerOf(connection),
    uid: socket.uid,
    ino: socket.file?.inode.ino ?? 0,
    drops: socket.drops,
    socket,
    connection,
  }
}

function timerOf(connection: TcpConnection | undefined) {
  if (connection === undefined) return { timer: TIMER_NONE, timerDue: 0, retransmits: 0 }
  const { retransmitTimer, keepaliveTimer } = connection
  if (retransmitTimer.due !== Number.POSITIVE_INFINITY) {
    const probing = connection.probesOut > 0
    const retransmits = probing ? connection.probesOut : connection.retransmits
    return { timer: probing ? TIMER_PROBE : TIMER_RETRANSMIT, timerDue: retransmitTimer.due, retransmits }
  }
  if (keepaliveTimer.due !== Number.POSITIVE_INFINITY) {
    return { timer: TIMER_KEEPALIVE, timerDue: keepaliveTimer.due, retransmits: connection.probesOut }
  }
  return { timer: TIMER_NONE, timerDue: 0, retransmits: 0 }
}

function ofConnection(connection: TcpConnection): InetEntry {
  const { flow } = connection
  return {
    isV6: !flow.source.isV4,
    state: connection.state,
    local: flow.source,
    localPort: flow.sourcePort,
    remote: flow.destination,
    remotePort: flow.destinationPort,
    device: flow.device,
    receiveQueue: connection.unread,
    sendQueue: connection.buffer.length,
    ...timerOf(connection),
    uid: flow.uid,
    ino: 0,
    drops: 0,
    socket: undefined,
    connection,
  }
}

function ofRequest({ flow, retransmits, timer }: SynRequest): InetEntry {
  return {
    isV6: !flow.source.isV4,
    state: TCP_SYN_RECV,
    local: flow.source,
    localPort: flow.sourcePort,
    remote: flow.destination,
    remotePort: flow.destinationPort,
    device: flow.device,
    receiveQueue: 0,
    sendQueue: 0,
    timer: TIMER_RETRANSMIT,
    timerDue: timer.deadline,
    retransmits,
    uid: flow.uid,
    ino: 0,
    drops: 0,
    socket: undefined,
    connection: undefined,
  }
}

function ofTimeWait({ flow, state, timer }: TimeWait): InetEntry {
  return {
    isV6: !flow.source.isV4,
    state,
    local: flow.source,
    localPort: flow.sourcePort,
    remote: flow.destination,
    remotePort: flow.destinationPort,
    device: flow.device,
    receiveQueue: 0,
    sendQueue: 0,
    timer: TIMER_TIME_WAIT,
    timerDue: timer.deadline,
    retransmits: 0,
    uid: 0,
    ino: 0,
    drops: 0,
    socket: undefined,
    connection: undefined,
  }
}
