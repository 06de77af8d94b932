/**
 * PacketSocket: AF_PACKET: frames as links have them: packet(7). PacketSockets taps the stack while there are any; each
 * socket gets copies of the frames of its protocol and device.
 *
 * SOCK_RAW has the link header in front, SOCK_DGRAM has it taken off and, for sending, made from the address. With a ring
 * (PACKET_RX_RING) frames go there, and none to recvmsg(2). Rings for sending are not offered.
 */
import {
  AF_PACKET,
  CAP_NET_RAW,
  ETH_HLEN,
  ETH_P_ALL,
  FIONREAD,
  MSG_OOB,
  MSG_PEEK,
  PACKET_AUXDATA,
  PACKET_IGNORE_OUTGOING,
  POLLERR,
  POLLIN,
  POLLOUT,
  POLLRDNORM,
  POLLWRBAND,
  POLLWRNORM,
  SIOCOUTQ,
  SOCK_DGRAM,
  SOCK_RAW,
  SOL_PACKET,
  SOL_SOCKET,
  TP_STATUS_CSUMNOTREADY,
  TP_STATUS_LOSING,
  TP_STATUS_USER,
} from '../../abi/constants.ts'
import {
  EAGAIN,
  EFAULT,
  EINVAL,
  EMSGSIZE,
  ENETDOWN,
  ENODEV,
  ENOPROTOOPT,
  ENXIO,
  EOPNOTSUPP,
  EPERM,
  ESOCKTNOSUPPORT,
} from '../../abi/errno.ts'
import { SOCKADDR_LL, TPACKET_AUXDATA } from '../../abi/layout.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { NetNamespace } from '../../kernel/namespaces.ts'
import type { Task } from '../../kernel/task.ts'
import type { Timers } from '../../kernel/timers.ts'
import type { GuestAddr } from '../../mm/mm.ts'
import type { IoctlContext, MapSource } from '../../vfs/file.ts'
import { pushEthernet } from '../ip/ethernet.ts'
import type { PacketTap } from '../ip/transport.ts'
import type { NetDevice } from '../link/device.ts'
import { CHECKSUM_PARTIAL, PACKET_OUTGOING, type Packet } from '../packet.ts'
import { type ReceiveRequest, type SendRequest, Socket } from '../socket.ts'
import { pushStamps, wantsStamps } from '../stamps.ts'
import type { BlockRing, RingOwner } from './block-ring.ts'
import { Inbox } from './inbox.ts'
import type { InetNetwork } from './network.ts'
import { intBytes } from './option-bytes.ts'
import { type FanoutGroup, joinFanout } from './packet-fanout.ts'
import { PacketMemberships } from './packet-memberships.ts'
import { getPacketOption, setPacketOption } from './packet-options.ts'
import { PacketRing } from './packet-ring.ts'

export function createPacketSocket(
  net: InetNetwork,
  task: Task,
  type: number,
  protocol: number,
): OrErrno<Socket> {
  if (!net.capable(task, CAP_NET_RAW)) return -EPERM
  if (type !== SOCK_DGRAM && type !== SOCK_RAW) return -ESOCKTNOSUPPORT
  return new PacketSocket(net, type, protocol)
}

export class PacketSockets implements PacketTap {
  readonly #net: InetNetwork
  readonly sockets = new Set<PacketSocket>()
  /** Of PACKET_FANOUT, by their numbers. */
  readonly groups = new Map<number, FanoutGroup>()

  constructor(net: InetNetwork) {
    this.#net = net
  }

  add(socket: PacketSocket): void {
    if (this.sockets.size === 0) this.#net.ip.taps.push(this)
    this.sockets.add(socket)
  }
  remove(socket: PacketSocket): void {
    this.sockets.delete(socket)
    const { taps } = this.#net.ip
    if (this.sockets.size === 0) taps.splice(taps.indexOf(this), 1)
  }

  seen(device: NetDevice, packet: Packet): void {
    for (const socket of this.sockets) {
      if (socket.fanout === undefined && socket.listensTo(device, packet)) socket.seen(device, packet)
    }
    for (const group of this.groups.values()) group.seen(device, packet)
  }
}

export class PacketSocket extends Socket implements RingOwner {
  readonly #net: InetNetwork
  /** ETH_P_*, 0: nothing is received. */
  #etherType: number
  #device = 0
  readonly #inbox = new Inbox()
  #received = 0
  /** Options that are one number, by name. */
  readonly values = new Map<number, number>()
  readonly memberships: PacketMemberships
  #ring: PacketRing | BlockRing | undefined = undefined
  #fanout: FanoutGroup | undefined = undefined

