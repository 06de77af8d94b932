import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BufferSrc } from '../../base/io.ts'
import { IpAddress } from '../address.ts'
import { TestNet } from '../ip/testing.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import type { Packet } from '../packet.ts'
import type { UdpEndpoint } from './endpoint.ts'
import { UdpProtocol } from './protocol.ts'

interface Pair {
  net: TestNet
  a: IpStack
  b: IpStack
  udpA: UdpProtocol
  udpB: UdpProtocol
  links: [NetDevice, NetDevice]
}

function pair(): Pair {
  const net = new TestNet(6)
  const a = net.stack()
  const b = net.stack()
  const links = net.join(a, b, ['10.0.0.1/24', '2001:db8::1/64'], ['10.0.0.2/24', '2001:db8::2/64'])
  net.run(3)
  return { net, a, b, udpA: new UdpProtocol(a), udpB: new UdpProtocol(b), links }
}

const ip = (text: string): IpAddress => IpAddress.of(text)
const src = (text: string): BufferSrc => new BufferSrc(new TextEncoder().encode(text))

/** The text of the next datagram and who sent it, or the errno. */
function next(endpoint: UdpEndpoint): string {
  const packet = endpoint.receive(false)
  if (typeof packet === 'number') return `${packet}`
  return read(packet)
}

function read(packet: Packet): string {
  const text = new TextDecoder().decode(packet.bytes.subarray(packet.transport + 8, packet.end))
  const said = `${text} from ${packet.source}:${packet.view.getUint16(packet.transport)}`
  packet.release()
  return said
}

test('UDP: datagrams over a link and over loopback, in both families, large and empty', () => {
  const { net, udpA, udpB } = pair()
  const server = udpB.endpoint(true)
  assert.equal(server.bind(ip('::'), 53), 0)
  const client = udpA.endpoint(false)
  client.bind(ip('0.0.0.0'), 4000)
  client.send(src('hello'), ip('10.0.0.2'), 53)
  client.send(src(''), ip('10.0.0.2'), 53)
  client.send(new BufferSrc(new Uint8Array(65507).fill(65)), ip('10.0.0.2'), 53)
  net.run(0.1)
  assert.equal(next(server), 'hello from 10.0.0.1:4000')
  assert.equal(next(server), ' from 10.0.0.1:4000')
  assert.equal(next(server).length, 65507 + ' from 10.0.0.1:4000'.length)
  assert.equal(next(server), '-11')
  assert.equal(client.send(new BufferSrc(new Uint8Array(65508)), ip('10.0.0.2'), 53), -90)
  const six = udpA.endpoint(true)
  six.bind(ip('2001:db8::1'), 4001)
  six.send(src('six'), ip('2001:db8::2'), 53)
  net.run(1)
  assert.equal(next(server), 'six from 2001:db8::1:4001')
  server.send(src('self'), ip('::1'), 53)
  net.run(0)
  assert.equal(next(server), 'self from ::1:53')
})

test('UDP: who is connected hears only its peer, and of unreachable ports', () => {
  const { net, udpA, udpB } = pair()
  const server = udpB.endpoint(false)
  server.bind(ip('10.0.0.2'), 53)
  const client = udpA.endpoint(false)
  assert.equal(client.connect(ip('10.0.0.2'), 53), 0)
  assert.equal(client.local.toString(), '10.0.0.1')
  assert.ok(client.localPort >= 32768 && client.localPort <= 60999)
  client.send(src('one'))
  net.run(0.1)
  assert.equal(next(server), `one from 10.0.0.1:${client.localPort}`)
  const stranger = udpB.endpoint(false)
  stranger.send(src('intrusion'), ip('10.0.0.1'), client.localPort)
  server.send(src('two'), ip('10.0.0.1'), client.localPort)
  net.run(0.1)
  assert.equal(next(client), 'two from 10.0.0.2:53')
  assert.equal(next(client), '-11')
  assert.equal(stranger.takeError(), 0, 'who is not connected is not told')
  server.close()
  client.send(src('three'))
  net.run(0.1)
  assert.equal(client.events() & 8, 8)
  assert.equal(next(client), '-111')
  client.disconnect()
  assert.equal(client.local.toString(), '0.0.0.0')
  assert.equal(client.send(src('x')), -89)
})

test('UDP: IP_RECVERR queues the error with what was sent', () => {
  const { net, udpA } = pair()
  const client = udpA.endpoint(false)
  client.recvErr = true
  client.send(src('lost'), ip('10.0.0.2'), 99)
  net.run(0.1)
  const error = client.errors.shift()!
  assert.deepEqual([error.errno, error.origin, error.type, error.code], [111, 2, 3, 3])
  assert.equal(`${error.offender} ${error.destination} ${error.port}`, '10.0.0.2 10.0.0.2 99')
  const quoted = error.packet!
  assert.equal(new TextDecoder().decode(quoted.data()), 'lost')
})

