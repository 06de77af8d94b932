/** Data, windows and acknowledgements by packets in and packets out: RFC 9293 §3.8, RFC 1122, RFC 2018, RFC 2883, tcp(7). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MSG_MORE, MSG_OOB, MSG_PEEK, MSG_TRUNC, POLLIN, POLLOUT, POLLPRI } from '../../abi/constants.ts'
import { EAGAIN, EINVAL, ETIMEDOUT } from '../../abi/errno.ts'
import { TCP_INFO } from '../../abi/layout.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import type { TcpEndpoint } from './endpoint.ts'
import { tcpInfo } from './info.ts'
import { Script } from './testing-script.ts'

function open(
  options?: string,
  window?: number,
  change?: ConstructorParameters<typeof Script>[0],
): { script: Script; endpoint: TcpEndpoint } {
  const script = new Script(change)
  return { script, endpoint: script.accepted(options, window) }
}
function write(endpoint: TcpEndpoint, length: number, flags = 0): number {
  return endpoint.send(new BufferSrc(new Uint8Array(length)), flags)
}
function read(endpoint: TcpEndpoint, length: number, flags = 0): number[] | number {
  const bytes = new Uint8Array(length)
  const n = endpoint.receive(new BufferDst(bytes), flags)
  return n < 0 ? n : Array.from(bytes.subarray(0, n))
}
function drain(endpoint: TcpEndpoint): number {
  let total = 0
  for (;;) {
    const n = endpoint.receive(new BufferDst(new Uint8Array(65536)), 0)
    if (n <= 0) return total
    total += n
  }
}

test('nagle: one small segment may be under way, the next waits for its acknowledgement (Minshall)', () => {
  const { script, endpoint } = open()
  write(endpoint, 10)
  script.expect('P. 1:11 ack 1')
  write(endpoint, 10)
  write(endpoint, 10)
  script.expectNothing()
  script.inject('. 1 ack 11')
  script.expect('P. 11:31 ack 1')
})

test('nagle: TCP_NODELAY sends at once', () => {
  const { script, endpoint } = open()
  endpoint.settings.noDelay = true
  write(endpoint, 10)
  script.expect('P. 1:11 ack 1')
  write(endpoint, 10)
  script.expect('P. 11:21 ack 1')
})

test('cork: only full segments, until it is taken out or 200 ms are over', () => {
  const { script, endpoint } = open()
  endpoint.settings.cork = true
  write(endpoint, 1500)
  script.expect('. 1:1461 ack 1')
  script.inject('. 1 ack 1461')
  write(endpoint, 10)
  script.expectNothing()
  endpoint.settings.cork = false
  endpoint.pushHeldBack()
  script.expect('P. 1461:1511 ack 1')
  script.inject('. 1 ack 1511')
  endpoint.settings.cork = true
  write(endpoint, 10)
  script.advance(150)
  script.expectNothing()
  script.advance(100)
  script.expect('P. 1511:1521 ack 1')
})

test('MSG_MORE: waits for the rest', () => {
  const { script, endpoint } = open()
  write(endpoint, 10, MSG_MORE)
  script.expectNothing()
  write(endpoint, 10)
  script.expect('P. 1:21 ack 1')
})

test('acks: the first segments at once, later every second one, a lone one after 40 ms', () => {
  const { script, endpoint } = open()
  let seq = 1
  const segment = (): void => {
    script.inject(`. ${seq}:${seq + 1460} ack 1`)
    seq += 1460
  }
  for (let i = 0; i < 16; i++) {
    segment()
    script.expect(`. 1:1 ack ${seq}`)
    drain(endpoint)
    script.advance(10)
  }
  script.sent()
  let acks = 0
  for (let i = 0; i < 10; i++) {
    segment()
    drain(endpoint)
    acks += script.sent().length
  }
  assert.ok(acks >= 4 && acks <= 6, `${acks} acknowledgements for 10 segments`)
  script.advance(300)
  script.sent()
  segment()
  if (script.sent().length === 0) {
    script.advance(39)
    script.expectNothing()
    script.advance(2)
    script.expect(`. 1:1 ack ${seq}`)
  }
})

test('acks: ride on the answer in a conversation', () => {
  const { script, endpoint } = open()
  script.inject('P. 1:101 ack 1')
  script.sent()
  assert.equal(drain(endpoint), 100)
  write(endpoint, 50)
  script.sent()
  script.inject('P. 101:201 ack 51')
  script.expectNothing()
  drain(endpoint)
  write(endpoint, 50)
  script.expect('P. 51:101 ack 201')
})

test('out of order: acknowledged at once with SACK blocks, the latest first: RFC 2018', () => {
  const { script, endpoint } = open()
  script.inject('. 1001:2001 ack 1')
  script.expect('. 1:1 ack 1 <sack 1001:2001>')
  script.inject('. 3001:4001 ack 1')
  script.expect('. 1:1 ack 1 <sack 3001:4001 1001:2001>')
  script.inject('. 5001:6001 ack 1')
  script.expect('. 1:1 ack 1 <sack 5001:6001 3001:4001 1001:2001>')
  script.inject('. 2001:3001 ack 1')
  script.expect('. 1:1 ack 1 <sack 1001:4001 5001:6001>')
  assert.equal(drain(endpoint), 0)
  script.inject('. 1:1001 ack 1')
  script.expect('. 1:1 ack 4001 <sack 5001:6001>')
  assert.equal(drain(endpoint), 4000)
  script.inject('. 4001:5001 ack 1')
  script.expect('. 1:1 ack 6001')
  assert.deepEqual(read(endpoint, 2), [4001 & 255, 4002 & 255])
})

test('duplicates: reported as D-SACK: RFC 2883', () => {
  const { script } = open()
  script.inject('. 1:1001 ack 1')
  script.sent()
  script.inject('. 1:1001 ack 1')
  script.expect('. 1:1 ack 1001 <sack 1:1001>')
  script.inject('. 501:1501 ack 1')
  script.expect('. 1:1 ack 1501 <sack 501:1001>')
  script.inject('. 2001:3001 ack 1')
  script.expect('. 1:1 ack 1501 <sack 2001:3001>')
  script.inject('. 2501:2801 ack 1')
  script.expect('. 1:1 ack 1501 <sack 2501:2801 2001:3001>')
})

test('overlaps: each byte once, whatever the segments', () => {
  const { script, endpoint } = open()
  script.inject('. 11:21 ack 1')
  script.inject('. 16:31 ack 1')
  script.inject('. 6:41 ack 1')
  script.inject('. 1:8 ack 1')
  const bytes = read(endpoint, 100) as number[]
  assert.deepEqual(
    bytes,
    Array.from({ length: 40 }, (_, i) => i + 1),
  )
})

test('FIN out of order counts when its turn comes', () => {
  const { script, endpoint } = open()
  script.inject('F. 11:21 ack 1')
  assert.equal(drain(endpoint), 0)
  assert.equal(read(endpoint, 10), -EAGAIN)
  script.inject('. 1:11 ack 1')
  script.sent()
  assert.equal(drain(endpoint), 20)
  assert.deepEqual(read(endpoint, 10), [])
})

test('zero window: probed at growing intervals for as long as it is answered, then the data go', () => {
  const { script, endpoint } = open('mss 1000', 2000)
  write(endpoint, 4000)
  script.expect('. 1:1001 ack 1')
  script.expect('. 1001:2001 ack 1')
  script.inject('. 1 ack 2001 win 0')
  script.expectNothing()
  for (const ms of [210, 410, 810, 1610]) {
    script.advance(ms)
    script.expect('. 2000:2000 ack 1')
    script.inject('. 1 ack 2001 win 0')
  }
  script.inject('. 1 ack 2001 win 5000')
  assert.equal(script.sent().length, 2)
})

test('zero window: a peer that answers no probes is given up', () => {
  const { script, endpoint } = open('mss 1000', 1000)
  write(endpoint, 3000)
  script.inject('. 1 ack 1001 win 0')
  script.advance(2_000_000)
  assert.equal(endpoint.takeError(), -ETIMEDOUT)
})

test('silly window: less than a segment is not used while there is more to come', () => {
  const { script, endpoint } = open('mss 1000', 2500)
  write(endpoint, 5000)
  script.expect('. 1:1001 ack 1')
  script.expect('. 1001:2001 ack 1')
  script.expectNothing()
  script.inject('. 1 ack 2001 win 400')
  script.expectNothing()
  script.advance(250)
  script.expect('P. 2001:2401 ack 1')
})

test('receive window: closes as the reader lags, opens again in one go', () => {
  const { script, endpoint } = open('mss 1000', 65535, host => {
    host.sysctl.ipv4.tcp_rmem = [4096, 16384, 16384]
  })
  let seq = 1
  let window = 8000
  for (let i = 0; i < 40 && window > 0; i++) {
    const length = Math.min(1000, window)
    script.inject(`. ${seq}:${seq + length} ack 1`)
    seq += length
    for (const line of script.sent()) window = Number(/win (\d+)/.exec(line)![1])
    script.advance(50)
    for (const line of script.sent()) window = Number(/win (\d+)/.exec(line)![1])
  }
  assert.equal(window, 0)
  // More is refused, and answered.
  script.inject(`. ${seq}:${seq + 1} ack 1 win 65535`)
  script.expect(`. 1:1 ack ${seq} win 0`)
  assert.equal(Array.isArray(read(endpoint, 100)), true)
  script.expectNothing()
  drain(endpoint)
  const [update] = script.sent()
  assert.ok(Number(/win (\d+)/.exec(update)![1]) >= 4000)
})

test('receive buffer: grows with what is read in a round trip, within tcp_rmem', () => {
  const { script, endpoint } = open('mss 1460,sackOK,wscale 7')
  const before = endpoint.settings.rcvbuf
  let seq = 1
  for (let round = 0; round < 10; round++) {
    const edge = endpoint.connection!.rcvWnd
    for (let sent = 0; sent + 1460 <= edge; sent += 1460) {
      script.inject(`. ${seq}:${seq + 1460} ack 1`)
      seq += 1460
      drain(endpoint)
    }
    script.advance(20)
    script.sent()
  }
  assert.ok(endpoint.settings.rcvbuf > before * 2, String(endpoint.settings.rcvbuf))
  assert.ok(endpoint.settings.rcvbuf <= 6291456)
})

test('receive buffer: tiny segments in large packets share buffers, so that memory stays near the payload', () => {
  const { script, endpoint } = open('mss 1460,sackOK,wscale 7')
  for (let i = 0; i < 4000; i++) script.inject(`. ${1 + i * 10}:${11 + i * 10} ack 1`)
  assert.ok(endpoint.connection!.receiveCharge < 90_000, String(endpoint.connection!.receiveCharge))
  assert.equal(drain(endpoint), 40_000)
  assert.equal(endpoint.connection!.receiveCharge, 0)
})

test('send buffer: EAGAIN when full, writable again when a third is free', () => {
  const { script, endpoint } = open('mss 1000', 1000)
  endpoint.settings.sndbuf = 10_000
  endpoint.settings.sndbufLocked = true
  let changes = 0
  endpoint.owner = { changed: () => changes++, urgent() {} }
  assert.equal(write(endpoint, 20_000), 10_000)
  assert.equal(write(endpoint, 1), -EAGAIN)
  assert.equal(endpoint.events() & POLLOUT, 0)
  script.inject('. 1 ack 1001 win 1000')
  assert.equal(changes, 0)
  for (let at = 2001; at <= 5001; at += 1000) script.inject(`. 1 ack ${at} win 1000`)
  assert.equal(endpoint.events() & POLLOUT, POLLOUT)
  assert.equal(changes, 1)
})

test('send buffer: TCP_NOTSENT_LOWAT', () => {
  const { endpoint } = open('mss 1000', 1000)
  endpoint.settings.notSentLowat = 2000
  write(endpoint, 4000)
  assert.equal(endpoint.connection!.unsent, 3000)
  assert.equal(write(endpoint, 1), -EAGAIN)
})

test('keep-alive: probes after the idle time, reset and ETIMEDOUT when they are not answered', () => {
  const { script, endpoint } = open()
  Object.assign(endpoint.settings, { keepAlive: true, keepIdle: 10, keepInterval: 5, keepCount: 3 })
  endpoint.keepAliveChanged()
  script.advance(9_999)
  script.expectNothing()
  script.advance(2)
  script.expect('. 0:0 ack 1')
  script.inject('. 1 ack 1')
  script.advance(10_001)
  script.expect('. 0:0 ack 1')
  script.advance(5000)
  script.expect('. 0:0 ack 1')
  script.advance(5000)
  script.expect('. 0:0 ack 1')
  script.advance(5000)
  script.expect('R. 1:1 ack 1')
  assert.equal(endpoint.takeError(), -ETIMEDOUT)
})

test('urgent: the last byte of a MSG_OOB send; the pointer is one past it', () => {
  const { script, endpoint } = open()
  write(endpoint, 3, MSG_OOB)
  script.expect('PU. 1:4 ack 1 urg 3'.replace('PU.', 'P.U'))
})

test('urgent: read out of band, or inline at the mark: tcp(7)', () => {
  const { script, endpoint } = open()
  let signals = 0
  endpoint.owner = { changed() {}, urgent: () => signals++ }
  assert.equal(read(endpoint, 1, MSG_OOB), -EINVAL)
  script.inject('P.U 1:4 ack 1 urg 2')
  assert.equal(signals, 1)
  assert.equal(endpoint.events() & (POLLPRI | POLLIN), POLLPRI | POLLIN)
  assert.equal(endpoint.readable, 1)
  // Reading stops at the mark, and skips the byte.
  assert.deepEqual(read(endpoint, 10), [1])
  assert.ok(endpoint.atMark)
  assert.deepEqual(read(endpoint, 1, MSG_OOB), [2])
  assert.equal(read(endpoint, 1, MSG_OOB), -EINVAL)
  assert.deepEqual(read(endpoint, 10), [3])
  endpoint.settings.oobInline = true
  script.inject('P.U 4:7 ack 1 urg 3')
  assert.deepEqual(read(endpoint, 10), [4, 5])
  assert.ok(endpoint.atMark)
  assert.deepEqual(read(endpoint, 10), [6])
})

test('peek and truncate', () => {
  const { script, endpoint } = open()
  script.inject('P. 1:11 ack 1')
  assert.deepEqual(read(endpoint, 3, MSG_PEEK), [1, 2, 3])
  assert.deepEqual(read(endpoint, 3), [1, 2, 3])
  assert.equal((read(endpoint, 4, MSG_TRUNC) as number[]).length, 4)
  assert.deepEqual(read(endpoint, 10), [8, 9, 10])
})

test('SO_RCVLOWAT: readable only with so many bytes', () => {
  const { script, endpoint } = open()
  endpoint.settings.rcvLowat = 10
  script.inject('P. 1:10 ack 1')
  assert.equal(endpoint.events() & POLLIN, 0)
  script.inject('P. 10:11 ack 1')
  assert.equal(endpoint.events() & POLLIN, POLLIN)
})

test('pacing: SO_MAX_PACING_RATE spreads the segments', () => {
  const { script, endpoint } = open('mss 1000,sackOK,wscale 7')
  endpoint.settings.maxPacingRate = 20_000
  endpoint.connection!.pacingRate = 20_000
  write(endpoint, 10_000)
  let sent = 0
  const count = (): number => {
    for (const line of script.sent()) {
      const [, from, to] = / (\d+):(\d+)/.exec(line)!
      sent = Math.max(sent, Number(to) - 1)
      void from
    }
    return sent
  }
  assert.ok(count() <= 2000)
  for (let i = 0; i < 4; i++) {
    script.advance(50)
    script.inject(`. 1 ack ${count() + 1}`)
  }
  assert.ok(count() >= 3000 && count() <= 7000, `${count()} bytes in 200 ms`)
})

test('TCP_INFO: what tcp_info says of a connection', () => {
  const { script, endpoint } = open('mss 1000,sackOK,wscale 7')
  write(endpoint, 5000)
  script.advance(50)
  script.inject('. 1 ack 3001')
  script.inject('P. 1:101 ack 3001')
  const view = new DataView(tcpInfo(endpoint).buffer)
  assert.equal(view.getUint8(TCP_INFO.tcpi_state), 1)
  assert.equal(view.getUint8(TCP_INFO.tcpi_options), 6)
  assert.equal(view.getUint8(TCP_INFO.tcpi_wscales), 0x77)
  assert.equal(view.getUint32(TCP_INFO.tcpi_snd_mss, true), 1000)
  assert.equal(view.getUint32(TCP_INFO.tcpi_unacked, true), 2)
  assert.equal(view.getUint32(TCP_INFO.tcpi_bytes_acked, true), 3001)
  assert.equal(view.getUint32(TCP_INFO.tcpi_bytes_received, true), 100)
  assert.equal(view.getUint32(TCP_INFO.tcpi_pmtu, true), 1500)
})

test('malformed segments are counted and dropped', () => {
  const { script, endpoint } = open()
  const { packets } = script.host.runtime
  for (const length of [0, 5, 19]) {
    const packet = packets.allocate(length)
    packet.append(length)
    packet.source = script.peer
    packet.destination = script.host.address
    script.host.receive(packet)
  }
  assert.equal(script.host.counters.tcp.InErrs, 3)
  script.expectNothing()
  assert.equal(read(endpoint, 1), -EAGAIN)
})
