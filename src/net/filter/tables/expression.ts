/**
 * Expression: one step of a rule: it loads something into a register, compares, or decides. Made from its netlink
 * attributes by its type's `parse`, which checks all that can be checked without a packet; written back by `write`.
 */
import { NFTA_EXPR_DATA, NFTA_EXPR_NAME, NFTA_LIST_ELEM } from '../../../abi/constants.ts'
import { EINVAL, ENOENT, EOPNOTSUPP } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import { Attributes, type MessageWriter } from '../../netlink/message.ts'
import type { Netfilter } from '../netfilter.ts'
import type { BaseChain, Chain } from './chain.ts'
import type { Evaluation } from './evaluation.ts'
import { expressionTypes } from './expressions/types.ts'
import type { Table } from './ruleset.ts'
import type { NfSet } from './set.ts'

/** Expressions of one rule: NFT_RULE_MAXEXPRS. */
const MAX_EXPRESSIONS = 128

export interface Expression {
  /** NFTA_EXPR_NAME */
  readonly name: string
  evaluate(run: Evaluation): void
  /** The attributes of NFTA_EXPR_DATA. */
  write(writer: MessageWriter): void
  /** Its rule has come into force, or is gone: uses of chains, sets and conntrack begin and end. */
  attach?(): void
  detach?(): void
  /** What it looks things up in. */
  readonly set?: NfSet
  /** Whether it can do its work in a chain at this point. */
  validate?(base: BaseChain): Status
  /** Where packets may go on from here. */
  targets?(): Iterable<Chain>
  /** Of one with a state of its own, such as elements of sets may have: another one that begins like this. */
  clone?(now: number): Expression
  /** Of one that counts: from nothing again. */
  reset?(): void
}

/** What an expression is made for. */
export interface ExpressionContext {
  readonly netfilter: Netfilter
  readonly table: Table
  readonly family: number
  /** Of the rule's compat attribute, for matches that ask which protocol a rule is for. */
  readonly protocol: number
  chain(attributes: Attributes, name: number, id: number): OrErrno<Chain>
  set(attributes: Attributes, name: number, id: number): OrErrno<NfSet>
}

export interface ExpressionType {
  readonly name: string
  parse(context: ExpressionContext, attributes: Attributes): OrErrno<Expression>
}

/** NFTA_EXPR_NAME and NFTA_EXPR_DATA. */
export function parseExpression(context: ExpressionContext, value: Uint8Array): OrErrno<Expression> {
  const attributes = new Attributes(value)
  const name = attributes.string(NFTA_EXPR_NAME)
  if (name === undefined) return -EINVAL
  const type = expressionTypes().get(name)
  if (type === undefined) return -ENOENT
  return type.parse(context, attributes.nested(NFTA_EXPR_DATA) ?? new Attributes(new Uint8Array(0)))
}

/** NFT_SET_EXPR_MAX: what an element of a set may have. */
export const MAX_STATEFUL = 2

/** The same for an element of a set: nothing of it looks things up, or decides where to go on. */
export function parseStateful(context: ExpressionContext, value: Uint8Array): OrErrno<Expression> {
  const expression = parseExpression(context, value)
  return typeof expression === 'number' || expression.clone !== undefined ? expression : -EOPNOTSUPP
}

/** A list of expressions, as NFTA_RULE_EXPRESSIONS is one. */
export function parseExpressions(
  context: ExpressionContext,
  list: Attributes,
  failedAt: (value: Uint8Array) => void,
): OrErrno<Expression[]> {
  const expressions: Expression[] = []
  for (const { type, value } of list.list) {
    if (type !== NFTA_LIST_ELEM || expressions.length === MAX_EXPRESSIONS) return -EINVAL
    const expression = parseExpression(context, value)
    if (typeof expression === 'number') {
      failedAt(value)
      return expression
    }
    expressions.push(expression)
  }
  return expressions
}

export function writeExpression(writer: MessageWriter, type: number, expression: Expression): void {
  const nest = writer.nest(type)
  writer.string(NFTA_EXPR_NAME, expression.name)
  const data = writer.nest(NFTA_EXPR_DATA)
  expression.write(writer)
  writer.close(data)
  writer.close(nest)
}
