/** Sockets of AF_NETLINK and AF_PACKET: netlink_diag, packet_diag. */
import { AF_NETLINK, AF_PACKET, NLM_F_MULTI, SOCK_DIAG_BY_FAMILY } from '../../../abi/constants.ts'
import { EINVAL } from '../../../abi/errno.ts'
import type { Status } from '../../../base/result.ts'
import type { InetNetwork } from '../../inet/network.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'

/** struct netlink_diag_msg: family, type, protocol, state, port, destination port, group, inode, cookie. */
const NETLINK_MSG = {
  size: 28,
  type: 1,
  protocol: 2,
  state: 3,
  port: 4,
  peer: 8,
  group: 12,
  ino: 16,
  cookie: 20,
}
/** All protocols: NDIAG_PROTO_ALL. */
const ALL_PROTOCOLS = 0xff
/** struct packet_diag_msg: family, type, number, inode, cookie. */
const PACKET_MSG = { size: 16, type: 1, number: 2, ino: 4, cookie: 8 }
const PACKET_DIAG_INFO = 0
const SHOW_INFO = 1

export function netlinkDiag(net: InetNetwork, request: NetlinkRequest): Status | Dump {
  const { body, sequence, port } = request
  if (body.length < 16) return -EINVAL
  const protocol = body[1]
  const found = net.netlink.bound.filter(each => protocol === ALL_PROTOCOLS || each.protocol === protocol)
  return new ListDump(found, (writer, socket) => {
    writer.start(SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, sequence, port)
    const at = writer.struct(NETLINK_MSG.size)
    writer.set8(at, AF_NETLINK)
    writer.set8(at + NETLINK_MSG.type, socket.type)
    writer.set8(at + NETLINK_MSG.protocol, socket.protocol)
    writer.set8(at + NETLINK_MSG.state, socket.peerPort === 0 ? 0 : 1)
    writer.set32(at + NETLINK_MSG.port, socket.port)
    writer.set32(at + NETLINK_MSG.peer, socket.peerPort)
    writer.set32(at + NETLINK_MSG.ino, socket.file?.inode.ino ?? 0)
    writer.end()
  })
}

export function packetDiag(net: InetNetwork, request: NetlinkRequest): Status | Dump {
  const { body, view, sequence, port } = request
  if (body.length < 16) return -EINVAL
  const show = view.getUint32(8, true)
  return new ListDump(net.packets.sockets, (writer, socket) => {
    writer.start(SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, sequence, port)
    const at = writer.struct(PACKET_MSG.size)
    writer.set8(at, AF_PACKET)
    writer.set8(at + PACKET_MSG.type, socket.type)
    writer.set16(at + PACKET_MSG.number, socket.etherType)
    writer.set32(at + PACKET_MSG.ino, socket.file?.inode.ino ?? 0)
    if ((show & SHOW_INFO) !== 0) writer.set32(writer.attribute(PACKET_DIAG_INFO, 24), socket.device)
    writer.end()
  })
}
