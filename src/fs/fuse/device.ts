/**
 * /dev/fuse: where a server reads its requests and writes the answers.
 *
 * An open device is nobody's until mount(2) names its descriptor (`connect`), or FUSE_DEV_IOC_CLONE makes it a further
 * one of a connection that another descriptor has. One read gives one message, one write takes one.
 */

import {
  FUSE_DEV_IOC_CLONE,
  FUSE_INIT,
  FUSE_MIN_READ_BUFFER,
  FUSE_SETXATTR,
  POLLERR,
  POLLIN,
  POLLOUT,
  POLLRDNORM,
  POLLWRNORM,
} from '../../abi/constants.ts'
import { E2BIG, EAGAIN, EFAULT, EINVAL, EIO, ENODEV, ENOENT, ENOSYS, ENOTTY, EPERM } from '../../abi/errno.ts'
import { FUSE_IN_HEADER, FUSE_OUT_HEADER, FUSE_WRITE_IN } from '../../abi/layout.ts'
import type { IoDst, IoSrc } from '../../base/io.ts'
import type { WaitQueue } from '../../base/wait-queue.ts'
import { take64 } from '../../base/words.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { Task } from '../../kernel/task.ts'
import { File, type IoctlContext } from '../../vfs/file.ts'
import { PipeSrc } from '../pipe/splice.ts'
import type { FuseConnection } from './connection.ts'
import { takeNotice } from './notice.ts'

/** The largest message that a server may write: the answer to a READ, with room. */
const MAX_ANSWER = 2 * 1024 * 1024
/** Errors beyond are the kernel's own. */
const MAX_ERROR = 512

export class FuseDevice extends File {
  connection: FuseConnection | undefined = undefined

  override get waitQueue(): WaitQueue | undefined {
    return this.connection?.queue
  }

  /** It serves `connection` from now on. */
  connect(connection: FuseConnection): void {
    this.connection = connection
    connection.devices.add(this)
  }

  override poll(): number {
    const { connection } = this
    if (connection === undefined) return POLLERR
    const mask = POLLOUT | POLLWRNORM
    if (!connection.connected) return mask | POLLERR
    return connection.empty ? mask : mask | POLLIN | POLLRDNORM
  }

  override read(into: IoDst): number {
    const { connection } = this
    if (connection === undefined) return -EPERM
    // Checked before anything is looked for, so that a server learns of it at its first read.
    const room = FUSE_IN_HEADER.size + FUSE_WRITE_IN.size + connection.maxWrite
    if (into.remaining < Math.max(FUSE_MIN_READ_BUFFER, room)) return -EINVAL
    for (;;) {
      if (!connection.connected) return -ENODEV
      const next = connection.next()
      if (next === undefined) return -EAGAIN
      const { bytes, request } = next
      if (bytes.length > into.remaining && request !== undefined) {
        connection.refused(request, request.opcode === FUSE_SETXATTR ? -E2BIG : -EIO)
        continue
      }
      const n = into.put(bytes)
      if (n === bytes.length) {
        connection.taken(this, request)
        return n
      }
      if (request !== undefined) connection.refused(request, -EFAULT)
      return -EFAULT
    }
  }

  override write(from: IoSrc): number {
    const { connection } = this
    if (connection === undefined) return -EPERM
    const length = from.remaining
    if (length < FUSE_OUT_HEADER.size || length > MAX_ANSWER) return -EINVAL
    const bytes = new Uint8Array(length)
    if (from.take(bytes) !== length) return -EFAULT
    const view = new DataView(bytes.buffer)
    const said = view.getUint32(FUSE_OUT_HEADER.len, true)
    // libfuse corrects the length after vmsplice(2) has put the header into a pipe, which copies it here.
    if (said !== length && !(from instanceof PipeSrc && said > length)) return -EINVAL
    const error = view.getInt32(FUSE_OUT_HEADER.error, true)
    const unique = take64(view, FUSE_OUT_HEADER.unique)
    const body = new DataView(bytes.buffer, FUSE_OUT_HEADER.size)
    if (unique === 0) {
      const status = connection.connected ? takeNotice(connection, error, body) : -ENOENT
      return status < 0 ? status : length
    }
    if (error <= -MAX_ERROR || error > 0) return -EINVAL
    const status = answer(connection, unique, error, body)
    return status < 0 ? status : length
  }

  override ioctl(context: IoctlContext, request: number, argument: number): number {
    if (request !== FUSE_DEV_IOC_CLONE) return -ENOTTY
    const number = new Uint8Array(4)
    if (context.copyIn(argument, number) < 0) return -EFAULT
    const fd = new DataView(number.buffer).getUint32(0, true)
    const other = (context.task as Task).fds.get(fd)
    if (!(other instanceof FuseDevice) || other.cred.userNs !== this.cred.userNs) return -EINVAL
    if (other.connection === undefined || this.connection !== undefined) return -EINVAL
    this.connect(other.connection)
    return 0
  }

  override release(): void {
    this.connection?.deviceGone(this)
  }
}

function answer(connection: FuseConnection, unique: number, error: number, body: DataView): number {
  const request = connection.sent(unique % 2 === 0 ? unique : unique - 1)
  if (request === undefined) return -ENOENT
  if (unique % 2 === 1) {
    if (error === -ENOSYS) connection.ignoreInterrupts()
    else if (error === -EAGAIN) connection.interrupt(request)
    return 0
  }
  if (error !== 0 && body.byteLength > 0) return -EINVAL
  connection.answered(request)
  const sensible = request.complete(error, body)
  // Without an agreement everybody would wait for ever.
  if (request.opcode === FUSE_INIT && request.error < 0) connection.abort(true)
  return sensible ? 0 : -EINVAL
}

/** Set by `mount -t fuse -o fd=N`. */
export function deviceOf(kernel: Kernel, fd: number): FuseDevice | undefined {
  const file = kernel.current?.fds.get(fd)
  return file instanceof FuseDevice ? file : undefined
}
