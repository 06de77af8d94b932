/**
 * NetlinkSocket: a guest's end of a netlink protocol whose other end is this kernel: netlink(7).
 *
 * Made by the family's `create`. Its port number comes with bind, connect or the first send, and its queue holds what the
 * kernel answered, what groups heard and what other sockets sent. A dump goes on as the queue is read, so that a long one
 * takes no more memory than the receive buffer.
 */
import {
  AF_NETLINK,
  AF_UNSPEC,
  CAP_NET_ADMIN,
  MSG_OOB,
  MSG_PEEK,
  MSG_TRUNC,
  NETLINK_CAP_ACK,
  NETLINK_EXT_ACK,
  NETLINK_GET_STRICT_CHK,
  NETLINK_NO_ENOBUFS,
  NLM_F_ACK,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_DUMP_INTR,
  NLM_F_MULTI,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_MIN_TYPE,
  NLMSGERR_ATTR_MSG,
  NLMSGERR_ATTR_OFFS,
  POLLERR,
  POLLIN,
  POLLOUT,
  POLLRDNORM,
  POLLWRBAND,
  POLLWRNORM,
  SCM_CREDENTIALS,
  SOL_SOCKET,
} from '../../abi/constants.ts'
import { EAGAIN, EBUSY, EFAULT, EINVAL, EMSGSIZE, ENOBUFS, EOPNOTSUPP, EPERM } from '../../abi/errno.ts'
import { NLMSGERR, NLMSGHDR, SOCKADDR_NL } from '../../abi/layout.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { NetNamespace } from '../../kernel/namespaces.ts'
import type { Task } from '../../kernel/task.ts'
import { type ReceiveRequest, type SendRequest, Socket } from '../socket.ts'
import type { NetStack } from '../stack.ts'
import type { MessageCred } from '../unix/message.ts'
import { credBytes, credOf } from '../unix/rights.ts'
import { align4, MessageWriter, viewOf } from './message.ts'
import { getNetlinkOption, packetInfo, setNetlinkOption } from './options.ts'
import type { Dump, NetlinkProtocol, NetlinkRequest } from './protocol.ts'
import type { NetlinkTable } from './table.ts'

/** The longest message that is taken (a batch of rules may be long); the send buffer's size bounds it, too. */
const MAX_MESSAGE = 1 << 24
/** How much of a dump is put into one datagram: NLMSG_GOODSIZE, and for who reads with more room, more. */
const GOOD_SIZE = 3776
const MAX_PIECE = 32768
/** What a queued datagram costs beside its bytes. */
const OVERHEAD = 512

/** Of kernel messages: nobody is their sender. */
const KERNEL_PORT = 0
const WRITABLE = POLLOUT | POLLWRNORM | POLLWRBAND
const READABLE = POLLIN | POLLRDNORM

interface Queued {
  readonly bytes: Uint8Array
  readonly port: number
  readonly group: number
  readonly cred: MessageCred | undefined
}

interface RunningDump {
  readonly dump: Dump
  readonly sequence: number
  readonly flags: number
  readonly revision: number
}

export class NetlinkSocket extends Socket {
  readonly stack: NetStack
  readonly table: NetlinkTable
  /** The kernel's end; undefined: there is none, the protocol is for processes only. */
  readonly #kernelEnd: NetlinkProtocol
  port = 0
  peerPort = 0
  #peerGroups = 0
  readonly groups = new Set<number>()
  /** NETLINK_* options that are on. */
  readonly switches = new Set<number>()
  readonly #queue: Queued[] = []
  #queued = 0
  #drops = 0
  #dump: RunningDump | undefined = undefined
  /** The most that a reader had room for. */
  #readerRoom = 0

  constructor(
    stack: NetStack,
    table: NetlinkTable,
    type: number,
    protocol: number,
    kernelEnd: NetlinkProtocol,
  ) {
    super(AF_NETLINK, type, protocol)
    this.stack = stack
    this.table = table
    this.#kernelEnd = kernelEnd
    table.sockets.add(this)
  }

