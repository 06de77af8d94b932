/**
 * NFNL_SUBSYS_ULOG (nfnetlink_log): a program binds a group (0 to 65535) to its socket and is told of the packets that rules send
 * there. Packets are collected until there are enough of them, or the first has waited for long enough.
 *
 * NetlinkLogGroup is in PacketLog.groups from its BIND to UNBIND or the socket's end.
 */
import {
  ETH_ALEN,
  ETH_P_IP,
  ETH_P_IPV6,
  NF_INET_FORWARD,
  NFNL_SUBSYS_ULOG,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFPROTO_UNSPEC,
  NFULA_CFG_CMD,
  NFULA_CFG_FLAGS,
  NFULA_CFG_MODE,
  NFULA_CFG_NLBUFSIZ,
  NFULA_CFG_QTHRESH,
  NFULA_CFG_TIMEOUT,
  NFULA_GID,
  NFULA_HWADDR,
  NFULA_HWHEADER,
  NFULA_HWLEN,
  NFULA_HWTYPE,
  NFULA_IFINDEX_INDEV,
  NFULA_IFINDEX_OUTDEV,
  NFULA_MARK,
  NFULA_PACKET_HDR,
  NFULA_PAYLOAD,
  NFULA_PREFIX,
  NFULA_SEQ,
  NFULA_SEQ_GLOBAL,
  NFULA_TIMESTAMP,
  NFULA_UID,
  NFULNL_CFG_CMD_BIND,
  NFULNL_CFG_CMD_PF_BIND,
  NFULNL_CFG_CMD_PF_UNBIND,
  NFULNL_CFG_CMD_UNBIND,
  NFULNL_CFG_F_SEQ,
  NFULNL_CFG_F_SEQ_GLOBAL,
  NFULNL_COPY_META,
  NFULNL_COPY_NONE,
  NFULNL_COPY_PACKET,
  NFULNL_MSG_CONFIG,
  NFULNL_MSG_PACKET,
  NLMSG_DONE,
} from '../../../abi/constants.ts'
import { EBUSY, EINVAL, ENODEV, EOPNOTSUPP, EPERM } from '../../../abi/errno.ts'
import {
  NFGENMSG,
  NFULNL_MSG_CONFIG_MODE,
  NFULNL_MSG_PACKET_HDR,
  NFULNL_MSG_PACKET_HW,
  NFULNL_MSG_PACKET_TIMESTAMP,
  NLATTR,
} from '../../../abi/layout.ts'
import type { Status } from '../../../base/result.ts'
import { type Expiry, Timer } from '../../../kernel/timers.ts'
import type { GroupOptions, LogGroup, LoggedPacket, PacketLog } from '../../filter/log/packet-log.ts'
import type { InetNetwork } from '../../inet/network.ts'
import { MessageWriter, viewOf } from '../message.ts'
import type { NetlinkRequest } from '../protocol.ts'
import type { NetlinkSocket } from '../socket.ts'
import { attributesOf, startMessage } from './header.ts'

/** What an attribute's length can say. */
const MAX_RANGE = 0xffff - NLATTR.size
const DEFAULT_THRESHOLD = 100
/** In hundredths of a second, as NFULA_CFG_TIMEOUT. */
const DEFAULT_TIMEOUT = 100
const NSEC_PER_HUNDREDTH = 1e7
/** More is not collected: messages would not fit into anybody's buffer. */
const MAX_COLLECTED = 1 << 17
/** What all groups of a namespace may have collected: of many each has less. */
const MAX_OF_ALL = 8 << 20
/** Nobody asked for it: to no request of the listener's. */
const UNASKED = { sequence: 0, port: 0 }

