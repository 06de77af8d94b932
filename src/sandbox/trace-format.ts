/** How --strace shows arguments: by their kinds, in strace(1)'s spelling. */

import { AT_FDCWD, O_ACCMODE, O_RDONLY } from '../abi/constants.ts'
import {
  EPOLL_EVENT,
  IOVEC,
  POLLFD,
  RLIMIT,
  SIGACTION,
  STAT,
  STATX,
  TIMESPEC,
  TIMEVAL,
} from '../abi/layout.ts'
import { fromBytes } from '../base/bytes.ts'
import { take64 } from '../base/words.ts'
import type { Task } from '../kernel/task.ts'
import type { ArgKind } from '../syscalls/args.ts'

/** Bytes of buffers and strings that are shown, strace's -s. */
const MAX_BYTES = 32
const MAX_PATH = 256
const MAX_ELEMENTS = 8
const MAX_FIELDS = 10
/** FD_SETSIZE. */
const MAX_BITS = 1024

type Layout = Readonly<Record<string, number>> & { readonly size: number }

/** Argument `index`. `result`: the call's, for what it filled; 0 before the call. */
export function formatArgument(task: Task, kinds: readonly ArgKind[], index: number, result: number): string {
  const kind = kinds[index]
  const value = task.args[index]
  switch (kind.show) {
    case 'int':
      return String(value)
    case 'uint':
      return String(value)
    case 'hex':
      return hex(value)
    case 'octal':
      return octal(value)
    case 'fd':
      return value === AT_FDCWD ? 'AT_FDCWD' : String(value)
    case 'addr':
      return address(value)
    case 'signal':
      return signalName(value)
    case 'flags':
      return flagNames(kind.names ?? {}, value)
    case 'enum':
      return enumName(kind.names ?? {}, value)
    case 'path':
      return guestString(task, value, MAX_PATH)
    case 'string':
      return guestString(task, value, MAX_BYTES)
    case 'argv':
      return stringVector(task, value)
    case 'bytes':
      return bytesArgument(task, kind, value, result)
    case 'struct':
      return structArgument(task, kind, value, result)
    case 'bits':
      return bitsArgument(task, kind, value)
  }
}

function bytesArgument(task: Task, kind: ArgKind, at: number, result: number): string {
  // What a failed call was to fill is of no interest; of the rest only what it filled.
  if (kind.direction === 'out' && result < 0) return address(at)
  const length = kind.lengthArg === undefined ? MAX_BYTES : task.args[kind.lengthArg]
  const filled = kind.direction === 'out' ? Math.min(result, length) : length
  const bytes = guestBytes(task, at, Math.min(filled, MAX_BYTES))
  if (bytes === undefined) return address(at)
  return quote(bytes, filled > MAX_BYTES)
}

function structArgument(task: Task, kind: ArgKind, at: number, result: number): string {
  const layout = kind.layout as Layout | undefined
  if (layout === undefined || (kind.direction === 'out' && result < 0)) return address(at)
  if (kind.lengthArg === undefined) return oneStruct(task, layout, at)
  const count = task.args[kind.lengthArg]
  if (at === 0 || count < 0) return address(at)
  const shown: string[] = []
  for (let i = 0; i < Math.min(count, MAX_ELEMENTS); i++)
    shown.push(oneStruct(task, layout, at + i * layout.size))
  if (count > MAX_ELEMENTS) shown.push('...')
  return `[${shown.join(', ')}]`
}

/** The places of those that are set: strace's [3 4]. */
function bitsArgument(task: Task, kind: ArgKind, at: number): string {
  const count = Math.min(task.args[kind.lengthArg!], MAX_BITS)
  const bytes = guestBytes(task, at, Math.ceil(count / 8))
  if (bytes === undefined) return address(at)
  const set: number[] = []
  for (let i = 0; i < count; i++) if ((bytes[i >> 3] & (1 << (i & 7))) !== 0) set.push(i)
  return `[${set.slice(0, MAX_ELEMENTS).join(' ')}${set.length > MAX_ELEMENTS ? ' ...' : ''}]`
}

