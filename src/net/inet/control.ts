/** Control messages of datagram and raw sockets: what one send says differently, and what is told of a packet: cmsg(3). */

import {
  AF_INET,
  AF_INET6,
  CAP_NET_ADMIN,
  CAP_NET_RAW,
  IP_PKTINFO,
  IP_PROTOCOL,
  IP_RECVOPTS,
  IP_RECVORIGDSTADDR,
  IP_RECVTOS,
  IP_RECVTTL,
  IP_RETOPTS,
  IP_TOS,
  IP_TTL,
  IPV6_2292HOPLIMIT,
  IPV6_2292PKTINFO,
  IPV6_DONTFRAG,
  IPV6_DSTOPTS,
  IPV6_FLOWINFO,
  IPV6_HOPLIMIT,
  IPV6_HOPOPTS,
  IPV6_PKTINFO,
  IPV6_RECVHOPLIMIT,
  IPV6_RECVORIGDSTADDR,
  IPV6_RECVPKTINFO,
  IPV6_RECVTCLASS,
  IPV6_RTHDR,
  IPV6_RTHDRDSTOPTS,
  IPV6_TCLASS,
  SCM_CREDENTIALS,
  SCM_RIGHTS,
  SCM_TXTIME,
  SO_MARK,
  SO_PRIORITY,
  SO_RCVMARK,
  SO_RCVPRIORITY,
  SO_RXQ_OVFL,
  SO_TIMESTAMPING,
  SO_TXTIME,
  SOL_IP,
  SOL_IPV6,
  SOL_SOCKET,
  SOL_UDP,
  UDP_SEGMENT,
} from '../../abi/constants.ts'
import { EINVAL, EPERM } from '../../abi/errno.ts'
import { IN_PKTINFO, IN6_PKTINFO } from '../../abi/layout.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import { IpAddress } from '../address.ts'
import type { Packet } from '../packet.ts'
import type { ControlMessage, ReceiveRequest } from '../socket.ts'
import { pushStamps } from '../stamps.ts'
import type { SendControl } from '../udp/endpoint.ts'
import { socketAddress } from './address.ts'
import { intBytes, readInt } from './option-bytes.ts'
import type { InetSocket } from './socket.ts'

const EXTENSION_HEADERS: ReadonlySet<number> = new Set([
  IPV6_HOPOPTS,
  IPV6_DSTOPTS,
  IPV6_RTHDR,
  IPV6_RTHDRDSTOPTS,
])

/** Undefined: nothing that differs. `toV4`: where the packet goes. */
export function parseControl(
  socket: InetSocket,
  task: Task,
  messages: readonly ControlMessage[],
  toV4: boolean,
): OrErrno<SendControl> | undefined {
  if (messages.length === 0) return undefined
  const control: SendControl = {}
  for (const message of messages) {
    let status: Status = 0
    if (message.level === SOL_SOCKET) status = ofSocket(socket, task, message, control)
    else if (message.level === SOL_UDP && message.type === UDP_SEGMENT) {
      if (message.data.length !== 2) return -EINVAL
      control.segment = message.data[0] | (message.data[1] << 8)
    } else if (message.level === SOL_IP && toV4) status = ofIp(message, control)
    else if (message.level === SOL_IPV6 && socket.isIpv6)
      status = ofIpv6(socket, task, message, control, toV4)
    if (status < 0) return status
  }
  return control
}

function ofSocket(socket: InetSocket, task: Task, message: ControlMessage, control: SendControl): Status {
  const { type, data } = message
  switch (type) {
    case SCM_RIGHTS:
    case SCM_CREDENTIALS:
      // Only unix sockets know these.
      return 0
    case SO_MARK:
      if (!socket.net.capable(task, CAP_NET_ADMIN) && !socket.net.capable(task, CAP_NET_RAW)) return -EPERM
      if (data.length !== 4) return -EINVAL
      control.mark = readInt(data)
      return 0
    case SO_TIMESTAMPING:
    case SO_PRIORITY:
      return data.length === 4 ? 0 : -EINVAL
    case SCM_TXTIME:
      // Obeyed by queueing disciplines that no device has here.
      return socket.options.flag(SO_TXTIME) && data.length === 8 ? 0 : -EINVAL
  }
  return -EINVAL
}

