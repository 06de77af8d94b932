/** `ip link add link eth0 name mac0 type macvlan mode bridge`: macvlan_common_newlink. */
import {
  IFLA_LINK,
  IFLA_MACVLAN_BC_QUEUE_LEN,
  IFLA_MACVLAN_BC_QUEUE_LEN_USED,
  IFLA_MACVLAN_FLAGS,
  IFLA_MACVLAN_MACADDR_COUNT,
  IFLA_MACVLAN_MODE,
  IFLA_MTU,
  MACVLAN_FLAG_NODST,
  MACVLAN_FLAG_NOPROMISC,
  MACVLAN_MODE_PASSTHRU,
  MACVLAN_MODE_SOURCE,
  MACVLAN_MODE_VEPA,
} from '../../../abi/constants.ts'
import { EINVAL, ENODEV, EOPNOTSUPP } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import type { NetDevice } from '../../link/device.ts'
import { checkMacvlan, isMacvlanMode, MacvlanDevice } from '../../link/macvlan.ts'
import { checkNesting } from '../../link/nesting.ts'
import type { Attributes, MessageWriter } from '../message.ts'
import { addressFor, type LinkKind, type LinkRequest } from './kind.ts'

/** MACVLAN_DEFAULT_BC_QUEUE_LEN: broadcasts are handed on at once, so there is no queue. */
const QUEUE_LENGTH = 1000

export const macvlanKind: LinkKind = {
  create(link: LinkRequest): OrErrno<MacvlanDevice> {
    const { own, attributes, data } = link
    const valid = validate(data)
    if (valid < 0) return valid
    const index = attributes.u32(IFLA_LINK)
    if (index === undefined) return -EINVAL
    const given = own.devices.byIndex(index)
    if (given === undefined) return -ENODEV
    // Over one of its like it is a neighbour of that one.
    const lower = given instanceof MacvlanDevice ? given.lower : given
    const mode = data.u32(IFLA_MACVLAN_MODE) ?? MACVLAN_MODE_VEPA
    const status = checkMacvlan(lower, mode) || checkNesting(undefined, lower)
    if (status < 0) return status
    if ((attributes.u32(IFLA_MTU) ?? 0) > lower.mtu) return -EINVAL
    const address = mode === MACVLAN_MODE_PASSTHRU ? lower.address.slice() : addressFor(link)
    const device = new MacvlanDevice(link.name, lower, address, mode)
    device.options = data.u16(IFLA_MACVLAN_FLAGS) ?? 0
    return device
  },

  change(device: NetDevice, data: Attributes): Status {
    const valid = validate(data)
    if (valid < 0) return valid
    const macvlan = device as MacvlanDevice
    const mode = data.u32(IFLA_MACVLAN_MODE) ?? macvlan.mode
    // Into passing the whole link through, or out of it, there is no way.
    if ((mode === MACVLAN_MODE_PASSTHRU) !== (macvlan.mode === MACVLAN_MODE_PASSTHRU)) return -EINVAL
    macvlan.mode = mode
    macvlan.options = data.u16(IFLA_MACVLAN_FLAGS) ?? macvlan.options
    return 0
  },

  write(writer: MessageWriter, device: NetDevice): void {
    const { mode, options } = device as MacvlanDevice
    writer.u32(IFLA_MACVLAN_MODE, mode)
    writer.u16(IFLA_MACVLAN_FLAGS, options)
    writer.u32(IFLA_MACVLAN_MACADDR_COUNT, 0)
    writer.u32(IFLA_MACVLAN_BC_QUEUE_LEN, QUEUE_LENGTH)
    writer.u32(IFLA_MACVLAN_BC_QUEUE_LEN_USED, QUEUE_LENGTH)
  },
}

function validate(data: Attributes): Status {
  if (((data.u16(IFLA_MACVLAN_FLAGS) ?? 0) & ~(MACVLAN_FLAG_NOPROMISC | MACVLAN_FLAG_NODST)) !== 0)
    return -EINVAL
  const mode = data.u32(IFLA_MACVLAN_MODE)
  if (mode === undefined || isMacvlanMode(mode)) return 0
  return mode === MACVLAN_MODE_SOURCE ? -EOPNOTSUPP : -EINVAL
}
