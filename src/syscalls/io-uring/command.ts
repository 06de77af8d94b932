/** IORING_OP_URING_CMD: requests of a file's own kind. Internet sockets have four, the rest of what is here none. */
import {
  AF_INET,
  AF_INET6,
  IORING_URING_CMD_FIXED,
  SIOCINQ,
  SIOCOUTQ,
  SOCKET_URING_OP_GETSOCKOPT,
  SOCKET_URING_OP_SETSOCKOPT,
  SOCKET_URING_OP_SIOCINQ,
  SOCKET_URING_OP_SIOCOUTQ,
  SOL_SOCKET,
} from '../../abi/constants.ts'
import { EFAULT, EINVAL, EOPNOTSUPP } from '../../abi/errno.ts'
import { IO_URING_SQE } from '../../abi/layout.ts'
import { failed } from '../../base/result.ts'
import type { UringOperation, UringRequest } from '../../fs/io-uring/request.ts'
import type { Task } from '../../kernel/task.ts'
import { getSocketOption } from '../../net/options.ts'
import { SocketFile } from '../../net/socket-file.ts'
import { HELD_FILE } from '../at.ts'
import { setsockopt } from '../socket.ts'

// The entry's fields under the names that they have here.
const CMD_OP = IO_URING_SQE.off
const PAD = IO_URING_SQE.off + 4
const LEVEL = IO_URING_SQE.addr
const OPTION = IO_URING_SQE.addr + 4

function prepare(_task: Task, request: UringRequest): number {
  if (request.entry.getUint32(PAD, true) !== 0) return -EINVAL
  return (request.opFlags & ~IORING_URING_CMD_FIXED) !== 0 ? -EINVAL : 0
}

function issue(task: Task, request: UringRequest): number {
  const { file, entry } = request
  if (!(file instanceof SocketFile)) return -EOPNOTSUPP
  const { family } = file.socket
  if (family !== AF_INET && family !== AF_INET6) return -EOPNOTSUPP
  switch (entry.getUint32(CMD_OP, true)) {
    case SOCKET_URING_OP_SIOCINQ:
      return queueLength(task, file, SIOCINQ)
    case SOCKET_URING_OP_SIOCOUTQ:
      return queueLength(task, file, SIOCOUTQ)
    case SOCKET_URING_OP_GETSOCKOPT:
      return getOption(task, request, file)
    case SOCKET_URING_OP_SETSOCKOPT:
      return setsockopt(
        task,
        HELD_FILE,
        entry.getInt32(LEVEL, true),
        entry.getInt32(OPTION, true),
        request.addr3,
        request.fileIndex | 0,
      )
  }
  return -EOPNOTSUPP
}

/** What ioctl(2) would write. */
export function queueLength(task: Task, file: SocketFile, command: number): number {
  let length = 0
  const context = {
    cred: task.cred,
    task,
    copyIn: () => -EFAULT,
    copyOut: (_address: number, bytes: Uint8Array) => {
      length = new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true)
      return 0
    },
  }
  const status = file.ioctl(context, command, 0)
  return status < 0 ? status : length
}

/** The length is in the entry, and the result. */
function getOption(task: Task, request: UringRequest, { socket }: SocketFile): number {
  const level = request.entry.getInt32(LEVEL, true)
  const name = request.entry.getInt32(OPTION, true)
  if (level !== SOL_SOCKET) return -EOPNOTSUPP
  const length = request.fileIndex
  if ((length | 0) < 0) return -EINVAL
  const value = getSocketOption(socket, task, level, name, length, request.addr3)
  if (failed(value)) return value
  const part = value.subarray(0, length)
  return part.length > 0 && task.mm.copyOut(request.addr3, part) < 0 ? -EFAULT : part.length
}

export const command: UringOperation = { file: true, prepare, issue }
