/**
 * A table of x_tables as setsockopt(2) brings it: read, and checked in Linux's order. All of it is the guest's: offsets, lengths,
 * jumps and names.
 */
import {
  NF_ACCEPT,
  NF_DROP,
  NF_INET_NUMHOOKS,
  NF_QUEUE,
  NF_REPEAT,
  XT_TCP_INV_FLAGS,
} from '../../../abi/constants.ts'
import { EINVAL, ELOOP } from '../../../abi/errno.ts'
import { XT_ENTRY_MATCH, XT_ERROR_TARGET, XT_STANDARD_TARGET, XT_TCP } from '../../../abi/layout.ts'
import { fromBytes } from '../../../base/bytes.ts'
import { failed, type OrErrno, type Status } from '../../../base/result.ts'
import { SYN } from '../../tcp/segment.ts'
import type { Netfilter } from '../netfilter.ts'
import {
  alignedSize,
  checkInfo,
  type Extension,
  type ExtensionContext,
  findExtension,
} from '../tables/compat/extension.ts'
import { MATCHES } from '../tables/compat/matches.ts'
import { TARGETS } from '../tables/compat/targets.ts'
import { type EntryPart, XtEntry } from './entry.ts'
import { HeaderMatch } from './header-match.ts'
import { findSources } from './jumps.ts'
import type { FamilyLayout } from './layout.ts'
import { TableInfo } from './table-info.ts'

/** XT_RETURN */
export const XT_RETURN = -NF_REPEAT - 1
/** Names of targets that are no extensions. */
export const STANDARD = ''
export const ERROR = 'ERROR'
const ALIGNMENT = 8

/** What is said of a table beside its entries. */
export interface TableShape {
  /** Bits by NF_INET_*. */
  readonly points: number
  readonly count: number
  /** Offsets of the first rule and of the policy, by point. */
  readonly starts: readonly number[]
  readonly ends: readonly number[]
}

/** The rules for the table of this name. `bytes` are the reader's from then on. Uses nothing yet of what the rules will use. */
export function readTable(
  netfilter: Netfilter,
  layout: FamilyLayout,
  table: string,
  shape: TableShape,
  bytes: Uint8Array,
): OrErrno<TableInfo> {
  const entries = readEntries(layout, shape, bytes)
  if (failed(entries)) return entries
  const indices = new Map(entries.map((entry, index) => [entry.offset, index]))
  const starts: number[] = []
  const ends: number[] = []
  let before = -1
  for (let point = 0; point < NF_INET_NUMHOOKS; point++) {
    if ((shape.points & (1 << point)) === 0) continue
    const start = indices.get(shape.starts[point])
    const end = indices.get(shape.ends[point])
    if (start === undefined || end === undefined) return -EINVAL
    // One chain behind the other.
    if (before >= 0 && (starts[before] >= start || ends[before] >= end)) return -EINVAL
    starts[point] = start
    ends[point] = end
    before = point
  }
  for (const entry of entries) {
    if (entry.verdict <= 0) continue
    const target = indices.get(entry.verdict)
    if (target === undefined) return -ELOOP
    entry.jump = target
  }
  if (!findSources(entries, starts)) return -ELOOP
  for (const entry of entries) {
    const status = makeExtensions(netfilter, layout, table, bytes, entry)
    if (status < 0) return status
  }
  return new TableInfo(layout, bytes, entries, starts, ends)
}

function readEntries(layout: FamilyLayout, shape: TableShape, bytes: Uint8Array): OrErrno<XtEntry[]> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const entries: XtEntry[] = []
  for (let at = 0; at < bytes.length; ) {
    const { size, next_offset } = layout.entry
    if (at % ALIGNMENT !== 0 || at + size >= bytes.length) return -EINVAL
    const next = view.getUint16(at + next_offset, true)
    if (at + next > bytes.length || next < size + XT_ENTRY_MATCH.size) return -EINVAL
    const entry = readEntry(layout, bytes, view, at, next)
    if (failed(entry)) return entry
    if (!mayBePolicy(entry) && isEnd(shape, at)) return -EINVAL
    entries.push(entry)
    at += next
  }
  return entries.length === shape.count ? entries : -EINVAL
}

function isEnd({ points, ends }: TableShape, offset: number): boolean {
  return ends.some((end, point) => (points & (1 << point)) !== 0 && end === offset)
}
function mayBePolicy({ endsChain, verdict }: XtEntry): boolean {
  const code = -verdict - 1
  return endsChain && (code === NF_ACCEPT || code === NF_DROP)
}

