/** TCP's options as filters ask for them, change them and take them out. */
import { TCPOPT_EOL, TCPOPT_NOP } from '../../abi/constants.ts'
import { updateChecksum16 } from '../checksum.ts'
import { CHECKSUM_PARTIAL, type Packet } from '../packet.ts'
import { TCP_HEADER } from '../tcp/segment.ts'

/** Where the first option of this kind stands, -1: there is none, or the TCP header isn't there as a whole. */
export function findTcpOption({ view, transport, end }: Packet, wanted: number): number {
  if (transport < 0 || end - transport < TCP_HEADER) return -1
  const last = transport + (view.getUint8(transport + 12) >> 4) * 4
  if (last > end) return -1
  for (let at = transport + TCP_HEADER; at < last; ) {
    const kind = view.getUint8(at)
    if (kind === TCPOPT_EOL) return wanted === TCPOPT_EOL ? at : -1
    const length = kind === TCPOPT_NOP ? 1 : at + 1 < last ? view.getUint8(at + 1) : 0
    if (length === 0 || at + length > last || (kind !== TCPOPT_NOP && length < 2)) return -1
    if (kind === wanted) return at
    at += length
  }
  return -1
}

/** Of the option at `at`, which `findTcpOption` has found. */
export function tcpOptionLength({ view }: Packet, at: number): number {
  const kind = view.getUint8(at)
  return kind === TCPOPT_EOL || kind === TCPOPT_NOP ? 1 : view.getUint8(at + 1)
}

/** One byte of the TCP header, and its checksum. */
export function setTcpByte({ view, transport, checksum }: Packet, at: number, value: number): void {
  // Words begin at even places of the header.
  const word = at - ((at - transport) & 1)
  const before = view.getUint16(word)
  view.setUint8(at, value)
  if (checksum === CHECKSUM_PARTIAL) return
  view.setUint16(
    transport + 16,
    updateChecksum16(view.getUint16(transport + 16), before, view.getUint16(word)),
  )
}
