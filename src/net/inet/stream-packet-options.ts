/**
 * IP_PKTOPTIONS of a stream, which has no packets of its own to tell of: what options of SOL_IP ask for, as the connection
 * has it, as control messages one after the other. do_ip_getsockopt.
 */
import {
  IP_MULTICAST_TTL,
  IP_PKTINFO,
  IP_RECVTOS,
  IP_RECVTTL,
  IP_TOS,
  IP_TTL,
  SOCK_STREAM,
  SOL_IP,
} from '../../abi/constants.ts'
import { ENOPROTOOPT } from '../../abi/errno.ts'
import { CMSGHDR, IN_PKTINFO } from '../../abi/layout.ts'
import type { OrErrno } from '../../base/result.ts'
import { intBytes } from './option-bytes.ts'
import type { InetSocket } from './socket.ts'

/** At most `room` bytes: what does not fit is cut, as recvmsg(2) does it. */
export function streamPacketOptions(socket: InetSocket, room: number): OrErrno<Uint8Array> {
  if (socket.type !== SOCK_STREAM) return -ENOPROTOOPT
  const { settings } = socket
  const bytes = new Uint8Array(Math.min(room, 3 * (CMSGHDR.size + 16)))
  const view = new DataView(bytes.buffer)
  let used = 0
  const put = (type: number, data: Uint8Array) => {
    if (bytes.length - used < CMSGHDR.size) return
    const size = Math.min(CMSGHDR.size + data.length, bytes.length - used)
    view.setUint32(used + CMSGHDR.cmsg_len, size, true)
    view.setInt32(used + CMSGHDR.cmsg_level, SOL_IP, true)
    view.setInt32(used + CMSGHDR.cmsg_type, type, true)
    bytes.set(data.subarray(0, size - CMSGHDR.size), used + CMSGHDR.cmsg_data)
    used = Math.min(used + Math.ceil(size / 8) * 8, bytes.length)
  }
  if (settings.v4(IP_PKTINFO) !== 0) {
    const info = new DataView(new ArrayBuffer(IN_PKTINFO.size))
    const address = socket.localAddress.isV4 ? socket.localAddress.w3 : 0
    info.setInt32(IN_PKTINFO.ipi_ifindex, settings.multicastDevice4, true)
    info.setUint32(IN_PKTINFO.ipi_spec_dst, address)
    info.setUint32(IN_PKTINFO.ipi_addr, address)
    put(IP_PKTINFO, new Uint8Array(info.buffer))
  }
  if (settings.v4(IP_RECVTTL) !== 0) put(IP_TTL, intBytes(settings.v4(IP_MULTICAST_TTL)))
  // The type of service that the connection was made with is not kept.
  if (settings.v4(IP_RECVTOS) !== 0) put(IP_TOS, intBytes(0))
  return bytes.subarray(0, used)
}
