/** Losses and congestion by packets in and packets out: RFC 6298, 6675, 8985, 5682, 6937, 3168, 6582, 2883. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TCP_CA_CWR, TCP_CA_Loss, TCP_CA_Open, TCP_CA_Recovery } from '../../abi/constants.ts'
import { ETIMEDOUT } from '../../abi/errno.ts'
import { BufferSrc } from '../../base/io.ts'
import type { TcpEndpoint } from './endpoint.ts'
import { Script } from './testing-script.ts'

const MSS = 1000

/** A connection of 1000-byte segments with a round trip of 100 ms, and `segments` of them on their way. */
function sending(
  segments: number,
  options = 'mss 1000,sackOK,wscale 7',
  change?: ConstructorParameters<typeof Script>[0],
): { script: Script; endpoint: TcpEndpoint } {
  const script = new Script(change)
  const listener = script.listen()
  script.inject(`S 0 <${options}>`)
  script.expect('S. 0:0 ack 1')
  script.advance(100)
  script.inject('. 1 ack 1')
  const endpoint = listener.accept()!
  endpoint.setCongestion('reno')
  write(endpoint, segments * MSS)
  assert.equal(rangesOf(script).length, segments)
  return { script, endpoint }
}

function write(endpoint: TcpEndpoint, length: number, flags = 0): number {
  return endpoint.send(new BufferSrc(new Uint8Array(length)), flags)
}
/** The ranges of what was sent, in segments: '0' for the first thousand bytes. */
function rangesOf(script: Script): string[] {
  return script.sent().map(line => {
    const [, from, to] = / (\d+):(\d+)/.exec(line)!
    return Number(to) - Number(from) === MSS ? String((Number(from) - 1) / MSS) : `${from}:${to}`
  })
}
/** `n` segments acknowledged. */
function ack(n: number, ...sacks: [number, number][]): string {
  const blocks = sacks.map(([from, to]) => `${from * MSS + 1}:${to * MSS + 1}`)
  return `. 1 ack ${n * MSS + 1}${blocks.length > 0 ? ` win 65535 <sack ${blocks.join(' ')}>` : ''}`
}

test('rto: smoothed round trip plus at least 200 ms, doubling: RFC 6298', () => {
  const { script, endpoint } = sending(1, 'mss 1000,sackOK,wscale 7', host => {
    host.sysctl.ipv4.tcp_early_retrans = 0
  })
  assert.equal(endpoint.connection!.rtt.srtt, 100e6)
  script.advance(299)
  script.expectNothing()
  script.advance(2)
  assert.deepEqual(rangesOf(script), ['0'])
  assert.equal(endpoint.connection!.recovery.state, TCP_CA_Loss)
  assert.equal(endpoint.connection!.congestion.size, MSS)
  script.advance(598)
  script.expectNothing()
  script.advance(3)
  assert.deepEqual(rangesOf(script), ['0'])
  // Karn: nothing is learned from an ambiguous acknowledgement.
  script.inject(ack(1))
  assert.equal(endpoint.connection!.rtt.srtt, 100e6)
  assert.equal(endpoint.connection!.recovery.state, TCP_CA_Open)
})

test('rto: gives up with ETIMEDOUT after about a quarter of an hour (tcp_retries2)', () => {
  const { script, endpoint } = sending(1)
  script.advance(900_000)
  assert.equal(endpoint.takeError(), 0)
  script.advance(300_000)
  assert.equal(endpoint.takeError(), -ETIMEDOUT)
})

test('rto: TCP_USER_TIMEOUT gives up earlier', () => {
  const { script, endpoint } = sending(1)
  endpoint.settings.userTimeout = 5000
  script.advance(5000)
  assert.equal(endpoint.takeError(), 0)
  script.advance(7000)
  assert.equal(endpoint.takeError(), -ETIMEDOUT)
})

test('tlp: the last segment is probed after two round trips, and a reply with nothing new is no loss', () => {
  const { script, endpoint } = sending(4)
  script.advance(201)
  script.expectNothing()
  script.advance(2)
  assert.deepEqual(rangesOf(script), ['3'])
  script.inject(ack(4))
  script.inject(ack(4, [3, 4]))
  assert.equal(endpoint.connection!.recovery.state, TCP_CA_Open)
  assert.equal(endpoint.connection!.congestion.ssthresh, Number.POSITIVE_INFINITY)
})

