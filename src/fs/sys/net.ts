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
  wo,
} from '../pseudo/node.ts'

/** Texts by file name, 'statistics/rx_bytes' for those below; undefined: it can't be read now. */
export type NetDeviceFiles = Readonly<Record<string, string | undefined>>

export interface NetDevices {
  names(): readonly string[]
  /** Undefined: there is no such device. */
  files(name: string): NetDeviceFiles | undefined
  /** How devices stand over each other, by name; absent: nobody knows. */
  master?(name: string): string | undefined
  below?(name: string): readonly string[]
  above?(name: string): readonly string[]
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
    visible: ({ devices, name }, file) => {
      if (file === 'master') return devices.master?.(name) !== undefined
      const first = BRIDGE_FILES[file]
      if (first !== undefined) return devices.files(name)?.[first] !== undefined
      return !SPECIAL.includes(file) || devices.files(name)?.[file] !== undefined
    },
    dynamic: NEIGHBOURS,
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

/** Links to what stands below a device and above it. */
function standing({ devices, name }: Device): [string, string][] {
  return [
    ...(devices.below?.(name) ?? []).map((other): [string, string] => [`lower_${other}`, other]),
    ...(devices.above?.(name) ?? []).map((other): [string, string] => [`upper_${other}`, other]),
  ]
}
const NEIGHBOURS = {
  find(device: Device, file: string) {
    const found = standing(device).find(([entry]) => entry === file)
    return found === undefined ? undefined : { subject: device, node: link<Device>(`../${found[1]}`) }
  },
  list: (device: Device) => standing(device).map(([entry], i): [number, string] => [i, entry]),
}

/** Links from a bridge to what is set of its ports. */
const BRIF = dynamic<Device>({
  find(device, name) {
    if (!device.devices.below?.(device.name).includes(name)) return undefined
    return { subject: device, node: link<Device>(`../../${name}/brport`) }
  },
  list: ({ devices, name }) => (devices.below?.(name) ?? []).map((port, i): [number, string] => [i, port]),
})

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
  return {
    ...files,
    bridge: dir(bridgeDirectory('bridge', BRIDGE, BRIDGE_SETTINGS)),
    brif: BRIF,
    brport: dir({ ...bridgeDirectory('brport', PORT, PORT_SETTINGS), bridge: TO_BRIDGE }),
    master: MASTER,
    power: POWER,
    queues: QUEUES,
    statistics: dir(statistics),
    subsystem: SUBSYSTEM,
  }
}

/** What of a bridge and its ports there are files of; those that can be written. */
const BRIDGE = [
  ...[
    'bridge_id',
    'gc_timer',
    'group_addr',
    'hello_timer',
    'root_id',
    'root_path_cost',
    'root_port',
    'tcn_timer',
  ],
  ...['topology_change', 'topology_change_detected', 'topology_change_timer', 'vlan_protocol'],
]
const BRIDGE_SETTINGS = [
  ...['ageing_time', 'forward_delay', 'group_fwd_mask', 'hello_time', 'max_age', 'no_linklocal_learn'],
  ...['default_pvid', 'priority', 'stp_state', 'vlan_filtering'],
]
const PORT = [
  ...['change_ack', 'config_pending', 'designated_bridge', 'designated_cost', 'designated_port'],
  ...[
    'designated_root',
    'forward_delay_timer',
    'hold_timer',
    'message_age_timer',
    'port_id',
    'port_no',
    'state',
  ],
]
const PORT_SETTINGS = [
  ...[
    'bpdu_guard',
    'broadcast_flood',
    'hairpin_mode',
    'isolated',
    'learning',
    'multicast_flood',
    'path_cost',
  ],
  ...['priority', 'root_block', 'unicast_flood'],
]
/** By what is known of a device, which of these directories it has. */
const BRIDGE_FILES: Readonly<Record<string, string>> = {
  bridge: 'bridge/bridge_id',
  brif: 'bridge/bridge_id',
  brport: 'brport/port_no',
}

function bridgeDirectory(
  directory: string,
  facts: readonly string[],
  settings: readonly string[],
): PseudoDir<Device> {
  const files: Record<string, PseudoDir<Device>[string]> = {}
  for (const name of facts) files[name] = file(`${directory}/${name}`)
  for (const name of settings) files[name] = setting(`${directory}/${name}`)
  files.flush = wo<Device>(
    ({ devices, name }, text, cred) => devices.set?.(name, `${directory}/flush`, text, cred) ?? -EPERM,
  )
  return files
}

const SUBSYSTEM: LinkNode<Device> = link('../../../../class/net')
const MASTER: LinkNode<Device> = link(({ devices, name }) => `../${devices.master?.(name) ?? name}`)
const TO_BRIDGE: LinkNode<Device> = link(({ devices, name }) => `../../${devices.master?.(name) ?? name}`)
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
