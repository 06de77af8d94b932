/** Comparisons of a call's arguments, which have 64 bits where BPF's words have 32: the upper halves come first. */
import { SECCOMP_DATA } from '../../abi/layout.ts'
import { UserError } from '../../sandbox/user-error.ts'
import type { SeccompArgument } from '../config.ts'
import type { CallRule } from './compile.ts'
import { and, answer, type Code, ifEqual, ifGreater, ifGreaterOrEqual, load } from './instructions.ts'

const ARGUMENTS = 6

export const OPERATORS: readonly string[] = ['NE', 'LT', 'LE', 'EQ', 'GE', 'GT', 'MASKED_EQ'].map(
  name => `SCMP_CMP_${name}`,
)

interface Word64 {
  readonly hi: number
  readonly lo: number
}
export interface Condition {
  /** Which argument. */
  readonly index: number
  readonly op: string
  readonly value: Word64
  /** SCMP_CMP_MASKED_EQ: what the argument's bits under `value` must be. */
  readonly valueTwo: Word64
}

/** The alternatives that runc makes of a rule's conditions: one with all, unless some are about the same argument. */
export function parseConditions(args: readonly SeccompArgument[], field: string): Condition[][] {
  const conditions = args.map(({ index, op, value, valueTwo = 0 }, i) => {
    if (index >= ARGUMENTS)
      throw new UserError(`${field}.args[${i}].index is ${index}: a call has 6 arguments`)
    return { index, op, value: split(value), valueTwo: split(valueTwo) }
  })
  const distinct = new Set(conditions.map(each => each.index)).size === conditions.length
  return distinct ? [conditions] : conditions.map(each => [each])
}

/** Asks the rules in their order; where none decides, the next instruction is reached. */
export function rulesCode(rules: readonly CallRule[]): Code {
  return rules.flatMap(({ conditions, action }) => {
    let code = answer(action)
    for (const condition of conditions.toReversed()) code = guard(condition, code)
    return code
  })
}

/** `then` where the condition holds, else what comes behind it. */
function guard({ index, op, value, valueTwo }: Condition, then: Code): Code {
  // x86-64 is little endian.
  const low = load(SECCOMP_DATA.args + 8 * index)
  const high = load(SECCOMP_DATA.args + 8 * index + 4)
  const { length } = then
  switch (op) {
    case 'SCMP_CMP_EQ':
      return [...high, ...ifEqual(value.hi, 0, length + 2), ...low, ...ifEqual(value.lo, 0, length), ...then]
    case 'SCMP_CMP_NE':
      return [...high, ...ifEqual(value.hi, 0, 2), ...low, ...ifEqual(value.lo, length, 0), ...then]
    case 'SCMP_CMP_MASKED_EQ':
      return [
        ...high,
        ...and(value.hi),
        ...ifEqual(valueTwo.hi, 0, length + 3),
        ...low,
        ...and(value.lo),
        ...ifEqual(valueTwo.lo, 0, length),
        ...then,
      ]
    case 'SCMP_CMP_GT':
      return above(ifGreater(value.lo, 0, length))
    case 'SCMP_CMP_GE':
      return above(ifGreaterOrEqual(value.lo, 0, length))
    case 'SCMP_CMP_LE':
      return below(ifGreater(value.lo, length, 0))
    case 'SCMP_CMP_LT':
      return below(ifGreaterOrEqual(value.lo, length, 0))
    default:
      throw new UserError(`linux.seccomp: ${op} is no operator`)
  }

  /** A greater upper half settles it; equal ones leave it to the lower. */
  function above(lowTest: Code): Code {
    const test = [...ifGreater(value.hi, 3, 0), ...ifEqual(value.hi, 0, length + 2)]
    return [...high, ...test, ...low, ...lowTest, ...then]
  }
  function below(lowTest: Code): Code {
    const test = [...ifGreater(value.hi, length + 3, 0), ...ifEqual(value.hi, 0, 2)]
    return [...high, ...test, ...low, ...lowTest, ...then]
  }
}

function split(value: number | bigint): Word64 {
  const whole = BigInt(value)
  return { hi: Number((whole >> 32n) & 0xffffffffn), lo: Number(whole & 0xffffffffn) }
}
