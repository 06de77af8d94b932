/** Family `ethtool` of generic netlink: ethtool-netlink.rst of Linux. What inet/ethtool.ts answers by ioctl(2), asked by messages. */
import {
  ETH_SS_FEATURES,
  ETHTOOL_A_BITSET_BIT_INDEX,
  ETHTOOL_A_BITSET_BIT_NAME,
  ETHTOOL_A_BITSET_BIT_VALUE,
  ETHTOOL_A_BITSET_BITS,
  ETHTOOL_A_BITSET_BITS_BIT,
  ETHTOOL_A_BITSET_MASK,
  ETHTOOL_A_BITSET_NOMASK,
  ETHTOOL_A_BITSET_SIZE,
  ETHTOOL_A_BITSET_VALUE,
  ETHTOOL_A_CHANNELS_RX_COUNT,
  ETHTOOL_A_CHANNELS_RX_MAX,
  ETHTOOL_A_CHANNELS_TX_COUNT,
  ETHTOOL_A_CHANNELS_TX_MAX,
  ETHTOOL_A_FEATURES_ACTIVE,
  ETHTOOL_A_FEATURES_HW,
  ETHTOOL_A_FEATURES_NOCHANGE,
  ETHTOOL_A_FEATURES_WANTED,
  ETHTOOL_A_HEADER_DEV_INDEX,
  ETHTOOL_A_HEADER_DEV_NAME,
  ETHTOOL_A_HEADER_FLAGS,
  ETHTOOL_A_LINKINFO_PHYADDR,
  ETHTOOL_A_LINKINFO_PORT,
  ETHTOOL_A_LINKINFO_TP_MDIX,
  ETHTOOL_A_LINKINFO_TP_MDIX_CTRL,
  ETHTOOL_A_LINKINFO_TRANSCEIVER,
  ETHTOOL_A_LINKMODES_AUTONEG,
  ETHTOOL_A_LINKMODES_DUPLEX,
  ETHTOOL_A_LINKMODES_OURS,
  ETHTOOL_A_LINKMODES_SPEED,
  ETHTOOL_A_LINKSTATE_LINK,
  ETHTOOL_A_STRING_INDEX,
  ETHTOOL_A_STRING_VALUE,
  ETHTOOL_A_STRINGSET_COUNT,
  ETHTOOL_A_STRINGSET_ID,
  ETHTOOL_A_STRINGSET_STRINGS,
  ETHTOOL_A_STRINGSETS_STRINGSET,
  ETHTOOL_A_STRSET_COUNTS_ONLY,
  ETHTOOL_A_STRSET_STRINGSETS,
  ETHTOOL_A_TSINFO_TIMESTAMPING,
  ETHTOOL_FLAG_COMPACT_BITSETS,
  ETHTOOL_FLAG_OMIT_REPLY,
  ETHTOOL_GENL_VERSION,
  ETHTOOL_MSG_CHANNELS_GET,
  ETHTOOL_MSG_CHANNELS_GET_REPLY,
  ETHTOOL_MSG_COALESCE_GET,
  ETHTOOL_MSG_COALESCE_SET,
  ETHTOOL_MSG_DEBUG_GET,
  ETHTOOL_MSG_EEE_GET,
  ETHTOOL_MSG_FEATURES_GET,
  ETHTOOL_MSG_FEATURES_GET_REPLY,
  ETHTOOL_MSG_FEATURES_SET,
  ETHTOOL_MSG_FEATURES_SET_REPLY,
  ETHTOOL_MSG_FEC_GET,
  ETHTOOL_MSG_LINKINFO_GET,
  ETHTOOL_MSG_LINKINFO_GET_REPLY,
  ETHTOOL_MSG_LINKINFO_SET,
  ETHTOOL_MSG_LINKMODES_GET,
  ETHTOOL_MSG_LINKMODES_GET_REPLY,
  ETHTOOL_MSG_LINKMODES_SET,
  ETHTOOL_MSG_LINKSTATE_GET,
  ETHTOOL_MSG_LINKSTATE_GET_REPLY,
  ETHTOOL_MSG_MODULE_EEPROM_GET,
  ETHTOOL_MSG_MODULE_GET,
  ETHTOOL_MSG_PAUSE_GET,
  ETHTOOL_MSG_PAUSE_SET,
  ETHTOOL_MSG_PRIVFLAGS_GET,
  ETHTOOL_MSG_RINGS_GET,
  ETHTOOL_MSG_RINGS_SET,
  ETHTOOL_MSG_STATS_GET,
  ETHTOOL_MSG_STRSET_GET,
  ETHTOOL_MSG_STRSET_GET_REPLY,
  ETHTOOL_MSG_TSINFO_GET,
  ETHTOOL_MSG_TSINFO_GET_REPLY,
  ETHTOOL_MSG_WOL_GET,
  GENL_CMD_CAP_DO,
  GENL_CMD_CAP_DUMP,
  GENL_CMD_CAP_HASPOL,
  GENL_UNS_ADMIN_PERM,
  NLM_F_DUMP,
  NLM_F_MULTI,
} from '../../abi/constants.ts'
import { EINVAL, ENODEV, EOPNOTSUPP } from '../../abi/errno.ts'
import { GENLMSGHDR, NLATTR } from '../../abi/layout.ts'
import type { Status } from '../../base/result.ts'
import type { NetDevice } from '../link/device.ts'
import {
  changeOffloads,
  FEATURE_NAMES,
  featureBit,
  NEVER_CHANGED,
  offloadsOf,
  wordOf,
} from '../link/offloads.ts'
import { channelsOf, linkSettings } from '../link/settings.ts'
import type { GenericFamily } from './generic-family.ts'
import { refuse } from './kinds/kind.ts'
import { Attributes, MessageWriter, NESTED, viewOf } from './message.ts'
import { type Dump, ListDump, type NetlinkRequest } from './protocol.ts'
import { sortedDevices } from './route/address.ts'

