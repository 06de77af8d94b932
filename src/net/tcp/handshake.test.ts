/** Opening and closing by packets in and packets out: RFC 9293, 5961, 6191, 7323, 4987. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  POLLRDHUP,
  TCP_CLOSE,
  TCP_CLOSE_WAIT,
  TCP_CLOSING,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT1,
  TCP_FIN_WAIT2,
  TCP_SYN_RECV,
  TCP_SYN_SENT,
} from '../../abi/constants.ts'
import { EADDRINUSE, EAGAIN, ECONNREFUSED, ECONNRESET, ENOTCONN, EPIPE, ETIMEDOUT } from '../../abi/errno.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import { TcpEndpoint } from './endpoint.ts'
import { RCV_SHUTDOWN, SEND_SHUTDOWN } from './shutdown.ts'
import { Script } from './testing-script.ts'

function connecting(change?: ConstructorParameters<typeof Script>[0]): {
  script: Script
  endpoint: TcpEndpoint
} {
  const script = new Script(change)
  const endpoint = new TcpEndpoint(script.host.tcp)
  assert.equal(endpoint.connect(script.peer, script.port), 0)
  return { script, endpoint }
}

function connected(change?: ConstructorParameters<typeof Script>[0]): {
  script: Script
  endpoint: TcpEndpoint
} {
  const { script, endpoint } = connecting(change)
  script.expect('S 0:0')
  script.inject('S. 0 ack 1 <mss 1460,sackOK,wscale 7>')
  script.expect('. 1:1 ack 1')
  return { script, endpoint }
}

function read(endpoint: TcpEndpoint, flags = 0): number {
  return endpoint.receive(new BufferDst(new Uint8Array(100_000)), flags)
}
function write(endpoint: TcpEndpoint, length: number, flags = 0): number {
  return endpoint.send(new BufferSrc(new Uint8Array(length)), flags)
}

test('handshake: an active open offers all options and takes those that both want', () => {
  const { script, endpoint } = connecting(host => {
    host.sysctl.ipv4.tcp_timestamps = 1
  })
  const [syn] = script.sent()
  assert.match(syn, /^S 0:0|^S /)
  assert.match(syn, /<mss 1460,sackOK,TS -?\d+ 0,wscale 7>/)
  assert.equal(endpoint.state, TCP_SYN_SENT)
  assert.equal(endpoint.events(), 0)
})

test('handshake: SYN-ACK makes the connection, poll says writable', () => {
  const { script, endpoint } = connected()
  assert.equal(endpoint.state, TCP_ESTABLISHED)
  assert.equal(endpoint.events() & (POLLIN | POLLOUT | POLLHUP), POLLOUT)
  assert.equal(write(endpoint, 10), 10)
  script.expect('P. 1:11 ack 1')
})

test('handshake: RST to a SYN is ECONNREFUSED', () => {
  const { script, endpoint } = connecting()
  script.expect('S 0:0')
  script.inject('R. 0 ack 1')
  assert.equal(endpoint.state, TCP_CLOSE)
  assert.equal(endpoint.events() & (POLLERR | POLLHUP), POLLERR | POLLHUP)
  assert.equal(endpoint.takeError(), -ECONNREFUSED)
  assert.equal(endpoint.takeError(), 0)
})

test('handshake: an acknowledgement of something else gets a reset, and the SYN stays good', () => {
  const { script, endpoint } = connecting()
  script.expect('S 0:0')
  script.inject('S. 0 ack 77 <mss 1460>')
  script.expect('R 77:77')
  assert.equal(endpoint.state, TCP_SYN_SENT)
  script.inject('R. 0 ack 77')
  assert.equal(endpoint.state, TCP_SYN_SENT)
})

test('handshake: SYNs are sent again at 1 s, five times evenly, then doubling, and ETIMEDOUT ends it', () => {
  const { script, endpoint } = connecting()
  script.expect('S 0:0')
  for (let i = 0; i < 5; i++) {
    script.advance(999)
    script.expectNothing()
    script.advance(1)
    script.expect('S 0:0')
  }
  for (const seconds of [2, 4, 8, 16, 32]) {
    script.advance(seconds * 1000 - 1)
    script.expectNothing()
    script.advance(1)
    script.expect('S 0:0')
  }
  script.advance(64_000)
  script.expectNothing()
  assert.equal(endpoint.takeError(), -ETIMEDOUT)
})

test('handshake: a simultaneous open', () => {
  const { script, endpoint } = connecting()
  script.expect('S 0:0')
  script.inject('S 0 <mss 1460,sackOK,wscale 7>')
  script.expect('S. 0:0 ack 1')
  assert.equal(endpoint.state, TCP_SYN_RECV)
  script.inject('S. 0 ack 1 <mss 1460,sackOK,wscale 7>')
  assert.equal(endpoint.state, TCP_ESTABLISHED)
})

test('handshake: a passive open; data may come with the last acknowledgement', () => {
  const script = new Script()
  const listener = script.listen()
  assert.equal(listener.events(), 0)
  script.inject('S 0 win 1000 <mss 1000>')
  script.expect('S. 0:0 ack 1 win 64240 <mss 1460>')
  script.inject('P. 1:101 ack 1 win 1000')
  assert.equal(listener.events() & POLLIN, POLLIN)
  const endpoint = listener.accept()!
  assert.equal(endpoint.state, TCP_ESTABLISHED)
  assert.equal(read(endpoint), 100)
  assert.equal(listener.accept(), undefined)
})

test('handshake: SYN-ACKs are sent again, then forgotten', () => {
  const script = new Script()
  const listener = script.listen()
  script.inject('S 0 <mss 1460>')
  script.expect('S. 0:0 ack 1')
  for (const seconds of [1, 2, 4, 8, 16]) {
    script.advance(seconds * 1000)
    script.expect('S. 0:0 ack 1')
  }
  script.advance(100_000)
  script.expectNothing()
  assert.equal(listener.listener!.requests.size, 0)
  assert.equal(script.host.tcp.table.size, 0)
})

test('listener: no port, no connection: RST', () => {
  const script = new Script()
  script.inject('S 0 <mss 1460>')
  script.expect('R. 0:0 ack 1')
  script.isn = 0
  script.inject('. 5 ack 9')
  script.expect('R 9:9')
  script.inject('R 5')
  script.expectNothing()
})

test('listener: the accept queue takes one more than the backlog', () => {
  const script = new Script()
  const listener = script.listen(1)
  for (let i = 0; i < 4; i++) {
    script.port = 6000 + i
    script.inject('S 0 <mss 1460>')
    if (script.sent().length === 0) continue
    // The script knows only one ISN at a time.
    for (const request of listener.listener!.requests) script.isn = request.iss
    script.inject('. 1 ack 1')
  }
  assert.equal(listener.listener!.ready, 2)
  assert.ok(script.host.counters.tcpExt.ListenOverflows >= 1)
})

test('listener: SYN cookies when the queue of half-open connections is full', () => {
  const script = new Script()
  const listener = script.listen(1)
  script.port = 6000
  script.inject('S 0 <mss 1460>')
  script.expect('S. 0:0 ack 1')
  script.port = 6001
  script.inject('S 0 <mss 1400,sackOK>')
  script.expect('S. 0:0 ack 1 <mss 1460>')
  assert.equal(script.host.counters.tcpExt.SyncookiesSent, 1)
  assert.equal(listener.listener!.requests.size, 1)
  script.inject('. 1 ack 1000')
  script.expect('R 1000:1000')
  script.inject('. 1 ack 1')
  script.expectNothing()
  const endpoint = listener.accept()!
  assert.equal(endpoint.state, TCP_ESTABLISHED)
  assert.equal(endpoint.connection!.peerMss, 1300)
})

test('listener: TCP_DEFER_ACCEPT waits for data', () => {
  const script = new Script()
  const listener = script.listen()
  listener.settings.deferAccept = 3
  script.inject('S 0 <mss 1460>')
  script.expect('S. 0:0 ack 1')
  script.inject('. 1 ack 1')
  assert.equal(listener.accept(), undefined)
  script.inject('P. 1:11 ack 1')
  assert.ok(listener.accept() !== undefined)
})

test('close: the active side goes through FIN-WAIT to TIME-WAIT, for a minute', () => {
  const { script, endpoint } = connected()
  assert.equal(endpoint.shutdown(SEND_SHUTDOWN), 0)
  script.expect('F. 1:1 ack 1')
  assert.equal(endpoint.state, TCP_FIN_WAIT1)
  script.inject('. 1 ack 2')
  assert.equal(endpoint.state, TCP_FIN_WAIT2)
  // The other half is still open.
  script.inject('P. 1:101 ack 2')
  assert.equal(read(endpoint), 100)
  script.advance(1000)
  script.sent()
  script.inject('F. 101 ack 2')
  script.expect('. 2:2 ack 102')
  assert.equal(endpoint.state, TCP_CLOSE)
  assert.equal(read(endpoint), 0)
  assert.equal(script.host.tcp.timeWaits, 1)
  // Their FIN again: our acknowledgement was lost.
  script.advance(30_000)
  script.inject('F. 101 ack 2')
  script.expect('. 2:2 ack 102')
  script.advance(59_999)
  assert.equal(script.host.tcp.timeWaits, 1)
  script.advance(2)
  assert.equal(script.host.tcp.timeWaits, 0)
})

test('close: the passive side goes through CLOSE-WAIT and LAST-ACK', () => {
  const { script, endpoint } = connected()
  script.inject('F. 1 ack 1')
  assert.equal(endpoint.state, TCP_CLOSE_WAIT)
  assert.equal(endpoint.events() & (POLLIN | POLLRDHUP | POLLHUP), POLLIN | POLLRDHUP)
  assert.equal(read(endpoint), 0)
  assert.equal(write(endpoint, 5), 5)
  script.expect('P. 1:6 ack 2')
  script.inject('. 2 ack 6')
  endpoint.close()
  script.expect('F. 6:6 ack 2')
  script.inject('. 2 ack 7')
  assert.equal(endpoint.connection!.state, TCP_CLOSE)
  assert.equal(script.host.tcp.table.size, 0)
})

test('close: both sides at once', () => {
  const { script, endpoint } = connected()
  endpoint.shutdown(SEND_SHUTDOWN)
  script.expect('F. 1:1 ack 1')
  script.inject('F. 1 ack 1')
  script.expect('. 2:2 ack 2')
  assert.equal(endpoint.state, TCP_CLOSING)
  script.inject('. 2 ack 2')
  assert.equal(script.host.tcp.timeWaits, 1)
})

test('close: FIN waits for the data before it and is sent again with them', () => {
  const { script, endpoint } = connected()
  write(endpoint, 3000)
  write(endpoint, 10)
  endpoint.close()
  const sent = ['. 1:1461', '. 1461:2921', 'P. 2921:3001', 'FP. 3001:3011']
  assert.deepEqual(
    script.sent().map(line => line.split(' ack')[0]),
    sent,
  )
  script.inject('. 1 ack 3001')
  script.advance(1200)
  assert.equal(endpoint.connection!.state, TCP_FIN_WAIT1)
  assert.ok(script.sent().every(line => line.startsWith('FP. 3001:3011')))
  script.inject('. 1 ack 3012')
  script.inject('F. 1 ack 3012')
  assert.equal(script.host.tcp.timeWaits, 1)
})

test('close: unread data mean a reset', () => {
  const { script, endpoint } = connected()
  script.inject('P. 1:11 ack 1')
  script.sent()
  endpoint.close()
  script.expect('R. 1:1 ack 11')
  assert.equal(script.host.tcp.table.size, 0)
})

test('close: SO_LINGER of zero means a reset', () => {
  const { script, endpoint } = connected()
  write(endpoint, 10)
  script.expect('P. 1:11 ack 1')
  endpoint.close(true)
  script.expect('R. 11:11 ack 1')
})

test('close: data for an orphan get a reset', () => {
  const { script, endpoint } = connected()
  endpoint.close()
  script.expect('F. 1:1 ack 1')
  script.inject('P. 1:11 ack 2')
  script.expect('R. 2:2 ack 1')
  assert.equal(script.host.tcp.table.size, 0)
})

test('close: an orphan in FIN-WAIT-2 lasts for tcp_fin_timeout', () => {
  const { script, endpoint } = connected()
  endpoint.close()
  script.expect('F. 1:1 ack 1')
  script.inject('. 1 ack 2')
  script.advance(59_000)
  assert.equal(script.host.tcp.table.size, 1)
  script.inject('F. 1 ack 2')
  script.expect('. 2:2 ack 2')
  script.advance(59_000)
  assert.equal(script.host.tcp.table.size, 1)
  script.advance(2000)
  assert.equal(script.host.tcp.table.size, 0)
})

test('close: shutdown for reading says end of file, and what comes is still acknowledged', () => {
  const { script, endpoint } = connected()
  assert.equal(endpoint.shutdown(RCV_SHUTDOWN), 0)
  assert.equal(read(endpoint), 0)
  script.inject('P. 1:11 ack 1')
  script.expect('. 1:1 ack 11')
  assert.equal(endpoint.events() & POLLRDHUP, POLLRDHUP)
})

test('close: shutdown of what is not connected is ENOTCONN, reading from it, too', () => {
  const script = new Script()
  const endpoint = new TcpEndpoint(script.host.tcp)
  assert.equal(endpoint.shutdown(SEND_SHUTDOWN), -ENOTCONN)
  assert.equal(read(endpoint), -ENOTCONN)
  assert.equal(write(endpoint, 1), -EPIPE)
  assert.equal(endpoint.events() & (POLLHUP | POLLOUT), POLLHUP | POLLOUT)
})

test('TIME-WAIT: a newer SYN opens a new connection, with a sequence number beyond the old', () => {
  const script = new Script()
  const endpoint = script.accepted()
  endpoint.close()
  script.expect('F. 1:1 ack 1')
  script.inject('F. 1 ack 2')
  script.expect('. 2:2 ack 2')
  assert.equal(script.host.tcp.timeWaits, 1)
  script.inject('S 1 win 100')
  script.advance(1000)
  assert.ok(script.sent().every(line => line.startsWith('.')))
  const before = script.isn
  script.inject('S 500000 <mss 1460>')
  script.expect('S. 0:0 ack 500001')
  assert.equal(script.isn, (before + 2 + 65537) | 0)
})

test('TIME-WAIT: an old segment does not end it, a reset in order does', () => {
  const { script, endpoint } = connected()
  endpoint.close()
  script.expect('F. 1:1 ack 1')
  script.inject('F. 1 ack 2')
  script.expect('. 2:2 ack 2')
  script.inject('R 1')
  assert.equal(script.host.tcp.timeWaits, 1)
  script.inject('R 2')
  assert.equal(script.host.tcp.timeWaits, 0)
})

test('TIME-WAIT: the port is free for SO_REUSEADDR only', () => {
  const script = new Script()
  const endpoint = script.accepted()
  endpoint.close()
  script.sent()
  script.inject('F. 1 ack 2')
  script.listener!.close()
  const second = new TcpEndpoint(script.host.tcp)
  assert.equal(second.bind(script.host.address, 80), -EADDRINUSE)
})

test('reset: only in order; in the window it gets a challenge (RFC 5961)', () => {
  const { script, endpoint } = connected()
  script.inject('R 1000')
  script.expect('. 1:1 ack 1')
  assert.equal(endpoint.state, TCP_ESTABLISHED)
  script.inject('R 100000')
  assert.equal(endpoint.state, TCP_ESTABLISHED)
  script.inject('R 1')
  assert.equal(endpoint.state, TCP_CLOSE)
  assert.equal(read(endpoint), -ECONNRESET)
  assert.equal(read(endpoint), 0)
})

test('reset: a SYN on a connection gets a challenge, not too often', () => {
  const { script, endpoint } = connected()
  script.inject('S 5000')
  script.expect('. 1:1 ack 1')
  script.inject('S 5000')
  script.expectNothing()
  script.advance(500)
  script.inject('S 5000')
  script.expect('. 1:1 ack 1')
  assert.equal(endpoint.state, TCP_ESTABLISHED)
})

test('reset: what was received before it can still be read', () => {
  const { script, endpoint } = connected()
  script.inject('P. 1:11 ack 1')
  script.inject('R 11')
  assert.equal(read(endpoint), 10)
  assert.equal(read(endpoint), -ECONNRESET)
  assert.equal(write(endpoint, 1), -EPIPE)
})

test('acknowledgement of what was never sent gets a challenge and is dropped', () => {
  const { script, endpoint } = connected()
  script.inject('P. 1:11 ack 1000')
  script.expect('. 1:1 ack 1')
  assert.equal(read(endpoint), -EAGAIN)
})

test('PAWS: an old timestamp is answered and dropped', () => {
  const { script, endpoint } = connecting(host => {
    host.sysctl.ipv4.tcp_timestamps = 1
  })
  const [syn] = script.sent()
  const tsval = Number(/TS (-?\d+)/.exec(syn)![1])
  script.isn = endpoint.connection!.iss
  script.localPort = endpoint.localPort
  script.inject(`S. 0 ack 1 <mss 1460,TS 1000 ${tsval},wscale 7>`)
  script.expect('. 1:1 ack 1')
  script.inject(`P. 1:11 ack 1 <TS 1005 ${tsval}>`)
  script.sent()
  script.inject(`P. 11:21 ack 1 <TS 999 ${tsval}>`)
  script.expect('. 1:1 ack 11')
  assert.equal(read(endpoint), 10)
})