test('UDP: bind conflicts as Linux has them', () => {
  const { udpA, links } = pair()
  const bind = (address: string, change: Partial<UdpEndpoint> = {}, device = 0): [UdpEndpoint, number] => {
    const endpoint = Object.assign(udpA.endpoint(address.includes(':')), change)
    endpoint.flow.device = device
    return [endpoint, endpoint.bind(ip(address), 700)]
  }
  const close = (...list: [UdpEndpoint, number][]): void => {
    for (const [endpoint] of list) endpoint.close()
  }
  const any = bind('0.0.0.0')
  assert.deepEqual([any[1], bind('10.0.0.1')[1], bind('0.0.0.0')[1], bind('::')[1]], [0, -98, -98, -98])
  const six = bind('::', { onlyV6: true })
  assert.equal(six[1], 0)
  assert.equal(bind('2001:db8::1')[1], -98)
  close(any, six)
  const specific = [bind('10.0.0.1'), bind('127.0.0.1'), bind('2001:db8::1')]
  assert.deepEqual(
    specific.map(each => each[1]),
    [0, 0, 0],
  )
  close(...specific)
  const shared = [bind('0.0.0.0', { reuseAddress: true }), bind('0.0.0.0', { reuseAddress: true })]
  assert.deepEqual([shared[0][1], shared[1][1], bind('0.0.0.0')[1]], [0, 0, -98])
  close(...shared)
  const group = [bind('0.0.0.0', { reusePort: true, uid: 1 }), bind('0.0.0.0', { reusePort: true, uid: 1 })]
  assert.deepEqual([group[1][1], bind('0.0.0.0', { reusePort: true, uid: 2 })[1]], [0, -98])
  close(...group)
  const one = bind('0.0.0.0', {}, links[0].index)
  assert.deepEqual([one[1], bind('0.0.0.0', {}, 1)[1], bind('0.0.0.0')[1]], [0, 0, -98])
  assert.equal(udpA.endpoint(false).bind(ip('10.0.0.9'), 0), -99)
  assert.equal(udpA.endpoint(true).bind(ip('fe80::1'), 0), -22)
})

test('UDP: a REUSEPORT group shares datagrams by flow', () => {
  const { net, udpA, udpB } = pair()
  const group = Array.from({ length: 4 }, () => Object.assign(udpB.endpoint(false), { reusePort: true }))
  for (const endpoint of group) assert.equal(endpoint.bind(ip('0.0.0.0'), 53), 0)
  for (let i = 0; i < 40; i++) {
    const client = udpA.endpoint(false)
    client.send(src('1'), ip('10.0.0.2'), 53)
    client.send(src('2'), ip('10.0.0.2'), 53)
  }
  net.run(0.1)
  const counts = group.map(endpoint => endpoint.queue.length)
  assert.equal(
    counts.reduce((sum, count) => sum + count),
    80,
  )
  assert.ok(
    counts.every(count => count > 0 && count % 2 === 0),
    `${counts}`,
  )
})

test('UDP: the most specific endpoint gets the datagram', () => {
  const { net, udpA, udpB } = pair()
  const reuse = (): UdpEndpoint => Object.assign(udpB.endpoint(false), { reuseAddress: true })
  const [any, bound, peer] = [reuse(), reuse(), reuse()]
  for (const endpoint of [peer, bound]) assert.equal(endpoint.bind(ip('10.0.0.2'), 53), 0)
  assert.equal(any.bind(ip('0.0.0.0'), 53), 0)
  const client = udpA.endpoint(false)
  client.bind(ip('0.0.0.0'), 4000)
  peer.connect(ip('10.0.0.1'), 4000)
  client.send(src('to peer'), ip('10.0.0.2'), 53)
  udpA.endpoint(false).send(src('to bound'), ip('10.0.0.2'), 53)
  net.run(0.1)
  bound.close()
  udpA.endpoint(false).send(src('to any'), ip('10.0.0.2'), 53)
  net.run(0.1)
  assert.equal(peer.queue.length, 1)
  assert.equal(any.queue.length, 1)
})

test('UDP: the queue is bounded by SO_RCVBUF, and what is lost is counted', () => {
  const { net, b, udpA, udpB } = pair()
  const server = udpB.endpoint(false)
  server.bind(ip('0.0.0.0'), 53)
  const client = udpA.endpoint(false)
  for (let i = 0; i < 900; i++) {
    client.send(src('x'), ip('10.0.0.2'), 53)
    // The neighbour is found with the first.
    if (i === 0) net.run(0)
  }
  net.run(0.1)
  assert.equal(server.queue.length, 277, "as many as fit in 212,992 bytes of Linux's")
  assert.equal(server.drops, 900 - 277)
  assert.equal(b.counters.udp.RcvbufErrors, 900 - 277)
  while (next(server) !== '-11') assert.ok(server.queuedMemory >= 0)
  assert.equal(server.queuedMemory, 0)
})

