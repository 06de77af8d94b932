/**
 * Offloads: what of the work on packets a device does, as `ethtool -k` shows it: NETIF_F_*. Which there are and which can be
 * switched depends on the kind (netdev_features_strings, and each driver's hw_features). What has a meaning here are the checksums
 * and the splitting of what a device sends (DeviceFeatures); the others are only remembered.
 */
import type { NetDevice } from './device.ts'

/** By bit; '' is none that can be shown. */
export const FEATURE_NAMES: readonly string[] = [
  'tx-scatter-gather',
  'tx-checksum-ipv4',
  '',
  'tx-checksum-ip-generic',
  'tx-checksum-ipv6',
  'highdma',
  'tx-scatter-gather-fraglist',
  'tx-vlan-hw-insert',
  'rx-vlan-hw-parse',
  'rx-vlan-filter',
  'vlan-challenged',
  'tx-generic-segmentation',
  '',
  '',
  'rx-gro',
  'rx-lro',
  'tx-tcp-segmentation',
  'tx-gso-robust',
  'tx-tcp-ecn-segmentation',
  'tx-tcp-mangleid-segmentation',
  'tx-tcp6-segmentation',
  'tx-fcoe-segmentation',
  'tx-gre-segmentation',
  'tx-gre-csum-segmentation',
  'tx-ipxip4-segmentation',
  'tx-ipxip6-segmentation',
  'tx-udp_tnl-segmentation',
  'tx-udp_tnl-csum-segmentation',
  'tx-gso-partial',
  'tx-tunnel-remcsum-segmentation',
  'tx-sctp-segmentation',
  'tx-esp-segmentation',
  '',
  'tx-udp-segmentation',
  'tx-gso-list',
  'tx-tcp-accecn-segmentation',
  'tx-checksum-fcoe-crc',
  'tx-checksum-sctp',
  'rx-ntuple-filter',
  'rx-hashing',
  'rx-checksum',
  'tx-nocache-copy',
  'loopback',
  'rx-fcs',
  'rx-all',
  'tx-vlan-stag-hw-insert',
  'rx-vlan-stag-hw-parse',
  'rx-vlan-stag-filter',
  'l2-fwd-offload',
  'hw-tc-offload',
  'esp-hw-offload',
  'esp-tx-csum-hw-offload',
  'rx-udp_tunnel-port-offload',
  'tls-hw-tx-offload',
  'tls-hw-rx-offload',
  'rx-gro-hw',
  'tls-hw-record',
  'rx-gro-list',
  'macsec-hw-offload',
  'rx-udp-gro-forwarding',
  'hsr-tag-ins-offload',
  'hsr-tag-rm-offload',
  'hsr-fwd-offload',
  'hsr-dup-offload',
]
const BITS: ReadonlyMap<string, number> = new Map(
  FEATURE_NAMES.map((name, bit): [string, number] => [name, bit]).filter(([name]) => name !== ''),
)
export function featureBit(name: string): number | undefined {
  return BITS.get(name)
}
const bit = (name: string): number => BITS.get(name)!

/** 32 features of a set as bits. */
export function wordOf(set: ReadonlySet<number>, word: number): number {
  let value = 0
  for (const number of set) if (number >>> 5 === word) value |= 1 << (number & 31)
  return value >>> 0
}

/** NETIF_F_NEVER_CHANGE. */
export const NEVER_CHANGED: ReadonlySet<number> = new Set([bit('vlan-challenged')])

export const TSO: readonly string[] = [
  ...['tx-tcp-segmentation', 'tx-tcp-ecn-segmentation', 'tx-tcp-mangleid-segmentation'],
  ...['tx-tcp6-segmentation', 'tx-tcp-accecn-segmentation'],
]
/** What falls with the checksums (netdev_fix_features): accurate ECN's is left alone. */
const NEEDS_CHECKSUM = [...TSO.slice(0, 4), 'tx-udp-segmentation']
export const SCATTER: readonly string[] = ['tx-scatter-gather', 'tx-scatter-gather-fraglist']
const SOFTWARE = ['tx-sctp-segmentation', 'tx-udp-segmentation', 'tx-gso-list']
const TUNNELS = [
  ...['tx-gre-segmentation', 'tx-gre-csum-segmentation', 'tx-ipxip4-segmentation', 'tx-ipxip6-segmentation'],
  ...['tx-udp_tnl-segmentation', 'tx-udp_tnl-csum-segmentation'],
]
const LATE_GRO = ['rx-gro-list', 'rx-udp-gro-forwarding']
const VLAN_SENT = ['tx-vlan-hw-insert', 'tx-vlan-stag-hw-insert']

interface Template {
  readonly fixed: readonly string[]
  readonly on: readonly string[]
  readonly off: readonly string[]
}

