/** NFT_MSG_NEWSETELEM, GETSETELEM, DELSETELEM. */
import {
  NFNL_SUBSYS_NFTABLES,
  NFT_MSG_DELSETELEM,
  NFT_MSG_NEWSETELEM,
  NFT_SET_CONSTANT,
  NFT_SET_ELEM_CATCHALL,
  NFT_SET_ELEM_INTERVAL_END,
  NFT_SET_INTERVAL,
  NFT_SET_OBJECT,
  NFT_SET_TIMEOUT,
  NFT_USERDATA_MAXLEN,
  NFTA_DATA_VALUE,
  NFTA_LIST_ELEM,
  NFTA_SET_ELEM_DATA,
  NFTA_SET_ELEM_EXPIRATION,
  NFTA_SET_ELEM_EXPR,
  NFTA_SET_ELEM_EXPRESSIONS,
  NFTA_SET_ELEM_FLAGS,
  NFTA_SET_ELEM_KEY,
  NFTA_SET_ELEM_KEY_END,
  NFTA_SET_ELEM_LIST_ELEMENTS,
  NFTA_SET_ELEM_LIST_SET,
  NFTA_SET_ELEM_LIST_SET_ID,
  NFTA_SET_ELEM_LIST_TABLE,
  NFTA_SET_ELEM_OBJREF,
  NFTA_SET_ELEM_TIMEOUT,
  NFTA_SET_ELEM_USERDATA,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_MULTI,
} from '../../../abi/constants.ts'
import { E2BIG, EBUSY, EEXIST, EINVAL, ENFILE, ENOENT } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import { readValue, readVerdict, Verdict, writeValue, writeVerdict } from '../../filter/tables/data.ts'
import {
  type Expression,
  MAX_STATEFUL,
  parseStateful,
  writeExpression,
} from '../../filter/tables/expression.ts'
import { type NfObject, objectKey } from '../../filter/tables/object.ts'
import type { Ruleset } from '../../filter/tables/ruleset.ts'
import type { NfSet, SetElement } from '../../filter/tables/set.ts'
import { Attributes, MessageWriter } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import type { Batch } from './batch.ts'
import { BatchContext } from './context.ts'
import { type Asker, attributesOf, blame, startMessage } from './header.ts'
import { NFT_MSG_DESTROYSETELEM, NFT_MSG_GETSETELEM_RESET } from './newer-messages.ts'
import { setOf } from './sets.ts'
import { tableOf } from './tables.ts'

/** How many elements one message of a dump holds. */
const PIECE = 64
const NSEC_PER_MSEC = 1e6

export function newElements(batch: Batch, request: NetlinkRequest): Status {
  const attributes = attributesOf(request)
  if (!attributes.has(NFTA_SET_ELEM_LIST_ELEMENTS)) return -EINVAL
  const set = findSet(batch, request, attributes)
  if (typeof set === 'number') return set
  // A constant set is filled before it is used.
  if (set.bindings > 0 && (set.description.flags & NFT_SET_CONSTANT) !== 0) return -EBUSY
  // Whatever their types are: some number their elements.
  for (const { value } of attributes.nested(NFTA_SET_ELEM_LIST_ELEMENTS)!.list) {
    const status = addElement(batch, set, request, new Attributes(value))
    if (status < 0) {
      blame(request, value)
      return status
    }
  }
  return 0
}

function findSet(batch: Batch, request: NetlinkRequest, attributes: Attributes): OrErrno<NfSet> {
  const table = tableOf(batch.ruleset, request, attributes, NFTA_SET_ELEM_LIST_TABLE)
  if (typeof table === 'number') return table
  const id = attributes.be32(NFTA_SET_ELEM_LIST_SET_ID)
  const made = id === undefined ? undefined : batch.sets.get(id)
  return setOf(table, request, attributes, NFTA_SET_ELEM_LIST_SET, made)
}

interface Key {
  readonly key: Uint8Array
  readonly keyEnd: Uint8Array | undefined
  readonly flags: number
}

