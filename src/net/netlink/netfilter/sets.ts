/** NFT_MSG_NEWSET, GETSET, DELSET. */
import {
  NFNL_SUBSYS_NFTABLES,
  NFT_DATA_RESERVED_MASK,
  NFT_DATA_VALUE_MAXLEN,
  NFT_DATA_VERDICT,
  NFT_MSG_DELSET,
  NFT_MSG_NEWSET,
  NFT_OBJECT_MAX,
  NFT_SET_ANONYMOUS,
  NFT_SET_CONCAT,
  NFT_SET_CONSTANT,
  NFT_SET_EVAL,
  NFT_SET_EXPR,
  NFT_SET_INTERVAL,
  NFT_SET_MAP,
  NFT_SET_MAXNAMELEN,
  NFT_SET_OBJECT,
  NFT_SET_POL_PERFORMANCE,
  NFT_SET_TIMEOUT,
  NFT_USERDATA_MAXLEN,
  NFTA_LIST_ELEM,
  NFTA_SET_DATA_LEN,
  NFTA_SET_DATA_TYPE,
  NFTA_SET_DESC,
  NFTA_SET_DESC_CONCAT,
  NFTA_SET_DESC_SIZE,
  NFTA_SET_EXPR,
  NFTA_SET_EXPRESSIONS,
  NFTA_SET_FIELD_LEN,
  NFTA_SET_FLAGS,
  NFTA_SET_GC_INTERVAL,
  NFTA_SET_HANDLE,
  NFTA_SET_ID,
  NFTA_SET_KEY_LEN,
  NFTA_SET_KEY_TYPE,
  NFTA_SET_NAME,
  NFTA_SET_OBJ_TYPE,
  NFTA_SET_POLICY,
  NFTA_SET_TABLE,
  NFTA_SET_TIMEOUT,
  NFTA_SET_USERDATA,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_MULTI,
  NLM_F_NONREC,
  NLM_F_REPLACE,
} from '../../../abi/constants.ts'
import { E2BIG, EBUSY, EEXIST, EINVAL, ENAMETOOLONG, ENFILE, ENOENT, EOPNOTSUPP } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import { MAX_STATEFUL, parseStateful } from '../../filter/tables/expression.ts'
import type { Ruleset, Table } from '../../filter/tables/ruleset.ts'
import { NfSet, type SetDescription } from '../../filter/tables/set.ts'
import { numberedName } from '../../filter/tables/set-numbers.ts'
import { Attributes, MessageWriter } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import type { Batch } from './batch.ts'
import { BatchContext } from './context.ts'
import { type Asker, attributesOf, blame, startMessage } from './header.ts'
import { tableOf, tablesOf } from './tables.ts'

const FLAGS =
  NFT_SET_ANONYMOUS |
  NFT_SET_CONSTANT |
  NFT_SET_INTERVAL |
  NFT_SET_MAP |
  NFT_SET_TIMEOUT |
  NFT_SET_EVAL |
  NFT_SET_CONCAT |
  NFT_SET_EXPR |
  NFT_SET_OBJECT
/** NFT_REG32_COUNT */
const MAX_FIELDS = 16

/** The set that an attribute names, or that this batch has numbered; -EINVAL, -ENOENT. */
export function setOf(
  table: Table,
  request: NetlinkRequest,
  attributes: Attributes,
  name: number,
  made?: NfSet,
): OrErrno<NfSet> {
  const text = attributes.string(name)
  if (text === undefined) return -EINVAL
  const set = table.sets.get(text) ?? made
  if (set !== undefined && set.table === table) return set
  blame(request, attributes.get(name))
  return -ENOENT
}

