/**
 * Packet scripts: one host under test, and the test as its peer. Segments are written as
 *
 *     S. 0:0 ack 1 win 65535 <mss 1460,sackOK,TS 100 0,wscale 7,sack 10:20 30:40> urg 3 ce
 *
 * flags (S F R P . U E W, '-' for none), sequence range, and what else counts; sequence numbers relative to each side's SYN,
 * '.' for ACK. `expect` compares only what it names, and always flags and range.
 */
import { IpAddress } from '../address.ts'
import { CHECKSUM_VERIFIED, type Packet } from '../packet.ts'
import { TcpEndpoint } from './endpoint.ts'
import { ACK, CWR, ECE, FIN, PSH, RST, Segment, SYN, TCP_HEADER, URG, writeHeader } from './segment.ts'
import { split, TestHost, World } from './testing.ts'

const LETTERS: readonly (readonly [string, number])[] = [
  ['S', SYN],
  ['F', FIN],
  ['R', RST],
  ['P', PSH],
  ['.', ACK],
  ['U', URG],
  ['E', ECE],
  ['W', CWR],
]
const PEER_ISN = 1_000_000

/** A segment as text, with numbers relative to `seqBase` and `ackBase`. */
export function formatSegment(packet: Packet, seqBase: number, ackBase: number): string {
  const segment = new Segment()
  const { checksum } = packet
  packet.checksum = CHECKSUM_VERIFIED
  segment.parse(packet)
  packet.checksum = checksum
  const flags = LETTERS.filter(([, bit]) => segment.has(bit)).map(([letter]) => letter)
  const from = (segment.seq - seqBase) | 0
  const parts = [flags.join('') || '-', `${from}:${from + segment.length}`]
  if (segment.has(ACK)) parts.push(`ack ${(segment.ack - ackBase) | 0}`)
  parts.push(`win ${segment.window}`)
  const { options } = segment
  const told: string[] = []
  if (options.mss > 0) told.push(`mss ${options.mss}`)
  if (options.sackPermitted) told.push('sackOK')
  if (options.timestamp) told.push(`TS ${options.tsval} ${options.tsecr}`)
  if (options.wscale >= 0) told.push(`wscale ${options.wscale}`)
  if (options.sackCount > 0) {
    const blocks: string[] = []
    for (let i = 0; i < options.sackCount; i++) {
      blocks.push(`${(options.sacks[2 * i] - ackBase) | 0}:${(options.sacks[2 * i + 1] - ackBase) | 0}`)
    }
    told.push(`sack ${blocks.join(' ')}`)
  }
  if (told.length > 0) parts.push(`<${told.join(',')}>`)
  if (segment.has(URG)) parts.push(`urg ${segment.urgent}`)
  if ((packet.tos & 3) !== 0) parts.push((packet.tos & 3) === 3 ? 'ce' : 'ect')
  return parts.join(' ')
}

interface Parsed {
  flags: number
  seq: number
  length: number
  ack: number
  window: number
  options: string
  urgent: number
  ce: boolean
}

const SYNTAX =
  /^([SFRP.UEW]+|-) (-?\d+)(?::(-?\d+))?(?: ack (-?\d+))?(?: win (\d+))?(?: <(.*)>)?(?: urg (\d+))?( ce| ect)?$/

function parse(text: string): Parsed {
  const match = SYNTAX.exec(text)
  if (match === null) throw new Error(`not a segment: ${text}`)
  let flags = 0
  for (const [letter, bit] of LETTERS) if (match[1].includes(letter)) flags |= bit
  const seq = Number(match[2])
  return {
    flags,
    seq,
    length: Number(match[3] ?? seq) - seq,
    ack: Number(match[4] ?? 0),
    window: Number(match[5] ?? 65535),
    options: match[6] ?? '',
    urgent: Number(match[7] ?? 0),
    ce: match[8] === ' ce',
  }
}

export class Script {
  readonly world = new World(1)
  readonly host: TestHost
  readonly peer = IpAddress.of('10.0.0.9')
  readonly #out: Packet[] = []
  /** Where the host's sequence numbers begin. */
  isn = 0
  /** Ports of the peer and of the host. */
  port = 5000
  localPort = 80