function readKey(set: NfSet, attributes: Attributes): OrErrno<Key> {
  const flags = attributes.be32(NFTA_SET_ELEM_FLAGS) ?? 0
  if ((flags & ~(NFT_SET_ELEM_INTERVAL_END | NFT_SET_ELEM_CATCHALL)) !== 0) return -EINVAL
  const isInterval = (set.description.flags & NFT_SET_INTERVAL) !== 0
  if ((flags & NFT_SET_ELEM_INTERVAL_END) !== 0 && !isInterval) return -EINVAL
  if ((flags & NFT_SET_ELEM_CATCHALL) !== 0) {
    if (attributes.has(NFTA_SET_ELEM_KEY)) return -EINVAL
    return { key: new Uint8Array(0), keyEnd: undefined, flags }
  }
  const key = readKeyValue(set, attributes, NFTA_SET_ELEM_KEY)
  if (typeof key === 'number') return key
  if (!attributes.has(NFTA_SET_ELEM_KEY_END)) return { key, keyEnd: undefined, flags }
  const keyEnd = readKeyValue(set, attributes, NFTA_SET_ELEM_KEY_END)
  return typeof keyEnd === 'number' ? keyEnd : { key, keyEnd, flags }
}
function readKeyValue(set: NfSet, attributes: Attributes, type: number): OrErrno<Uint8Array> {
  const value = attributes.nested(type)?.get(NFTA_DATA_VALUE)
  return value === undefined || value.length !== set.description.keyLength ? -EINVAL : value.slice()
}

function addElement(batch: Batch, set: NfSet, request: NetlinkRequest, attributes: Attributes): Status {
  const key = readKey(set, attributes)
  if (typeof key === 'number') return key
  const timeout = readTimeout(set, attributes)
  if (typeof timeout === 'number') return timeout
  const context = new BatchContext(batch, set.table, 0)
  const data = readData(set, context, attributes, key.flags)
  if (typeof data === 'number') return data
  const object = readObject(set, attributes, key.flags)
  if (typeof object === 'number') return object
  const expressions = readExpressions(set, context, attributes)
  if (typeof expressions === 'number') return expressions
  const found = set.find(key.key, key.keyEnd, key.flags)
  if (found !== undefined) {
    const same = sameData(found.data, data) && found.object === object
    return !same || (request.flags & NLM_F_EXCL) !== 0 ? -EEXIST : 0
  }
  if (set.limit > 0 && set.size >= set.limit * (set.intervals ? 2 : 1)) return -ENFILE
  const userData = attributes.get(NFTA_SET_ELEM_USERDATA)?.slice(0, NFT_USERDATA_MAXLEN)
  const element = { ...key, ...timeout, data, object, userData, expressions }
  set.add(element)
  batch.did(() => set.remove(element))
  tellElement(batch, request, set, element, NFT_MSG_NEWSETELEM)
  return 0
}

function readTimeout(
  set: NfSet,
  attributes: Attributes,
): OrErrno<{ readonly timeout: number; expires: number }> {
  const { flags, timeout: usual } = set.description
  const own = attributes.be64(NFTA_SET_ELEM_TIMEOUT)
  const left = attributes.be64(NFTA_SET_ELEM_EXPIRATION)
  if ((own !== undefined || left !== undefined) && (flags & NFT_SET_TIMEOUT) === 0) return -EINVAL
  const timeout = (flags & NFT_SET_TIMEOUT) === 0 ? 0 : (own ?? usual)
  if (timeout === 0) return { timeout, expires: Number.POSITIVE_INFINITY }
  if (left !== undefined && left > timeout) return -EINVAL
  const now = set.table.netfilter.stack.runtime.now()
  return { timeout, expires: now + (left ?? timeout) * NSEC_PER_MSEC }
}

