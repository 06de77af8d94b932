/** What is remembered of a reduction of the congestion window until it is over or undone: RFC 6582, 6937, 5682, 3522. */
import { TCP_CA_Open } from '../../abi/constants.ts'
import type { Seq } from './sequence.ts'

export class RecoveryState {
  /** TCP_CA_Open, Disorder, CWR, Recovery, Loss. */
  state = TCP_CA_Open
  /** What had been sent when it began: acknowledged, it is over. */
  highSeq: Seq = 0
  /** Where undoing is possible: sndUna at the beginning. */
  undoMarker: Seq = 0
  canUndo = false
  /** Bytes retransmitted since, less what D-SACKs report as superfluous. */
  undoRetransmitted = 0
  retransmittedSince = false
  /** The window and threshold before. */
  priorWindow = 0
  priorSsthresh = 0
  /** Proportional rate reduction, in bytes. */
  prrDelivered = 0
  prrOut = 0
  /** Timestamp of the first retransmission, for Eifel detection, and its time. */
  retransStamp: Seq = 0
  retransSince = 0
  /** F-RTO is trying to find out whether the timeout was spurious. */
  frto = false
  /** Without SACK: duplicate acknowledgements, in bytes, as if they had said which segments arrived. */
  renoSacked = 0
  /** No lost segment before this waits for retransmission. */
  retransmitHint: Seq = 0
}