export function newSet(batch: Batch, request: NetlinkRequest): Status {
  const attributes = attributesOf(request)
  const described = describe(attributes)
  if (typeof described === 'number') return described
  const table = tableOf(batch.ruleset, request, attributes, NFTA_SET_TABLE)
  if (typeof table === 'number') return table
  const found = table.sets.get(described.name)
  if (found !== undefined) {
    if ((request.flags & NLM_F_EXCL) !== 0) {
      blame(request, attributes.get(NFTA_SET_NAME))
      return -EEXIST
    }
    return (request.flags & NLM_F_REPLACE) !== 0 ? -EOPNOTSUPP : sameKind(found.description, described)
  }
  if ((request.flags & NLM_F_CREATE) === 0) return -ENOENT
  const name = numbered(table, described.name)
  if (typeof name === 'number') return name
  const context = new BatchContext(batch, table, 0)
  for (const value of described.expressions) {
    const expression = parseStateful(context, value)
    if (typeof expression === 'number') return expression
  }
  const set = new NfSet(table, { ...described, name }, described.name)
  batch.put(table.sets, name, set)
  batch.did(() => table.setNumbers.free(set))
  batch.sets.set(attributes.be32(NFTA_SET_ID) ?? 0, set)
  tellSet(batch, request, set, NFT_MSG_NEWSET)
  return 0
}

/** `__set%d` becomes the first of such names that nobody has. */
function numbered(table: Table, name: string): OrErrno<string> {
  if (!name.includes('%')) return name
  if (!/^[^%]*%d[^%]*$/.test(name)) return -EINVAL
  const number = table.setNumbers.take(name, candidate => table.sets.has(candidate))
  return number === undefined ? -ENFILE : numberedName(name, number)
}

function sameKind(a: SetDescription, b: SetDescription): Status {
  const same =
    a.flags === b.flags &&
    a.keyType === b.keyType &&
    a.keyLength === b.keyLength &&
    a.dataType === b.dataType &&
    a.dataLength === b.dataLength &&
    a.objectType === b.objectType
  return same ? 0 : -EEXIST
}

function describe(attributes: Attributes): OrErrno<SetDescription> {
  const name = attributes.string(NFTA_SET_NAME)
  const keyLength = attributes.be32(NFTA_SET_KEY_LEN)
  if (!attributes.has(NFTA_SET_TABLE) || name === undefined || keyLength === undefined) return -EINVAL
  if (!attributes.has(NFTA_SET_ID) || name === '') return -EINVAL
  if (name.length >= NFT_SET_MAXNAMELEN) return -ENAMETOOLONG
  const keyType = attributes.be32(NFTA_SET_KEY_TYPE) ?? 0
  if ((keyType & NFT_DATA_RESERVED_MASK) >>> 0 === NFT_DATA_RESERVED_MASK) return -EINVAL
  if (keyLength === 0 || keyLength > NFT_DATA_VALUE_MAXLEN) return -EINVAL
  const flags = attributes.be32(NFTA_SET_FLAGS) ?? 0
  if ((flags & ~FLAGS) !== 0) return -EOPNOTSUPP
  // What is added by packets, or has data, has no object.
  if ((flags & NFT_SET_OBJECT) !== 0 && (flags & (NFT_SET_MAP | NFT_SET_EVAL)) !== 0) return -EOPNOTSUPP
  const data = describeData(attributes, flags)
  if (typeof data === 'number') return data
  const objectType = describeObjects(attributes, flags)
  if (objectType < 0) return objectType
  if (
    (attributes.has(NFTA_SET_TIMEOUT) || attributes.has(NFTA_SET_GC_INTERVAL)) &&
    (flags & NFT_SET_TIMEOUT) === 0
  )
    return -EINVAL
  const fields = readFields(attributes.nested(NFTA_SET_DESC), keyLength)
  if (typeof fields === 'number') return fields
  const expressions = readExpressions(attributes)
  if (typeof expressions === 'number') return expressions
  return {
    ...{ name, flags, keyType, keyLength, fields, expressions, objectType, ...data },
    policy: attributes.be32(NFTA_SET_POLICY),
    size: attributes.nested(NFTA_SET_DESC)?.be32(NFTA_SET_DESC_SIZE) ?? 0,
    timeout: attributes.be64(NFTA_SET_TIMEOUT) ?? 0,
    gcInterval: attributes.be32(NFTA_SET_GC_INTERVAL) ?? 0,
    userData: attributes.get(NFTA_SET_USERDATA)?.slice(0, NFT_USERDATA_MAXLEN),
  }
}

