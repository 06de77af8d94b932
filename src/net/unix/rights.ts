/**
 * Descriptors and identities in messages: SCM_RIGHTS and SCM_CREDENTIALS of unix(7), and the garbage that descriptors
 * in flight can become.
 *
 * A message holds a reference to each File that it carries. A unix socket in a message counts that in `inFlight`. Two
 * sockets that lie in each other's inboxes, with no descriptor left anywhere, would live for ever: `collectGarbage`,
 * run when a unix socket is released while others are in flight, finds those whose every reference comes
 * from an inbox that nobody can reach, and empties their inboxes. Cycles that pass through two network namespaces
 * are not found.
 */
import {
  CAP_SETGID,
  CAP_SETUID,
  CAP_SYS_ADMIN,
  CAP_SYS_RESOURCE,
  RLIMIT_NOFILE,
  SCM_CREDENTIALS,
  SCM_MAX_FD,
  SCM_PIDFD,
  SCM_RIGHTS,
  SOL_SOCKET,
} from '../../abi/constants.ts'
import { EBADF, EINVAL, EPERM, ESRCH, ETOOMANYREFS } from '../../abi/errno.ts'
import { UCRED } from '../../abi/layout.ts'
import { fromKernelId, INVALID_ID, OVERFLOW_ID, toKernelId } from '../../base/id-map.ts'
import type { OrErrno } from '../../base/result.ts'
import { PidFdFile } from '../../fs/pidfd/pidfd.ts'
import type { Task } from '../../kernel/task.ts'
import type { File } from '../../vfs/file.ts'
import { fileGet, filePut } from '../../vfs/file-ref.ts'
import { intBytes } from '../inet/option-bytes.ts'
import type { ControlMessage, ReceivedControl } from '../socket.ts'
import { SocketFile } from '../socket-file.ts'
import type { SocketOptions } from '../socket-options.ts'
import type { Cargo, MessageCred, UnixMessage } from './message.ts'
import { UnixSocket } from './socket.ts'

/** What a sender attaches; the Files are not held yet. */
export interface Attachment {
  files: File[] | undefined
  cred: MessageCred | undefined
}
const NOTHING: Attachment = { files: undefined, cred: undefined }

/** Checks control messages: EBADF, EINVAL, EPERM and ESRCH as scm_send gives them. */
export function parseControl(task: Task, control: readonly ControlMessage[]): OrErrno<Attachment> {
  if (control.length === 0) return NOTHING
  const attachment: Attachment = { files: undefined, cred: undefined }
  for (const { level, type, data } of control) {
    if (level !== SOL_SOCKET) continue
    if (type === SCM_RIGHTS) {
      const status = addFiles(task, data, attachment)
      if (status < 0) return status
    } else if (type === SCM_CREDENTIALS) {
      const cred = readCred(task, data)
      if (typeof cred === 'number') return cred
      attachment.cred = cred
    } else return -EINVAL
  }
  return attachment
}

function addFiles(task: Task, data: Uint8Array, attachment: Attachment): number {
  const view = new DataView(data.buffer, data.byteOffset, data.length)
  const count = Math.floor(data.length / 4)
  if (count === 0) return 0
  const status = mayLaunch(task)
  if (status < 0) return status
  attachment.files ??= []
  if (attachment.files.length + count > SCM_MAX_FD) return -EINVAL
  for (let i = 0; i < count; i++) {
    const file = task.fds.get(view.getInt32(i * 4, true))
    if (file === undefined) return -EBADF
    if (!file.passable) return -EINVAL
    attachment.files.push(file)
  }
  return 0
}

/** A sender may name itself, or with capabilities somebody else. */
function readCred(task: Task, data: Uint8Array): OrErrno<MessageCred> {
  if (data.length !== UCRED.size) return -EINVAL
  const view = new DataView(data.buffer, data.byteOffset, data.length)
  const nr = view.getInt32(UCRED.pid, true)
  const cred = task.cred
  const userNs = cred.userNs
  const uid = toKernelId(userNs.uidMap, view.getUint32(UCRED.uid, true))
  const gid = toKernelId(userNs.gidMap, view.getUint32(UCRED.gid, true))
  if (uid === INVALID_ID || gid === INVALID_ID) return -EINVAL
  const ownPid = nr === task.group.tgid
  const ownUid = uid === cred.uid || uid === cred.euid || uid === cred.suid
  const ownGid = gid === cred.gid || gid === cred.egid || gid === cred.sgid
  if (!ownPid && !cred.capable(CAP_SYS_ADMIN, task.pidNs.userNs)) return -EPERM
  if (!ownUid && !cred.capable(CAP_SETUID)) return -EPERM
  if (!ownGid && !cred.capable(CAP_SETGID)) return -EPERM
  const pid = ownPid ? task.group.pid : task.pidNs.find(nr)
  if (pid === undefined) return -ESRCH
  return { pid, uid, gid }
}

export function credOf(task: Task): MessageCred {
  return { pid: task.group.pid, uid: task.cred.uid, gid: task.cred.gid }
}

