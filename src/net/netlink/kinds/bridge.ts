/** `ip link add br0 type bridge …`: br_netlink.c. Multicast snooping is as on a kernel without it. */
import {
  BR_BOOLOPT_NO_LL_LEARN,
  ETH_P_8021Q,
  IFLA_BR_AGEING_TIME,
  IFLA_BR_BRIDGE_ID,
  IFLA_BR_FDB_FLUSH,
  IFLA_BR_FORWARD_DELAY,
  IFLA_BR_GC_TIMER,
  IFLA_BR_GROUP_ADDR,
  IFLA_BR_GROUP_FWD_MASK,
  IFLA_BR_HELLO_TIME,
  IFLA_BR_HELLO_TIMER,
  IFLA_BR_MAX_AGE,
  IFLA_BR_MULTI_BOOLOPT,
  IFLA_BR_PRIORITY,
  IFLA_BR_ROOT_ID,
  IFLA_BR_ROOT_PATH_COST,
  IFLA_BR_ROOT_PORT,
  IFLA_BR_STP_STATE,
  IFLA_BR_TCN_TIMER,
  IFLA_BR_TOPOLOGY_CHANGE,
  IFLA_BR_TOPOLOGY_CHANGE_DETECTED,
  IFLA_BR_TOPOLOGY_CHANGE_TIMER,
  IFLA_BR_VLAN_DEFAULT_PVID,
  IFLA_BR_VLAN_FILTERING,
  IFLA_BR_VLAN_PROTOCOL,
  IFLA_BR_VLAN_STATS_ENABLED,
  IFLA_BR_VLAN_STATS_PER_PORT,
  NUD_REACHABLE,
} from '../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP, EPERM, ERANGE } from '../../../abi/errno.ts'
import { BR_BOOLOPT_MULTI, IFLA_BRIDGE_ID as BRIDGE_ID } from '../../../abi/layout.ts'
import type { Status } from '../../../base/result.ts'
import { BridgeDevice, NEVER_FORWARDED } from '../../link/bridge.ts'
import type { NetDevice } from '../../link/device.ts'
import { type Attributes, type MessageWriter, viewOf } from '../message.ts'
import type { NetlinkRequest } from '../protocol.ts'
import { addressFor, type LinkKind, type LinkRequest, refuse } from './kind.ts'

/** 01:80:c2:00:00:00, spanning tree's. */
const GROUP_ADDRESS = Uint8Array.of(1, 0x80, 0xc2, 0, 0, 0)
/** Times are told in hundredths of a second. */
const HZ = 100
const MAX_FORWARD_DELAY = 30 * HZ
const MAX_HELLO_TIME = 10 * HZ
const MAX_MAX_AGE = 40 * HZ
const MIN_MAX_AGE = 6 * HZ

/** VLAN_VID_MASK - 1 */
const MAX_VLAN = 4094

export const bridgeKind: LinkKind = {
  create(link: LinkRequest) {
    const device = new BridgeDevice(link.name, addressFor(link))
    device.addressSet = link.address !== undefined
    const status = apply(device, link.data, link.request)
    return status < 0 ? status : device
  },

  change(device: NetDevice, data: Attributes, request: NetlinkRequest): Status {
    return apply(device as BridgeDevice, data, request)
  },

  write(writer: MessageWriter, device: NetDevice): void {
    const bridge = device as BridgeDevice
    const { spanningTree } = bridge
    writer.u32(IFLA_BR_FORWARD_DELAY, spanningTree.forwardDelay)
    writer.u32(IFLA_BR_HELLO_TIME, spanningTree.helloTime)
    writer.u32(IFLA_BR_MAX_AGE, spanningTree.maxAge)
    writer.u32(IFLA_BR_AGEING_TIME, Math.round(bridge.ageing * HZ))
    writer.u32(IFLA_BR_STP_STATE, 0)
    writer.u16(IFLA_BR_PRIORITY, spanningTree.priority)
    writer.u8(IFLA_BR_VLAN_FILTERING, bridge.vlanFiltering ? 1 : 0)
    writer.be16(IFLA_BR_VLAN_PROTOCOL, ETH_P_8021Q)
    writer.u16(IFLA_BR_VLAN_DEFAULT_PVID, bridge.defaultVlan)
    writer.u8(IFLA_BR_VLAN_STATS_ENABLED, 0)
    writer.u8(IFLA_BR_VLAN_STATS_PER_PORT, 0)
    writer.u16(IFLA_BR_GROUP_FWD_MASK, bridge.groupForwardMask)
    writeBridgeId(writer, IFLA_BR_BRIDGE_ID, bridge)
    writeBridgeId(writer, IFLA_BR_ROOT_ID, bridge)
    writer.u16(IFLA_BR_ROOT_PORT, 0)
    writer.u32(IFLA_BR_ROOT_PATH_COST, 0)
    writer.u8(IFLA_BR_TOPOLOGY_CHANGE, 0)
    writer.u8(IFLA_BR_TOPOLOGY_CHANGE_DETECTED, 0)
    writer.bytes(IFLA_BR_GROUP_ADDR, GROUP_ADDRESS)
    for (const type of TIMERS) writer.u64(type, 0)
    const at = writer.attribute(IFLA_BR_MULTI_BOOLOPT, BR_BOOLOPT_MULTI.size)
    writer.set32(at + BR_BOOLOPT_MULTI.optval, bridge.noLinkLocalLearning ? 1 << BR_BOOLOPT_NO_LL_LEARN : 0)
    writer.set32(at + BR_BOOLOPT_MULTI.optmask, 1 << BR_BOOLOPT_NO_LL_LEARN)
  },
}
/** None of them ever runs. */
const TIMERS = [IFLA_BR_HELLO_TIMER, IFLA_BR_TCN_TIMER, IFLA_BR_TOPOLOGY_CHANGE_TIMER, IFLA_BR_GC_TIMER]

