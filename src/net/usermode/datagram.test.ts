import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  AF_INET,
  ICMP_ECHO,
  ICMP_ECHOREPLY,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_UDP,
} from '../../abi/constants.ts'
import { ECONNREFUSED, EHOSTUNREACH } from '../../abi/errno.ts'
import { BufferSrc } from '../../base/io.ts'
import { IpAddress } from '../address.ts'
import { socketAddress } from '../inet/address.ts'
import { Flow } from '../ip/flow.ts'
import { concat, icmp } from '../ip/testing.ts'
import type { Packet } from '../packet.ts'
import type { UdpEndpoint } from '../udp/endpoint.ts'
import { USER_V4, USER_V6 } from './addresses.ts'
import { PublishedUdpPort } from './publish.ts'
import { type TestUserNetwork, userNetwork } from './testing.ts'

const THERE = '198.51.100.7'

function speak(world: TestUserNetwork, address: string, port: number, text: string): UdpEndpoint {
  const endpoint = world.udp.endpoint(address.includes(':'))
  assert.equal(endpoint.connect(IpAddress.of(address), port), 0)
  say(world, endpoint, text)
  return endpoint
}
function say(world: TestUserNetwork, endpoint: UdpEndpoint, text: string): void {
  assert.equal(endpoint.send(new BufferSrc(Buffer.from(text))), text.length)
  world.net.run(0)
}
function hear(endpoint: UdpEndpoint): string | number {
  const packet = endpoint.receive(false)
  return typeof packet === 'number' ? packet : Buffer.from(packet.data()).toString()
}

test('user UDP: a flow has a socket of its own, for which its first datagrams wait', () => {
  for (const address of [THERE, '2001:db8::7']) {
    const world = userNetwork()
    const endpoint = speak(world, address, 53, 'one')
    say(world, endpoint, 'two')
    const socket = world.outside.last
    assert.deepEqual([socket.protocol, socket.address, socket.port], [IPPROTO_UDP, address, 53])
    socket.open()
    say(world, endpoint, 'three')
    assert.deepEqual(
      socket.sent.map(piece => Buffer.from(piece).toString()),
      ['one', 'two', 'three'],
    )
    socket.receive('answer')
    socket.receive(new Uint8Array(20000))
    world.net.run(0)
    assert.equal(hear(endpoint), 'answer')
    assert.equal((hear(endpoint) as string).length, 20000)
    assert.equal(world.outside.made.length, 1)
    speak(world, address, 54, 'another')
    assert.equal(world.outside.made.length, 2)
  }
})

test('user UDP: errors of the outside reach who has sent', () => {
  const world = userNetwork()
  const endpoint = speak(world, THERE, 9, 'x')
  world.outside.last.open()
  world.outside.last.receive(-ECONNREFUSED)
  world.net.run(0)
  assert.equal(hear(endpoint), -ECONNREFUSED)
  // Told by the next send(2).
  world.outside.last.incoming.push(-EHOSTUNREACH)
  endpoint.recvErr = true
  say(world, endpoint, 'y')
  assert.equal(hear(endpoint), -EHOSTUNREACH)
  assert.equal(world.outside.last.text, 'xy')
})

test('user UDP: a quiet flow ends, and a new one takes the place of the quietest where there are too many', () => {
  const world = userNetwork()
  speak(world, THERE, 9, 'x')
  const first = world.outside.last
  first.open()
  world.net.run(61)
  assert.ok(first.closed)
  for (let i = 0; i < 1025; i++) {
    speak(world, THERE, 1000 + i, 'x')
    world.outside.last.open()
    world.net.run(0.001)
  }
  assert.equal(world.outside.made.filter(socket => socket.closed).length, 2)
  assert.ok(world.outside.made[1].closed)
})

test('user UDP: questions go to the caller’s resolvers in turn, as long as they don’t answer', () => {
  const resolvers = ['127.0.0.53', '192.0.2.53'].map(text => IpAddress.of(text))
  const world = userNetwork({ resolvers })
  const resolver = USER_V4.resolver.toString()
  speak(world, resolver, 53, 'question')
  assert.equal(world.outside.last.address, '127.0.0.53')
  world.outside.last.open()
  world.net.run(11)
  const endpoint = speak(world, resolver, 53, 'question')
  assert.equal(world.outside.last.address, '192.0.2.53')
  world.outside.last.open()
  world.outside.last.receive('answer')
  world.net.run(11)
  assert.equal(hear(endpoint), 'answer')
  speak(world, USER_V6.resolver.toString(), 53, 'question')
  assert.equal(world.outside.last.address, '192.0.2.53')
  const other = speak(world, resolver, 54, 'what')
  assert.equal(hear(other), -ECONNREFUSED)
})

