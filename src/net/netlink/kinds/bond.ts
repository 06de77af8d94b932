/** `ip link add bond0 type bond mode active-backup`: bond_netlink.c. What needs LACP, ARP monitoring or balancing by load is refused. */
import {
  BOND_MODE_ACTIVEBACKUP,
  BOND_MODE_ALB,
  BOND_MODE_BROADCAST,
  BOND_XMIT_POLICY_LAYER23,
  IFLA_BOND_ACTIVE_SLAVE,
  IFLA_BOND_AD_LACP_ACTIVE,
  IFLA_BOND_AD_LACP_RATE,
  IFLA_BOND_AD_SELECT,
  IFLA_BOND_ALL_SLAVES_ACTIVE,
  IFLA_BOND_ARP_ALL_TARGETS,
  IFLA_BOND_ARP_INTERVAL,
  IFLA_BOND_ARP_IP_TARGET,
  IFLA_BOND_ARP_VALIDATE,
  IFLA_BOND_DOWNDELAY,
  IFLA_BOND_FAIL_OVER_MAC,
  IFLA_BOND_LP_INTERVAL,
  IFLA_BOND_MIIMON,
  IFLA_BOND_MIN_LINKS,
  IFLA_BOND_MISSED_MAX,
  IFLA_BOND_MODE,
  IFLA_BOND_NUM_PEER_NOTIF,
  IFLA_BOND_PACKETS_PER_SLAVE,
  IFLA_BOND_PEER_NOTIF_DELAY,
  IFLA_BOND_PRIMARY,
  IFLA_BOND_PRIMARY_RESELECT,
  IFLA_BOND_RESEND_IGMP,
  IFLA_BOND_SLAVE_LINK_FAILURE_COUNT,
  IFLA_BOND_SLAVE_MII_STATUS,
  IFLA_BOND_SLAVE_PERM_HWADDR,
  IFLA_BOND_SLAVE_PRIO,
  IFLA_BOND_SLAVE_QUEUE_ID,
  IFLA_BOND_SLAVE_STATE,
  IFLA_BOND_TLB_DYNAMIC_LB,
  IFLA_BOND_UPDELAY,
  IFLA_BOND_USE_CARRIER,
  IFLA_BOND_XMIT_HASH_POLICY,
} from '../../../abi/constants.ts'
import { EACCES, EINVAL, ENOTEMPTY, EOPNOTSUPP } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import { BondDevice, type BondSlave } from '../../link/bond.ts'
import type { NetDevice } from '../../link/device.ts'
import type { Attributes, MessageWriter } from '../message.ts'
import { addressFor, type LinkKind, type LinkRequest } from './kind.ts'

/** Shown of each, and refused when another value is asked for: 8 bits. */
const FIXED8: readonly (readonly [number, number])[] = [
  [IFLA_BOND_USE_CARRIER, 1],
  [IFLA_BOND_FAIL_OVER_MAC, 0],
  [IFLA_BOND_NUM_PEER_NOTIF, 1],
  [IFLA_BOND_AD_LACP_ACTIVE, 1],
  [IFLA_BOND_AD_LACP_RATE, 0],
  [IFLA_BOND_AD_SELECT, 0],
  [IFLA_BOND_TLB_DYNAMIC_LB, 1],
  [IFLA_BOND_MISSED_MAX, 2],
]
/** The same of 32 bits. */
const FIXED32: readonly (readonly [number, number])[] = [
  [IFLA_BOND_UPDELAY, 0],
  [IFLA_BOND_DOWNDELAY, 0],
  [IFLA_BOND_PEER_NOTIF_DELAY, 0],
  [IFLA_BOND_ARP_INTERVAL, 0],
  [IFLA_BOND_ARP_VALIDATE, 0],
  [IFLA_BOND_ARP_ALL_TARGETS, 0],
  [IFLA_BOND_RESEND_IGMP, 1],
  [IFLA_BOND_LP_INTERVAL, 1],
]
/** BOND_LINK_DOWN */
const LINK_DOWN = 2
const MAX_PACKETS_PER_SLAVE = 65535

export const bondKind: LinkKind = {
  create(link: LinkRequest): OrErrno<BondDevice> {
    const valid = validate(link.data)
    if (valid < 0) return valid
    const device = new BondDevice(link.name, addressFor(link))
    device.addressSet = link.address !== undefined
    const status = apply(device, link.data)
    return status < 0 ? status : device
  },
  change(device: NetDevice, data: Attributes): Status {
    const valid = validate(data)
    return valid < 0 ? valid : apply(device as BondDevice, data)
  },
  write,
}