const FULL = ['tx-checksum-ip-generic', ...SCATTER, ...TSO, 'tx-generic-segmentation', 'rx-gro', ...SOFTWARE]
const VIRTUAL: Template = {
  fixed: [],
  on: [...FULL, 'highdma', ...TUNNELS, ...VLAN_SENT],
  off: ['tx-nocache-copy', ...LATE_GRO],
}
const CABLE: Template = {
  fixed: [],
  on: [
    ...[...VIRTUAL.on.filter(name => name !== 'rx-gro'), 'rx-checksum', 'tx-checksum-sctp'],
    ...['rx-vlan-hw-parse', 'rx-vlan-stag-hw-parse'],
  ],
  off: ['rx-gro', ...VIRTUAL.off],
}
const LOOPBACK: Template = {
  fixed: [
    ...['rx-checksum', 'tx-checksum-ip-generic', 'tx-checksum-sctp', ...SCATTER, 'highdma'],
    ...['vlan-challenged', 'loopback'],
  ],
  on: [...TSO, 'tx-generic-segmentation', 'rx-gro', ...SOFTWARE],
  off: LATE_GRO,
}
const BRIDGE: Template = {
  fixed: [],
  on: [
    ...[...VIRTUAL.on, 'tx-gso-robust', 'tx-fcoe-segmentation', 'tx-gso-partial'],
    ...['tx-tunnel-remcsum-segmentation', 'tx-esp-segmentation'],
  ],
  off: VIRTUAL.off,
}
const STATION: Template = {
  fixed: ['tx-checksum-ip-generic', ...SCATTER, ...TSO, 'highdma', 'tx-gso-robust', ...TUNNELS, ...SOFTWARE],
  on: ['rx-checksum', 'tx-generic-segmentation'],
  off: ['rx-gro', 'rx-lro', 'tx-nocache-copy', ...LATE_GRO],
}
const TUNNEL: Template = {
  fixed: [],
  on: ['rx-checksum', ...FULL],
  off: ['tx-nocache-copy', ...LATE_GRO],
}
const TUN: Template = {
  fixed: [],
  on: [...SCATTER, 'tx-generic-segmentation', 'rx-gro', ...VLAN_SENT],
  off: ['tx-checksum-ip-generic', ...TSO.slice(0, 4), 'tx-udp-segmentation', 'tx-nocache-copy', ...LATE_GRO],
}

const TEMPLATES: ReadonlyMap<string, Template> = new Map([
  ['', CABLE],
  ['veth', CABLE],
  ['bridge', BRIDGE],
  ['macvlan', STATION],
  ['ipvlan', STATION],
  ['vxlan', TUNNEL],
  ['ipip', TUNNEL],
  ['sit', TUNNEL],
  ['gre', TUNNEL],
  ['gretap', TUNNEL],
  ['tun', TUN],
])

export class Offloads {
  readonly changeable: ReadonlySet<number>
  wanted: Set<number>
  active: Set<number>

  constructor(kind: string, isLoopback: boolean) {
    const { fixed, on, off } = isLoopback ? LOOPBACK : (TEMPLATES.get(kind) ?? VIRTUAL)
    this.changeable = new Set([...on, ...off].map(bit))
    this.wanted = new Set(on.map(bit))
    this.active = new Set([...fixed, ...on].map(bit))
  }

  /** Wants and doesn't want: __netdev_update_features. What can't be changed stays. */
  change(wishes: ReadonlyMap<number, boolean>): void {
    for (const [number, on] of wishes) {
      if (!this.changeable.has(number)) continue
      if (on) this.wanted.add(number)
      else this.wanted.delete(number)
    }
    const active = new Set([...this.active].filter(number => !this.changeable.has(number)))
    for (const number of this.wanted) active.add(number)
    fix(active)
    this.active = active
  }
}

/** netdev_fix_features: what needs something else goes with it. */
function fix(active: Set<number>): void {
  const without = (names: readonly string[]) => {
    for (const name of names) active.delete(bit(name))
  }
  if (!active.has(bit('tx-checksum-ip-generic'))) without(NEEDS_CHECKSUM)
  if (active.has(bit('tx-scatter-gather'))) return
  without([...TSO.slice(0, 4), 'tx-generic-segmentation'])
}

export function offloadsOf(device: NetDevice): Offloads {
  device.offloads ??= new Offloads(device.kind, device.isLoopback)
  return device.offloads
}

/** As asked for; what the stack then does for the device, or leaves to it. */
export function changeOffloads(device: NetDevice, wishes: ReadonlyMap<number, boolean>): void {
  const offloads = offloadsOf(device)
  device.nativeFeatures ??= device.features
  offloads.change(wishes)
  const { nativeFeatures: native } = device
  const has = (name: string) => offloads.active.has(bit(name))
  device.features = {
    ...device.features,
    checksum: native.checksum && has('tx-checksum-ip-generic'),
    segmentation: native.segmentation && has('tx-tcp-segmentation') && has('tx-tcp6-segmentation'),
    udpSegmentation: native.udpSegmentation && has('tx-udp-segmentation'),
  }
}
