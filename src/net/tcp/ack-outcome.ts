/** AckOutcome: what one acknowledgement has told, gathered while it is processed; used again for the next. */
import type { AckSample } from './congestion/control.ts'
import type { Seq } from './sequence.ts'

export class AckOutcome implements AckSample {
  now = 0
  rtt = 0
  srtt = 0
  sndUna: Seq = 0
  sndNxt: Seq = 0
  priorUna: Seq = 0
  /** It moved sndUna. */
  advanced = false
  /** It carried data, changed the window or acknowledged something: no duplicate. */
  notDuplicate = false
  /** It acknowledged data that had never been acknowledged. */
  dataAcked = false
  /** SACK blocks told something new. */
  sacked = false
  /** Something acknowledged had been sent only once, before the loss episode: F-RTO's evidence. */
  originalAcked = false
  retransmissionAcked = false
  /** A retransmission was found lost. */
  retransmissionLost = false
  ece = false
  dsack = false
  /** The lowest segment that arrived after higher ones without having been sent twice. */
  reordered = false
  reneged = false
  /** Bytes newly known to have arrived, and newly thought lost. */
  delivered = 0
  lost = 0
  /** Bytes cumulatively acknowledged. */
  acked = 0
  /** Round-trip times in ns, 0 for none: of the segments acknowledged, of those sacked. */
  ackRtt = 0
  sackRtt = 0
  /** The latest delivered segment's state of the rate estimator; -1: none. */
  priorDelivered = -1
  priorAt = 0
  sendInterval = 0
  appLimited = false

  reset(now: number, una: Seq, nxt: Seq): void {
    this.now = now
    this.rtt = this.srtt = 0
    this.sndUna = this.priorUna = una
    this.sndNxt = nxt
    this.advanced = this.notDuplicate = this.dataAcked = this.sacked = false
    this.originalAcked = this.retransmissionAcked = this.retransmissionLost = false
    this.ece = this.dsack = this.reordered = this.reneged = false
    this.delivered = this.lost = this.acked = 0
    this.ackRtt = this.sackRtt = 0
    this.priorDelivered = -1
    this.priorAt = this.sendInterval = 0
    this.appLimited = false
  }
}
