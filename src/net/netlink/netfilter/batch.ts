/**
 * Batches of nf_tables: messages between NFNL_MSG_BATCH_BEGIN and NFNL_MSG_BATCH_END, which take effect together or not at
 * all. Each message is carried out as it comes, since nothing else happens meanwhile; with what undoes it, should a
 * later one fail. All are looked at even then, so that whoever sent them hears of each error.
 */
import {
  NETLINK_NETFILTER,
  NFNL_BATCH_GENID,
  NFNL_MSG_BATCH_BEGIN,
  NFNL_MSG_BATCH_END,
  NFNL_SUBSYS_NFTABLES,
  NFNLGRP_NFTABLES,
  NFT_MSG_DELCHAIN,
  NFT_MSG_DELFLOWTABLE,
  NFT_MSG_DELOBJ,
  NFT_MSG_DELRULE,
  NFT_MSG_DELSET,
  NFT_MSG_DELSETELEM,
  NFT_MSG_DELTABLE,
  NFT_MSG_NEWCHAIN,
  NFT_MSG_NEWFLOWTABLE,
  NFT_MSG_NEWOBJ,
  NFT_MSG_NEWRULE,
  NFT_MSG_NEWSET,
  NFT_MSG_NEWSETELEM,
  NFT_MSG_NEWTABLE,
  NFTA_CHAIN_TABLE,
  NFTA_OBJ_TABLE,
  NFTA_RULE_TABLE,
  NFTA_SET_TABLE,
  NLM_F_ACK,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_ECHO,
  NLM_F_REQUEST,
  NLMSG_MIN_TYPE,
} from '../../../abi/constants.ts'
import { EINVAL, EMLINK, ENOENT, EOPNOTSUPP, ERESTART } from '../../../abi/errno.ts'
import { NFGENMSG } from '../../../abi/layout.ts'
import type { Status } from '../../../base/result.ts'
import type { Chain, Rule } from '../../filter/tables/chain.ts'
import { MAX_JUMPS } from '../../filter/tables/evaluation.ts'
import type { Ruleset } from '../../filter/tables/ruleset.ts'
import type { NfSet } from '../../filter/tables/set.ts'
import type { InetNetwork } from '../../inet/network.ts'
import { MessageWriter } from '../message.ts'
import type { Acknowledgement, NetlinkRequest } from '../protocol.ts'
import { deleteChain, newChain } from './chains.ts'
import { deleteElements, newElements } from './elements.ts'
import { writeGeneration } from './generation.ts'
import { type Asker, attributesOf } from './header.ts'
import {
  NFT_MSG_DESTROYCHAIN,
  NFT_MSG_DESTROYOBJ,
  NFT_MSG_DESTROYRULE,
  NFT_MSG_DESTROYSET,
  NFT_MSG_DESTROYSETELEM,
  NFT_MSG_DESTROYTABLE,
} from './newer-messages.ts'
import { deleteObject, newObject } from './objects.ts'
import { deleteRule, newRule } from './rules.ts'
import { deleteSet, newSet } from './sets.ts'
import { deleteTable, newTable } from './tables.ts'

type Change = (batch: Batch, request: NetlinkRequest) => Status

const CHANGES: ReadonlyMap<number, Change> = new Map<number, Change>([
  [NFT_MSG_NEWTABLE, newTable],
  [NFT_MSG_DELTABLE, deleteTable],
  [NFT_MSG_NEWCHAIN, newChain],
  [NFT_MSG_DELCHAIN, deleteChain],
  [NFT_MSG_NEWRULE, newRule],
  [NFT_MSG_DELRULE, deleteRule],
  [NFT_MSG_NEWSET, newSet],
  [NFT_MSG_DELSET, deleteSet],
  [NFT_MSG_NEWSETELEM, newElements],
  [NFT_MSG_DELSETELEM, deleteElements],
  [NFT_MSG_NEWOBJ, newObject],
  [NFT_MSG_DELOBJ, deleteObject],
  // Flow tables are a part of Linux that may be left out.
  [NFT_MSG_NEWFLOWTABLE, () => -ENOENT],
  [NFT_MSG_DELFLOWTABLE, () => -ENOENT],
  [NFT_MSG_DESTROYTABLE, mayBeGone(deleteTable)],
  [NFT_MSG_DESTROYCHAIN, mayBeGone(deleteChain, NFTA_CHAIN_TABLE)],
  [NFT_MSG_DESTROYRULE, mayBeGone(deleteRule, NFTA_RULE_TABLE)],
  [NFT_MSG_DESTROYSET, mayBeGone(deleteSet, NFTA_SET_TABLE)],
  [NFT_MSG_DESTROYSETELEM, deleteElements],
  [NFT_MSG_DESTROYOBJ, mayBeGone(deleteObject, NFTA_OBJ_TABLE)],
])

