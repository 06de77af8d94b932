/** The types of expressions, by name. */
import type { ExpressionType } from '../expression.ts'
import { bitwise } from './bitwise.ts'
import { byteorder } from './byteorder.ts'
import { cmp, range } from './compare.ts'
import { connlimit } from './connlimit.ts'
import { counter } from './counter.ts'
import { ct, notrack } from './ct.ts'
import { dup } from './dup.ts'
import { dynset } from './dynset.ts'
import { exthdr } from './exthdr.ts'
import { fib } from './fib.ts'
import { hash } from './hash.ts'
import { immediate } from './immediate.ts'
import { limit } from './limit.ts'
import { log } from './log.ts'
import { lookup } from './lookup.ts'
import { match } from './match.ts'
import { meta } from './meta.ts'
import { masq, nat, redir } from './nat.ts'
import { numgen } from './numgen.ts'
import { objref } from './objref.ts'
import { payload } from './payload.ts'
import { queue } from './queue.ts'
import { quota } from './quota.ts'
import { reject } from './reject.ts'
import { rt } from './rt.ts'
import { target } from './target.ts'
import { socket, tproxy } from './transparent.ts'

const TYPES: readonly ExpressionType[] = [
  ...[immediate, lookup, payload, exthdr, meta, ct, fib, rt, socket, numgen, hash],
  ...[cmp, range, bitwise, byteorder],
  ...[counter, limit, quota, connlimit, objref, log, dynset],
  ...[nat, masq, redir, tproxy, reject, notrack, queue, dup],
  ...[match, target],
]

export function expressionTypes(): ReadonlyMap<string, ExpressionType> {
  return BY_NAME
}

const BY_NAME: ReadonlyMap<string, ExpressionType> = new Map(TYPES.map(type => [type.name, type]))
