import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BufferSrc } from '../base/io.ts'
import { IpAddress } from './address.ts'
import { addRoute, TestNet } from './ip/testing.ts'
import type { IpStack } from './ip-stack.ts'
import type { NetDevice } from './link/device.ts'
import { PACKET_HOST, PACKET_OUTGOING, type Packet } from './packet.ts'
import { UdpProtocol } from './udp/protocol.ts'

test('stack: once closed, it has no timers, no packets and no devices left', () => {
  const net = new TestNet(12)
  const a = net.stack()
  const b = net.stack()
  const [link] = net.join(a, b, ['10.0.0.1/24', '2001:db8::1/64'], ['10.0.0.2/24'])
  addRoute(a, '0.0.0.0/0', link, '10.0.0.2')
  a.multicast.join(link, IpAddress.of('239.1.1.1'))
  const endpoint = new UdpProtocol(a).endpoint(true)
  for (const to of ['10.0.0.2', '10.0.0.77', '2001:db8::9', '127.0.0.1', '239.1.1.1']) {
    endpoint.send(new BufferSrc(new Uint8Array(3000)), IpAddress.of(to), 9)
  }
  net.run(0.5)
  endpoint.close()
  a.close()
  b.close()
  net.runtime.backlog.drain()
  assert.equal(net.timers.next, Number.POSITIVE_INFINITY)
  assert.equal(net.runtime.packets.outstanding, 0)
  assert.equal(a.devices.count + b.devices.count, 0)
  assert.equal([...a.fib4.routes(), ...a.fib6.routes(), ...b.fib6.routes()].length, 0)
})

test('stack: a new namespace has nothing but a loopback device, and up gives it its addresses', () => {
  const net = new TestNet(1)
  const stack = net.stack()
  assert.deepEqual(
    [...stack.addresses.all()].map(entry => `${entry.address}/${entry.length}`),
    ['127.0.0.1/8', '::1/128'],
  )
  assert.equal(stack.loopback?.index, 1)
  assert.ok(stack.addresses.isLocal(IpAddress.of('::1')))
  stack.devices.setUp(stack.loopback!, false)
  const endpoint = new UdpProtocol(stack).endpoint(false)
  assert.equal(endpoint.send(new BufferSrc(new Uint8Array(1)), IpAddress.of('127.0.0.1'), 9), -101)
})

test('stack: what is sent over loopback comes in only after the sender has finished', () => {
  const net = new TestNet(1)
  const stack = net.stack()
  const protocol = new UdpProtocol(stack)
  const server = protocol.endpoint(false)
  server.bind(IpAddress.of('127.0.0.1'), 53)
  protocol.endpoint(false).send(new BufferSrc(new Uint8Array(1)), IpAddress.of('127.0.0.1'), 53)
  assert.equal(server.queue.length, 0)
  assert.equal(net.timers.next, net.clock.time, 'a timer sees to it if nobody else does')
  net.timers.expire(net.clock.time)
  assert.equal(server.queue.length, 1)
})

test('stack: taps see frames going out and coming in, with their headers', () => {
  const net = new TestNet(1)
  const stack = net.stack()
  const seen: string[] = []
  const tap = {
    seen: (device: NetDevice, packet: Packet) => {
      const kind =
        packet.type === PACKET_OUTGOING ? 'out' : packet.type === PACKET_HOST ? 'in' : `${packet.type}`
      seen.push(`${device.name} ${kind} ${packet.end - packet.link} ${packet.start - packet.link}`)
    },
  }
  stack.taps.push(tap)
  const endpoint = new UdpProtocol(stack).endpoint(false)
  endpoint.send(new BufferSrc(new Uint8Array(10)), IpAddress.of('127.0.0.1'), 53)
  net.run(0)
  assert.deepEqual(seen.slice(0, 2), ['lo out 52 0', 'lo in 52 14'])
})

test('stack: devices get the names and numbers that Linux gives', () => {
  const net = new TestNet(1)
  const stack: IpStack = net.stack()
  const one = net.recorder(stack)
  const two = net.recorder(stack)
  assert.deepEqual([one.name, one.index, two.name, two.index], ['eth0', 2, 'eth1', 3])
  assert.equal(stack.devices.rename(one, 'eth1'), -17)
  assert.equal(stack.devices.rename(one, 'a/b'), -22)
  assert.equal(stack.devices.rename(one, 'sixteen-letters-'), -22)
  assert.equal(stack.devices.rename(one, 'uplink'), 0)
  stack.devices.unregister(two)
  assert.equal(net.recorder(stack).name, 'eth0')
  assert.equal(stack.devices.byName('eth0')?.index, 4)
  assert.equal(stack.devices.setMtu(one, 60), -22)
})
