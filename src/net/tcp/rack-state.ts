/** What RACK-TLP remembers of a connection: RFC 8985 §5.2, §7.2. */
import type { Seq } from './sequence.ts'

export class RackState {
  /** The segment sent last among those known to have arrived: when, up to where, and its round trip. */
  sentAt = 0
  end: Seq = 0
  rtt = 0
  /** The latest acknowledgement moved it on. */
  advanced = false
  /** End of the highest segment known to have arrived. */
  fack: Seq = 0
  reorderingSeen = false
  /** Reordering in segments of the wire, as TCP_INFO shows it. */
  reordering = 3
  reorderings = 0
  /** Reordering window in quarters of the least round trip, and for how many recoveries it stays. */
  windowMultiplier = 1
  windowPersist = 16
  /** A D-SACK came: widen once per round trip. */
  dsackSeen = false
  dsackRound: Seq = 0
  lastDelivered = 0
  /** A loss probe is out: its end. */
  tlpEnd: Seq = 0
  tlpOut = false
  tlpRetransmit = false
}
