/**
 * NfObject: a counter, a quota or a limit (of packets or of connections) with a name, which rules and elements of maps share. Lives in its table's `objects`;
 * can't be taken out while somebody uses it.
 */
import {
  NFT_OBJECT_CONNLIMIT,
  NFT_OBJECT_COUNTER,
  NFT_OBJECT_LIMIT,
  NFT_OBJECT_QUOTA,
} from '../../../abi/constants.ts'
import { EINVAL, ENOENT } from '../../../abi/errno.ts'
import type { OrErrno } from '../../../base/result.ts'
import type { Attributes } from '../../netlink/message.ts'
import type { Expression, ExpressionContext } from './expression.ts'
import { expressionTypes } from './expressions/types.ts'
import type { Table } from './ruleset.ts'

/** What does an object's work, by NFT_OBJECT_*. */
const EXPRESSIONS: ReadonlyMap<number, string> = new Map([
  [NFT_OBJECT_COUNTER, 'counter'],
  [NFT_OBJECT_QUOTA, 'quota'],
  [NFT_OBJECT_LIMIT, 'limit'],
  [NFT_OBJECT_CONNLIMIT, 'connlimit'],
])

export class NfObject {
  readonly table: Table
  readonly name: string
  /** NFT_OBJECT_* */
  readonly type: number
  readonly handle: number
  readonly expression: Expression
  readonly userData: Uint8Array | undefined
  /** Rules and elements that it is named in. */
  uses = 0

  constructor(
    table: Table,
    name: string,
    type: number,
    expression: Expression,
    userData: Uint8Array | undefined,
  ) {
    this.table = table
    this.name = name
    this.type = type
    this.handle = table.nextHandle()
    this.expression = expression
    this.userData = userData
  }

  /** Somebody names it from now on, or no more. */
  attach(): void {
    this.uses++
    this.expression.attach?.()
  }
  detach(): void {
    this.uses--
    this.expression.detach?.()
  }
}

/** Objects of different types may have the same name. */
export function objectKey(type: number, name: string): string {
  return `${type} ${name}`
}

/** -ENOENT: there are no objects of this type. */
export function parseObject(
  context: ExpressionContext,
  type: number,
  data: Attributes | undefined,
): OrErrno<Expression> {
  const name = EXPRESSIONS.get(type)
  if (name === undefined) return -ENOENT
  return data === undefined ? -EINVAL : expressionTypes().get(name)!.parse(context, data)
}