/** A struct by its layout. Widths of fields are the distances of their offsets. */
function oneStruct(task: Task, layout: Layout, at: number): string {
  const bytes = guestBytes(task, at, layout.size)
  if (bytes === undefined || bytes.length < layout.size) return address(at)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  if (layout === (IOVEC as Layout)) return iovec(task, view)
  const shown: string[] = []
  const fields = BRIEF.get(layout) ?? Object.keys(layout).filter(name => name !== 'size')
  for (const name of fields.slice(0, MAX_FIELDS)) {
    const width = fieldWidth(layout, name)
    shown.push(`${name}=${formatField(name, readField(view, layout[name], width))}`)
  }
  if (fields.length > MAX_FIELDS) shown.push('...')
  return `{${shown.join(', ')}}`
}

/** The fields that matter, for the structs that are seen all the time. */
const BRIEF = new Map<Layout, readonly string[]>([
  [STAT, ['st_mode', 'st_size', 'st_uid', 'st_gid', 'st_ino', 'st_nlink']],
  [STATX, ['stx_mask', 'stx_mode', 'stx_size', 'stx_uid', 'stx_gid', 'stx_ino']],
  [SIGACTION, ['handler', 'flags', 'mask']],
  [TIMESPEC, ['tv_sec', 'tv_nsec']],
  [TIMEVAL, ['tv_sec', 'tv_usec']],
  [RLIMIT, ['rlim_cur', 'rlim_max']],
  [POLLFD, ['fd', 'events', 'revents']],
  [EPOLL_EVENT, ['events', 'data']],
])

const HEXADECIMAL = /flags|mask|handler|addr|events|attributes|restorer|_sp$|head|list/
const SIGNED = /^(fd|tv_sec|tv_nsec|tv_usec|.*pid)$/

function formatField(name: string, value: number): string {
  if (name === 'st_mode' || name === 'stx_mode') return octal(value)
  // RLIM_INFINITY and other ends of the range, which a double doesn't hold exactly.
  if (value >= 2 ** 64 - 2048) return '-1'
  if (SIGNED.test(name) && value >= 2 ** 31 && value < 2 ** 32) return String(value | 0)
  return HEXADECIMAL.test(name) ? hex(value) : String(value)
}

function fieldWidth(layout: Layout, name: string): number {
  let end = layout.size
  for (const other of Object.keys(layout)) {
    if (other !== 'size' && layout[other] > layout[name] && layout[other] < end) end = layout[other]
  }
  return end - layout[name]
}

function readField(view: DataView, at: number, width: number): number {
  if (width >= 8) return take64(view, at)
  if (width >= 4) return view.getUint32(at, true)
  if (width >= 2) return view.getUint16(at, true)
  return view.getUint8(at)
}

function iovec(task: Task, view: DataView): string {
  const base = readField(view, IOVEC.iov_base, 8)
  const length = readField(view, IOVEC.iov_len, 8)
  const bytes = guestBytes(task, base, Math.min(length, MAX_BYTES))
  const shown = bytes === undefined ? address(base) : quote(bytes, length > MAX_BYTES)
  return `{iov_base=${shown}, iov_len=${length}}`
}

function stringVector(task: Task, at: number): string {
  if (at === 0) return 'NULL'
  const shown: string[] = []
  for (let i = 0; ; i++) {
    const entry = guestBytes(task, at + 8 * i, 8)
    if (entry === undefined || entry.length < 8) return address(at)
    const pointer = readField(new DataView(entry.buffer, entry.byteOffset, 8), 0, 8)
    if (pointer === 0) break
    if (i === MAX_ELEMENTS) {
      shown.push('...')
      break
    }
    shown.push(guestString(task, pointer, MAX_BYTES))
  }
  return `[${shown.join(', ')}]`
}

function guestString(task: Task, at: number, max: number): string {
  const bytes = guestBytes(task, at, max + 1)
  if (bytes === undefined) return address(at)
  const end = bytes.indexOf(0)
  if (end >= 0) return quote(bytes.subarray(0, end), false)
  return quote(bytes.subarray(0, max), bytes.length > max)
}

