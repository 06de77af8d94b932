import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BufferSrc } from '../../base/io.ts'
import { IpAddress } from '../address.ts'
import { addAddress, addRoute, TestNet } from '../ip/testing.ts'
import type { IpStack } from '../ip-stack.ts'
import { CHECKSUM_PARTIAL, GSO_TCPV4, type Packet } from '../packet.ts'
import type { UdpEndpoint } from '../udp/endpoint.ts'
import { UdpProtocol } from '../udp/protocol.ts'
import { BridgeDevice } from './bridge.ts'
import type { NetDevice } from './device.ts'
import { randomMac, vethPair } from './veth.ts'

/** What Docker builds: a bridge with an address, and three namespaces behind veth pairs. */
function bridged(): {
  net: TestNet
  host: IpStack
  bridge: BridgeDevice
  guests: IpStack[]
  ports: NetDevice[]
} {
  const net = new TestNet(8)
  const host = net.stack()
  const bridge = new BridgeDevice('br0', randomMac(net.runtime.random))
  host.devices.register(bridge)
  addAddress(host, bridge, '172.17.0.1/16')
  host.devices.setUp(bridge, true)
  const ports: NetDevice[] = []
  const guests = [2, 3, 4].map(last => {
    const guest = net.stack()
    const [inside, outside] = vethPair(net.runtime.random, 'eth0', 'veth%d')
    guest.devices.register(inside)
    host.devices.register(outside)
    addAddress(guest, inside, `172.17.0.${last}/16`)
    guest.devices.setUp(inside, true)
    host.devices.setUp(outside, true)
    assert.equal(bridge.addPort(outside), 0)
    addRoute(guest, '0.0.0.0/0', inside, '172.17.0.1')
    ports.push(outside)
    return guest
  })
  net.run(5)
  return { net, host, bridge, guests, ports }
}

function listen(stack: IpStack): UdpEndpoint {
  const endpoint = new UdpProtocol(stack).endpoint(false)
  endpoint.bind(IpAddress.of('0.0.0.0'), 53)
  return endpoint
}

const text = (): BufferSrc => new BufferSrc(Uint8Array.of(104, 105))

test('bridge: ports talk to each other and to the bridge; frames for one port are not seen by others', () => {
  const { net, host, bridge, guests, ports } = bridged()
  const servers = [host, ...guests].map(listen)
  const client = servers[1]
  assert.equal(client.send(text(), IpAddress.of('172.17.0.3'), 53), 2)
  assert.equal(client.send(text(), IpAddress.of('172.17.0.1'), 53), 2)
  net.run(1)
  assert.deepEqual(
    servers.map(server => server.queue.length),
    [1, 0, 1, 0],
  )
  const before = ports[2].statistics.txPackets
  client.send(text(), IpAddress.of('172.17.0.3'), 53)
  net.run(0)
  assert.equal(ports[2].statistics.txPackets, before)
  assert.ok([...bridge.learned()].length >= 2)
})

test('bridge: it routes for its ports, and forgets who has left', () => {
  const { net, host, bridge, guests, ports } = bridged()
  const outside = net.stack()
  const [up] = net.join(host, outside, ['198.51.100.1/24'], ['198.51.100.2/24'])
  addRoute(outside, '172.17.0.0/16', [...outside.devices.all][1], '198.51.100.1')
  host.sysctls.setForwarding(1, [bridge.index, up.index])
  const server = listen(outside)
  const client = listen(guests[0])
  client.send(text(), IpAddress.of('198.51.100.2'), 53)
  net.run(1)
  assert.equal(server.queue.length, 1)
  host.devices.unregister(ports[0])
  assert.deepEqual(
    bridge.ports.map(port => port.device),
    ports.slice(1),
  )
  assert.ok([...bridge.learned()].every(([, entry]) => entry.port.device !== ports[0]))
  client.send(text(), IpAddress.of('198.51.100.2'), 53)
  net.run(5)
  assert.equal(server.queue.length, 1)
})

