/** conntrack, state, connmark: what is known of the packet's connection. */
import {
  IPS_DST_NAT,
  IPS_SRC_NAT,
  NFPROTO_UNSPEC,
  XT_CONNTRACK_DIRECTION,
  XT_CONNTRACK_EXPIRES,
  XT_CONNTRACK_ORIGDST,
  XT_CONNTRACK_ORIGDST_PORT,
  XT_CONNTRACK_ORIGSRC,
  XT_CONNTRACK_ORIGSRC_PORT,
  XT_CONNTRACK_PROTO,
  XT_CONNTRACK_REPLDST,
  XT_CONNTRACK_REPLDST_PORT,
  XT_CONNTRACK_REPLSRC,
  XT_CONNTRACK_REPLSRC_PORT,
  XT_CONNTRACK_STATE,
  XT_CONNTRACK_STATE_DNAT,
  XT_CONNTRACK_STATE_INVALID,
  XT_CONNTRACK_STATE_SNAT,
  XT_CONNTRACK_STATE_UNTRACKED,
  XT_CONNTRACK_STATUS,
} from '../../../../abi/constants.ts'
import { XT_CONNTRACK_MTINFO3 as INFO, XT_CONNMARK_MTINFO1, XT_STATE_INFO } from '../../../../abi/layout.ts'
import { NSEC_PER_SEC } from '../../../../base/clock.ts'
import type { IpAddress } from '../../../address.ts'
import type { Packet } from '../../../packet.ts'
import {
  type Connection,
  connectionOf,
  directionOf,
  ORIGINAL,
  stateOf,
  UNTRACKED,
} from '../../conntrack/connection.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Extension, Match } from './extension.ts'

/** XT_CONNTRACK_STATE_* and a bit for established, related, new. */
function stateBit(packet: Packet): number {
  if (packet.connection === undefined) return XT_CONNTRACK_STATE_INVALID
  return packet.connection === UNTRACKED ? XT_CONNTRACK_STATE_UNTRACKED : 1 << (stateOf(packet) + 1)
}

export const conntrackMatch: Extension<Match> = {
  name: 'conntrack',
  revision: 3,
  family: NFPROTO_UNSPEC,
  size: INFO.size,
  usesConntrack: true,
  parse: info => new ConntrackMatch(info),
}

class ConntrackMatch implements Match {
  readonly #info: DataView
  readonly #flags: number
  readonly #inverted: number

  constructor(info: DataView) {
    this.#info = info
    this.#flags = info.getUint16(INFO.match_flags, true)
    this.#inverted = info.getUint16(INFO.invert_flags, true)
  }

