/** What /sys/class/net shows of a device, from the message that tells of it: RTM_NEWLINK, rtnetlink(7). */
import {
  IF_OPER_DORMANT,
  IFF_UP,
  IFLA_ADDRESS,
  IFLA_BROADCAST,
  IFLA_CARRIER,
  IFLA_IFALIAS,
  IFLA_IFNAME,
  IFLA_LINK,
  IFLA_LINKMODE,
  IFLA_MTU,
  IFLA_OPERSTATE,
  IFLA_STATS64,
  IFLA_TXQLEN,
} from '../../abi/constants.ts'
import { IFINFOMSG, NLMSGHDR, RTNL_LINK_STATS64 } from '../../abi/layout.ts'
import type { NetDeviceFiles, NetStatistic } from '../../fs/sys/net.ts'
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
  return {
    addr_len: String(address.length),
    address: addressText(address),
    broadcast: addressText(attributes.get(IFLA_BROADCAST) ?? new Uint8Array(0)),
    carrier: up ? String(attributes.u8(IFLA_CARRIER) ?? 0) : undefined,
    dev_id: '0x0',
    dev_port: '0',
    dormant: up ? (state === IF_OPER_DORMANT ? '1' : '0') : undefined,
    flags: `0x${(flags & SHOWN_FLAGS).toString(16)}`,
    ifalias: attributes.string(IFLA_IFALIAS) ?? '',
    ifindex: String(index),
    iflink: number(IFLA_LINK, index),
    link_mode: String(attributes.u8(IFLA_LINKMODE) ?? 0),
    mtu: number(IFLA_MTU, 0),
    operstate: STATES[state] ?? 'unknown',
    tx_queue_len: number(IFLA_TXQLEN, 0),
    type: String(view.getUint16(NLMSGHDR.size + IFINFOMSG.ifi_type, true)),
    uevent: `INTERFACE=${attributes.string(IFLA_IFNAME) ?? ''}\nIFINDEX=${index}`,
    ...statistics(attributes.get(IFLA_STATS64)),
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

function attributesOf(message: Uint8Array): Attributes {
  return new Attributes(message, NLMSGHDR.size + IFINFOMSG.size)
}

function addressText(bytes: Uint8Array): string {
  return Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join(':')
}