  /** `change`: of sysctls, before anything else. Timestamps are off unless it switches them on. */
  constructor(change?: (host: TestHost) => void) {
    this.host = new TestHost(this.world, '10.0.0.1')
    this.host.sysctl.ipv4.tcp_timestamps = 0
    this.host.output = packet => split(packet, one => this.#out.push(one))
    change?.(this.host)
  }

  advance(ms: number): void {
    this.world.advance(ms)
  }

  /** A segment from the peer. */
  inject(text: string): void {
    const { flags, seq, length, ack, window, options, urgent, ce } = parse(text)
    const bytes = this.#options(options)
    const header = TCP_HEADER + bytes.length
    const packet = this.host.runtime.packets.allocate(header + length)
    packet.append(header + length)
    writeHeader(
      packet,
      this.port,
      this.localPort,
      (PEER_ISN + seq) | 0,
      (this.isn + ack) | 0,
      header,
      flags,
      window,
    )
    packet.view.setUint16(packet.start + 18, urgent)
    packet.bytes.set(bytes, packet.start + TCP_HEADER)
    for (let i = 0; i < length; i++) packet.bytes[packet.start + header + i] = (seq + i) & 0xff
    packet.source = this.peer
    packet.destination = this.host.address
    packet.tos = ce ? 3 : 0
    packet.checksum = CHECKSUM_VERIFIED
    this.host.receive(packet)
  }

  #options(text: string): Uint8Array {
    const out: number[] = []
    const u32 = (n: number): void =>
      void out.push((n >>> 24) & 255, (n >>> 16) & 255, (n >>> 8) & 255, n & 255)
    for (const option of text === '' ? [] : text.split(',')) {
      const [name, ...args] = option.split(' ')
      if (name === 'mss') out.push(2, 4, Number(args[0]) >> 8, Number(args[0]) & 255)
      else if (name === 'sackOK') out.push(1, 1, 4, 2)
      else if (name === 'wscale') out.push(1, 3, 3, Number(args[0]))
      else if (name === 'TS') {
        out.push(1, 1, 8, 10)
        for (const arg of args) u32(Number(arg))
      } else if (name === 'sack') {
        out.push(1, 1, 5, 2 + 8 * args.length)
        for (const block of args) for (const edge of block.split(':')) u32(this.isn + Number(edge))
      } else throw new Error(`no option ${name}`)
    }
    return Uint8Array.from(out)
  }

  /** The next segment of the host. */
  expect(text: string): void {
    const packet = this.#out.shift()
    if (packet === undefined) throw new Error(`expected ${text}, but nothing was sent`)
    const segment = new Segment()
    segment.parse(packet)
    if (segment.has(SYN)) this.isn = segment.seq
    this.localPort = segment.sourcePort
    const actual = formatSegment(packet, this.isn, PEER_ISN)
    packet.release()
    if (reduced(actual, text) !== text) throw new Error(`expected ${text}, but ${actual} was sent`)
  }

  expectNothing(): void {
    const sent = this.sent()
    if (sent.length > 0) throw new Error(`expected nothing, but ${sent.join(', ')} was sent`)
  }

  /** Everything the host has sent meanwhile. */
  sent(): string[] {
    const out = this.#out.map(packet => formatSegment(packet, this.isn, PEER_ISN))
    for (const packet of this.#out) packet.release()
    this.#out.length = 0
    return out
  }

  /** A connection that the host has accepted; window scale 7 on both sides unless `options` say otherwise. */
  accepted(options = 'mss 1460,sackOK,wscale 7', window = 65535): TcpEndpoint {
    const listener = this.listen()
    this.inject(`S 0 win ${window} <${options}>`)
    const [synAck] = this.#out
    const segment = new Segment()
    segment.parse(synAck)
    this.isn = segment.seq
    this.sent()
    this.inject(`. 1 ack 1 win ${window}`)
    const endpoint = listener.accept()
    if (endpoint === undefined) throw new Error('no connection')
    this.listener = listener
    this.expectNothing()
    return endpoint
  }
  listener: TcpEndpoint | undefined = undefined

  listen(backlog = 5): TcpEndpoint {
    const listener = new TcpEndpoint(this.host.tcp)
    const status = listener.bind(this.host.address, 80) || listener.listen(backlog)
    if (status !== 0) throw new Error(`can't listen: ${status}`)
    return listener
  }
}

/** Of `actual` only the parts that `wanted` names. */
function reduced(actual: string, wanted: string): string {
  let text = actual
  if (!/ win \d/.test(wanted)) text = text.replace(/ win \d+/, '')
  if (!wanted.includes('<')) text = text.replace(/ <.*>/, '')
  if (!/ (ce|ect)$/.test(wanted)) text = text.replace(/ (ce|ect)$/, '')
  return text
}
