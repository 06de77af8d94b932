/** RTM_NEWLINKPROP and RTM_DELLINKPROP: other names of an interface: `ip link property`, systemd-udevd(8). rtnl_linkprop. */
import { IFLA_ALT_IFNAME, IFLA_PROP_LIST, RTM_NEWLINKPROP } from '../../../abi/constants.ts'
import { EINVAL, ERANGE } from '../../../abi/errno.ts'
import { IFINFOMSG } from '../../../abi/layout.ts'
import { fromBytes } from '../../../base/bytes.ts'
import type { Status } from '../../../base/result.ts'
import type { IpStack } from '../../ip-stack.ts'
import type { NetDevice } from '../../link/device.ts'
import { Attributes } from '../message.ts'
import type { NetlinkRequest } from '../protocol.ts'
import { findDevice } from './link.ts'

const ALTIFNAMSIZ = 128
/** All names of an interface have to fit into one attribute. */
const MAX_LIST = 0xffff

export function changeProperties(stack: IpStack, request: NetlinkRequest): Status {
  const device = findDevice(stack, request)
  if (typeof device === 'number') return device
  const names = new Attributes(request.body, IFINFOMSG.size).nested(IFLA_PROP_LIST)
  if (names === undefined) return 0
  let changed = false
  for (const { type, value } of names.list) {
    if (type !== IFLA_ALT_IFNAME) continue
    const end = value.indexOf(0)
    const name = fromBytes(value, 0, end < 0 ? value.length : end)
    if (name.length >= ALTIFNAMSIZ) return -ERANGE
    const status =
      request.type === RTM_NEWLINKPROP ? add(stack, device, name) : stack.devices.removeName(device, name)
    if (status < 0) return status
    changed = true
  }
  if (changed) stack.listener?.linkChanged(device, false)
  return 0
}

function add(stack: IpStack, device: NetDevice, name: string): Status {
  let size = ALTIFNAMSIZ
  for (const each of device.alternativeNames) size += each.length + 8
  return size >= MAX_LIST ? -EINVAL : stack.devices.addName(device, name)
}
