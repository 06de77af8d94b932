/** IFLA_BRIDGE_VLAN_INFO: `bridge vlan add`, `del` and `show`. br_netlink.c. */
import {
  BRIDGE_FLAGS_MASTER,
  BRIDGE_FLAGS_SELF,
  BRIDGE_VLAN_INFO_MASTER,
  BRIDGE_VLAN_INFO_PVID,
  BRIDGE_VLAN_INFO_RANGE_BEGIN,
  BRIDGE_VLAN_INFO_RANGE_END,
  BRIDGE_VLAN_INFO_UNTAGGED,
  IFLA_AF_SPEC,
  IFLA_BRIDGE_VLAN_INFO,
  RTM_DELLINK,
} from '../../../abi/constants.ts'
import { EINVAL, ENOENT } from '../../../abi/errno.ts'
import { BRIDGE_VLAN_INFO } from '../../../abi/layout.ts'
import type { Status } from '../../../base/result.ts'
import { BridgeDevice } from '../../link/bridge.ts'
import type { PortVlans } from '../../link/bridge-vlan.ts'
import type { NetDevice } from '../../link/device.ts'
import { bridgePort } from '../kinds/bridge-port.ts'
import { refuse } from '../kinds/kind.ts'
import { type Attributes, type MessageWriter, viewOf } from '../message.ts'
import type { NetlinkRequest } from '../protocol.ts'

/** VLAN_VID_MASK - 1 */
const MAX_VLAN = 4094

/** Those of a port, or of a bridge itself; undefined: there are none. */
export function vlansOf(device: NetDevice, flags: number): PortVlans | undefined {
  if (flags === 0 || (flags & BRIDGE_FLAGS_MASTER) !== 0) {
    const port = bridgePort(device)
    if (port !== undefined) return port[1].vlans
  }
  return (flags & BRIDGE_FLAGS_SELF) !== 0 && device instanceof BridgeDevice ? device.ownVlans : undefined
}

/** br_afspec: adds them, or takes them away. One alone, or the two ends of a range. */
export function changeVlans(vlans: PortVlans, options: Attributes, request: NetlinkRequest): Status {
  let begin: { vid: number; flags: number } | undefined
  for (const { type, value } of options.list) {
    if (type !== IFLA_BRIDGE_VLAN_INFO) continue
    if (value.length < BRIDGE_VLAN_INFO.size) return -EINVAL
    const view = viewOf(value)
    const vid = view.getUint16(BRIDGE_VLAN_INFO.vid, true)
    const flags = view.getUint16(BRIDGE_VLAN_INFO.flags, true)
    if (vid === 0 || vid > MAX_VLAN) return refuse(request, 'Vlan id is invalid', EINVAL)
    if ((flags & BRIDGE_VLAN_INFO_RANGE_BEGIN) !== 0) {
      if (begin !== undefined || (flags & BRIDGE_VLAN_INFO_PVID) !== 0) return -EINVAL
      begin = { vid, flags }
      continue
    }
    if ((flags & BRIDGE_VLAN_INFO_RANGE_END) !== 0 && (begin === undefined || vid <= begin.vid))
      return -EINVAL
    if (begin !== undefined && (flags & BRIDGE_VLAN_INFO_RANGE_END) === 0) return -EINVAL
    const status = changeRange(vlans, begin?.vid ?? vid, vid, flags, request)
    if (status < 0) return status
    begin = undefined
  }
  return begin === undefined ? 0 : -EINVAL
}

function changeRange(
  vlans: PortVlans,
  first: number,
  last: number,
  flags: number,
  { type }: NetlinkRequest,
): Status {
  const removes = type === RTM_DELLINK
  let any = false
  for (let vid = first; vid <= last; vid++) {
    if (removes) any = vlans.delete(vid) || any
    else vlans.add(vid, (flags & BRIDGE_VLAN_INFO_PVID) !== 0, (flags & BRIDGE_VLAN_INFO_UNTAGGED) !== 0)
  }
  return removes && !any && first === last ? -ENOENT : 0
}

/** IFLA_AF_SPEC with each of them, or with those that follow each other as ranges. */
export function writeVlans(writer: MessageWriter, vlans: PortVlans, compressed: boolean): void {
  const nest = writer.nest(IFLA_AF_SPEC)
  const write = (vid: number, flags: number) => {
    const at = writer.attribute(IFLA_BRIDGE_VLAN_INFO, BRIDGE_VLAN_INFO.size)
    writer.set16(at + BRIDGE_VLAN_INFO.flags, flags & ~BRIDGE_VLAN_INFO_MASTER)
    writer.set16(at + BRIDGE_VLAN_INFO.vid, vid)
  }
  const flagsOf = (vid: number) =>
    (vlans.pvid === vid ? BRIDGE_VLAN_INFO_PVID : 0) |
    (vlans.untagged.get(vid) === true ? BRIDGE_VLAN_INFO_UNTAGGED : 0)
  const all = [...vlans.untagged.keys()].sort((a, b) => a - b)
  for (let i = 0; i < all.length; i++) {
    const flags = flagsOf(all[i])
    let last = i
    while (compressed && all[last + 1] === all[last] + 1 && flagsOf(all[last + 1]) === flags) last++
    if (last > i) {
      write(all[i], flags | BRIDGE_VLAN_INFO_RANGE_BEGIN)
      write(all[last], flags | BRIDGE_VLAN_INFO_RANGE_END)
    } else write(all[i], flags)
    i = last
  }
  writer.close(nest)
}
