/**
 * eBPF programs for cgroups. Those of type BPF_PROG_TYPE_CGROUP_DEVICE are what runc, crun, systemd and others guard a
 * container's devices with; others can be loaded, by which programs find out what the kernel knows, but not attached.
 *
 * A program sees three words (struct bpf_cgroup_dev_ctx: access and type, major, minor) and says in r0 whether the access
 * is allowed. It is checked once: 64-bit arithmetic, forward jumps, so that it ends, and loads from those three words
 * by r1, which nobody has changed before. There are no maps, helpers or stack for it; who needs them gets EINVAL. It is
 * run as it is, by numbers of 64 bits, since devices are seldom opened.
 */
import {
  BPF_ADD,
  BPF_ALU,
  BPF_ALU64,
  BPF_AND,
  BPF_ARSH,
  BPF_DIV,
  BPF_EXIT,
  BPF_IMM,
  BPF_JA,
  BPF_JEQ,
  BPF_JGE,
  BPF_JGT,
  BPF_JLE,
  BPF_JLT,
  BPF_JMP,
  BPF_JMP32,
  BPF_JNE,
  BPF_JSET,
  BPF_JSGE,
  BPF_JSGT,
  BPF_JSLE,
  BPF_JSLT,
  BPF_LD,
  BPF_LDX,
  BPF_LSH,
  BPF_MEM,
  BPF_MOD,
  BPF_MOV,
  BPF_MUL,
  BPF_NEG,
  BPF_OR,
  BPF_RSH,
  BPF_SUB,
  BPF_X,
  BPF_XOR,
} from '../../abi/constants.ts'
import { E2BIG, EACCES, EINVAL } from '../../abi/errno.ts'
import { BPF_CGROUP_DEV_CTX, BPF_INSN } from '../../abi/layout.ts'
import type { OrErrno } from '../../base/result.ts'

const MAX_INSTRUCTIONS = 4096
const CLASS = 7
const OPERATION = 0xf0
const SIZE = 0x18
const MODE = 0xe0
const WORD = 0
const HALF = 0x08
const BYTE = 0x10
const DOUBLE = 0x18
const CONTEXT = 1
/** r10 is the frame's, which these have none of. */
const LAST_REGISTER = 9
const LOAD_64 = BPF_LD | DOUBLE | BPF_IMM

const ARITHMETIC = [
  ...[BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_OR, BPF_AND, BPF_LSH, BPF_RSH, BPF_NEG, BPF_MOD, BPF_XOR],
  ...[BPF_MOV, BPF_ARSH],
]
const JUMPS = [
  ...[BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET, BPF_JNE, BPF_JSGT, BPF_JSGE, BPF_JLT, BPF_JLE, BPF_JSLT, BPF_JSLE],
]

interface Instruction {
  readonly code: number
  readonly dst: number
  readonly src: number
  readonly off: number
  readonly imm: number
}

export class CgroupProgram {
  /** By which BPF_PROG_GET_FD_BY_ID finds it. */
  readonly id: number
  /** BPF_PROG_TYPE_*. */
  readonly type: number
  readonly name: string
  readonly uid: number
  /** Descriptors and cgroups that hold it. */
  users = 0
  readonly #code: readonly Instruction[]

  constructor(id: number, type: number, name: string, uid: number, code: readonly Instruction[]) {
    this.id = id
    this.type = type
    this.name = name
    this.uid = uid
    this.#code = code
  }