function ofIp({ type, data }: ControlMessage, control: SendControl): Status {
  switch (type) {
    case IP_RETOPTS:
      if (data.length > 40) return -EINVAL
      control.options = new Uint8Array(Math.ceil(data.length / 4) * 4)
      control.options.set(data)
      return 0
    case IP_PKTINFO: {
      if (data.length !== IN_PKTINFO.size) return -EINVAL
      const view = new DataView(data.buffer, data.byteOffset, data.length)
      control.device = view.getInt32(IN_PKTINFO.ipi_ifindex, true)
      const source = view.getUint32(IN_PKTINFO.ipi_spec_dst)
      if (source !== 0) control.source = IpAddress.v4(source)
      return 0
    }
    case IP_TTL: {
      const ttl = data.length === 4 ? readInt(data)! : 0
      if (ttl < 1 || ttl > 255) return -EINVAL
      control.ttl = ttl
      return 0
    }
    case IP_TOS: {
      const tos = data.length === 4 ? readInt(data)! : data.length === 1 ? data[0] : -1
      if (tos < 0 || tos > 255) return -EINVAL
      control.tos = tos
      return 0
    }
    case IP_PROTOCOL:
      return data.length === 4 ? 0 : -EINVAL
  }
  return -EINVAL
}

function ofIpv6(
  socket: InetSocket,
  task: Task,
  { type, data }: ControlMessage,
  control: SendControl,
  toV4: boolean,
): Status {
  if (EXTENSION_HEADERS.has(type)) return socket.net.capable(task, CAP_NET_RAW) ? -EINVAL : -EPERM
  switch (type) {
    case IPV6_PKTINFO:
    case IPV6_2292PKTINFO: {
      if (data.length < IN6_PKTINFO.size) return -EINVAL
      const view = new DataView(data.buffer, data.byteOffset, data.length)
      const device = view.getUint32(IN6_PKTINFO.ipi6_ifindex, true)
      if (device !== 0 && socket.boundDevice !== 0 && device !== socket.boundDevice) return -EINVAL
      if (device !== 0) control.device = device
      const source = IpAddress.read(view, IN6_PKTINFO.ipi6_addr, false)
      if (source.isAny) return 0
      if (source.isV4 !== toV4) return -EINVAL
      if (!toV4 && !socket.settings.freeBind && !socket.net.ip.addresses.isLocal(source)) return -EINVAL
      control.source = source
      return 0
    }
    case IPV6_FLOWINFO:
      return data.length < 4 ? -EINVAL : 0
    case IPV6_HOPLIMIT:
    case IPV6_2292HOPLIMIT: {
      const hops = data.length === 4 ? readInt(data)! : -2
      if (hops < -1 || hops > 255) return -EINVAL
      if (hops >= 0) control.ttl = hops
      return 0
    }
    case IPV6_TCLASS: {
      const tos = data.length === 4 ? readInt(data)! : -2
      if (tos < -1 || tos > 255) return -EINVAL
      if (tos >= 0) control.tos = tos
      return 0
    }
    case IPV6_DONTFRAG: {
      const on = data.length === 4 ? readInt(data)! : -1
      return on === 0 || on === 1 ? 0 : -EINVAL
    }
  }
  return -EINVAL
}

/** What options ask to be told of a packet that was received; stamps first, as Linux's order is. */
export function describePacket(socket: InetSocket, packet: Packet, request: ReceiveRequest): void {
  const { options, settings } = socket
  if (options.describes) {
    pushStamps(socket, packet.timestamp || socket.net.realtime(), request)
    if (options.flag(SO_RCVMARK)) {
      request.control.push({ level: SOL_SOCKET, type: SO_MARK, data: intBytes(packet.mark) })
    }
    if (options.flag(SO_RCVPRIORITY)) {
      request.control.push({ level: SOL_SOCKET, type: SO_PRIORITY, data: intBytes(packet.priority) })
    }
    if (options.flag(SO_RXQ_OVFL) && socket.drops > 0) {
      request.control.push({ level: SOL_SOCKET, type: SO_RXQ_OVFL, data: intBytes(socket.drops) })
    }
  }
  if (settings.empty) return
  if (socket.isIpv6) pushIpv6(socket, packet, request)
  if (packet.destination.isV4) pushIp(socket, packet, request)
}

