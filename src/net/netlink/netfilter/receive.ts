/** NFNL_SUBSYS_NFTABLES outside of batches: questions. */
import {
  NFT_MSG_GETCHAIN,
  NFT_MSG_GETFLOWTABLE,
  NFT_MSG_GETGEN,
  NFT_MSG_GETOBJ,
  NFT_MSG_GETOBJ_RESET,
  NFT_MSG_GETRULE,
  NFT_MSG_GETSET,
  NFT_MSG_GETSETELEM,
  NFT_MSG_GETTABLE,
  NFTA_OBJ_TABLE,
  NLM_F_DUMP,
} from '../../../abi/constants.ts'
import { EINVAL, ENOENT } from '../../../abi/errno.ts'
import type { Status } from '../../../base/result.ts'
import type { Ruleset } from '../../filter/tables/ruleset.ts'
import type { InetNetwork } from '../../inet/network.ts'
import { MessageWriter } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import { getChains } from './chains.ts'
import { getElements } from './elements.ts'
import { writeGeneration } from './generation.ts'
import { attributesOf } from './header.ts'
import { NFT_MSG_GETRULE_RESET, NFT_MSG_GETSETELEM_RESET } from './newer-messages.ts'
import { getObjects } from './objects.ts'
import { getRules } from './rules.ts'
import { getSets } from './sets.ts'
import { getTables, tableOf } from './tables.ts'

type Question = (ruleset: Ruleset, request: NetlinkRequest) => Status | Dump

const QUESTIONS: ReadonlyMap<number, Question> = new Map<number, Question>([
  [NFT_MSG_GETTABLE, getTables],
  [NFT_MSG_GETCHAIN, getChains],
  [NFT_MSG_GETRULE, getRules],
  [NFT_MSG_GETRULE_RESET, getRules],
  [NFT_MSG_GETSET, getSets],
  [NFT_MSG_GETSETELEM, getElements],
  [NFT_MSG_GETSETELEM_RESET, getElements],
  [NFT_MSG_GETGEN, getGeneration],
  [NFT_MSG_GETOBJ, getObjects],
  [NFT_MSG_GETOBJ_RESET, getObjects],
  [NFT_MSG_GETFLOWTABLE, noneOf],
])

export function tablesReceive(request: NetlinkRequest): Status | Dump {
  const question = QUESTIONS.get(request.type & 0xff)
  if (question === undefined) return -EINVAL
  return question((request.stack.own as InetNetwork).netfilter.ruleset, request)
}

function getGeneration(ruleset: Ruleset, request: NetlinkRequest): Status {
  const writer = new MessageWriter()
  writeGeneration(writer, ruleset, request)
  return request.answer(writer)
}

/** Flow tables: there are none. */
function noneOf(ruleset: Ruleset, request: NetlinkRequest): Status | Dump {
  if ((request.flags & NLM_F_DUMP) !== 0) return new ListDump([], () => {})
  const table = tableOf(ruleset, request, attributesOf(request), NFTA_OBJ_TABLE)
  return typeof table === 'number' ? table : -ENOENT
}