export function logReceive(request: NetlinkRequest): Status {
  if ((request.type & 0xff) !== NFULNL_MSG_CONFIG) return -EOPNOTSUPP
  const attributes = attributesOf(request)
  const command = attributes.u8(NFULA_CFG_CMD)
  // Which of the kernel's loggers a family has: rules name theirs.
  if (command === NFULNL_CFG_CMD_PF_BIND || command === NFULNL_CFG_CMD_PF_UNBIND) return 0
  const { log } = (request.stack.own as InetNetwork).netfilter
  const number = request.view.getUint16(NFGENMSG.res_id)
  let group = log.groups.get(number) as NetlinkLogGroup | undefined
  if (group !== undefined && group.socket !== request.socket) return -EPERM
  if (command !== undefined) {
    if (command === NFULNL_CFG_CMD_BIND) {
      if (group !== undefined) return -EBUSY
      group = new NetlinkLogGroup(request.stack.own as InetNetwork, request.socket, number)
      log.groups.set(number, group)
    } else if (command === NFULNL_CFG_CMD_UNBIND) {
      if (group === undefined) return -ENODEV
      group.close()
      log.groups.delete(number)
      return 0
    } else return -EOPNOTSUPP
  } else if (group === undefined) return -ENODEV
  const mode = attributes.get(NFULA_CFG_MODE)
  if (mode !== undefined) {
    if (mode.length < NFULNL_MSG_CONFIG_MODE.size) return -EINVAL
    group.setMode(viewOf(mode))
  }
  group.timeout = attributes.be32(NFULA_CFG_TIMEOUT) ?? group.timeout
  group.threshold = attributes.be32(NFULA_CFG_QTHRESH) ?? group.threshold
  group.size = Math.min(attributes.be32(NFULA_CFG_NLBUFSIZ) ?? group.size, MAX_COLLECTED)
  group.flags = attributes.be16(NFULA_CFG_FLAGS) ?? group.flags
  return 0
}

/** The socket has ended. */
export function forgetListener(log: PacketLog, socket: NetlinkSocket): void {
  for (const [number, group] of log.groups) {
    if (!(group instanceof NetlinkLogGroup) || group.socket !== socket) continue
    group.close()
    log.groups.delete(number)
  }
}

class NetlinkLogGroup implements LogGroup, Expiry {
  readonly socket: NetlinkSocket
  threshold = DEFAULT_THRESHOLD
  /** Hundredths of a second. */
  timeout = DEFAULT_TIMEOUT
  /** NFULNL_CFG_F_* */
  flags = 0
  /** Bytes of messages that are collected. */
  size = 4096
  readonly #network: InetNetwork
  readonly #number: number
  #mode = NFULNL_COPY_PACKET
  #range = MAX_RANGE
  #sequence = 0
  #writer = new MessageWriter()
  #collected = 0
  readonly #timer = new Timer(this)

  constructor(network: InetNetwork, socket: NetlinkSocket, number: number) {
    this.#network = network
    this.socket = socket
    this.#number = number
  }

  /** One that is not known changes nothing, and is no error. */
  setMode(view: DataView): void {
    const mode = view.getUint8(NFULNL_MSG_CONFIG_MODE.copy_mode)
    if (mode !== NFULNL_COPY_NONE && mode !== NFULNL_COPY_META && mode !== NFULNL_COPY_PACKET) return
    const range = view.getUint32(NFULNL_MSG_CONFIG_MODE.copy_range)
    this.#mode = mode
    this.#range = range === 0 ? MAX_RANGE : Math.min(range, MAX_RANGE)
  }