/** Of what is to be destroyed. `table`: the attribute that names the table, which must be there. */
function mayBeGone(change: Change, table?: number): Change {
  return (batch, request) => {
    const status = change(batch, request)
    if (status !== -ENOENT) return status
    const name = table === undefined ? undefined : attributesOf(request).string(table)
    if (table !== undefined && batch.ruleset.find(request.body[0], name ?? '') === undefined) return status
    request.offset = 0
    return 0
  }
}

/** Writes one message about a change, with these flags. */
type Tell = (writer: MessageWriter, flags: number, request: Asker) => void

export class Batch {
  readonly ruleset: Ruleset
  /** What this batch has made, by the numbers that it gives them for its own use. */
  readonly sets = new Map<number, NfSet>()
  readonly chains = new Map<number, Chain>()
  readonly rules = new Map<number, Rule>()
  /** Chains of this batch's that are each to be one rule's own. */
  readonly ownChains: Chain[] = []
  /** Which message of the batch is being carried out. */
  message = 0
  readonly #undo: (() => void)[] = []
  readonly #news: { readonly request: NetlinkRequest; readonly write: Tell }[] = []
  readonly #madeRules: Rule[] = []
  readonly #remembered = new Set<object>()

  constructor(ruleset: Ruleset) {
    this.ruleset = ruleset
  }

  /** Something has been done: how to undo it. */
  did(undo: () => void): void {
    this.#undo.push(undo)
  }
  /** What is to be told once the batch has taken effect: to who asks for an echo, and to who listens. */
  tell(request: NetlinkRequest, write: Tell): void {
    this.#news.push({ request, write })
  }
  madeRule(rule: Rule): void {
    rule.message = this.message
    this.#madeRules.push(rule)
  }
  put<T>(map: Map<string, T>, key: string, value: T): void {
    map.set(key, value)
    this.did(() => map.delete(key))
  }
  /** Undone, it stands in its old place again: the map is remembered as a whole when the first entry is taken from it. */
  take<T>(map: Map<string, T>, key: string): void {
    if (!this.#remembered.has(map)) {
      this.#remembered.add(map)
      const before = [...map]
      this.did(() => {
        map.clear()
        for (const [name, value] of before) map.set(name, value)
      })
    }
    map.delete(key)
  }

