/** Whole transfers between two endpoints over bad links, in virtual time: every byte in order, and nothing left over. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TCP_CLOSE } from '../../abi/constants.ts'
import { EAGAIN } from '../../abi/errno.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import { TcpEndpoint } from './endpoint.ts'
import { SEND_SHUTDOWN } from './shutdown.ts'
import { CONNECTION } from './table.ts'
import { connectHosts, type LinkOptions, TestHost, World } from './testing.ts'

/** Bytes that depend on their place. */
function pattern(seed: number, from: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let i = 0; i < length; i++) bytes[i] = (Math.imul(from + i + seed, 0x9e3779b1) >>> 24) & 0xff
  return bytes
}

/** One application: writes `size` bytes and then closes that direction, reads till the end. */
class Application {
  readonly endpoint: TcpEndpoint
  readonly #seed: number
  readonly #size: number
  readonly #peerSeed: number
  #written = 0
  #shut = false
  read = 0
  finished = false
  failed = 0
  ready = true

  constructor(endpoint: TcpEndpoint, seed: number, size: number, peerSeed: number) {
    this.endpoint = endpoint
    this.#seed = seed
    this.#size = size
    this.#peerSeed = peerSeed
    endpoint.owner = this
  }
  changed(): void {
    this.ready = true
  }
  urgent(): void {}