/** Up to `length` bytes, fewer at the end of what is mapped; undefined where nothing is or `length` is below 0. */
function guestBytes(task: Task, at: number, length: number): Uint8Array | undefined {
  if (at === 0 || length < 0) return undefined
  const bytes = new Uint8Array(length)
  if (length === 0) return bytes
  const count = task.mm.space.read(at, bytes)
  return count <= 0 ? undefined : bytes.subarray(0, count)
}

const ESCAPES: Readonly<Record<number, string>> = {
  9: '\\t',
  10: '\\n',
  11: '\\v',
  12: '\\f',
  13: '\\r',
  34: '\\"',
  92: '\\\\',
}

/** C's spelling: octal escapes, in full where a digit follows. */
export function quote(bytes: Uint8Array, cut: boolean): string {
  let text = ''
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]
    const next = bytes[i + 1]
    if (ESCAPES[byte] !== undefined) text += ESCAPES[byte]
    else if (byte >= 32 && byte < 127) text += fromBytes(bytes, i, i + 1)
    else text += `\\${byte.toString(8).padStart(next >= 48 && next <= 57 ? 3 : 1, '0')}`
  }
  return `"${text}"${cut ? '...' : ''}`
}

/** Bits by their names, the rest in hexadecimal: O_WRONLY|O_CREAT|0x4. */
export function flagNames(names: Readonly<Record<string, number>>, value: number): string {
  let rest = value >>> 0
  const shown: string[] = []
  // Values of several bits before their parts.
  for (const [name, bits] of byBits(names)) {
    const mask = bits >>> 0
    if (mask === 0 || (rest & mask) >>> 0 !== mask) continue
    shown.push(name)
    rest = (rest & ~mask) >>> 0
  }
  // Its name is that of no bit.
  if (names.O_WRONLY !== undefined && (value & O_ACCMODE) === O_RDONLY) shown.push('O_RDONLY')
  shown.reverse()
  if (rest !== 0) shown.push(hex(rest))
  if (shown.length > 0) return shown.join('|')
  for (const name of Object.keys(names)) if (names[name] === 0) return name
  return '0'
}

const sortedNames = new WeakMap<object, [string, number][]>()

/** By falling number of bits, then falling value. */
function byBits(names: Readonly<Record<string, number>>): [string, number][] {
  let sorted = sortedNames.get(names)
  if (sorted === undefined) {
    sorted = Object.entries(names).sort(
      (a, b) => bitCount(b[1]) - bitCount(a[1]) || (b[1] >>> 0) - (a[1] >>> 0),
    )
    sortedNames.set(names, sorted)
  }
  return sorted
}

function bitCount(value: number): number {
  let count = 0
  for (let rest = value >>> 0; rest !== 0; rest &= rest - 1) count++
  return count
}

export function enumName(names: Readonly<Record<string, number>>, value: number): string {
  for (const name of Object.keys(names))
    if (names[name] === value || names[name] >>> 0 === value >>> 0) return name
  return value < 0 ? String(value) : hex(value)
}

const SIGNALS = [
  '0',
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGILL',
  'SIGTRAP',
  'SIGABRT',
  'SIGBUS',
  'SIGFPE',
  'SIGKILL',
  'SIGUSR1',
  'SIGSEGV',
  'SIGUSR2',
  'SIGPIPE',
  'SIGALRM',
  'SIGTERM',
  'SIGSTKFLT',
  'SIGCHLD',
  'SIGCONT',
  'SIGSTOP',
  'SIGTSTP',
  'SIGTTIN',
  'SIGTTOU',
  'SIGURG',
  'SIGXCPU',
  'SIGXFSZ',
  'SIGVTALRM',
  'SIGPROF',
  'SIGWINCH',
  'SIGIO',
  'SIGPWR',
  'SIGSYS',
]

export function signalName(signo: number): string {
  return SIGNALS[signo] ?? (signo >= 32 && signo <= 64 ? `SIGRT_${signo - 32}` : String(signo))
}

function address(value: number): string {
  return value === 0 ? 'NULL' : hex(value)
}
function hex(value: number): string {
  return value < 0 ? String(value) : `0x${value.toString(16)}`
}
function octal(value: number): string {
  return value === 0 ? '0' : `0${value.toString(8)}`
}
