/** That nobody can make TCP hold more than its limits say: RFC 4987, tcp(7). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EAGAIN } from '../../abi/errno.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import { TcpEndpoint } from './endpoint.ts'
import { Script } from './testing-script.ts'

/** A connection from a port of the peer's, as the script's present one. */
function open(script: Script, listener: TcpEndpoint, port: number): TcpEndpoint {
  script.port = port
  script.inject('S 0 <mss 1000,sackOK>')
  script.expect('S. 0:0 ack 1')
  script.inject('. 1 ack 1')
  const endpoint = listener.accept()
  assert.ok(endpoint !== undefined)
  return endpoint
}

test('limits: a flood of SYNs leaves no more than the backlog, and true peers still get in', () => {
  const script = new Script()
  const listener = script.listen(128)
  for (let port = 10_000; port < 15_000; port++) {
    script.port = port
    script.inject('S 0 <mss 1460>')
    script.sent()
  }
  assert.equal(script.host.tcp.table.size, 128)
  assert.ok(script.host.counters.tcpExt.SyncookiesSent > 4000)
  script.port = 20_000
  script.inject('S 0 <mss 1460>')
  script.expect('S. 0:0 ack 1')
  script.inject('. 1 ack 1')
  assert.ok(listener.accept() !== undefined)
})

test('limits: without cookies the flood is dropped', () => {
  const script = new Script(host => {
    host.sysctl.ipv4.tcp_syncookies = 0
  })
  script.listen(2)
  for (let port = 10_000; port < 10_010; port++) {
    script.port = port
    script.inject('S 0 <mss 1460>')
  }
  assert.equal(script.sent().length, 2)
  assert.equal(script.host.counters.tcpExt.TCPReqQFullDrop, 8)
})

test('limits: tcp_max_orphans', () => {
  const script = new Script(host => {
    host.sysctl.ipv4.tcp_max_orphans = 2
  })
  const listener = script.listen()
  for (let i = 0; i < 3; i++) {
    const endpoint = open(script, listener, 6000 + i)
    endpoint.close()
    const sent = script.sent()
    assert.equal(
      sent.some(line => line.startsWith('R')),
      i === 2,
      String(sent),
    )
  }
  assert.equal(script.host.tcp.orphans.size, 2)
})

test('limits: tcp_max_tw_buckets', () => {
  const script = new Script(host => {
    host.sysctl.ipv4.tcp_max_tw_buckets = 1
  })
  const listener = script.listen()
  for (let i = 0; i < 3; i++) {
    open(script, listener, 6000 + i).close()
    script.inject('F. 1 ack 2')
    script.sent()
  }
  assert.equal(script.host.tcp.timeWaits, 1)
  assert.equal(script.host.counters.tcpExt.TCPTimeWaitOverflow, 2)
})

test('limits: tcp_mem: above the high mark nothing more is taken in, and below it all goes on', () => {
  const script = new Script(host => {
    host.sysctl.ipv4.tcp_mem = [4, 8, 12]
  })
  const listener = script.listen()
  const endpoint = open(script, listener, 6000)
  assert.ok(endpoint.send(new BufferSrc(new Uint8Array(60_000)), 0) > 0)
  assert.ok(script.host.tcp.memory.pressure)
  for (let i = 0; i < 100; i++) endpoint.send(new BufferSrc(new Uint8Array(1000)), 0)
  assert.equal(endpoint.send(new BufferSrc(new Uint8Array(1000)), 0), -EAGAIN)
  script.sent()
  for (let seq = 1; seq < 40_000; seq += 1000) script.inject(`. ${seq}:${seq + 1000} ack 1`)
  assert.ok(script.host.tcp.memory.allocated < 120_000, String(script.host.tcp.memory.allocated))
  for (let i = 0; i < 20 && endpoint.unacknowledged > 0; i++) {
    script.advance(1)
    script.inject(
      `. ${endpoint.connection!.rcvNxt - 1_000_000} ack ${(endpoint.connection!.sndNxt - script.isn) | 0}`,
    )
  }
  assert.equal(endpoint.unacknowledged, 0)
  while (endpoint.receive(new BufferDst(new Uint8Array(50_000)), 0) > 0);
  assert.equal(script.host.tcp.memory.allocated, 0)
  assert.ok(!script.host.tcp.memory.pressure)
  assert.equal(endpoint.send(new BufferSrc(new Uint8Array(1000)), 0), 1000)
})

test('limits: what comes out of order takes no more than the receive buffer', () => {
  const script = new Script()
  const endpoint = script.accepted()
  for (let i = 1; i < 5000; i++) {
    const seq = 1 + ((i * 2) % 60_000)
    script.inject(`. ${seq}:${seq + 1} ack 1`)
  }
  const { receiveCharge, settings } = endpoint.connection!
  assert.ok(receiveCharge <= settings.rcvbuf + 5000, String(receiveCharge))
  assert.equal(script.host.tcp.memory.allocated, receiveCharge)
})

test('SO_REUSEPORT: peers are spread over the listeners, each always to the same one', () => {
  const script = new Script()
  const listeners = [1, 2, 3].map(() => {
    const one = new TcpEndpoint(script.host.tcp)
    one.settings.reusePort = true
    assert.equal(one.bind(script.host.address, 80), 0)
    assert.equal(one.listen(100), 0)
    return one
  })
  for (let port = 7000; port < 7090; port++) {
    script.port = port
    script.inject('S 0 <mss 1460>')
    script.inject('S 0 <mss 1460>')
  }
  const shares = listeners.map(one => one.listener!.requests.size)
  assert.equal(
    shares.reduce((sum, n) => sum + n),
    90,
  )
  for (const share of shares) assert.ok(share > 10, String(shares))
})
