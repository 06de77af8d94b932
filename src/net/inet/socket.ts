/**
 * InetSocket: what all sockets of AF_INET and AF_INET6 have in common over the kernel's own stack: options of SOL_IP,
 * SOL_IPV6 and SOL_SOCKET, addresses, the queue of errors.
 *
 * Made by InetNetwork.create or by a listener's accept; in InetNetwork.sockets until `release`. The transport's endpoint
 * (TCP's, UDP's) or the socket itself (raw, ping) gets what comes from the stack, and wakes `waitQueue`.
 */
import {
  AF_INET,
  AF_INET6,
  CAP_NET_ADMIN,
  FIONREAD,
  IP_MSFILTER,
  MCAST_MSFILTER,
  POLLERR,
  POLLPRI,
  SIOCGSTAMP_OLD,
  SIOCGSTAMPNS_OLD,
  SO_BINDTODEVICE,
  SO_BINDTOIFINDEX,
  SO_BROADCAST,
  SO_DONTROUTE,
  SO_IP_SET,
  SO_MARK,
  SO_PRIORITY,
  SO_SELECT_ERR_QUEUE,
  SO_TIMESTAMPING,
  SO_ZEROCOPY,
  SOCK_RAW,
  SOL_IP,
  SOL_IPV6,
  SOL_SOCKET,
} from '../../abi/constants.ts'
import { ENOENT, ENOPROTOOPT, ENOTCONN, ENOTTY, EOPNOTSUPP } from '../../abi/errno.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { NetNamespace } from '../../kernel/namespaces.ts'
import type { Task } from '../../kernel/task.ts'
import type { GuestAddr } from '../../mm/mm.ts'
import type { IoctlContext } from '../../vfs/file.ts'
import type { IpAddress } from '../address.ts'
import { V4_ANY, V6_ANY } from '../address.ts'
import { STAMPS } from '../common-options.ts'
import { ErrorQueue } from '../ip/error-queue.ts'
import type { Flow, Route } from '../ip/flow.ts'
import type { Membership } from '../ip/multicast.ts'
import { Socket } from '../socket.ts'
import { socketAddress } from './address.ts'
import { getIpOption, setIpOption } from './ip-options.ts'
import { IpSettings } from './ip-settings.ts'
import { getSetOption } from './ipset-option.ts'
import { ipv6Ioctl } from './ipv6-ioctl.ts'
import { getIpv6Option, setIpv6Option } from './ipv6-options.ts'
import { Memberships } from './memberships.ts'
import { getMulticastFilter } from './multicast-options.ts'
import type { InetNetwork } from './network.ts'
import { intBytes } from './option-bytes.ts'
import {
  getTableOption,
  isTableOption,
  isTableQuestion,
  setTableOption,
  TABLE_OPTION_LIMIT,
} from './xtables-options.ts'

/** Options of SOL_SOCKET that packets are sent by. */
const SETTINGS: ReadonlySet<number> = new Set([
  SO_BINDTODEVICE,
  SO_BINDTOIFINDEX,
  SO_BROADCAST,
  SO_DONTROUTE,
  SO_MARK,
  SO_PRIORITY,
])
const STAMPING: ReadonlySet<number> = new Set([...STAMPS, SO_TIMESTAMPING])

export abstract class InetSocket extends Socket {
  readonly net: InetNetwork
  readonly settings: IpSettings
  readonly errors: ErrorQueue
  readonly memberships: Memberships
  /** Whose it is: for /proc and for SO_REUSEPORT. */
  readonly uid: number
  readonly gid: number
  /** Wall-clock time (ns) of what was received last: SIOCGSTAMP. */
  stamp = 0
  /** Sends with MSG_ZEROCOPY. */
  #copies = 0
  #cookie = 0

  /** `memberships` and `errors`: the endpoint's, where it has them. */
  constructor(
    net: InetNetwork,
    task: Task | undefined,
    family: number,
    type: number,
    protocol: number,
    memberships: Membership[] = [],
    errors = new ErrorQueue(),
  ) {
    super(family, type, protocol)
    this.net = net
    this.settings = new IpSettings(family)
    this.memberships = new Memberships(net.ip, memberships)
    this.errors = errors
    this.uid = task?.cred.fsuid ?? 0
    this.gid = task?.cred.fsgid ?? 0
    net.sockets.add(this)
  }

  /** What its packets are sent along: destination, source and ports, as far as they are known. */
  abstract get flow(): Flow
  abstract get localAddress(): IpAddress
  abstract get localPort(): number
  /** Undefined: not connected. */
  abstract get remoteAddress(): IpAddress | undefined
  abstract get remotePort(): number
  /** TCP_ESTABLISHED and the like, as /proc/net shows it. */
  abstract get state(): number

