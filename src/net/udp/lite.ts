/**
 * UDP-Lite: RFC 3828: UDP whose checksum covers only as much of a datagram as its sender says, so that what is damaged behind that
 * still comes. Where UDP has its length, its header says how much: 0 for all. Everything else is UdpProtocol's and UdpEndpoint's.
 */
import { IPPROTO_UDPLITE } from '../../abi/constants.ts'
import type { IpAddress } from '../address.ts'
import { checksumOf, pseudoHeaderSum, sumView } from '../checksum.ts'
import { CHECKSUM_NONE, CHECKSUM_VERIFIED, type Packet } from '../packet.ts'

/** The header is always covered. */
const LEAST = 8

/** UDPLITE_SEND_CSCOV and UDPLITE_RECV_CSCOV of a socket: undefined where nobody has set it, 0 for all. */
export class Coverage {
  send: number | undefined = undefined
  receive: number | undefined = undefined

  /** Whether who has asked for so much takes a datagram of which `covered` bytes are. */
  takes(covered: number, length: number): boolean {
    if (this.receive === undefined || covered === length) return true
    return this.receive !== 0 && covered >= this.receive
  }
}

/** What an option's value means. */
export function coverageOf(number: number): number {
  return number !== 0 && number < LEAST ? LEAST : Math.min(number, 0xffff)
}

/** Puts in coverage and checksum: of a datagram at packet.start, with its ports. */
export function writeLite(
  packet: Packet,
  source: IpAddress,
  destination: IpAddress,
  coverage: Coverage,
): void {
  const { view, start, length } = packet
  const wanted = coverage.send ?? length
  const isPart = wanted < length
  view.setUint16(start + 4, isPart ? wanted : length)
  view.setUint16(start + 6, 0)
  const covered = isPart && wanted > 0 ? wanted : length
  const sum = pseudoHeaderSum(source, destination, IPPROTO_UDPLITE, length)
  view.setUint16(start + 6, checksumOf(sumView(view, start, covered, sum)) || 0xffff)
  packet.checksum = CHECKSUM_NONE
}

/** How many bytes the checksum covers, and is right for; 0: it is wrong, or says what can't be. */
export function checkLite(packet: Packet): number {
  const { view, start, length, source, destination } = packet
  const said = view.getUint16(start + 4)
  const covered = said === 0 ? length : said
  if (covered < LEAST || covered > length) return 0
  if (packet.checksum !== CHECKSUM_NONE) return covered
  if (view.getUint16(start + 6) === 0) return 0
  const sum = pseudoHeaderSum(source, destination, IPPROTO_UDPLITE, length)
  if (sumView(view, start, covered, sum) !== 0xffff) return 0
  packet.checksum = CHECKSUM_VERIFIED
  return covered
}
