/** SIOCETHTOOL: ethtool(8) by ioctl(2), for programs that don't ask by netlink (netlink/ethtool.ts). */
import {
  ETH_SS_FEATURES,
  ETH_SS_STATS,
  ETHTOOL_GCHANNELS,
  ETHTOOL_GDRVINFO,
  ETHTOOL_GET_TS_INFO,
  ETHTOOL_GFEATURES,
  ETHTOOL_GFLAGS,
  ETHTOOL_GGRO,
  ETHTOOL_GGSO,
  ETHTOOL_GLINK,
  ETHTOOL_GLINKSETTINGS,
  ETHTOOL_GPERMADDR,
  ETHTOOL_GRXCSUM,
  ETHTOOL_GSET,
  ETHTOOL_GSG,
  ETHTOOL_GSSET_INFO,
  ETHTOOL_GSTATS,
  ETHTOOL_GSTRINGS,
  ETHTOOL_GTSO,
  ETHTOOL_GTXCSUM,
  ETHTOOL_SFEATURES,
  ETHTOOL_SGRO,
  ETHTOOL_SGSO,
  ETHTOOL_SRXCSUM,
  ETHTOOL_SSG,
  ETHTOOL_STSO,
  ETHTOOL_STXCSUM,
  IFNAMSIZ,
} from '../../abi/constants.ts'
import { EFAULT, EINVAL, ENODEV, EOPNOTSUPP, EPERM } from '../../abi/errno.ts'
import {
  ETHTOOL_CHANNELS as CHANNELS,
  ETHTOOL_DRVINFO as DRVINFO,
  IFREQ,
  ETHTOOL_LINK_SETTINGS as LINK_SETTINGS,
  ETHTOOL_CMD as SETTINGS,
  ETHTOOL_SSET_INFO as SSET_INFO,
  ETHTOOL_TS_INFO as TS_INFO,
} from '../../abi/layout.ts'
import { toBytes } from '../../base/bytes.ts'
import { take64 } from '../../base/words.ts'
import type { IoctlContext } from '../../vfs/file.ts'
import { interfaceName } from '../interface-requests.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import {
  changeOffloads,
  FEATURE_NAMES,
  featureBit,
  NEVER_CHANGED,
  offloadsOf,
  SCATTER,
  TSO,
  wordOf,
} from '../link/offloads.ts'
import { channelsOf, countersOf, driverOf, linkSettings } from '../link/settings.ts'

const STRING = 32
/** Words of a mask of link modes. */
const MODE_WORDS = 4
const MODE_MASKS = 3
/** SOF_TIMESTAMPING_TX_SOFTWARE | RX_SOFTWARE | SOFTWARE. */
const SOFTWARE_STAMPS = 0x1a
/** ETHTOOL_F_UNSUPPORTED, ETHTOOL_F_WISH */
const UNSUPPORTED = 1
const WISH = 2
const FEATURE_WORDS = 2

/** Switches of one feature or several, as old programs know them. */
const SWITCHES: ReadonlyMap<number, readonly string[]> = new Map([
  [ETHTOOL_GRXCSUM, ['rx-checksum']],
  [ETHTOOL_GTXCSUM, ['tx-checksum-ip-generic', 'tx-checksum-ipv4', 'tx-checksum-ipv6', 'tx-checksum-sctp']],
  [ETHTOOL_GSG, SCATTER],
  [ETHTOOL_GTSO, TSO],
  [ETHTOOL_GGSO, ['tx-generic-segmentation']],
  [ETHTOOL_GGRO, ['rx-gro']],
])
/** The command that sets for each that gets: one more. */
const SETTERS: ReadonlySet<number> = new Set([
  ...[ETHTOOL_SRXCSUM, ETHTOOL_STXCSUM, ETHTOOL_SSG, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO],
])
/** ETH_FLAG_* */
const FLAGS: readonly (readonly [number, string])[] = [
  [1 << 7, 'tx-vlan-hw-insert'],
  [1 << 8, 'rx-vlan-hw-parse'],
  [1 << 15, 'rx-lro'],
  [1 << 27, 'rx-ntuple-filter'],
  [1 << 28, 'rx-hashing'],
]

export function ethtool(stack: IpStack, context: IoctlContext, argument: number, mayChange: boolean): number {
  const record = new Uint8Array(IFREQ.size)
  if (context.copyIn(argument, record) < 0) return -EFAULT
  const device = stack.devices.byName(interfaceName(record).slice(0, IFNAMSIZ - 1))
  const at = take64(new DataView(record.buffer), IFREQ.ifr_data)
  const word = new Uint8Array(8)
  if (context.copyIn(at, word.subarray(0, 4)) < 0) return -EFAULT
  const command = new DataView(word.buffer).getUint32(0, true)
  if (device === undefined) return -ENODEV
  const sets = command === ETHTOOL_SFEATURES || SETTERS.has(command)
  if (sets && !mayChange) return -EPERM
  if (sets) return change(device, command, context, at)
  const answer = answerTo(device, command, context, at)
  return typeof answer === 'number' ? answer : context.copyOut(at, answer)
}

