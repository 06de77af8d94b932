/**
 * The filter language of inet_diag: instructions that compare ports, addresses and the like and jump forward; past the end
 * by four means 'no', exactly at the end 'yes'. Programs are checked when they come.
 */
import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  INET_DIAG_BC_AUTO,
  INET_DIAG_BC_D_COND,
  INET_DIAG_BC_D_EQ,
  INET_DIAG_BC_D_GE,
  INET_DIAG_BC_D_LE,
  INET_DIAG_BC_DEV_COND,
  INET_DIAG_BC_JMP,
  INET_DIAG_BC_MARK_COND,
  INET_DIAG_BC_NOP,
  INET_DIAG_BC_S_COND,
  INET_DIAG_BC_S_EQ,
  INET_DIAG_BC_S_GE,
  INET_DIAG_BC_S_LE,
  SO_MARK,
} from '../../../abi/constants.ts'
import { EINVAL } from '../../../abi/errno.ts'
import { INET_DIAG_BC_OP, INET_DIAG_HOSTCOND } from '../../../abi/layout.ts'
import { IpAddress, V4_ANY, V6_ANY } from '../../address.ts'
import type { InetEntry } from '../../inet/entry.ts'
import { viewOf } from '../message.ts'

export type Condition = (entry: InetEntry) => boolean

/** Instructions that are followed by another one with the value. */
const WITH_PORT: ReadonlySet<number> = new Set([
  INET_DIAG_BC_S_GE,
  INET_DIAG_BC_S_LE,
  INET_DIAG_BC_S_EQ,
  INET_DIAG_BC_D_GE,
  INET_DIAG_BC_D_LE,
  INET_DIAG_BC_D_EQ,
])
const MAX_STEPS = 65536

/** -EINVAL for a program that is none. */
export function compileConditions(code: Uint8Array): Condition | number {
  const view = viewOf(code)
  const { length } = code
  for (let at = 0; at < length; ) {
    if (length - at < INET_DIAG_BC_OP.size) return -EINVAL
    const op = code[at]
    const yes = code[at + INET_DIAG_BC_OP.yes]
    const no = view.getUint16(at + INET_DIAG_BC_OP.no, true)
    if (yes < 4 || yes > length - at + 4 || (yes & 3) !== 0) return -EINVAL
    if (op !== INET_DIAG_BC_NOP && (no < 4 || no > length - at + 4 || (no & 3) !== 0)) return -EINVAL
    if (op > INET_DIAG_BC_MARK_COND + 2) return -EINVAL
    const operand = operandSize(op, view, at, length)
    if (operand < 0 || length - at < 4 + operand) return -EINVAL
    at += yes
  }
  return entry => run(code, view, entry)
}

/** Bytes behind an instruction that are its operand; -1 where they aren't there. */
function operandSize(op: number, view: DataView, at: number, length: number): number {
  if (WITH_PORT.has(op) || op === INET_DIAG_BC_DEV_COND) return 4
  if (op === INET_DIAG_BC_MARK_COND) return 8
  if (op !== INET_DIAG_BC_S_COND && op !== INET_DIAG_BC_D_COND) return 0
  if (length - at < 4 + INET_DIAG_HOSTCOND.size) return -1
  const family = view.getUint8(at + 4 + INET_DIAG_HOSTCOND.family)
  return INET_DIAG_HOSTCOND.size + (family === AF_INET ? 4 : family === AF_INET6 ? 16 : 0)
}

function run(code: Uint8Array, view: DataView, entry: InetEntry): boolean {
  let at = 0
  for (let steps = 0; at < code.length && steps < MAX_STEPS; steps++) {
    const yes = holds(code[at], view, at, entry)
    at += yes ? code[at + INET_DIAG_BC_OP.yes] : view.getUint16(at + INET_DIAG_BC_OP.no, true)
  }
  return at === code.length
}

function holds(op: number, view: DataView, at: number, entry: InetEntry): boolean {
  switch (op) {
    case INET_DIAG_BC_NOP:
      return true
    case INET_DIAG_BC_JMP:
      return false
    case INET_DIAG_BC_AUTO:
      return entry.socket !== undefined && entry.connection !== undefined
    case INET_DIAG_BC_S_COND:
      return hostMatches(view, at + 4, entry.local, entry.localPort, entry.isV6)
    case INET_DIAG_BC_D_COND:
      return hostMatches(
        view,
        at + 4,
        entry.remote ?? (entry.isV6 ? V6_ANY : V4_ANY),
        entry.remotePort,
        entry.isV6,
      )
    case INET_DIAG_BC_DEV_COND:
      return view.getUint32(at + 4, true) === entry.device
    case INET_DIAG_BC_MARK_COND: {
      const mark = entry.socket?.options.values.get(SO_MARK) ?? 0
      return (mark & view.getUint32(at + 8, true)) >>> 0 === view.getUint32(at + 4, true)
    }
  }
  // The value is the `no` field of the instruction behind.
  const port = view.getUint16(at + 4 + INET_DIAG_BC_OP.no, true)
  switch (op) {
    case INET_DIAG_BC_S_GE:
      return entry.localPort >= port
    case INET_DIAG_BC_S_LE:
      return entry.localPort <= port
    case INET_DIAG_BC_S_EQ:
      return entry.localPort === port
    case INET_DIAG_BC_D_GE:
      return entry.remotePort >= port
    case INET_DIAG_BC_D_LE:
      return entry.remotePort <= port
    case INET_DIAG_BC_D_EQ:
      return entry.remotePort === port
  }
  return false
}

function hostMatches(view: DataView, at: number, address: IpAddress, port: number, isV6: boolean): boolean {
  const wantedPort = view.getInt32(at + INET_DIAG_HOSTCOND.port, true)
  if (wantedPort !== -1 && wantedPort !== port) return false
  const length = view.getUint8(at + INET_DIAG_HOSTCOND.prefix_len)
  if (length === 0) return true
  const family = view.getUint8(at + INET_DIAG_HOSTCOND.family)
  if (family === AF_UNSPEC) return true
  if (family === AF_INET6 && !isV6) return false
  const wanted = IpAddress.read(view, at + INET_DIAG_HOSTCOND.addr, family === AF_INET)
  return address.inPrefix(wanted, length)
}
