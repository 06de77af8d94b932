import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  IPS_ASSURED,
  IPS_SEEN_REPLY,
  TCP_CONNTRACK_CLOSE,
  TCP_CONNTRACK_CLOSE_WAIT,
  TCP_CONNTRACK_ESTABLISHED,
  TCP_CONNTRACK_FIN_WAIT,
  TCP_CONNTRACK_LAST_ACK,
  TCP_CONNTRACK_SYN_RECV,
  TCP_CONNTRACK_SYN_SENT,
  TCP_CONNTRACK_SYN_SENT2,
  TCP_CONNTRACK_TIME_WAIT,
} from '../../../abi/constants.ts'
import { V4_ANY } from '../../address.ts'
import { Packet } from '../../packet.ts'
import { Connection, ORIGINAL, REPLY } from './connection.ts'
import { ConntrackSettings } from './settings.ts'
import { TcpTracking, TRACK_ACCEPT, TRACK_ANEW, TRACK_END, TRACK_IGNORE, TRACK_INVALID } from './tcp.ts'
import { TcpSegment } from './tcp-segment.ts'
import { Tuple } from './tuple.ts'

const FIN = 1
const SYN = 2
const RST = 4
const ACK = 16

function segment(flags: number, sequence: number, ack = 0, length = 0, options: number[] = []): TcpSegment {
  const header = 20 + options.length
  const packet = new Packet(new Uint8Array(header + length))
  const { view } = packet
  packet.transport = 0
  packet.end = header + length
  view.setUint32(4, sequence)
  view.setUint32(8, ack)
  view.setUint8(12, (header / 4) << 4)
  view.setUint8(13, flags)
  view.setUint16(14, 1000)
  packet.bytes.set(options, 20)
  const made = new TcpSegment()
  assert.ok(made.read(packet))
  return made
}

/** A connection that began with this segment. */
function begin(first: TcpSegment, settings = new ConntrackSettings()) {
  const tuple = new Tuple(V4_ANY, V4_ANY, 6, 1, 2)
  const connection = new Connection(tuple, tuple, 1, 0)
  const tracking = TcpTracking.begin(first, settings)
  const send = (direction: number, next: TcpSegment): number => {
    const result = tracking!.segment(connection, direction, next, settings)
    if (direction === REPLY && result === TRACK_ACCEPT) connection.status |= IPS_SEEN_REPLY
    return result
  }
  if (tracking !== undefined) assert.equal(send(ORIGINAL, first), TRACK_ACCEPT)
  return { connection, tracking, send, state: () => tracking!.state }
}

function open(options: number[] = []) {
  const made = begin(segment(SYN, 1000, 0, 0, options))
  assert.equal(made.state(), TCP_CONNTRACK_SYN_SENT)
  assert.equal(made.send(REPLY, segment(SYN | ACK, 5000, 1001, 0, options)), TRACK_ACCEPT)
  assert.equal(made.state(), TCP_CONNTRACK_SYN_RECV)
  assert.equal(made.send(ORIGINAL, segment(ACK, 1001, 5001)), TRACK_ACCEPT)
  assert.equal(made.state(), TCP_CONNTRACK_ESTABLISHED)
  return made
}

test('tracking TCP: from SYN to TIME_WAIT', () => {
  const { connection, send, state } = open()
  assert.notEqual(connection.status & IPS_ASSURED, 0)
  assert.equal(connection.timeout, 432000e9)
  assert.equal(send(ORIGINAL, segment(ACK, 1001, 5001, 100)), TRACK_ACCEPT)
  assert.equal(connection.timeout, 300e9, 'what is not acknowledged may never be')
  assert.equal(send(REPLY, segment(ACK, 5001, 1101)), TRACK_ACCEPT)
  assert.equal(send(ORIGINAL, segment(FIN | ACK, 1101, 5001)), TRACK_ACCEPT)
  assert.equal(state(), TCP_CONNTRACK_FIN_WAIT)
  assert.equal(send(REPLY, segment(ACK, 5001, 1102)), TRACK_ACCEPT)
  assert.equal(state(), TCP_CONNTRACK_CLOSE_WAIT)
  assert.equal(send(REPLY, segment(FIN | ACK, 5001, 1102)), TRACK_ACCEPT)
  assert.equal(state(), TCP_CONNTRACK_LAST_ACK)
  assert.equal(send(ORIGINAL, segment(ACK, 1102, 5002)), TRACK_ACCEPT)
  assert.equal(state(), TCP_CONNTRACK_TIME_WAIT)
  assert.equal(connection.timeout, 120e9)
  assert.equal(send(ORIGINAL, segment(SYN, 9000)), TRACK_ANEW, 'the ports are used again')
})

