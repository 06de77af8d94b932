/**
 * SO_ATTACH_FILTER: a program of classic BPF that says of each packet how much of it a socket gets: bpf(4). Programs are
 * checked when they are attached: they only jump forward, so that each ends.
 */

import {
  BPF_ABS,
  BPF_ADD,
  BPF_ALU,
  BPF_AND,
  BPF_B,
  BPF_DIV,
  BPF_IMM,
  BPF_IND,
  BPF_JA,
  BPF_JEQ,
  BPF_JGE,
  BPF_JGT,
  BPF_JMP,
  BPF_JSET,
  BPF_LD,
  BPF_LDX,
  BPF_LEN,
  BPF_LSH,
  BPF_MAXINSNS,
  BPF_MEM,
  BPF_MEMWORDS,
  BPF_MISC,
  BPF_MOD,
  BPF_MSH,
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
  SO_LOCK_FILTER,
} from '../../abi/constants.ts'
import { EFAULT, EINVAL, EPERM } from '../../abi/errno.ts'
import { SOCK_FILTER, SOCK_FPROG } from '../../abi/layout.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import { take64 } from '../../base/words.ts'
import type { Task } from '../../kernel/task.ts'
import { Packet } from '../packet.ts'

const BPF_A_VALUE = 0x10
const BPF_H = 0x08
const CLASS = 7
const MODE = 0xe0
const SIZE = 0x18
const OPERATION = 0xf0
/** Offsets from here on (as negative numbers) are about the packet, not in it: SKF_AD_OFF, SKF_NET_OFF, SKF_LL_OFF. */
const AD_OFF = -0x1000
const NET_OFF = -0x100000
const LL_OFF = -0x200000
const AD_PROTOCOL = 0
const AD_PKTTYPE = 4
const AD_IFINDEX = 8
const AD_MARK = 20
const AD_HATYPE = 28
const AD_RANDOM = 56
const AD_MAX = 64

/** A program as it was attached, and so no larger: two words for each struct sock_filter, of which the first has code, jt and jf. */
type Program = Uint32Array

export class SocketFilter {
  readonly #program: Program

  private constructor(program: Program) {
    this.#program = program
  }

  static of(bytes: Uint8Array): OrErrno<SocketFilter> {
    const program = new Uint32Array(bytes.slice().buffer, 0, (bytes.length >>> 3) * 2)
    return isValid(program) ? new SocketFilter(program) : -EINVAL
  }