/** check_entry_size_and_hooks, xt_check_entry_offsets. `next`: the length of the entry, all of which is there. */
function readEntry(
  layout: FamilyLayout,
  bytes: Uint8Array,
  view: DataView,
  at: number,
  next: number,
): OrErrno<XtEntry> {
  const { entry, header } = layout
  const flags = view.getUint8(at + header.flags)
  if ((flags & ~layout.flags) !== 0) return -EINVAL
  if ((view.getUint8(at + header.invflags) & ~layout.inversions) !== 0) return -EINVAL
  const targetOffset = view.getUint16(at + entry.target_offset, true)
  if (targetOffset < entry.size || targetOffset + XT_ENTRY_MATCH.size > next) return -EINVAL
  const targetSize = view.getUint16(at + targetOffset + XT_ENTRY_MATCH.match_size, true)
  if (targetSize < XT_ENTRY_MATCH.size || targetOffset + targetSize > next) return -EINVAL
  const target = readPart(bytes, view, at + targetOffset, targetSize)
  if (failed(target)) return target
  let verdict = 0
  if (target.name === STANDARD) {
    if (alignedSize(targetOffset + XT_STANDARD_TARGET.size) !== next) return -EINVAL
    verdict = view.getInt32(at + targetOffset + XT_STANDARD_TARGET.verdict, true)
    if (!isVerdict(verdict)) return -EINVAL
  } else if (target.name === ERROR) {
    const text = bytes.subarray(target.at, at + targetOffset + XT_ERROR_TARGET.size)
    if (targetSize !== XT_ERROR_TARGET.size || !text.includes(0)) return -EINVAL
  }
  const parts: EntryPart[] = []
  for (let offset = entry.size; offset < targetOffset; ) {
    if (offset % ALIGNMENT !== 0 || targetOffset - offset < XT_ENTRY_MATCH.size) return -EINVAL
    const size = view.getUint16(at + offset + XT_ENTRY_MATCH.match_size, true)
    if (size < XT_ENTRY_MATCH.size || size > targetOffset - offset) return -EINVAL
    const part = readPart(bytes, view, at + offset, size)
    if (failed(part)) return part
    parts.push(part)
    offset += size
  }
  parts.push(target)
  const unconditional =
    targetOffset === entry.size && bytes.subarray(at, at + header.size).every(byte => byte === 0)
  const isGoto = (flags & layout.goto) !== 0
  return new XtEntry(at, new HeaderMatch(bytes, view, at, layout), unconditional, isGoto, verdict, parts)
}

function readPart(bytes: Uint8Array, view: DataView, at: number, size: number): OrErrno<EntryPart> {
  const start = at + XT_ENTRY_MATCH.name
  const end = bytes.subarray(start, at + XT_ENTRY_MATCH.revision).indexOf(0)
  if (end < 0) return -EINVAL
  return {
    name: fromBytes(bytes, start, start + end),
    revision: view.getUint8(at + XT_ENTRY_MATCH.revision),
    at: at + XT_ENTRY_MATCH.size,
    length: size - XT_ENTRY_MATCH.size,
  }
}

/** Above 0 it is where to jump to. */
function isVerdict(verdict: number): boolean {
  if (verdict >= 0) return verdict > 0
  const code = -verdict - 1
  return verdict === XT_RETURN || code === NF_ACCEPT || code === NF_DROP || code === NF_QUEUE
}

/** find_check_entry */
function makeExtensions(
  netfilter: Netfilter,
  layout: FamilyLayout,
  table: string,
  bytes: Uint8Array,
  entry: XtEntry,
): Status {
  const { family } = layout
  const asksForSyn = entry.parts.some(part => part.name === 'tcp' && asksForSynAt(bytes, part))
  const { protocol } = entry.header
  const context: ExtensionContext = { netfilter, family, tableName: table, protocol, asksForSyn }
  const used: Extension<unknown>[] = []
  const make = <T>(extensions: readonly Extension<T>[], part: EntryPart): OrErrno<T & object> => {
    const extension = findExtension(extensions, family, part.name, part.revision)
    if (typeof extension === 'number') return extension
    const info = bytes.subarray(part.at, part.at + part.length)
    const status = checkInfo(extension, info, context)
    if (status < 0) return status
    const { points } = extension
    if (points !== undefined && (entry.points & ~bitsOf(points)) !== 0) return -EINVAL
    used.push(extension)
    return extension.parse(new DataView(info.buffer, info.byteOffset, info.length), context) as OrErrno<
      T & object
    >
  }
  const matches = []
  for (const part of entry.parts.slice(0, -1)) {
    const match = make(MATCHES, part)
    if (failed(match)) return match
    matches.push(match)
  }
  entry.matches = matches
  const last = entry.parts[entry.parts.length - 1]
  if (last.name === ERROR) {
    entry.target = { apply: () => NF_DROP }
  } else if (last.name !== STANDARD) {
    const target = make(TARGETS, last)
    if (failed(target)) return target
    entry.target = target
  }
  entry.extensions = used
  return 0
}

function asksForSynAt(bytes: Uint8Array, { at, length }: EntryPart): boolean {
  if (length < XT_TCP.size || (bytes[at + XT_TCP.invflags] & XT_TCP_INV_FLAGS) !== 0) return false
  return (bytes[at + XT_TCP.flg_cmp] & SYN) !== 0
}

function bitsOf(points: readonly number[]): number {
  return points.reduce((bits, point) => bits | (1 << point), 0)
}