  /** Whether `access` (BPF_DEVCG_ACC_*) to the device is allowed; `type` is BPF_DEVCG_DEV_*. */
  allows(access: number, type: number, major: number, minor: number): boolean {
    const context = new DataView(new ArrayBuffer(BPF_CGROUP_DEV_CTX.size))
    context.setUint32(BPF_CGROUP_DEV_CTX.access_type, (access << 16) | type, true)
    context.setUint32(BPF_CGROUP_DEV_CTX.major, major, true)
    context.setUint32(BPF_CGROUP_DEV_CTX.minor, minor, true)
    return execute(this.#code, context) !== 0n
  }
}

/** The instructions, if the verifier lets them pass. */
export function verify(bytes: DataView): OrErrno<readonly Instruction[]> {
  const count = bytes.byteLength / BPF_INSN.size
  if (count === 0 || count > MAX_INSTRUCTIONS) return -E2BIG
  const code: Instruction[] = []
  for (let i = 0; i < count; i++) code.push(decode(bytes, i * BPF_INSN.size))
  let contextLost = false
  for (let i = 0; i < count; i++) {
    const instruction = code[i]
    const status = check(instruction, i, count)
    if (status < 0) return status
    const kind = instruction.code & CLASS
    if (kind === BPF_LDX && (contextLost || instruction.src !== CONTEXT)) return -EACCES
    const writes = kind !== BPF_JMP && kind !== BPF_JMP32
    if (writes && instruction.dst === CONTEXT) contextLost = true
    if (instruction.code === LOAD_64) {
      // The second half is the upper word.
      if (i + 1 === count || code[i + 1].code !== 0 || instruction.src !== 0) return -EINVAL
      i++
    }
  }
  const last = code[count - 1].code
  return last === (BPF_JMP | BPF_EXIT) || last === (BPF_JMP | BPF_JA) ? code : -EINVAL
}

function decode(bytes: DataView, at: number): Instruction {
  const registers = bytes.getUint8(at + 1)
  return {
    code: bytes.getUint8(at + BPF_INSN.code),
    dst: registers & 15,
    src: registers >>> 4,
    off: bytes.getInt16(at + BPF_INSN.off, true),
    imm: bytes.getInt32(at + BPF_INSN.imm, true),
  }
}

function check({ code, dst, src, off, imm }: Instruction, at: number, count: number): number {
  if (dst > LAST_REGISTER || src > LAST_REGISTER) return -EINVAL
  const operation = code & OPERATION
  switch (code & CLASS) {
    case BPF_ALU:
    case BPF_ALU64: {
      if (!ARITHMETIC.includes(operation)) return -EINVAL
      const divides = operation === BPF_DIV || operation === BPF_MOD
      return divides && (code & BPF_X) === 0 && imm === 0 ? -EINVAL : 0
    }
    case BPF_JMP:
    case BPF_JMP32: {
      if (code === (BPF_JMP | BPF_EXIT)) return 0
      if (code !== (BPF_JMP | BPF_JA) && !JUMPS.includes(operation)) return -EINVAL
      return off >= 0 && at + 1 + off < count ? 0 : -EINVAL
    }
    case BPF_LDX: {
      const size = code & SIZE
      const length = size === WORD ? 4 : size === HALF ? 2 : size === BYTE ? 1 : 0
      if ((code & MODE) !== BPF_MEM || length === 0) return -EACCES
      return off >= 0 && off % length === 0 && off + length <= BPF_CGROUP_DEV_CTX.size ? 0 : -EACCES
    }
    case BPF_LD:
      return code === LOAD_64 ? 0 : -EINVAL
  }
  return -EINVAL
}

function execute(code: readonly Instruction[], context: DataView): bigint {
  const r: bigint[] = new Array(LAST_REGISTER + 1).fill(0n)
  for (let at = 0; at < code.length; at++) {
    const instruction = code[at]
    const { code: op, dst, src, off, imm } = instruction
    switch (op & CLASS) {
      case BPF_LDX:
        r[dst] = BigInt(load(context, op & SIZE, off))
        break
      case BPF_LD:
        r[dst] = BigInt.asUintN(32, BigInt(imm)) | (BigInt.asUintN(32, BigInt(code[++at].imm)) << 32n)
        break
      case BPF_ALU:
      case BPF_ALU64: {
        const bits = (op & CLASS) === BPF_ALU64 ? 64 : 32
        r[dst] = compute(op & OPERATION, bits, r[dst], (op & BPF_X) !== 0 ? r[src] : BigInt(imm))
        break
      }
      default: {
        if (op === (BPF_JMP | BPF_EXIT)) return BigInt.asUintN(32, r[0])
        const bits = (op & CLASS) === BPF_JMP ? 64 : 32
        const other = (op & BPF_X) !== 0 ? r[src] : BigInt(imm)
        if (op === (BPF_JMP | BPF_JA) || jumps(op & OPERATION, bits, r[dst], other)) at += off
      }
    }
  }
  return 0n
}

function load(context: DataView, size: number, off: number): number {
  if (size === WORD) return context.getUint32(off, true)
  return size === HALF ? context.getUint16(off, true) : context.getUint8(off)
}

function compute(operation: number, bits: number, left: bigint, right: bigint): bigint {
  const a = BigInt.asUintN(bits, left)
  const b = BigInt.asUintN(bits, right)
  const shift = b & BigInt(bits - 1)
  const result = (): bigint => {
    switch (operation) {
      case BPF_ADD:
        return a + b
      case BPF_SUB:
        return a - b
      case BPF_MUL:
        return a * b
      case BPF_DIV:
        return b === 0n ? 0n : a / b
      case BPF_MOD:
        return b === 0n ? a : a % b
      case BPF_OR:
        return a | b
      case BPF_AND:
        return a & b
      case BPF_XOR:
        return a ^ b
      case BPF_LSH:
        return a << shift
      case BPF_RSH:
        return a >> shift
      case BPF_ARSH:
        return BigInt.asIntN(bits, a) >> shift
      case BPF_NEG:
        return -a
    }
    return b
  }
  return BigInt.asUintN(bits, result())
}

function jumps(operation: number, bits: number, left: bigint, right: bigint): boolean {
  const a = BigInt.asUintN(bits, left)
  const b = BigInt.asUintN(bits, right)
  const signedA = BigInt.asIntN(bits, left)
  const signedB = BigInt.asIntN(bits, right)
  switch (operation) {
    case BPF_JEQ:
      return a === b
    case BPF_JNE:
      return a !== b
    case BPF_JGT:
      return a > b
    case BPF_JGE:
      return a >= b
    case BPF_JLT:
      return a < b
    case BPF_JLE:
      return a <= b
    case BPF_JSET:
      return (a & b) !== 0n
    case BPF_JSGT:
      return signedA > signedB
    case BPF_JSGE:
      return signedA >= signedB
    case BPF_JSLT:
      return signedA < signedB
  }
  return signedA <= signedB
}