  override namespace(): NetNamespace {
    return this.net.ns
  }
  /** Made when asked for. */
  override cookie(): number {
    if (this.#cookie === 0) this.#cookie = this.net.nextCookie()
    return this.#cookie
  }
  /** SO_BINDTODEVICE: its index, 0 for none. */
  get boundDevice(): number {
    return this.options.boundDevice
  }
  get anyAddress(): IpAddress {
    return this.family === AF_INET ? V4_ANY : V6_ANY
  }
  get isIpv6(): boolean {
    return this.family === AF_INET6
  }
  get receiveQueued(): number {
    return 0
  }
  override get receiveMemory(): number {
    return this.receiveQueued
  }
  get sendQueued(): number {
    return 0
  }
  override get sendMemory(): number {
    return this.sendQueued
  }

  /** What poll(2) says when there is something in the queue of errors: SO_SELECT_ERR_QUEUE adds what select(2) asks for. */
  get errorEvents(): number {
    return this.options.flag(SO_SELECT_ERR_QUEUE) ? POLLERR | POLLPRI : POLLERR
  }
  /** An option has changed that packets are sent by. */
  settingsChanged(): void {
    const { flow } = this
    this.settings.apply(flow, flow.destination.isV4 && !(flow.destination.isAny && this.isIpv6))
    flow.device = this.boundDevice
    flow.mark = this.options.values.get(SO_MARK) ?? 0
    flow.priority = this.options.values.get(SO_PRIORITY) ?? 0
    flow.dontRoute = this.options.flag(SO_DONTROUTE)
    flow.uid = this.uid
    flow.owner = this
  }

  /** The way to the peer: IP_MTU. */
  connectedRoute(): OrErrno<Route> {
    return this.remoteAddress === undefined ? -ENOTCONN : this.net.ip.ip.routeFor(this.flow)
  }

  override name(peer: boolean): OrErrno<Uint8Array> {
    const { flow } = this
    if (!peer) return socketAddress(this.family, this.localAddress, this.localPort, flow.device)
    const { remoteAddress } = this
    if (remoteAddress === undefined) return -ENOTCONN
    return socketAddress(this.family, remoteAddress, this.remotePort, flow.device)
  }

  override getOption(
    task: Task,
    level: number,
    name: number,
    length: number,
    at: GuestAddr,
  ): OrErrno<Uint8Array> | undefined {
    if (level === SOL_SOCKET) return undefined
    const own = this.getProtocolOption(task, level, name, length)
    if (own !== undefined) return own
    if (this.#hasIpLevel(level)) {
      if (isTableQuestion(true, name)) return getTableOption(this, task, true, name, length, at)
      if (name === SO_IP_SET) return getSetOption(this, task, length, at)
      if (name === IP_MSFILTER || name === MCAST_MSFILTER)
        return getMulticastFilter(this, task, true, name, length, at)
      return getIpOption(this, name, length)
    }
    if (level === SOL_IPV6 && this.isIpv6) {
      if (isTableQuestion(false, name)) return getTableOption(this, task, false, name, length, at)
      if (name === MCAST_MSFILTER) return getMulticastFilter(this, task, false, name, length, at)
      return getIpv6Option(this, name, length)
    }
    return this.isIpv6 ? -ENOPROTOOPT : -EOPNOTSUPP
  }
  override setOption(task: Task, level: number, name: number, value: Uint8Array): Status | undefined {
    if (level === SOL_SOCKET) return undefined
    const own = this.setProtocolOption(task, level, name, value)
    if (own !== undefined) return own
    if (this.#hasIpLevel(level)) {
      if (isTableOption(name)) return setTableOption(this, task, true, name, value)
      return setIpOption(this, task, name, value)
    }
    if (level === SOL_IPV6 && this.isIpv6) {
      if (isTableOption(name)) return setTableOption(this, task, false, name, value)
      return setIpv6Option(this, task, name, value)
    }
    return -ENOPROTOOPT
  }
  override optionLimit(task: Task, level: number, name: number): number {
    const table = (level === SOL_IP || level === SOL_IPV6) && isTableOption(name)
    // Who may not set it is refused without a look at it.
    return table && this.net.capable(task, CAP_NET_ADMIN)
      ? TABLE_OPTION_LIMIT
      : super.optionLimit(task, level, name)
  }
  /** Sockets of IPv6 have it too, but for raw ones. */
  #hasIpLevel(level: number): boolean {
    return level === SOL_IP && (!this.isIpv6 || this.type !== SOCK_RAW)
  }

  override optionChanged(name: number): void {
    if (SETTINGS.has(name)) this.settingsChanged()
    else if (STAMPING.has(name)) {
      const { options } = this
      this.net.wantsStamps(
        this,
        [...STAMPING].some(stamp => options.flag(stamp)),
      )
    }
  }

  /** Of SOL_TCP, SOL_UDP, SOL_RAW and the like. */
  protected getProtocolOption(
    _task: Task,
    _level: number,
    _name: number,
    _length: number,
  ): OrErrno<Uint8Array> | undefined {
    return undefined
  }
  protected setProtocolOption(
    _task: Task,
    _level: number,
    _name: number,
    _value: Uint8Array,
  ): Status | undefined {
    return undefined
  }
  /** SO_ZEROCOPY: whoever has switched it on is told when he may use the bytes again. */
  override copied(): void {
    if (!this.options.flag(SO_ZEROCOPY)) return
    const number = this.#copies
    this.#copies = (number + 1) >>> 0
    if (this.errors.pushCopied(number, this.options.rcvbuf)) this.waitQueue.wake(POLLERR)
  }

  override ioctl(context: IoctlContext, request: number, argument: number): number {
    switch (request) {
      case FIONREAD:
        return context.copyOut(argument, intBytes(this.receiveQueued))
      case SIOCGSTAMP_OLD:
      case SIOCGSTAMPNS_OLD: {
        if (this.stamp === 0) return -ENOENT
        const view = new DataView(new ArrayBuffer(16))
        view.setUint32(0, Math.floor(this.stamp / 1e9), true)
        const rest = Math.floor(this.stamp % 1e9)
        view.setUint32(8, request === SIOCGSTAMP_OLD ? Math.floor(rest / 1000) : rest, true)
        return context.copyOut(argument, new Uint8Array(view.buffer))
      }
    }
    const status = this.isIpv6 ? ipv6Ioctl(this.net.ns, this.net.ip, context, request, argument) : -ENOTTY
    if (status !== -ENOTTY) return status
    return super.ioctl(context, request, argument)
  }

  override release(): void {
    this.memberships.close()
    this.errors.clear()
    this.net.sockets.delete(this)
    this.net.wantsStamps(this, false)
  }
}