const FAMILY_ID = 0x15
const MONITOR_GROUP = 5
const MAX_ATTRIBUTE = 0
/** All messages have their header there. */
const HEADER = 1
/** __ETHTOOL_LINK_MODE_MASK_NBITS: none of them is known of a virtual link. */
const LINK_MODES = 121
/** Bits of SOF_TIMESTAMPING_* and their names. */
const STAMPS: readonly (readonly [number, string])[] = [
  [1, 'software-transmit'],
  [3, 'software-receive'],
  [4, 'software-system-clock'],
]
const ALL_STAMPS = 19

type Write = (writer: MessageWriter, device: NetDevice, compact: boolean) => Status

interface Getter {
  readonly reply: number
  readonly write: Write
}

const GETTERS: ReadonlyMap<number, Getter> = new Map<number, Getter>([
  [ETHTOOL_MSG_LINKINFO_GET, { reply: ETHTOOL_MSG_LINKINFO_GET_REPLY, write: writeLinkInfo }],
  [ETHTOOL_MSG_LINKMODES_GET, { reply: ETHTOOL_MSG_LINKMODES_GET_REPLY, write: writeLinkModes }],
  [ETHTOOL_MSG_LINKSTATE_GET, { reply: ETHTOOL_MSG_LINKSTATE_GET_REPLY, write: writeLinkState }],
  [ETHTOOL_MSG_FEATURES_GET, { reply: ETHTOOL_MSG_FEATURES_GET_REPLY, write: writeFeatures }],
  [ETHTOOL_MSG_CHANNELS_GET, { reply: ETHTOOL_MSG_CHANNELS_GET_REPLY, write: writeChannels }],
  [ETHTOOL_MSG_TSINFO_GET, { reply: ETHTOOL_MSG_TSINFO_GET_REPLY, write: writeStampInfo }],
])
/** What no device here has: asking and setting are refused alike. */
const REFUSED: readonly number[] = [
  ...[ETHTOOL_MSG_DEBUG_GET, ETHTOOL_MSG_WOL_GET, ETHTOOL_MSG_PRIVFLAGS_GET, ETHTOOL_MSG_RINGS_GET],
  ...[ETHTOOL_MSG_COALESCE_GET, ETHTOOL_MSG_PAUSE_GET, ETHTOOL_MSG_EEE_GET, ETHTOOL_MSG_FEC_GET],
  ...[ETHTOOL_MSG_MODULE_EEPROM_GET, ETHTOOL_MSG_STATS_GET, ETHTOOL_MSG_MODULE_GET],
]
const REFUSED_CHANGES: readonly number[] = [
  ...[ETHTOOL_MSG_LINKINFO_SET, ETHTOOL_MSG_LINKMODES_SET, ETHTOOL_MSG_RINGS_SET],
  ...[ETHTOOL_MSG_COALESCE_SET, ETHTOOL_MSG_PAUSE_SET],
]
const MAY_READ = GENL_CMD_CAP_DO | GENL_CMD_CAP_DUMP | GENL_CMD_CAP_HASPOL
const MAY_SET = GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO | GENL_CMD_CAP_HASPOL