function validate(data: Attributes): Status {
  const mode = data.u8(IFLA_BOND_MODE)
  if (mode !== undefined && mode > BOND_MODE_ALB) return -EINVAL
  if (mode !== undefined && mode > BOND_MODE_BROADCAST) return -EOPNOTSUPP
  if (FIXED8.some(([type, value]) => (data.u8(type) ?? value) !== value)) return -EOPNOTSUPP
  if (FIXED32.some(([type, value]) => (data.u32(type) ?? value) !== value)) return -EOPNOTSUPP
  if ((data.get(IFLA_BOND_ARP_IP_TARGET)?.length ?? 0) > 0) return -EOPNOTSUPP
  if ((data.u8(IFLA_BOND_XMIT_HASH_POLICY) ?? 0) > BOND_XMIT_POLICY_LAYER23) return -EOPNOTSUPP
  if ((data.u32(IFLA_BOND_PACKETS_PER_SLAVE) ?? 0) > MAX_PACKETS_PER_SLAVE) return -EINVAL
  return (data.u8(IFLA_BOND_PRIMARY_RESELECT) ?? 0) > 2 ? -EINVAL : 0
}

/** bond_changelink. */
function apply(bond: BondDevice, data: Attributes): Status {
  const mode = data.u8(IFLA_BOND_MODE)
  if (mode !== undefined && mode !== bond.mode) {
    if (bond.slaves.length > 0) return -ENOTEMPTY
    if (bond.up) return -EACCES
    bond.mode = mode
  }
  const activeIndex = data.u32(IFLA_BOND_ACTIVE_SLAVE)
  const named = (index: number) => bond.slaves.find(slave => slave.device.index === index)
  if (activeIndex !== undefined && bond.mode !== BOND_MODE_ACTIVEBACKUP) return -EACCES
  if (activeIndex !== undefined && activeIndex !== 0 && named(activeIndex) === undefined) return -EINVAL
  bond.monitor = data.u32(IFLA_BOND_MIIMON) ?? bond.monitor
  bond.hashPolicy = data.u8(IFLA_BOND_XMIT_HASH_POLICY) ?? bond.hashPolicy
  bond.packetsPerSlave = data.u32(IFLA_BOND_PACKETS_PER_SLAVE) ?? bond.packetsPerSlave
  bond.minLinks = data.u32(IFLA_BOND_MIN_LINKS) ?? bond.minLinks
  bond.reselect = data.u8(IFLA_BOND_PRIMARY_RESELECT) ?? bond.reselect
  bond.allActive = (data.u8(IFLA_BOND_ALL_SLAVES_ACTIVE) ?? (bond.allActive ? 1 : 0)) !== 0
  const primary = data.u32(IFLA_BOND_PRIMARY)
  if (primary !== undefined) bond.primary = bond.stack?.devices.byIndex(primary)
  const active = activeIndex === undefined ? undefined : named(activeIndex)
  if (active?.linkUp) bond.activate(active)
  bond.portChanged()
  return 0
}

function write(writer: MessageWriter, device: NetDevice): void {
  const bond = device as BondDevice
  writer.u8(IFLA_BOND_MODE, bond.mode)
  if (bond.active !== undefined) writer.u32(IFLA_BOND_ACTIVE_SLAVE, bond.active.device.index)
  writer.u32(IFLA_BOND_MIIMON, bond.monitor)
  for (const [type, value] of FIXED32) writer.u32(type, value)
  if (bond.primary?.stack === bond.stack && bond.primary !== undefined)
    writer.u32(IFLA_BOND_PRIMARY, bond.primary.index)
  writer.u8(IFLA_BOND_PRIMARY_RESELECT, bond.reselect)
  writer.u8(IFLA_BOND_XMIT_HASH_POLICY, bond.hashPolicy)
  writer.u8(IFLA_BOND_ALL_SLAVES_ACTIVE, bond.allActive ? 1 : 0)
  writer.u32(IFLA_BOND_MIN_LINKS, bond.minLinks)
  writer.u32(IFLA_BOND_PACKETS_PER_SLAVE, bond.packetsPerSlave)
  for (const [type, value] of FIXED8) writer.u8(type, value)
}

/** The slave that a device is, with its bond. */
export function bondSlave(device: NetDevice): readonly [BondDevice, BondSlave] | undefined {
  const bond = device.master
  const slave = bond instanceof BondDevice ? bond.slaveOf(device) : undefined
  return slave === undefined ? undefined : [bond as BondDevice, slave]
}

export function writeSlave(writer: MessageWriter, bond: BondDevice, slave: BondSlave): void {
  const waits = bond.mode === BOND_MODE_ACTIVEBACKUP && bond.active !== slave
  writer.u8(IFLA_BOND_SLAVE_STATE, waits ? 1 : 0)
  writer.u8(IFLA_BOND_SLAVE_MII_STATUS, slave.linkUp ? 0 : LINK_DOWN)
  writer.u32(IFLA_BOND_SLAVE_LINK_FAILURE_COUNT, slave.failures)
  writer.bytes(IFLA_BOND_SLAVE_PERM_HWADDR, slave.permanentAddress)
  writer.u16(IFLA_BOND_SLAVE_QUEUE_ID, slave.queue)
  writer.u32(IFLA_BOND_SLAVE_PRIO, slave.priority)
}
