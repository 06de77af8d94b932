/**
 * The states of a TCP connection as an onlooker sees them, and how segments change them. What both ends really think can
 * only be guessed: a segment that was seen may get lost behind us. So states are those of RFC 9293 seen from the side that
 * has moved last, and what can't be told is let pass without changing anything (IGNORE), to be understood by the answer.
 */
import {
  TCP_CONNTRACK_CLOSE,
  TCP_CONNTRACK_CLOSE_WAIT,
  TCP_CONNTRACK_ESTABLISHED,
  TCP_CONNTRACK_FIN_WAIT,
  TCP_CONNTRACK_IGNORE,
  TCP_CONNTRACK_LAST_ACK,
  TCP_CONNTRACK_MAX,
  TCP_CONNTRACK_NONE,
  TCP_CONNTRACK_SYN_RECV,
  TCP_CONNTRACK_SYN_SENT,
  TCP_CONNTRACK_SYN_SENT2,
  TCP_CONNTRACK_TIME_WAIT,
} from '../../../abi/constants.ts'
import { ACK, FIN, RST, SYN, URG } from '../../tcp/segment.ts'

/** Kinds of segments. */
export const SEGMENT_SYN = 0
export const SEGMENT_SYNACK = 1
export const SEGMENT_FIN = 2
export const SEGMENT_ACK = 3
export const SEGMENT_RST = 4
export const SEGMENT_NONE = 5

/** No such segment can belong to the connection. */
export const INVALID = TCP_CONNTRACK_MAX

const LETTERS: Readonly<Record<string, number>> = {
  '-': INVALID,
  i: TCP_CONNTRACK_IGNORE,
  S: TCP_CONNTRACK_SYN_SENT,
  '2': TCP_CONNTRACK_SYN_SENT2,
  R: TCP_CONNTRACK_SYN_RECV,
  E: TCP_CONNTRACK_ESTABLISHED,
  F: TCP_CONNTRACK_FIN_WAIT,
  C: TCP_CONNTRACK_CLOSE_WAIT,
  L: TCP_CONNTRACK_LAST_ACK,
  T: TCP_CONNTRACK_TIME_WAIT,
  X: TCP_CONNTRACK_CLOSE,
}

/** The state after each kind of segment (a line), by the state before: in the columns of the heads. */
const FROM_ORIGINAL = [
  //NSREFCLTX2
  'SSiiiiiSS2', // SYN: a new one replaces what is over
  '--R------R', // SYN+ACK: only of two who open at the same time
  '--FFLLLTX-', // FIN
  'E-EECCTTX-', // ACK: also of a connection that began before we looked
  '-XXXXXXXXX', // RST
  '----------',
]
const FROM_REPLY = [
  '-2-----S-2', // SYN: both open at the same time, or the other side begins anew
  '-RiiiiiiiR', // SYN+ACK
  '--FFLLLTX-', // FIN
  '-iRECCTTXi', // ACK
  '-XXXXXXXXX', // RST
  '----------',
]

export function nextState(isReply: boolean, segment: number, state: number): number {
  return LETTERS[(isReply ? FROM_REPLY : FROM_ORIGINAL)[segment][state - TCP_CONNTRACK_NONE]]
}

/** PSH, ECE and CWR say nothing of the state. */
const STATE_FLAGS = FIN | SYN | RST | ACK | URG
const VALID: ReadonlySet<number> = new Set([
  ...[SYN, SYN | URG, SYN | ACK, RST, RST | ACK],
  ...[FIN | ACK, FIN | ACK | URG, ACK, ACK | URG],
])

export function flagsValid(flags: number): boolean {
  return VALID.has(flags & STATE_FLAGS)
}

export function segmentKind(flags: number): number {
  if ((flags & RST) !== 0) return SEGMENT_RST
  if ((flags & SYN) !== 0) return (flags & ACK) !== 0 ? SEGMENT_SYNACK : SEGMENT_SYN
  if ((flags & FIN) !== 0) return SEGMENT_FIN
  return (flags & ACK) !== 0 ? SEGMENT_ACK : SEGMENT_NONE
}
