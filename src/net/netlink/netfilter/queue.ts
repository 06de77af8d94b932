/**
 * NFNL_SUBSYS_QUEUE (nfnetlink_queue): a program binds a queue (0 to 65535) to its socket, is told of the packets that rules
 * put there, and says what is to become of each: go on, perhaps as another one, be dropped, or go to another queue.
 *
 * NetlinkQueue is in PacketQueues.listeners from its BIND to UNBIND or the socket's end; what it holds then is dropped.
 */
import {
  NF_ACCEPT,
  NF_DROP,
  NF_QUEUE,
  NF_REPEAT,
  NF_STOLEN,
  NF_STOP,
  NF_VERDICT_MASK,
  NFQA_CFG_CMD,
  NFQA_CFG_F_CONNTRACK,
  NFQA_CFG_F_FAIL_OPEN,
  NFQA_CFG_F_GSO,
  NFQA_CFG_F_MAX,
  NFQA_CFG_F_SECCTX,
  NFQA_CFG_FLAGS,
  NFQA_CFG_MASK,
  NFQA_CFG_PARAMS,
  NFQA_CFG_QUEUE_MAXLEN,
  NFQA_MARK,
  NFQA_PAYLOAD,
  NFQA_PRIORITY,
  NFQA_VERDICT_HDR,
  NFQNL_CFG_CMD_BIND,
  NFQNL_CFG_CMD_PF_BIND,
  NFQNL_CFG_CMD_PF_UNBIND,
  NFQNL_CFG_CMD_UNBIND,
  NFQNL_COPY_META,
  NFQNL_COPY_NONE,
  NFQNL_COPY_PACKET,
  NFQNL_MSG_CONFIG,
  NFQNL_MSG_PACKET,
  NFQNL_MSG_VERDICT,
  NFQNL_MSG_VERDICT_BATCH,
} from '../../../abi/constants.ts'
import { EBUSY, EINVAL, ENODEV, ENOENT, ENOMEM, EOPNOTSUPP, EPERM, ERANGE } from '../../../abi/errno.ts'
import { NFGENMSG, NFQNL_MSG_CONFIG_PARAMS, NFQNL_MSG_VERDICT_HDR, NLATTR } from '../../../abi/layout.ts'
import { failed, type OrErrno, type Status } from '../../../base/result.ts'
import type { PacketQueueListener, PacketQueues } from '../../filter/packet-queues.ts'
import type { InetNetwork } from '../../inet/network.ts'
import type { HeldPacket, NetfilterHook } from '../../ip/hooks.ts'
import { replacePacket, resume } from '../../ip/resume.ts'
import { segments } from '../../ip/segmentation.ts'
import type { NetDevice } from '../../link/device.ts'
import { GSO_NONE } from '../../packet.ts'
import { type Attributes, MessageWriter, viewOf } from '../message.ts'
import type { NetlinkRequest } from '../protocol.ts'
import type { NetlinkSocket } from '../socket.ts'
import { attributesOf } from './header.ts'
import { writeHeldPacket } from './queue-message.ts'

const MAX_RANGE = 0xffff - NLATTR.size
/** Linux's own, which no program is meant to see. */
const ENOTSUPP = 524
const DEFAULT_LENGTH = 1024
/** What a unit of FilterRoom stands for, in bytes. */
const ROOM_UNIT = 512

/** Behind all of a point's hooks: of NF_STOP. */
const END: NetfilterHook = { priority: Number.POSITIVE_INFINITY, filter: () => NF_ACCEPT }

export function queueReceive(request: NetlinkRequest): Status {
  const network = request.stack.own as InetNetwork
  const { queues } = network.netfilter
  const number = request.view.getUint16(NFGENMSG.res_id)
  const attributes = attributesOf(request)
  const queue = queues.listeners.get(number) as NetlinkQueue | undefined
  switch (request.type & 0xff) {
    case NFQNL_MSG_CONFIG:
      return configure(network, request, number, attributes, queue)
    case NFQNL_MSG_VERDICT:
    case NFQNL_MSG_VERDICT_BATCH:
      break
    default:
      return (request.type & 0xff) === NFQNL_MSG_PACKET ? -ENOTSUPP : -EINVAL
  }
  if (queue === undefined) return -ENODEV
  if (queue.socket !== request.socket) return -EPERM
  const header = attributes.get(NFQA_VERDICT_HDR)
  if (header === undefined || header.length < NFQNL_MSG_VERDICT_HDR.size) return -EINVAL
  const verdict = viewOf(header).getUint32(NFQNL_MSG_VERDICT_HDR.verdict)
  const id = viewOf(header).getUint32(NFQNL_MSG_VERDICT_HDR.id)
  const code = verdict & NF_VERDICT_MASK
  if (code > NF_STOP || code === NF_STOLEN) return -EINVAL
  const isOne = (request.type & 0xff) === NFQNL_MSG_VERDICT
  const ids = isOne ? queue.only(id) : queue.upTo(id)
  if (ids.length === 0) return -ENOENT
  // What many become is not said of any.
  const payload = isOne ? attributes.get(NFQA_PAYLOAD) : undefined
  for (const each of ids) queue.decide(each, verdict, attributes, payload)
  return 0
}

