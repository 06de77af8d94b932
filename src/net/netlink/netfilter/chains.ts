/** NFT_MSG_NEWCHAIN, GETCHAIN, DELCHAIN. */
import {
  NF_ACCEPT,
  NF_DROP,
  NF_IP_PRI_CONNTRACK,
  NFNL_SUBSYS_NFTABLES,
  NFT_CHAIN_BASE,
  NFT_CHAIN_BINDING,
  NFT_CHAIN_MAXNAMELEN,
  NFT_MSG_DELCHAIN,
  NFT_MSG_NEWCHAIN,
  NFT_USERDATA_MAXLEN,
  NFTA_CHAIN_COUNTERS,
  NFTA_CHAIN_FLAGS,
  NFTA_CHAIN_HANDLE,
  NFTA_CHAIN_HOOK,
  NFTA_CHAIN_ID,
  NFTA_CHAIN_NAME,
  NFTA_CHAIN_POLICY,
  NFTA_CHAIN_TABLE,
  NFTA_CHAIN_TYPE,
  NFTA_CHAIN_USE,
  NFTA_CHAIN_USERDATA,
  NFTA_COUNTER_BYTES,
  NFTA_COUNTER_PACKETS,
  NFTA_HOOK_HOOKNUM,
  NFTA_HOOK_PRIORITY,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_MULTI,
  NLM_F_NONREC,
  NLM_F_REPLACE,
} from '../../../abi/constants.ts'
import { EBUSY, EEXIST, EINVAL, ENAMETOOLONG, ENOENT, EOPNOTSUPP } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import { BaseChain, Chain, type ChainType, isPointOf } from '../../filter/tables/chain.ts'
import type { Ruleset, Table } from '../../filter/tables/ruleset.ts'
import { type Attributes, MessageWriter } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import type { Batch } from './batch.ts'
import { type Asker, attributesOf, blame, startMessage } from './header.ts'
import { removeRules } from './rules.ts'
import { tableOf, tablesOf } from './tables.ts'

const POINTS = 5
const TYPES: ReadonlySet<string> = new Set(['filter', 'nat', 'route'])

/** The chain that an attribute names; -EINVAL without one, -ENOENT. */
export function chainOf(
  table: Table,
  request: NetlinkRequest,
  attributes: Attributes,
  type: number,
): OrErrno<Chain> {
  const name = attributes.string(type)
  if (name === undefined) return -EINVAL
  const chain = table.chains.get(name)
  if (chain !== undefined) return chain
  blame(request, attributes.get(type))
  return -ENOENT
}

export function newChain(batch: Batch, request: NetlinkRequest): Status {
  const attributes = attributesOf(request)
  const table = tableOf(batch.ruleset, request, attributes, NFTA_CHAIN_TABLE)
  if (typeof table === 'number') return table
  const handle = attributes.be64(NFTA_CHAIN_HANDLE)
  const name = attributes.string(NFTA_CHAIN_NAME)
  const found =
    handle !== undefined
      ? table.chainByHandle(handle)
      : name === undefined
        ? undefined
        : table.chains.get(name)
  if (handle !== undefined && found === undefined) {
    blame(request, attributes.get(NFTA_CHAIN_HANDLE))
    return -ENOENT
  }
  const policy = attributes.be32(NFTA_CHAIN_POLICY)
  if (policy !== undefined) {
    const isBase = found === undefined ? attributes.has(NFTA_CHAIN_HOOK) : found.base !== undefined
    if (!isBase) return -EOPNOTSUPP
    if (policy !== NF_ACCEPT && policy !== NF_DROP) return -EINVAL
  }
  const flags = attributes.be32(NFTA_CHAIN_FLAGS) ?? 0
  // No hardware to offload to.
  if ((flags & ~(NFT_CHAIN_BASE | NFT_CHAIN_BINDING)) !== 0) return -EOPNOTSUPP
  if (found !== undefined) {
    if (found.binding) return -EINVAL
    if ((request.flags & NLM_F_EXCL) !== 0) {
      blame(request, attributes.get(NFTA_CHAIN_NAME))
      return -EEXIST
    }
    if ((request.flags & NLM_F_REPLACE) !== 0) return -EOPNOTSUPP
    return updateChain(batch, request, found, attributes)
  }
  return addChain(batch, request, table, attributes, flags)
}

