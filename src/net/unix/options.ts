/** getsockopt(2) and setsockopt(2) of level SOL_SOCKET, as far as unix sockets have them for themselves: unix(7). */
import {
  RLIMIT_NOFILE,
  SO_INQ,
  SO_PASSRIGHTS,
  SO_PASSSEC,
  SO_PEERCRED,
  SO_PEERGROUPS,
  SO_PEERPIDFD,
  SOCK_STREAM,
} from '../../abi/constants.ts'
import { EINVAL, ERANGE, ESRCH } from '../../abi/errno.ts'
import { fromKernelId } from '../../base/id-map.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import { PidFdFile } from '../../fs/pidfd/pidfd.ts'
import type { Task } from '../../kernel/task.ts'
import { filePut } from '../../vfs/file-ref.ts'
import { intBytes, readInt } from '../inet/option-bytes.ts'
import type { SocketOptions } from '../socket-options.ts'
import { credBytes } from './rights.ts'
import type { PeerCred, UnixSocket } from './socket.ts'

/** About the peer. Undefined: it is for the options of all families to say, as when there is none. */
export function getUnixOption(
  { peerCred }: UnixSocket,
  task: Task,
  name: number,
  length: number,
): OrErrno<Uint8Array> | undefined {
  if (peerCred === undefined) return undefined
  switch (name) {
    case SO_PEERCRED:
      return credBytes(task, peerCred)
    case SO_PEERPIDFD:
      return peerPidFd(task, peerCred)
    case SO_PEERGROUPS:
      return peerGroups(task, peerCred, length)
  }
  return undefined
}

/** SO_INQ: of byte streams only. */
export function setUnixOption(socket: UnixSocket, name: number, value: Uint8Array): Status | undefined {
  if (name !== SO_INQ || socket.type !== SOCK_STREAM) return undefined
  const number = value.length === 4 ? readInt(value)! : -1
  if (number !== 0 && number !== 1) return -EINVAL
  socket.tellsRest = number === 1
  return 0
}

/** What an accepted socket has of its listener. */
export function inheritUnixOptions(to: SocketOptions, from: SocketOptions): void {
  to.passCred = from.passCred
  to.passPidFd = from.passPidFd
  for (const name of [SO_PASSSEC, SO_PASSRIGHTS]) {
    const value = from.values.get(name)
    if (value !== undefined) to.values.set(name, value)
  }
}

function peerGroups(task: Task, { groups }: PeerCred, length: number): OrErrno<Uint8Array> {
  if (length < groups.length * 4) return -ERANGE
  const map = task.cred.userNs.gidMap
  return new Uint8Array(Uint32Array.from(groups, gid => fromKernelId(map, gid)).buffer)
}

function peerPidFd(task: Task, { pid }: PeerCred): OrErrno<Uint8Array> {
  const leader = pid.group?.leader
  if (leader === undefined) return -ESRCH
  const file = new PidFdFile(task, leader, 0)
  const fd = task.fds.install(file, true, 0, task.group.rlimits.soft(RLIMIT_NOFILE))
  if (fd >= 0) return intBytes(fd)
  filePut(file)
  return fd
}
