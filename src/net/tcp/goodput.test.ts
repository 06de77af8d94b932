/** How fast transfers are on paths of known rate: that nothing idles while it could send. Virtual time. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import { TcpEndpoint } from './endpoint.ts'
import { connectHosts, type LinkOptions, TestHost, World } from './testing.ts'

interface Result {
  /** Bytes per second, of virtual time. */
  readonly rate: number
  readonly client: TcpEndpoint
  readonly server: TcpEndpoint
  readonly sender: TestHost
}

/** Sends `size` bytes one way. */
function send(
  size: number,
  there: LinkOptions,
  back: LinkOptions,
  change?: (host: TestHost) => void,
): Result {
  const world = new World(7)
  const a = new TestHost(world, '10.0.0.1')
  const b = new TestHost(world, '10.0.0.2')
  change?.(a)
  change?.(b)
  connectHosts(world, a, b, there, back)
  const listener = new TcpEndpoint(b.tcp)
  listener.bind(b.address, 80)
  listener.listen(1)
  const client = new TcpEndpoint(a.tcp)
  client.connect(b.address, 80)
  const begin = world.clock.now
  let server: TcpEndpoint | undefined
  let sent = 0
  let got = 0
  const bytes = new Uint8Array(65536)
  while (got < size) {
    assert.ok(world.step(begin + 1000e9), `stuck at ${got}`)
    server ??= listener.accept()
    while (sent < size) {
      const n = client.send(new BufferSrc(bytes.subarray(0, Math.min(size - sent, bytes.length))), 0)
      if (n <= 0) break
      sent += n
    }
    for (;;) {
      const n = server?.receive(new BufferDst(bytes), 0) ?? 0
      if (n <= 0) break
      got += n
    }
  }
  return { rate: (size * 1e9) / (world.clock.now - begin), client, server: server!, sender: a }
}

test('goodput: 100 Mbit/s over 40 ms is filled', () => {
  const link = { delay: 20, rate: 12.5e6, queue: 500_000 }
  const { rate } = send(40e6, link, { delay: 20 })
  assert.ok(rate > 0.8 * 12.5e6, `${Math.round(rate)} bytes/s`)
})

test('goodput: a shallow queue costs some losses, no timeouts', () => {
  const link = { delay: 10, rate: 2.5e6, queue: 30_000 }
  const { rate, sender } = send(10e6, link, { delay: 10 })
  assert.ok(rate > 0.75 * 2.5e6, `${Math.round(rate)} bytes/s`)
  assert.equal(sender.counters.tcpExt.TCPTimeouts, 0)
})

test('goodput: one lost packet in a thousand over 40 ms', () => {
  const { rate } = send(10e6, { delay: 20, loss: 0.001 }, { delay: 20 })
  // Reno's response function gives 1460 * sqrt(1.5 / 0.001) / 0.04 s = 1.4 MB/s.
  assert.ok(rate > 1.2e6, `${Math.round(rate)} bytes/s`)
})

test('goodput: reordering alone costs nothing after it has been noticed', () => {
  const { rate, sender } = send(10e6, { delay: 20, jitter: 5, rate: 5e6, queue: 1e6 }, { delay: 20 })
  assert.ok(rate > 0.7 * 5e6, `${Math.round(rate)} bytes/s`)
  assert.ok(sender.counters.tcp.RetransSegs < 200, String(sender.counters.tcp.RetransSegs))
})

test('goodput: a window of 16 KiB is used fully', () => {
  const { rate } = send(2e6, { delay: 20 }, { delay: 20 }, host => {
    host.sysctl.ipv4.tcp_rmem = [4096, 32768, 32768]
  })
  assert.ok(rate > 0.7 * (16384 / 0.04), `${Math.round(rate)} bytes/s`)
})

test('goodput: large segments that vanish in silence are replaced by smaller ones, with tcp_mtu_probing', () => {
  const { client } = send(200_000, { delay: 5, blackHole: 1300 }, { delay: 5 }, host => {
    host.sysctl.ipv4.tcp_mtu_probing = 1
  })
  assert.ok(client.connection!.mss <= 1024)
})

test('goodput: a buffer is what the path needs, however long the queues become that it fills', () => {
  const { rate, server } = send(20e6, { delay: 1, rate: 12.5e6, queue: 50e6 }, { delay: 1 })
  assert.ok(rate > 0.9 * 12.5e6, `${Math.round(rate)} bytes/s`)
  const { rcvbuf } = server.connection!.settings
  assert.ok(rcvbuf < 500_000, `${rcvbuf} bytes`)
})

test('goodput: round trips below the millisecond of the timestamps are told apart', () => {
  const { rate, server } = send(40e6, { delay: 0.1, rate: 125e6, queue: 50e6 }, { delay: 0.1 })
  assert.ok(rate > 0.9 * 125e6, `${Math.round(rate)} bytes/s`)
  const { rcvbuf } = server.connection!.settings
  assert.ok(rcvbuf < 500_000, `${rcvbuf} bytes`)
})