export function writeBridgeId(writer: MessageWriter, type: number, bridge: BridgeDevice): void {
  const at = writer.attribute(type, BRIDGE_ID.size)
  const { priority } = bridge.spanningTree
  writer.set8(at + BRIDGE_ID.prio, priority >> 8)
  writer.set8(at + BRIDGE_ID.prio + 1, priority & 0xff)
  writer.setBytes(at + BRIDGE_ID.addr, bridge.address)
}

/** br_changelink: one thing after the other; what was done before a failure stays. */
function apply(bridge: BridgeDevice, data: Attributes, request: NetlinkRequest): Status {
  const { spanningTree } = bridge
  const forwardDelay = data.u32(IFLA_BR_FORWARD_DELAY)
  if (forwardDelay !== undefined) {
    // Without spanning tree it may be as short as one likes.
    if (forwardDelay > MAX_FORWARD_DELAY) return -ERANGE
    spanningTree.forwardDelay = forwardDelay
  }
  const helloTime = data.u32(IFLA_BR_HELLO_TIME)
  if (helloTime !== undefined) {
    if (helloTime < HZ || helloTime > MAX_HELLO_TIME) return -ERANGE
    spanningTree.helloTime = helloTime
  }
  const maxAge = data.u32(IFLA_BR_MAX_AGE)
  if (maxAge !== undefined) {
    if (maxAge < MIN_MAX_AGE || maxAge > MAX_MAX_AGE) return -ERANGE
    spanningTree.maxAge = maxAge
  }
  bridge.ageing = (data.u32(IFLA_BR_AGEING_TIME) ?? bridge.ageing * HZ) / HZ
  if ((data.u32(IFLA_BR_STP_STATE) ?? 0) !== 0) return refuse(request, 'STP is not supported', EOPNOTSUPP)
  spanningTree.priority = data.u16(IFLA_BR_PRIORITY) ?? spanningTree.priority
  const vlans = applyVlans(bridge, data)
  if (vlans < 0) return vlans
  const mask = data.u16(IFLA_BR_GROUP_FWD_MASK)
  if (mask !== undefined) {
    if ((mask & NEVER_FORWARDED) !== 0) return -EINVAL
    bridge.groupForwardMask = mask
  }
  const group = data.get(IFLA_BR_GROUP_ADDR)
  if (group?.some((byte, i) => byte !== GROUP_ADDRESS[i])) return -EOPNOTSUPP
  if (data.has(IFLA_BR_FDB_FLUSH)) bridge.flush(entry => entry.state === NUD_REACHABLE)
  return applyBooleans(bridge, data.get(IFLA_BR_MULTI_BOOLOPT), request)
}

/** Tags of providers, and counters of each VLAN, are left out. */
function applyVlans(bridge: BridgeDevice, data: Attributes): Status {
  if ((data.be16(IFLA_BR_VLAN_PROTOCOL) ?? ETH_P_8021Q) !== ETH_P_8021Q) return -EOPNOTSUPP
  if ((data.u8(IFLA_BR_VLAN_STATS_ENABLED) ?? 0) !== 0 || (data.u8(IFLA_BR_VLAN_STATS_PER_PORT) ?? 0) !== 0)
    return -EOPNOTSUPP
  const filtering = data.u8(IFLA_BR_VLAN_FILTERING)
  if (filtering !== undefined && (filtering !== 0) !== bridge.vlanFiltering) {
    bridge.vlanFiltering = filtering !== 0
    bridge.flush(entry => entry.state === NUD_REACHABLE)
  }
  const vlan = data.u16(IFLA_BR_VLAN_DEFAULT_PVID)
  if (vlan === undefined || vlan === bridge.defaultVlan) return 0
  if (vlan > MAX_VLAN) return -EINVAL
  // Only while it has no say: br_vlan_set_default_pvid.
  if (bridge.vlanFiltering) return -EPERM
  const before = bridge.defaultVlan
  bridge.defaultVlan = vlan
  for (const vlans of [bridge.ownVlans, ...bridge.ports.map(port => port.vlans)]) {
    if (before !== 0 && vlans.pvid === before) vlans.delete(before)
    if (vlan !== 0) vlans.add(vlan, true, true)
  }
  return 0
}

function applyBooleans(bridge: BridgeDevice, value: Uint8Array | undefined, request: NetlinkRequest): Status {
  if (value === undefined) return 0
  if (value.length < BR_BOOLOPT_MULTI.size) return -EINVAL
  const view = viewOf(value)
  const mask = view.getUint32(BR_BOOLOPT_MULTI.optmask, true)
  const bits = view.getUint32(BR_BOOLOPT_MULTI.optval, true) & mask
  const known = 1 << BR_BOOLOPT_NO_LL_LEARN
  if ((bits & ~known) !== 0) return refuse(request, 'Unsupported bridge option', EOPNOTSUPP)
  if ((mask & known) !== 0) bridge.noLinkLocalLearning = (bits & known) !== 0
  return 0
}
