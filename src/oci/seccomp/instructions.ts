/** The few BPF instructions that profiles need, and how they are put together. All jumps go forward and are relative. */
import {
  BPF_ABS,
  BPF_ALU,
  BPF_AND,
  BPF_JA,
  BPF_JEQ,
  BPF_JGE,
  BPF_JGT,
  BPF_JMP,
  BPF_K,
  BPF_LD,
  BPF_RET,
  BPF_W,
} from '../../abi/constants.ts'

/** struct sock_filter. */
export interface Instruction {
  readonly code: number
  readonly ifTrue: number
  readonly ifFalse: number
  readonly k: number
}
export type Code = readonly Instruction[]

/** The most instructions that a condition can jump over. */
const MAX_JUMP = 255

/** A word of struct seccomp_data becomes the accumulator. */
export function load(offset: number): Code {
  return [instruction(BPF_LD | BPF_W | BPF_ABS, offset)]
}
export function and(mask: number): Code {
  return [instruction(BPF_ALU | BPF_AND | BPF_K, mask)]
}
export function answer(action: number): Code {
  return [instruction(BPF_RET | BPF_K, action)]
}
/** Jumps over as many instructions as the comparison with the accumulator says. */
export function ifEqual(k: number, ifTrue: number, ifFalse: number): Code {
  return [instruction(BPF_JMP | BPF_JEQ | BPF_K, k, ifTrue, ifFalse)]
}
export function ifGreater(k: number, ifTrue: number, ifFalse: number): Code {
  return [instruction(BPF_JMP | BPF_JGT | BPF_K, k, ifTrue, ifFalse)]
}
export function ifGreaterOrEqual(k: number, ifTrue: number, ifFalse: number): Code {
  return [instruction(BPF_JMP | BPF_JGE | BPF_K, k, ifTrue, ifFalse)]
}
/** `below` for accumulators below `k`; for the others `others`, which ends with an answer. */
export function branch(k: number, below: Code, others: Code): Code {
  if (others.length <= MAX_JUMP) return [...ifGreaterOrEqual(k, 0, others.length), ...others, ...below]
  const far = instruction(BPF_JMP | BPF_JA, others.length)
  return [...ifGreaterOrEqual(k, 1, 0), far, ...others, ...below]
}

/** Four numbers an instruction. */
export function flatten(code: Code): number[] {
  return code.flatMap(({ code, ifTrue, ifFalse, k }) => [code, ifTrue, ifFalse, k])
}

function instruction(code: number, k: number, ifTrue = 0, ifFalse = 0): Instruction {
  if (ifTrue > MAX_JUMP || ifFalse > MAX_JUMP) throw new Error('seccomp: a jump is too long')
  return { code, ifTrue, ifFalse, k: k >>> 0 }
}
