/** The devices of the host's network namespace that the sentry lives in, for /sys/class/net: asked for by rtnetlink(7). */
import {
  AF_NETLINK,
  IFLA_IFNAME,
  NETLINK_ROUTE,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  RTM_GETLINK,
  RTM_NEWLINK,
  SOCK_RAW,
} from '../../abi/constants.ts'
import { IFINFOMSG, NLMSGHDR } from '../../abi/layout.ts'
import type { NetDeviceFiles, NetDevices } from '../../fs/sys/net.ts'
import type { HostSockets } from '../../platform/host-sockets.ts'
import { linkFiles, linkName } from '../netlink/link-files.ts'
import { align4, MessageWriter, viewOf } from '../netlink/message.ts'

/** IFNAMSIZ - 1 */
const MAX_NAME = 15

export class HostDevices implements NetDevices {
  readonly #sockets: HostSockets
  readonly #buffer = new Uint8Array(65536)

  constructor(sockets: HostSockets) {
    this.#sockets = sockets
  }

  names(): readonly string[] {
    const names: string[] = []
    this.#ask(NLM_F_DUMP, undefined, message => {
      const name = linkName(message)
      if (name !== undefined) names.push(name)
    })
    return names
  }

  files(name: string): NetDeviceFiles | undefined {
    if (name.length > MAX_NAME) return undefined
    let files: NetDeviceFiles | undefined
    this.#ask(0, name, message => {
      files = linkFiles(message)
    })
    return files
  }

  /** The host answers at once; what does not come with the last message is not waited for. */
  #ask(flags: number, name: string | undefined, each: (message: Uint8Array) => void): void {
    const fd = this.#sockets.open(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)
    if (fd < 0) return
    const request = new MessageWriter()
    request.start(RTM_GETLINK, NLM_F_REQUEST | flags, 1, 0)
    request.struct(IFINFOMSG.size)
    if (name !== undefined) request.string(IFLA_IFNAME, name)
    request.end()
    let more = this.#sockets.send(fd, request.take(), 0, undefined, undefined) > 0
    while (more) {
      const length = this.#sockets.receive(fd, this.#buffer, 0, false)
      more = length > 0 && this.#read(this.#buffer.subarray(0, length), each) && flags !== 0
    }
    this.#sockets.close(fd)
  }

  /** False after the last message. */
  #read(bytes: Uint8Array, each: (message: Uint8Array) => void): boolean {
    const view = viewOf(bytes)
    for (let at = 0; bytes.length - at >= NLMSGHDR.size; ) {
      const length = view.getUint32(at + NLMSGHDR.nlmsg_len, true)
      if (length < NLMSGHDR.size || length > bytes.length - at) return false
      const type = view.getUint16(at + NLMSGHDR.nlmsg_type, true)
      if (type === NLMSG_DONE || type === NLMSG_ERROR) return false
      if (type === RTM_NEWLINK) each(bytes.subarray(at, at + length))
      at += align4(length)
    }
    return true
  }
}