  /** `protocol` is an ETH_P_* in network byte order, as socket(2) has it. */
  constructor(net: InetNetwork, type: number, protocol: number) {
    super(AF_PACKET, type, protocol)
    this.#net = net
    this.#etherType = swap(protocol)
    this.memberships = new PacketMemberships(net.ip.devices)
    net.packets.add(this)
  }

  get etherType(): number {
    return this.#etherType
  }
  get device(): number {
    return this.#device
  }
  get ring(): PacketRing | BlockRing | undefined {
    return this.#ring
  }
  get fanout(): FanoutGroup | undefined {
    return this.#fanout
  }
  override namespace(): NetNamespace {
    return this.#net.ns
  }
  override get drops(): number {
    return this.#inbox.drops
  }
  override get receiveMemory(): number {
    return this.#inbox.memory
  }

  override poll(): number {
    const readable = this.#inbox.length > 0 || this.#ring?.readable === true ? POLLIN | POLLRDNORM : 0
    return readable | POLLOUT | POLLWRNORM | POLLWRBAND | (this.error !== 0 ? POLLERR : 0)
  }

  /** Whether it hears of anything: PACKET_FANOUT. */
  get running(): boolean {
    const device = this.#net.ip.devices.byIndex(this.#device)
    return this.#etherType !== 0 && (this.#device === 0 || device?.up === true)
  }
  hasRoom(packet: Packet): boolean {
    return this.#ring?.hasRoom ?? this.#inbox.hasRoom(packet, this.options.rcvbuf)
  }
  listensTo(device: NetDevice, packet: Packet): boolean {
    if (this.#etherType === 0 || (this.#device !== 0 && device.index !== this.#device)) return false
    // What goes out is only shown to those who want everything.
    if (this.#etherType !== ETH_P_ALL)
      return packet.type !== PACKET_OUTGOING && packet.networkProtocol === this.#etherType
    return packet.type !== PACKET_OUTGOING || (this.values.get(PACKET_IGNORE_OUTGOING) ?? 0) === 0
  }
  /** Where in the packet's bytes that begins which the socket sees. */
  frameStart(device: NetDevice, packet: Packet): number {
    const header = device.headerLength
    const frame = packet.type === PACKET_OUTGOING || header === 0 ? packet.start : packet.link
    return this.type === SOCK_RAW ? frame : frame + header
  }

  // As the owner of a ring.
  get timers(): Timers {
    return this.#net.runtime.timers
  }
  now(): number {
    return this.#net.runtime.now()
  }
  retired(): void {
    this.waitQueue.wake(POLLIN | POLLRDNORM)
  }

  /** From the tap: doesn't own the packet, which is one that it listens to. */
  seen(device: NetDevice, packet: Packet): void {
    const start = this.frameStart(device, packet)
    let keep = packet.end - start
    if (this.filter !== undefined) keep = Math.min(this.filter.run(packet, start), keep)
    if (keep === 0) return
    if (this.#ring !== undefined) {
      this.#intoRing(this.#ring, device, packet, start, keep)
      return
    }
    if (this.#inbox.refuses(packet, this.options.rcvbuf)) return
    this.#received++
    const copy = packet.clone()
    copy.start += start - packet.start
    copy.trim(keep)
    copy.device = device
    copy.mark = packet.end - start
    this.#inbox.push(copy)
    this.waitQueue.wake(POLLIN | POLLRDNORM)
  }

  #intoRing(
    ring: PacketRing | BlockRing,
    device: NetDevice,
    packet: Packet,
    start: number,
    keep: number,
  ): void {
    const { bytes, end, networkProtocol, type } = packet
    // Until somebody has asked how many: PACKET_STATISTICS.
    const losing = this.#inbox.drops > 0 ? TP_STATUS_LOSING : 0
    const taken = ring.put({
      bytes,
      start,
      end: start + keep,
      length: end - start,
      linkHeader: this.type === SOCK_RAW ? device.headerLength : 0,
      status: statusOf(packet) | losing,
      time: packet.timestamp || this.#net.realtime(),
      address: this.#address(networkProtocol, device.index, device.type, type, sourceOf(device, packet)),
    })
    if (!taken) {
      this.#inbox.drops++
      return
    }
    this.#received++
    // A ring of blocks tells when one is full.
    if (ring instanceof PacketRing) this.waitQueue.wake(POLLIN | POLLRDNORM)
  }

  override mapping(offset: number, length: number): MapSource | number {
    return this.#ring?.mapping(offset, length) ?? -EINVAL
  }

  override bind(_task: Task, address: Uint8Array): Status {
    const view = new DataView(address.buffer, address.byteOffset, address.length)
    if (address.length < SOCKADDR_LL.size || view.getUint16(0, true) !== AF_PACKET) return -EINVAL
    // Those of a group all see the same.
    if (this.#fanout !== undefined) return -EINVAL
    const index = view.getInt32(SOCKADDR_LL.sll_ifindex, true)
    const device = index === 0 ? undefined : this.#net.ip.devices.byIndex(index)
    if (index !== 0 && device === undefined) return -ENODEV
    this.#device = index
    const protocol = view.getUint16(SOCKADDR_LL.sll_protocol)
    if (protocol !== 0) this.#etherType = protocol
    if (device !== undefined && !device.up) {
      this.error = ENETDOWN
      this.waitQueue.wake(POLLERR)
    }
    return 0
  }

  override name(peer: boolean): OrErrno<Uint8Array> {
    if (peer) return -EOPNOTSUPP
    const device = this.#net.ip.devices.byIndex(this.#device)
    return this.#address(this.#etherType, this.#device, device?.type ?? 0, 0, device?.address)
  }
  #address(
    protocol: number,
    index: number,
    type: number,
    packetType: number,
    address?: Uint8Array,
  ): Uint8Array {
    const bytes = new Uint8Array(SOCKADDR_LL.size)
    const view = new DataView(bytes.buffer)
    view.setUint16(SOCKADDR_LL.sll_family, AF_PACKET, true)
    view.setUint16(SOCKADDR_LL.sll_protocol, protocol)
    view.setInt32(SOCKADDR_LL.sll_ifindex, index, true)
    view.setUint16(SOCKADDR_LL.sll_hatype, type, true)
    view.setUint8(SOCKADDR_LL.sll_pkttype, packetType)
    if (address !== undefined) {
      view.setUint8(SOCKADDR_LL.sll_halen, address.length)
      bytes.set(address, SOCKADDR_LL.sll_addr)
    }
    return bytes
  }

  override send(_task: Task, request: SendRequest): number {
    let index = this.#device
    let protocol = this.#etherType
    let target: Uint8Array | undefined
    if (request.address !== undefined) {
      const { address } = request
      if (address.length < SOCKADDR_LL.size) return -EINVAL
      const view = new DataView(address.buffer, address.byteOffset, address.length)
      const length = view.getUint8(SOCKADDR_LL.sll_halen)
      if (length > 8) return -EINVAL
      index = view.getInt32(SOCKADDR_LL.sll_ifindex, true)
      protocol = view.getUint16(SOCKADDR_LL.sll_protocol)
      target = address.subarray(SOCKADDR_LL.sll_addr, SOCKADDR_LL.sll_addr + length)
    }
    const device = this.#net.ip.devices.byIndex(index)
    if (device === undefined) return -ENXIO
    if (!device.up) return -ENETDOWN
    const header = device.headerLength
    const length = request.src.remaining
    const payload = this.type === SOCK_RAW ? length - header : length
    if (this.type === SOCK_RAW && length < header) return -EINVAL
    if (payload > device.mtu) return -EMSGSIZE
    if (this.type === SOCK_DGRAM && header === ETH_HLEN && (target === undefined || target.length < 6))
      return -EINVAL
    const packet = this.#net.ip.packets.allocate(length)
    const at = packet.append(length)
    if (length > 0 && request.src.take(packet.bytes.subarray(at, at + length)) < length) {
      packet.release()
      return -EFAULT
    }
    if (this.type === SOCK_RAW && header === ETH_HLEN) protocol = packet.view.getUint16(at + 12)
    packet.networkProtocol = protocol
    if (this.type === SOCK_DGRAM && header === ETH_HLEN)
      pushEthernet(packet, target!, device.address, protocol)
    packet.network = packet.start + header
    const status = this.#net.ip.transmit(device, packet)
    return status < 0 ? status : length
  }

  override receive(_task: Task, request: ReceiveRequest): number {
    const { flags } = request
    if ((flags & MSG_OOB) !== 0) return -EINVAL
    this.#net.settle()
    const error = this.takeError()
    if (error < 0) return error
    const packet = this.#inbox.first
    if (packet === undefined) return -EAGAIN
    const { device } = packet
    const n = this.#inbox.copy(packet, request)
    const source = device === undefined ? undefined : sourceOf(device, packet)
    request.address = this.#address(
      packet.networkProtocol,
      device?.index ?? 0,
      device?.type ?? 0,
      packet.type,
      source,
    )
    if (wantsStamps(this)) pushStamps(this, packet.timestamp || this.#net.realtime(), request)
    if ((this.values.get(PACKET_AUXDATA) ?? 0) !== 0) {
      request.control.push({ level: SOL_PACKET, type: PACKET_AUXDATA, data: this.#auxiliary(packet) })
    }
    if ((flags & MSG_PEEK) === 0) this.#inbox.shift()
    return n
  }

  /** struct tpacket_auxdata. */
  #auxiliary(packet: Packet): Uint8Array {
    const view = new DataView(new ArrayBuffer(TPACKET_AUXDATA.size))
    view.setUint32(TPACKET_AUXDATA.tp_status, statusOf(packet), true)
    view.setUint32(TPACKET_AUXDATA.tp_len, packet.mark, true)
    view.setUint32(TPACKET_AUXDATA.tp_snaplen, packet.length, true)
    const header = this.type === SOCK_RAW ? (packet.device?.headerLength ?? 0) : 0
    view.setUint16(TPACKET_AUXDATA.tp_net, header, true)
    return new Uint8Array(view.buffer)
  }

  override getOption(
    task: Task,
    level: number,
    name: number,
    length: number,
    at: GuestAddr,
  ): OrErrno<Uint8Array> | undefined {
    if (level === SOL_SOCKET) return undefined
    if (level !== SOL_PACKET) return -ENOPROTOOPT
    return getPacketOption(this, task, name, length, at)
  }
  override setOption(task: Task, level: number, name: number, value: Uint8Array): Status | undefined {
    if (level === SOL_SOCKET) return undefined
    if (level !== SOL_PACKET) return -ENOPROTOOPT
    return setPacketOption(this, task, name, value)
  }

  /** PACKET_STATISTICS: what was counted since the last time. */
  takeCounts(): { received: number; drops: number } {
    const received = this.#received
    const { drops } = this.#inbox
    this.#received = this.#inbox.drops = 0
    return { received, drops }
  }

  /** What waits for recvmsg(2) is lost with the first ring, as on Linux. */
  replaceRing(ring: PacketRing | BlockRing | undefined): void {
    this.#inbox.clear()
    this.#ring?.release()
    this.#ring = ring
  }

  joinFanout(value: Uint8Array): Status {
    const group = joinFanout(this.#net.packets.groups, this, value)
    if (typeof group === 'number') return group
    this.#fanout = group
    return 0
  }
  #leaveFanout(): void {
    const fanout = this.#fanout
    if (fanout === undefined) return
    fanout.members.splice(fanout.members.indexOf(this), 1)
    if (fanout.members.length === 0) this.#net.packets.groups.delete(fanout.id)
    this.#fanout = undefined
  }

  override ioctl(context: IoctlContext, request: number, argument: number): number {
    if (request === FIONREAD) return context.copyOut(argument, intBytes(this.#inbox.first?.length ?? 0))
    if (request === SIOCOUTQ) return context.copyOut(argument, intBytes(0))
    return super.ioctl(context, request, argument)
  }

  override release(): void {
    this.memberships.clear()
    this.#leaveFanout()
    this.#net.packets.remove(this)
    this.replaceRing(undefined)
  }
}

/** TP_STATUS_* of a frame that is the program's now. */
function statusOf({ checksum }: Packet): number {
  return checksum === CHECKSUM_PARTIAL ? TP_STATUS_USER | TP_STATUS_CSUMNOTREADY : TP_STATUS_USER
}

/** The sender's address in a frame. */
function sourceOf(device: NetDevice, { bytes, link }: Packet): Uint8Array | undefined {
  return device.headerLength === ETH_HLEN && link >= 0 ? bytes.slice(link + 6, link + 12) : undefined
}

function swap(word: number): number {
  return ((word & 0xff) << 8) | ((word >>> 8) & 0xff)
}
