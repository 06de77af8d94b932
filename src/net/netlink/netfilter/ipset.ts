/** NFNL_SUBSYS_IPSET: what ipset(8) asks for: sets made, changed, looked into, shown. */
import {
  IPSET_ATTR_ADT,
  IPSET_ATTR_DATA,
  IPSET_ATTR_FAMILY,
  IPSET_ATTR_FLAGS,
  IPSET_ATTR_INDEX,
  IPSET_ATTR_LINENO,
  IPSET_ATTR_PROTOCOL,
  IPSET_ATTR_PROTOCOL_MIN,
  IPSET_ATTR_REVISION,
  IPSET_ATTR_REVISION_MIN,
  IPSET_ATTR_SETNAME,
  IPSET_ATTR_SETNAME2,
  IPSET_ATTR_TYPENAME,
  IPSET_CMD_ADD,
  IPSET_CMD_CREATE,
  IPSET_CMD_DEL,
  IPSET_CMD_DESTROY,
  IPSET_CMD_FLUSH,
  IPSET_CMD_GET_BYINDEX,
  IPSET_CMD_GET_BYNAME,
  IPSET_CMD_HEADER,
  IPSET_CMD_LIST,
  IPSET_CMD_PROTOCOL,
  IPSET_CMD_RENAME,
  IPSET_CMD_SAVE,
  IPSET_CMD_SWAP,
  IPSET_CMD_TEST,
  IPSET_CMD_TYPE,
  IPSET_ERR_EXIST,
  IPSET_ERR_EXIST_SETNAME2,
  IPSET_ERR_FIND_TYPE,
  IPSET_ERR_PROTOCOL,
  IPSET_MAXNAMELEN,
  IPSET_PROTOCOL,
  IPSET_PROTOCOL_MIN,
  NFNL_SUBSYS_IPSET,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NLA_F_NET_BYTEORDER,
  NLM_F_DUMP,
  NLM_F_EXCL,
} from '../../../abi/constants.ts'
import { EEXIST, EINVAL, ENOENT, ERANGE } from '../../../abi/errno.ts'
import { failed, type OrErrno, type Status } from '../../../base/result.ts'
import { MAX_RANGE, readKeys } from '../../filter/ipset/members.ts'
import { IpSet, type SetConfig } from '../../filter/ipset/set.ts'
import type { IpSets } from '../../filter/ipset/sets.ts'
import { familyOf, findType } from '../../filter/ipset/types.ts'
import type { InetNetwork } from '../../inet/network.ts'
import { Attributes, MessageWriter } from '../message.ts'
import type { Dump, NetlinkRequest } from '../protocol.ts'
import { attributesOf, startMessage } from './header.ts'
import { readConfig, readOptions } from './ipset-attributes.ts'
import { dumpSets } from './ipset-dump.ts'

interface Call {
  readonly sets: IpSets
  readonly request: NetlinkRequest
  readonly attributes: Attributes
}
type Command = (call: Call) => Status | Dump

const COMMANDS: ReadonlyMap<number, Command> = new Map<number, Command>([
  [IPSET_CMD_PROTOCOL, protocol],
  [IPSET_CMD_CREATE, create],
  [IPSET_CMD_DESTROY, destroy],
  [IPSET_CMD_FLUSH, flush],
  [IPSET_CMD_RENAME, rename],
  [IPSET_CMD_SWAP, swap],
  [IPSET_CMD_LIST, list],
  [IPSET_CMD_SAVE, list],
  [IPSET_CMD_ADD, change],
  [IPSET_CMD_DEL, change],
  [IPSET_CMD_TEST, test],
  [IPSET_CMD_HEADER, header],
  [IPSET_CMD_TYPE, type],
  [IPSET_CMD_GET_BYNAME, byName],
  [IPSET_CMD_GET_BYINDEX, byIndex],
])

export function ipsetReceive(request: NetlinkRequest): Status | Dump {
  const command = COMMANDS.get(commandOf(request))
  if (command === undefined) return -EINVAL
  const attributes = attributesOf(request)
  const version = attributes.u8(IPSET_ATTR_PROTOCOL)
  if (version === undefined || version < IPSET_PROTOCOL_MIN || version > IPSET_PROTOCOL)
    return -IPSET_ERR_PROTOCOL
  return command({ sets: (request.stack.own as InetNetwork).netfilter.ipSets, request, attributes })
}

