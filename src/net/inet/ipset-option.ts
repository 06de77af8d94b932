/** SO_IP_SET: getsockopt(2) of a raw socket, by which iptables learns the numbers of sets. ip_set_sockfn_get. */
import {
  CAP_NET_ADMIN,
  IP_SET_OP_GET_BYINDEX,
  IP_SET_OP_GET_BYNAME,
  IP_SET_OP_GET_FNAME,
  IP_SET_OP_VERSION,
  IPSET_INVALID_ID,
  IPSET_MAXNAMELEN,
  IPSET_PROTOCOL,
  IPSET_PROTOCOL_MIN,
} from '../../abi/constants.ts'
import { EBADMSG, EFAULT, EINVAL, EPERM, EPROTO } from '../../abi/errno.ts'
import { IP_SET_REQ_GET_SET, IP_SET_REQ_GET_SET_FAMILY, IP_SET_REQ_VERSION } from '../../abi/layout.ts'
import { fromBytes, toBytes } from '../../base/bytes.ts'
import type { OrErrno } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import type { GuestAddr } from '../../mm/mm.ts'
import { familyOf } from '../filter/ipset/types.ts'
import type { InetSocket } from './socket.ts'

/** `length`: what there is room for at `at`, where the question stands. */
export function getSetOption(
  { net }: InetSocket,
  task: Task,
  length: number,
  at: GuestAddr,
): OrErrno<Uint8Array> {
  if (!net.capable(task, CAP_NET_ADMIN)) return -EPERM
  if (length < 4) return -EINVAL
  const bytes = new Uint8Array(Math.min(length, IP_SET_REQ_GET_SET_FAMILY.size))
  if (task.mm.copyIn(at, bytes) < 0) return -EFAULT
  const view = new DataView(bytes.buffer)
  const operation = view.getUint32(IP_SET_REQ_VERSION.op, true)
  if (operation < IP_SET_OP_VERSION) {
    if (length < IP_SET_REQ_VERSION.size) return -EINVAL
    if (view.getUint32(IP_SET_REQ_VERSION.version, true) < IPSET_PROTOCOL_MIN) return -EPROTO
  }
  const { ipSets } = net.netfilter
  const isFamily = operation === IP_SET_OP_GET_FNAME
  const layout = isFamily ? IP_SET_REQ_GET_SET_FAMILY : IP_SET_REQ_GET_SET
  if (operation === IP_SET_OP_VERSION) {
    if (length !== IP_SET_REQ_VERSION.size) return -EINVAL
    view.setUint32(IP_SET_REQ_VERSION.version, IPSET_PROTOCOL, true)
    return bytes
  }
  if (length !== layout.size) return -EINVAL
  const name = bytes.subarray(layout.set, layout.set + IPSET_MAXNAMELEN)
  if (operation === IP_SET_OP_GET_BYINDEX) {
    const set = ipSets.at(view.getUint16(layout.set, true))
    name.fill(0)
    if (set !== undefined) name.set(toBytes(set.name))
    return bytes
  }
  if (operation !== IP_SET_OP_GET_BYNAME && !isFamily) return -EBADMSG
  const end = name.indexOf(0)
  const set = ipSets.find(fromBytes(name, 0, end < 0 ? IPSET_MAXNAMELEN - 1 : end))
  if (set !== undefined && isFamily)
    view.setUint32(IP_SET_REQ_GET_SET_FAMILY.family, familyOf(set.type, set.isV4), true)
  view.setUint16(layout.set, set?.index ?? IPSET_INVALID_ID, true)
  return bytes
}