function describeData(
  attributes: Attributes,
  flags: number,
): OrErrno<{ readonly dataType: number; readonly dataLength: number }> {
  const dataType = attributes.be32(NFTA_SET_DATA_TYPE)
  if (dataType === undefined) return (flags & NFT_SET_MAP) !== 0 ? -EINVAL : { dataType: 0, dataLength: 0 }
  if ((flags & NFT_SET_MAP) === 0) return -EINVAL
  if (dataType === NFT_DATA_VERDICT) return { dataType, dataLength: 0 }
  if ((dataType & NFT_DATA_RESERVED_MASK) >>> 0 === NFT_DATA_RESERVED_MASK) return -EINVAL
  const dataLength = attributes.be32(NFTA_SET_DATA_LEN)
  if (dataLength === undefined || dataLength === 0 || dataLength > NFT_DATA_VALUE_MAXLEN) return -EINVAL
  return { dataType, dataLength }
}

/** NFT_OBJECT_*; 0: it is no map to objects. */
function describeObjects(attributes: Attributes, flags: number): Status {
  const type = attributes.be32(NFTA_SET_OBJ_TYPE)
  if (type === undefined) return (flags & NFT_SET_OBJECT) !== 0 ? -EINVAL : 0
  if ((flags & NFT_SET_OBJECT) === 0) return -EINVAL
  return type === 0 || type > NFT_OBJECT_MAX ? -EOPNOTSUPP : type
}

/** Lengths of a concatenation's fields, which fill the key. */
function readFields(description: Attributes | undefined, keyLength: number): OrErrno<number[]> {
  const list = description?.nested(NFTA_SET_DESC_CONCAT)
  if (list === undefined) return []
  const fields: number[] = []
  let total = 0
  for (const { type, value } of list.list) {
    if (type !== NFTA_LIST_ELEM) return -EINVAL
    const length = new Attributes(value).be32(NFTA_SET_FIELD_LEN)
    if (length === undefined || length === 0) return -EINVAL
    if (fields.length === MAX_FIELDS) return -E2BIG
    fields.push(length)
    total += (length + 3) & ~3
  }
  return total === ((keyLength + 3) & ~3) ? fields : -EINVAL
}

function readExpressions(attributes: Attributes): OrErrno<Uint8Array[]> {
  const one = attributes.get(NFTA_SET_EXPR)
  if (one !== undefined) return [one.slice()]
  const list = attributes.nested(NFTA_SET_EXPRESSIONS)?.list ?? []
  if (list.length > MAX_STATEFUL) return -E2BIG
  return list.map(({ value }) => value.slice())
}

export function deleteSet(batch: Batch, request: NetlinkRequest): Status {
  const attributes = attributesOf(request)
  const table = tableOf(batch.ruleset, request, attributes, NFTA_SET_TABLE)
  if (typeof table === 'number') return table
  const handle = attributes.be64(NFTA_SET_HANDLE)
  const set =
    handle === undefined
      ? setOf(table, request, attributes, NFTA_SET_NAME)
      : (table.setByHandle(handle) ?? -ENOENT)
  if (typeof set === 'number') return set
  if (set.bindings > 0 || ((request.flags & NLM_F_NONREC) !== 0 && set.size > 0)) {
    blame(request, attributes.get(NFTA_SET_NAME))
    return -EBUSY
  }
  removeSet(batch, request, set)
  return 0
}

