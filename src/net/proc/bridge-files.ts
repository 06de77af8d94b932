/** /sys/class/net/BRIDGE/bridge and /sys/class/net/PORT/brport: br_sysfs_br.c, br_sysfs_if.c. What there is none of has no file. */
import {
  BR_BOOLOPT_NO_LL_LEARN,
  IFLA_BR_AGEING_TIME,
  IFLA_BR_FDB_FLUSH,
  IFLA_BR_FORWARD_DELAY,
  IFLA_BR_GROUP_FWD_MASK,
  IFLA_BR_HELLO_TIME,
  IFLA_BR_MAX_AGE,
  IFLA_BR_MULTI_BOOLOPT,
  IFLA_BR_PRIORITY,
  IFLA_BR_STP_STATE,
  IFLA_BR_VLAN_DEFAULT_PVID,
  IFLA_BR_VLAN_FILTERING,
  IFLA_BRPORT_BCAST_FLOOD,
  IFLA_BRPORT_COST,
  IFLA_BRPORT_FLUSH,
  IFLA_BRPORT_GUARD,
  IFLA_BRPORT_ISOLATED,
  IFLA_BRPORT_LEARNING,
  IFLA_BRPORT_MCAST_FLOOD,
  IFLA_BRPORT_MODE,
  IFLA_BRPORT_PRIORITY,
  IFLA_BRPORT_PROTECT,
  IFLA_BRPORT_UNICAST_FLOOD,
} from '../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../abi/errno.ts'
import { BR_BOOLOPT_MULTI } from '../../abi/layout.ts'
import type { Status } from '../../base/result.ts'
import type { NetDeviceFiles } from '../../fs/sys/net.ts'
import type { BridgeDevice, BridgePort } from '../link/bridge.ts'
import { bridgeKind } from '../netlink/kinds/bridge.ts'
import { changePort, portId, portState } from '../netlink/kinds/bridge-port.ts'
import { Attributes, MessageWriter } from '../netlink/message.ts'
import type { NetlinkRequest } from '../netlink/protocol.ts'
import { hex } from './format.ts'

/** 8000.020000000001 */
function bridgeId({ address, spanningTree }: BridgeDevice): string {
  const mac = Array.from(address, byte => hex(byte, 2, false)).join('')
  return `${hex(spanningTree.priority, 4, false)}.${mac}`
}

export function bridgeFiles(bridge: BridgeDevice): NetDeviceFiles {
  const { forwardDelay, helloTime, maxAge, priority } = bridge.spanningTree
  const id = bridgeId(bridge)
  return {
    'bridge/ageing_time': String(Math.round(bridge.ageing * 100)),
    'bridge/bridge_id': id,
    'bridge/default_pvid': String(bridge.defaultVlan),
    'bridge/forward_delay': String(forwardDelay),
    'bridge/gc_timer': '0',
    'bridge/group_addr': '01:80:c2:00:00:00',
    'bridge/group_fwd_mask': `0x${bridge.groupForwardMask.toString(16)}`,
    'bridge/hello_time': String(helloTime),
    'bridge/hello_timer': '0',
    'bridge/max_age': String(maxAge),
    'bridge/no_linklocal_learn': bridge.noLinkLocalLearning ? '1' : '0',
    'bridge/priority': String(priority),
    'bridge/root_id': id,
    'bridge/root_path_cost': '0',
    'bridge/root_port': '0',
    'bridge/stp_state': '0',
    'bridge/tcn_timer': '0',
    'bridge/topology_change': '0',
    'bridge/topology_change_detected': '0',
    'bridge/topology_change_timer': '0',
    'bridge/vlan_filtering': bridge.vlanFiltering ? '1' : '0',
    'bridge/vlan_protocol': '0x8100',
  }
}

export function portFiles(bridge: BridgeDevice, port: BridgePort): NetDeviceFiles {
  const id = bridgeId(bridge)
  const bit = (on: boolean) => (on ? '1' : '0')
  return {
    'brport/bpdu_guard': bit(port.guard),
    'brport/broadcast_flood': bit(port.broadcastFlood),
    'brport/change_ack': '0',
    'brport/config_pending': '0',
    'brport/designated_bridge': id,
    'brport/designated_cost': '0',
    'brport/designated_port': String(portId(port)),
    'brport/designated_root': id,
    'brport/forward_delay_timer': '0',
    'brport/hairpin_mode': bit(port.hairpin),
    'brport/hold_timer': '0',
    'brport/isolated': bit(port.isolated),
    'brport/learning': bit(port.learning),
    'brport/message_age_timer': '0',
    'brport/multicast_flood': bit(port.multicastFlood),
    'brport/path_cost': String(port.cost),
    'brport/port_id': `0x${portId(port).toString(16)}`,
    'brport/port_no': `0x${port.number.toString(16)}`,
    'brport/priority': String(port.priority),
    'brport/root_block': bit(port.rootBlock),
    'brport/state': String(portState(port, bridge)),
    'brport/unicast_flood': bit(port.flood),
  }
}

