/**
 * SYN cookies: the state of a half-open connection kept in the sequence number of its SYN-ACK (and the option bits in its
 * timestamp) when there are too many to remember: RFC 4987 §3.6. A cookie is good for one to two minutes.
 */
import type { Flow } from '../ip/flow.ts'
import type { TcpOptions } from './options.ts'
import type { Seq } from './sequence.ts'
import type { SipHash } from './siphash.ts'

const MSS_TABLE = [536, 1300, 1440, 1460]
const PERIOD = 60 * 1e9
const MAX_AGE = 2
const HASH_BITS = 24
const HASH_MASK = 2 ** HASH_BITS - 1
/** Low bits of the timestamp: window scale, SACK, ECN. */
const TS_MASK = 0x3f
const TS_SACK = 0x10
const TS_ECN = 0x20
const TS_NO_WSCALE = 0xf

export interface CookieOptions {
  wscale: number
  sackPermitted: boolean
  ecn: boolean
}

export class SynCookies {
  readonly #base: SipHash
  readonly #aged: SipHash
  /** Until when an acknowledgement may be a cookie's: since the last one was sent. */
  #sentAt = Number.NEGATIVE_INFINITY

  constructor(base: SipHash, aged: SipHash) {
    this.#base = base
    this.#aged = aged
  }

  /** The sequence number for the answer to a SYN of `seq`; and the largest MSS that it can stand for. */
  make(flow: Flow, seq: Seq, mss: number, now: number): { iss: Seq; mss: number } {
    this.#sentAt = now
    let index = MSS_TABLE.length - 1
    while (index > 0 && MSS_TABLE[index] > mss) index--
    const count = Math.floor(now / PERIOD)
    const aged = (hash(this.#aged, flow, count) + index) & HASH_MASK
    return { iss: (hash(this.#base, flow, 0) + seq + (count << HASH_BITS) + aged) | 0, mss: MSS_TABLE[index] }
  }

  /** The MSS that the cookie stands for; 0: it is none of ours, or too old. `seq`: of the peer's SYN. */
  check(flow: Flow, seq: Seq, cookie: Seq, now: number): number {
    if (now - this.#sentAt > MAX_AGE * PERIOD) return 0
    const count = Math.floor(now / PERIOD)
    const value = (cookie - hash(this.#base, flow, 0) - seq) | 0
    const age = (count - (value >>> HASH_BITS)) & 0xff
    if (age >= MAX_AGE) return 0
    const index = (value - hash(this.#aged, flow, count - age)) & HASH_MASK
    return MSS_TABLE[index] ?? 0
  }
}

function hash(key: SipHash, flow: Flow, extra: number): number {
  return key.flow(flow.destination, flow.source, flow.destinationPort, flow.sourcePort, extra)
}

/** A timestamp, not in the future, that carries what the SYN offered. */
export function cookieTimestamp(ts: Seq, options: TcpOptions, ecn: boolean): Seq {
  let bits = options.wscale >= 0 ? options.wscale : TS_NO_WSCALE
  if (options.sackPermitted) bits |= TS_SACK
  if (ecn) bits |= TS_ECN
  const stamp = (ts & ~TS_MASK) | bits
  return ((stamp - ts) | 0) > 0 ? (stamp - TS_MASK - 1) | 0 : stamp
}

export function readCookieTimestamp(ts: Seq): CookieOptions {
  const wscale = ts & 0xf
  return {
    wscale: wscale === TS_NO_WSCALE ? -1 : wscale,
    sackPermitted: (ts & TS_SACK) !== 0,
    ecn: (ts & TS_ECN) !== 0,
  }
}
