/**
 * PingSocket: SOCK_DGRAM with ICMP: echo requests without privilege, icmp(7). The identifier is the socket's 'port'; only
 * answers that carry it are seen.
 */
import {
  AF_INET,
  AF_UNSPEC,
  IPV6_V6ONLY,
  MSG_OOB,
  POLLERR,
  POLLIN,
  POLLOUT,
  POLLRDNORM,
  POLLWRBAND,
  POLLWRNORM,
  RTN_BROADCAST,
  SO_BROADCAST,
  SO_REUSEADDR,
  SOCK_DGRAM,
} from '../../abi/constants.ts'
import {
  EACCES,
  EADDRINUSE,
  EAFNOSUPPORT,
  EAGAIN,
  EDESTADDRREQ,
  EFAULT,
  EINVAL,
  EMSGSIZE,
  EOPNOTSUPP,
} from '../../abi/errno.ts'
import { failed, type Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import { checksumOf, pseudoHeaderSum, sumView } from '../checksum.ts'
import { quotedError } from '../ip/error-queue.ts'
import { Flow } from '../ip/flow.ts'
import type { EchoReceiver, IcmpError } from '../ip/transport.ts'
import type { IpStack } from '../ip-stack.ts'
import type { Packet } from '../packet.ts'
import { RCV_SHUTDOWN, type SendRequest } from '../socket.ts'
import { addressFamily, parseSocketAddress } from './address.ts'
import { checkAddress, scopeDevice } from './bind.ts'
import { parseControl } from './control.ts'
import { InboxSocket } from './inbox-socket.ts'
import type { InetNetwork } from './network.ts'

/** An ICMP message's own: type, code, checksum, identifier, sequence number. */
const HEADER = 8
const CHECKSUM_AT = 2
const IDENTIFIER_AT = 4
const ECHO = 8
const ECHO_V6 = 128
const MAX_PACKET = 65535

export class PingSockets implements EchoReceiver {
  readonly #stack: IpStack
  /** By identifier; IPv6's have 0x10000 added. */
  readonly #sockets = new Map<number, PingSocket>()

  constructor(stack: IpStack) {
    this.#stack = stack
    stack.echo = this
  }

  /** 0: any that is free. */
  claim(socket: PingSocket, identifier: number): number {
    const base = socket.isIpv6 ? 0x10000 : 0
    if (identifier !== 0) {
      if (this.#sockets.has(base + identifier)) return -EADDRINUSE
      this.#sockets.set(base + identifier, socket)
      return identifier
    }
    const first = this.#stack.random.below(0xffff)
    for (let i = 0; i < 0xffff; i++) {
      const candidate = 1 + ((first + i) % 0xffff)
      if (this.#sockets.has(base + candidate)) continue
      this.#sockets.set(base + candidate, socket)
      return candidate
    }
    return -EAGAIN
  }
  forget(socket: PingSocket, identifier: number): void {
    this.#sockets.delete((socket.isIpv6 ? 0x10000 : 0) + identifier)
  }

  reply(packet: Packet): void {
    this.#find(packet, packet.source.isV4)?.deliver(packet.clone())
  }
  error(packet: Packet, error: IcmpError): void {
    this.#find(packet, error.isV4)?.icmp(packet, error)
  }
  #find(packet: Packet, isV4: boolean): PingSocket | undefined {
    if (packet.length < HEADER) return undefined
    return this.#sockets.get((isV4 ? 0 : 0x10000) + packet.view.getUint16(packet.start + IDENTIFIER_AT))
  }
}

export class PingSocket extends InboxSocket {
  #identifier = 0

  constructor(net: InetNetwork, task: Task, family: number, protocol: number) {
    super(net, task, family, SOCK_DGRAM, protocol)
    // INET_PROTOSW_REUSE
    this.options.values.set(SO_REUSEADDR, 1)
    if (this.isIpv6) this.settings.setV6(IPV6_V6ONLY, 1)
  }

  override get localPort(): number {
    return this.#identifier
  }
  override get remotePort(): number {
    return 0
  }

  override poll(): number {
    let events = POLLOUT | POLLWRNORM | POLLWRBAND
    if (this.inbox.length > 0 || (this.shutdownMask & RCV_SHUTDOWN) !== 0) events |= POLLIN | POLLRDNORM
    if (this.error !== 0 || this.errors.length > 0) events |= this.errorEvents
    return events
  }

  /** Owns the packet. */
  deliver(packet: Packet): void {
    const bound = this.boundDevice !== 0 && this.boundDevice !== packet.device?.index
    if (bound || this.inbox.refuses(packet, this.options.rcvbuf)) {
      packet.release()
      return
    }
    this.inbox.push(packet)
    this.waitQueue.wake(POLLIN | POLLRDNORM)
  }

  icmp(packet: Packet, error: IcmpError): void {
    const queued = this.queuesErrors
    if (!queued && (!error.hard || this.remote === undefined)) return
    // Beginning with the echo request's header, by whose number ping(8) knows it.
    if (queued) this.errors.push(quotedError(packet, error, 0), this.options.rcvbuf)
    this.error = error.errno
    this.waitQueue.wake(POLLERR)
  }

  override bind(_task: Task, address: Uint8Array): Status {
    const parsed = parseSocketAddress(address, this.family)
    if (failed(parsed)) return parsed
    if (parsed.address.isV4 && this.isIpv6) return -EINVAL
    const status = checkAddress(this, parsed)
    if (status < 0) return status
    if (this.#identifier !== 0) return -EINVAL
    const identifier = this.net.ping.claim(this, parsed.port)
    if (identifier < 0) return identifier
    this.#identifier = identifier
    this.local = parsed.address
    this.flow.source = parsed.address
    this.flow.device = this.boundDevice || scopeDevice(parsed)
    return 0
  }
  #claimed(): Status {
    if (this.#identifier !== 0) return 0
    const identifier = this.net.ping.claim(this, 0)
    if (identifier < 0) return identifier
    this.#identifier = identifier
    return 0
  }

  override connect(_task: Task, address: Uint8Array): Status {
    if (address.length < 2) return -EINVAL
    if (addressFamily(address) === AF_UNSPEC) {
      this.remote = undefined
      return 0
    }
    const parsed = parseSocketAddress(address, this.family)
    if (failed(parsed)) return parsed
    if (parsed.address.isV4 && this.isIpv6) return -EINVAL
    const route = this.aim(parsed)
    if (failed(route)) return route
    const claimed = this.#claimed()
    if (claimed < 0) return claimed
    if (this.local.isAny) this.local = route.source
    this.remote = parsed.address
    return 0
  }

  override send(task: Task, request: SendRequest): number {
    const { src } = request
    const length = src.remaining
    if (length > MAX_PACKET) return -EMSGSIZE
    if (length < HEADER) return -EINVAL
    if ((request.flags & MSG_OOB) !== 0) return -EOPNOTSUPP
    this.net.settle()
    const error = this.takeError()
    if (error < 0) return error
    const flow = Object.assign(new Flow(), this.flow)
    flow.forgetRoute()
    this.settings.apply(flow, this.family === AF_INET)
    flow.device = this.boundDevice || this.flow.device
    if (request.address === undefined) {
      if (this.remote === undefined) return -EDESTADDRREQ
      flow.destination = this.remote
    } else {
      const parsed = parseSocketAddress(request.address, this.family)
      if (failed(parsed)) return parsed === -EAFNOSUPPORT && this.isIpv6 ? -EINVAL : parsed
      flow.destination = parsed.address
      if (flow.device === 0) flow.device = scopeDevice(parsed)
    }
    const control = parseControl(this, task, request.control, this.family === AF_INET)
    if (typeof control === 'number') return control
    if (control?.device) flow.device = control.device
    if (control?.source !== undefined) flow.source = control.source
    if (control?.ttl !== undefined) flow.ttl = flow.multicastTtl = control.ttl
    if (control?.tos !== undefined) flow.tos = control.tos
    return this.#sendEcho(request, flow, length)
  }

  #sendEcho({ src }: SendRequest, flow: Flow, length: number): number {
    const { ip } = this.net
    const packet = ip.packets.allocate(length)
    const at = packet.append(length)
    if (src.take(packet.bytes.subarray(at, at + length)) < length) {
      packet.release()
      return -EFAULT
    }
    const { view } = packet
    const isEcho = view.getUint8(at) === (this.isIpv6 ? ECHO_V6 : ECHO) && view.getUint8(at + 1) === 0
    const route = isEcho ? ip.ip.routeFor(flow) : -EINVAL
    const claimed = typeof route === 'number' ? route : this.#claimed()
    if (typeof route === 'number' || claimed < 0) {
      packet.release()
      return claimed
    }
    if (route.type === RTN_BROADCAST && !this.options.flag(SO_BROADCAST)) {
      packet.release()
      return -EACCES
    }
    view.setUint16(at + IDENTIFIER_AT, this.#identifier)
    view.setUint16(at + CHECKSUM_AT, 0)
    const pseudo = this.isIpv6 ? pseudoHeaderSum(route.source, flow.destination, this.protocol, length) : 0
    view.setUint16(at + CHECKSUM_AT, checksumOf(sumView(view, at, length, pseudo)))
    const status = ip.ip.send(packet, flow)
    return status < 0 ? status : length
  }

  override release(): void {
    if (this.#identifier !== 0) this.net.ping.forget(this, this.#identifier)
    super.release()
  }
}