type Write = (writer: MessageWriter, value: number) => void
const u8 =
  (type: number): Write =>
  (writer, value) =>
    writer.u8(type, value === 0 ? 0 : 1)
const u16 =
  (type: number): Write =>
  (writer, value) =>
    writer.u16(type, value)
const u32 =
  (type: number): Write =>
  (writer, value) =>
    writer.u32(type, value)
const flag =
  (type: number): Write =>
  writer =>
    void writer.attribute(type, 0)

/** What is written there is the same as what netlink asks for. */
const SETTINGS: Readonly<Record<string, Write>> = {
  'bridge/ageing_time': u32(IFLA_BR_AGEING_TIME),
  'bridge/default_pvid': u16(IFLA_BR_VLAN_DEFAULT_PVID),
  'bridge/flush': flag(IFLA_BR_FDB_FLUSH),
  'bridge/forward_delay': u32(IFLA_BR_FORWARD_DELAY),
  'bridge/group_fwd_mask': u16(IFLA_BR_GROUP_FWD_MASK),
  'bridge/hello_time': u32(IFLA_BR_HELLO_TIME),
  'bridge/max_age': u32(IFLA_BR_MAX_AGE),
  'bridge/no_linklocal_learn': (writer, value) => {
    const at = writer.attribute(IFLA_BR_MULTI_BOOLOPT, BR_BOOLOPT_MULTI.size)
    writer.set32(at + BR_BOOLOPT_MULTI.optval, value === 0 ? 0 : 1 << BR_BOOLOPT_NO_LL_LEARN)
    writer.set32(at + BR_BOOLOPT_MULTI.optmask, 1 << BR_BOOLOPT_NO_LL_LEARN)
  },
  'bridge/priority': u16(IFLA_BR_PRIORITY),
  'bridge/stp_state': u32(IFLA_BR_STP_STATE),
  'bridge/vlan_filtering': u8(IFLA_BR_VLAN_FILTERING),
  'brport/bpdu_guard': u8(IFLA_BRPORT_GUARD),
  'brport/broadcast_flood': u8(IFLA_BRPORT_BCAST_FLOOD),
  'brport/flush': flag(IFLA_BRPORT_FLUSH),
  'brport/hairpin_mode': u8(IFLA_BRPORT_MODE),
  'brport/isolated': u8(IFLA_BRPORT_ISOLATED),
  'brport/learning': u8(IFLA_BRPORT_LEARNING),
  'brport/multicast_flood': u8(IFLA_BRPORT_MCAST_FLOOD),
  'brport/path_cost': u32(IFLA_BRPORT_COST),
  'brport/priority': u16(IFLA_BRPORT_PRIORITY),
  'brport/root_block': u8(IFLA_BRPORT_PROTECT),
  'brport/unicast_flood': u8(IFLA_BRPORT_UNICAST_FLOOD),
}

function requested(file: string, value: number): Attributes | undefined {
  const write = SETTINGS[file]
  if (write === undefined) return undefined
  const writer = new MessageWriter()
  write(writer, value)
  return new Attributes(writer.take())
}

export function setBridgeFile(bridge: BridgeDevice, file: string, value: number): Status {
  // Longer ones are cut off, as by Linux, but for this one.
  if (file === 'bridge/default_pvid' && value > 0xffff) return -EINVAL
  const data = requested(file, value)
  if (data === undefined || bridgeKind.change === undefined) return -EOPNOTSUPP
  return bridgeKind.change(bridge, data, { reason: '' } as NetlinkRequest)
}

export function setPortFile(bridge: BridgeDevice, port: BridgePort, file: string, value: number): Status {
  if (value > 0xffff && file !== 'brport/path_cost') return -EINVAL
  const data = requested(file, value)
  return data === undefined ? -EOPNOTSUPP : changePort(bridge, port, data)
}