/** What a map has for the key; undefined where there is nothing to be. */
function readData(
  set: NfSet,
  context: BatchContext,
  attributes: Attributes,
  flags: number,
): OrErrno<Uint8Array | Verdict> | undefined {
  if (!set.isMap) return attributes.has(NFTA_SET_ELEM_DATA) ? -EINVAL : undefined
  const isEnd = (flags & NFT_SET_ELEM_INTERVAL_END) !== 0
  if (!attributes.has(NFTA_SET_ELEM_DATA)) return isEnd ? undefined : -EINVAL
  if (isEnd) return -EINVAL
  if (set.isVerdictMap) return readVerdict(context, attributes, NFTA_SET_ELEM_DATA)
  const value = readValue(attributes, NFTA_SET_ELEM_DATA)
  if (typeof value === 'number') return value
  return value.length === set.description.dataLength ? value : -EINVAL
}

/** Which object a map has for the key; undefined where there is none to be. */
function readObject(set: NfSet, attributes: Attributes, flags: number): OrErrno<NfObject> | undefined {
  const name = attributes.string(NFTA_SET_ELEM_OBJREF)
  const isEnd = (flags & NFT_SET_ELEM_INTERVAL_END) !== 0
  if ((set.description.flags & NFT_SET_OBJECT) === 0) return name === undefined ? undefined : -EINVAL
  if (name === undefined) return isEnd ? undefined : -EINVAL
  if (isEnd) return -EINVAL
  return set.table.objects.get(objectKey(set.description.objectType, name)) ?? -ENOENT
}

function sameData(a: SetElement['data'], b: SetElement['data']): boolean {
  if (a instanceof Verdict) return b instanceof Verdict && a.code === b.code && a.chain === b.chain
  if (a === undefined || b === undefined || b instanceof Verdict) return a === b
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}

/** An element's own, or else new ones like the set's. */
function readExpressions(set: NfSet, context: BatchContext, attributes: Attributes): OrErrno<Expression[]> {
  const own = attributes.get(NFTA_SET_ELEM_EXPR)
  const list = own === undefined ? attributes.nested(NFTA_SET_ELEM_EXPRESSIONS)?.list : [{ value: own }]
  const values = list?.map(({ value }) => value) ?? set.description.expressions
  if (values.length > MAX_STATEFUL) return -E2BIG
  const expressions: Expression[] = []
  for (const value of values) {
    const expression = parseStateful(context, value)
    if (typeof expression === 'number') return expression
    expressions.push(expression)
  }
  return expressions
}

export function deleteElements(batch: Batch, request: NetlinkRequest): Status {
  const attributes = attributesOf(request)
  const set = findSet(batch, request, attributes)
  if (typeof set === 'number') return set
  if (set.bindings > 0 && (set.description.flags & NFT_SET_CONSTANT) !== 0) return -EBUSY
  const remove = (element: SetElement) => {
    set.remove(element)
    batch.did(() => set.add(element))
    tellElement(batch, request, set, element, NFT_MSG_DELSETELEM)
  }
  const mayBeGone = (request.type & 0xff) === NFT_MSG_DESTROYSETELEM
  const list = attributes.nested(NFTA_SET_ELEM_LIST_ELEMENTS)
  if (list === undefined) {
    set.sweep()
    for (const element of [...set.elements()]) remove(element)
    return 0
  }
  for (const { value } of list.list) {
    const key = readKey(set, new Attributes(value))
    const element = typeof key === 'number' ? key : (set.find(key.key, key.keyEnd, key.flags) ?? -ENOENT)
    if (element === -ENOENT && mayBeGone) continue
    if (typeof element === 'number') {
      blame(request, value)
      return element
    }
    remove(element)
  }
  return 0
}

function tellElement(
  batch: Batch,
  request: NetlinkRequest,
  set: NfSet,
  element: SetElement,
  type: number,
): void {
  batch.tell(request, (writer, flags, asker) => writeElements(writer, set, [element], type, flags, asker))
}

