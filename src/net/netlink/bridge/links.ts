/** RTM_GETLINK and RTM_SETLINK of AF_BRIDGE: the ports of bridges as bridge(8) shows and changes them. br_fill_ifinfo. */
import {
  AF_BRIDGE,
  BRIDGE_FLAGS_MASTER,
  BRIDGE_FLAGS_SELF,
  IFLA_ADDRESS,
  IFLA_AF_SPEC,
  IFLA_BRIDGE_FLAGS,
  IFLA_BRIDGE_VLAN_INFO,
  IFLA_EXT_MASK,
  IFLA_IFNAME,
  IFLA_LINK,
  IFLA_MASTER,
  IFLA_MTU,
  IFLA_OPERSTATE,
  IFLA_PROTINFO,
  NLM_F_DUMP,
  NLM_F_MULTI,
  RTEXT_FILTER_BRVLAN,
  RTEXT_FILTER_BRVLAN_COMPRESSED,
  RTM_NEWLINK,
} from '../../../abi/constants.ts'
import { EINVAL, ENODEV, EOPNOTSUPP } from '../../../abi/errno.ts'
import { IFINFOMSG } from '../../../abi/layout.ts'
import type { Status } from '../../../base/result.ts'
import type { IpStack } from '../../ip-stack.ts'
import { BridgeDevice } from '../../link/bridge.ts'
import type { NetDevice } from '../../link/device.ts'
import { bridgePort, changePort, writePort } from '../kinds/bridge-port.ts'
import { refuse } from '../kinds/kind.ts'
import { Attributes, type MessageWriter, NESTED } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import { sortedDevices } from '../route/address.ts'
import { operState } from '../route/link-message.ts'
import { changeVlans, vlansOf, writeVlans } from './vlans.ts'

export function getBridgeLinks(stack: IpStack, request: NetlinkRequest): Status | Dump {
  if ((request.flags & NLM_F_DUMP) === 0) return -EOPNOTSUPP
  const { sequence, port, body } = request
  const mask = new Attributes(body, Math.min(IFINFOMSG.size, body.length)).u32(IFLA_EXT_MASK) ?? 0
  return new ListDump(sortedDevices(stack), (writer, device) =>
    writeLink(writer, device, sequence, port, mask),
  )
}

function writeLink(
  writer: MessageWriter,
  device: NetDevice,
  sequence: number,
  port: number,
  mask: number,
): void {
  const found = bridgePort(device)
  const wantsVlans = (mask & (RTEXT_FILTER_BRVLAN | RTEXT_FILTER_BRVLAN_COMPRESSED)) !== 0
  // The bridges themselves have nothing but their VLANs.
  const isBridge = device instanceof BridgeDevice
  if (found === undefined && !(isBridge && wantsVlans)) return
  writer.start(RTM_NEWLINK, NLM_F_MULTI, sequence, port)
  const at = writer.struct(IFINFOMSG.size)
  writer.set8(at + IFINFOMSG.ifi_family, AF_BRIDGE)
  writer.set16(at + IFINFOMSG.ifi_type, device.type)
  writer.set32(at + IFINFOMSG.ifi_index, device.index)
  writer.set32(at + IFINFOMSG.ifi_flags, device.shownFlags)
  writer.string(IFLA_IFNAME, device.name)
  writer.u32(IFLA_MASTER, found === undefined ? device.index : found[0].index)
  writer.u32(IFLA_MTU, device.mtu)
  writer.u8(IFLA_OPERSTATE, operState(device))
  writer.bytes(IFLA_ADDRESS, device.address)
  if (device.linkIndex !== undefined) writer.u32(IFLA_LINK, device.linkIndex)
  if (found !== undefined) {
    const data = writer.nest(IFLA_PROTINFO, NESTED)
    writePort(writer, ...found)
    writer.close(data)
  }
  const vlans = found === undefined ? (device as BridgeDevice).ownVlans : found[1].vlans
  if (wantsVlans) writeVlans(writer, vlans, (mask & RTEXT_FILTER_BRVLAN_COMPRESSED) !== 0)
  writer.end()
}

/** rtnl_bridge_setlink, br_setlink. */
export function setBridgeLink(stack: IpStack, request: NetlinkRequest): Status {
  if (request.body.length < IFINFOMSG.size) return -EINVAL
  const device = stack.devices.byIndex(request.view.getInt32(IFINFOMSG.ifi_index, true))
  if (device === undefined) return refuse(request, 'unknown ifindex', ENODEV)
  const attributes = new Attributes(request.body, IFINFOMSG.size)
  const options = attributes.nested(IFLA_AF_SPEC)
  const flags = options?.u16(IFLA_BRIDGE_FLAGS) ?? 0
  const port = bridgePort(device)
  // Of the devices themselves none can anything of the kind.
  const wantsPort = flags === 0 || (flags & BRIDGE_FLAGS_MASTER) !== 0
  if (options?.has(IFLA_BRIDGE_VLAN_INFO)) {
    const vlans = vlansOf(device, flags)
    return vlans === undefined ? -EOPNOTSUPP : changeVlans(vlans, options, request)
  }
  if (!wantsPort || (flags & BRIDGE_FLAGS_SELF) !== 0 || port === undefined) return -EOPNOTSUPP
  const data = attributes.nested(IFLA_PROTINFO)
  if (data === undefined) return 0
  const status = changePort(...port, data)
  if (status === 0) stack.listener?.linkChanged(device, false)
  return status
}

/** RTM_DELLINK of AF_BRIDGE: out of VLANs. */
export function deleteBridgeLink(stack: IpStack, request: NetlinkRequest): Status {
  if (request.body.length < IFINFOMSG.size) return -EINVAL
  const device = stack.devices.byIndex(request.view.getInt32(IFINFOMSG.ifi_index, true))
  if (device === undefined) return refuse(request, 'unknown ifindex', ENODEV)
  const options = new Attributes(request.body, IFINFOMSG.size).nested(IFLA_AF_SPEC)
  const vlans = vlansOf(device, options?.u16(IFLA_BRIDGE_FLAGS) ?? 0)
  if (options === undefined || vlans === undefined) return -EOPNOTSUPP
  return changeVlans(vlans, options, request)
}
