/**
 * The socket options by which iptables-legacy reads and replaces the tables of x_tables: of SOL_IP for ip_tables, of SOL_IPV6
 * for ip6_tables, on any socket of the level. do_ipt_set_ctl, do_ipt_get_ctl.
 */

import {
  CAP_NET_ADMIN,
  IP6T_SO_GET_REVISION_MATCH,
  IP6T_SO_GET_REVISION_TARGET,
  IPT_SO_GET_ENTRIES,
  IPT_SO_GET_INFO,
  IPT_SO_GET_REVISION_MATCH,
  IPT_SO_GET_REVISION_TARGET,
  IPT_SO_SET_ADD_COUNTERS,
  IPT_SO_SET_REPLACE,
  NF_INET_NUMHOOKS,
  NFPROTO_UNSPEC,
} from '../../abi/constants.ts'
import { EAGAIN, EFAULT, EINVAL, ENOENT, ENOMEM, EPERM, EPROTONOSUPPORT } from '../../abi/errno.ts'
import {
  IPT_GET_ENTRIES,
  IPT_GETINFO,
  IPT_REPLACE,
  XT_COUNTERS,
  XT_COUNTERS_INFO,
  XT_GET_REVISION,
} from '../../abi/layout.ts'
import { fromBytes } from '../../base/bytes.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import { take64 } from '../../base/words.ts'
import type { Task } from '../../kernel/task.ts'
import type { GuestAddr } from '../../mm/mm.ts'
import type { Extension } from '../filter/tables/compat/extension.ts'
import { MATCHES } from '../filter/tables/compat/matches.ts'
import { TARGETS } from '../filter/tables/compat/targets.ts'
import { ERROR, readTable, STANDARD } from '../filter/xtables/read.ts'
import type { XtTables } from '../filter/xtables/tables.ts'
import type { InetSocket } from './socket.ts'

/** Larger tables are refused as for want of memory. */
const MAX_TABLE = 16 << 20
const NAME_SIZE = 32
const NO_OFFSET = 0xffffffff

/** Whether setsockopt(2) knows it; the numbers are the same for both families. */
export function isTableOption(name: number): boolean {
  return name === IPT_SO_SET_REPLACE || name === IPT_SO_SET_ADD_COUNTERS
}
export function isTableQuestion(isV4: boolean, name: number): boolean {
  if (name === IPT_SO_GET_INFO || name === IPT_SO_GET_ENTRIES) return true
  return isMatchQuestion(isV4, name) || isTargetQuestion(isV4, name)
}
function isMatchQuestion(isV4: boolean, name: number): boolean {
  return name === (isV4 ? IPT_SO_GET_REVISION_MATCH : IP6T_SO_GET_REVISION_MATCH)
}
function isTargetQuestion(isV4: boolean, name: number): boolean {
  return name === (isV4 ? IPT_SO_GET_REVISION_TARGET : IP6T_SO_GET_REVISION_TARGET)
}

/** How much of such an option's value is looked at. */
export const TABLE_OPTION_LIMIT = IPT_REPLACE.size + MAX_TABLE

export function setTableOption(
  socket: InetSocket,
  task: Task,
  isV4: boolean,
  name: number,
  value: Uint8Array,
): Status {
  if (!socket.net.capable(task, CAP_NET_ADMIN)) return -EPERM
  const tables = tablesOf(socket, isV4)
  return name === IPT_SO_SET_REPLACE ? replace(task, tables, value) : addCounters(tables, value)
}

/** do_replace */
function replace(task: Task, tables: XtTables, value: Uint8Array): Status {
  if (value.length < IPT_REPLACE.size) return -EINVAL
  const view = viewOf(value)
  const wantedCounters = view.getUint32(IPT_REPLACE.num_counters, true)
  if (wantedCounters >= 0x7fffffff / XT_COUNTERS.size) return -ENOMEM
  if (wantedCounters === 0) return -EINVAL
  const size = view.getUint32(IPT_REPLACE.entries_size, true)
  if (size > MAX_TABLE) return -ENOMEM
  if (value.length < IPT_REPLACE.size + size) return -EINVAL
  const points = view.getUint32(IPT_REPLACE.valid_hooks, true)
  const shape = {
    points,
    count: view.getUint32(IPT_REPLACE.num_entries, true),
    starts: readPoints(view, IPT_REPLACE.hook_entry),
    ends: readPoints(view, IPT_REPLACE.underflow),
  }
  const { netfilter, layout } = tables
  const table = tables.find(readName(value, NAME_SIZE))
  const bytes = value.slice(IPT_REPLACE.size, IPT_REPLACE.size + size)
  const info = readTable(netfilter, layout, table?.definition.name ?? '', shape, bytes)
  if (failed(info)) return info
  if (table === undefined) return -ENOENT
  if (points !== table.points) return -EINVAL
  // Who hasn't seen the rules as they are now would lose counters.
  if (wantedCounters !== table.info.entries.length) return -EAGAIN
  const old = table.replace(info)
  // The rules are in force: that nobody can be told what the old ones have counted doesn't undo them.
  task.mm.copyOut(take64(view, IPT_REPLACE.counters), old.counters())
  return 0
}