function writeElement(writer: MessageWriter, set: NfSet, element: SetElement): void {
  const nest = writer.nest(NFTA_LIST_ELEM)
  if ((element.flags & NFT_SET_ELEM_CATCHALL) === 0) writeValue(writer, NFTA_SET_ELEM_KEY, element.key)
  if (element.keyEnd !== undefined) writeValue(writer, NFTA_SET_ELEM_KEY_END, element.keyEnd)
  const { data } = element
  if (data instanceof Verdict) writeVerdict(writer, NFTA_SET_ELEM_DATA, data)
  else if (data !== undefined) writeValue(writer, NFTA_SET_ELEM_DATA, data)
  if (element.expressions.length === 1) writeExpression(writer, NFTA_SET_ELEM_EXPR, element.expressions[0])
  else if (element.expressions.length > 1) {
    const list = writer.nest(NFTA_SET_ELEM_EXPRESSIONS)
    for (const expression of element.expressions) writeExpression(writer, NFTA_LIST_ELEM, expression)
    writer.close(list)
  }
  if (element.object !== undefined) writer.string(NFTA_SET_ELEM_OBJREF, element.object.name)
  if (element.flags !== 0) writer.be32(NFTA_SET_ELEM_FLAGS, element.flags)
  if (element.timeout > 0) {
    if (element.timeout !== set.description.timeout) writer.be64(NFTA_SET_ELEM_TIMEOUT, element.timeout)
    const left = element.expires - set.table.netfilter.stack.runtime.now()
    writer.be64(NFTA_SET_ELEM_EXPIRATION, Math.max(Math.floor(left / NSEC_PER_MSEC), 0))
  }
  if (element.userData !== undefined) writer.bytes(NFTA_SET_ELEM_USERDATA, element.userData)
  writer.close(nest)
}

function writeElements(
  writer: MessageWriter,
  set: NfSet,
  elements: readonly SetElement[],
  type: number,
  flags: number,
  request: Asker,
): void {
  const { table } = set
  const { generation } = table.ruleset
  startMessage(writer, NFNL_SUBSYS_NFTABLES, type, flags, request, table.family, generation)
  writer.string(NFTA_SET_ELEM_LIST_TABLE, table.name)
  writer.string(NFTA_SET_ELEM_LIST_SET, set.name)
  const list = writer.nest(NFTA_SET_ELEM_LIST_ELEMENTS)
  for (const element of elements) writeElement(writer, set, element)
  writer.close(list)
  writer.end()
}

function resetElement({ expressions }: SetElement): void {
  for (const expression of expressions) expression.reset?.()
}

/** GETSETELEM_RESET: what counts begins anew once it has been shown. */
export function getElements(ruleset: Ruleset, request: NetlinkRequest): Status | Dump {
  const attributes = attributesOf(request)
  const table = tableOf(ruleset, request, attributes, NFTA_SET_ELEM_LIST_TABLE)
  if (typeof table === 'number') return table
  const set = setOf(table, request, attributes, NFTA_SET_ELEM_LIST_SET)
  if (typeof set === 'number') return set
  const resets = (request.type & 0xff) === NFT_MSG_GETSETELEM_RESET
  if ((request.flags & NLM_F_DUMP) !== 0) {
    const all = [...set.elements()]
    const pieces: SetElement[][] = []
    for (let at = 0; at < all.length; at += PIECE) pieces.push(all.slice(at, at + PIECE))
    return new ListDump(
      pieces,
      (writer, piece) => {
        writeElements(writer, set, piece, NFT_MSG_NEWSETELEM, NLM_F_MULTI, request)
        if (resets) for (const element of piece) resetElement(element)
      },
      0,
      () => ruleset.generation,
    )
  }
  const list = attributes.nested(NFTA_SET_ELEM_LIST_ELEMENTS)
  if (list === undefined) return -EINVAL
  for (const { value } of list.list) {
    const key = readKey(set, new Attributes(value))
    if (typeof key === 'number') return key
    const element = set.find(key.key, key.keyEnd, key.flags) ?? set.lookup(key.key, 0)
    if (element === undefined) {
      blame(request, value)
      return -ENOENT
    }
    const writer = new MessageWriter()
    writeElements(writer, set, [element], NFT_MSG_NEWSETELEM, 0, request)
    if (resets) resetElement(element)
    const status = request.answer(writer)
    if (status < 0) return status
  }
  return 0
}
