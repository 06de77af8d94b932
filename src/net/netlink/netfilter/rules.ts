/** NFT_MSG_NEWRULE, GETRULE, DELRULE. */
import {
  NFNL_SUBSYS_NFTABLES,
  NFT_MSG_DELRULE,
  NFT_MSG_DELSET,
  NFT_MSG_NEWRULE,
  NFT_USERDATA_MAXLEN,
  NFTA_LIST_ELEM,
  NFTA_RULE_CHAIN,
  NFTA_RULE_CHAIN_ID,
  NFTA_RULE_COMPAT,
  NFTA_RULE_COMPAT_PROTO,
  NFTA_RULE_EXPRESSIONS,
  NFTA_RULE_HANDLE,
  NFTA_RULE_ID,
  NFTA_RULE_POSITION,
  NFTA_RULE_POSITION_ID,
  NFTA_RULE_TABLE,
  NFTA_RULE_USERDATA,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_MULTI,
  NLM_F_REPLACE,
} from '../../../abi/constants.ts'
import { EEXIST, EINVAL, EMLINK, ENOENT, EOPNOTSUPP } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import { type Chain, Rule } from '../../filter/tables/chain.ts'
import { MAX_JUMPS } from '../../filter/tables/evaluation.ts'
import { type Expression, parseExpressions, writeExpression } from '../../filter/tables/expression.ts'
import type { Ruleset, Table } from '../../filter/tables/ruleset.ts'
import { type Attributes, MessageWriter } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import type { Batch } from './batch.ts'
import { chainOf } from './chains.ts'
import { BatchContext } from './context.ts'
import { type Asker, attributesOf, blame, startMessage } from './header.ts'
import { NFT_MSG_GETRULE_RESET } from './newer-messages.ts'
import { tellSet } from './sets.ts'
import { tableOf, tablesOf } from './tables.ts'

export function newRule(batch: Batch, request: NetlinkRequest): Status {
  const attributes = attributesOf(request)
  const table = tableOf(batch.ruleset, request, attributes, NFTA_RULE_TABLE)
  if (typeof table === 'number') return table
  const chain = ruleChain(batch, table, request, attributes)
  if (typeof chain === 'number') return chain
  if (chain.bound) return -EOPNOTSUPP
  const place = findPlace(batch, chain, request, attributes)
  if (typeof place === 'number') return place
  const list = attributes.nested(NFTA_RULE_EXPRESSIONS)
  const protocol = attributes.nested(NFTA_RULE_COMPAT)?.be32(NFTA_RULE_COMPAT_PROTO) ?? 0
  const context = new BatchContext(batch, table, protocol)
  const expressions =
    list === undefined ? [] : parseExpressions(context, list, value => blame(request, value))
  if (typeof expressions === 'number') return expressions
  if (!nest(chain, expressions)) return -EMLINK
  const userData = attributes.get(NFTA_RULE_USERDATA)?.slice(0, NFT_USERDATA_MAXLEN)
  if (place.replaced !== undefined) removeRule(batch, request, place.replaced)
  const rule = new Rule(chain, place.replaced?.handle ?? table.nextHandle(), expressions, userData)
  batch.madeRule(rule)
  addRule(batch, rule, place.at)
  tellRule(batch, request, rule, NFT_MSG_NEWRULE)
  const id = attributes.be32(NFTA_RULE_ID)
  if (id !== undefined) batch.rules.set(id, rule)
  return 0
}

/** False: chains that are rules' own stand in each other deeper than a packet could jump. */
function nest(chain: Chain, expressions: readonly Expression[]): boolean {
  for (const expression of expressions) {
    for (const target of expression.targets?.() ?? []) {
      if (!target.binding) continue
      if (target.depth >= MAX_JUMPS) return false
      chain.depth = Math.max(chain.depth, target.depth + 1)
    }
  }
  return true
}

