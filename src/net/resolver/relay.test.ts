import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TCP_CLOSE_WAIT } from '../../abi/constants.ts'
import { EAGAIN, ECONNREFUSED } from '../../abi/errno.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import { IpAddress } from '../address.ts'
import { StackNetwork } from '../inet/stack-network.ts'
import { TestNet } from '../ip/testing.ts'
import { TcpEndpoint } from '../tcp/endpoint.ts'
import { TcpProtocol } from '../tcp/protocol.ts'
import { IPPROTO_TCP } from '../tcp/segment.ts'
import { UDP_HEADER, UdpEndpoint } from '../udp/endpoint.ts'
import { UdpProtocol } from '../udp/protocol.ts'
import { withRoomFor } from './message.ts'
import { type RelayGuard, ResolverRelay } from './relay.ts'

const ADDRESS = IpAddress.of('127.0.0.11')
const DNS = 53
const SOCKETS = [8, 9]

/** The host's socket: what the relay sends is `sent`, what it is to read is pushed to `answers`. */
class FakeHost {
  readonly sent: Uint8Array[] = []
  readonly answers: (Uint8Array | number)[] = []
  /** Where what was last sent went. */
  used = SOCKETS[0]
  readonly #ready = new Map<number, (events: number) => void>()

  watch(fd: number, _events: number, ready: (events: number) => void): number {
    this.#ready.set(fd, ready)
    return 0
  }
  pwrite(fd: number, from: Uint8Array): number {
    this.used = fd
    this.sent.push(from.slice())
    return from.length
  }
  pread(_fd: number, into: Uint8Array): number {
    const next = this.answers.shift() ?? -EAGAIN
    if (typeof next === 'number') return next
    into.set(next)
    return next.length
  }
  /** The name server says this. */
  answer(message: Uint8Array | number): void {
    this.answers.push(message)
    this.#ready.get(this.used)!(1)
  }
}

class World {
  readonly net = new TestNet()
  readonly ip = this.net.stack()
  readonly udp = new UdpProtocol(this.ip)
  readonly tcp = new TcpProtocol(new StackNetwork(this.ip))
  readonly host = new FakeHost()

  constructor(guard?: RelayGuard) {
    this.ip.protocols[IPPROTO_TCP] = this.tcp
    assert.equal(new ResolverRelay(this, this.host, SOCKETS, guard).start(ADDRESS), 0)
  }

  /** A socket of the guest's that has sent a query. */
  asking(query: Uint8Array): UdpEndpoint {
    const socket = new UdpEndpoint(this.udp, false)
    assert.equal(socket.connect(ADDRESS, DNS), 0)
    assert.equal(socket.send(new BufferSrc(query)), query.length)
    this.net.run(0.001)
    return socket
  }
  received(socket: UdpEndpoint): Uint8Array | number {
    this.net.run(0.001)
    const packet = socket.receive(false)
    return typeof packet === 'number' ? packet : packet.bytes.slice(packet.transport + UDP_HEADER, packet.end)
  }
}

/** A query for `a.b`, which says how much it takes over UDP if `size` is given. */
function query(id: number, size?: number): Uint8Array {
  const question = [1, 97, 1, 98, 0, 0, 1, 0, 1]
  const opt = size === undefined ? [] : [0, 0, 41, size >> 8, size & 0xff, 0, 0, 0, 0, 0, 0]
  const counts = [0, 1, 0, 0, 0, 0, 0, size === undefined ? 0 : 1]
  return Uint8Array.of(id >> 8, id & 0xff, 1, 0, ...counts, ...question, ...opt)
}
/** What the name server makes of it. */
function answerTo(asked: Uint8Array, text: string): Uint8Array {
  const answer = Uint8Array.of(...asked, ...Buffer.from(text))
  answer[2] |= 0x80
  return answer
}

test('resolver: each asker gets the answer to its own query, from the address and port that it has asked', () => {
  const world = new World()
  const first = world.asking(query(7))
  const second = world.asking(query(7))
  const [one, two] = world.host.sent
  assert.notDeepEqual(one.slice(0, 2), two.slice(0, 2), 'the ids are told apart')
  assert.deepEqual(one.slice(2), query(7).slice(2))
  world.host.answer(answerTo(two, 'second'))
  world.host.answer(answerTo(one, 'first'))
  assert.deepEqual(world.received(first), answerTo(query(7), 'first'))
  assert.deepEqual(world.received(second), answerTo(query(7), 'second'))
})

test('resolver: what a policy refuses is not asked for, and it hears the answers to the rest', () => {
  const learnt: Uint8Array[] = []
  let allows = false
  const guard: RelayGuard = {
    mayAsk: (_message, resolver) => resolver.equals(ADDRESS) && allows,
    learn: answer => void learnt.push(answer.slice()),
  }
  const world = new World(guard)
  const refused = world.received(world.asking(query(7)))
  assert.deepEqual(world.host.sent, [])
  assert.ok(typeof refused !== 'number' && (refused[3] & 0xf) !== 0, 'a failure')
  allows = true
  const socket = world.asking(query(8))
  world.host.answer(answerTo(world.host.sent[0], 'good'))
  assert.deepEqual(world.received(socket), answerTo(query(8), 'good'))
  assert.equal(learnt.length, 1)
  assert.ok(Buffer.from(learnt[0]).includes('good'))
})

