/** What /sys/class/net shows of a device, from the message that tells of it: RTM_NEWLINK, rtnetlink(7). */
import {
  IF_OPER_DORMANT,
  IF_OPER_UP,
  IFF_LOOPBACK,
  IFF_MULTI_QUEUE,
  IFF_NO_PI,
  IFF_PERSIST,
  IFF_UP,
  IFF_VNET_HDR,
  IFLA_ADDRESS,
  IFLA_BROADCAST,
  IFLA_CARRIER,
  IFLA_CARRIER_CHANGES,
  IFLA_CARRIER_DOWN_COUNT,
  IFLA_CARRIER_UP_COUNT,
  IFLA_GROUP,
  IFLA_IFALIAS,
  IFLA_IFNAME,
  IFLA_INFO_DATA,
  IFLA_INFO_KIND,
  IFLA_LINK,
  IFLA_LINKINFO,
  IFLA_LINKMODE,
  IFLA_MTU,
  IFLA_OPERSTATE,
  IFLA_STATS64,
  IFLA_TUN_GROUP,
  IFLA_TUN_MULTI_QUEUE,
  IFLA_TUN_OWNER,
  IFLA_TUN_PERSIST,
  IFLA_TUN_PI,
  IFLA_TUN_TYPE,
  IFLA_TUN_VNET_HDR,
  IFLA_TXQLEN,
} from '../../abi/constants.ts'
import { IFINFOMSG, NLMSGHDR, RTNL_LINK_STATS64 } from '../../abi/layout.ts'
import { NET_CONSTANTS, type NetDeviceFiles, type NetStatistic } from '../../fs/sys/net.ts'
import { Attributes, viewOf } from './message.ts'

/** IF_OPER_* */
const STATES = ['unknown', 'notpresent', 'down', 'lowerlayerdown', 'testing', 'dormant', 'up']
const { size: _size, rx_otherhost_dropped: _unshown, ...fields } = RTNL_LINK_STATS64
const COUNTERS: Readonly<Record<NetStatistic, number>> = fields

/** `message`: whole, with its header. */
export function linkName(message: Uint8Array): string | undefined {
  return attributesOf(message).string(IFLA_IFNAME)
}

export function linkFiles(message: Uint8Array): NetDeviceFiles {
  const view = viewOf(message)
  const attributes = attributesOf(message)
  const index = view.getInt32(NLMSGHDR.size + IFINFOMSG.ifi_index, true)
  const flags = view.getUint32(NLMSGHDR.size + IFINFOMSG.ifi_flags, true)
  const number = (type: number, otherwise: number) => String(attributes.u32(type) ?? otherwise)
  const state = attributes.u8(IFLA_OPERSTATE) ?? 0
  const address = attributes.get(IFLA_ADDRESS) ?? new Uint8Array(0)
  const up = (flags & IFF_UP) !== 0
  const info = attributes.nested(IFLA_LINKINFO)
  const kind = info?.string(IFLA_INFO_KIND)
  const loopback = (flags & IFF_LOOPBACK) !== 0
  const carrier = attributes.u8(IFLA_CARRIER) ?? 0
  /** Something that has a speed, be it an unknown one: a bridge is as fast as its fastest port that is up. */
  const cable = !loopback && kind !== 'dummy'
  const bridge = kind === 'bridge'
  const known = bridge ? state === IF_OPER_UP : kind !== undefined
  return {
    ...NET_CONSTANTS,
    addr_assign_type: bridge || kind === 'veth' || kind === 'tun' || kind === 'dummy' ? '1' : '0',
    addr_len: String(address.length),
    address: addressText(address),
    broadcast: addressText(attributes.get(IFLA_BROADCAST) ?? new Uint8Array(0)),
    carrier: up ? String(carrier) : undefined,
    carrier_changes: number(IFLA_CARRIER_CHANGES, 0),
    carrier_down_count: number(IFLA_CARRIER_DOWN_COUNT, 0),
    carrier_up_count: number(IFLA_CARRIER_UP_COUNT, 0),
    dormant: up ? (state === IF_OPER_DORMANT ? '1' : '0') : undefined,
    duplex: up && cable ? (known && !bridge ? 'full' : 'unknown') : undefined,
    flags: `0x${(flags & SHOWN_FLAGS).toString(16)}`,
    ifalias: attributes.string(IFLA_IFALIAS) ?? '',
    ifindex: String(index),
    iflink: number(IFLA_LINK, index),
    link_mode: String(attributes.u8(IFLA_LINKMODE) ?? 0),
    mtu: number(IFLA_MTU, 0),
    name_assign_type: loopback ? '2' : kind === undefined ? '1' : '3',
    netdev_group: number(IFLA_GROUP, 0),
    operstate: STATES[state] ?? 'unknown',
    speed: up && cable ? (known ? '10000' : '-1') : undefined,
    testing: up ? '0' : undefined,
    tx_queue_len: number(IFLA_TXQLEN, 0),
    type: String(view.getUint16(NLMSGHDR.size + IFINFOMSG.ifi_type, true)),
    uevent: `INTERFACE=${attributes.string(IFLA_IFNAME) ?? ''}\nIFINDEX=${index}`,
    ...statistics(attributes.get(IFLA_STATS64)),
    ...tunFiles(info?.nested(IFLA_INFO_DATA), kind),
  }
}
/** dev->flags; what is up and running is told by files of its own. */
const SHOWN_FLAGS = 0xffff & ~0x40

function statistics(values: Uint8Array | undefined): NetDeviceFiles {
  const files: Record<string, string> = {}
  const view = values === undefined ? undefined : viewOf(values)
  for (const [name, at] of Object.entries(COUNTERS)) {
    if (view === undefined || at + 8 > view.byteLength) continue
    files[`statistics/${name}`] = String(view.getBigUint64(at, true))
  }
  return files
}

/** tun_flags, owner and group; -1 for nobody. */
function tunFiles(data: Attributes | undefined, kind: string | undefined): NetDeviceFiles {
  if (data === undefined || kind !== 'tun') return {}
  const has = (type: number, bit: number) => (data.u8(type) === 1 ? bit : 0)
  const flags =
    (data.u8(IFLA_TUN_TYPE) ?? 0) |
    (data.u8(IFLA_TUN_PI) === 0 ? IFF_NO_PI : 0) |
    has(IFLA_TUN_VNET_HDR, IFF_VNET_HDR) |
    has(IFLA_TUN_PERSIST, IFF_PERSIST) |
    has(IFLA_TUN_MULTI_QUEUE, IFF_MULTI_QUEUE)
  return {
    group: String(data.u32(IFLA_TUN_GROUP) ?? -1),
    owner: String(data.u32(IFLA_TUN_OWNER) ?? -1),
    tun_flags: `0x${flags.toString(16)}`,
  }
}

function attributesOf(message: Uint8Array): Attributes {
  return new Attributes(message, NLMSGHDR.size + IFINFOMSG.size)
}

function addressText(bytes: Uint8Array): string {
  return Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join(':')
}
