/** `ip link add link eth0 name ipv0 type ipvlan mode l2`: ipvlan_link_new. */
import {
  IFLA_IPVLAN_FLAGS,
  IFLA_IPVLAN_MODE,
  IFLA_LINK,
  IFLA_MTU,
  IPVLAN_F_PRIVATE,
  IPVLAN_F_VEPA,
  IPVLAN_MODE_L2,
  IPVLAN_MODE_L3S,
} from '../../../abi/constants.ts'
import { EINVAL, ENODEV } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import type { NetDevice } from '../../link/device.ts'
import { checkIpvlan, IpvlanDevice } from '../../link/ipvlan.ts'
import { checkNesting } from '../../link/nesting.ts'
import type { Attributes, MessageWriter } from '../message.ts'
import type { LinkKind, LinkRequest } from './kind.ts'

const FLAGS = IPVLAN_F_PRIVATE | IPVLAN_F_VEPA

export const ipvlanKind: LinkKind = {
  create({ own, name, attributes, data }: LinkRequest): OrErrno<IpvlanDevice> {
    const valid = validate(data)
    if (valid < 0) return valid
    const index = attributes.u32(IFLA_LINK)
    if (index === undefined) return -EINVAL
    const given = own.devices.byIndex(index)
    if (given === undefined) return -ENODEV
    // Over one of its like it is a neighbour of that one.
    const lower = given instanceof IpvlanDevice ? given.lower : given
    const status = checkIpvlan(lower) || checkNesting(undefined, lower)
    if (status < 0) return status
    if ((attributes.u32(IFLA_MTU) ?? 0) > lower.mtu) return -EINVAL
    const device = new IpvlanDevice(name, lower)
    apply(device, data)
    return device
  },

  change(device: NetDevice, data: Attributes): Status {
    const valid = validate(data)
    if (valid === 0) apply(device as IpvlanDevice, data)
    return valid
  },

  write(writer: MessageWriter, device: NetDevice): void {
    const { mode, flags } = (device as IpvlanDevice).port
    writer.u16(IFLA_IPVLAN_MODE, mode)
    writer.u16(IFLA_IPVLAN_FLAGS, flags)
  },
}

function validate(data: Attributes): Status {
  const mode = data.u16(IFLA_IPVLAN_MODE) ?? IPVLAN_MODE_L2
  const flags = data.u16(IFLA_IPVLAN_FLAGS) ?? 0
  if (mode > IPVLAN_MODE_L3S || (flags & ~FLAGS) !== 0) return -EINVAL
  return (flags & FLAGS) === FLAGS ? -EINVAL : 0
}

/** All stations of the link have the same. */
function apply({ port }: IpvlanDevice, data: Attributes): void {
  port.mode = data.u16(IFLA_IPVLAN_MODE) ?? port.mode
  port.flags = data.u16(IFLA_IPVLAN_FLAGS) ?? port.flags
  for (const station of port.stations) station.modeChanged()
}
