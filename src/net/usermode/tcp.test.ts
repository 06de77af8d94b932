import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AF_INET, AF_INET6, IPPROTO_TCP, TCP_ESTABLISHED, TCP_SYN_SENT } from '../../abi/constants.ts'
import {
  EACCES,
  ECONNREFUSED,
  ECONNRESET,
  EHOSTUNREACH,
  EMFILE,
  ENETUNREACH,
  ETIMEDOUT,
} from '../../abi/errno.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import { IpAddress } from '../address.ts'
import { socketAddress } from '../inet/address.ts'
import { TcpEndpoint } from '../tcp/endpoint.ts'
import { SEND_SHUTDOWN } from '../tcp/shutdown.ts'
import { USER_V4, USER_V6 } from './addresses.ts'
import { PublishedTcpPort } from './publish.ts'
import { type TestUserNetwork, userNetwork } from './testing.ts'

const THERE = '198.51.100.7'

function connect({ net, tcp }: TestUserNetwork, address: string, port = 80): TcpEndpoint {
  const endpoint = new TcpEndpoint(tcp)
  assert.equal(endpoint.connect(IpAddress.of(address), port), 0)
  net.run(0)
  return endpoint
}

/** A connection that stands on both sides. */
function connected(world: TestUserNetwork) {
  const endpoint = connect(world, THERE)
  const socket = world.outside.last
  socket.open()
  socket.connected()
  world.net.run(0)
  assert.equal(endpoint.state, TCP_ESTABLISHED)
  return { endpoint, socket }
}

function send(endpoint: TcpEndpoint, bytes: Uint8Array | string): number {
  return endpoint.send(new BufferSrc(Buffer.from(bytes)), 0)
}
function receive(endpoint: TcpEndpoint, most = 1 << 20): Buffer | number {
  const dst = new BufferDst(new Uint8Array(most))
  const count = endpoint.receive(dst, 0)
  return count > 0 ? Buffer.from(dst.bytes.subarray(0, count)) : count
}

test('user TCP: the guest is answered when the outside has answered, and not before', () => {
  const world = userNetwork()
  const endpoint = connect(world, THERE, 8080)
  assert.equal(endpoint.state, TCP_SYN_SENT)
  const socket = world.outside.last
  assert.deepEqual([socket.protocol, socket.address, socket.port], [IPPROTO_TCP, THERE, 8080])
  socket.open()
  world.net.run(2)
  assert.equal(endpoint.state, TCP_SYN_SENT)
  assert.equal(world.outside.made.length, 1, 'a SYN that is sent again asks for nothing new')
  socket.connected()
  world.net.run(0)
  assert.equal(endpoint.state, TCP_ESTABLISHED)
})

test('user TCP: bytes go both ways, IPv6 too, and each side ends by itself', () => {
  const world = userNetwork()
  for (const address of [THERE, '2001:db8::7']) {
    const endpoint = connect(world, address)
    const socket = world.outside.last
    assert.equal(socket.address, address)
    socket.open()
    socket.connected()
    world.net.run(0)
    send(endpoint, 'question')
    world.net.run(0)
    assert.equal(socket.text, 'question')
    endpoint.shutdown(SEND_SHUTDOWN)
    world.net.run(0)
    assert.ok(socket.ended && !socket.closed)
    socket.receive('answer')
    world.net.run(0)
    assert.equal(String(receive(endpoint)), 'answer')
    socket.receive(0)
    world.net.run(0)
    assert.equal(receive(endpoint), 0)
    assert.ok(socket.closed && !socket.reset)
  }
  assert.equal(world.gateway.tcp.connections, 0)
})

test('user TCP: what the outside says is what the guest hears', () => {
  const errors: [number, number][] = [
    [ECONNREFUSED, ECONNREFUSED],
    [EHOSTUNREACH, EHOSTUNREACH],
    [ENETUNREACH, ENETUNREACH],
    [EACCES, EHOSTUNREACH],
  ]
  for (const [outside, inside] of errors) {
    const world = userNetwork()
    const endpoint = connect(world, THERE)
    world.outside.last.open()
    world.outside.last.connected(outside)
    world.net.run(0)
    assert.equal(endpoint.error, inside)
    assert.ok(world.outside.last.closed)
    // The same from the broker itself.
    world.outside.refuses = -outside
    const other = connect(world, THERE)
    assert.equal(other.error, inside)
    assert.equal(world.gateway.tcp.connections, 0)
  }
})

test('user TCP: nothing is said of failures that may pass, and the next SYN tries again', () => {
  for (const errno of [EMFILE, ETIMEDOUT]) {
    const world = userNetwork()
    const endpoint = connect(world, THERE)
    world.outside.last.open()
    world.outside.last.connected(errno)
    world.net.run(0)
    assert.equal(endpoint.state, TCP_SYN_SENT)
    world.net.run(2)
    assert.ok(world.outside.made.length > 1)
    assert.equal(endpoint.error, 0)
  }
})

