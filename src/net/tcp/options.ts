/**
 * TCP options: RFC 9293 §3.2, RFC 7323 (window scale, timestamps), RFC 2018 (SACK). Parsing trusts no length; what is
 * unknown is skipped, and what is malformed ends the list.
 */
import {
  TCPOPT_EOL,
  TCPOPT_MSS,
  TCPOPT_NOP,
  TCPOPT_SACK,
  TCPOPT_SACK_PERM,
  TCPOPT_TIMESTAMP,
  TCPOPT_WINDOW,
} from '../../abi/constants.ts'
import type { Seq } from './sequence.ts'

/** RFC 7323 §2.3: larger shifts count as this. */
export const MAX_WSCALE = 14
/** What an aligned timestamp option takes. */
export const TIMESTAMP_LENGTH = 12
/** NOP NOP TIMESTAMP 10: how practically every stack begins the options of a segment. */
const TIMESTAMP_WORD = 0x0101080a

/** The options of one received segment; used again for the next. */
export class TcpOptions {
  /** 0: not there. */
  mss = 0
  /** -1: not there. */
  wscale = -1
  sackPermitted = false
  timestamp = false
  tsval: Seq = 0
  tsecr: Seq = 0
  /** Number of SACK blocks, 0..4. */
  sackCount = 0
  /** Start and end of each block. */
  readonly sacks = new Int32Array(8)

  clear(): void {
    this.mss = 0
    this.wscale = -1
    this.sackPermitted = false
    this.timestamp = false
    this.tsval = this.tsecr = 0
    this.sackCount = 0
  }

  /** `at`..`end`: what stands between header and payload. `syn`: options that only a SYN may carry count. */
  parse(view: DataView, at: number, end: number, syn: boolean): void {
    this.clear()
    if (end - at === TIMESTAMP_LENGTH && view.getUint32(at) === TIMESTAMP_WORD) {
      this.#timestamp(view, at + 4)
      return
    }
    while (at < end) {
      const kind = view.getUint8(at)
      if (kind === TCPOPT_EOL) return
      if (kind === TCPOPT_NOP) {
        at++
        continue
      }
      if (at + 2 > end) return
      const length = view.getUint8(at + 1)
      if (length < 2 || at + length > end) return
      this.#one(view, at, kind, length, syn)
      at += length
    }
  }

  #one(view: DataView, at: number, kind: number, length: number, syn: boolean): void {
    switch (kind) {
      case TCPOPT_MSS:
        if (length === 4 && syn) this.mss = view.getUint16(at + 2)
        break
      case TCPOPT_WINDOW:
        if (length === 3 && syn) this.wscale = Math.min(view.getUint8(at + 2), MAX_WSCALE)
        break
      case TCPOPT_SACK_PERM:
        if (length === 2 && syn) this.sackPermitted = true
        break
      case TCPOPT_TIMESTAMP:
        if (length === 10) this.#timestamp(view, at + 2)
        break
      case TCPOPT_SACK:
        if (length >= 10 && (length - 2) % 8 === 0 && !syn) this.#sack(view, at + 2, (length - 2) / 8)
        break
    }
  }

  #timestamp(view: DataView, at: number): void {
    this.timestamp = true
    this.tsval = view.getInt32(at)
    this.tsecr = view.getInt32(at + 4)
  }

  #sack(view: DataView, at: number, blocks: number): void {
    this.sackCount = Math.min(blocks, 4)
    for (let i = 0; i < this.sackCount * 2; i++) this.sacks[i] = view.getInt32(at + 4 * i)
  }
}

export function writeTimestamp(view: DataView, at: number, tsval: Seq, tsecr: Seq): number {
  view.setUint32(at, TIMESTAMP_WORD)
  view.setInt32(at + 4, tsval)
  view.setInt32(at + 8, tsecr)
  return at + TIMESTAMP_LENGTH
}

/** What a SYN or SYN-ACK offers. */
export interface SynOffer {
  readonly mss: number
  /** -1: none. */
  readonly wscale: number
  readonly sackPermitted: boolean
  readonly timestamp: boolean
  readonly tsval: Seq
  readonly tsecr: Seq
}

export function synOptionsLength(offer: SynOffer): number {
  let length = 4
  if (offer.timestamp) length += TIMESTAMP_LENGTH
  else if (offer.sackPermitted) length += 4
  if (offer.wscale >= 0) length += 4
  return length
}

export function writeSynOptions(view: DataView, at: number, offer: SynOffer): void {
  view.setUint32(at, (TCPOPT_MSS << 24) | (4 << 16) | offer.mss)
  at += 4
  if (offer.timestamp) {
    writeTimestamp(view, at, offer.tsval, offer.tsecr)
    // SACK-permitted takes the place of the padding.
    if (offer.sackPermitted) view.setUint16(at, (TCPOPT_SACK_PERM << 8) | 2)
    at += TIMESTAMP_LENGTH
  } else if (offer.sackPermitted) {
    view.setUint32(at, (TCPOPT_NOP << 24) | (TCPOPT_NOP << 16) | (TCPOPT_SACK_PERM << 8) | 2)
    at += 4
  }
  if (offer.wscale >= 0) {
    view.setUint32(at, (TCPOPT_NOP << 24) | (TCPOPT_WINDOW << 16) | (3 << 8) | offer.wscale)
  }
}

/** The head of a SACK option of `blocks` blocks, padded to the front. */
export function writeSackHead(view: DataView, at: number, blocks: number): number {
  view.setUint32(at, (TCPOPT_NOP << 24) | (TCPOPT_NOP << 16) | (TCPOPT_SACK << 8) | (2 + 8 * blocks))
  return at + 4
}
