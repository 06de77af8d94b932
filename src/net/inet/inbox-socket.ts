/** InboxSocket: what raw and ping sockets have in common: packets wait in an Inbox, and one peer may be fixed. */
import {
  IP_RECVERR,
  IPV6_RECVERR,
  MSG_DONTWAIT,
  MSG_ERRQUEUE,
  MSG_OOB,
  MSG_PEEK,
  RTN_BROADCAST,
  SO_BROADCAST,
  TCP_CLOSE,
  TCP_ESTABLISHED,
} from '../../abi/constants.ts'
import { EACCES, EAGAIN, ENOTCONN, EOPNOTSUPP } from '../../abi/errno.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import type { IpAddress } from '../address.ts'
import { Flow, type Route } from '../ip/flow.ts'
import { RCV_SHUTDOWN, type ReceiveRequest } from '../socket.ts'
import { type SocketAddress, socketAddress } from './address.ts'
import { scopeDevice } from './bind.ts'
import { describePacket } from './control.ts'
import { pendingOf, receiveError } from './errors.ts'
import { Inbox } from './inbox.ts'
import type { InetNetwork } from './network.ts'
import { InetSocket } from './socket.ts'

export abstract class InboxSocket extends InetSocket {
  override readonly flow = new Flow()
  protected readonly inbox = new Inbox()
  protected local: IpAddress
  /** Undefined: not connected. */
  protected remote: IpAddress | undefined = undefined

  constructor(net: InetNetwork, task: Task, family: number, type: number, protocol: number) {
    super(net, task, family, type, protocol)
    this.local = this.anyAddress
    this.flow.source = this.flow.destination = this.anyAddress
    this.flow.protocol = protocol
    this.flow.uid = this.uid
    this.flow.owner = this
  }

  override get localAddress(): IpAddress {
    return this.local
  }
  override get remoteAddress(): IpAddress | undefined {
    return this.remote
  }
  override get state(): number {
    return this.remote === undefined ? TCP_CLOSE : TCP_ESTABLISHED
  }
  override get receiveQueued(): number {
    return this.inbox.first?.length ?? 0
  }
  override get drops(): number {
    return this.inbox.drops
  }
  /** IP_RECVERR: errors go to the error queue, soft ones and a stranger's too. */
  protected get queuesErrors(): boolean {
    return (this.isIpv6 ? this.settings.v6(IPV6_RECVERR) : this.settings.v4(IP_RECVERR)) !== 0
  }

  /** connect(2)'s first half: the flow leads to `peer`. */
  protected aim(peer: SocketAddress): OrErrno<Route> {
    const { flow } = this
    flow.destination = peer.address
    flow.device = this.boundDevice || scopeDevice(peer)
    flow.forgetRoute()
    const route = this.net.ip.ip.routeFor(flow)
    if (failed(route)) return route
    return route.type === RTN_BROADCAST && !this.options.flag(SO_BROADCAST) ? -EACCES : route
  }

  override shutdown(mask: number): Status {
    this.shutdownMask |= mask
    this.waitQueue.wake()
    return this.remote === undefined ? -ENOTCONN : 0
  }

  override receive(_task: Task, request: ReceiveRequest): number {
    const { flags } = request
    if ((flags & MSG_OOB) !== 0) return -EOPNOTSUPP
    this.net.settle()
    if ((flags & MSG_ERRQUEUE) !== 0) {
      const n = receiveError(this.errors, request, this.family)
      if (n >= 0) this.error = pendingOf(this.errors)
      return n
    }
    const error = this.takeError()
    if (error < 0) return error
    const packet = this.inbox.first
    if (packet === undefined) {
      const over = (this.shutdownMask & RCV_SHUTDOWN) !== 0 && (flags & MSG_DONTWAIT) === 0
      return over ? 0 : -EAGAIN
    }
    const n = this.inbox.copy(packet, request)
    request.address = socketAddress(this.family, packet.source, 0, packet.device?.index ?? 0)
    this.stamp = packet.timestamp || this.net.realtime()
    describePacket(this, packet, request)
    if ((flags & MSG_PEEK) === 0) this.inbox.shift()
    return n
  }

  override release(): void {
    this.inbox.clear()
    super.release()
  }
}