test('tracking TCP: what begins no connection is told from one that is older than we are', () => {
  assert.equal(begin(segment(RST, 1)).tracking, undefined)
  assert.equal(begin(segment(SYN | ACK, 1, 1)).tracking, undefined)
  const strict = new ConntrackSettings()
  strict.nf_conntrack_tcp_loose = 0
  assert.equal(begin(segment(ACK, 70_000, 90_000, 10), strict).tracking, undefined)
  const { send, state } = begin(segment(ACK, 70_000, 90_000, 10))
  assert.equal(state(), TCP_CONNTRACK_ESTABLISHED)
  assert.equal(send(REPLY, segment(ACK, 90_000, 70_010, 1000)), TRACK_ACCEPT)
  assert.equal(send(ORIGINAL, segment(ACK, 70_010, 91_000, 10)), TRACK_ACCEPT)
})

test('tracking TCP: segments outside of the windows are invalid, unless one is to be liberal', () => {
  const { send } = open()
  assert.equal(send(ORIGINAL, segment(ACK, 1001 + 5000, 5001, 10)), TRACK_INVALID, 'beyond the window')
  assert.equal(send(ORIGINAL, segment(ACK, 1001, 9999)), TRACK_INVALID, 'acknowledges what was not sent')
  assert.equal(send(REPLY, segment(RST, 400)), TRACK_INVALID, 'a reset from the past')
  assert.equal(send(ORIGINAL, segment(ACK, 1001, 5001, 900)), TRACK_ACCEPT)
  const settings = new ConntrackSettings()
  settings.nf_conntrack_tcp_be_liberal = 1
  const liberal = begin(segment(SYN, 1000), settings)
  liberal.send(REPLY, segment(SYN | ACK, 5000, 1001))
  assert.equal(liberal.send(ORIGINAL, segment(ACK, 60_000, 5001, 10)), TRACK_ACCEPT)
})

test('tracking TCP: windows are scaled where both sides scale', () => {
  const scale = [3, 3, 7, 0]
  const { send, tracking } = open(scale)
  assert.deepEqual(
    tracking?.sides.map(side => side.scale),
    [7, 7],
  )
  // The last segment of either side offers 1000 << 7 bytes.
  assert.equal(send(REPLY, segment(ACK, 5001, 1001)), TRACK_ACCEPT)
  assert.equal(send(ORIGINAL, segment(ACK, 1001 + 100_000, 5001, 10)), TRACK_ACCEPT)
})

test('tracking TCP: a refused connection ends, a reset one closes', () => {
  const refused = begin(segment(SYN, 1000))
  assert.equal(refused.send(REPLY, segment(RST | ACK, 0, 1001)), TRACK_END)
  const { send, state } = open()
  assert.equal(send(REPLY, segment(RST, 5001)), TRACK_ACCEPT)
  assert.equal(state(), TCP_CONNTRACK_CLOSE)
})

test('tracking TCP: both sides may open at the same time', () => {
  const { send, state } = begin(segment(SYN, 1000))
  assert.equal(send(REPLY, segment(SYN, 5000)), TRACK_ACCEPT)
  assert.equal(state(), TCP_CONNTRACK_SYN_SENT2)
  assert.equal(send(ORIGINAL, segment(SYN | ACK, 1000, 5001)), TRACK_ACCEPT)
  assert.equal(state(), TCP_CONNTRACK_SYN_RECV)
})

test('tracking TCP: a side that has forgotten the connection begins anew once the other one agrees', () => {
  const { send, state } = open()
  assert.equal(send(ORIGINAL, segment(SYN, 70_000)), TRACK_IGNORE)
  assert.equal(state(), TCP_CONNTRACK_ESTABLISHED)
  assert.equal(send(REPLY, segment(SYN | ACK, 80_000, 70_001)), TRACK_ACCEPT)
  assert.equal(state(), TCP_CONNTRACK_SYN_RECV)
  assert.equal(send(ORIGINAL, segment(ACK, 70_001, 80_001)), TRACK_ACCEPT)
  assert.equal(state(), TCP_CONNTRACK_ESTABLISHED)
})

test('tracking TCP: flags and headers that no segment has are refused', () => {
  const packet = new Packet(new Uint8Array(20))
  packet.transport = 0
  packet.end = 20
  const read = (offset: number, flags: number) => {
    packet.view.setUint8(12, offset << 4)
    packet.view.setUint8(13, flags)
    return new TcpSegment().read(packet)
  }
  assert.equal(read(5, SYN | FIN), false)
  assert.equal(read(5, 0), false)
  assert.equal(read(4, SYN), false)
  assert.equal(read(15, SYN), false)
  assert.equal(read(5, SYN | 0xc0), true, 'ECN is no matter')
})