/** What is written over the command's struct. */
function answerTo(
  device: NetDevice,
  command: number,
  context: IoctlContext,
  at: number,
): Uint8Array | number {
  const { active } = offloadsOf(device)
  const names = SWITCHES.get(command)
  if (names !== undefined) return words(command, names.some(name => active.has(featureBit(name)!)) ? 1 : 0)
  switch (command) {
    case ETHTOOL_GLINK:
      return words(command, device.running ? 1 : 0)
    case ETHTOOL_GFLAGS:
      return words(
        command,
        FLAGS.reduce((sum, [flag, name]) => (active.has(featureBit(name)!) ? sum | flag : sum), 0),
      )
    case ETHTOOL_GDRVINFO:
      return driverInfo(device)
    case ETHTOOL_GSET:
      return oldSettings(device)
    case ETHTOOL_GLINKSETTINGS:
      return newSettings(device, context, at)
    case ETHTOOL_GET_TS_INFO:
      return stampInfo()
    case ETHTOOL_GSSET_INFO:
      return setInfo(device, context, at)
    case ETHTOOL_GSTRINGS:
      return strings(device, context, at)
    case ETHTOOL_GSTATS:
      return counters(device)
    case ETHTOOL_GFEATURES:
      return features(device, context, at)
    case ETHTOOL_GCHANNELS:
      return channels(device)
    case ETHTOOL_GPERMADDR:
      return permanentAddress(device, context, at)
  }
  return -EOPNOTSUPP
}

function words(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length)
  const view = new DataView(bytes.buffer)
  values.forEach((value, i) => {
    view.setUint32(4 * i, value >>> 0, true)
  })
  return bytes
}

function read(context: IoctlContext, at: number, count: number): number[] | undefined {
  const bytes = new Uint8Array(4 * count)
  if (context.copyIn(at, bytes) < 0) return undefined
  const view = new DataView(bytes.buffer)
  return Array.from({ length: count }, (_, i) => view.getUint32(4 * i, true))
}

function driverInfo(device: NetDevice): Uint8Array | number {
  const driver = driverOf(device)
  if (driver === undefined) return -EOPNOTSUPP
  const info = new Uint8Array(DRVINFO.size)
  const view = new DataView(info.buffer)
  view.setUint32(DRVINFO.cmd, ETHTOOL_GDRVINFO, true)
  const put = (offset: number, text: string) => info.set(toBytes(text).subarray(0, STRING - 1), offset)
  put(DRVINFO.driver, driver.name)
  put(DRVINFO.version, driver.version)
  put(DRVINFO.fw_version, driver.firmware ?? '')
  put(DRVINFO.bus_info, driver.bus ?? '')
  view.setUint32(DRVINFO.n_stats, countersOf(device).length, true)
  return info
}

function oldSettings(device: NetDevice): Uint8Array | number {
  const settings = linkSettings(device)
  if (settings === undefined) return -EOPNOTSUPP
  const bytes = new Uint8Array(SETTINGS.size)
  const view = new DataView(bytes.buffer)
  view.setUint32(SETTINGS.cmd, ETHTOOL_GSET, true)
  view.setUint16(SETTINGS.speed, settings.speed & 0xffff, true)
  view.setUint16(SETTINGS.speed_hi, settings.speed >>> 16, true)
  bytes[SETTINGS.duplex] = settings.duplex
  bytes[SETTINGS.port] = settings.port
  return bytes
}

/** Who asks with another number of words than there are is told, by a negative one. */
function newSettings(device: NetDevice, context: IoctlContext, at: number): Uint8Array | number {
  const settings = linkSettings(device)
  if (settings === undefined) return -EOPNOTSUPP
  const asked = new Uint8Array(LINK_SETTINGS.size)
  if (context.copyIn(at, asked) < 0) return -EFAULT
  const matches = asked[LINK_SETTINGS.link_mode_masks_nwords] === MODE_WORDS
  const bytes = new Uint8Array(LINK_SETTINGS.size + (matches ? 4 * MODE_MASKS * MODE_WORDS : 0))
  const view = new DataView(bytes.buffer)
  view.setUint32(LINK_SETTINGS.cmd, ETHTOOL_GLINKSETTINGS, true)
  view.setInt8(LINK_SETTINGS.link_mode_masks_nwords, matches ? MODE_WORDS : -MODE_WORDS)
  if (!matches) return bytes
  view.setUint32(LINK_SETTINGS.speed, settings.speed >>> 0, true)
  bytes[LINK_SETTINGS.duplex] = settings.duplex
  bytes[LINK_SETTINGS.port] = settings.port
  return bytes
}

function stampInfo(): Uint8Array {
  const info = new Uint8Array(TS_INFO.size)
  const view = new DataView(info.buffer)
  view.setUint32(0, ETHTOOL_GET_TS_INFO, true)
  view.setUint32(TS_INFO.so_timestamping, SOFTWARE_STAMPS, true)
  view.setInt32(TS_INFO.phc_index, -1, true)
  return info
}

/** The strings of a set; undefined: the device has no such set. */
function stringSet(device: NetDevice, set: number): readonly string[] | undefined {
  if (set === ETH_SS_FEATURES) return FEATURE_NAMES
  const counters = countersOf(device)
  return set === ETH_SS_STATS && counters.length > 0 ? counters.map(([name]) => name) : undefined
}

