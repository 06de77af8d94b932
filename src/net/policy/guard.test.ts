import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EACCES, EHOSTUNREACH, EPERM } from '../../abi/errno.ts'
import { BufferSrc } from '../../base/io.ts'
import { IpAddress } from '../address.ts'
import { StackNetwork } from '../inet/stack-network.ts'
import { addRoute, ethernet, ipv4, ipv6, type RecorderDevice, TestNet, udp } from '../ip/testing.ts'
import type { IpStack } from '../ip-stack.ts'
import { TcpEndpoint } from '../tcp/endpoint.ts'
import { TcpProtocol } from '../tcp/protocol.ts'
import type { UdpEndpoint } from '../udp/endpoint.ts'
import { UdpProtocol } from '../udp/protocol.ts'
import type { NewFlow, Verdict } from './flow.ts'
import { FlowTable } from './flow-table.ts'
import { FlowGuard } from './guard.ts'

const OWN = '192.0.2.1'
const OWN_V6 = '2001:db8::1'
const PEER = '198.51.100.7'
const PEER_V6 = '2001:db8:1::7'
const RESOLVER = '192.0.2.53'

class World {
  readonly net = new TestNet(5)
  readonly stack: IpStack
  readonly device: RecorderDevice
  readonly tcp: TcpProtocol
  readonly udp: UdpProtocol
  readonly guard: FlowGuard
  readonly asked: NewFlow[] = []
  readonly refused: NewFlow[] = []
  verdict: (flow: NewFlow) => Verdict = () => 'allow'

  constructor() {
    this.stack = this.net.stack()
    this.device = this.net.recorder(this.stack, `${OWN}/24`, `${OWN_V6}/64`)
    // Without a link header there is nobody to be asked for.
    this.device.headerLength = 0
    addRoute(this.stack, '0.0.0.0/0', this.device)
    addRoute(this.stack, '::/0', this.device)
    this.tcp = new TcpProtocol(new StackNetwork(this.stack))
    this.stack.protocols[6] = this.tcp
    this.udp = new UdpProtocol(this.stack)
    this.guard = new FlowGuard(this.net.runtime, {
      onFlow: flow => {
        this.asked.push(flow)
        return this.verdict(flow)
      },
      onQuestion: name => (name === 'good' ? 'allow' : 'deny'),
      resolvers: [IpAddress.of(RESOLVER)],
      refused: flow => this.refused.push(flow),
    })
    this.net.run(5)
    this.device.take()
    this.device.guard = this.guard
  }

  connect(address: string, port = 80): TcpEndpoint {
    const endpoint = new TcpEndpoint(this.tcp)
    assert.equal(endpoint.connect(IpAddress.of(address), port), 0)
    this.net.run(0)
    return endpoint
  }
  socket(address: string, port: number): UdpEndpoint {
    const endpoint = this.udp.endpoint(address.includes(':'))
    assert.equal(endpoint.connect(IpAddress.of(address), port), 0)
    return endpoint
  }
  send(endpoint: UdpEndpoint, length = 1): number {
    const status = endpoint.send(new BufferSrc(new Uint8Array(length)))
    this.net.run(0)
    return status
  }
  /** From outside. */
  arrives(packet: Uint8Array): void {
    const received = this.stack.packets.allocate(packet.length, 64)
    received.bytes.set(packet, received.append(packet.length))
    received.networkProtocol = packet[0] >> 4 === 4 ? 0x800 : 0x86dd
    this.stack.receive(this.device, received)
    this.net.run(0)
  }
}

test('guard: a connection that is denied is refused at once, and nothing of it leaves', () => {
  const world = new World()
  world.verdict = () => 'deny'
  assert.equal(world.connect(PEER).error, EHOSTUNREACH)
  assert.equal(world.connect(PEER_V6).error, EACCES)
  assert.equal(world.send(world.socket(PEER, 53)), -EPERM)
  assert.deepEqual(world.device.take(), [])
  assert.deepEqual(
    world.refused.map(
      ({ protocol, destination, destinationPort }) => `${protocol} ${destination} ${destinationPort}`,
    ),
    [`6 ${PEER} 80`, `6 ${PEER_V6} 80`, `17 ${PEER} 53`],
  )
})

test('guard: a flow is decided on once, and anew when it was quiet for long', () => {
  const world = new World()
  const endpoint = world.socket(PEER, 53)
  for (let i = 0; i < 5; i++) world.send(endpoint)
  assert.equal(world.asked.length, 1)
  assert.equal(world.device.take().length, 5)
  world.net.run(200)
  world.send(endpoint)
  assert.equal(world.asked.length, 2)
  world.verdict = () => 'deny'
  assert.equal(world.send(endpoint), 1, 'what goes on goes on')
  assert.equal(world.send(world.socket(PEER, 54)), -EPERM)
})

test('guard: who has spoken to the guest is answered, from and to the same ports only', () => {
  const world = new World()
  world.verdict = () => 'deny'
  const server = world.udp.endpoint(false)
  server.bind(IpAddress.of(OWN), 5000)
  world.arrives(ipv4(PEER, OWN, 17, udp(PEER, OWN, 4000, 5000, new Uint8Array(1))))
  assert.equal(server.send(new BufferSrc(new Uint8Array(1)), IpAddress.of(PEER), 4000), 1)
  assert.equal(server.send(new BufferSrc(new Uint8Array(1)), IpAddress.of(PEER), 4001), -EPERM)
  world.device.take()
  // A port on which nobody listens: the ICMP error is an answer, too.
  world.arrives(ipv4(PEER, OWN, 17, udp(PEER, OWN, 4000, 6000, new Uint8Array(1))))
  assert.deepEqual(
    world.device.take().map(packet => [packet[9], packet[20]]),
    [[1, 3]],
  )
})