  /** The program: struct sock_filter by struct sock_filter. */
  get instructions(): Uint8Array {
    return new Uint8Array(this.#program.buffer, 0, this.#program.byteLength)
  }

  /** Whether a message that is no packet is let in. It begins where others have their network header. */
  passes(bytes: Uint8Array): boolean {
    const packet = new Packet(bytes)
    packet.start = packet.network = 0
    packet.end = bytes.length
    return this.run(packet) > 0
  }

  /** How many bytes from packet.bytes[start] on the socket gets; 0: the packet isn't for it. */
  run(packet: Packet, start = packet.start): number {
    const { view, end } = packet
    const length = end - start
    const memory = new Uint32Array(BPF_MEMWORDS)
    let a = 0
    let x = 0
    const program = this.#program
    const count = program.length / 2
    for (let pc = 0; pc < count; pc++) {
      const word = program[pc * 2]
      const code = word & 0xffff
      const k = program[pc * 2 + 1]
      switch (code & CLASS) {
        case BPF_RET:
          return (code & 0x18) === BPF_A_VALUE ? a : k
        case BPF_LD: {
          const mode = code & MODE
          if (mode === BPF_IMM) a = k
          else if (mode === BPF_LEN) a = length
          else if (mode === BPF_MEM) a = memory[k]
          else {
            const loaded = load(
              packet,
              view,
              start,
              length,
              (mode === BPF_IND ? (x + k) >>> 0 : k) | 0,
              code & SIZE,
            )
            if (loaded < 0) return 0
            a = loaded
          }
          break
        }
        case BPF_LDX: {
          const mode = code & MODE
          if (mode === BPF_IMM) x = k
          else if (mode === BPF_LEN) x = length
          else if (mode === BPF_MEM) x = memory[k]
          else {
            const byte = load(packet, view, start, length, k | 0, BPF_B)
            if (byte < 0) return 0
            x = (byte & 15) * 4
          }
          break
        }
        case BPF_ST:
          memory[k] = a
          break
        case BPF_STX:
          memory[k] = x
          break
        case BPF_ALU: {
          const operand = (code & BPF_X) !== 0 ? x : k
          const operation = code & OPERATION
          if ((operation === BPF_DIV || operation === BPF_MOD) && operand === 0) return 0
          a = calculate(operation, a, operand)
          break
        }
        case BPF_JMP:
          pc += jump(word, a, (code & BPF_X) !== 0 ? x : k, k)
          break
        case BPF_MISC:
          if ((code & 0xf8) === BPF_TAX) x = a
          else a = x
          break
      }
    }
    return 0
  }
}

function calculate(operation: number, a: number, b: number): number {
  switch (operation) {
    case BPF_ADD:
      return (a + b) >>> 0
    case BPF_SUB:
      return (a - b) >>> 0
    case BPF_MUL:
      return Math.imul(a, b) >>> 0
    case BPF_DIV:
      return Math.floor(a / b)
    case BPF_MOD:
      return a % b
    case BPF_AND:
      return (a & b) >>> 0
    case BPF_OR:
      return (a | b) >>> 0
    case BPF_XOR:
      return (a ^ b) >>> 0
    case BPF_LSH:
      return b > 31 ? 0 : (a << b) >>> 0
    case BPF_RSH:
      return b > 31 ? 0 : a >>> b
    case BPF_NEG:
      return -a >>> 0
  }
  return a
}

function jump(word: number, a: number, b: number, k: number): number {
  const jt = (word >>> 16) & 0xff
  const jf = word >>> 24
  switch (word & OPERATION) {
    case BPF_JA:
      return k
    case BPF_JEQ:
      return a === b ? jt : jf
    case BPF_JGT:
      return a > b ? jt : jf
    case BPF_JGE:
      return a >= b ? jt : jf
    case BPF_JSET:
      return (a & b) !== 0 ? jt : jf
  }
  return 0
}

/** -1 where there is nothing. */
function load(
  packet: Packet,
  view: DataView,
  start: number,
  length: number,
  at: number,
  size: number,
): number {
  if (at < 0) {
    if (at >= AD_OFF) return about(packet, at - AD_OFF)
    const isNetwork = at >= NET_OFF
    const header = isNetwork ? packet.network : at >= LL_OFF ? packet.link : -1
    if (header < 0) return -1
    return read(view, header + at - (isNetwork ? NET_OFF : LL_OFF), packet.end, size)
  }
  return read(view, start + at, start + length, size)
}

function read(view: DataView, at: number, end: number, size: number): number {
  if (size === BPF_W) return at + 4 <= end ? view.getUint32(at) : -1
  if (size === BPF_H) return at + 2 <= end ? view.getUint16(at) : -1
  return at + 1 <= end ? view.getUint8(at) : -1
}

function about(packet: Packet, field: number): number {
  if (field === AD_PROTOCOL) return packet.networkProtocol
  if (field === AD_PKTTYPE) return packet.type
  if (field === AD_IFINDEX) return packet.device?.index ?? 0
  if (field === AD_MARK) return packet.mark >>> 0
  if (field === AD_HATYPE) return packet.device?.type ?? 0
  if (field === AD_RANDOM) return Math.floor(Math.random() * 2 ** 32)
  // The CPU, the queue, hashes and VLAN tags: there is one CPU, and none of the others.
  return 0
}

/** bpf_check_classic. */
function isValid(program: Program): boolean {
  const length = program.length / 2
  if (length === 0 || length > BPF_MAXINSNS) return false
  for (let pc = 0; pc < length; pc++) {
    const word = program[pc * 2]
    const code = word & 0xffff
    const jt = (word >>> 16) & 0xff
    const jf = word >>> 24
    const k = program[pc * 2 + 1]
    const memory = ((code & CLASS) === BPF_LD || (code & CLASS) === BPF_LDX) && (code & MODE) === BPF_MEM
    if ((memory || (code & CLASS) === BPF_ST || (code & CLASS) === BPF_STX) && k >= BPF_MEMWORDS) return false
    switch (code & CLASS) {
      case BPF_LD:
        if (![BPF_IMM, BPF_ABS, BPF_IND, BPF_MEM, BPF_LEN].includes(code & MODE)) return false
        if ((code & MODE) === BPF_ABS && (k | 0) < 0 && !isKnown(k | 0)) return false
        break
      case BPF_LDX:
        if (![BPF_IMM, BPF_MEM, BPF_LEN, BPF_MSH].includes(code & MODE)) return false
        break
      case BPF_ALU: {
        const operation = code & OPERATION
        if (operation > BPF_XOR) return false
        if ((operation === BPF_DIV || operation === BPF_MOD) && (code & BPF_X) === 0 && k === 0) return false
        break
      }
      case BPF_JMP:
        if ((code & OPERATION) === BPF_JA) {
          if (k >= length - pc - 1) return false
        } else if ((code & OPERATION) > BPF_JSET || pc + jt + 1 >= length || pc + jf + 1 >= length) {
          return false
        }
        break
      case BPF_MISC:
        if ((code & 0xf8) !== BPF_TAX && (code & 0xf8) !== BPF_TXA) return false
        break
    }
  }
  return (program[length * 2 - 2] & CLASS) === BPF_RET
}

/** Offsets that are about the packet are one for each field. */
function isKnown(at: number): boolean {
  return at < AD_OFF || (at < AD_OFF + AD_MAX && at % 4 === 0)
}

interface Filtered {
  filter: SocketFilter | undefined
  options: { flag(name: number): boolean }
}

/** setsockopt(2): a struct sock_fprog. */
export function readSocketFilter(
  { options }: Filtered,
  task: Task,
  value: Uint8Array,
): OrErrno<SocketFilter> {
  if (value.length !== SOCK_FPROG.size) return -EINVAL
  if (options.flag(SO_LOCK_FILTER)) return -EPERM
  const view = new DataView(value.buffer, value.byteOffset, value.length)
  const count = view.getUint16(SOCK_FPROG.len, true)
  const at = take64(view, SOCK_FPROG.filter)
  if (count === 0 || count > BPF_MAXINSNS) return -EINVAL
  const bytes = new Uint8Array(count * SOCK_FILTER.size)
  if (task.mm.copyIn(at as Parameters<typeof task.mm.copyIn>[0], bytes) < 0) return -EFAULT
  return SocketFilter.of(bytes)
}

export function setSocketFilter(socket: Filtered, task: Task, value: Uint8Array): Status {
  const filter = readSocketFilter(socket, task, value)
  if (typeof filter === 'number') return filter
  socket.filter = filter
  return 0
}
