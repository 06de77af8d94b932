/** AF_UNIX for socket(2) and socketpair(2). */
import { PF_UNIX, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM } from '../../abi/constants.ts'
import { EPROTONOSUPPORT, ESOCKTNOSUPPORT } from '../../abi/errno.ts'
import type { OrErrno } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import type { SocketFamily } from '../families.ts'
import type { Socket } from '../socket.ts'
import { netStack } from '../stack.ts'
import { UnixDatagram } from './datagram.ts'
import type { UnixSocket } from './socket.ts'
import { UnixStream } from './stream.ts'

export const unixFamily: SocketFamily = {
  create(task: Task, type: number, protocol: number): OrErrno<Socket> {
    if (protocol !== 0 && protocol !== PF_UNIX) return -EPROTONOSUPPORT
    const table = netStack(task.ns.net).unix
    if (type === SOCK_STREAM) return new UnixStream(table)
    // BSD had raw unix sockets; on Linux they are datagram sockets.
    if (type === SOCK_DGRAM || type === SOCK_RAW) return new UnixDatagram(table)
    if (type === SOCK_SEQPACKET) return new UnixDatagram(table, SOCK_SEQPACKET)
    return -ESOCKTNOSUPPORT
  },

  pair(task: Task, a: Socket, b: Socket): void {
    ;(a as UnixSocket).pairWith(b as UnixSocket, task)
  },
}
