/** Segments that nobody should send, into every state: no throw, a consistent scoreboard, bounded memory, and nothing left over. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import { IpAddress } from '../address.ts'
import { CHECKSUM_VERIFIED } from '../packet.ts'
import type { TcpConnection } from './connection.ts'
import { TcpEndpoint } from './endpoint.ts'
import { ACK, FIN, PSH, RST, SYN, URG } from './segment.ts'
import { CONNECTION } from './table.ts'
import { TestHost, World } from './testing.ts'

/** CAISSON_TCP_FUZZ=FIRST,COUNT runs others. */
const [FIRST, COUNT] = (process.env.CAISSON_TCP_FUZZ ?? '1,300').split(',').map(Number)
const STEPS = 400

function randomOf(seed: number): (below: number) => number {
  let state = Math.imul(seed + 1, 0x9e3779b1) >>> 0 || 1
  return below => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

class Fuzzer {
  readonly #random: (below: number) => number
  readonly #world: World
  readonly #host: TestHost
  readonly #peer = IpAddress.of('10.0.0.9')
  readonly #listener: TcpEndpoint
  readonly #endpoints: TcpEndpoint[] = []

  constructor(seed: number) {
    this.#random = randomOf(seed)
    this.#world = new World(seed)
    this.#host = new TestHost(this.#world, '10.0.0.1')
    this.#host.output = packet => packet.release()
    const { ipv4 } = this.#host.sysctl
    if (this.#random(3) === 0) ipv4.tcp_timestamps = 0
    if (this.#random(3) === 0) ipv4.tcp_sack = 0
    if (this.#random(3) === 0) ipv4.tcp_ecn = 1
    if (this.#random(3) === 0) ipv4.tcp_syncookies = 2
    if (this.#random(3) === 0) ipv4.tcp_rmem = [4096, 8192, 16384]
    this.#listener = new TcpEndpoint(this.#host.tcp)
    this.#listener.bind(this.#host.address, 80)
    this.#listener.listen(3)
  }

  run(): void {
    for (let i = 0; i < STEPS; i++) {
      if (this.#random(4) === 0) this.#act()
      else this.#inject()
      this.#check()
      if (this.#random(5) === 0) this.#world.advance(this.#random(400))
    }
    for (const endpoint of this.#endpoints) endpoint.close(this.#random(2) === 0)
    this.#listener.close()
    this.#world.advance(4_000_000)
    const { tcp } = this.#host
    assert.equal(tcp.table.size, 0)
    assert.equal(tcp.chunks.taken, 0)
    assert.equal(tcp.memory.allocated, 0)
    assert.equal(this.#world.timers.next, Number.POSITIVE_INFINITY)
  }

  #connections(): TcpConnection[] {
    return [...this.#host.tcp.table.entries()].filter(entry => entry.kind === CONNECTION) as TcpConnection[]
  }

  #act(): void {
    const random = this.#random
    const index = random(this.#endpoints.length + 1)
    const one = this.#endpoints[index]
    switch (random(8)) {
      case 0: {
        const made = new TcpEndpoint(this.#host.tcp)
        if (this.#endpoints.length < 6 && made.connect(this.#peer, 5000 + random(3)) === 0)
          this.#endpoints.push(made)
        break
      }
      case 1: {
        const accepted = this.#listener.accept()
        if (accepted !== undefined) this.#endpoints.push(accepted)
        break
      }
      case 2:
      case 3:
        one?.send(new BufferSrc(new Uint8Array(random(30_000))), random(8) === 0 ? 1 : 0)
        break
      case 4:
      case 5:
        one?.receive(new BufferDst(new Uint8Array(random(20_000))), random(8) === 0 ? 1 : 0)
        break
      case 6:
        if (random(4) === 0) one?.shutdown(1 + random(3))
        break
      case 7:
        if (one !== undefined && random(4) === 0) {
          one.close(random(2) === 0)
          this.#endpoints.splice(index, 1)
        }
        break
    }
    one?.events()
  }

  /** A segment for a connection, half-open or not, near its windows; or for nobody. */
  #inject(): void {
    const random = this.#random
    const entries = [...this.#host.tcp.table.entries()]
    const entry = entries[random(entries.length + 1)]
    const conn = entry?.kind === CONNECTION ? (entry as TcpConnection) : undefined
    const request = entry as unknown as { irs?: number; iss?: number; rcvNxt?: number; sndNxt?: number }
    const seqBase = conn?.rcvNxt ?? request?.rcvNxt ?? request?.irs ?? random(1000)
    const ackBase = conn?.sndUna ?? request?.sndNxt ?? request?.iss ?? random(1000)
    const near = (base: number, span: number): number => {
      const kind = random(6)
      if (kind < 3) return base
      if (kind === 3) return base + 1
      return kind === 4 ? base + random(span) - span / 2 : random(2 ** 32)
    }
    const options = this.#options(conn)
    const header = 20 + options.length
    const length = random(3) === 0 ? random(3000) : 0
    const packet = this.#host.runtime.packets.allocate(header + length)
    packet.append(header + length)
    const { view, start } = packet
    packet.bytes.fill(0, start, start + header)
    view.setUint16(start, entry?.flow.destinationPort ?? 5000 + random(4))
    view.setUint16(start + 2, entry?.flow.sourcePort ?? 80)
    view.setInt32(start + 4, near(seqBase, 200_000) | 0)
    const ack =
      conn !== undefined && random(2) === 0
        ? ackBase + random(Math.max(conn.sent.outstanding, 1) + 1)
        : near(ackBase, 200_000)
    view.setInt32(start + 8, ack | 0)
    const flags = [
      ACK,
      ACK,
      ACK | PSH,
      ACK,
      SYN,
      SYN | ACK,
      ACK | FIN,
      RST,
      RST | ACK,
      ACK | URG,
      0,
      random(256),
    ][random(12)]
    view.setUint16(start + 12, (header << 10) | flags)
    view.setUint16(start + 14, [0, 1, 500, 65535, random(65536)][random(5)])
    view.setUint16(start + 18, random(3000))
    packet.bytes.set(options, start + 20)
    if (random(50) === 0) view.setUint8(start + 12, random(256))
    if (random(50) === 0) packet.end = start + random(header + length + 1)
    packet.source = this.#peer
    packet.destination = this.#host.address
    packet.tos = random(4)
    packet.checksum = CHECKSUM_VERIFIED
    this.#host.receive(packet)
  }

  #options(conn: TcpConnection | undefined): Uint8Array {
    const random = this.#random
    const out: number[] = []
    const u32 = (n: number): void =>
      void out.push((n >>> 24) & 255, (n >>> 16) & 255, (n >>> 8) & 255, n & 255)
    if (random(3) > 0) {
      const tsval = (conn?.tsRecent ?? 0) + (random(4) === 0 ? random(2 ** 32) : random(10))
      out.push(1, 1, 8, 10)
      u32(tsval)
      u32(conn !== undefined && random(3) > 0 ? conn.tsNow - random(100) : random(2 ** 32))
    }
    if (random(3) === 0 && conn !== undefined) {
      const blocks = 1 + random(3)
      out.push(1, 1, 5, 2 + 8 * blocks)
      for (let i = 0; i < blocks; i++) {
        const from =
          conn.sndUna + random(Math.max(conn.sent.outstanding, 1) + 2) - (random(8) === 0 ? 3000 : 0)
        u32(from)
        u32(from + random(20_000) - (random(8) === 0 ? 10_000 : 0))
      }
    }
    if (random(3) === 0) out.push(2, 4, random(256), random(256), 1, 3, 3, random(20), 4, 2, 1, 1)
    if (random(10) === 0) for (let i = random(12); i > 0; i--) out.push(random(256))
    out.length = Math.min(out.length, 40)
    while (out.length % 4 !== 0) out.push(0)
    return Uint8Array.from(out)
  }

  #check(): void {
    for (const conn of this.#connections()) {
      assert.ok(conn.sent.consistent(), 'scoreboard')
      assert.ok(conn.sent.inFlight >= 0, `in flight ${conn.sent.inFlight}`)
      assert.equal((conn.sndNxt - conn.sndUna) | 0, conn.sent.outstanding)
      assert.ok(
        conn.congestion.size > 0 && Number.isFinite(conn.congestion.size),
        `window ${conn.congestion.size}`,
      )
      assert.ok(
        conn.receiveCharge <= 2 * conn.settings.rcvbuf + 200_000,
        `receive buffer ${conn.receiveCharge}`,
      )
      assert.ok(
        conn.unread >= 0,
        `unread ${conn.unread}, state ${conn.state}, urgent ${conn.urgState}, fin ${conn.finReceived}, orphan ${conn.orphan}`,
      )
      assert.ok(conn.mss >= 24 && Number.isInteger(conn.mss))
      assert.ok(conn.rtt.rto > 0 && conn.rtt.rto <= 120e9)
    }
  }
}

test(`fuzz: ${COUNT} seeds of ${STEPS} hostile segments and calls`, () => {
  for (let seed = FIRST; seed < FIRST + COUNT; seed++) {
    try {
      new Fuzzer(seed).run()
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error })
    }
  }
})