function commandOf({ type }: NetlinkRequest): number {
  return type & 0xff
}

/** The set of the request; -IPSET_ERR_PROTOCOL: it names none. */
function named({ sets, attributes }: Call, attribute = IPSET_ATTR_SETNAME): OrErrno<IpSet> {
  const name = attributes.string(attribute)
  if (name === undefined) return -IPSET_ERR_PROTOCOL
  return sets.find(name) ?? -ENOENT
}

function answer({ request }: Call, family: number, fill: (writer: MessageWriter) => void): Status {
  const writer = new MessageWriter()
  startMessage(writer, NFNL_SUBSYS_IPSET, commandOf(request), 0, request, family, 0)
  writer.u8(IPSET_ATTR_PROTOCOL, IPSET_PROTOCOL)
  fill(writer)
  writer.end()
  return request.answer(writer)
}

function protocol(call: Call): Status {
  return answer(call, NFPROTO_IPV4, writer => writer.u8(IPSET_ATTR_PROTOCOL_MIN, IPSET_PROTOCOL_MIN))
}

function type(call: Call): Status {
  const { attributes } = call
  const name = attributes.string(IPSET_ATTR_TYPENAME)
  const family = attributes.u8(IPSET_ATTR_FAMILY)
  if (name === undefined || family === undefined) return -IPSET_ERR_PROTOCOL
  const found = findType(name)
  if (found === undefined) return -IPSET_ERR_FIND_TYPE
  return answer(call, NFPROTO_IPV4, writer => {
    writer.string(IPSET_ATTR_TYPENAME, name)
    writer.u8(IPSET_ATTR_FAMILY, family)
    writer.u8(IPSET_ATTR_REVISION, found.revision)
    writer.u8(IPSET_ATTR_REVISION_MIN, 0)
  })
}

function header(call: Call): Status {
  const set = named(call)
  if (failed(set)) return set
  return answer(call, NFPROTO_IPV4, writer => {
    writer.string(IPSET_ATTR_SETNAME, set.name)
    writer.string(IPSET_ATTR_TYPENAME, set.type.name)
    writer.u8(IPSET_ATTR_FAMILY, familyOf(set.type, set.isV4))
    writer.u8(IPSET_ATTR_REVISION, set.type.revision)
  })
}

function create({ sets, request, attributes }: Call): Status {
  const name = attributes.string(IPSET_ATTR_SETNAME)
  const typeName = attributes.string(IPSET_ATTR_TYPENAME)
  const family = attributes.u8(IPSET_ATTR_FAMILY)
  if (name === undefined || name.length >= IPSET_MAXNAMELEN || typeName === undefined || family === undefined)
    return -IPSET_ERR_PROTOCOL
  const found = findType(typeName)
  if (found === undefined) return -IPSET_ERR_FIND_TYPE
  const isV4 = family !== NFPROTO_IPV6
  const { runtime } = (request.stack.own as InetNetwork).netfilter.stack
  const config = readConfig(found, isV4, attributes.nested(IPSET_ATTR_DATA), runtime.random)
  if (failed(config)) return config
  const status = sets.add(new IpSet(runtime, sets.room, name, found, isV4, config))
  if (status !== -EEXIST) return status
  // `create -exist`: if it is such a one.
  const old = sets.find(name)!
  const same = old.type === found && old.isV4 === isV4 && isSame(old.config, config)
  return (request.flags & NLM_F_EXCL) === 0 && same ? 0 : -EEXIST
}

function isSame(a: SetConfig, b: SetConfig): boolean {
  const name = ({ maxElements, timeout, counters, comments, netmask, range }: SetConfig) =>
    [maxElements, timeout, counters, comments, netmask, ...range].join()
  return name(a) === name(b)
}

function destroy(call: Call): Status {
  if (!call.attributes.has(IPSET_ATTR_SETNAME)) return call.sets.removeAll()
  const set = named(call)
  return failed(set) ? set : call.sets.remove(set)
}

function flush(call: Call): Status {
  if (!call.attributes.has(IPSET_ATTR_SETNAME)) {
    for (const set of call.sets.all()) set.clear()
    return 0
  }
  const set = named(call)
  if (failed(set)) return set
  set.clear()
  return 0
}