function ruleChain(
  batch: Batch,
  table: Table,
  request: NetlinkRequest,
  attributes: Attributes,
): OrErrno<Chain> {
  if (attributes.has(NFTA_RULE_CHAIN)) return chainOf(table, request, attributes, NFTA_RULE_CHAIN)
  const id = attributes.be32(NFTA_RULE_CHAIN_ID)
  if (id === undefined) return -EINVAL
  const chain = batch.chains.get(id)
  if (chain !== undefined && chain.table === table) return chain
  blame(request, attributes.get(NFTA_RULE_CHAIN_ID))
  return -ENOENT
}

interface Place {
  /** Index in the chain, once the replaced rule is out. */
  readonly at: number
  readonly replaced?: Rule
}

/** NLM_F_APPEND: behind the rule that is named, or last; else before it, or first. */
function findPlace(
  batch: Batch,
  chain: Chain,
  request: NetlinkRequest,
  attributes: Attributes,
): OrErrno<Place> {
  const { flags } = request
  const handle = attributes.be64(NFTA_RULE_HANDLE)
  if (handle !== undefined) {
    const replaced = chain.ruleByHandle(handle)
    if (replaced === undefined) {
      blame(request, attributes.get(NFTA_RULE_HANDLE))
      return -ENOENT
    }
    if ((flags & NLM_F_EXCL) !== 0) return -EEXIST
    if ((flags & NLM_F_REPLACE) === 0) return -EOPNOTSUPP
    return { at: chain.rules.indexOf(replaced), replaced }
  }
  if ((flags & NLM_F_CREATE) === 0 || (flags & NLM_F_REPLACE) !== 0) return -EINVAL
  const position = attributes.be64(NFTA_RULE_POSITION)
  const positionId = attributes.be32(NFTA_RULE_POSITION_ID)
  const appends = (flags & NLM_F_APPEND) !== 0
  if (position === undefined && positionId === undefined) return { at: appends ? chain.rules.length : 0 }
  const other = position !== undefined ? chain.ruleByHandle(position) : batch.rules.get(positionId!)
  const at = other === undefined ? -1 : chain.rules.indexOf(other)
  if (at < 0) {
    blame(request, attributes.get(position === undefined ? NFTA_RULE_POSITION_ID : NFTA_RULE_POSITION))
    return -ENOENT
  }
  return { at: appends ? at + 1 : at }
}

function addRule(batch: Batch, rule: Rule, at: number): void {
  const { rules } = rule.chain
  rules.splice(at, 0, rule)
  rule.attach()
  batch.did(() => {
    // All that came after it is undone already.
    rules.splice(at, 1)
    rule.detach()
  })
}

function removeRule(batch: Batch, request: NetlinkRequest, rule: Rule): void {
  const { rules } = rule.chain
  const at = rules.indexOf(rule)
  rules.splice(at, 1)
  rule.detach()
  batch.did(() => {
    rules.splice(at, 0, rule)
    rule.attach()
  })
  tellRemoval(batch, request, rule)
}

/** All of a chain's. */
export function removeRules(batch: Batch, request: NetlinkRequest, { rules }: Chain): void {
  const removed = rules.splice(0)
  for (const rule of removed) rule.detach()
  batch.did(() => {
    rules.push(...removed)
    for (const rule of removed) rule.attach()
  })
  for (const rule of removed) tellRemoval(batch, request, rule)
}

/** With it go the sets that were its own. */
function tellRemoval(batch: Batch, request: NetlinkRequest, rule: Rule): void {
  tellRule(batch, request, rule, NFT_MSG_DELRULE)
  for (const { set } of rule.expressions) if (set?.anonymous) tellSet(batch, request, set, NFT_MSG_DELSET)
}

function tellRule(batch: Batch, request: NetlinkRequest, rule: Rule, type: number): void {
  batch.tell(request, (writer, flags, asker) => {
    const { rules } = rule.chain
    writeRule(writer, rule, rules[rules.indexOf(rule) - 1], type, flags, asker)
  })
}

