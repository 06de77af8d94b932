/** What a device's driver tells ethtool(8): its name, the link's speed, its channels and counters. */
import { DUPLEX_FULL, DUPLEX_UNKNOWN, PORT_OTHER, PORT_TP, SPEED_UNKNOWN } from '../../abi/constants.ts'
import type { NetDevice } from './device.ts'
import { UpperDevice } from './upper.ts'
import { VethDevice } from './veth.ts'

export interface Driver {
  readonly name: string
  readonly version: string
  readonly firmware?: string
  readonly bus?: string
}

const DRIVERS: ReadonlyMap<string, Driver> = new Map([
  ['', { name: 'virtual', version: '1.0' }],
  ['bond', { name: 'bonding', version: '2', firmware: '2' }],
  ['bridge', { name: 'bridge', version: '2.3', firmware: 'N/A', bus: 'N/A' }],
  ['dummy', { name: 'dummy', version: '1.0' }],
  ['ifb', { name: 'ifb', version: '1.0' }],
  ['ipvlan', { name: 'ipvlan', version: '0.1' }],
  ['macvlan', { name: 'macvlan', version: '0.1' }],
  ['tun', { name: 'tun', version: '1.6' }],
  ['veth', { name: 'veth', version: '1.0' }],
  ['vlan', { name: '802.1Q VLAN Support', version: '1.8', firmware: 'N/A' }],
  ['vrf', { name: 'vrf', version: '1.0' }],
  ['vxlan', { name: 'vxlan', version: '0.1' }],
])

/** Undefined: it says nothing of itself, as the loopback device. */
export function driverOf(device: NetDevice): Driver | undefined {
  if (device.isLoopback) return undefined
  const driver = DRIVERS.get(device.kind)
  return device.kind === 'tun' && driver !== undefined
    ? { ...driver, bus: device.headerLength > 0 ? 'tap' : 'tun' }
    : driver
}

export interface LinkSettings {
  /** Mbit/s */
  readonly speed: number
  readonly duplex: number
  readonly port: number
}

const CABLE: LinkSettings = { speed: 10000, duplex: DUPLEX_FULL, port: PORT_TP }
const UNKNOWN: LinkSettings = { speed: SPEED_UNKNOWN, duplex: DUPLEX_UNKNOWN, port: PORT_OTHER }
const CABLES: ReadonlySet<string> = new Set(['', 'veth', 'tun'])
const NO_CABLES: ReadonlySet<string> = new Set(['vxlan', 'bond'])

/** Undefined: it has nothing of the kind. */
export function linkSettings(device: NetDevice): LinkSettings | undefined {
  if (device.isLoopback) return undefined
  if (CABLES.has(device.kind)) return CABLE
  if (NO_CABLES.has(device.kind)) return UNKNOWN
  if (device.kind === 'bridge')
    return device.running && device.below.length > 0 ? { ...UNKNOWN, speed: 10000 } : UNKNOWN
  return device instanceof UpperDevice ? linkSettings(device.lower) : undefined
}

export interface Channels {
  readonly most: number
  readonly now: number
}

export function channelsOf(device: NetDevice): Channels | undefined {
  return device.kind === 'veth' ? { most: 1, now: 1 } : undefined
}

/** `ethtool -S`. */
export function countersOf(device: NetDevice): readonly (readonly [string, number])[] {
  if (!(device instanceof VethDevice)) return []
  const none = [
    ...['rx_queue_0_xdp_packets', 'rx_queue_0_xdp_bytes', 'rx_queue_0_drops', 'rx_queue_0_xdp_redirect'],
    ...['rx_queue_0_xdp_drops', 'rx_queue_0_xdp_tx', 'rx_queue_0_xdp_tx_errors'],
    ...['tx_queue_0_xdp_xmit', 'tx_queue_0_xdp_xmit_errors'],
  ]
  return [['peer_ifindex', device.peer?.index ?? 0], ...none.map((name): [string, number] => [name, 0])]
}
