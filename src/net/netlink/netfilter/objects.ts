/** NFT_MSG_NEWOBJ, GETOBJ, DELOBJ: objects with names. */
import {
  NFNL_SUBSYS_NFTABLES,
  NFT_MSG_DELOBJ,
  NFT_MSG_GETOBJ_RESET,
  NFT_MSG_NEWOBJ,
  NFT_OBJ_MAXNAMELEN,
  NFT_OBJECT_UNSPEC,
  NFT_USERDATA_MAXLEN,
  NFTA_OBJ_DATA,
  NFTA_OBJ_HANDLE,
  NFTA_OBJ_NAME,
  NFTA_OBJ_TABLE,
  NFTA_OBJ_TYPE,
  NFTA_OBJ_USE,
  NFTA_OBJ_USERDATA,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_MULTI,
  NLM_F_REPLACE,
} from '../../../abi/constants.ts'
import { EBUSY, EEXIST, EINVAL, ENAMETOOLONG, ENOENT, EOPNOTSUPP } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import { Quota } from '../../filter/tables/expressions/quota.ts'
import { NfObject, objectKey, parseObject } from '../../filter/tables/object.ts'
import type { Ruleset, Table } from '../../filter/tables/ruleset.ts'
import { type Attributes, MessageWriter } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import type { Batch } from './batch.ts'
import { BatchContext } from './context.ts'
import { type Asker, attributesOf, blame, startMessage } from './header.ts'
import { tableOf, tablesOf } from './tables.ts'

export function newObject(batch: Batch, request: NetlinkRequest): Status {
  const attributes = attributesOf(request)
  const type = attributes.be32(NFTA_OBJ_TYPE)
  const name = attributes.string(NFTA_OBJ_NAME)
  if (type === undefined || name === undefined || !attributes.has(NFTA_OBJ_DATA)) return -EINVAL
  if (name.length >= NFT_OBJ_MAXNAMELEN) return -ENAMETOOLONG
  const table = tableOf(batch.ruleset, request, attributes, NFTA_OBJ_TABLE)
  if (typeof table === 'number') return table
  const found = table.objects.get(objectKey(type, name))
  if (found !== undefined) {
    if ((request.flags & NLM_F_EXCL) !== 0) {
      blame(request, attributes.get(NFTA_OBJ_NAME))
      return -EEXIST
    }
    if ((request.flags & NLM_F_REPLACE) !== 0) return -EOPNOTSUPP
  }
  const expression = parseObject(new BatchContext(batch, table, 0), type, attributes.nested(NFTA_OBJ_DATA))
  if (typeof expression === 'number') return expression
  if (found !== undefined) {
    if (found.expression instanceof Quota) changeQuota(batch, found.expression, expression as Quota)
    tellObject(batch, request, found, NFT_MSG_NEWOBJ)
    return 0
  }
  const userData = attributes.get(NFTA_OBJ_USERDATA)?.slice(0, NFT_USERDATA_MAXLEN)
  const object = new NfObject(table, name, type, expression, userData)
  batch.put(table.objects, objectKey(type, name), object)
  tellObject(batch, request, object, NFT_MSG_NEWOBJ)
  return 0
}

/** Only a quota can be given other values while it is in use. What has been consumed stays. */
function changeQuota(batch: Batch, quota: Quota, wanted: Quota): void {
  const before = { bytes: quota.bytes, flags: quota.flags }
  quota.bytes = wanted.bytes
  quota.flags = wanted.flags
  batch.did(() => Object.assign(quota, before))
}

function objectOf(table: Table, request: NetlinkRequest, attributes: Attributes): OrErrno<NfObject> {
  const type = attributes.be32(NFTA_OBJ_TYPE)
  const name = attributes.string(NFTA_OBJ_NAME)
  const handle = attributes.be64(NFTA_OBJ_HANDLE)
  if (type === undefined || (name === undefined && handle === undefined)) return -EINVAL
  const object =
    handle === undefined ? table.objects.get(objectKey(type, name!)) : table.objectByHandle(type, handle)
  if (object !== undefined) return object
  blame(request, attributes.get(handle === undefined ? NFTA_OBJ_NAME : NFTA_OBJ_HANDLE))
  return -ENOENT
}

export function deleteObject(batch: Batch, request: NetlinkRequest): Status {
  const attributes = attributesOf(request)
  const table = tableOf(batch.ruleset, request, attributes, NFTA_OBJ_TABLE)
  if (typeof table === 'number') return table
  const object = objectOf(table, request, attributes)
  if (typeof object === 'number') return object
  if (object.uses > 0) {
    blame(request, attributes.get(NFTA_OBJ_HANDLE) ?? attributes.get(NFTA_OBJ_NAME))
    return -EBUSY
  }
  removeObject(batch, request, object)
  return 0
}

/** Nobody uses it any more. */
export function removeObject(batch: Batch, request: NetlinkRequest, object: NfObject): void {
  batch.take(object.table.objects, objectKey(object.type, object.name))
  tellObject(batch, request, object, NFT_MSG_DELOBJ)
}

function tellObject(batch: Batch, request: NetlinkRequest, object: NfObject, type: number): void {
  batch.tell(request, (writer, flags, asker) => writeObject(writer, object, type, flags, asker))
}

function writeObject(
  writer: MessageWriter,
  object: NfObject,
  type: number,
  flags: number,
  request: Asker,
): void {
  const { table } = object
  const { generation } = table.ruleset
  startMessage(writer, NFNL_SUBSYS_NFTABLES, type, flags, request, table.family, generation)
  writer.string(NFTA_OBJ_TABLE, table.name)
  writer.string(NFTA_OBJ_NAME, object.name)
  writer.be64(NFTA_OBJ_HANDLE, object.handle)
  writer.be32(NFTA_OBJ_TYPE, object.type)
  writer.be32(NFTA_OBJ_USE, object.uses)
  const data = writer.nest(NFTA_OBJ_DATA)
  object.expression.write(writer)
  writer.close(data)
  if (object.userData !== undefined) writer.bytes(NFTA_OBJ_USERDATA, object.userData)
  writer.end()
}

/** GETOBJ_RESET: what counts begins anew once it has been shown. */
export function getObjects(ruleset: Ruleset, request: NetlinkRequest): Status | Dump {
  const attributes = attributesOf(request)
  const resets = (request.type & 0xff) === NFT_MSG_GETOBJ_RESET
  const write = (writer: MessageWriter, object: NfObject, flags: number) => {
    writeObject(writer, object, NFT_MSG_NEWOBJ, flags, request)
    if (resets) object.expression.reset?.()
  }
  if ((request.flags & NLM_F_DUMP) === 0) {
    const table = tableOf(ruleset, request, attributes, NFTA_OBJ_TABLE)
    if (typeof table === 'number') return table
    const object = objectOf(table, request, attributes)
    if (typeof object === 'number') return object
    const writer = new MessageWriter()
    write(writer, object, 0)
    return request.answer(writer)
  }
  const name = attributes.string(NFTA_OBJ_TABLE)
  const type = attributes.be32(NFTA_OBJ_TYPE) ?? NFT_OBJECT_UNSPEC
  const objects = tablesOf(ruleset, request.body[0])
    .filter(table => name === undefined || table.name === name)
    .flatMap(table => [...table.objects.values()])
    .filter(object => type === NFT_OBJECT_UNSPEC || object.type === type)
  return new ListDump(
    objects,
    (writer, object) => write(writer, object, NLM_F_MULTI),
    0,
    () => ruleset.generation,
  )
}
