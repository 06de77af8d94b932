/** ioctl(2) about interfaces, which any socket may be asked: netdevice(7), read-only. */

import { SIOCGIFCONF } from '../../abi/constants.ts'
import { EFAULT, EINVAL, ENOTTY, EPERM } from '../../abi/errno.ts'
import { IFCONF, IFREQ } from '../../abi/layout.ts'
import { take64 } from '../../base/words.ts'
import type { NetNamespace } from '../../kernel/namespaces.ts'
import type { HostSockets } from '../../platform/host-sockets.ts'
import type { IoctlContext } from '../../vfs/file.ts'
import { INTERFACE_CHANGES, INTERFACE_REQUESTS } from '../interface-requests.ts'
import { netStack } from '../stack.ts'

/** More interfaces than this are not listed. */
const MAX_LIST = 1 << 20
const NOTHING = new Uint8Array(0)

/** ioctl(2) of any socket in `ns` that its family knows nothing of. */
export function interfaceIoctl(
  ns: NetNamespace,
  context: IoctlContext,
  request: number,
  argument: number,
): number {
  const network = netStack(ns).host
  if (network === undefined) return -ENOTTY
  if (INTERFACE_CHANGES.has(request)) return -EPERM
  if (request !== SIOCGIFCONF && !INTERFACE_REQUESTS.includes(request)) return -ENOTTY
  const fd = network.querySocket()
  if (fd < 0) return fd
  if (request === SIOCGIFCONF) return listInterfaces(network.sockets, fd, context, argument)
  const record = new Uint8Array(IFREQ.size)
  if (context.copyIn(argument, record) < 0) return -EFAULT
  return network.sockets.ioctl(fd, request, record) || context.copyOut(argument, record)
}

/** struct ifconf: as many whole records as there is room for; without a buffer, how long all are. */
function listInterfaces(sockets: HostSockets, fd: number, context: IoctlContext, argument: number): number {
  const conf = new Uint8Array(IFCONF.size)
  if (context.copyIn(argument, conf) < 0) return -EFAULT
  const view = new DataView(conf.buffer)
  const room = view.getInt32(IFCONF.ifc_len, true)
  const at = take64(view, IFCONF.ifc_buf)
  if (at !== 0 && room < 0) return -EINVAL
  const list = at === 0 ? NOTHING : new Uint8Array(Math.min(room, MAX_LIST))
  // Of an empty list the host tells the length of all.
  const length = at !== 0 && list.length === 0 ? 0 : sockets.interfaces(fd, list)
  if (length < 0) return length
  if (at !== 0 && length > 0 && context.copyOut(at, list.subarray(0, length)) < 0) return -EFAULT
  view.setInt32(IFCONF.ifc_len, length, true)
  return context.copyOut(argument, conf)
}
