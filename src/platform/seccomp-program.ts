/**
 * seccomp filters from lists of allowed calls: each rule becomes a handful of classic BPF instructions, in the order of
 * the list. What no rule allows gets the filter's last answer.
 */

/** One argument's low 32 bits, masked, equal to a value or to one of several. */
export interface Condition {
  readonly arg: number
  /** Bits to look at; all if absent. */
  readonly mask?: number
  readonly equals: number | readonly number[]
}

export interface CallRule {
  readonly nr: number
  /**
   * Each alternative is a list of conditions that must all hold; without any, every call is allowed. Several rules for
   * one call allow what any of them does.
   */
  readonly when?: readonly (readonly Condition[])[]
}

export const SECCOMP_KILL_PROCESS = 0x80000000
export const SECCOMP_TRAP = 0x00030000
const SECCOMP_ALLOW = 0x7fff0000
const SECCOMP_ERRNO = 0x00050000

/** Instruction addresses: [from, to). */
export interface TextRange {
  readonly from: number
  readonly to: number
}

/** An answer that fails the call with an errno. */
export function refuseWith(errno: number): number {
  return SECCOMP_ERRNO | errno
}

const AUDIT_ARCH_X86_64 = 0xc000003e
/** Numbers with this bit are of the x32 ABI. */
const X32_BIT = 0x40000000

/** struct seccomp_data */
const DATA_NR = 0
const DATA_ARCH = 4
const DATA_IP = 8
const DATA_ARGS = 16

const LOAD_WORD = 0x20
const JUMP_EQUAL = 0x15
const JUMP_ABOVE_OR_EQUAL = 0x35
const AND = 0x54
const RETURN = 0x06

interface Instruction {
  readonly code: number
  readonly ifTrue: number
  readonly ifFalse: number
  readonly k: number
}

/**
 * The program as struct sock_filter[]. `answers`: calls that get an answer of their own (an errno where a library
 * falls back to another call); `otherwise`: the answer for all others, and with `text` for every call whose
 * instruction lies outside of it.
 */
export function assembleFilter(
  rules: readonly CallRule[],
  otherwise: number,
  answers: readonly { readonly nr: number; readonly answer: number }[] = [],
  text?: TextRange,
): Uint8Array {
  // Foreign entries of a process with two kinds of text are the business of whoever handles `otherwise`.
  const foreign = text === undefined ? SECCOMP_KILL_PROCESS : otherwise
  const program = [load(DATA_ARCH), jump(JUMP_EQUAL, AUDIT_ARCH_X86_64, 1, 0), end(foreign)]
  if (text !== undefined) program.push(...insideText(text, otherwise))
  program.push(load(DATA_NR), jump(JUMP_ABOVE_OR_EQUAL, X32_BIT, 0, 1), end(foreign))
  for (const rule of rules) program.push(...ruleBody(rule))
  for (const { nr, answer } of answers) program.push(jump(JUMP_EQUAL, nr, 0, 1), end(answer))
  program.push(end(otherwise))
  return encode(program)
}

/** Goes on only for calls from within the range, which lies in one 4 GiB block. */
function insideText(text: TextRange, otherwise: number): Instruction[] {
  const block = 0x100000000
  return [
    load(DATA_IP + 4),
    jump(JUMP_EQUAL, Math.floor(text.from / block), 1, 0),
    end(otherwise),
    load(DATA_IP),
    jump(JUMP_ABOVE_OR_EQUAL, text.from % block, 1, 0),
    end(otherwise),
    // The instruction pointer is behind the two bytes of the call.
    jump(JUMP_ABOVE_OR_EQUAL, text.to % block, 0, 1),
    end(otherwise),
  ]
}

function ruleBody(rule: CallRule): Instruction[] {
  if (rule.when === undefined) return [jump(JUMP_EQUAL, rule.nr, 0, 1), end(SECCOMP_ALLOW)]
  const body: Instruction[] = []
  for (const alternative of rule.when) {
    let left = alternative.reduce((sum, condition) => sum + sizeOf(condition), 0)
    for (const condition of alternative) {
      left -= sizeOf(condition)
      body.push(load(DATA_ARGS + 8 * condition.arg))
      if (condition.mask !== undefined)
        body.push({ code: AND, ifTrue: 0, ifFalse: 0, k: condition.mask >>> 0 })
      const values = valuesOf(condition)
      values.forEach((value, i) => {
        const after = values.length - 1 - i
        // A miss goes to the next alternative, behind this one's `ret`.
        body.push(jump(JUMP_EQUAL, value, after, after === 0 ? left + 1 : 0))
      })
    }
    body.push(end(SECCOMP_ALLOW))
  }
  // A later rule may be for the same call.
  body.push(load(DATA_NR))
  return [jump(JUMP_EQUAL, rule.nr, 0, body.length), ...body]
}

function valuesOf({ equals }: Condition): readonly number[] {
  return typeof equals === 'number' ? [equals] : equals
}

/** In instructions. */
function sizeOf(condition: Condition): number {
  return (condition.mask === undefined ? 1 : 2) + valuesOf(condition).length
}

function load(offset: number): Instruction {
  return { code: LOAD_WORD, ifTrue: 0, ifFalse: 0, k: offset }
}
function jump(code: number, k: number, ifTrue: number, ifFalse: number): Instruction {
  if (ifTrue > 255 || ifFalse > 255) throw new Error('seccomp: a rule has too many conditions')
  return { code, ifTrue, ifFalse, k: k >>> 0 }
}
function end(answer: number): Instruction {
  return { code: RETURN, ifTrue: 0, ifFalse: 0, k: answer >>> 0 }
}

function encode(program: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(8 * program.length)
  const view = new DataView(bytes.buffer)
  program.forEach((instruction, i) => {
    view.setUint16(8 * i, instruction.code, true)
    view.setUint8(8 * i + 2, instruction.ifTrue)
    view.setUint8(8 * i + 3, instruction.ifFalse)
    view.setUint32(8 * i + 4, instruction.k, true)
  })
  return bytes
}
