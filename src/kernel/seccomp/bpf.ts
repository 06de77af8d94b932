/**
 * Classic BPF over struct seccomp_data: programs are checked once, when they are installed, and then run as they are.
 * What may be in one is bpf_check_classic's and seccomp_check_filter's (net/core/filter.c, kernel/seccomp.c): loads of
 * aligned words of the data, 32-bit arithmetic, 16 words of scratch memory that is written before it is read, and
 * forward jumps, so that every program ends.
 */
import {
  BPF_A,
  BPF_ABS,
  BPF_ADD,
  BPF_ALU,
  BPF_AND,
  BPF_DIV,
  BPF_IMM,
  BPF_JA,
  BPF_JEQ,
  BPF_JGE,
  BPF_JGT,
  BPF_JMP,
  BPF_JSET,
  BPF_K,
  BPF_LD,
  BPF_LDX,
  BPF_LEN,
  BPF_LSH,
  BPF_MAXINSNS,
  BPF_MEM,
  BPF_MEMWORDS,
  BPF_MISC,
  BPF_MUL,
  BPF_NEG,
  BPF_OR,
  BPF_RET,
  BPF_RSH,
  BPF_ST,
  BPF_STX,
  BPF_SUB,
  BPF_TAX,
  BPF_TXA,
  BPF_W,
  BPF_X,
  BPF_XOR,
} from '../../abi/constants.ts'
import { EINVAL } from '../../abi/errno.ts'
import { SECCOMP_DATA, SOCK_FILTER } from '../../abi/layout.ts'
import type { OrErrno } from '../../base/result.ts'

/** struct seccomp_data in words: the number, the architecture, the instruction pointer, six arguments. */
export const DATA_WORDS = SECCOMP_DATA.size / 4

/** No verdict: it depends on words that are not known. */
export const UNDECIDED = -1

const LOAD_WORD = BPF_LD | BPF_W | BPF_ABS
const LOAD_LENGTH = BPF_LD | BPF_W | BPF_LEN
const LOADX_LENGTH = BPF_LDX | BPF_W | BPF_LEN

const ALLOWED: ReadonlySet<number> = new Set([
  LOAD_WORD,
  LOAD_LENGTH,
  LOADX_LENGTH,
  BPF_RET | BPF_K,
  BPF_RET | BPF_A,
  ...[BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_AND, BPF_OR, BPF_XOR, BPF_LSH, BPF_RSH].flatMap(operation => [
    BPF_ALU | operation | BPF_K,
    BPF_ALU | operation | BPF_X,
  ]),
  BPF_ALU | BPF_NEG,
  BPF_LD | BPF_IMM,
  BPF_LDX | BPF_IMM,
  BPF_MISC | BPF_TAX,
  BPF_MISC | BPF_TXA,
  BPF_LD | BPF_MEM,
  BPF_LDX | BPF_MEM,
  BPF_ST,
  BPF_STX,
  BPF_JMP | BPF_JA,
  ...[BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JSET].flatMap(test => [BPF_JMP | test | BPF_K, BPF_JMP | test | BPF_X]),
])

/** A checked program, a column for each field of struct sock_filter. */
export class BpfProgram {
  readonly length: number
  readonly #code: Uint16Array
  readonly #jumpTrue: Uint8Array
  readonly #jumpFalse: Uint8Array
  readonly #k: Uint32Array
  readonly #memory = new Uint32Array(BPF_MEMWORDS)

  private constructor(code: Uint16Array, jumpTrue: Uint8Array, jumpFalse: Uint8Array, k: Uint32Array) {
    this.length = code.length
    this.#code = code
    this.#jumpTrue = jumpTrue
    this.#jumpFalse = jumpFalse
    this.#k = k
  }

  /** The program in `bytes`, an array of struct sock_filter; -EINVAL if it may not run. */
  static check(bytes: Uint8Array): OrErrno<BpfProgram> {
    const length = bytes.length / SOCK_FILTER.size
    if (length === 0 || length > BPF_MAXINSNS) return -EINVAL
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const code = new Uint16Array(length)
    const jumpTrue = new Uint8Array(length)
    const jumpFalse = new Uint8Array(length)
    const k = new Uint32Array(length)
    for (let pc = 0; pc < length; pc++) {
      const at = pc * SOCK_FILTER.size
      code[pc] = view.getUint16(at + SOCK_FILTER.code, true)
      jumpTrue[pc] = view.getUint8(at + SOCK_FILTER.jt)
      jumpFalse[pc] = view.getUint8(at + SOCK_FILTER.jf)
      k[pc] = view.getUint32(at + SOCK_FILTER.k, true)
      if (!isValid(code[pc], jumpTrue[pc], jumpFalse[pc], k[pc], length - pc - 1)) return -EINVAL
    }
    const last = code[length - 1]
    if (last !== (BPF_RET | BPF_K) && last !== (BPF_RET | BPF_A)) return -EINVAL
    if (!writesBeforeReads(code, jumpTrue, jumpFalse, k)) return -EINVAL
    return new BpfProgram(code, jumpTrue, jumpFalse, k)
  }

