/** What is told and set of a bridge's ports: IFLA_INFO_SLAVE_DATA, and IFLA_PROTINFO for bridge(8). br_port_fill_attrs. */
import {
  BR_STATE_DISABLED,
  BR_STATE_FORWARDING,
  IFLA_BRPORT_BCAST_FLOOD,
  IFLA_BRPORT_BRIDGE_ID,
  IFLA_BRPORT_CONFIG_PENDING,
  IFLA_BRPORT_COST,
  IFLA_BRPORT_DESIGNATED_COST,
  IFLA_BRPORT_DESIGNATED_PORT,
  IFLA_BRPORT_FAST_LEAVE,
  IFLA_BRPORT_FLUSH,
  IFLA_BRPORT_FORWARD_DELAY_TIMER,
  IFLA_BRPORT_GROUP_FWD_MASK,
  IFLA_BRPORT_GUARD,
  IFLA_BRPORT_HOLD_TIMER,
  IFLA_BRPORT_ID,
  IFLA_BRPORT_ISOLATED,
  IFLA_BRPORT_LEARNING,
  IFLA_BRPORT_LOCKED,
  IFLA_BRPORT_MCAST_FLOOD,
  IFLA_BRPORT_MCAST_TO_UCAST,
  IFLA_BRPORT_MESSAGE_AGE_TIMER,
  IFLA_BRPORT_MODE,
  IFLA_BRPORT_NEIGH_SUPPRESS,
  IFLA_BRPORT_NO,
  IFLA_BRPORT_PRIORITY,
  IFLA_BRPORT_PROTECT,
  IFLA_BRPORT_PROXYARP,
  IFLA_BRPORT_PROXYARP_WIFI,
  IFLA_BRPORT_ROOT_ID,
  IFLA_BRPORT_STATE,
  IFLA_BRPORT_TOPOLOGY_CHANGE_ACK,
  IFLA_BRPORT_UNICAST_FLOOD,
  IFLA_BRPORT_VLAN_TUNNEL,
  NUD_REACHABLE,
} from '../../../abi/constants.ts'
import { EBUSY, EINVAL, EOPNOTSUPP, ERANGE } from '../../../abi/errno.ts'
import type { Status } from '../../../base/result.ts'
import { BridgeDevice, type BridgePort } from '../../link/bridge.ts'
import type { NetDevice } from '../../link/device.ts'
import type { Attributes, MessageWriter } from '../message.ts'
import { writeBridgeId } from './bridge.ts'

const MAX_PRIORITY = 63
const PRIORITY_SHIFT = 10
const MAX_COST = 65535

type Flag =
  | 'hairpin'
  | 'learning'
  | 'flood'
  | 'multicastFlood'
  | 'broadcastFlood'
  | 'isolated'
  | 'guard'
  | 'rootBlock'
const FLAGS: readonly (readonly [number, Flag])[] = [
  [IFLA_BRPORT_MODE, 'hairpin'],
  [IFLA_BRPORT_GUARD, 'guard'],
  [IFLA_BRPORT_PROTECT, 'rootBlock'],
  [IFLA_BRPORT_LEARNING, 'learning'],
  [IFLA_BRPORT_UNICAST_FLOOD, 'flood'],
  [IFLA_BRPORT_MCAST_FLOOD, 'multicastFlood'],
  [IFLA_BRPORT_BCAST_FLOOD, 'broadcastFlood'],
  [IFLA_BRPORT_ISOLATED, 'isolated'],
]
/** Switched off for all ports: what answers for others, what looks at groups, and what keeps strangers out. */
const LEFT_OUT = [
  ...[IFLA_BRPORT_FAST_LEAVE, IFLA_BRPORT_MCAST_TO_UCAST, IFLA_BRPORT_PROXYARP, IFLA_BRPORT_PROXYARP_WIFI],
  ...[IFLA_BRPORT_NEIGH_SUPPRESS, IFLA_BRPORT_VLAN_TUNNEL, IFLA_BRPORT_LOCKED],
]
const TIMERS = [IFLA_BRPORT_MESSAGE_AGE_TIMER, IFLA_BRPORT_FORWARD_DELAY_TIMER, IFLA_BRPORT_HOLD_TIMER]

/** The port that a device is, with its bridge. */
export function bridgePort(device: NetDevice): readonly [BridgeDevice, BridgePort] | undefined {
  const bridge = device.master
  const port = bridge instanceof BridgeDevice ? bridge.portOf(device) : undefined
  return port === undefined ? undefined : [bridge as BridgeDevice, port]
}

export function portState({ device }: BridgePort, bridge: BridgeDevice): number {
  return bridge.up && device.running ? BR_STATE_FORWARDING : BR_STATE_DISABLED
}

/** IEEE 802.1D: priority and number in one. */
export function portId(port: BridgePort): number {
  return (port.priority << PRIORITY_SHIFT) | port.number
}

export function writePort(writer: MessageWriter, bridge: BridgeDevice, port: BridgePort): void {
  writer.u8(IFLA_BRPORT_STATE, portState(port, bridge))
  writer.u16(IFLA_BRPORT_PRIORITY, port.priority)
  writer.u32(IFLA_BRPORT_COST, port.cost)
  for (const [type, name] of FLAGS) writer.u8(type, port[name] ? 1 : 0)
  for (const type of LEFT_OUT) writer.u8(type, 0)
  writeBridgeId(writer, IFLA_BRPORT_ROOT_ID, bridge)
  writeBridgeId(writer, IFLA_BRPORT_BRIDGE_ID, bridge)
  writer.u16(IFLA_BRPORT_DESIGNATED_PORT, portId(port))
  writer.u16(IFLA_BRPORT_DESIGNATED_COST, 0)
  writer.u16(IFLA_BRPORT_ID, portId(port))
  writer.u16(IFLA_BRPORT_NO, port.number)
  writer.u8(IFLA_BRPORT_TOPOLOGY_CHANGE_ACK, 0)
  writer.u8(IFLA_BRPORT_CONFIG_PENDING, 0)
  writer.u16(IFLA_BRPORT_GROUP_FWD_MASK, 0)
  for (const type of TIMERS) writer.u64(type, 0)
}

/** br_setport. */
export function changePort(bridge: BridgeDevice, port: BridgePort, data: Attributes): Status {
  if (LEFT_OUT.some(type => (data.u8(type) ?? 0) !== 0)) return -EOPNOTSUPP
  if ((data.u16(IFLA_BRPORT_GROUP_FWD_MASK) ?? 0) !== 0) return -EOPNOTSUPP
  for (const [type, name] of FLAGS) {
    const value = data.u8(type)
    if (value !== undefined) port[name] = value !== 0
  }
  const cost = data.u32(IFLA_BRPORT_COST)
  if (cost !== undefined) {
    if (cost < 1 || cost > MAX_COST) return -ERANGE
    port.cost = cost
  }
  const priority = data.u16(IFLA_BRPORT_PRIORITY)
  if (priority !== undefined) {
    if (priority > MAX_PRIORITY) return -ERANGE
    port.priority = priority
  }
  const state = data.u8(IFLA_BRPORT_STATE)
  if (state !== undefined) {
    if (state > 4) return -EINVAL
    // A port that could forward does: there is no spanning tree that would hold it back.
    if (state !== portState(port, bridge)) return port.device.running ? -EOPNOTSUPP : -EBUSY
  }
  if (data.has(IFLA_BRPORT_FLUSH)) bridge.flush(entry => entry.port === port && entry.state === NUD_REACHABLE)
  return 0
}