test('user UDP: a published port’s clients are told apart, and each gets its answers', () => {
  const world = userNetwork()
  const server = world.udp.endpoint(false)
  server.bind(USER_V4.guest, 53)
  const port = world.outside.socket(IPPROTO_UDP)
  new PublishedUdpPort(world.gateway, port.fd, 53).start()
  const ports = ['a', 'b', 'a'].map(client => {
    world.outside.message.address = Uint8Array.of(client.charCodeAt(0))
    port.receive(`from ${client}`)
    world.net.run(0)
    const packet = server.receive(false) as Packet
    return packet.view.getUint16(packet.transport)
  })
  assert.equal(ports[0], ports[2])
  assert.notEqual(ports[0], ports[1])
  server.send(new BufferSrc(Buffer.from('answer')), USER_V4.gateway, ports[1])
  world.net.run(0)
  assert.equal(port.text, 'answer')
  const client = IpAddress.of('198.51.100.9')
  world.outside.message.address = socketAddress(AF_INET, client, 4444)
  port.receive('from far')
  world.net.run(0)
  const packet = server.receive(false) as Packet
  assert.ok(packet.source.equals(client))
  server.send(new BufferSrc(Buffer.from(' for you')), client, 4444)
  world.net.run(0)
  assert.equal(port.text, 'answer for you')
  assert.equal(world.outside.made.length, 1, 'that was no flow of the guest’s')
})

test('user UDP: errors that fill a turn hide no datagram behind them', () => {
  const world = userNetwork()
  const server = world.udp.endpoint(false)
  server.bind(USER_V4.guest, 53)
  const port = world.outside.socket(IPPROTO_UDP)
  new PublishedUdpPort(world.gateway, port.fd, 53).start()
  const endpoint = speak(world, THERE, 4000, 'question')
  const flow = world.outside.last
  flow.open()
  world.outside.message.address = Uint8Array.of(1)
  for (const socket of [port, flow]) {
    socket.incoming.push(...Array<number>(64).fill(-EHOSTUNREACH))
    socket.receive('behind them')
  }
  world.net.run(0)
  assert.equal(hear(server), 'behind them')
  const heard = [hear(endpoint), hear(endpoint)]
  assert.ok(heard.includes('behind them'), String(heard))
})

test('user ping: the guest’s identifier comes back, whatever the outside’s was', () => {
  const world = userNetwork()
  const replies: Uint8Array[] = []
  world.guest.echo = { reply: packet => replies.push(packet.data().slice()), error: () => {} }
  const flow = new Flow()
  flow.protocol = IPPROTO_ICMP
  flow.destination = IpAddress.of(THERE)
  const request = icmp(ICMP_ECHO, 0, 0x12340001, Buffer.from('payload'))
  const packet = world.guest.packets.allocate(request.length)
  packet.bytes.set(request, packet.append(request.length))
  world.guest.ip.send(packet, flow)
  world.net.run(0)
  const socket = world.outside.last
  assert.deepEqual([socket.protocol, socket.address], [IPPROTO_ICMP, THERE])
  socket.open()
  assert.deepEqual(socket.sent[0], request)
  socket.receive(icmp(ICMP_ECHOREPLY, 0, 0x99990001, Buffer.from('payload')))
  // What is no answer is nothing for the guest.
  socket.receive(icmp(ICMP_ECHO, 0, 0x99990002, Buffer.from('payload')))
  world.net.run(0)
  assert.deepEqual(replies, [icmp(ICMP_ECHOREPLY, 0, 0x12340001, Buffer.from('payload'))])
})

test('user ping: the gateway answers for itself', () => {
  const world = userNetwork()
  let replies = 0
  world.guest.echo = { reply: () => replies++, error: () => {} }
  for (const [protocol, destination, type] of [
    [IPPROTO_ICMP, USER_V4.gateway, ICMP_ECHO],
    [IPPROTO_ICMPV6, USER_V6.gateway, 128],
  ] as const) {
    const flow = new Flow()
    flow.protocol = protocol
    flow.destination = destination
    if (protocol === IPPROTO_ICMP) flow.source = USER_V4.guest
    else flow.source = USER_V6.guest
    const bytes = concat([type, 0, 0, 0, 0, 1, 0, 1])
    const packet = world.guest.packets.allocate(bytes.length)
    packet.bytes.set(bytes, packet.append(bytes.length))
    if (protocol === IPPROTO_ICMPV6) world.guest.icmp6.send(packet, flow)
    else {
      packet.bytes.set(icmp(type, 0, 0x10001, new Uint8Array(0)), packet.start)
      world.guest.ip.send(packet, flow)
    }
    world.net.run(0)
  }
  assert.equal(replies, 2)
  assert.equal(world.outside.made.length, 0)
})