  logged(logged: LoggedPacket, prefix: string, { snapshot, threshold }: GroupOptions): void {
    const { log } = this.#network.netfilter
    const whole = logged.packet.end - logged.packet.network
    const copied = this.#mode === NFULNL_COPY_PACKET ? Math.min(whole, this.#range, snapshot ?? whole) : 0
    if (this.#collected > 0 && this.#writer.length + copied > this.size) this.#flush()
    this.#write(logged, prefix, copied)
    this.#collected++
    const enough = threshold === 0 ? this.threshold : Math.min(threshold, this.threshold)
    const { timers } = this.#network.runtime
    if (this.#collected >= enough || this.#writer.length > MAX_OF_ALL / log.groups.size) this.#flush()
    else if (!this.#timer.armed)
      timers.add(this.#timer, this.#network.runtime.now() + this.timeout * NSEC_PER_HUNDREDTH)
  }

  expired(): void {
    this.#flush()
  }
  close(): void {
    this.#network.runtime.timers.cancel(this.#timer)
  }

  #flush(): void {
    this.#network.runtime.timers.cancel(this.#timer)
    if (this.#collected === 0) return
    const writer = this.#writer
    if (this.#collected > 1) {
      startMessage(writer, 0, NLMSG_DONE, 0, UNASKED, NFPROTO_UNSPEC, this.#number)
      writer.end()
    }
    this.#collected = 0
    // It has grown with what was written.
    this.#writer = new MessageWriter()
    this.socket.deliver(writer.take(), 0, 0)
  }

  #write(logged: LoggedPacket, prefix: string, copied: number): void {
    const { packet, input, output, isV4, point } = logged
    const writer = this.#writer
    const family = isV4 ? NFPROTO_IPV4 : NFPROTO_IPV6
    startMessage(writer, NFNL_SUBSYS_ULOG, NFULNL_MSG_PACKET, 0, UNASKED, family, this.#number)
    const protocol = isV4 ? ETH_P_IP : ETH_P_IPV6
    const head = writer.attribute(NFULA_PACKET_HDR, NFULNL_MSG_PACKET_HDR.size)
    writer.set8(head + NFULNL_MSG_PACKET_HDR.hw_protocol, protocol >> 8)
    writer.set8(head + NFULNL_MSG_PACKET_HDR.hw_protocol + 1, protocol & 0xff)
    writer.set8(head + NFULNL_MSG_PACKET_HDR.hook, point)
    writer.string(NFULA_PREFIX, prefix)
    if (input !== undefined) writer.be32(NFULA_IFINDEX_INDEV, input.index)
    if (output !== undefined) writer.be32(NFULA_IFINDEX_OUTDEV, output.index)
    if (packet.mark !== 0) writer.be32(NFULA_MARK, packet.mark)
    if (input !== undefined) this.#writeLink(logged)
    if (point <= NF_INET_FORWARD && packet.timestamp !== 0) {
      const at = writer.attribute(NFULA_TIMESTAMP, NFULNL_MSG_PACKET_TIMESTAMP.size)
      set64(writer, at + NFULNL_MSG_PACKET_TIMESTAMP.sec, Math.floor(packet.timestamp / 1e9))
      set64(writer, at + NFULNL_MSG_PACKET_TIMESTAMP.usec, Math.floor((packet.timestamp % 1e9) / 1000))
    }
    if (packet.owner !== undefined) {
      writer.be32(NFULA_UID, packet.owner.uid)
      writer.be32(NFULA_GID, packet.owner.gid)
    }
    if ((this.flags & NFULNL_CFG_F_SEQ) !== 0) writer.be32(NFULA_SEQ, this.#sequence)
    this.#sequence = (this.#sequence + 1) >>> 0
    if ((this.flags & NFULNL_CFG_F_SEQ_GLOBAL) !== 0)
      writer.be32(NFULA_SEQ_GLOBAL, this.#network.netfilter.log.nextSequence())
    if (copied > 0)
      writer.bytes(NFULA_PAYLOAD, packet.bytes.subarray(packet.network, packet.network + copied))
    writer.end()
  }

  /** The link header, and the sender's address in it. */
  #writeLink({ packet, input }: LoggedPacket): void {
    const writer = this.#writer
    const { bytes, link, network } = packet
    const { headerLength, type } = input!
    const has = headerLength > 0 && link >= 0 && link + headerLength <= network
    if (has) {
      const at = writer.attribute(NFULA_HWADDR, NFULNL_MSG_PACKET_HW.size)
      writer.set8(at + NFULNL_MSG_PACKET_HW.hw_addrlen + 1, ETH_ALEN)
      const source = link + ETH_ALEN
      writer.setBytes(at + NFULNL_MSG_PACKET_HW.hw_addr, bytes.subarray(source, source + ETH_ALEN))
    }
    writer.be16(NFULA_HWTYPE, type)
    writer.be16(NFULA_HWLEN, headerLength)
    if (has) writer.bytes(NFULA_HWHEADER, bytes.subarray(link, link + headerLength))
  }
}

/** Of network byte order. */
function set64(writer: MessageWriter, at: number, value: number): void {
  for (let i = 0; i < 8; i++) writer.set8(at + i, Math.floor(value / 2 ** (8 * (7 - i))) % 256)
}