function addCounters(tables: XtTables, value: Uint8Array): Status {
  if (value.length <= XT_COUNTERS_INFO.size) return -EINVAL
  const view = viewOf(value)
  const count = view.getUint32(XT_COUNTERS_INFO.num_counters, true)
  if (count * XT_COUNTERS.size !== value.length - XT_COUNTERS_INFO.size) return -EINVAL
  const table = tables.find(readName(value, NAME_SIZE))
  if (table === undefined) return -ENOENT
  const { entries } = table.info
  if (entries.length !== count) return -EINVAL
  entries.forEach((entry, index) => {
    const at = XT_COUNTERS_INFO.size + index * XT_COUNTERS.size
    entry.packets += take64(view, at + XT_COUNTERS.pcnt)
    entry.bytes += take64(view, at + XT_COUNTERS.bcnt)
  })
  return 0
}

/** `length`: what there is room for at `at`, where the question stands. */
export function getTableOption(
  socket: InetSocket,
  task: Task,
  isV4: boolean,
  name: number,
  length: number,
  at: GuestAddr,
): OrErrno<Uint8Array> {
  if (!socket.net.capable(task, CAP_NET_ADMIN)) return -EPERM
  const tables = tablesOf(socket, isV4)
  if (name === IPT_SO_GET_INFO) return getInfo(task, tables, length, at)
  if (name === IPT_SO_GET_ENTRIES) return getEntries(task, tables, length, at)
  const extensions = isTargetQuestion(isV4, name) ? [...BUILT_IN, ...TARGETS] : MATCHES
  return getRevision(task, extensions, tables.layout.family, length, at)
}

function getInfo(task: Task, tables: XtTables, length: number, at: GuestAddr): OrErrno<Uint8Array> {
  if (length !== IPT_GETINFO.size) return -EINVAL
  const bytes = new Uint8Array(IPT_GETINFO.size)
  if (task.mm.copyIn(at, bytes.subarray(0, NAME_SIZE)) < 0) return -EFAULT
  const table = tables.find(readName(bytes, NAME_SIZE))
  if (table === undefined) return -ENOENT
  const { info, points } = table
  const view = viewOf(bytes)
  view.setUint32(IPT_GETINFO.valid_hooks, points, true)
  for (let point = 0; point < NF_INET_NUMHOOKS; point++) {
    const offset = (index: number | undefined) =>
      index === undefined ? NO_OFFSET : info.entries[index].offset
    view.setUint32(IPT_GETINFO.hook_entry + 4 * point, offset(info.starts[point]), true)
    view.setUint32(IPT_GETINFO.underflow + 4 * point, offset(info.ends[point]), true)
  }
  view.setUint32(IPT_GETINFO.num_entries, info.entries.length, true)
  view.setUint32(IPT_GETINFO.entries_size, info.size, true)
  return bytes
}

function getEntries(task: Task, tables: XtTables, length: number, at: GuestAddr): OrErrno<Uint8Array> {
  if (length < IPT_GET_ENTRIES.size) return -EINVAL
  const head = new Uint8Array(IPT_GET_ENTRIES.size)
  if (task.mm.copyIn(at, head) < 0) return -EFAULT
  const size = viewOf(head).getUint32(IPT_GET_ENTRIES.entries_size, true)
  if (length !== IPT_GET_ENTRIES.size + size) return -EINVAL
  const table = tables.find(readName(head, NAME_SIZE))
  if (table === undefined) return -ENOENT
  if (size !== table.info.size) return -EAGAIN
  const bytes = new Uint8Array(length)
  bytes.set(head)
  bytes.set(table.info.show(), IPT_GET_ENTRIES.size)
  return bytes
}

type Named = Pick<Extension<unknown>, 'name' | 'revision' | 'family'>
/** Targets that tables know by themselves: a verdict, and what tables and chains begin or end with. */
const BUILT_IN: readonly Named[] = [STANDARD, ERROR].map(name => ({
  name,
  revision: 0,
  family: NFPROTO_UNSPEC,
}))

/** Nothing is answered but that there is such an extension, of this revision. */
function getRevision(
  task: Task,
  extensions: readonly Named[],
  family: number,
  length: number,
  at: GuestAddr,
): OrErrno<Uint8Array> {
  if (length !== XT_GET_REVISION.size) return -EINVAL
  const question = new Uint8Array(XT_GET_REVISION.size)
  if (task.mm.copyIn(at, question) < 0) return -EFAULT
  const name = readName(question, XT_GET_REVISION.revision)
  const revision = question[XT_GET_REVISION.revision]
  const named = extensions.filter(
    other => other.name === name && (other.family === NFPROTO_UNSPEC || other.family === family),
  )
  if (named.length === 0) return -ENOENT
  return named.some(other => other.revision === revision) ? question : -EPROTONOSUPPORT
}

function tablesOf({ net }: InetSocket, isV4: boolean): XtTables {
  return isV4 ? net.netfilter.ipTables : net.netfilter.ip6Tables
}

function readName(bytes: Uint8Array, size: number): string {
  const end = bytes.subarray(0, size - 1).indexOf(0)
  return fromBytes(bytes, 0, end < 0 ? size - 1 : end)
}
function readPoints(view: DataView, at: number): number[] {
  return Array.from({ length: NF_INET_NUMHOOKS }, (_, point) => view.getUint32(at + 4 * point, true))
}
function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}
