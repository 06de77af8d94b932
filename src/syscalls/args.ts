/**
 * The kinds of system call arguments. A row of the table names one kind per argument; dispatch decodes the register
 * by it, `--strace` prints by it, and the platform copies what it points to along with the call (prefetch).
 *
 * Every kind decodes to one JavaScript number.
 */
import { IOVEC, MSGHDR } from '../abi/layout.ts'
import type { MemoryLook } from '../kernel/kernel.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import {
  touchesMessage,
  touchesMessages,
  touchesSegments,
  touchesString,
  touchesStrings,
} from './touched-memory.ts'

/** How the 64-bit register becomes a number. */
export type Decode =
  /** Low word, signed: int, pid_t, file descriptors. */
  | 'i32'
  /** Low word, unsigned: unsigned int, flags, modes, ids. */
  | 'u32'
  /** All 64 bits as an unsigned double (inexact above 2^53, where everything is refused alike): addresses, sizes. */
  | 'u64'
  /** All 64 bits, signed: off_t, long. */
  | 's64'

export interface ArgKind {
  readonly decode: Decode
  /** For --strace. `out` kinds are printed after the call. */
  readonly show:
    | 'int'
    | 'uint'
    | 'hex'
    | 'octal'
    | 'fd'
    | 'addr'
    | 'path'
    | 'string'
    | 'bytes'
    | 'flags'
    | 'enum'
    | 'struct'
    | 'bits'
    | 'argv'
    | 'signal'
  readonly direction?: 'in' | 'out' | 'inout'
  /** Names for 'flags' and 'enum'. */
  readonly names?: Readonly<Record<string, number>>
  /** What it points to: prefetched when direction is 'in' or 'inout'. */
  readonly layout?: { readonly size: number }
  /** 'struct': they are iovecs, and the call writes to ('out') or reads from ('in') what they point to. */
  readonly segments?: 'in' | 'out'
  /** 'bytes': which argument (index) holds the length; 'bits': which the count; 'struct': the same, if it is an array. */
  readonly lengthArg?: number
  /** What it leads to further on (touched-memory.ts); `count`: of what it points to, if `lengthArg` says it. */
  readonly inner?: (task: Task, at: GuestAddr, count: number, look: MemoryLook) => boolean
}

export const fd: ArgKind = { decode: 'i32', show: 'fd' }
export const int: ArgKind = { decode: 'i32', show: 'int' }
export const uint: ArgKind = { decode: 'u32', show: 'uint' }
export const hex: ArgKind = { decode: 'u32', show: 'hex' }
/** long or off_t. */
export const off: ArgKind = { decode: 's64', show: 'int' }
export const long: ArgKind = off
export const size: ArgKind = { decode: 'u64', show: 'uint' }
export const addr: ArgKind = { decode: 'u64', show: 'addr' }
/** What another argument says the meaning of: an address, or an int that may come with its sign in all 64 bits. */
export const word: ArgKind = { decode: 's64', show: 'addr' }
export const mode: ArgKind = { decode: 'u32', show: 'octal' }
export const pid: ArgKind = { decode: 'i32', show: 'int' }
export const id: ArgKind = { decode: 'u32', show: 'uint' }
export const signal: ArgKind = { decode: 'i32', show: 'signal' }
/** A guest address of a NUL-terminated path. The handler reads it with `task.mm.readPath`. */
export const path: ArgKind = { decode: 'u64', show: 'path', direction: 'in', inner: innerString }
export const string: ArgKind = { decode: 'u64', show: 'string', direction: 'in', inner: innerString }
export const argv: ArgKind = {
  decode: 'u64',
  show: 'argv',
  direction: 'in',
  inner: (task, at, _count, look) => touchesStrings(task, at, look),
}

function innerString(task: Task, at: GuestAddr, _count: number, look: MemoryLook): boolean {
  return touchesString(task, at, look)
}

export function flags(names: Readonly<Record<string, number>>): ArgKind {
  return { decode: 'u32', show: 'flags', names }
}
export function enumOf(names: Readonly<Record<string, number>>): ArgKind {
  return { decode: 'i32', show: 'enum', names }
}
export function bufferIn(lengthArg: number): ArgKind {
  return { decode: 'u64', show: 'bytes', direction: 'in', lengthArg }
}
export function bufferOut(lengthArg: number): ArgKind {
  return { decode: 'u64', show: 'bytes', direction: 'out', lengthArg }
}
export function structIn(layout: { readonly size: number }, lengthArg?: number): ArgKind {
  return { decode: 'u64', show: 'struct', direction: 'in', layout, lengthArg }
}
export function structOut(layout: { readonly size: number }): ArgKind {
  return { decode: 'u64', show: 'struct', direction: 'out', layout }
}
export function structInOut(layout: { readonly size: number }, lengthArg?: number): ArgKind {
  return { decode: 'u64', show: 'struct', direction: 'inout', layout, lengthArg }
}
/** iovecs of a call that reads into them ('out': to the guest's memory) or writes from them ('in'). */
export function vector(segments: 'in' | 'out', countArg: number): ArgKind {
  return {
    ...structIn(IOVEC, countArg),
    segments,
    inner: (task, at, count, look) => touchesSegments(task, at, count, segments === 'out', look),
  }
}
/** struct msghdr. */
export function message(moves: 'in' | 'out'): ArgKind {
  return {
    ...structIn(MSGHDR),
    inner: (task, at, _count, look) => touchesMessage(task, at, moves === 'out', look),
  }
}
/** An array of struct mmsghdr. */
export function messages(moves: 'in' | 'out', countArg: number): ArgKind {
  return {
    ...addr,
    lengthArg: countArg,
    inner: (task, at, count, look) => touchesMessages(task, at, count, moves === 'out', look),
  }
}
/** fd_sets of select(2): a bit each of `countArg`, in words of 64. */
export function bitsInOut(countArg: number): ArgKind {
  return { decode: 'u64', show: 'bits', direction: 'inout', lengthArg: countArg }
}
/** A socklen_t: how much room there is, then how much would have been taken. */
export const lengthInOut: ArgKind = { decode: 'u64', show: 'addr', direction: 'inout', layout: { size: 4 } }

/** One system call. */
export interface SyscallRow {
  readonly nr: number
  /** Gets the task and the decoded arguments; a value, a negative errno, or BLOCK. */
  // biome-ignore lint/suspicious/noExplicitAny: handlers take 0 to 6 numbers; a test holds run.length to args.length + 1
  readonly run: (task: Task, ...args: any[]) => number
  readonly args: readonly ArgKind[]
  /** How --strace shows the result; 'int' if absent. */
  readonly returns?: 'int' | 'addr' | 'fd' | 'none' | 'hex'
  /** What of the man page is not there, for the printed table. */
  readonly partial?: string
  /** For a call that is always refused: with what, and why. */
  readonly refused?: string
}

export type SyscallRows = Readonly<Record<string, SyscallRow>>
