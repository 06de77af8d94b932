/** ioctl(2) on a FUSE file, restricted as it is for all servers but CUSE's: the request's number says what is copied. */
import { FUSE_IOCTL, FUSE_IOCTL_DIR, FUSE_IOCTL_RETRY } from '../../abi/constants.ts'
import { EFAULT, EIO, ENOSYS, ENOTTY } from '../../abi/errno.ts'
import { FUSE_IOCTL_IN, FUSE_IOCTL_OUT } from '../../abi/layout.ts'
import { failed } from '../../base/result.ts'
import type { IoctlContext } from '../../vfs/file.ts'
import type { FuseHandle } from './handle.ts'
import type { FuseInode } from './inode.ts'
import { Message } from './wire.ts'

const IOC_WRITE = 1
const IOC_READ = 2

export function deviceControl(
  node: FuseInode,
  handle: FuseHandle,
  context: IoctlContext,
  request: number,
  argument: number,
): number {
  const { connection } = node
  if (connection.missing.has(FUSE_IOCTL)) return -ENOTTY
  const direction = request >>> 30
  const length = (request >>> 16) & 0x3fff
  const outLength = (direction & IOC_READ) !== 0 ? length : 0
  const input = new Uint8Array((direction & IOC_WRITE) !== 0 ? length : 0)
  if (input.length > 0 && context.copyIn(argument, input) < 0) return -EFAULT
  const shape = { min: FUSE_IOCTL_OUT.size, max: FUSE_IOCTL_OUT.size + outLength }
  const answer = connection.call(FUSE_IOCTL, node.node, `${request} ${argument}`, shape, () =>
    new Message(FUSE_IOCTL_IN.size, input.length)
      .u64(FUSE_IOCTL_IN.fh, handle.fh)
      .u32(FUSE_IOCTL_IN.flags, node.isDir ? FUSE_IOCTL_DIR : 0)
      .u32(FUSE_IOCTL_IN.cmd, request)
      .number(FUSE_IOCTL_IN.arg, argument)
      .u32(FUSE_IOCTL_IN.in_size, input.length)
      .u32(FUSE_IOCTL_IN.out_size, outLength)
      .data(FUSE_IOCTL_IN.size, input),
  )
  if (answer === -ENOSYS) {
    connection.missing.add(FUSE_IOCTL)
    return -ENOTTY
  }
  if (failed(answer)) return answer
  const { reply } = answer
  if ((reply.getUint32(FUSE_IOCTL_OUT.flags, true) & FUSE_IOCTL_RETRY) !== 0) return -EIO
  const result = reply.getInt32(FUSE_IOCTL_OUT.result, true)
  const output = new Uint8Array(reply.buffer, reply.byteOffset + FUSE_IOCTL_OUT.size)
  if (result >= 0 && output.length > 0 && context.copyOut(argument, output) < 0) return -EFAULT
  return result
}