test('resolver: an answer that nobody waits for, or that is no message, goes nowhere', () => {
  const world = new World()
  const socket = world.asking(query(7))
  const stray = answerTo(world.host.sent[0], 'stray')
  stray[0] ^= 1
  world.host.answer(stray)
  world.host.answer(Uint8Array.of(1, 2, 3))
  assert.equal(world.received(socket), -EAGAIN)
  world.host.answer(answerTo(world.host.sent[0], 'right'))
  world.host.answer(answerTo(world.host.sent[0], 'twice'))
  assert.deepEqual(world.received(socket), answerTo(query(7), 'right'))
  assert.equal(world.received(socket), -EAGAIN)
})

test('resolver: where no name server listens, queries fail at once, and the next ones go over another socket', () => {
  const world = new World()
  const socket = world.asking(query(0x1234))
  world.host.answer(-ECONNREFUSED)
  const answer = world.received(socket) as Uint8Array
  assert.deepEqual([...answer.slice(0, 4)], [0x12, 0x34, 0x81, 2])
  for (const used of [SOCKETS[1], SOCKETS[0]]) {
    world.asking(query(1))
    assert.equal(world.host.used, used)
    world.host.answer(-ECONNREFUSED)
  }
})

test('resolver: port 53 of its address is not bound, and that of other addresses is none of its business', () => {
  const world = new World()
  const own = new UdpEndpoint(world.udp, false)
  assert.equal(own.bind(IpAddress.of('0.0.0.0'), DNS), 0)
  const client = new UdpEndpoint(world.udp, false)
  client.send(new BufferSrc(query(1)), IpAddress.of('127.0.0.1'), DNS)
  assert.deepEqual(world.received(own), query(1))
  client.send(new BufferSrc(query(2)), ADDRESS, DNS)
  assert.equal(world.received(own), -EAGAIN)
  assert.equal(world.host.sent.length, 1)
})

test('resolver: over TCP, messages may come in pieces, and their answers in any order', () => {
  const world = new World()
  const client = new TcpEndpoint(world.tcp)
  client.connect(ADDRESS, DNS)
  world.net.run(0.01)
  const framed = (message: Uint8Array) =>
    Uint8Array.of(message.length >> 8, message.length & 0xff, ...message)
  const both = Uint8Array.of(...framed(query(1)), ...framed(query(2)))
  for (const piece of [both.slice(0, 1), both.slice(1, 30), both.slice(30)]) {
    client.send(new BufferSrc(piece), 0)
    world.net.run(0.01)
  }
  const [one, two] = world.host.sent
  world.host.answer(answerTo(two, 'B'))
  world.host.answer(answerTo(one, 'A'))
  world.net.run(0.01)
  const dst = new BufferDst(new Uint8Array(200))
  client.receive(dst, 0)
  const expected = [answerTo(withRoomFor(query(2), 32768), 'B'), answerTo(withRoomFor(query(1), 32768), 'A')]
  assert.deepEqual(
    dst.bytes.slice(0, dst.done),
    Uint8Array.of(...expected.flatMap(each => [...framed(each)])),
  )
  client.shutdown(2)
  world.net.run(1)
  assert.equal(client.receive(new BufferDst(new Uint8Array(1)), 0), 0, 'the other side ends, too')
})

test('resolver: of an asker over TCP that has ended, what is under way is still answered', () => {
  const world = new World()
  const client = new TcpEndpoint(world.tcp)
  client.connect(ADDRESS, DNS)
  world.net.run(0.01)
  const message = query(1)
  client.send(new BufferSrc(Uint8Array.of(0, message.length, ...message)), 0)
  client.shutdown(2)
  world.net.run(0.1)
  world.host.answer(answerTo(world.host.sent[0], 'late'))
  world.net.run(0.1)
  const dst = new BufferDst(new Uint8Array(200))
  assert.ok(client.receive(dst, 0) > 0)
  assert.equal(client.receive(dst, 0), 0)
  assert.notEqual(client.state, TCP_CLOSE_WAIT)
})

test('resolver: a query with an OPT record gets another size, one without gets a record, nonsense stays', () => {
  assert.deepEqual(withRoomFor(query(1, 512), 4096), query(1, 4096))
  assert.deepEqual(withRoomFor(query(1), 4096), query(1, 4096))
  const broken = query(1).slice(0, 14)
  assert.equal(withRoomFor(broken, 4096), broken)
  const endless = query(1)
  endless[12] = 63
  assert.equal(withRoomFor(endless, 4096), endless)
})