test('tlp: new data is the better probe', () => {
  const { script, endpoint } = sending(10)
  write(endpoint, 1500)
  script.expectNothing()
  script.advance(205)
  assert.deepEqual(rangesOf(script), ['10'])
})

test('tlp: a tail loss is found by the probe and repaired by fast recovery, without a timeout', () => {
  const { script, endpoint } = sending(6)
  script.advance(100)
  script.inject(ack(3))
  script.sent()
  script.advance(300)
  assert.deepEqual(rangesOf(script), ['5'])
  script.advance(100)
  // 3 and 4 are lost.
  script.inject(ack(3, [5, 6]))
  assert.deepEqual(rangesOf(script), ['3', '4'].slice(0, rangesLength(endpoint)))
  script.advance(100)
  script.inject(ack(6))
  assert.equal(endpoint.connection!.recovery.state, TCP_CA_Open)
  assert.equal(script.host.counters.tcpExt.TCPTimeouts, 0)
})
function rangesLength(endpoint: TcpEndpoint): number {
  return endpoint.connection!.sent.retransmitted / MSS
}

test('rack: three segments sacked behind a hole: it is lost, and the window is halved proportionally', () => {
  const { script, endpoint } = sending(10)
  script.advance(100)
  script.inject(ack(0, [1, 2]))
  script.inject(ack(0, [1, 3]))
  script.expectNothing()
  script.inject(ack(0, [1, 4]))
  assert.deepEqual(rangesOf(script), ['0'])
  const { recovery, congestion } = endpoint.connection!
  assert.equal(recovery.state, TCP_CA_Recovery)
  assert.equal(congestion.ssthresh, 5 * MSS)
  write(endpoint, 10_000)
  for (let n = 5; n <= 10; n++) script.inject(ack(0, [1, n]))
  // Proportional rate reduction: one for two.
  assert.equal(rangesOf(script).length, 4)
  script.advance(100)
  script.inject(ack(10))
  assert.equal(recovery.state, TCP_CA_Open)
  assert.equal(congestion.size, 5 * MSS)
})

test('rack: reordering within a quarter of the round trip is no loss', () => {
  const { script, endpoint } = sending(10)
  script.advance(100)
  script.inject(ack(0, [1, 3]))
  script.advance(10)
  script.inject(ack(3))
  assert.equal(endpoint.connection!.recovery.state, TCP_CA_Open)
  assert.ok(endpoint.connection!.rack.reorderingSeen)
  script.inject(ack(3, [4, 5]))
  script.advance(24)
  script.expectNothing()
  // What stays away longer is lost.
  script.advance(10)
  assert.deepEqual(rangesOf(script), ['3'])
})

test('rack: a lost retransmission is found by what was sent after it', () => {
  const { script, endpoint } = sending(10)
  write(endpoint, 10_000)
  script.advance(100)
  script.inject(ack(0, [1, 6]))
  const first = rangesOf(script)
  assert.equal(first[0], '0')
  script.advance(50)
  script.inject(ack(0, [1, 10]))
  const later = rangesOf(script)
  assert.ok(later.length > 0 && !later.includes('0'))
  script.advance(150)
  const last = Number(later[later.length - 1]) + 1
  script.inject(ack(0, [1, last]))
  assert.ok(rangesOf(script).includes('0'))
  assert.equal(script.host.counters.tcpExt.TCPLostRetransmit, 1)
})

test('reno: three duplicate acknowledgements, partial ones go on: RFC 6582', () => {
  const { script, endpoint } = sending(10, 'mss 1000,wscale 7')
  script.advance(100)
  script.inject(ack(0))
  script.inject(ack(0))
  script.expectNothing()
  script.inject(ack(0))
  assert.deepEqual(rangesOf(script), ['0'])
  assert.equal(endpoint.connection!.recovery.state, TCP_CA_Recovery)
  for (let i = 0; i < 5; i++) script.inject(ack(0))
  script.sent()
  script.advance(100)
  // 4 is lost as well.
  script.inject(ack(4))
  assert.ok(rangesOf(script).includes('4'))
  script.advance(100)
  script.inject(ack(10))
  // Not before something beyond is acknowledged, or late duplicates would start it anew.
  write(endpoint, 1000)
  script.sent()
  script.advance(100)
  script.inject(ack(11))
  assert.equal(endpoint.connection!.recovery.state, TCP_CA_Open)
})