  matches(run: Evaluation): boolean {
    const { packet } = run
    const connection = connectionOf(packet)
    if ((this.#flags & XT_CONNTRACK_STATE) !== 0) {
      let bits = stateBit(packet)
      if (connection !== undefined) {
        if ((connection.status & IPS_SRC_NAT) !== 0) bits |= XT_CONNTRACK_STATE_SNAT
        if ((connection.status & IPS_DST_NAT) !== 0) bits |= XT_CONNTRACK_STATE_DNAT
      }
      const found = (this.#info.getUint16(INFO.state_mask, true) & bits) !== 0
      if (found === this.#isInverted(XT_CONNTRACK_STATE)) return false
    }
    if (connection === undefined) return (this.#flags & XT_CONNTRACK_STATE) !== 0
    return (
      this.#directionMatches(packet) && this.#tupleMatches(connection) && this.#restMatches(connection, run)
    )
  }

  /** Inverted means the other direction. */
  #directionMatches(packet: Packet): boolean {
    if ((this.#flags & XT_CONNTRACK_DIRECTION) === 0) return true
    return (directionOf(packet) === ORIGINAL) !== this.#isInverted(XT_CONNTRACK_DIRECTION)
  }

  #tupleMatches({ original, reply, protocol }: Connection): boolean {
    const info = this.#info
    return (
      this.#address(XT_CONNTRACK_ORIGSRC, original.source, INFO.origsrc_addr, INFO.origsrc_mask) &&
      this.#address(XT_CONNTRACK_ORIGDST, original.destination, INFO.origdst_addr, INFO.origdst_mask) &&
      this.#address(XT_CONNTRACK_REPLSRC, reply.source, INFO.replsrc_addr, INFO.replsrc_mask) &&
      this.#address(XT_CONNTRACK_REPLDST, reply.destination, INFO.repldst_addr, INFO.repldst_mask) &&
      this.#is(XT_CONNTRACK_PROTO, protocol === info.getUint16(INFO.l4proto, true)) &&
      this.#port(XT_CONNTRACK_ORIGSRC_PORT, original.from, INFO.origsrc_port, INFO.origsrc_port_high) &&
      this.#port(XT_CONNTRACK_ORIGDST_PORT, original.to, INFO.origdst_port, INFO.origdst_port_high) &&
      this.#port(XT_CONNTRACK_REPLSRC_PORT, reply.from, INFO.replsrc_port, INFO.replsrc_port_high) &&
      this.#port(XT_CONNTRACK_REPLDST_PORT, reply.to, INFO.repldst_port, INFO.repldst_port_high)
    )
  }

  #restMatches(connection: Connection, { stack }: Evaluation): boolean {
    const info = this.#info
    const status = (info.getUint16(INFO.status_mask, true) & connection.status) !== 0
    if (!this.#is(XT_CONNTRACK_STATUS, status)) return false
    if ((this.#flags & XT_CONNTRACK_EXPIRES) === 0) return true
    const seconds = Math.max(connection.expires - stack.runtime.now(), 0) / NSEC_PER_SEC
    const within =
      seconds >= info.getUint32(INFO.expires_min, true) && seconds <= info.getUint32(INFO.expires_max, true)
    return this.#is(XT_CONNTRACK_EXPIRES, within)
  }

  #isInverted(flag: number): boolean {
    return (this.#inverted & flag) !== 0
  }
  #is(flag: number, found: boolean): boolean {
    return (this.#flags & flag) === 0 || found !== this.#isInverted(flag)
  }
  #address(flag: number, address: IpAddress, at: number, maskAt: number): boolean {
    if ((this.#flags & flag) === 0) return true
    const info = this.#info
    const words = address.isV4 ? [address.w3] : [address.w0, address.w1, address.w2, address.w3]
    const same = words.every(
      (word, i) => ((word ^ info.getUint32(at + 4 * i)) & info.getUint32(maskAt + 4 * i)) === 0,
    )
    return this.#is(flag, same)
  }
  #port(flag: number, port: number, low: number, high: number): boolean {
    if ((this.#flags & flag) === 0) return true
    const info = this.#info
    return this.#is(flag, port >= info.getUint16(low, true) && port <= info.getUint16(high, true))
  }
}

export const stateMatch: Extension<Match> = {
  name: 'state',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_STATE_INFO.size,
  usesConntrack: true,
  parse(info) {
    const mask = info.getUint32(XT_STATE_INFO.statemask, true)
    return { matches: ({ packet }) => (stateBit(packet) & mask) !== 0 }
  },
}

export const connmarkMatch: Extension<Match> = {
  name: 'connmark',
  revision: 1,
  family: NFPROTO_UNSPEC,
  size: XT_CONNMARK_MTINFO1.size,
  usesConntrack: true,
  parse(info) {
    const mark = info.getUint32(XT_CONNMARK_MTINFO1.mark, true)
    const mask = info.getUint32(XT_CONNMARK_MTINFO1.mask, true)
    const invert = info.getUint8(XT_CONNMARK_MTINFO1.invert) !== 0
    return {
      matches({ packet }) {
        const connection = connectionOf(packet)
        return connection !== undefined && ((connection.mark & mask) >>> 0 === mark) !== invert
      },
    }
  },
}
