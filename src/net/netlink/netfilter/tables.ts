/** NFT_MSG_NEWTABLE, GETTABLE, DELTABLE. */
import {
  NFNL_SUBSYS_NFTABLES,
  NFPROTO_UNSPEC,
  NFT_MSG_DELTABLE,
  NFT_MSG_NEWTABLE,
  NFT_TABLE_F_DORMANT,
  NFT_TABLE_F_MASK,
  NFT_TABLE_MAXNAMELEN,
  NFT_USERDATA_MAXLEN,
  NFTA_TABLE_FLAGS,
  NFTA_TABLE_HANDLE,
  NFTA_TABLE_NAME,
  NFTA_TABLE_USE,
  NFTA_TABLE_USERDATA,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_MULTI,
  NLM_F_NONREC,
  NLM_F_REPLACE,
} from '../../../abi/constants.ts'
import { EBUSY, EEXIST, EINVAL, ENAMETOOLONG, ENOENT, EOPNOTSUPP } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import { isSupportedFamily, type Ruleset, Table, tableKey } from '../../filter/tables/ruleset.ts'
import { type Attributes, MessageWriter } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import type { Batch } from './batch.ts'
import { removeChain } from './chains.ts'
import { type Asker, attributesOf, blame, startMessage } from './header.ts'
import { removeObject } from './objects.ts'
import { removeRules } from './rules.ts'
import { removeSet } from './sets.ts'

/** The table that an attribute names; -EINVAL without one, -ENOENT. */
export function tableOf(
  ruleset: Ruleset,
  request: NetlinkRequest,
  attributes: Attributes,
  type: number,
): OrErrno<Table> {
  const name = attributes.string(type)
  if (name === undefined) return -EINVAL
  const table = ruleset.find(request.body[0], name)
  if (table !== undefined) return table
  blame(request, attributes.get(type))
  return -ENOENT
}

export function newTable(batch: Batch, request: NetlinkRequest): Status {
  const { ruleset } = batch
  const attributes = attributesOf(request)
  const family = request.body[0]
  if (!isSupportedFamily(family)) return -EOPNOTSUPP
  const name = attributes.string(NFTA_TABLE_NAME)
  if (name === undefined || name === '') return -EINVAL
  if (name.length >= NFT_TABLE_MAXNAMELEN) return -ENAMETOOLONG
  const flags = attributes.be32(NFTA_TABLE_FLAGS) ?? 0
  if ((flags & ~NFT_TABLE_F_MASK) !== 0) return -EOPNOTSUPP
  // A table that ends with its maker's socket.
  if ((flags & ~NFT_TABLE_F_DORMANT) !== 0) return -EOPNOTSUPP
  const found = ruleset.find(family, name)
  if (found !== undefined) {
    if ((request.flags & NLM_F_EXCL) !== 0) {
      blame(request, attributes.get(NFTA_TABLE_NAME))
      return -EEXIST
    }
    if ((request.flags & NLM_F_REPLACE) !== 0) return -EOPNOTSUPP
    if (attributes.has(NFTA_TABLE_FLAGS)) setFlags(batch, found, flags)
    tellTable(batch, request, found, NFT_MSG_NEWTABLE)
    return 0
  }
  const userData = attributes.get(NFTA_TABLE_USERDATA)?.slice(0, NFT_USERDATA_MAXLEN)
  const table = new Table(ruleset, family, name, flags, userData)
  batch.put(ruleset.tables, tableKey(family, name), table)
  tellTable(batch, request, table, NFT_MSG_NEWTABLE)
  return 0
}

/** A table falls asleep or wakes up. */
function setFlags(batch: Batch, table: Table, flags: number): void {
  const before = table.flags
  if (flags === before) return
  table.flags = flags
  applyDormancy(table)
  batch.did(() => {
    table.flags = before
    applyDormancy(table)
  })
}
function applyDormancy(table: Table): void {
  for (const { base } of table.chains.values()) {
    if (table.dormant) base?.unregister()
    else base?.register()
  }
}

export function deleteTable(batch: Batch, request: NetlinkRequest): Status {
  const { ruleset } = batch
  const attributes = attributesOf(request)
  const family = request.body[0]
  const handle = attributes.be64(NFTA_TABLE_HANDLE)
  if (family === NFPROTO_UNSPEC || (!attributes.has(NFTA_TABLE_NAME) && handle === undefined)) {
    // All of them: of a family, or with one name.
    const name = attributes.string(NFTA_TABLE_NAME)
    for (const table of [...ruleset.tables.values()]) {
      if (family !== NFPROTO_UNSPEC && table.family !== family) continue
      if (name === undefined || table.name === name) removeTable(batch, request, table)
    }
    return 0
  }
  let table: OrErrno<Table>
  if (handle === undefined) table = tableOf(ruleset, request, attributes, NFTA_TABLE_NAME)
  else table = ruleset.byHandle(family, handle) ?? -ENOENT
  if (typeof table === 'number') return table
  if ((request.flags & NLM_F_NONREC) !== 0 && useOf(table) > 0) return -EBUSY
  removeTable(batch, request, table)
  return 0
}

function removeTable(batch: Batch, request: NetlinkRequest, table: Table): void {
  for (const chain of table.chains.values()) removeRules(batch, request, chain)
  for (const set of [...table.sets.values()]) removeSet(batch, request, set)
  for (const object of [...table.objects.values()]) removeObject(batch, request, object)
  for (const chain of [...table.chains.values()]) removeChain(batch, request, chain)
  batch.take(batch.ruleset.tables, tableKey(table.family, table.name))
  tellTable(batch, request, table, NFT_MSG_DELTABLE)
}

function tellTable(batch: Batch, request: NetlinkRequest, table: Table, type: number): void {
  batch.tell(request, (writer, flags, asker) => writeTable(writer, table, type, flags, asker))
}

function useOf(table: Table): number {
  return table.chains.size + table.sets.size + table.objects.size
}

export function writeTable(
  writer: MessageWriter,
  table: Table,
  type: number,
  flags: number,
  request: Asker,
): void {
  startMessage(writer, NFNL_SUBSYS_NFTABLES, type, flags, request, table.family, table.ruleset.generation)
  writer.string(NFTA_TABLE_NAME, table.name)
  writer.be32(NFTA_TABLE_USE, useOf(table))
  writer.be64(NFTA_TABLE_HANDLE, table.handle)
  writer.be32(NFTA_TABLE_FLAGS, table.flags)
  if (table.userData !== undefined) writer.bytes(NFTA_TABLE_USERDATA, table.userData)
  writer.end()
}

export function getTables(ruleset: Ruleset, request: NetlinkRequest): Status | Dump {
  const family = request.body[0]
  if ((request.flags & NLM_F_DUMP) === 0) {
    const table = tableOf(ruleset, request, attributesOf(request), NFTA_TABLE_NAME)
    if (typeof table === 'number') return table
    const writer = new MessageWriter()
    writeTable(writer, table, NFT_MSG_NEWTABLE, 0, request)
    return request.answer(writer)
  }
  return new ListDump(
    tablesOf(ruleset, family),
    (writer, table) => writeTable(writer, table, NFT_MSG_NEWTABLE, NLM_F_MULTI, request),
    0,
    () => ruleset.generation,
  )
}

/** Of a family, or of all. */
export function tablesOf(ruleset: Ruleset, family: number): Table[] {
  return [...ruleset.tables.values()].filter(table => family === NFPROTO_UNSPEC || table.family === family)
}
