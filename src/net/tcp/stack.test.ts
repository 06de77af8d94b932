/** TCP over the stack itself: loopback and veth, both versions of IP, path MTU. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TCP_CLOSE, TCP_ESTABLISHED } from '../../abi/constants.ts'
import { ECONNREFUSED } from '../../abi/errno.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import { IpAddress, V4_ANY, V6_ANY } from '../address.ts'
import { StackNetwork } from '../inet/stack-network.ts'
import { addRoute, TestNet } from '../ip/testing.ts'
import type { IpStack } from '../ip-stack.ts'
import { TcpEndpoint } from './endpoint.ts'
import { TcpProtocol } from './protocol.ts'
import { IPPROTO_TCP } from './segment.ts'

function pass(net: TestNet, client: TcpEndpoint, listener: TcpEndpoint, size: number): TcpEndpoint {
  net.run(3)
  assert.equal(client.state, TCP_ESTABLISHED)
  const server = listener.accept()!
  const bytes = Uint8Array.from({ length: size }, (_, i) => (i * 7 + (i >> 8)) & 0xff)
  let sent = 0
  let got = 0
  const into = new Uint8Array(size)
  for (let i = 0; i < 10_000 && got < size; i++) {
    const n = sent < size ? client.send(new BufferSrc(bytes.subarray(sent)), 0) : 0
    if (n > 0) sent += n
    net.run(0.001)
    const m = server.receive(new BufferDst(into.subarray(got)), 0)
    if (m > 0) got += m
  }
  assert.deepEqual(into, bytes)
  return server
}

function installTcp(stack: IpStack): TcpProtocol {
  const tcp = new TcpProtocol(new StackNetwork(stack))
  stack.protocols[IPPROTO_TCP] = tcp
  return tcp
}

function listenOn(tcp: TcpProtocol, address: IpAddress): TcpEndpoint {
  const listener = new TcpEndpoint(tcp)
  assert.equal(listener.bind(address, 80), 0)
  assert.equal(listener.listen(5), 0)
  return listener
}

for (const [name, any, address] of [
  ['IPv4', V4_ANY, '127.0.0.1'],
  ['IPv6', V6_ANY, '::1'],
  ['IPv4 to a listener of IPv6', V6_ANY, '127.0.0.1'],
] as const) {
  test(`tcp: over loopback, ${name}`, () => {
    const net = new TestNet()
    const tcp = installTcp(net.stack())
    const listener = listenOn(tcp, any)
    const client = new TcpEndpoint(tcp)
    assert.equal(client.connect(IpAddress.of(address), 80), 0)
    const server = pass(net, client, listener, 1_000_000)
    // A 64 KiB packet is one segment here.
    assert.ok(server.connection!.dataSegmentsIn < 60)
    client.close()
    net.run(0.1)
    server.close()
    net.run(0.1)
    assert.equal(tcp.timeWaits, 1)
    listener.close()
    net.run(61)
    assert.equal(tcp.table.size, 0)
  })
}

for (const [name, from, to] of [
  ['IPv4', '10.0.0.1/24', '10.0.0.2/24'],
  ['IPv6', 'fd00::1/64', 'fd00::2/64'],
] as const) {
  test(`tcp: over a veth pair, ${name}`, () => {
    const net = new TestNet()
    const one = net.stack()
    const other = net.stack()
    net.join(one, other, [from], [to])
    const here = installTcp(one)
    const listener = listenOn(installTcp(other), IpAddress.of(to.split('/')[0]))
    const client = new TcpEndpoint(here)
    assert.equal(client.connect(listener.localAddress, 80), 0)
    pass(net, client, listener, 300_000)
  })
}

test('tcp: a namespace that ends takes connections in every state with it', () => {
  const net = new TestNet()
  const tcp = installTcp(net.stack())
  const listener = listenOn(tcp, V4_ANY)
  const clients = [1, 2, 3].map(() => new TcpEndpoint(tcp))
  for (const client of clients) assert.equal(client.connect(IpAddress.of('127.0.0.1'), 80), 0)
  net.run(0.1)
  clients[0].close()
  net.run(0.1)
  listener.accept()!.close()
  net.run(0.1)
  assert.ok(tcp.timeWaits > 0)
  listener.close()
  for (const client of clients) client.close()
  tcp.close()
  assert.equal(tcp.table.size, 0)
  assert.equal(tcp.memory.allocated, 0)
})

test('tcp: a port can connect to itself, by a simultaneous open', () => {
  const net = new TestNet()
  const self = new TcpEndpoint(installTcp(net.stack()))
  const address = IpAddress.of('127.0.0.1')
  assert.equal(self.bind(address, 4000), 0)
  assert.equal(self.connect(address, 4000), 0)
  net.run(0.1)
  assert.equal(self.state, TCP_ESTABLISHED)
  assert.equal(self.send(new BufferSrc(new Uint8Array(10)), 0), 10)
  net.run(0.1)
  assert.equal(self.receive(new BufferDst(new Uint8Array(20)), 0), 10)
})

test('tcp: a closed port refuses over loopback', () => {
  const net = new TestNet()
  const client = new TcpEndpoint(installTcp(net.stack()))
  assert.equal(client.connect(IpAddress.of('127.0.0.1'), 9), 0)
  net.run(0)
  assert.equal(client.state, TCP_CLOSE)
  assert.equal(client.takeError(), -ECONNREFUSED)
})

test('tcp: through a router with a narrow link behind it, by path MTU discovery', () => {
  const net = new TestNet()
  const left: IpStack = net.stack()
  const router = net.stack()
  const right = net.stack()
  const [leftLink] = net.join(left, router, ['10.1.0.1/24'], ['10.1.0.254/24'])
  const [narrow, rightLink] = net.join(router, right, ['10.2.0.254/24'], ['10.2.0.1/24'])
  addRoute(left, '10.2.0.0/24', leftLink, '10.1.0.254')
  addRoute(right, '10.1.0.0/24', rightLink, '10.2.0.254')
  router.sysctls.setForwarding(1, [1, 2, 3])
  narrow.mtu = 900
  const listener = listenOn(installTcp(right), V4_ANY)
  const client = new TcpEndpoint(installTcp(left))
  assert.equal(client.connect(IpAddress.of('10.2.0.1'), 80), 0)
  pass(net, client, listener, 200_000)
  assert.ok(client.connection!.pmtu <= 900, String(client.connection!.pmtu))
})