test('user TCP: a slow outside holds the guest back, and a slow guest the outside', () => {
  const world = userNetwork()
  const { endpoint, socket } = connected(world)
  socket.room = 100_000
  const megabyte = new Uint8Array(1 << 20)
  let sent = 0
  for (let i = 0; i < 64; i++) {
    sent += Math.max(send(endpoint, megabyte), 0)
    world.net.run(0.01)
  }
  assert.equal(socket.bytes, 100_000)
  assert.ok(sent < 30 << 20, `${sent} bytes were taken`)
  socket.drain()
  world.net.run(5)
  assert.equal(socket.bytes, sent)
  for (let i = 0; i < 64; i++) socket.receive(megabyte)
  world.net.run(1)
  const left = socket.incoming.length
  assert.ok(left > 40, `${64 - left} MiB were read for a guest that reads nothing`)
  let got = 0
  for (let i = 0; i < 3000 && got < 64 << 20; i++) {
    const piece = receive(endpoint)
    if (typeof piece !== 'number') got += piece.length
    world.net.run(0.01)
  }
  assert.equal(got, 64 << 20)
})

test('user TCP: a reset of one side is one for the other', () => {
  const world = userNetwork()
  const first = connected(world)
  first.endpoint.close(true)
  world.net.run(0)
  assert.ok(first.socket.closed && first.socket.reset)
  const second = connected(world)
  second.socket.receive(-ECONNRESET)
  world.net.run(0)
  assert.equal(second.endpoint.error, ECONNRESET)
  assert.ok(second.socket.closed)
})

test('user TCP: what the outside has sent before it ended arrives, though the guest has ended too', () => {
  const world = userNetwork()
  const { endpoint, socket } = connected(world)
  socket.receive('all of it')
  socket.receive(0)
  send(endpoint, 'thanks')
  endpoint.shutdown(SEND_SHUTDOWN)
  world.net.run(1)
  assert.equal(String(receive(endpoint)), 'all of it')
  assert.equal(socket.text, 'thanks')
  assert.ok(socket.ended && socket.closed && !socket.reset)
})

test('user TCP: the caller’s loopback is reached only where that was asked for, and the link’s other addresses never', () => {
  const closed = userNetwork()
  assert.equal(connect(closed, USER_V4.gateway.toString()).error, ECONNREFUSED)
  assert.equal(connect(closed, USER_V6.gateway.toString()).error, ECONNREFUSED)
  assert.equal(connect(closed, USER_V4.resolver.toString(), 80).error, ECONNREFUSED)
  assert.equal(closed.outside.made.length, 0)
  const open = userNetwork({ hostLoopback: true })
  connect(open, USER_V4.gateway.toString())
  assert.equal(open.outside.last.address, '127.0.0.1')
  connect(open, USER_V6.gateway.toString())
  assert.equal(open.outside.last.address, '::1')
})

test('user TCP: a guest that forgets its handshake leaves nothing', () => {
  const world = userNetwork()
  const endpoint = connect(world, THERE)
  const socket = world.outside.last
  socket.open()
  endpoint.close(true)
  socket.connected()
  world.net.run(70)
  assert.ok(socket.closed)
  assert.equal(world.gateway.tcp.connections, 0)
})

test('user TCP: an IPv4 client of a published port is seen under its own address, others as the gateway', () => {
  const world = userNetwork()
  const listener = new TcpEndpoint(world.tcp)
  listener.bind(USER_V4.guest, 80)
  listener.listen(5)
  const port = world.outside.socket(IPPROTO_TCP)
  new PublishedTcpPort(world.gateway, port.fd, 80).start()
  const clients: [string, string][] = [
    ['198.51.100.9', '198.51.100.9'],
    ['127.0.0.1', USER_V4.gateway.toString()],
    ['10.0.2.100', USER_V4.gateway.toString()],
    ['2001:db8::9', USER_V4.gateway.toString()],
  ]
  for (const [address, seen] of clients) {
    const client = IpAddress.of(address)
    world.outside.message.address = socketAddress(client.isV4 ? AF_INET : AF_INET6, client, 4444)
    const socket = world.outside.socket(IPPROTO_TCP)
    port.accepted.push(socket)
    port.ready!(1)
    world.net.run(0)
    const endpoint = listener.accept()!
    assert.equal(endpoint.flow.destination.toString(), seen)
    assert.equal(endpoint.flow.destinationPort === 4444, seen === address)
    send(endpoint, 'hello')
    world.net.run(0)
    assert.equal(socket.text, 'hello')
  }
})

test('user TCP: a published port leads to the guest, as from the gateway', () => {
  const world = userNetwork()
  const listener = new TcpEndpoint(world.tcp)
  listener.bind(USER_V4.guest, 80)
  listener.listen(5)
  const port = world.outside.socket(IPPROTO_TCP)
  new PublishedTcpPort(world.gateway, port.fd, 80).start()
  const client = world.outside.socket(IPPROTO_TCP)
  port.accepted.push(client)
  port.ready!(1)
  world.net.run(0)
  const endpoint = listener.accept()!
  assert.ok(endpoint.flow.destination.equals(USER_V4.gateway))
  client.receive('hello')
  world.net.run(0)
  assert.equal(String(receive(endpoint)), 'hello')
  listener.close()
  const refused = world.outside.socket(IPPROTO_TCP)
  port.accepted.push(refused)
  port.ready!(1)
  world.net.run(0)
  assert.ok(refused.closed && refused.reset, 'nobody listens any more')
})