function configure(
  network: InetNetwork,
  request: NetlinkRequest,
  number: number,
  attributes: Attributes,
  queue: NetlinkQueue | undefined,
): Status {
  const { queues } = network.netfilter
  const command = attributes.u8(NFQA_CFG_CMD)
  // Which families have a queue at all: all of them.
  if (command === NFQNL_CFG_CMD_PF_BIND || command === NFQNL_CFG_CMD_PF_UNBIND) return 0
  const flags = readFlags(attributes)
  if (failed(flags)) return flags
  if (queue !== undefined && queue.socket !== request.socket) return -EPERM
  if (command === NFQNL_CFG_CMD_BIND) {
    if (queue !== undefined) return -EBUSY
    if (!network.ip.runtime.filterRoom.take(1)) return -ENOMEM
    queue = new NetlinkQueue(network, request.socket, number)
    queues.listeners.set(number, queue)
  } else if (command === NFQNL_CFG_CMD_UNBIND) {
    if (queue === undefined) return -ENODEV
    queues.listeners.delete(number)
    queue.close()
    return 0
  } else if (command !== undefined) return -EOPNOTSUPP
  if (queue === undefined) return -ENODEV
  const params = attributes.get(NFQA_CFG_PARAMS)
  if (params !== undefined) {
    if (params.length < NFQNL_MSG_CONFIG_PARAMS.size) return -ERANGE
    queue.setMode(viewOf(params))
  }
  queue.most = attributes.be32(NFQA_CFG_QUEUE_MAXLEN) ?? queue.most
  queue.flags = (queue.flags & ~flags.mask) | (flags.flags & flags.mask)
  return 0
}

function readFlags(attributes: Attributes): OrErrno<{ readonly flags: number; readonly mask: number }> {
  const flags = attributes.be32(NFQA_CFG_FLAGS)
  const mask = attributes.be32(NFQA_CFG_MASK)
  if (flags === undefined) return { flags: 0, mask: 0 }
  if (mask === undefined) return -EINVAL
  const unknown = NFQA_CFG_F_SECCTX | NFQA_CFG_F_CONNTRACK
  return flags >= NFQA_CFG_F_MAX || (flags & mask & unknown) !== 0 ? -EOPNOTSUPP : { flags, mask }
}

/** The socket has ended. */
export function forgetQueues({ listeners }: PacketQueues, socket: NetlinkSocket): void {
  for (const [number, queue] of listeners) {
    if (!(queue instanceof NetlinkQueue) || queue.socket !== socket) continue
    listeners.delete(number)
    queue.close()
  }
}

/** /proc/net/netfilter/nfnetlink_queue. */
export function queueLines({ listeners }: PacketQueues): string {
  return [...listeners.values()].map(queue => (queue as NetlinkQueue).line()).join('')
}

class NetlinkQueue implements PacketQueueListener {
  readonly socket: NetlinkSocket
  /** NFQA_CFG_F_* */
  flags = 0
  most = DEFAULT_LENGTH
  readonly #network: InetNetwork
  readonly #number: number
  #mode = NFQNL_COPY_NONE
  #range = MAX_RANGE
  readonly #held = new Map<number, HeldPacket>()
  #lastId = 0
  #dropped = 0
  #undelivered = 0

  constructor(network: InetNetwork, socket: NetlinkSocket, number: number) {
    this.#network = network
    this.socket = socket
    this.#number = number
  }

  setMode(view: DataView): void {
    const mode = view.getUint8(NFQNL_MSG_CONFIG_PARAMS.copy_mode)
    if (mode !== NFQNL_COPY_NONE && mode !== NFQNL_COPY_META && mode !== NFQNL_COPY_PACKET) return
    const range = view.getUint32(NFQNL_MSG_CONFIG_PARAMS.copy_range)
    this.#mode = mode
    if (mode === NFQNL_COPY_PACKET) this.#range = range === 0 ? MAX_RANGE : Math.min(range, MAX_RANGE)
    else this.#range = 0
  }