/** With its elements. */
export function removeSet(batch: Batch, request: NetlinkRequest, set: NfSet): void {
  set.sweep()
  for (const element of [...set.elements()]) {
    set.remove(element)
    batch.did(() => set.add(element))
  }
  batch.take(set.table.sets, set.name)
  set.table.setNumbers.free(set)
  tellSet(batch, request, set, NFT_MSG_DELSET)
}

export function tellSet(batch: Batch, request: NetlinkRequest, set: NfSet, type: number): void {
  batch.tell(request, (writer, flags, asker) => writeSet(writer, set, type, flags, asker))
}

function writeSet(
  writer: MessageWriter,
  set: NfSet,
  type: number,
  messageFlags: number,
  request: Asker,
): void {
  const { table, description } = set
  const { generation } = table.ruleset
  startMessage(writer, NFNL_SUBSYS_NFTABLES, type, messageFlags, request, table.family, generation)
  writer.string(NFTA_SET_TABLE, table.name)
  writer.string(NFTA_SET_NAME, set.name)
  writer.be64(NFTA_SET_HANDLE, set.handle)
  if (description.flags !== 0) writer.be32(NFTA_SET_FLAGS, description.flags)
  writer.be32(NFTA_SET_KEY_TYPE, description.keyType)
  writer.be32(NFTA_SET_KEY_LEN, description.keyLength)
  if (set.isMap) {
    writer.be32(NFTA_SET_DATA_TYPE, description.dataType)
    writer.be32(NFTA_SET_DATA_LEN, description.dataLength)
  }
  if (description.objectType !== 0) writer.be32(NFTA_SET_OBJ_TYPE, description.objectType)
  if (description.timeout > 0) writer.be64(NFTA_SET_TIMEOUT, description.timeout)
  if (description.gcInterval > 0) writer.be32(NFTA_SET_GC_INTERVAL, description.gcInterval)
  if (description.policy !== undefined && description.policy !== NFT_SET_POL_PERFORMANCE)
    writer.be32(NFTA_SET_POLICY, description.policy)
  if (description.userData !== undefined) writer.bytes(NFTA_SET_USERDATA, description.userData)
  const nest = writer.nest(NFTA_SET_DESC)
  if (set.limit > 0) writer.be32(NFTA_SET_DESC_SIZE, set.limit)
  if (description.fields.length > 1) {
    const fields = writer.nest(NFTA_SET_DESC_CONCAT)
    for (const length of description.fields) {
      const field = writer.nest(NFTA_LIST_ELEM)
      writer.be32(NFTA_SET_FIELD_LEN, length)
      writer.close(field)
    }
    writer.close(fields)
  }
  writer.close(nest)
  if (description.expressions.length === 1) writer.bytes(NFTA_SET_EXPR, description.expressions[0])
  else if (description.expressions.length > 1) {
    const list = writer.nest(NFTA_SET_EXPRESSIONS)
    for (const value of description.expressions) writer.bytes(NFTA_LIST_ELEM, value)
    writer.close(list)
  }
  writer.end()
}

export function getSets(ruleset: Ruleset, request: NetlinkRequest): Status | Dump {
  const attributes = attributesOf(request)
  if ((request.flags & NLM_F_DUMP) === 0) {
    const table = tableOf(ruleset, request, attributes, NFTA_SET_TABLE)
    if (typeof table === 'number') return table
    const set = setOf(table, request, attributes, NFTA_SET_NAME)
    if (typeof set === 'number') return set
    const writer = new MessageWriter()
    writeSet(writer, set, NFT_MSG_NEWSET, 0, request)
    return request.answer(writer)
  }
  const name = attributes.string(NFTA_SET_TABLE)
  const sets = tablesOf(ruleset, request.body[0])
    .filter(table => name === undefined || table.name === name)
    .flatMap(table => [...table.sets.values()])
  return new ListDump(
    sets,
    (writer, set) => writeSet(writer, set, NFT_MSG_NEWSET, NLM_F_MULTI, request),
    0,
    () => ruleset.generation,
  )
}