export const ethtoolFamily: GenericFamily = {
  id: FAMILY_ID,
  name: 'ethtool',
  version: ETHTOOL_GENL_VERSION,
  maxAttribute: MAX_ATTRIBUTE,
  operations: [
    ...[ETHTOOL_MSG_STRSET_GET, ...GETTERS.keys(), ...REFUSED].map(command => ({ command, flags: MAY_READ })),
    ...[ETHTOOL_MSG_FEATURES_SET, ...REFUSED_CHANGES].map(command => ({ command, flags: MAY_SET })),
  ],
  groups: [{ id: MONITOR_GROUP, name: 'monitor' }],

  receive(request: NetlinkRequest, command: number, attributes: Attributes): Status | Dump {
    const header = attributes.nested(HEADER)
    if (header === undefined && command !== ETHTOOL_MSG_STRSET_GET)
      return refuse(request, 'request header missing', EINVAL)
    if (command === ETHTOOL_MSG_STRSET_GET) return getStrings(request, attributes)
    const compact = ((header?.u32(ETHTOOL_A_HEADER_FLAGS) ?? 0) & ETHTOOL_FLAG_COMPACT_BITSETS) !== 0
    const getter = GETTERS.get(command)
    if ((request.flags & NLM_F_DUMP) !== 0)
      return getter === undefined ? -EOPNOTSUPP : dump(request, getter, compact)
    const device = findDevice(request, header!)
    if (typeof device === 'number') return device
    if (command === ETHTOOL_MSG_FEATURES_SET) return setFeatures(request, device, attributes)
    if (getter === undefined) return -EOPNOTSUPP
    const writer = new MessageWriter()
    const status = writeReply(writer, request, getter, device, compact, 0)
    return status < 0 ? status : request.answer(writer)
  },
}

function findDevice(request: NetlinkRequest, header: Attributes): NetDevice | Status {
  const { devices } = request.stack.ip!
  const index = header.u32(ETHTOOL_A_HEADER_DEV_INDEX)
  const name = header.string(ETHTOOL_A_HEADER_DEV_NAME)
  if (index === undefined && name === undefined)
    return refuse(request, 'neither ifindex nor name specified', EINVAL)
  const device = index === undefined ? devices.byName(name!) : devices.byIndex(index)
  if (device === undefined) {
    const said = header.get(index === undefined ? ETHTOOL_A_HEADER_DEV_NAME : ETHTOOL_A_HEADER_DEV_INDEX)!
    request.offset = said.byteOffset - NLATTR.size - request.message.byteOffset
    const reason = index === undefined ? 'no device matches name' : 'no device matches ifindex'
    return refuse(request, reason, ENODEV)
  }
  if (name !== undefined && index !== undefined && name !== device.name)
    return refuse(request, 'ifindex and name do not match', ENODEV)
  return device
}

