/**
 * Socket: what stands behind a socket's descriptor (struct socket and struct sock in one), for every family.
 *
 * Made by a family's `create` (socket(2)), `pair` (socketpair(2)) or a listener's `accept`; then owned by a SocketFile,
 * whose last reference calls `release`. Families subclass it and inherit Linux's errno for what they don't do.
 *
 * Nothing here waits: -EAGAIN means 'not now', and the handler sleeps on `waitQueue` (or, when the reason lies
 * elsewhere, on the request's `waitOn`) and asks again.
 */
import { ENODEV, ENOTTY, EOPNOTSUPP } from '../abi/errno.ts'
import type { IoDst, IoSrc } from '../base/io.ts'
import type { OrErrno, Status } from '../base/result.ts'
import { WaitQueue } from '../base/wait-queue.ts'
import type { NetNamespace } from '../kernel/namespaces.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import type { File, IoctlContext, Lingering, MapSource } from '../vfs/file.ts'
import type { SocketFilter } from './inet/filter.ts'
import { SocketOptions } from './socket-options.ts'

/** Bits of `shutdownMask`. */
export const RCV_SHUTDOWN = 1
export const SEND_SHUTDOWN = 2
export const BOTH_SHUTDOWN = 3

/** One control message as sendmsg(2) brought it. */
export interface ControlMessage {
  readonly level: number
  readonly type: number
  readonly data: Uint8Array
}

/** One control message for recvmsg(2): bytes, or Files (references that the taker owns) to be given descriptors. */
export type ReceivedControl =
  | { readonly level: number; readonly type: number; readonly data: Uint8Array; readonly files?: undefined }
  | { readonly level: number; readonly type: number; readonly files: File[]; readonly data?: undefined }

export interface SendRequest {
  readonly src: IoSrc
  /** MSG_* */
  readonly flags: number
  /** msg_name; undefined for none. */
  readonly address: Uint8Array | undefined
  control: readonly ControlMessage[]
  /** Set along with -EAGAIN when the sender has to wait for somebody else's queue. */
  waitOn: WaitQueue | undefined
}

export interface ReceiveRequest {
  readonly dst: IoDst
  /** MSG_* */
  readonly flags: number
  /** MSG_TRUNC, MSG_EOR and the like, for msg_flags. */
  outFlags: number
  /** The sender's address, if the protocol gives one. */
  address: Uint8Array | undefined
  readonly control: ReceivedControl[]
}

export function sendRequest(src: IoSrc, flags: number): SendRequest {
  return { src, flags, address: undefined, control: [], waitOn: undefined }
}
export function receiveRequest(dst: IoDst, flags: number): ReceiveRequest {
  return { dst, flags, outFlags: 0, address: undefined, control: [] }
}

export abstract class Socket {
  readonly family: number
  readonly type: number
  readonly protocol: number
  readonly options = new SocketOptions()
  readonly #waitQueue = new WaitQueue()
  /** The open file description, while there is one; a connection nobody has accepted has none. */
  file: File | undefined = undefined
  /** A pending error (sk_err), a positive errno: reported once, by the next call or SO_ERROR. */
  error = 0
  shutdownMask = 0
  /** SO_ATTACH_FILTER. */
  filter: SocketFilter | undefined = undefined

  constructor(family: number, type: number, protocol: number) {
    this.family = family
    this.type = type
    this.protocol = protocol
  }

  /** Told of each change of what `poll` says. */
  get waitQueue(): WaitQueue {
    return this.#waitQueue
  }
  /** The POLL* bits that hold now. */
  abstract poll(): number
  abstract send(task: Task, request: SendRequest): number
  /** A call with MSG_ZEROCOPY that has sent something is over. */
  copied(): void {}
  abstract receive(task: Task, request: ReceiveRequest): number
  /** What mmap(2) of it maps. */
  mapping(_offset: number, _length: number): MapSource | number {
    return -ENODEV
  }
  /** As File.linger. */
  linger(): Lingering | undefined {
    return undefined
  }
  /** The last reference to its File is gone, or nobody will ever accept it. */
  abstract release(): void

  /** Whether a blocking send goes on until all is sent: byte streams. */
  get isStream(): boolean {
    return false
  }
  /** As File.toldByHost. */
  get toldByHost(): boolean {
    return false
  }
  /** SO_ACCEPTCONN. */
  get listening(): boolean {
    return false
  }

  bind(_task: Task, _address: Uint8Array): Status {
    return -EOPNOTSUPP
  }
  /** -EAGAIN: the handler waits for `connectWait`; -EINPROGRESS where the protocol needs time. */
  connect(_task: Task, _address: Uint8Array): Status {
    return -EOPNOTSUPP
  }
  /** Where a connect that returned -EAGAIN waits. */
  get connectWait(): WaitQueue {
    return this.waitQueue
  }
  listen(_task: Task, _backlog: number): Status {
    return -EOPNOTSUPP
  }
  /** The next connection, -EAGAIN when there is none yet. */
  accept(): OrErrno<Socket> {
    return -EOPNOTSUPP
  }
  /** getsockname(2), or getpeername(2) with `peer`: a sockaddr. */
  name(_peer: boolean): OrErrno<Uint8Array> {
    return -EOPNOTSUPP
  }
  /** What accept(2) tells of the peer of a connection that it has just taken, though that may have gone again. */
  acceptedName(): OrErrno<Uint8Array> {
    return this.name(true)
  }
  /** `mask`: RCV_SHUTDOWN, SEND_SHUTDOWN or both. */
  shutdown(_mask: number): Status {
    return -EOPNOTSUPP
  }
  /**
   * getsockopt(2) below SOL_SOCKET, or of what SOL_SOCKET leaves to the family; undefined: not known. `at`: where the value
   * is to go; some options find a question there.
   */
  getOption(
    _task: Task,
    _level: number,
    _name: number,
    _length: number,
    _at: GuestAddr,
  ): OrErrno<Uint8Array> | undefined {
    return undefined
  }
  setOption(_task: Task, _level: number, _name: number, _value: Uint8Array): Status | undefined {
    return undefined
  }
  /** How many bytes of an option's value `setOption` is given, of longer ones: no common one is longer than a page. */
  optionLimit(_task: Task, _level: number, _name: number): number {
    return 4096
  }
  /** An option of SOL_SOCKET has been set. */
  optionChanged(_name: number): void {}
  /** SO_ATTACH_REUSEPORT_CBPF, or its end; whether there has been a program. */
  steer(_program: SocketFilter | undefined): boolean {
    return false
  }
  /** SO_RCVLOWAT, as far as it can be reached. */
  limitLowWater(bytes: number): number {
    return bytes
  }
  /** The one that it was made in; of families that don't tell, the caller's. */
  namespace(task: Task): NetNamespace {
    return task.ns.net
  }
  /** SO_COOKIE: a number that no other socket has. */
  cookie(_task: Task): number {
    return this.file?.inode.ino ?? 0
  }
  /** What waits to be read, with what it costs to keep. */
  get receiveMemory(): number {
    return 0
  }
  /** The same of what was sent. */
  get sendMemory(): number {
    return 0
  }
  /** What was lost for want of room: SO_RXQ_OVFL. */
  get drops(): number {
    return 0
  }
  ioctl(_context: IoctlContext, _request: number, _argument: number): number {
    return -ENOTTY
  }

  /** Its File has an owner, who is to hear of urgent data. */
  owned(): void {}

  /** Takes the pending error: 0, or a negative errno. */
  takeError(): Status {
    const error = this.error
    this.error = 0
    return error === 0 ? 0 : -error
  }
}