/** Of the sets that are asked about, which there are, and how long each is. */
function setInfo(device: NetDevice, context: IoctlContext, at: number): Uint8Array | number {
  const asked = read(context, at + SSET_INFO.sset_mask, 2)
  if (asked === undefined) return -EFAULT
  if (asked[0] === 0 && asked[1] === 0) return 0
  let known = 0
  const lengths: number[] = []
  for (let set = 0; set < 32; set++) {
    const length = ((asked[0] >>> set) & 1) === 0 ? undefined : stringSet(device, set)?.length
    if (length === undefined) continue
    known |= 1 << set
    lengths.push(length)
  }
  return words(ETHTOOL_GSSET_INFO, 0, known, 0, ...lengths)
}

function strings(device: NetDevice, context: IoctlContext, at: number): Uint8Array | number {
  const asked = read(context, at, 3)
  if (asked === undefined) return -EFAULT
  const set = stringSet(device, asked[1])
  if (set === undefined) return -EOPNOTSUPP
  const bytes = new Uint8Array(12 + STRING * set.length)
  bytes.set(words(ETHTOOL_GSTRINGS, asked[1], set.length))
  set.forEach((name, i) => {
    bytes.set(toBytes(name).subarray(0, STRING - 1), 12 + STRING * i)
  })
  return bytes
}

function counters(device: NetDevice): Uint8Array | number {
  const all = countersOf(device)
  if (all.length === 0) return -EOPNOTSUPP
  return words(ETHTOOL_GSTATS, all.length, ...all.flatMap(([, value]) => [value, value / 0x100000000]))
}

/** Four words for each 32 features: what can be changed, is wanted, is on, and never changes. */
function features(device: NetDevice, context: IoctlContext, at: number): Uint8Array | number {
  const asked = read(context, at, 2)
  if (asked === undefined) return -EFAULT
  const { changeable, wanted, active } = offloadsOf(device)
  const values: number[] = []
  for (let word = 0; word < Math.min(asked[1], FEATURE_WORDS); word++)
    for (const set of [changeable, wanted, active, NEVER_CHANGED]) values.push(wordOf(set, word))
  return words(ETHTOOL_GFEATURES, FEATURE_WORDS, ...values)
}

function channels(device: NetDevice): Uint8Array | number {
  const known = channelsOf(device)
  if (known === undefined) return -EOPNOTSUPP
  const bytes = new Uint8Array(CHANNELS.size)
  const view = new DataView(bytes.buffer)
  view.setUint32(CHANNELS.cmd, ETHTOOL_GCHANNELS, true)
  view.setUint32(CHANNELS.max_rx, known.most, true)
  view.setUint32(CHANNELS.max_tx, known.most, true)
  view.setUint32(CHANNELS.rx_count, known.now, true)
  view.setUint32(CHANNELS.tx_count, known.now, true)
  return bytes
}

/** There is none that was burnt in: as many zeros as there is room for an address. */
function permanentAddress(device: NetDevice, context: IoctlContext, at: number): Uint8Array | number {
  const asked = read(context, at, 2)
  if (asked === undefined) return -EFAULT
  const { length } = device.address
  if (asked[1] < length) return -EINVAL
  const bytes = new Uint8Array(8 + length)
  bytes.set(words(ETHTOOL_GPERMADDR, length))
  return bytes
}

function change(device: NetDevice, command: number, context: IoctlContext, at: number): number {
  const wishes = new Map<number, boolean>()
  if (command !== ETHTOOL_SFEATURES) {
    const value = read(context, at, 2)
    if (value === undefined) return -EFAULT
    for (const name of SWITCHES.get(command - 1) ?? []) wishes.set(featureBit(name)!, value[1] !== 0)
    const { changeable } = offloadsOf(device)
    if (![...wishes.keys()].some(bit => changeable.has(bit))) return value[1] === 0 ? 0 : -EOPNOTSUPP
    changeOffloads(device, wishes)
    return 0
  }
  const asked = read(context, at, 2 + 2 * FEATURE_WORDS)
  if (asked === undefined) return -EFAULT
  if (asked[1] !== FEATURE_WORDS) return -EINVAL
  for (let bit = 0; bit < FEATURE_NAMES.length; bit++) {
    const valid = asked[2 + 2 * (bit >>> 5)]
    const requested = asked[3 + 2 * (bit >>> 5)]
    if (((valid >>> (bit & 31)) & 1) === 0) continue
    if (FEATURE_NAMES[bit] === '') return -EINVAL
    wishes.set(bit, ((requested >>> (bit & 31)) & 1) !== 0)
  }
  const offloads = offloadsOf(device)
  const unsupported = [...wishes.keys()].some(bit => !offloads.changeable.has(bit))
  changeOffloads(device, wishes)
  const differs = [...wishes].some(
    ([bit, on]) => offloads.changeable.has(bit) && offloads.active.has(bit) !== on,
  )
  return (unsupported ? UNSUPPORTED : 0) | (differs ? WISH : 0)
}
