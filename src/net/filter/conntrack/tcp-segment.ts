/** TcpSegment: the header of a TCP segment as tracking needs it; one object, filled anew for each. */
import {
  TCPOPT_EOL,
  TCPOPT_NOP,
  TCPOPT_SACK,
  TCPOPT_SACK_PERM,
  TCPOPT_WINDOW,
} from '../../../abi/constants.ts'
import type { Packet } from '../../packet.ts'
import { ACK, FIN, SYN, TCP_HEADER } from '../../tcp/segment.ts'
import { flagsValid, segmentKind } from './tcp-states.ts'

/** RFC 7323 §2.3. */
const MAX_SCALE = 14

export class TcpSegment {
  flags = 0
  kind = 0
  sequence = 0
  /** Behind the last byte, with SYN and FIN. */
  end = 0
  acknowledgement = 0
  window = 0
  /** The highest sequence number that is selectively acknowledged, else `acknowledgement`. */
  sack = 0
  /** The window scale option, -1 where there is none. */
  scale = -1
  sackPermitted = false

  get hasAck(): boolean {
    return (this.flags & ACK) !== 0
  }
  get isSyn(): boolean {
    return (this.flags & SYN) !== 0
  }

  /** False: too short, or flags that no segment has. */
  read({ view, transport, end }: Packet): boolean {
    if (transport < 0 || end - transport < TCP_HEADER) return false
    const headerLength = (view.getUint8(transport + 12) >> 4) * 4
    if (headerLength < TCP_HEADER || transport + headerLength > end) return false
    this.flags = view.getUint8(transport + 13)
    if (!flagsValid(this.flags)) return false
    this.kind = segmentKind(this.flags)
    this.sequence = view.getUint32(transport + 4)
    this.acknowledgement = this.sack = view.getUint32(transport + 8)
    this.window = view.getUint16(transport + 14)
    const length = end - transport - headerLength
    const extra = ((this.flags & SYN) !== 0 ? 1 : 0) + ((this.flags & FIN) !== 0 ? 1 : 0)
    this.end = (this.sequence + length + extra) >>> 0
    this.scale = -1
    this.sackPermitted = false
    this.#options(view, transport + TCP_HEADER, transport + headerLength)
    return true
  }

  #options(view: DataView, at: number, end: number): void {
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
      if (kind === TCPOPT_WINDOW && length === 3) {
        this.scale = Math.min(view.getUint8(at + 2), MAX_SCALE)
      } else if (kind === TCPOPT_SACK_PERM && length === 2) {
        this.sackPermitted = true
      } else if (kind === TCPOPT_SACK) {
        for (let block = at + 2; block + 8 <= at + length; block += 8) {
          const edge = view.getUint32(block + 4)
          if (((edge - this.sack) | 0) > 0) this.sack = edge
        }
      }
      at += length
    }
  }
}
