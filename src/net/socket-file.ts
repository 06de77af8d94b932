/** SocketFile: a socket as an open file description: read, write, poll and ioctl of a socket. */
import { MSG_DONTWAIT, O_NONBLOCK, O_RDWR, SOCK_STREAM } from '../abi/constants.ts'
import { EINVAL, ENOTTY } from '../abi/errno.ts'
import type { IoDst, IoSrc } from '../base/io.ts'
import type { WaitQueue } from '../base/wait-queue.ts'
import type { Kernel } from '../kernel/kernel.ts'
import type { NetNamespace } from '../kernel/namespaces.ts'
import type { Task } from '../kernel/task.ts'
import { File, type IoctlContext, type Lingering, type MapSource } from '../vfs/file.ts'
import { filePut } from '../vfs/file-ref.ts'
import { interfaceIoctl } from './host/interfaces.ts'
import { protocolNameOf } from './protocol-name.ts'
import { receiveRequest, type Socket, sendRequest } from './socket.ts'
import { netStack } from './stack.ts'

export class SocketFile extends File {
  readonly socket: Socket
  readonly #kernel: Kernel
  readonly #ns: NetNamespace

  constructor(task: Task, socket: Socket, nonblocking: boolean) {
    const { fsuid, fsgid } = task.cred
    const path = task.kernel.anonFs.socket(protocolNameOf(socket), fsuid, fsgid)
    super(path, O_RDWR | (nonblocking ? O_NONBLOCK : 0), task.cred)
    this.socket = socket
    this.#kernel = task.kernel
    this.#ns = task.ns.net
    socket.file = this
  }

  override get waitQueue(): WaitQueue {
    return this.socket.waitQueue
  }
  override get toldByHost(): boolean {
    return this.socket.toldByHost
  }
  override get canSignal(): boolean {
    return true
  }
  override get writesAll(): boolean {
    return this.socket.isStream
  }
  override get readTimeout(): number {
    return this.socket.options.rcvTimeout
  }
  override get writeTimeout(): number {
    return this.socket.options.sndTimeout
  }
  /** Only a byte stream's EPIPE comes with SIGPIPE. */
  override get signalsPipe(): boolean {
    return this.socket.type === SOCK_STREAM
  }
  override poll(): number {
    return this.socket.poll()
  }

  override read(into: IoDst): number {
    if (into.remaining === 0) return 0
    const request = receiveRequest(into, this.#waiting())
    const n = this.socket.receive(this.#caller(), request)
    // Who reads with read(2) throws control messages away.
    for (const control of request.control) for (const file of control.files ?? []) filePut(file)
    return n
  }
  override write(from: IoSrc): number {
    return this.socket.send(this.#caller(), sendRequest(from, this.#waiting()))
  }
  override ioctl(context: IoctlContext, request: number, argument: number): number {
    const result = this.socket.ioctl(context, request, argument)
    if (result !== -ENOTTY) return result
    const { own } = netStack(this.#ns)
    if (own !== undefined) return own.ioctl(context, request, argument)
    return interfaceIoctl(this.#ns, context, request, argument)
  }
  override owned(): void {
    this.socket.owned()
  }
  override fsync(): number {
    return -EINVAL
  }
  override mapping(offset: number, length: number): MapSource | number {
    return this.socket.mapping(offset, length)
  }
  override linger(): Lingering | undefined {
    return this.socket.linger()
  }
  override release(): void {
    this.socket.file = undefined
    this.socket.release()
  }

  /** What O_NONBLOCK is among the flags of messages. */
  #waiting(): number {
    return this.nonblocking ? MSG_DONTWAIT : 0
  }
  /** Who reads or writes. */
  #caller(): Task {
    return this.#kernel.current!
  }
}