function addChain(
  batch: Batch,
  request: NetlinkRequest,
  table: Table,
  attributes: Attributes,
  flags: number,
): Status {
  const isBinding = (flags & NFT_CHAIN_BINDING) !== 0
  // One rule's own has no name that anybody would have to know.
  const name = attributes.string(NFTA_CHAIN_NAME) ?? (isBinding ? batch.ruleset.nextChainName(table) : '')
  if (name === '') return -EINVAL
  if (name.length >= NFT_CHAIN_MAXNAMELEN) return -ENAMETOOLONG
  if (isBinding && ((flags & NFT_CHAIN_BASE) !== 0 || attributes.has(NFTA_CHAIN_HOOK))) return -EINVAL
  let base: BaseChain | undefined
  if (attributes.has(NFTA_CHAIN_HOOK)) {
    const read = readBase(request, attributes)
    if (typeof read === 'number') return read
    base = read
    base.policy = attributes.be32(NFTA_CHAIN_POLICY) ?? NF_ACCEPT
    const counters = readCounters(attributes)
    if (typeof counters === 'number') return counters
    base.counters = counters
    flags |= NFT_CHAIN_BASE
  } else if ((flags & NFT_CHAIN_BASE) !== 0) {
    return -EINVAL
  }
  const userData = attributes.get(NFTA_CHAIN_USERDATA)?.slice(0, NFT_USERDATA_MAXLEN)
  const chain = new Chain(table, name, flags, userData, base)
  batch.put(table.chains, name, chain)
  const id = attributes.be32(NFTA_CHAIN_ID)
  if (id !== undefined) batch.chains.set(id, chain)
  if (isBinding) batch.ownChains.push(chain)
  if (base !== undefined && !table.dormant) {
    base.register()
    batch.did(() => base.unregister())
  }
  tellChain(batch, request, chain, NFT_MSG_NEWCHAIN)
  return 0
}

function readBase(request: NetlinkRequest, attributes: Attributes): OrErrno<BaseChain> {
  const hook = attributes.nested(NFTA_CHAIN_HOOK)
  const point = hook?.be32(NFTA_HOOK_HOOKNUM)
  const priority = hook?.be32(NFTA_HOOK_PRIORITY)
  if (point === undefined || priority === undefined) return -EINVAL
  const type = attributes.string(NFTA_CHAIN_TYPE) ?? 'filter'
  if (!TYPES.has(type)) {
    blame(request, attributes.get(NFTA_CHAIN_TYPE))
    return -ENOENT
  }
  if (point >= POINTS || !isPointOf(type as ChainType, point)) return -EOPNOTSUPP
  if (type === 'nat' && (priority | 0) <= NF_IP_PRI_CONNTRACK) return -EOPNOTSUPP
  return new BaseChain(type as ChainType, point, priority | 0)
}

function readCounters(attributes: Attributes): OrErrno<{ packets: number; bytes: number }> | undefined {
  const nested = attributes.nested(NFTA_CHAIN_COUNTERS)
  if (nested === undefined) return undefined
  const packets = nested.be64(NFTA_COUNTER_PACKETS)
  const bytes = nested.be64(NFTA_COUNTER_BYTES)
  return packets === undefined || bytes === undefined ? -EINVAL : { packets, bytes }
}

/** A new policy, new counters, a new name. */
function updateChain(batch: Batch, request: NetlinkRequest, chain: Chain, attributes: Attributes): Status {
  const { base, table } = chain
  if (attributes.has(NFTA_CHAIN_HOOK)) {
    if (base === undefined) {
      blame(request, attributes.get(NFTA_CHAIN_NAME))
      return -EEXIST
    }
    const wanted = readBase(request, attributes)
    if (typeof wanted === 'number') return wanted
    const same = wanted.type === base.type && wanted.point === base.point && wanted.priority === base.priority
    if (!same) {
      blame(request, attributes.get(NFTA_CHAIN_TYPE) ?? attributes.get(NFTA_CHAIN_HOOK))
      return -EEXIST
    }
  }
  const name = attributes.string(NFTA_CHAIN_NAME)
  const renames = attributes.has(NFTA_CHAIN_HANDLE) && name !== undefined && name !== chain.name
  if (renames) {
    if (table.chains.has(name)) {
      blame(request, attributes.get(NFTA_CHAIN_NAME))
      return -EEXIST
    }
    rename(batch, chain, name)
  }
  const counters = readCounters(attributes)
  if (typeof counters === 'number') return counters
  if (counters !== undefined && base === undefined) return -EOPNOTSUPP
  if (base !== undefined) {
    const before = { policy: base.policy, counters: base.counters }
    base.policy = attributes.be32(NFTA_CHAIN_POLICY) ?? base.policy
    base.counters = counters ?? base.counters
    batch.did(() => Object.assign(base, before))
  }
  tellChain(batch, request, chain, NFT_MSG_NEWCHAIN)
  return 0
}