  run(): void {
    this.ready = false
    while (this.#written < this.#size) {
      const n = Math.min(this.#size - this.#written, 10_000)
      const sent = this.endpoint.send(new BufferSrc(pattern(this.#seed, this.#written, n)), 0)
      if (sent < 0) {
        if (sent !== -EAGAIN) this.failed = sent
        break
      }
      this.#written += sent
      if (sent < n) break
    }
    if (this.#written === this.#size && !this.#shut) {
      this.#shut = this.endpoint.shutdown(SEND_SHUTDOWN) === 0
    }
    for (;;) {
      const bytes = new Uint8Array(7000)
      const got = this.endpoint.receive(new BufferDst(bytes), 0)
      if (got === 0) this.finished = true
      if (got <= 0) {
        if (got < 0 && got !== -EAGAIN) this.failed = got
        return
      }
      assert.deepEqual(bytes.subarray(0, got), pattern(this.#peerSeed, this.read, got))
      this.read += got
    }
  }
}

interface Run {
  readonly seed: number
  readonly there: LinkOptions
  readonly back: LinkOptions
  readonly sizes: readonly [number, number]
  readonly change?: (a: TestHost, b: TestHost) => void
  /** Bound on virtual time, in seconds. */
  readonly limit: number
}

/** The virtual time taken, in seconds. */
function transfer({ seed, there, back, sizes, limit, change }: Run): number {
  const world = new World(seed)
  const a = new TestHost(world, '10.0.0.1')
  const b = new TestHost(world, '10.0.0.2')
  change?.(a, b)
  connectHosts(world, a, b, there, back)
  const listener = new TcpEndpoint(b.tcp)
  assert.equal(listener.bind(b.address, 80), 0)
  assert.equal(listener.listen(5), 0)
  const client = new TcpEndpoint(a.tcp)
  assert.equal(client.connect(b.address, 80), 0)
  const apps = [new Application(client, seed, sizes[0], seed + 7)]
  const begin = world.clock.now
  const end = begin + limit * 1e9
  while (!(apps.length === 2 && apps.every(app => app.finished))) {
    let busy = false
    const accepted = listener.accept()
    if (accepted !== undefined) {
      apps.push(new Application(accepted, seed + 7, sizes[1], seed))
      busy = true
    }
    for (const app of apps) {
      if (!app.ready) continue
      app.run()
      assert.equal(app.failed, 0, `seed ${seed}: errno ${app.failed} after ${app.read} bytes`)
      busy = true
    }
    if (busy) continue
    assert.ok(world.step(end), `seed ${seed}: stuck at ${apps.map(app => app.read)} of ${sizes}`)
  }
  assert.deepEqual(
    apps.map(app => app.read),
    [sizes[1], sizes[0]],
  )
  const took = (world.clock.now - begin) / 1e9
  for (const app of apps) app.endpoint.close()
  listener.close()
  world.advance(600_000)
  for (const host of [a, b]) nothingLeft(host, seed)
  assert.equal(world.timers.next, Number.POSITIVE_INFINITY, `seed ${seed}: a timer is left`)
  return took
}

function nothingLeft(host: TestHost, seed: number): void {
  const { tcp } = host
  for (const entry of tcp.table.entries()) {
    assert.notEqual(entry.kind, CONNECTION, `seed ${seed}: a connection is left`)
  }
  assert.equal(tcp.table.size, 0, `seed ${seed}: the table is not empty`)
  assert.equal(tcp.chunks.taken, 0, `seed ${seed}: buffers are left`)
  assert.equal(tcp.memory.allocated, 0, `seed ${seed}: memory is accounted`)
  assert.equal(tcp.orphans.size, 0)
  assert.equal(host.counters.tcp.CurrEstab, 0)
}

test('tcp: a transfer in both directions over a good link', () => {
  const took = transfer({
    seed: 1,
    there: { delay: 10 },
    back: { delay: 10 },
    sizes: [300_000, 200_000],
    limit: 5,
  })
  assert.ok(took < 1, `${took} s`)
})

/** A link as bad as the seed has it. */
function badLink(random: () => number): LinkOptions {
  const bad = random()
  return {
    delay: random() * 60,
    jitter: random() < 0.5 ? 0 : random() * 20,
    loss: random() * 0.1,
    duplicate: bad < 0.3 ? random() * 0.05 : 0,
    corrupt: bad < 0.3 ? random() * 0.02 : 0,
    rate: random() < 0.5 ? 0 : 50_000 + random() * 1_000_000,
    queue: 20_000 + random() * 100_000,
  }
}

function randomOf(seed: number): () => number {
  let state = Math.imul(seed + 1, 0x9e3779b1) >>> 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}

/** CAISSON_TCP_SEEDS=FIRST,COUNT runs others. */
const [FIRST, COUNT] = (process.env.CAISSON_TCP_SEEDS ?? '1,1000').split(',').map(Number)

test(`tcp: ${COUNT} transfers over links that lose, reorder, duplicate and corrupt`, () => {
  for (let seed = FIRST; seed < FIRST + COUNT; seed++) {
    const random = randomOf(seed)
    const there = badLink(random)
    const back = badLink(random)
    const sizes: [number, number] = [Math.floor(random() * 60_000), Math.floor(random() * 60_000)]
    const change = (a: TestHost, b: TestHost): void => {
      for (const host of [a, b]) {
        const { ipv4 } = host.sysctl
        if (random() < 0.3) ipv4.tcp_sack = 0
        if (random() < 0.3) ipv4.tcp_timestamps = 0
        if (random() < 0.2) ipv4.tcp_window_scaling = 0
        if (random() < 0.2) host.sysctl.congestionControl = 'reno'
        if (random() < 0.2) ipv4.tcp_ecn = 1
        if (random() < 0.2) ipv4.tcp_rmem = [4096, 8192, 16384]
        if (random() < 0.2) host.mtu = 576 + Math.floor(random() * 8000)
      }
    }
    // Without timestamps and SACK, backed-off timeouts (Karn) add up to minutes.
    transfer({ seed, there, back, sizes, limit: 1800, change })
  }
})

test('tcp: endpoints that close at any time leave nothing behind', () => {
  for (let seed = 1; seed <= 200; seed++) closeAtRandom(seed)
})

function closeAtRandom(seed: number): void {
  const random = randomOf(seed)
  const world = new World(seed)
  const a = new TestHost(world, '10.0.0.1')
  const b = new TestHost(world, '10.0.0.2')
  connectHosts(world, a, b, badLink(random), badLink(random))
  const listener = new TcpEndpoint(b.tcp)
  listener.bind(b.address, 80)
  listener.listen(2)
  const endpoints: TcpEndpoint[] = []
  for (let i = 0; i < 4; i++) {
    const endpoint = new TcpEndpoint(a.tcp)
    if (endpoint.connect(b.address, 80) === 0) endpoints.push(endpoint)
  }
  for (let i = 0; i < 200; i++) {
    world.advance(random() * 50)
    const accepted = listener.accept()
    if (accepted !== undefined) endpoints.push(accepted)
    const index = Math.floor(random() * endpoints.length)
    const one = endpoints[index]
    if (one === undefined) continue
    const what = random()
    if (what < 0.4) one.send(new BufferSrc(new Uint8Array(Math.floor(random() * 20_000))), 0)
    else if (what < 0.7) one.receive(new BufferDst(new Uint8Array(5000)), 0)
    else if (what < 0.8) one.shutdown(1 + Math.floor(random() * 3))
    else if (what < 0.85) {
      one.close(random() < 0.3)
      endpoints.splice(index, 1)
    }
  }
  for (const endpoint of endpoints) endpoint.close(random() < 0.5)
  listener.close()
  // The longest: retransmissions to a peer that is gone.
  world.advance(3_600_000)
  for (const host of [a, b]) nothingLeft(host, seed)
  assert.equal(world.timers.next, Number.POSITIVE_INFINITY, `seed ${seed}: a timer is left`)
  for (const endpoint of endpoints) assert.equal(endpoint.state, TCP_CLOSE)
}