export function deleteRule(batch: Batch, request: NetlinkRequest): Status {
  const attributes = attributesOf(request)
  const table = tableOf(batch.ruleset, request, attributes, NFTA_RULE_TABLE)
  if (typeof table === 'number') return table
  if (!attributes.has(NFTA_RULE_CHAIN)) {
    for (const chain of table.chains.values()) if (!chain.binding) removeRules(batch, request, chain)
    return 0
  }
  const chain = chainOf(table, request, attributes, NFTA_RULE_CHAIN)
  if (typeof chain === 'number') return chain
  if (chain.binding) return -EOPNOTSUPP
  const handle = attributes.be64(NFTA_RULE_HANDLE)
  const id = attributes.be32(NFTA_RULE_ID)
  if (handle === undefined && id === undefined) {
    removeRules(batch, request, chain)
    return 0
  }
  const rule = handle !== undefined ? chain.ruleByHandle(handle) : batch.rules.get(id!)
  if (rule === undefined || rule.chain !== chain) {
    blame(request, attributes.get(handle === undefined ? NFTA_RULE_ID : NFTA_RULE_HANDLE))
    return -ENOENT
  }
  removeRule(batch, request, rule)
  return 0
}

function writeRule(
  writer: MessageWriter,
  rule: Rule,
  before: Rule | undefined,
  type: number,
  flags: number,
  request: Asker,
): void {
  const { chain } = rule
  const { table } = chain
  const { generation } = table.ruleset
  startMessage(writer, NFNL_SUBSYS_NFTABLES, type, flags, request, table.family, generation)
  writer.string(NFTA_RULE_TABLE, table.name)
  writer.string(NFTA_RULE_CHAIN, chain.name)
  writer.be64(NFTA_RULE_HANDLE, rule.handle)
  if (before !== undefined) writer.be64(NFTA_RULE_POSITION, before.handle)
  const list = writer.nest(NFTA_RULE_EXPRESSIONS)
  for (const expression of rule.expressions) writeExpression(writer, NFTA_LIST_ELEM, expression)
  writer.close(list)
  if (rule.userData !== undefined) writer.bytes(NFTA_RULE_USERDATA, rule.userData)
  writer.end()
}

/** GETRULE_RESET: what counts begins anew once it has been shown. */
export function getRules(ruleset: Ruleset, request: NetlinkRequest): Status | Dump {
  const attributes = attributesOf(request)
  const resets = (request.type & 0xff) === NFT_MSG_GETRULE_RESET
  const write = (writer: MessageWriter, rule: Rule, before: Rule | undefined, flags: number) => {
    writeRule(writer, rule, before, NFT_MSG_NEWRULE, flags, request)
    if (resets) for (const expression of rule.expressions) expression.reset?.()
  }
  if ((request.flags & NLM_F_DUMP) === 0) {
    const table = tableOf(ruleset, request, attributes, NFTA_RULE_TABLE)
    if (typeof table === 'number') return table
    const chain = chainOf(table, request, attributes, NFTA_RULE_CHAIN)
    if (typeof chain === 'number') return chain
    const rule = chain.ruleByHandle(attributes.be64(NFTA_RULE_HANDLE) ?? 0)
    if (rule === undefined) {
      blame(request, attributes.get(NFTA_RULE_HANDLE))
      return -ENOENT
    }
    const writer = new MessageWriter()
    const before = chain.rules[chain.rules.indexOf(rule) - 1]
    write(writer, rule, before, 0)
    return request.answer(writer)
  }
  const tableName = attributes.string(NFTA_RULE_TABLE)
  const chainName = attributes.string(NFTA_RULE_CHAIN)
  const rules = tablesOf(ruleset, request.body[0])
    .filter(table => tableName === undefined || table.name === tableName)
    .flatMap(table => [...table.chains.values()])
    .filter(chain => chainName === undefined || chain.name === chainName)
    .flatMap(({ rules }) => rules.map((rule, i) => ({ rule, before: rules[i - 1] })))
  return new ListDump(
    rules,
    (writer, { rule, before }) => write(writer, rule, before, NLM_F_MULTI),
    0,
    () => ruleset.generation,
  )
}