test('bridge: what it refuses as a port', () => {
  const { host, bridge, ports } = bridged()
  assert.equal(bridge.addPort(host.loopback!), -22)
  assert.equal(bridge.addPort(ports[0]), -16)
  assert.equal(bridge.addPort(bridge), -40)
})

test('links: a veth pair has a carrier while both ends are up, and ends as one', () => {
  const net = new TestNet(1)
  const a = net.stack()
  const b = net.stack()
  const [one, other] = net.join(a, b, ['10.0.0.1/24'], ['10.0.0.2/24'])
  assert.ok(one.running && other.running)
  b.devices.setUp(other, false)
  assert.ok(one.up && !one.running)
  a.devices.unregister(one)
  one.close()
  assert.equal(other.stack, undefined)
  assert.equal(b.devices.byName('eth0'), undefined)
})

test('links: a packet that is to be split crosses a veth pair whole, and is split for who can not', () => {
  for (const able of [true, false]) {
    const net = new TestNet(1)
    const a = net.stack()
    const b = net.stack()
    const [link] = net.join(a, b, ['10.0.0.1/24'], ['10.0.0.2/24'])
    net.run(3)
    link.features.segmentation = able
    const seen: { length: number; sequence: number; flags: number; right: boolean }[] = []
    b.protocols[6] = {
      receive: (packet: Packet) => {
        packet.completeChecksum()
        const { view, transport } = packet
        seen.push({
          length: packet.end - transport - 20,
          sequence: view.getUint32(transport + 4),
          flags: view.getUint8(transport + 13),
          right: true,
        })
        packet.release()
      },
      error: () => {},
    }
    const packet = a.packets.allocate(5020)
    const at = packet.append(5020)
    packet.bytes.fill(0, at, packet.end)
    packet.view.setUint32(at + 4, 0xfffffff0)
    packet.view.setUint8(at + 12, 0x50)
    packet.view.setUint8(at + 13, 0x99)
    packet.checksum = CHECKSUM_PARTIAL
    packet.checksumStart = at
    packet.checksumOffset = 16
    packet.gsoType = GSO_TCPV4
    packet.gsoSize = 1460
    const endpoint = new UdpProtocol(a).endpoint(false)
    endpoint.flow.protocol = 6
    endpoint.flow.destination = IpAddress.of('10.0.0.2')
    assert.equal(a.ip.send(packet, endpoint.flow), 0)
    net.run(1)
    const lengths = able ? [5000] : [1460, 1460, 1460, 620]
    assert.deepEqual(
      seen.map(each => each.length),
      lengths,
    )
    if (able) continue
    assert.deepEqual(
      seen.map(each => each.sequence),
      [0xfffffff0, 1444, 2904, 4364],
    )
    assert.deepEqual(
      seen.map(each => each.flags),
      [0x90, 0x10, 0x10, 0x19],
    )
  }
})

test('bridge: it has a carrier while one of its ports has one, and nobody knows before there are ports', () => {
  const net = new TestNet(9)
  const stack = net.stack()
  const bridge = new BridgeDevice('br0', randomMac(net.runtime.random))
  stack.devices.register(bridge)
  stack.devices.setUp(bridge, true)
  assert.ok(bridge.running && !bridge.carrierKnown)
  const [port, other] = vethPair(net.runtime.random, 'a', 'b')
  stack.devices.register(port)
  stack.devices.register(other)
  stack.devices.setUp(port, true)
  assert.equal(bridge.addPort(port), 0)
  assert.ok(!bridge.running && bridge.carrierKnown, 'the other end of the cable is down')
  stack.devices.setUp(other, true)
  assert.ok(bridge.running)
  stack.devices.setUp(port, false)
  assert.ok(!bridge.running)
  stack.devices.setUp(port, true)
  bridge.removePort(port)
  assert.ok(!bridge.running, 'without ports')
})