test('f-rto: a timeout that came too early is undone: RFC 5682', () => {
  const { script, endpoint } = sending(4, 'mss 1000,sackOK,wscale 7', host => {
    host.sysctl.ipv4.tcp_early_retrans = 0
  })
  const conn = endpoint.connection!
  const before = conn.congestion.size
  script.advance(301)
  assert.deepEqual(rangesOf(script), ['0'])
  assert.equal(conn.recovery.state, TCP_CA_Loss)
  write(endpoint, 4000)
  script.inject(ack(2))
  // New data in place of retransmissions, to see what happens.
  assert.deepEqual(rangesOf(script), ['4', '5', '6'])
  script.inject(ack(4))
  assert.equal(conn.recovery.state, TCP_CA_Open)
  assert.ok(conn.congestion.size >= before)
  assert.equal(script.host.counters.tcpExt.TCPSpuriousRTOs, 1)
})

test('f-rto: a real loss goes on retransmitting', () => {
  const { script, endpoint } = sending(4, 'mss 1000,sackOK,wscale 7', host => {
    host.sysctl.ipv4.tcp_early_retrans = 0
  })
  script.advance(301)
  assert.deepEqual(rangesOf(script), ['0'])
  script.inject(ack(1))
  assert.deepEqual(rangesOf(script), ['1', '2'])
  script.inject(ack(4))
  assert.equal(endpoint.connection!.recovery.state, TCP_CA_Open)
  assert.equal(endpoint.connection!.congestion.ssthresh, 5 * MSS)
})

test('d-sack: a retransmission that was not needed is undone: RFC 3708', () => {
  const { script, endpoint } = sending(10)
  const conn = endpoint.connection!
  script.advance(100)
  script.inject(ack(0, [1, 4]))
  assert.deepEqual(rangesOf(script), ['0'])
  assert.equal(conn.congestion.ssthresh, 5 * MSS)
  script.inject(ack(4))
  script.inject(ack(10, [0, 1]))
  assert.equal(conn.dsackDuplicates, 1)
  assert.ok(conn.congestion.size >= 10 * MSS)
})

test('sack: what the receiver throws away after all is sent again: RFC 2018 §8', () => {
  const { script, endpoint } = sending(5)
  script.advance(100)
  script.inject(ack(0, [1, 3]))
  script.inject(ack(1))
  script.advance(60)
  assert.deepEqual(rangesOf(script)[0], '1')
  assert.equal(endpoint.connection!.sent.sacked, 0)
  assert.equal(script.host.counters.tcpExt.TCPSACKReneging, 1)
})

test('sack: blocks that nobody can have sent are ignored', () => {
  const { script, endpoint } = sending(5)
  script.inject(ack(0, [20, 30]))
  script.inject(ack(0, [3, 2]))
  assert.equal(endpoint.connection!.sent.sacked, 0)
  assert.ok(script.host.counters.tcpExt.TCPSACKDiscard >= 1)
})

test('slow start: doubles in a round trip; not when the application is what limits it', () => {
  const { script, endpoint } = sending(10)
  const { congestion } = endpoint.connection!
  write(endpoint, 100_000)
  script.advance(100)
  script.inject(ack(10))
  assert.equal(congestion.size, 20 * MSS)
  assert.equal(rangesOf(script).length, 20)
  const idle = sending(2)
  idle.script.advance(100)
  idle.script.inject(ack(2))
  assert.equal(idle.endpoint.connection!.congestion.size, 10 * MSS)
})