  /** As it was given: an array of struct sock_filter. */
  toBytes(): Uint8Array {
    const bytes = new Uint8Array(this.length * SOCK_FILTER.size)
    const view = new DataView(bytes.buffer)
    for (let pc = 0; pc < this.length; pc++) {
      const at = pc * SOCK_FILTER.size
      view.setUint16(at + SOCK_FILTER.code, this.#code[pc], true)
      bytes[at + SOCK_FILTER.jt] = this.#jumpTrue[pc]
      bytes[at + SOCK_FILTER.jf] = this.#jumpFalse[pc]
      view.setUint32(at + SOCK_FILTER.k, this.#k[pc], true)
    }
    return bytes
  }

  /**
   * Its verdict on the call that `data` describes (SECCOMP_RET_*, unsigned). Where only the first `known` words are: the
   * verdict if it depends on nothing else, or UNDECIDED.
   */
  run(data: Uint32Array, known = DATA_WORDS): number {
    const code = this.#code
    const constants = this.#k
    const memory = this.#memory
    let a = 0
    let x = 0
    for (let pc = 0; ; pc++) {
      const op = code[pc]
      const k = constants[pc]
      switch (op) {
        case LOAD_WORD:
          if (k >>> 2 >= known) return UNDECIDED
          a = data[k >>> 2]
          continue
        case LOAD_LENGTH:
          a = SECCOMP_DATA.size
          continue
        case LOADX_LENGTH:
          x = SECCOMP_DATA.size
          continue
        case BPF_LD | BPF_IMM:
          a = k
          continue
        case BPF_LDX | BPF_IMM:
          x = k
          continue
        case BPF_LD | BPF_MEM:
          a = memory[k]
          continue
        case BPF_LDX | BPF_MEM:
          x = memory[k]
          continue
        case BPF_ST:
          memory[k] = a
          continue
        case BPF_STX:
          memory[k] = x
          continue
        case BPF_MISC | BPF_TAX:
          x = a
          continue
        case BPF_MISC | BPF_TXA:
          a = x
          continue
        case BPF_RET | BPF_K:
          return k
        case BPF_RET | BPF_A:
          return a
        case BPF_JMP | BPF_JA:
          pc += k
          continue
      }
      const operand = (op & BPF_X) !== 0 ? x : k
      if ((op & 7) === BPF_JMP) {
        pc += holds(op & 0xf0, a, operand) ? this.#jumpTrue[pc] : this.#jumpFalse[pc]
        continue
      }
      // A division by an X of 0 ends the program with 0.
      if ((op & 0xf0) === BPF_DIV && operand === 0) return 0
      a = compute(op & 0xf0, a, operand)
    }
  }
}

/** `after`: how many instructions follow. */
function isValid(op: number, jumpTrue: number, jumpFalse: number, k: number, after: number): boolean {
  if (!ALLOWED.has(op)) return false
  switch (op) {
    case LOAD_WORD:
      return k < SECCOMP_DATA.size && k % 4 === 0
    case BPF_ALU | BPF_DIV | BPF_K:
      return k !== 0
    case BPF_ALU | BPF_LSH | BPF_K:
    case BPF_ALU | BPF_RSH | BPF_K:
      return k < 32
    case BPF_LD | BPF_MEM:
    case BPF_LDX | BPF_MEM:
    case BPF_ST:
    case BPF_STX:
      return k < BPF_MEMWORDS
    case BPF_JMP | BPF_JA:
      return k < after
  }
  return (op & 7) !== BPF_JMP || (jumpTrue < after && jumpFalse < after)
}

/** check_load_and_stores: on no path a scratch word is read that was not written. */
function writesBeforeReads(
  code: Uint16Array,
  jumpTrue: Uint8Array,
  jumpFalse: Uint8Array,
  k: Uint32Array,
): boolean {
  /** Words that are written on all of the jumps to an instruction. */
  const onJumps = new Uint16Array(code.length).fill(0xffff)
  let written = 0
  for (let pc = 0; pc < code.length; pc++) {
    written &= onJumps[pc]
    const op = code[pc]
    if (op === BPF_ST || op === BPF_STX) written |= 1 << k[pc]
    else if (op === (BPF_LD | BPF_MEM) || op === (BPF_LDX | BPF_MEM)) {
      if ((written & (1 << k[pc])) === 0) return false
    } else if (op === (BPF_JMP | BPF_JA)) {
      onJumps[pc + 1 + k[pc]] &= written
      written = 0xffff
    } else if ((op & 7) === BPF_JMP) {
      onJumps[pc + 1 + jumpTrue[pc]] &= written
      onJumps[pc + 1 + jumpFalse[pc]] &= written
      written = 0xffff
    }
  }
  return true
}

function holds(test: number, a: number, operand: number): boolean {
  switch (test) {
    case BPF_JEQ:
      return a === operand
    case BPF_JGT:
      return a > operand
    case BPF_JGE:
      return a >= operand
    default:
      return (a & operand) !== 0
  }
}

function compute(operation: number, a: number, operand: number): number {
  switch (operation) {
    case BPF_ADD:
      return (a + operand) >>> 0
    case BPF_SUB:
      return (a - operand) >>> 0
    case BPF_MUL:
      return Math.imul(a, operand) >>> 0
    case BPF_DIV:
      return Math.floor(a / operand)
    case BPF_AND:
      return (a & operand) >>> 0
    case BPF_OR:
      return (a | operand) >>> 0
    case BPF_XOR:
      return (a ^ operand) >>> 0
    case BPF_LSH:
      return (a << operand) >>> 0
    case BPF_RSH:
      return a >>> operand
    default:
      return -a >>> 0
  }
}