  rollBack(): void {
    for (let undo = this.#undo.pop(); undo !== undefined; undo = this.#undo.pop()) undo()
  }

  /** Whether the rules can stand as they are now: 0, or an errno and the message to blame for it. */
  check(): { readonly status: Status; readonly message: number } {
    for (const set of this.sets.values())
      if (set.anonymous && set.bindings === 0) return { status: -EINVAL, message: 0 }
    if (this.ownChains.some(({ bound }) => !bound)) return { status: -EINVAL, message: 0 }
    for (const table of this.ruleset.tables.values()) {
      for (const chain of table.chains.values()) {
        if (chain.base === undefined) continue
        const failed = checkChain(chain, chain, 0, new Map())
        if (failed !== undefined) return { status: failed.status, message: Math.max(failed.rule.message, 0) }
      }
    }
    return { status: 0, message: 0 }
  }
  commit(begin: NetlinkRequest): void {
    const { ruleset } = this
    ruleset.generation = (ruleset.generation + 1) >>> 0 || 1
    for (const rule of this.#madeRules) rule.message = -1
    this.#spread(begin)
  }

  #spread(begin: NetlinkRequest): void {
    const { socket } = begin
    const listened = socket.table.listens(NETLINK_NETFILTER, NFNLGRP_NFTABLES)
    const writer = new MessageWriter()
    for (const { request, write } of this.#news) {
      const flags = request.flags & (NLM_F_CREATE | NLM_F_APPEND)
      const echo = (request.flags & NLM_F_ECHO) !== 0
      if (!listened && !echo) continue
      write(writer, flags, request)
      const bytes = writer.take()
      if (echo) socket.deliver(bytes, 0, 0)
      if (listened)
        socket.table.multicast(NETLINK_NETFILTER, NFNLGRP_NFTABLES, bytes, echo ? socket : undefined)
    }
    const echoed = this.#news.some(({ request }) => (request.flags & NLM_F_ECHO) !== 0)
    if (!listened && !echoed) return
    writeGeneration(writer, this.ruleset, begin)
    const bytes = writer.take()
    if (echoed) socket.deliver(bytes, 0, 0)
    socket.table.multicast(NETLINK_NETFILTER, NFNLGRP_NFTABLES, bytes, echoed ? socket : undefined)
  }
}

/**
 * nft_chain_validate: jumps lead no deeper than a stack is, so never in circles, and expressions can do their work. `checked`:
 * how deep chains have been found right, which they are where less is above them, too.
 */
function checkChain(
  start: Chain,
  chain: Chain,
  depth: number,
  checked: Map<Chain, number>,
): { readonly status: Status; readonly rule: Rule } | undefined {
  for (const rule of chain.rules) {
    for (const expression of rule.expressions) {
      const status = expression.validate?.(start.base!) ?? 0
      if (status < 0) return { status, rule }
      if (expression.targets === undefined) continue
      for (const target of expression.targets()) {
        if (depth === MAX_JUMPS) return { status: -EMLINK, rule }
        if ((checked.get(target) ?? -1) > depth) continue
        const failed = checkChain(start, target, depth + 1, checked)
        if (failed !== undefined) return failed
      }
    }
  }
  checked.set(chain, depth)
  return undefined
}

export function isBatch(request: NetlinkRequest): boolean {
  return request.type === NFNL_MSG_BATCH_BEGIN && (request.flags & NLM_F_REQUEST) !== 0
}

export function receiveBatch(requests: readonly NetlinkRequest[]): readonly Acknowledgement[] {
  const [begin] = requests
  const acknowledgements: Acknowledgement[] = []
  const add = (request: NetlinkRequest, status: Status) => {
    if (status !== 0 || (request.flags & NLM_F_ACK) !== 0) acknowledgements.push({ request, status })
  }
  if (begin.body.length < NFGENMSG.size) return [{ request: begin, status: -EINVAL }]
  const subsystem = begin.view.getUint16(NFGENMSG.res_id)
  if (subsystem !== NFNL_SUBSYS_NFTABLES) return [{ request: begin, status: -EOPNOTSUPP }]
  const { ruleset } = (begin.stack.own as InetNetwork).netfilter
  const generation = attributesOf(begin).be32(NFNL_BATCH_GENID)
  // Whoever looked at the rules before somebody else changed them has to look again.
  if (generation !== undefined && generation !== 0 && generation !== ruleset.generation)
    return [{ request: begin, status: -ERESTART }]
  add(begin, 0)
  const batch = new Batch(ruleset)
  let failed = false
  let ended = false
  for (let i = 1; i < requests.length && !ended; i++) {
    const request = requests[i]
    batch.message = i
    let status: Status = 0
    if (request.type === NFNL_MSG_BATCH_END) ended = true
    else status = carryOut(batch, request)
    failed ||= status < 0
    add(request, status)
  }
  if (failed || !ended) {
    batch.rollBack()
    return acknowledgements
  }
  const { status, message } = batch.check()
  if (status < 0) {
    batch.rollBack()
    const request = requests[message]
    return [...acknowledgements.filter(other => other.request !== request), { request, status }]
  }
  batch.commit(begin)
  return acknowledgements
}

function carryOut(batch: Batch, request: NetlinkRequest): Status {
  if (request.body.length < NFGENMSG.size || (request.flags & NLM_F_REQUEST) === 0) return -EINVAL
  if (request.type < NLMSG_MIN_TYPE || request.type >> 8 !== NFNL_SUBSYS_NFTABLES) return -EINVAL
  const change = CHANGES.get(request.type & 0xff)
  return change === undefined ? -EINVAL : change(batch, request)
}