test('idle: after a retransmission timeout without sending the window starts anew', () => {
  const { script, endpoint } = sending(10)
  const { congestion } = endpoint.connection!
  write(endpoint, 100_000)
  let sent = 10
  for (let i = 0; i < 3; i++) {
    script.advance(100)
    script.inject(ack(sent))
    sent += rangesOf(script).length
    write(endpoint, 100_000)
    sent += rangesOf(script).length
  }
  script.inject(`. 1 ack ${endpoint.connection!.sndNxt - script.isn}`)
  assert.ok(congestion.size > 20 * MSS)
  while (endpoint.unacknowledged > 0) {
    script.inject(`. 1 ack ${(endpoint.connection!.sndNxt - script.isn) | 0}`)
    script.sent()
  }
  script.advance(60_000)
  script.sent()
  write(endpoint, 100_000)
  assert.equal(rangesOf(script).length, 10)
})

test('ecn: an echo halves the window once, and CWR answers it: RFC 3168', () => {
  const script = new Script(host => {
    host.sysctl.ipv4.tcp_ecn = 1
  })
  const listener = script.listen()
  script.inject('SEW 0 <mss 1000,sackOK,wscale 7>')
  script.expect('S.E 0:0 ack 1')
  script.advance(100)
  script.inject('. 1 ack 1')
  const endpoint = listener.accept()!
  endpoint.setCongestion('reno')
  write(endpoint, 20_000)
  const lines = script.sent()
  assert.ok(lines.every(line => line.endsWith('ect')))
  script.advance(100)
  script.inject('.E 1 ack 5001')
  script.inject('.E 1 ack 6001')
  assert.equal(endpoint.connection!.recovery.state, TCP_CA_CWR)
  assert.equal(endpoint.connection!.congestion.ssthresh, 5000)
  script.inject('. 1 ack 10001')
  const sent = script.sent()
  assert.equal(sent.filter(line => /^\S*W/.test(line)).length, 1)
})

test('ecn: marks are echoed until the sender says that it has heard', () => {
  const script = new Script(host => {
    host.sysctl.ipv4.tcp_ecn = 1
  })
  const listener = script.listen()
  script.inject('SEW 0 <mss 1000,sackOK,wscale 7>')
  script.expect('S.E 0:0 ack 1')
  script.inject('. 1 ack 1')
  listener.accept()
  script.inject('P. 1:1001 ack 1 win 65535 ce')
  script.expect('.E 1:1 ack 1001')
  script.inject('P. 1001:2001 ack 1')
  script.expect('.E 1:1 ack 2001')
  script.inject('P.W 2001:3001 ack 1')
  script.expect('. 1:1 ack 3001')
})

test('pmtu: when the path gets narrower, what is in flight is sent again in smaller segments', () => {
  const { script, endpoint } = sending(3)
  script.host.tcp.error(quoted(script, endpoint), tooBig(script))
  assert.equal(endpoint.connection!.mss, 560)
  const sent = script.sent()
  assert.ok(sent.length >= 3)
  assert.ok(sent.every(line => Number(/:(\d+)/.exec(line)![1]) - Number(/ (\d+):/.exec(line)![1]) <= 560))
  assert.equal(endpoint.connection!.congestion.ssthresh, Number.POSITIVE_INFINITY)
})

test('icmp: unreachable ends an opening at once, but only is told of when a connection fails', () => {
  const { script, endpoint } = sending(1)
  const error = tooBig(script)
  error.tooBig = false
  error.errno = 113
  script.host.tcp.error(quoted(script, endpoint), error)
  assert.equal(endpoint.error, 0)
  script.advance(1_300_000)
  assert.equal(endpoint.takeError(), -113)
})

function quoted(script: Script, endpoint: TcpEndpoint) {
  const packet = script.host.runtime.packets.allocate(8)
  packet.append(8)
  packet.transport = packet.start
  packet.view.setUint16(packet.start, endpoint.localPort)
  packet.view.setUint16(packet.start + 2, script.port)
  packet.view.setInt32(packet.start + 4, endpoint.connection!.sndUna)
  return packet
}
function tooBig(script: Script) {
  return {
    errno: 90,
    hard: false,
    type: 3,
    code: 4,
    info: 600,
    tooBig: true,
    isV4: true,
    offender: script.peer,
    source: script.host.address,
    destination: script.peer,
    device: undefined,
  }
}