/** Of those that have an answer. */
function dump(request: NetlinkRequest, getter: Getter, compact: boolean): Dump {
  return new ListDump(sortedDevices(request.stack.ip!), (writer, device) => {
    if (device.stack === undefined) return
    if (writeReply(writer, request, getter, device, compact, NLM_F_MULTI) < 0) writer.cancel()
  })
}

function writeReply(
  writer: MessageWriter,
  request: NetlinkRequest,
  { reply, write }: Getter,
  device: NetDevice,
  compact: boolean,
  flags: number,
): Status {
  start(writer, request, reply, flags)
  writeHeader(writer, device)
  const status = write(writer, device, compact)
  if (status === 0) writer.end()
  return status
}

function start(
  writer: MessageWriter,
  { sequence, port }: NetlinkRequest,
  command: number,
  flags: number,
): void {
  writer.start(FAMILY_ID, flags, sequence, port)
  const at = writer.struct(GENLMSGHDR.size)
  writer.set8(at + GENLMSGHDR.cmd, command)
  writer.set8(at + GENLMSGHDR.version, ETHTOOL_GENL_VERSION)
}

function writeHeader(writer: MessageWriter, device: NetDevice): void {
  const header = writer.nest(HEADER, NESTED)
  writer.u32(ETHTOOL_A_HEADER_DEV_INDEX, device.index)
  writer.string(ETHTOOL_A_HEADER_DEV_NAME, device.name)
  writer.close(header)
}

function writeLinkInfo(writer: MessageWriter, device: NetDevice): Status {
  const settings = linkSettings(device)
  if (settings === undefined) return -EOPNOTSUPP
  writer.u8(ETHTOOL_A_LINKINFO_PORT, settings.port)
  writer.u8(ETHTOOL_A_LINKINFO_PHYADDR, 0)
  writer.u8(ETHTOOL_A_LINKINFO_TP_MDIX, 0)
  writer.u8(ETHTOOL_A_LINKINFO_TP_MDIX_CTRL, 0)
  writer.u8(ETHTOOL_A_LINKINFO_TRANSCEIVER, 0)
  return 0
}

function writeLinkModes(writer: MessageWriter, device: NetDevice): Status {
  const settings = linkSettings(device)
  if (settings === undefined) return -EOPNOTSUPP
  const ours = writer.nest(ETHTOOL_A_LINKMODES_OURS, NESTED)
  writer.u32(ETHTOOL_A_BITSET_SIZE, LINK_MODES)
  writer.close(writer.nest(ETHTOOL_A_BITSET_BITS, NESTED))
  writer.close(ours)
  writer.u32(ETHTOOL_A_LINKMODES_SPEED, settings.speed)
  writer.u8(ETHTOOL_A_LINKMODES_DUPLEX, settings.duplex)
  writer.u8(ETHTOOL_A_LINKMODES_AUTONEG, 0)
  return 0
}

function writeLinkState(writer: MessageWriter, device: NetDevice): Status {
  writer.u8(ETHTOOL_A_LINKSTATE_LINK, device.running ? 1 : 0)
  return 0
}

function writeFeatures(writer: MessageWriter, device: NetDevice, compact: boolean): Status {
  const { changeable, wanted, active } = offloadsOf(device)
  const all = new Set(FEATURE_NAMES.keys())
  writeBits(writer, ETHTOOL_A_FEATURES_HW, changeable, all, compact)
  writeBits(writer, ETHTOOL_A_FEATURES_WANTED, wanted, undefined, compact)
  writeBits(writer, ETHTOOL_A_FEATURES_ACTIVE, active, undefined, compact)
  writeBits(writer, ETHTOOL_A_FEATURES_NOCHANGE, NEVER_CHANGED, undefined, compact)
  return 0
}

function writeChannels(writer: MessageWriter, device: NetDevice): Status {
  const known = channelsOf(device)
  if (known === undefined) return -EOPNOTSUPP
  writer.u32(ETHTOOL_A_CHANNELS_RX_MAX, known.most)
  writer.u32(ETHTOOL_A_CHANNELS_RX_COUNT, known.now)
  writer.u32(ETHTOOL_A_CHANNELS_TX_MAX, known.most)
  writer.u32(ETHTOOL_A_CHANNELS_TX_COUNT, known.now)
  return 0
}