  get groupCount(): number {
    return Math.max(32, Math.ceil(this.#kernelEnd.groups / 32) * 32)
  }
  override namespace(): NetNamespace {
    return this.stack.ns
  }
  override get drops(): number {
    return this.#drops
  }
  override get receiveMemory(): number {
    return this.#queued
  }
  get dumping(): boolean {
    return this.#dump !== undefined
  }
  get strict(): boolean {
    return this.switches.has(NETLINK_GET_STRICT_CHK)
  }

  override poll(): number {
    return WRITABLE | (this.#queue.length > 0 ? READABLE : 0) | (this.error !== 0 ? POLLERR : 0)
  }

  override release(): void {
    this.table.forget(this)
    this.#kernelEnd.released?.(this)
    this.#queue.length = 0
    this.#dump = undefined
  }

  override bind(task: Task, address: Uint8Array): Status {
    if (address.length < SOCKADDR_NL.size) return -EINVAL
    const view = viewOf(address)
    if (view.getUint16(SOCKADDR_NL.nl_family, true) !== AF_NETLINK) return -EINVAL
    const groups = view.getUint32(SOCKADDR_NL.nl_groups, true)
    if (groups !== 0 && !this.#mayListen(task)) return -EPERM
    const port = view.getUint32(SOCKADDR_NL.nl_pid, true)
    if (this.port !== 0 && port !== this.port) return -EINVAL
    if (this.port === 0) {
      if (port === 0) this.#autobind(task)
      else {
        const status = this.table.claim(this, port)
        if (status < 0) return status
        this.port = port
      }
    }
    for (let group = 1; group <= 32; group++) {
      if (((groups >>> (group - 1)) & 1) === 0) this.groups.delete(group)
      else if (!this.groups.has(group)) {
        const status = this.#kernelEnd.joins?.(task, group) ?? 0
        if (status < 0) return status
        this.groups.add(group)
      }
    }
    return 0
  }

  /** NETLINK_ADD_MEMBERSHIP. */
  join(task: Task, group: number): Status {
    if (!this.#mayListen(task)) return -EPERM
    if (group < 1 || group > this.groupCount) return -EINVAL
    const status = this.#kernelEnd.joins?.(task, group) ?? 0
    if (status === 0) this.groups.add(group)
    return status
  }

  #mayListen(task: Task): boolean {
    return this.#kernelEnd.anyoneListens || this.capable(task)
  }
  /** Both who opened the socket and who uses it must be. */
  capable(task: Task, capability = CAP_NET_ADMIN): boolean {
    const { userNs } = this.stack.ns
    const opener = this.file?.cred ?? task.cred
    return opener.capable(capability, userNs) && task.cred.capable(capability, userNs)
  }
  #autobind(task: Task): void {
    this.port = this.table.autobind(this, task.group.pid.in(task.pidNs))
  }

  override connect(task: Task, address: Uint8Array): Status {
    if (address.length < 2) return -EINVAL
    const view = viewOf(address)
    const family = view.getUint16(SOCKADDR_NL.nl_family, true)
    if (family === AF_UNSPEC) {
      this.peerPort = this.#peerGroups = 0
      return 0
    }
    if (family !== AF_NETLINK || address.length < SOCKADDR_NL.size) return -EINVAL
    const port = view.getUint32(SOCKADDR_NL.nl_pid, true)
    const groups = view.getUint32(SOCKADDR_NL.nl_groups, true)
    if ((port !== 0 || groups !== 0) && !this.#kernelEnd.anyoneSends && !this.capable(task)) return -EPERM
    if (this.port === 0) this.#autobind(task)
    this.peerPort = port
    this.#peerGroups = groups === 0 ? 0 : 1 << (groupOf(groups) - 1)
    return 0
  }

  override name(peer: boolean): OrErrno<Uint8Array> {
    if (peer) return netlinkAddress(this.peerPort, this.#peerGroups)
    let mask = 0
    for (const group of this.groups) if (group <= 32) mask |= 1 << (group - 1)
    return netlinkAddress(this.port, mask)
  }

  override getOption(_task: Task, level: number, name: number, length: number) {
    return getNetlinkOption(this, level, name, length)
  }
  override setOption(task: Task, level: number, name: number, value: Uint8Array): Status | undefined {
    return setNetlinkOption(this, task, level, name, value)
  }

  override send(task: Task, request: SendRequest): number {
    if ((request.flags & MSG_OOB) !== 0) return -EOPNOTSUPP
    let port = this.peerPort
    let groups = this.#peerGroups
    if (request.address !== undefined) {
      if (request.address.length < SOCKADDR_NL.size) return -EINVAL
      const view = viewOf(request.address)
      if (view.getUint16(SOCKADDR_NL.nl_family, true) !== AF_NETLINK) return -EINVAL
      port = view.getUint32(SOCKADDR_NL.nl_pid, true)
      groups = view.getUint32(SOCKADDR_NL.nl_groups, true)
      if ((port !== 0 || groups !== 0) && !this.#kernelEnd.anyoneSends && !this.capable(task)) return -EPERM
    }
    if (this.port === 0) this.#autobind(task)
    const length = request.src.remaining
    if (length > this.options.sndbuf - 32 || length > MAX_MESSAGE) return -EMSGSIZE
    const bytes = new Uint8Array(length)
    if (length > 0 && request.src.take(bytes) < length) return -EFAULT
    const { table } = this
    if (groups !== 0) {
      // The lowest group counts.
      table.multicast(this.protocol, groupOf(groups), bytes, this, credOf(task))
    }
    if (port === KERNEL_PORT) {
      if (groups === 0) this.#toKernel(task, bytes)
      return length
    }
    const status = table.unicast(this, port, bytes, credOf(task))
    return status < 0 ? status : length
  }

  /** One message after the other, each of them acknowledged if it failed or asked for that. */
  #toKernel(task: Task, bytes: Uint8Array): void {
    const view = viewOf(bytes)
    const requests: NetlinkRequest[] = []
    for (let at = 0; bytes.length - at >= NLMSGHDR.size; ) {
      const length = view.getUint32(at + NLMSGHDR.nlmsg_len, true)
      if (length < NLMSGHDR.size || length > bytes.length - at) break
      requests.push(this.#request(task, bytes.subarray(at, at + length)))
      at += align4(length)
    }
    const together = this.#kernelEnd.batch?.(requests)
    if (together === undefined) for (const request of requests) this.#one(request)
    else for (const { request, status } of together) this.#acknowledge(request, status)
  }

  #request(task: Task, message: Uint8Array): NetlinkRequest {
    const view = viewOf(message)
    const body = message.subarray(NLMSGHDR.size)
    return {
      task,
      stack: this.stack,
      socket: this,
      port: this.port,
      type: view.getUint16(NLMSGHDR.nlmsg_type, true),
      flags: view.getUint16(NLMSGHDR.nlmsg_flags, true),
      sequence: view.getUint32(NLMSGHDR.nlmsg_seq, true),
      message,
      body,
      view: viewOf(body),
      reason: '',
      offset: 0,
      answer: filled => this.deliver(filled.take(), KERNEL_PORT, 0),
    }
  }

  #one(request: NetlinkRequest): void {
    let result: Status | Dump = 0
    if ((request.flags & NLM_F_REQUEST) !== 0 && request.type >= NLMSG_MIN_TYPE) {
      result = this.#kernelEnd.receive(request)
      if (typeof result !== 'number') {
        if (this.#dump === undefined) {
          const { sequence } = request
          this.#dump = { dump: result, sequence, flags: NLM_F_MULTI, revision: result.revision ?? 0 }
          this.#dumpOn()
          return
        }
        result = -EBUSY
      }
    }
    if (result === 0 && (request.flags & NLM_F_ACK) === 0) return
    this.#acknowledge(request, result)
  }

  /** NLMSG_ERROR, with the request unless that is not wanted. */
  #acknowledge(request: NetlinkRequest, error: Status): void {
    const writer = new MessageWriter()
    const { message } = request
    const whole = error !== 0 && !this.switches.has(NETLINK_CAP_ACK)
    const extended = this.switches.has(NETLINK_EXT_ACK) && (request.reason !== '' || request.offset !== 0)
    writer.start(
      NLMSG_ERROR,
      (whole ? 0 : NLM_F_CAPPED) | (extended ? NLM_F_ACK_TLVS : 0),
      request.sequence,
      request.port,
    )
    const quoted = whole ? message : message.subarray(0, NLMSGHDR.size)
    const at = writer.struct(align4(NLMSGERR.msg + quoted.length))
    writer.set32(at + NLMSGERR.error, error)
    writer.setBytes(at + NLMSGERR.msg, quoted)
    if (extended && request.reason !== '') writer.string(NLMSGERR_ATTR_MSG, request.reason)
    if (extended && error !== 0 && request.offset !== 0) writer.u32(NLMSGERR_ATTR_OFFS, request.offset)
    writer.end()
    this.deliver(writer.take(), KERNEL_PORT, 0)
  }

  /** Puts the next piece of a dump into the queue, as long as half of the receive buffer is free. */
  #dumpOn(): void {
    const running = this.#dump
    if (running === undefined || this.#queued > this.options.rcvbuf / 2) return
    const { dump, sequence } = running
    const writer = new MessageWriter()
    const room = Math.max(GOOD_SIZE, Math.min(this.#readerRoom, MAX_PIECE))
    let changed = 0
    let before = 0
    let over = false
    const pieces: Uint8Array[] = []
    while (!over && writer.length < room) {
      if ((dump.revision ?? 0) !== running.revision) changed = NLM_F_DUMP_INTR
      before = writer.length
      over = !dump.next(writer)
      // A datagram holds whole messages: what went over its size is the next one's.
      if (writer.length > room && before > 0) {
        const all = writer.take()
        pieces.push(all.subarray(0, before), all.subarray(before))
        break
      }
    }
    if (pieces.length === 0) pieces.push(writer.take())
    const last = pieces.pop()!
    for (const piece of pieces) this.deliver(piece, KERNEL_PORT, 0)
    if (!over) {
      this.deliver(last, KERNEL_PORT, 0)
      return
    }
    this.#dump = undefined
    writer.start(NLMSG_DONE, NLM_F_MULTI | changed | (dump.flags ?? 0), sequence, this.port)
    writer.struct(4)
    writer.end()
    const done = writer.take()
    if (last.length + done.length > room && last.length > 0) {
      this.deliver(last, KERNEL_PORT, 0)
      this.deliver(done, KERNEL_PORT, 0)
      return
    }
    const joined = new Uint8Array(last.length + done.length)
    joined.set(last)
    joined.set(done, last.length)
    this.deliver(joined, KERNEL_PORT, 0)
  }

  /** Into the queue; a queue that is full drops it and tells of that by ENOBUFS. */
  deliver(bytes: Uint8Array, port: number, group: number, cred?: MessageCred): Status {
    if (bytes.length === 0 || this.filter?.passes(bytes) === false) return 0
    if (this.#queued > this.options.rcvbuf) {
      this.#drops++
      if (port !== KERNEL_PORT && group === 0) return -EAGAIN
      if (!this.switches.has(NETLINK_NO_ENOBUFS) && this.error === 0) {
        this.error = ENOBUFS
        this.waitQueue.wake(POLLERR)
      }
      return -ENOBUFS
    }
    this.#queue.push({ bytes, port, group, cred })
    this.#queued += bytes.length + OVERHEAD
    this.waitQueue.wake(READABLE)
    return 0
  }

  override receive(task: Task, request: ReceiveRequest): number {
    if ((request.flags & MSG_OOB) !== 0) return -EOPNOTSUPP
    const error = this.takeError()
    if (error < 0) return error
    const first = this.#queue[0]
    if (first === undefined) return -EAGAIN
    const { dst } = request
    this.#readerRoom = Math.max(this.#readerRoom, dst.remaining)
    const part = first.bytes.subarray(0, dst.remaining)
    if (part.length > 0) {
      const done = dst.put(part)
      if (done < 0) return done
    }
    if (part.length < first.bytes.length) request.outFlags |= MSG_TRUNC
    request.address = netlinkAddress(
      first.port,
      first.group === 0 || first.group > 32 ? 0 : 1 << (first.group - 1),
    )
    if (this.options.passCred) {
      const data = first.cred === undefined ? new Uint8Array(12) : credBytes(task, first.cred)
      request.control.push({ level: SOL_SOCKET, type: SCM_CREDENTIALS, data })
    }
    packetInfo(this, first.group, request)
    if ((request.flags & MSG_PEEK) === 0) {
      this.#queue.shift()
      this.#queued -= first.bytes.length + OVERHEAD
      this.#dumpOn()
    }
    return (request.flags & MSG_TRUNC) !== 0 ? first.bytes.length : part.length
  }
}

/** The lowest group of a mask. */
function groupOf(mask: number): number {
  return 32 - Math.clz32(mask & -mask)
}

export function netlinkAddress(port: number, groups: number): Uint8Array {
  const address = new Uint8Array(SOCKADDR_NL.size)
  const view = viewOf(address)
  view.setUint16(SOCKADDR_NL.nl_family, AF_NETLINK, true)
  view.setUint32(SOCKADDR_NL.nl_pid, port, true)
  view.setUint32(SOCKADDR_NL.nl_groups, groups >>> 0, true)
  return address
}