test('UDP: broadcasts need SO_BROADCAST and reach everybody; multicasts reach who has joined', () => {
  const { net, a, b, udpA, udpB, links } = pair()
  const client = udpA.endpoint(false)
  assert.equal(client.send(src('all'), ip('10.0.0.255'), 53), -13)
  client.broadcast = true
  const servers = [0, 1].map(() => Object.assign(udpB.endpoint(false), { reuseAddress: true }))
  for (const server of servers) server.bind(ip('0.0.0.0'), 53)
  assert.equal(client.send(src('all'), ip('10.0.0.255'), 53), 3)
  net.run(0.1)
  assert.deepEqual(
    servers.map(server => next(server).slice(0, 3)),
    ['all', 'all'],
  )
  const group = ip('239.1.1.1')
  client.flow.multicastDevice = links[0].index
  client.send(src('nobody'), group, 53)
  net.run(0.1)
  const membership = b.multicast.join(links[1], group)
  assert.ok(typeof membership !== 'number')
  servers[0].memberships.push(membership)
  servers[1].multicastAll = false
  client.send(src('group'), group, 53)
  net.run(0.1)
  assert.deepEqual(
    servers.map(server => next(server).slice(0, 5)),
    ['group', '-11'],
  )
  const own = a.multicast.join(links[0], group)
  assert.ok(typeof own !== 'number')
  const listener = udpA.endpoint(false)
  listener.bind(ip('0.0.0.0'), 53)
  listener.memberships.push(own)
  client.send(src('looped'), group, 53)
  net.run(0.1)
  assert.equal(next(listener).slice(0, 6), 'looped')
  client.flow.multicastLoop = false
  client.send(src('unlooped'), group, 53)
  net.run(0.1)
  assert.equal(next(listener), '-11')
})

test('UDP: a group of interface-local scope is heard by this machine, and by no other', () => {
  const { net, a, b, udpA, udpB, links } = pair()
  const group = ip('ff01::114')
  const listeners = [udpA.endpoint(true), udpB.endpoint(true)]
  listeners.forEach((listener, i) => {
    assert.equal(listener.bind(ip('::'), 53), 0)
    const membership = (i === 0 ? a : b).multicast.join(links[i], group)
    assert.ok(typeof membership !== 'number')
    listener.memberships.push(membership)
  })
  udpA.endpoint(true).send(src('scope 1'), group, 53)
  net.run(0.1)
  assert.deepEqual(
    listeners.map(listener => next(listener).slice(0, 7)),
    ['scope 1', '-11'],
  )
})

test('UDP: MSG_MORE collects one datagram, UDP_SEGMENT makes many', () => {
  const { net, udpA, udpB, links } = pair()
  const server = udpB.endpoint(false)
  server.bind(ip('0.0.0.0'), 53)
  const client = udpA.endpoint(false)
  client.bind(ip('0.0.0.0'), 4000)
  client.connect(ip('10.0.0.2'), 53)
  client.send(src('ab'), undefined, 0, {}, true)
  client.send(src('cd'), undefined, 0, {}, true)
  client.send(src('ef'))
  net.run(0.1)
  assert.equal(next(server), 'abcdef from 10.0.0.1:4000')
  for (const able of [true, false]) {
    links[0].features.udpSegmentation = able
    client.send(src('0123456789'), undefined, 0, { segment: 4 })
    net.run(0.1)
    assert.deepEqual(
      [next(server), next(server), next(server)].map(text => text.split(' ')[0]),
      ['0123', '4567', '89'],
    )
  }
  links[0].features.udpSegmentation = true
  server.gro = true
  client.send(src('0123456789'), undefined, 0, { segment: 4 })
  net.run(0.1)
  assert.equal(next(server).split(' ')[0], '0123456789')
  assert.equal(client.send(src('0123456789'), undefined, 0, { segment: 2000 }), 10)
  assert.equal(client.send(new BufferSrc(new Uint8Array(4000)), undefined, 0, { segment: 2000 }), -22)
})

test('UDP: nothing is left of closed endpoints', () => {
  const { net, b, udpA, udpB, links } = pair()
  const server = udpB.endpoint(false)
  server.bind(ip('0.0.0.0'), 53)
  const membership = b.multicast.join(links[1], ip('239.1.1.1'))
  assert.ok(typeof membership !== 'number')
  server.memberships.push(membership)
  udpA.endpoint(false).send(src('x'), ip('10.0.0.2'), 53)
  net.run(0.1)
  server.close()
  assert.equal([...udpB.endpoints()].length, 0)
  assert.equal(b.multicast.group(links[1], ip('239.1.1.1')), undefined)
  assert.equal(server.queue.length, 0)
})