  /** Segments that are still one packet only who has asked for that sees as one. */
  take(held: HeldPacket): number {
    const { packet } = held
    if (this.#mode === NFQNL_COPY_NONE) return NF_DROP
    if ((this.flags & NFQA_CFG_F_GSO) !== 0) return this.#put(held)
    if (packet.gsoType === GSO_NONE) {
      if (this.#mode === NFQNL_COPY_PACKET) packet.completeChecksum()
      return this.#put(held)
    }
    for (const piece of segments(this.#network.ip, packet)) {
      piece.completeChecksum()
      const one = { ...held, packet: piece }
      const verdict = this.#put(one)
      if (verdict === NF_ACCEPT) resume(this.#network.ip, one)
      else if (verdict === NF_DROP) piece.release()
    }
    packet.release()
    return NF_STOLEN
  }

  #put(held: HeldPacket): number {
    const { filterRoom } = this.#network.ip.runtime
    const open = (this.flags & NFQA_CFG_F_FAIL_OPEN) !== 0
    const full = this.#held.size >= this.most || !filterRoom.take(roomOf(held))
    if (full) {
      if (open) return NF_ACCEPT
      this.#dropped++
      return NF_DROP
    }
    const id = (this.#lastId + 1) >>> 0
    this.#lastId = id
    const writer = new MessageWriter()
    writeHeldPacket(writer, held, this.#number, id, this.#range, this.flags)
    if (this.socket.deliver(writer.take(), 0, 0) < 0) {
      filterRoom.give(roomOf(held))
      if (open) return NF_ACCEPT
      this.#undelivered++
      return NF_DROP
    }
    this.#held.set(id, held)
    return NF_STOLEN
  }

  only(id: number): number[] {
    return this.#held.has(id) ? [id] : []
  }
  /** In the order of their coming. */
  upTo(id: number): number[] {
    return [...this.#held.keys()].filter(each => (id - each) >> 0 >= 0)
  }

  /** `payload`: the packet that it becomes, if it is to be another one. */
  decide(id: number, verdict: number, attributes: Attributes, payload: Uint8Array | undefined): void {
    const held = this.#takeOut(id)
    if (held === undefined) return
    if (payload !== undefined && !replacePacket(this.#network.ip, held, payload)) return
    const { packet } = held
    packet.mark = attributes.be32(NFQA_MARK) ?? packet.mark
    packet.priority = attributes.be32(NFQA_PRIORITY) ?? packet.priority
    let code = verdict
    if ((code & NF_VERDICT_MASK) === NF_REPEAT)
      code = held.hook.filter(this.#network.ip, held.point, packet, held.input, held.output)
    if ((code & NF_VERDICT_MASK) === NF_QUEUE) code = this.#network.netfilter.queues.enqueue(held, code)
    code &= NF_VERDICT_MASK
    if (code === NF_STOLEN) return
    if (code === NF_ACCEPT) resume(this.#network.ip, held)
    else if (code === NF_STOP) resume(this.#network.ip, { ...held, hook: END })
    else packet.release()
  }

  deviceDown(device: NetDevice): void {
    for (const [id, { input, output }] of this.#held)
      if (input === device || output === device) this.#takeOut(id)?.packet.release()
  }
  close(): void {
    this.#network.ip.runtime.filterRoom.give(1)
    for (const id of this.#held.keys()) this.#takeOut(id)?.packet.release()
  }
  line(): string {
    const column = (value: number, width: number) => String(value).padStart(width)
    return [
      ...[column(this.#number, 5), column(this.socket.port, 6), column(this.#held.size, 5)],
      ...[this.#mode, column(this.#range, 5), column(this.#dropped, 5)],
      ...[column(this.#undelivered, 5), column(this.#lastId, 8), ' 1\n'],
    ].join(' ')
  }

  #takeOut(id: number): HeldPacket | undefined {
    const held = this.#held.get(id)
    if (held === undefined) return undefined
    this.#held.delete(id)
    this.#network.ip.runtime.filterRoom.give(roomOf(held))
    return held
  }
}

function roomOf({ packet }: HeldPacket): number {
  return Math.ceil(packet.bytes.length / ROOM_UNIT)
}