function writeStampInfo(writer: MessageWriter, device: NetDevice): Status {
  const set = writer.nest(ETHTOOL_A_TSINFO_TIMESTAMPING, NESTED)
  writer.attribute(ETHTOOL_A_BITSET_NOMASK, 0)
  writer.u32(ETHTOOL_A_BITSET_SIZE, ALL_STAMPS)
  const bits = writer.nest(ETHTOOL_A_BITSET_BITS, NESTED)
  // A bridge sends nothing by itself.
  for (const [bit, name] of device.kind === 'bridge' ? STAMPS.slice(1) : STAMPS)
    writeBit(writer, bit, name, false)
  writer.close(bits)
  writer.close(set)
  return 0
}

/** A set of features, with a mask or without: in words, or bit by bit with their names. */
function writeBits(
  writer: MessageWriter,
  type: number,
  values: ReadonlySet<number>,
  mask: ReadonlySet<number> | undefined,
  compact: boolean,
): void {
  const nest = writer.nest(type, NESTED)
  if (mask === undefined) writer.attribute(ETHTOOL_A_BITSET_NOMASK, 0)
  writer.u32(ETHTOOL_A_BITSET_SIZE, FEATURE_NAMES.length)
  if (compact) {
    writeWords(writer, ETHTOOL_A_BITSET_VALUE, values)
    if (mask !== undefined) writeWords(writer, ETHTOOL_A_BITSET_MASK, mask)
  } else {
    const bits = writer.nest(ETHTOOL_A_BITSET_BITS, NESTED)
    for (const bit of [...(mask ?? values)].sort((a, b) => a - b)) {
      if (FEATURE_NAMES[bit] !== '')
        writeBit(writer, bit, FEATURE_NAMES[bit], mask !== undefined && values.has(bit))
    }
    writer.close(bits)
  }
  writer.close(nest)
}

function writeWords(writer: MessageWriter, type: number, set: ReadonlySet<number>): void {
  const at = writer.attribute(type, FEATURE_NAMES.length / 8)
  for (let word = 0; word < FEATURE_NAMES.length / 32; word++) writer.set32(at + 4 * word, wordOf(set, word))
}

function writeBit(writer: MessageWriter, bit: number, name: string, value: boolean): void {
  const nest = writer.nest(ETHTOOL_A_BITSET_BITS_BIT, NESTED)
  writer.u32(ETHTOOL_A_BITSET_BIT_INDEX, bit)
  writer.string(ETHTOOL_A_BITSET_BIT_NAME, name)
  if (value) writer.attribute(ETHTOOL_A_BITSET_BIT_VALUE, 0)
  writer.close(nest)
}

/** ethnl_set_features: answers with what did not come out as wanted, and with what has changed. */
function setFeatures(request: NetlinkRequest, device: NetDevice, attributes: Attributes): Status {
  const wanted = attributes.nested(ETHTOOL_A_FEATURES_WANTED)
  if (wanted === undefined) return -EINVAL
  const wishes = readWishes(request, wanted)
  if (typeof wishes === 'number') return wishes
  const offloads = offloadsOf(device)
  const before = new Set(offloads.active)
  changeOffloads(device, wishes)
  const flags = attributes.nested(HEADER)!.u32(ETHTOOL_A_HEADER_FLAGS) ?? 0
  if ((flags & ETHTOOL_FLAG_OMIT_REPLY) !== 0) return 0
  const compact = (flags & ETHTOOL_FLAG_COMPACT_BITSETS) !== 0
  const { active } = offloads
  const missed = new Set([...wishes].filter(([bit, on]) => active.has(bit) !== on).map(([bit]) => bit))
  const changed = new Set([...FEATURE_NAMES.keys()].filter(bit => active.has(bit) !== before.has(bit)))
  const asked = new Set([...wishes].filter(([, on]) => on).map(([bit]) => bit))
  const writer = new MessageWriter()
  start(writer, request, ETHTOOL_MSG_FEATURES_SET_REPLY, 0)
  writeHeader(writer, device)
  writeBits(writer, ETHTOOL_A_FEATURES_WANTED, asked, missed, compact)
  writeBits(writer, ETHTOOL_A_FEATURES_ACTIVE, active, changed, compact)
  writer.end()
  return request.answer(writer)
}

