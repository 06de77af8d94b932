/** The parts that can be looked at by themselves: hashes, ports, round-trip times, congestion control. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EADDRINUSE, EADDRNOTAVAIL } from '../../abi/errno.ts'
import { BufferSrc } from '../../base/io.ts'
import { IpAddress, V4_ANY, V6_ANY } from '../address.ts'
import { type AckSample, CongestionWindow } from './congestion/control.ts'
import { Cubic } from './congestion/cubic.ts'
import { TcpEndpoint } from './endpoint.ts'
import { RttEstimator, WindowedMin } from './rtt.ts'
import { CHUNK_SIZE, ChunkPool, SendBuffer } from './send-buffer.ts'
import { seqAfter, seqBefore, seqWithin } from './sequence.ts'
import { SipHash } from './siphash.ts'
import { TestHost, World } from './testing.ts'

test('sequence: order wraps', () => {
  assert.ok(seqBefore(0x7fffffff, 0x80000000 | 0))
  assert.ok(seqAfter(5, -5))
  assert.ok(seqWithin(2, -3, 10))
  assert.ok(!seqWithin(11, -3, 10))
  assert.ok(seqWithin(0x80000001 | 0, 0x7ffffffe, 0x80000002 | 0))
})

test('siphash: the reference vector for 16 bytes', () => {
  const key = [0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c]
  const hash = new SipHash(() => key.shift()!)
  hash.flow(IpAddress.v4(0x03020100), IpAddress.v4(0x07060504), 0x0b0a, 0x0908, 0x0f0e0d0c)
  assert.deepEqual([hash.low, hash.high], [0x57c29bdb, 0x3f2acc7f])
})

test('send buffer: bytes over chunk borders, returned as they are acknowledged', () => {
  const pool = new ChunkPool()
  const buffer = new SendBuffer(pool)
  buffer.reset(-100)
  const bytes = Uint8Array.from({ length: 3 * CHUNK_SIZE }, (_, i) => i >> 7)
  assert.equal(buffer.append(new BufferSrc(bytes), 2 * CHUNK_SIZE + 5), 2 * CHUNK_SIZE + 5)
  const copy = new Uint8Array(CHUNK_SIZE + 10)
  buffer.copy(-90, copy.length, copy, 0)
  assert.deepEqual(copy, bytes.slice(10, 10 + copy.length))
  buffer.acknowledge(-100 + CHUNK_SIZE)
  assert.equal(pool.taken, 2)
  buffer.acknowledge(buffer.end)
  assert.equal(pool.taken, 0)
})

test('rtt: the timeout is smoothed time plus four deviations, of at least 200 ms', () => {
  const rtt = new RttEstimator()
  rtt.sample(100e6, 0, 10, 200e6, 120e9)
  assert.equal(rtt.rto, 300e6)
  for (let i = 1; i < 50; i++) rtt.sample(100e6, i * 20, i * 20 + 10, 200e6, 120e9)
  assert.equal(rtt.rto, 300e6)
  rtt.sample(900e6, 2000, 2010, 200e6, 120e9)
  assert.ok(rtt.rto > 800e6)
})

test('windowed minimum: forgets what is older than the window', () => {
  const min = new WindowedMin()
  min.add(10, 0, 100)
  min.add(30, 30, 100)
  min.add(20, 60, 100)
  assert.equal(min.value, 10)
  min.add(50, 110, 100)
  assert.equal(min.value, 20)
  min.add(50, 300, 100)
  assert.equal(min.value, 50)
})

test('cubic: back at the old window after the time that RFC 9438 says, and at least as fast as Reno', () => {
  const control = new Cubic()
  const window = new CongestionWindow(1000, control)
  window.size = 1_000_000
  window.ssthresh = control.threshold(window)
  assert.equal(window.ssthresh, 700_000)
  window.size = window.ssthresh
  const sample: AckSample = { now: 0, rtt: 100e6, srtt: 100e6, sndUna: 0, sndNxt: 0 }
  // K = cbrt(1000 * 0.3 / 0.4) = 9.09 s
  let reached = 0
  for (let ms = 0; ms < 12_000; ms += 100) {
    sample.now = ms * 1e6
    const before = window.size
    for (let acked = 0; acked < before; acked += 10_000) window.acked(10_000, sample)
    if (reached === 0 && window.size >= 999_000) reached = ms
  }
  assert.ok(reached > 7500 && reached < 9500, `after ${reached} ms`)
  assert.ok(window.size > 1_000_000)
  // On a short path Reno's growth is the larger: one segment a round trip.
  const short = new CongestionWindow(1000, new Cubic())
  short.size = 20_000
  short.ssthresh = short.control.threshold(short)
  short.size = short.ssthresh
  const quick: AckSample = { now: 0, rtt: 1e6, srtt: 1e6, sndUna: 0, sndNxt: 0 }
  for (let round = 0; round < 100; round++) {
    quick.now = round * 1e6
    short.acked(short.size, quick)
  }
  assert.ok(short.size > 60_000, String(short.size))
})

function host(): TestHost {
  const made = new TestHost(new World(1), '10.0.0.1')
  made.output = packet => packet.release()
  return made
}
function endpoint(on: TestHost, settings: Partial<TcpEndpoint['settings']> = {}, uid = 0): TcpEndpoint {
  const made = new TcpEndpoint(on.tcp)
  Object.assign(made.settings, settings)
  made.flow.uid = uid
  return made
}

test('ports: who may bind beside whom', () => {
  const a = IpAddress.of('10.0.0.1')
  const b = IpAddress.of('10.0.0.2')
  const six = IpAddress.of('fd00::1')
  const reuse = { reuseAddress: true }
  const port = { reusePort: true }
  const only = { v6Only: true }
  const cases: [IpAddress, object, number, IpAddress, object, number, number][] = [
    [a, {}, 0, a, {}, 0, -EADDRINUSE],
    [a, {}, 0, b, {}, 0, 0],
    [V4_ANY, {}, 0, a, {}, 0, -EADDRINUSE],
    [a, {}, 0, V4_ANY, {}, 0, -EADDRINUSE],
    [V4_ANY, reuse, 0, a, reuse, 0, 0],
    [a, reuse, 0, a, {}, 0, -EADDRINUSE],
    [a, port, 0, a, port, 0, 0],
    [a, port, 1, a, port, 2, -EADDRINUSE],
    [V6_ANY, {}, 0, V4_ANY, {}, 0, -EADDRINUSE],
    [V6_ANY, only, 0, V4_ANY, {}, 0, 0],
    [V4_ANY, {}, 0, six, {}, 0, 0],
    [V6_ANY, {}, 0, a, {}, 0, -EADDRINUSE],
  ]
  for (const [first, firstSettings, firstUid, second, secondSettings, secondUid, result] of cases) {
    const on = host()
    assert.equal(endpoint(on, firstSettings, firstUid).bind(first, 80), 0)
    assert.equal(endpoint(on, secondSettings, secondUid).bind(second, 80), result, `${first} then ${second}`)
  }
})

test('ports: two with SO_REUSEADDR can be bound, but not both listen', () => {
  const on = host()
  const [one, other] = [endpoint(on, { reuseAddress: true }), endpoint(on, { reuseAddress: true })]
  assert.equal(one.bind(V4_ANY, 80), 0)
  assert.equal(other.bind(V4_ANY, 80), 0)
  assert.equal(one.listen(1), 0)
  assert.equal(other.listen(1), -EADDRINUSE)
  one.close()
  assert.equal(other.listen(1), 0)
})

test('ports: those that nobody names come at random from the range, without the reserved ones', () => {
  const on = host()
  on.sysctl.ipv4.ip_local_port_range = [40000, 40009]
  on.sysctl.reservedPorts = '40001,40004-40005'
  const ports = new Set<number>()
  for (let i = 0; i < 7; i++) {
    const one = endpoint(on)
    assert.equal(one.bind(V4_ANY, 0), 0)
    ports.add(one.localPort)
  }
  assert.deepEqual([...ports].sort(), [40000, 40002, 40003, 40006, 40007, 40008, 40009])
  assert.equal(endpoint(on).bind(V4_ANY, 0), -EADDRINUSE)
  const free = host()
  const first = Array.from({ length: 5 }, () => {
    const one = endpoint(free)
    one.bind(V4_ANY, 0)
    return one.localPort
  })
  assert.ok(first.some((port, i) => i > 0 && Math.abs(port - first[i - 1]) > 10))
})

test('ports: one port serves connections to different peers, not two to the same', () => {
  const on = host()
  on.sysctl.ipv4.ip_local_port_range = [40000, 40001]
  const peers = ['10.0.0.7', '10.0.0.8'].map(text => IpAddress.of(text))
  for (const peer of peers) {
    assert.equal(endpoint(on).connect(peer, 80), 0)
    assert.equal(endpoint(on).connect(peer, 80), 0)
    assert.equal(endpoint(on).connect(peer, 80), -EADDRNOTAVAIL)
    assert.equal(endpoint(on).connect(peer, 81), 0)
  }
})