test('guard: all pieces of a datagram that may go do, and pieces of none do not', () => {
  for (const address of [PEER, PEER_V6]) {
    const world = new World()
    assert.equal(world.send(world.socket(address, 53), 4000), 4000)
    assert.equal(world.device.take().length, 3)
    assert.equal(world.asked.length, 1)
    world.verdict = () => 'deny'
    world.send(world.socket(address, 54), 4000)
    assert.deepEqual(world.device.take(), [])
  }
})

test('guard: neighbours and groups are the link’s own business; what is no IP does not leave', () => {
  const world = new World()
  world.verdict = () => 'deny'
  const frame = (type: number, payload: Uint8Array): boolean => {
    const bytes = ethernet(new Uint8Array(6), type, payload)
    world.device.headerLength = 14
    const packet = world.stack.packets.allocate(bytes.length)
    packet.bytes.set(bytes, packet.append(bytes.length))
    return world.guard.leaves(world.device, packet)
  }
  assert.ok(frame(0x806, new Uint8Array(28)))
  const solicitation = Uint8Array.of(135, 0, 0, 0, 0, 0, 0, 0)
  assert.ok(frame(0x86dd, ipv6(OWN_V6, 'ff02::1', 58, solicitation)))
  assert.equal(frame(0x88cc, new Uint8Array(40)), false)
  assert.equal(frame(0x800, new Uint8Array(3)), false)
  assert.equal(frame(0x8100, new Uint8Array(40)), false)
})

test('guard: names are those that the resolver has given, to a question of the guest’s', () => {
  const world = new World()
  const answer = Uint8Array.from([
    ...[0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0],
    ...[1, 97, 4, ...Buffer.from('test'), 0, 0, 1, 0, 1],
    ...[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, ...IpAddress.of(PEER).bytes()],
  ])
  const reply = (from: string, port: number): void =>
    world.arrives(ipv4(from, OWN, 17, udp(from, OWN, 53, port, answer)))
  const namesOf = (): readonly string[] => {
    world.connect(PEER)
    return world.asked.at(-1)!.names
  }
  reply(RESOLVER, 7777)
  assert.deepEqual(namesOf(), [], 'nobody has asked')
  const other = world.socket(PEER, 53)
  world.send(other)
  reply(PEER, other.localPort)
  assert.deepEqual(namesOf(), [], 'that was no resolver')
  const endpoint = world.socket(RESOLVER, 53)
  world.send(endpoint)
  reply(RESOLVER, endpoint.localPort)
  assert.deepEqual(namesOf(), ['a.test'])
})

test('guard: of the resolver’s port only questions that may be asked are let through', () => {
  const world = new World()
  world.verdict = () => 'deny'
  const question = (label: string, flags = 1): Uint8Array =>
    Uint8Array.from([
      0,
      1,
      flags,
      0,
      0,
      1,
      0,
      0,
      0,
      0,
      0,
      0,
      label.length,
      ...Buffer.from(label),
      0,
      0,
      1,
      0,
      1,
    ])
  const resolver = world.socket(RESOLVER, 53)
  const ask = (bytes: Uint8Array): number => {
    const status = resolver.send(new BufferSrc(bytes))
    world.net.run(0)
    // The error that ICMP has brought.
    resolver.takeError()
    return status
  }
  assert.equal(ask(question('good')), question('good').length)
  assert.equal(ask(question('evil')), -EPERM, 'also from the same port')
  assert.equal(ask(question('good', 0x85)), -EPERM, 'no question')
  assert.equal(ask(new Uint8Array(40)), -EPERM)
  assert.ok(ask(Uint8Array.from([...question('good'), ...new Uint8Array(3000)])) !== 0)
  assert.equal(world.device.take().length, 1)
  assert.equal(world.refused[0].question, 'evil')
})

test('guard: a loopback device is held to the policy as well', () => {
  const world = new World()
  world.stack.loopback!.guard = world.guard
  world.verdict = flow => (flow.local && flow.destinationPort === 22 ? 'deny' : 'allow')
  assert.equal(world.connect('127.0.0.1', 22).error, EHOSTUNREACH)
  const server = new TcpEndpoint(world.tcp)
  server.bind(IpAddress.of('127.0.0.1'), 80)
  server.listen(1)
  world.connect('127.0.0.1', 80)
  assert.ok(server.accept() !== undefined)
})

test('flow table: it forgets the quietest of those that share a place, and takes no more memory', () => {
  const table = new FlowTable(1)
  const address = (word: number): Uint32Array => Uint32Array.of(0, 0, 0xffff, word)
  for (let i = 0; i < 100_000; i++) table.add(address(1), address(i), 1, 2, 6, Math.floor(i / 1000))
  let known = 0
  for (let i = 0; i < 100_000; i++) if (table.find(address(1), address(i), 1, 2, 6) >= 0) known++
  assert.equal(known, 8192)
  assert.ok(table.find(address(1), address(99_999), 1, 2, 6) >= 0)
  assert.equal(table.find(address(1), address(99_999), 2, 1, 6), -1)
})