function rename(call: Call): Status {
  const set = named(call)
  const name = call.attributes.string(IPSET_ATTR_SETNAME2)
  if (failed(set)) return set
  if (name === undefined || name.length >= IPSET_MAXNAMELEN) return -IPSET_ERR_PROTOCOL
  return call.sets.rename(set, name)
}

function swap(call: Call): Status {
  const from = named(call)
  if (failed(from)) return from
  const to = named(call, IPSET_ATTR_SETNAME2)
  if (failed(to)) return to === -ENOENT ? -IPSET_ERR_EXIST_SETNAME2 : to
  return call.sets.swap(from, to)
}

function list(call: Call): Status | Dump {
  const { sets, request, attributes } = call
  if ((request.flags & NLM_F_DUMP) === 0) return -EINVAL
  const flags = attributes.be32(IPSET_ATTR_FLAGS) ?? 0
  if (!attributes.has(IPSET_ATTR_SETNAME)) return dumpSets(request, sets.all(), flags)
  const one = named(call)
  return failed(one) ? one : dumpSets(request, [one], flags)
}

/** `add` and `del`: of one element, or of many at once, which end with the first that fails. */
function change(call: Call): Status {
  const { request, attributes } = call
  const set = named(call)
  if (failed(set)) return set
  const isMany = attributes.has(IPSET_ATTR_ADT)
  if (isMany === attributes.has(IPSET_ATTR_DATA)) return -IPSET_ERR_PROTOCOL
  const items = isMany
    ? attributes.nested(IPSET_ATTR_ADT)!.list.map(({ value }) => value)
    : [attributes.get(IPSET_ATTR_DATA)!]
  const exist = (request.flags & NLM_F_EXCL) === 0
  let room = MAX_RANGE
  for (const item of items) {
    const data = new Attributes(item)
    const count = changeBy(set, data, commandOf(request) === IPSET_CMD_ADD, exist, room)
    if (count >= 0) {
      room -= count
      continue
    }
    // The error tells which line of what ipset has read it was: in the copy of the message that goes with it.
    const line = data.get(IPSET_ATTR_LINENO)
    const place = attributes.get(IPSET_ATTR_LINENO)
    if (line !== undefined && place !== undefined && line.length === place.length) place.set(line)
    return count
  }
  return 0
}

/** How many elements that were, `room` at most. */
function changeBy(set: IpSet, data: Attributes, adds: boolean, exist: boolean, room: number): number {
  const options = readOptions(set, data)
  if (failed(options)) return options
  const keys = readKeys(set, data, false)
  if (failed(keys)) return keys
  if (keys.length > room) return -ERANGE
  for (const key of keys) {
    const status = adds ? set.add(key, options, exist) : set.remove(key)
    if (status < 0 && !(exist && status === -IPSET_ERR_EXIST)) return status
  }
  return keys.length
}

function test(call: Call): Status {
  const set = named(call)
  if (failed(set)) return set
  const data = call.attributes.nested(IPSET_ATTR_DATA)
  if (data === undefined) return -IPSET_ERR_PROTOCOL
  const keys = readKeys(set, data, true)
  if (failed(keys)) return keys
  const member = set.find(keys[0])
  if (member === undefined) return -IPSET_ERR_EXIST
  const options = readOptions(set, data)
  const wantsNoMatch = !failed(options) && options.noMatch === true
  return member.noMatch === wantsNoMatch ? 0 : -IPSET_ERR_EXIST
}

function byName(call: Call): Status {
  const set = named(call)
  if (failed(set)) return set
  return answer(call, NFPROTO_IPV4, writer => {
    writer.u8(IPSET_ATTR_FAMILY, familyOf(set.type, set.isV4))
    writer.be16(IPSET_ATTR_INDEX | NLA_F_NET_BYTEORDER, set.index)
  })
}

function byIndex(call: Call): Status {
  const index = call.attributes.be16(IPSET_ATTR_INDEX)
  if (index === undefined) return -IPSET_ERR_PROTOCOL
  const set = call.sets.at(index)
  if (set === undefined) return -ENOENT
  return answer(call, NFPROTO_IPV4, writer => {
    writer.string(IPSET_ATTR_SETNAME, set.name)
    writer.be16(IPSET_ATTR_INDEX | NLA_F_NET_BYTEORDER, index)
  })
}
