/** Sockets of AF_UNIX: unix_diag. */
import {
  AF_UNIX,
  NLM_F_MULTI,
  SOCK_DIAG_BY_FAMILY,
  TCP_CLOSE,
  TCP_ESTABLISHED,
  TCP_LISTEN,
  UDIAG_SHOW_ICONS,
  UDIAG_SHOW_NAME,
  UDIAG_SHOW_PEER,
  UDIAG_SHOW_RQLEN,
  UDIAG_SHOW_UID,
  UNIX_DIAG_ICONS,
  UNIX_DIAG_NAME,
  UNIX_DIAG_PEER,
  UNIX_DIAG_RQLEN,
  UNIX_DIAG_SHUTDOWN,
  UNIX_DIAG_UID,
} from '../../../abi/constants.ts'
import { EINVAL, ENOENT } from '../../../abi/errno.ts'
import { UNIX_DIAG_RQLEN as RQLEN, UNIX_DIAG_MSG, UNIX_DIAG_REQ } from '../../../abi/layout.ts'
import { toBytes } from '../../../base/bytes.ts'
import type { Status } from '../../../base/result.ts'
import { ESTABLISHED, LISTEN, type UnixSocket } from '../../unix/socket.ts'
import { MessageWriter } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'

export function unixDiag(request: NetlinkRequest, isDump: boolean): Status | Dump {
  const { body, view, stack, sequence, port } = request
  if (body.length < UNIX_DIAG_REQ.size) return -EINVAL
  const states = view.getUint32(UNIX_DIAG_REQ.udiag_states, true)
  const show = view.getUint32(UNIX_DIAG_REQ.udiag_show, true)
  const sockets = [...stack.unix.sockets].filter(socket => socket.file !== undefined)
  if (isDump) {
    const found = sockets.filter(socket => (states & (1 << stateOf(socket))) !== 0)
    return new ListDump(found, (writer, socket) =>
      writeSocket(writer, socket, show, NLM_F_MULTI, sequence, port),
    )
  }
  const ino = view.getUint32(UNIX_DIAG_REQ.udiag_ino, true)
  if (ino === 0) return -EINVAL
  const socket = sockets.find(each => each.file?.inode.ino === ino)
  if (socket === undefined) return -ENOENT
  const writer = new MessageWriter()
  writeSocket(writer, socket, show, 0, sequence, port)
  return request.answer(writer)
}

/** The states of TCP, as these sockets borrow them. */
function stateOf(socket: UnixSocket): number {
  if (socket.state === LISTEN) return TCP_LISTEN
  return socket.state === ESTABLISHED ? TCP_ESTABLISHED : TCP_CLOSE
}

function writeSocket(
  writer: MessageWriter,
  socket: UnixSocket,
  show: number,
  flags: number,
  sequence: number,
  port: number,
): void {
  writer.start(SOCK_DIAG_BY_FAMILY, flags, sequence, port)
  const at = writer.struct(UNIX_DIAG_MSG.size)
  writer.set8(at + UNIX_DIAG_MSG.udiag_family, AF_UNIX)
  writer.set8(at + UNIX_DIAG_MSG.udiag_type, socket.type)
  writer.set8(at + UNIX_DIAG_MSG.udiag_state, stateOf(socket))
  const ino = socket.file?.inode.ino ?? 0
  writer.set32(at + UNIX_DIAG_MSG.udiag_ino, ino)
  writer.set32(at + UNIX_DIAG_MSG.udiag_cookie, ino)
  if ((show & UDIAG_SHOW_NAME) !== 0 && socket.boundName !== undefined) {
    writer.bytes(UNIX_DIAG_NAME, toBytes(socket.boundName))
  }
  const peer = socket.peer?.file?.inode.ino
  if ((show & UDIAG_SHOW_PEER) !== 0 && peer !== undefined) writer.u32(UNIX_DIAG_PEER, peer)
  const listens = socket.state === LISTEN
  if ((show & UDIAG_SHOW_ICONS) !== 0 && listens) writer.attribute(UNIX_DIAG_ICONS, 0)
  if ((show & UDIAG_SHOW_RQLEN) !== 0) {
    const room = writer.attribute(UNIX_DIAG_RQLEN, RQLEN.size)
    const { waiting, limit } = socket.accepting
    writer.set32(room + RQLEN.udiag_rqueue, listens ? waiting : socket.readableBytes)
    writer.set32(room + RQLEN.udiag_wqueue, listens ? limit : socket.wmem)
  }
  writer.u8(UNIX_DIAG_SHUTDOWN, socket.shutdownMask)
  if ((show & UDIAG_SHOW_UID) !== 0) writer.u32(UNIX_DIAG_UID, socket.file?.cred.euid ?? 0)
  writer.end()
}