/** Keeps its place among the others. */
function rename(batch: Batch, chain: Chain, name: string): void {
  const { chains } = chain.table
  const before = [...chains]
  const old = chain.name
  const fill = (entries: [string, Chain][]) => {
    chains.clear()
    for (const [key, value] of entries) chains.set(key, value)
  }
  chain.name = name
  fill(before.map(([key, value]) => [value === chain ? name : key, value]))
  batch.did(() => {
    chain.name = old
    fill(before)
  })
}

export function deleteChain(batch: Batch, request: NetlinkRequest): Status {
  const attributes = attributesOf(request)
  const table = tableOf(batch.ruleset, request, attributes, NFTA_CHAIN_TABLE)
  if (typeof table === 'number') return table
  const handle = attributes.be64(NFTA_CHAIN_HANDLE)
  let chain: OrErrno<Chain>
  if (handle !== undefined) {
    chain = table.chainByHandle(handle) ?? -ENOENT
    if (typeof chain === 'number') blame(request, attributes.get(NFTA_CHAIN_HANDLE))
  } else chain = chainOf(table, request, attributes, NFTA_CHAIN_NAME)
  if (typeof chain === 'number') return chain
  if (chain.binding) return -EOPNOTSUPP
  if ((request.flags & NLM_F_NONREC) !== 0 && chain.use > 0) return -EBUSY
  removeRules(batch, request, chain)
  // Elements whose time is over lead nowhere any more.
  if (chain.references > 0) for (const set of table.sets.values()) if (set.isVerdictMap) set.sweep()
  if (chain.references > 0) {
    blame(request, attributes.get(handle === undefined ? NFTA_CHAIN_NAME : NFTA_CHAIN_HANDLE))
    return -EBUSY
  }
  removeChain(batch, request, chain)
  return 0
}

/** Without rules, and nobody jumps to it any more. */
export function removeChain(batch: Batch, request: NetlinkRequest, chain: Chain): void {
  const { base, table } = chain
  if (base !== undefined && !table.dormant) {
    base.unregister()
    batch.did(() => base.register())
  }
  batch.take(table.chains, chain.name)
  tellChain(batch, request, chain, NFT_MSG_DELCHAIN)
}

function tellChain(batch: Batch, request: NetlinkRequest, chain: Chain, type: number): void {
  batch.tell(request, (writer, flags, asker) => writeChain(writer, chain, type, flags, asker))
}

function writeChain(writer: MessageWriter, chain: Chain, type: number, flags: number, request: Asker): void {
  const { table, base } = chain
  const { generation } = table.ruleset
  startMessage(writer, NFNL_SUBSYS_NFTABLES, type, flags, request, table.family, generation)
  writer.string(NFTA_CHAIN_TABLE, table.name)
  writer.string(NFTA_CHAIN_NAME, chain.name)
  writer.be64(NFTA_CHAIN_HANDLE, chain.handle)
  if (base !== undefined) {
    const hook = writer.nest(NFTA_CHAIN_HOOK)
    writer.be32(NFTA_HOOK_HOOKNUM, base.point)
    writer.be32(NFTA_HOOK_PRIORITY, base.priority)
    writer.close(hook)
    writer.be32(NFTA_CHAIN_POLICY, base.policy)
    writer.string(NFTA_CHAIN_TYPE, base.type)
    if (base.counters !== undefined) {
      const counters = writer.nest(NFTA_CHAIN_COUNTERS)
      writer.be64(NFTA_COUNTER_PACKETS, base.counters.packets)
      writer.be64(NFTA_COUNTER_BYTES, base.counters.bytes)
      writer.close(counters)
    }
  }
  if (chain.flags !== 0) writer.be32(NFTA_CHAIN_FLAGS, chain.flags)
  writer.be32(NFTA_CHAIN_USE, chain.use)
  if (chain.userData !== undefined) writer.bytes(NFTA_CHAIN_USERDATA, chain.userData)
  writer.end()
}

export function getChains(ruleset: Ruleset, request: NetlinkRequest): Status | Dump {
  if ((request.flags & NLM_F_DUMP) === 0) {
    const attributes = attributesOf(request)
    const table = tableOf(ruleset, request, attributes, NFTA_CHAIN_TABLE)
    if (typeof table === 'number') return table
    const chain = chainOf(table, request, attributes, NFTA_CHAIN_NAME)
    if (typeof chain === 'number') return chain
    const writer = new MessageWriter()
    writeChain(writer, chain, NFT_MSG_NEWCHAIN, 0, request)
    return request.answer(writer)
  }
  return new ListDump(
    tablesOf(ruleset, request.body[0]).flatMap(table => [...table.chains.values()]),
    (writer, chain) => writeChain(writer, chain, NFT_MSG_NEWCHAIN, NLM_F_MULTI, request),
    0,
    () => ruleset.generation,
  )
}