/** struct ucred as the reader's namespaces number it. */
export function credBytes(task: Task, cred: MessageCred | undefined): Uint8Array {
  const view = new DataView(new ArrayBuffer(UCRED.size))
  const userNs = task.cred.userNs
  view.setInt32(UCRED.pid, cred?.pid?.in(task.pidNs) ?? 0, true)
  view.setUint32(UCRED.uid, cred === undefined ? OVERFLOW_ID : fromKernelId(userNs.uidMap, cred.uid), true)
  view.setUint32(UCRED.gid, cred === undefined ? OVERFLOW_ID : fromKernelId(userNs.gidMap, cred.gid), true)
  return new Uint8Array(view.buffer)
}

/** What recvmsg(2) tells along with a message; `files` were taken from it. */
export function describe(
  task: Task,
  options: SocketOptions,
  cred: MessageCred | undefined,
  files: File[] | undefined,
  control: ReceivedControl[],
): void {
  if (options.passCred)
    control.push({ level: SOL_SOCKET, type: SCM_CREDENTIALS, data: credBytes(task, cred) })
  if (files !== undefined) control.push({ level: SOL_SOCKET, type: SCM_RIGHTS, files })
  if (options.passPidFd) {
    const leader = cred?.pid?.group?.leader
    if (leader === undefined) control.push({ level: SOL_SOCKET, type: SCM_PIDFD, data: intBytes(-ESRCH) })
    else control.push({ level: SOL_SOCKET, type: SCM_PIDFD, files: [new PidFdFile(task, leader, 0)] })
  }
}

/** The socket behind a File, if it is a unix one. */
function unixSocketOf(file: File): UnixSocket | undefined {
  if (!(file instanceof SocketFile)) return undefined
  return file.socket instanceof UnixSocket ? file.socket : undefined
}

/** Whether the user has too much in flight already: -ETOOMANYREFS. */
function mayLaunch(task: Task): number {
  const account = task.kernel.users.of(task.cred.uid)
  if (account.filesInFlight <= task.group.rlimits.soft(RLIMIT_NOFILE)) return 0
  const privileged = task.cred.capable(CAP_SYS_RESOURCE) || task.cred.capable(CAP_SYS_ADMIN)
  return privileged ? 0 : -ETOOMANYREFS
}

/** The Files go into a message: it holds them from now on. */
export function launch(task: Task, files: readonly File[]): Cargo {
  const account = task.kernel.users.of(task.cred.uid)
  account.filesInFlight += files.length
  for (const file of files) {
    fileGet(file)
    const socket = unixSocketOf(file)
    if (socket === undefined) continue
    socket.inFlight++
    socket.table.inFlight.add(socket)
  }
  return { files: [...files], account }
}

/** A message gives its Files up; the caller owns the references. */
export function land(message: UnixMessage): File[] | undefined {
  const files = message.files
  if (files === undefined) return undefined
  message.files = undefined
  message.account!.filesInFlight -= files.length
  for (const file of files) {
    const socket = unixSocketOf(file)
    if (socket === undefined) continue
    if (--socket.inFlight === 0) socket.table.inFlight.delete(socket)
  }
  return files
}

/** MSG_PEEK: more references to what stays in the message. */
export function copyFiles(message: UnixMessage): File[] | undefined {
  return message.files?.map(fileGet)
}

/** A message that nobody will read. */
export function discard(message: UnixMessage): void {
  for (const file of land(message) ?? []) filePut(file)
}

export function collectGarbage(socket: UnixSocket): void {
  const table = socket.table
  if (table.inFlight.size === 0 || table.collecting) return
  const suspects = new Map<UnixSocket, number>()
  for (const each of table.inFlight) if (each.file?.refs === each.inFlight) suspects.set(each, each.inFlight)
  if (suspects.size === 0) return
  // What is left of a count comes from inboxes that are not under suspicion: those sockets can be reached.
  for (const suspect of suspects.keys()) {
    for (const child of carriedBy(suspect)) {
      const count = suspects.get(child)
      if (count !== undefined) suspects.set(child, count - 1)
    }
  }
  const reached = [...suspects.keys()].filter(each => suspects.get(each)! > 0)
  for (const each of reached) suspects.delete(each)
  for (let each = reached.pop(); each !== undefined; each = reached.pop()) {
    for (const child of carriedBy(each)) if (suspects.delete(child)) reached.push(child)
  }
  table.collecting = true
  const files: File[] = []
  for (const garbage of suspects.keys()) {
    for (const inbox of garbage.inboxes()) for (const message of inbox) files.push(...(land(message) ?? []))
  }
  for (const file of files) filePut(file)
  table.collecting = false
}

/** The unix sockets in the inboxes of one (its own, and those of connections that it has not accepted). */
function* carriedBy(socket: UnixSocket): Generator<UnixSocket> {
  for (const inbox of socket.inboxes()) {
    for (const message of inbox) {
      for (const file of message.files ?? []) {
        const child = unixSocketOf(file)
        if (child !== undefined) yield child
      }
    }
  }
}
