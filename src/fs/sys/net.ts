/**
 * /sys/class/net: the network devices of the caller's namespace. What stands behind one may know them (NetDevices, by
 * `NetNamespace.stack`); else there is a loopback device.
 */
import { EINVAL, EPERM } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { Status } from '../../base/result.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { caller } from '../proc/access.ts'
import {
  dir,
  dynamic,
  type FileNode,
  type Found,
  fixed,
  type LinkNode,
  link,
  type PseudoDir,
  ro,
  rw,
} from '../pseudo/node.ts'

/** Texts by file name, 'statistics/rx_bytes' for those below; undefined: it can't be read now. */
export type NetDeviceFiles = Readonly<Record<string, string | undefined>>

export interface NetDevices {
  names(): readonly string[]
  /** Undefined: there is no such device. */
  files(name: string): NetDeviceFiles | undefined
  /** Writes one of the settings; absent: they can't be changed. */
  set?(name: string, file: string, text: string, cred: Credentials): Status
}

/** What a network stack may have. */
export interface NetDevicesSource {
  readonly devices: NetDevices | undefined
}

interface Device {
  readonly devices: NetDevices
  readonly name: string
}

const STATISTICS = [
  ...['collisions', 'multicast', 'rx_bytes', 'rx_compressed', 'rx_crc_errors', 'rx_dropped', 'rx_errors'],
  ...['rx_fifo_errors', 'rx_frame_errors', 'rx_length_errors', 'rx_missed_errors', 'rx_nohandler'],
  ...['rx_over_errors', 'rx_packets', 'tx_aborted_errors', 'tx_bytes', 'tx_carrier_errors', 'tx_compressed'],
  ...['tx_dropped', 'tx_errors', 'tx_fifo_errors', 'tx_heartbeat_errors', 'tx_packets', 'tx_window_errors'],
] as const
export type NetStatistic = (typeof STATISTICS)[number]

/** Those that root can write where the device is its own, and those that Linux would let it. */
const SETTINGS = [
  ...['carrier', 'flags', 'gro_flush_timeout', 'ifalias', 'mtu', 'napi_defer_hard_irqs', 'netdev_group'],
  ...['proto_down', 'threaded', 'tx_queue_len', 'uevent'],
]
const FACTS = [
  ...['addr_assign_type', 'addr_len', 'address', 'broadcast', 'carrier_changes', 'carrier_down_count'],
  ...['carrier_up_count', 'dev_id', 'dev_port', 'dormant', 'duplex', 'ifindex', 'iflink', 'link_mode'],
  ...['name_assign_type', 'operstate', 'speed', 'testing', 'type'],
]
/** Only devices of a certain kind have them. */
const SPECIAL = ['group', 'owner', 'tun_flags']
/** What nothing here depends on: offloading of what there is none of. */
export const NET_CONSTANTS: NetDeviceFiles = {
  dev_id: '0x0',
  dev_port: '0',
  gro_flush_timeout: '0',
  napi_defer_hard_irqs: '0',
  proto_down: '0',
  threaded: '0',
}

const LOOPBACK: NetDeviceFiles = {
  ...NET_CONSTANTS,
  addr_assign_type: '0',
  addr_len: '6',
  address: '00:00:00:00:00:00',
  broadcast: '00:00:00:00:00:00',
  carrier: '1',
  carrier_changes: '0',
  carrier_down_count: '0',
  carrier_up_count: '0',
  dormant: '0',
  flags: '0x9',
  ifalias: '',
  ifindex: '1',
  iflink: '1',
  link_mode: '0',
  mtu: '65536',
  name_assign_type: '2',
  netdev_group: '0',
  operstate: 'unknown',
  testing: '0',
  tx_queue_len: '1000',
  type: '772',
  uevent: 'INTERFACE=lo\nIFINDEX=1',
  ...Object.fromEntries(STATISTICS.map(name => [`statistics/${name}`, '0'])),
}
const LOOPBACK_ALONE: NetDevices = {
  names: () => ['lo'],
  files: name => (name === 'lo' ? LOOPBACK : undefined),
}

type Entry = PseudoDir<Kernel>[string]

/** For /sys/class and /sys/devices/virtual. */
export function netDirectories(): { readonly links: Entry; readonly devices: Entry } {
  const known = new WeakMap<NetDevices, Map<string, Device>>()
  const links = new WeakMap<Device, LinkNode<Device>>()

  const deviceOf = (kernel: Kernel, name: string): Device | undefined => {
    const devices = devicesOf(kernel)
    let byName = known.get(devices)
    if (byName === undefined) {
      byName = new Map()
      known.set(devices, byName)
    }
    let device = byName.get(name)
    if (devices.files(name) === undefined) {
      byName.delete(name)
      return undefined
    }
    if (device === undefined) {
      device = { devices, name }
      byName.set(name, device)
    }
    return device
  }
  const all = (found: (device: Device) => Found): Entry =>
    dynamic<Kernel>({
      find(kernel, name) {
        const device = deviceOf(kernel, name)
        return device === undefined ? undefined : found(device)
      },
      list: kernel =>
        devicesOf(kernel)
          .names()
          .map((name, i): [number, string] => [i, name]),
    })
  const directory = dir(deviceFiles(), {
    visible: ({ devices, name }, file) =>
      !SPECIAL.includes(file) || devices.files(name)?.[file] !== undefined,
  })
  return {
    devices: all(device => ({ subject: device, node: directory })),
    links: all(device => {
      let node = links.get(device)
      if (node === undefined) {
        node = link(`../../devices/virtual/net/${device.name}`)
        links.set(device, node)
      }
      return { subject: device, node }
    }),
  }
}

function devicesOf(kernel: Kernel): NetDevices {
  const stack = caller(kernel).ns.net.stack as Partial<NetDevicesSource> | undefined
  return stack?.devices ?? LOOPBACK_ALONE
}

function deviceFiles(): PseudoDir<Device> {
  const files: Record<string, PseudoDir<Device>[string]> = {}
  for (const name of FACTS) files[name] = file(name)
  for (const name of SPECIAL) files[name] = file(name)
  for (const name of SETTINGS) files[name] = setting(name)
  const statistics: Record<string, PseudoDir<Device>[string]> = {}
  for (const name of STATISTICS) statistics[name] = file(`statistics/${name}`)
  return { ...files, power: POWER, queues: QUEUES, statistics: dir(statistics), subsystem: SUBSYSTEM }
}

const SUBSYSTEM: LinkNode<Device> = link('../../../../class/net')
/** As of a device without power management. */
const POWER = dir<Device>({
  control: fixed('auto', 0o644),
  runtime_active_time: fixed('0'),
  runtime_status: fixed('unsupported'),
  runtime_suspended_time: fixed('0'),
})
/** One in each direction, steered nowhere. */
const QUEUES = dir<Device>({
  'rx-0': dir({ rps_cpus: fixed('0', 0o644), rps_flow_cnt: fixed('0', 0o644) }),
  'tx-0': dir({ tx_maxrate: fixed('0', 0o644), tx_timeout: fixed('0'), xps_rxqs: fixed('0', 0o644) }),
})

function setting(name: string): FileNode<Device> {
  return rw<Device>(
    file(name).read,
    ({ devices, name: device }, text, cred) => devices.set?.(device, name, text, cred) ?? -EPERM,
  )
}

function file(name: string): FileNode<Device> {
  return ro<Device>(device => {
    const text = device.devices.files(device.name)?.[name]
    return text === undefined ? -EINVAL : `${text}\n`
  })
}
