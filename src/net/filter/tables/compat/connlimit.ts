/** connlimit: how many connections a network has, by source or destination address. */
import {
  NFPROTO_IPV4,
  NFPROTO_UNSPEC,
  XT_CONNLIMIT_DADDR,
  XT_CONNLIMIT_INVERT,
} from '../../../../abi/constants.ts'
import { XT_CONNLIMIT_INFO } from '../../../../abi/layout.ts'
import { IpAddress } from '../../../address.ts'
import { connectionOf } from '../../conntrack/connection.ts'
import { ConnectionCount } from '../../conntrack/count.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Extension, Match } from './extension.ts'

/** Networks that are counted: when there are so many, those without connections are forgotten. */
const MANY = 1024

export const connlimitMatch: Extension<Match> = {
  name: 'connlimit',
  revision: 1,
  family: NFPROTO_UNSPEC,
  size: XT_CONNLIMIT_INFO.size,
  userSize: XT_CONNLIMIT_INFO.data,
  usesConntrack: true,
  parse(info, { family }) {
    const mask = IpAddress.read(info, XT_CONNLIMIT_INFO.mask, family === NFPROTO_IPV4)
    const limit = info.getUint32(XT_CONNLIMIT_INFO.limit, true)
    return new ConnectionsOfNetworks(mask, limit, info.getUint32(XT_CONNLIMIT_INFO.flags, true))
  },
}

class ConnectionsOfNetworks implements Match {
  readonly #mask: IpAddress
  readonly #limit: number
  readonly #flags: number
  readonly #counts = new Map<string, ConnectionCount>()
  #many = MANY

  constructor(mask: IpAddress, limit: number, flags: number) {
    this.#mask = mask
    this.#limit = limit
    this.#flags = flags
  }

  matches({ stack, packet }: Evaluation): boolean {
    const connection = connectionOf(packet)
    if (connection === undefined) return false
    const now = stack.runtime.now()
    const { w0, w1, w2, w3 } = (this.#flags & XT_CONNLIMIT_DADDR) !== 0 ? packet.destination : packet.source
    const mask = this.#mask
    const network = `${w0 & mask.w0} ${w1 & mask.w1} ${w2 & mask.w2} ${w3 & mask.w3}`
    const exceeds = this.#countOf(network, now).exceeds(this.#limit, connection, now)
    return exceeds !== ((this.#flags & XT_CONNLIMIT_INVERT) !== 0)
  }

  #countOf(network: string, now: number): ConnectionCount {
    let count = this.#counts.get(network)
    if (count !== undefined) return count
    if (this.#counts.size >= this.#many) {
      for (const [other, each] of this.#counts) if (each.isOver(now)) this.#counts.delete(other)
      // So that each is looked at only once for each new one.
      this.#many = Math.max(MANY, 2 * this.#counts.size)
    }
    count = new ConnectionCount()
    this.#counts.set(network, count)
    return count
  }
}