function pushIp({ settings }: InetSocket, packet: Packet, request: ReceiveRequest): void {
  const push = (type: number, data: Uint8Array) => request.control.push({ level: SOL_IP, type, data })
  const { view, network } = packet
  if (settings.v4(IP_PKTINFO) !== 0) {
    const info = new DataView(new ArrayBuffer(IN_PKTINFO.size))
    info.setInt32(IN_PKTINFO.ipi_ifindex, packet.device?.index ?? 0, true)
    info.setUint32(IN_PKTINFO.ipi_spec_dst, (packet.localAddress ?? packet.destination).w3)
    info.setUint32(IN_PKTINFO.ipi_addr, packet.destination.w3)
    push(IP_PKTINFO, new Uint8Array(info.buffer))
  }
  if (settings.v4(IP_RECVTTL) !== 0) push(IP_TTL, intBytes(packet.ttl))
  if (settings.v4(IP_RECVTOS) !== 0) push(IP_TOS, new Uint8Array([packet.tos]))
  const headerLength = network < 0 ? 20 : (view.getUint8(network) & 15) * 4
  if (headerLength > 20) {
    const options = packet.bytes.slice(network + 20, network + headerLength)
    if (settings.v4(IP_RECVOPTS) !== 0) push(IP_RECVOPTS, options)
    if (settings.v4(IP_RETOPTS) !== 0) push(IP_RETOPTS, options)
  }
  if (settings.v4(IP_RECVORIGDSTADDR) !== 0 && packet.transport >= 0) {
    push(IP_RECVORIGDSTADDR, socketAddress(AF_INET, packet.destination, view.getUint16(packet.transport + 2)))
  }
}

function pushIpv6(socket: InetSocket, packet: Packet, request: ReceiveRequest): void {
  const { settings } = socket
  const push = (type: number, data: Uint8Array) => request.control.push({ level: SOL_IPV6, type, data })
  const info = () => {
    const view = new DataView(new ArrayBuffer(IN6_PKTINFO.size))
    packet.destination.writeV6(view, IN6_PKTINFO.ipi6_addr)
    view.setUint32(IN6_PKTINFO.ipi6_ifindex, packet.device?.index ?? 0, true)
    return new Uint8Array(view.buffer)
  }
  if (settings.v6(IPV6_RECVPKTINFO) !== 0) push(IPV6_PKTINFO, info())
  if (packet.destination.isV4) return
  if (settings.v6(IPV6_RECVHOPLIMIT) !== 0) push(IPV6_HOPLIMIT, intBytes(packet.ttl))
  if (settings.v6(IPV6_RECVTCLASS) !== 0) push(IPV6_TCLASS, intBytes(packet.tos))
  if (settings.v6(IPV6_FLOWINFO) !== 0) {
    const bytes = new Uint8Array(4)
    new DataView(bytes.buffer).setUint32(0, (packet.tos << 20) | packet.flowLabel)
    if ((packet.tos | packet.flowLabel) !== 0) push(IPV6_FLOWINFO, bytes)
  }
  if (settings.v6(IPV6_2292PKTINFO) !== 0) push(IPV6_2292PKTINFO, info())
  if (settings.v6(IPV6_2292HOPLIMIT) !== 0) push(IPV6_2292HOPLIMIT, intBytes(packet.ttl))
  if (settings.v6(IPV6_RECVORIGDSTADDR) !== 0 && packet.transport >= 0) {
    push(
      IPV6_RECVORIGDSTADDR,
      socketAddress(AF_INET6, packet.destination, packet.view.getUint16(packet.transport + 2)),
    )
  }
}