function readWishes(request: NetlinkRequest, set: Attributes): ReadonlyMap<number, boolean> | Status {
  const wishes = new Map<number, boolean>()
  const bits = set.get(ETHTOOL_A_BITSET_BITS)
  if (bits !== undefined) {
    const exact = set.has(ETHTOOL_A_BITSET_NOMASK)
    if (exact) for (const bit of FEATURE_NAMES.keys()) if (FEATURE_NAMES[bit] !== '') wishes.set(bit, false)
    for (const { value } of new Attributes(bits).list) {
      const each = new Attributes(value)
      const name = each.string(ETHTOOL_A_BITSET_BIT_NAME)
      const bit = name === undefined ? each.u32(ETHTOOL_A_BITSET_BIT_INDEX) : featureBit(name)
      if (bit === undefined || bit >= FEATURE_NAMES.length)
        return refuse(request, 'bit name not found', EOPNOTSUPP)
      wishes.set(bit, exact || each.has(ETHTOOL_A_BITSET_BIT_VALUE))
    }
    return wishes
  }
  const value = set.get(ETHTOOL_A_BITSET_VALUE)
  const mask = set.get(ETHTOOL_A_BITSET_MASK) ?? value?.map(() => 0xff)
  const length = FEATURE_NAMES.length / 8
  if (value === undefined || mask === undefined || value.length < length || mask.length < length)
    return -EINVAL
  for (const bit of FEATURE_NAMES.keys()) {
    if (((viewOf(mask).getUint8(bit >>> 3) >>> (bit & 7)) & 1) === 0) continue
    wishes.set(bit, ((viewOf(value).getUint8(bit >>> 3) >>> (bit & 7)) & 1) !== 0)
  }
  return wishes
}

/** The names of features, which are the same for all devices; other sets are empty. */
function getStrings(request: NetlinkRequest, attributes: Attributes): Status | Dump {
  if ((request.flags & NLM_F_DUMP) !== 0) return new ListDump([], () => {})
  const sets = attributes.nested(ETHTOOL_A_STRSET_STRINGSETS)
  const countsOnly = attributes.has(ETHTOOL_A_STRSET_COUNTS_ONLY)
  // However often it is asked for, a set is told once.
  const asked = new Set(
    (sets?.list ?? []).map(({ value }) => new Attributes(value).u32(ETHTOOL_A_STRINGSET_ID)),
  )
  if (asked.has(undefined)) return -EINVAL
  const writer = new MessageWriter()
  start(writer, request, ETHTOOL_MSG_STRSET_GET_REPLY, 0)
  const list = writer.nest(ETHTOOL_A_STRSET_STRINGSETS, NESTED)
  if (asked.has(ETH_SS_FEATURES)) {
    const set = writer.nest(ETHTOOL_A_STRINGSETS_STRINGSET, NESTED)
    writer.u32(ETHTOOL_A_STRINGSET_ID, ETH_SS_FEATURES)
    writer.u32(ETHTOOL_A_STRINGSET_COUNT, FEATURE_NAMES.length)
    if (!countsOnly) writeStrings(writer, FEATURE_NAMES)
    writer.close(set)
  }
  writer.close(list)
  writer.end()
  return request.answer(writer)
}

function writeStrings(writer: MessageWriter, names: readonly string[]): void {
  const list = writer.nest(ETHTOOL_A_STRINGSET_STRINGS, NESTED)
  names.forEach((name, i) => {
    const string = writer.nest(1, NESTED)
    writer.u32(ETHTOOL_A_STRING_INDEX, i)
    writer.string(ETHTOOL_A_STRING_VALUE, name)
    writer.close(string)
  })
  writer.close(list)
}
