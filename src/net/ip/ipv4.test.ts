import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ETH_P_IP, IPPROTO_ICMP } from '../../abi/constants.ts'
import { BufferSrc } from '../../base/io.ts'
import { IpAddress } from '../address.ts'
import { sumBytes } from '../checksum.ts'
import type { IpStack } from '../ip-stack.ts'
import type { Packet } from '../packet.ts'
import { UdpProtocol } from '../udp/protocol.ts'
import { plainFlow } from './ipv4-output.ts'
import {
  addRoute,
  concat,
  ethernet,
  icmp,
  ipv4,
  PEER_MAC,
  type RecorderDevice,
  TestNet,
  udp,
} from './testing.ts'

/** One host with a link of which the test is the other side, 192.0.2.2, already known as a neighbour. */
function host(seed = 1): { net: TestNet; stack: IpStack; link: RecorderDevice } {
  const net = new TestNet(seed)
  const stack = net.stack()
  const link = net.recorder(stack, '192.0.2.1/24')
  stack.sysctls.ipv6Conf.of(link.index).disable_ipv6 = 1
  stack.ipv6Switched(link)
  stack.neighbours4.get(link, IpAddress.of('192.0.2.2'))!.update(PEER_MAC, 0x80)
  net.run(1)
  link.take()
  return { net, stack, link }
}

function inject(link: RecorderDevice, packet: Uint8Array): void {
  link.inject(ethernet(link.address, ETH_P_IP, packet))
}

const u16 = (bytes: Uint8Array, at: number): number => (bytes[at] << 8) | bytes[at + 1]
const pingTo = (destination: string, data: Uint8Array, more = {}): Uint8Array =>
  ipv4('192.0.2.2', destination, IPPROTO_ICMP, icmp(8, 0, 0x00010002, data), more)

test('IPv4: an echo request is answered with its data, a right checksum and our TTL', () => {
  const { link } = host()
  inject(link, pingTo('192.0.2.1', Uint8Array.of(1, 2, 3, 4, 5)))
  const [answer] = link.takeIp(ETH_P_IP)
  assert.equal(sumBytes(answer.subarray(0, 20)), 0xffff)
  assert.equal(answer[8], 64)
  assert.deepEqual([...answer.subarray(12, 20)], [192, 0, 2, 1, 192, 0, 2, 2])
  assert.equal(answer[20], 0)
  assert.deepEqual([...answer.subarray(24)], [0, 1, 0, 2, 1, 2, 3, 4, 5])
  assert.equal(sumBytes(answer.subarray(20)), 0xffff)
})

test('IPv4: packets with a wrong length, version, checksum or option are dropped and counted', () => {
  const { link, stack } = host()
  const good = pingTo('192.0.2.1', new Uint8Array(8))
  const spoil = (change: (bytes: Uint8Array) => void): void => {
    const bytes = good.slice()
    change(bytes)
    inject(link, bytes)
  }
  spoil(bytes => bytes.fill(0x65, 0, 1))
  spoil(bytes => bytes.fill(0x44, 0, 1))
  spoil(bytes => bytes.fill(0, 10, 12))
  inject(link, good.subarray(0, 19))
  inject(link, good.subarray(0, 30))
  assert.equal(link.take().length, 0)
  assert.equal(stack.counters.ip.InHdrErrors, 4)
  assert.equal(stack.counters.ipExt.InTruncatedPkts, 1)
  // A record route option without room for its pointer: RFC 1122 §3.2.1.8 has the sender told where the fault is.
  inject(link, pingTo('192.0.2.1', new Uint8Array(8), { options: Uint8Array.of(7, 9, 4, 0) }))
  const [problem] = link.takeIp(ETH_P_IP)
  assert.deepEqual([problem[20], problem[21], problem[24]], [12, 0, 21])
})

test('IPv4: source routes are refused', () => {
  const { link } = host()
  const options = Uint8Array.of(131, 7, 4, 192, 0, 2, 9, 0)
  inject(link, pingTo('192.0.2.1', new Uint8Array(8), { options }))
  assert.equal(link.take().length, 0)
})

test('IPv4: martian sources and destinations are dropped without an answer', () => {
  const { link, stack } = host()
  for (const source of ['127.0.0.1', '224.0.0.1', '255.255.255.255', '192.0.2.1', '0.1.2.3', '192.0.2.255']) {
    inject(link, ipv4(source, '192.0.2.1', IPPROTO_ICMP, icmp(8, 0, 0, new Uint8Array(8))))
  }
  for (const destination of ['127.0.0.1', '0.0.0.5', '203.0.113.1', '224.0.0.9']) {
    inject(link, pingTo(destination, new Uint8Array(8)))
  }
  assert.equal(link.take().length, 0)
  assert.equal(stack.counters.ip.InAddrErrors, 10)
})

test('IPv4: an unknown protocol is told, once per limit, and never about errors, fragments or groups', () => {
  const { link, net } = host()
  const unknown = (more = {}): Uint8Array => ipv4('192.0.2.2', '192.0.2.1', 200, new Uint8Array(16), more)
  inject(link, unknown())
  const [error] = link.takeIp(ETH_P_IP)
  assert.deepEqual([error[20], error[21]], [3, 2])
  assert.equal(error.length, 20 + 8 + 36)
  // RFC 1812 §4.3.2.8: bursts of six per destination, then one per second.
  for (let i = 0; i < 20; i++) inject(link, unknown())
  assert.equal(link.takeIp(ETH_P_IP).length, 5)
  net.run(1)
  for (let i = 0; i < 5; i++) inject(link, unknown())
  assert.equal(link.takeIp(ETH_P_IP).length, 1)
  net.run(30)
  link.take()
  inject(link, ipv4('192.0.2.2', '192.0.2.1', IPPROTO_ICMP, icmp(3, 1, 0, unknown())))
  inject(link, ipv4('192.0.2.2', '192.0.2.255', 200, new Uint8Array(16)))
  inject(link, ipv4('192.0.2.2', '224.0.0.1', 200, new Uint8Array(16)))
  assert.equal(link.take().length, 0)
})

test('IPv4: a host stays silent about packets for others, a router forwards them with a smaller TTL', () => {
  const { link, stack, net } = host()
  const other = net.recorder(stack, '198.51.100.1/24')
  stack.neighbours4.get(other, IpAddress.of('198.51.100.7'))!.update(PEER_MAC, 0x80)
  net.run(5)
  other.take()
  inject(link, pingTo('198.51.100.7', new Uint8Array(8)))
  assert.equal(other.takeIp(ETH_P_IP).length + link.takeIp(ETH_P_IP).length, 0)
  stack.sysctls.setForwarding(1, [link.index, other.index])
  inject(link, pingTo('198.51.100.7', new Uint8Array(8), { ttl: 9 }))
  const [forwarded] = other.takeIp(ETH_P_IP)
  assert.equal(forwarded[8], 8)
  assert.equal(sumBytes(forwarded.subarray(0, 20)), 0xffff)
  inject(link, pingTo('198.51.100.7', new Uint8Array(8), { ttl: 1 }))
  const [expired] = link.takeIp(ETH_P_IP)
  assert.deepEqual([expired[20], expired[21]], [11, 0])
  inject(link, pingTo('203.0.113.9', new Uint8Array(8)))
  const [unreachable] = link.takeIp(ETH_P_IP)
  assert.deepEqual([unreachable[20], unreachable[21]], [3, 0])
})

test('IPv4: a router fragments what may be fragmented, and says the MTU for what may not', () => {
  const { link, stack, net } = host()
  const narrow = net.recorder(stack, '198.51.100.1/24')
  stack.devices.setMtu(narrow, 576)
  stack.neighbours4.get(narrow, IpAddress.of('198.51.100.7'))!.update(PEER_MAC, 0x80)
  stack.sysctls.setForwarding(1, [link.index, narrow.index])
  net.run(5)
  narrow.take()
  const data = Uint8Array.from({ length: 1400 }, (_, i) => i)
  inject(link, pingTo('198.51.100.7', data))
  const pieces = narrow.takeIp(ETH_P_IP)
  assert.deepEqual(
    pieces.map(piece => [piece.length, u16(piece, 6)]),
    [
      [572, 0x2000],
      [572, 0x2000 + 69],
      [324, 138],
    ],
  )
  for (const piece of pieces) assert.equal(sumBytes(piece.subarray(0, 20)), 0xffff)
  assert.deepEqual(concat(...pieces.map(piece => piece.subarray(20))).subarray(8), data)
  inject(link, pingTo('198.51.100.7', data, { fragment: 0x4000 }))
  const [tooBig] = link.takeIp(ETH_P_IP)
  assert.deepEqual([tooBig[20], tooBig[21], u16(tooBig, 26)], [3, 4, 576])
})

/** Fragments of one echo request, cut at these offsets of its payload. */
function cut(data: Uint8Array, bounds: number[], id = 77): Uint8Array[] {
  const payload = icmp(8, 0, 0, data)
  const edges = [0, ...bounds, payload.length]
  return edges.slice(1).map((end, i) => {
    const more = end < payload.length ? 0x2000 : 0
    const fragment = more | (edges[i] / 8)
    return ipv4('192.0.2.2', '192.0.2.1', IPPROTO_ICMP, payload.subarray(edges[i], end), { id, fragment })
  })
}

test('IPv4: fragments are joined in whatever order they come, duplicates included', () => {
  const { link, stack } = host()
  const data = Uint8Array.from({ length: 100 }, (_, i) => i)
  const orders = [
    [0, 1, 2],
    [2, 1, 0],
    [1, 1, 2, 2, 0],
    [2, 0, 0, 1],
  ]
  for (const [i, order] of orders.entries()) {
    const pieces = cut(data, [24, 64], 100 + i)
    for (const at of order) inject(link, pieces[at])
    const [answer] = link.takeIp(ETH_P_IP)
    assert.deepEqual(answer.subarray(28), data, `order ${order}`)
  }
  assert.equal(stack.counters.ip.ReasmOKs, 4)
  assert.equal(stack.reassembly.count, 0)
})

test('IPv4: overlapping fragments end the datagram, and so do contradicting ends', () => {
  const { link, stack } = host()
  const data = new Uint8Array(100)
  const [first, second, last] = cut(data, [24, 64])
  const overlap = cut(data, [16, 64])[1]
  for (const piece of [first, overlap, second, last]) inject(link, piece)
  assert.equal(link.takeIp(ETH_P_IP).length, 0)
  const beyond = ipv4('192.0.2.2', '192.0.2.1', IPPROTO_ICMP, new Uint8Array(64), {
    id: 5,
    fragment: 0x2000 | 100,
  })
  const end = ipv4('192.0.2.2', '192.0.2.1', IPPROTO_ICMP, new Uint8Array(8), { id: 5, fragment: 10 })
  inject(link, beyond)
  inject(link, end)
  const odd = ipv4('192.0.2.2', '192.0.2.1', IPPROTO_ICMP, new Uint8Array(9), { id: 6, fragment: 0x2000 })
  const huge = ipv4('192.0.2.2', '192.0.2.1', IPPROTO_ICMP, new Uint8Array(64), { id: 7, fragment: 0x1fff })
  inject(link, odd)
  inject(link, huge)
  assert.equal(link.takeIp(ETH_P_IP).length, 0)
  assert.equal(stack.counters.ip.ReasmOKs, 0)
  assert.ok(stack.counters.ipExt.ReasmOverlaps >= 1)
})

test('IPv4: incomplete datagrams end after 30 s, with word to the sender only if the first fragment came', () => {
  const { link, net, stack } = host()
  const pieces = cut(new Uint8Array(100), [24, 64], 1)
  inject(link, pieces[0])
  inject(link, cut(new Uint8Array(100), [24, 64], 2)[1])
  net.run(29)
  assert.equal(stack.reassembly.count, 2)
  net.run(2)
  assert.equal(stack.reassembly.count, 0)
  const answers = link.takeIp(ETH_P_IP)
  assert.deepEqual(
    answers.map(answer => [answer[20], answer[21]]),
    [[11, 1]],
  )
})

test('IPv4: fragments that never end can not fill the memory', () => {
  const { link, stack } = host()
  const first = new Uint8Array(1480)
  for (let i = 0; i < 4000; i++) {
    inject(link, ipv4('192.0.2.2', '192.0.2.1', IPPROTO_ICMP, first, { id: i, fragment: 0x2000 }))
  }
  assert.ok(stack.reassembly.count < 2000, `${stack.reassembly.count} datagrams are kept`)
  assert.ok(stack.counters.ip.ReasmFails > 0)
})

test('IPv4: what is longer than the MTU leaves in fragments, or not at all with DF', () => {
  const { link, stack, net } = host()
  const endpoint = new UdpProtocol(stack).endpoint(false)
  const data = Uint8Array.from({ length: 4000 }, (_, i) => i * 3)
  assert.equal(endpoint.send(new BufferSrc(data), IpAddress.of('192.0.2.2'), 9), 4000)
  const pieces = link.takeIp(ETH_P_IP)
  assert.deepEqual(
    pieces.map(piece => u16(piece, 6)),
    [0x2000, 0x2000 | 185, 370],
  )
  const whole = concat(...pieces.map(piece => piece.subarray(20)))
  assert.deepEqual(whole.subarray(8), data)
  assert.notEqual(u16(whole, 6), 0)
  endpoint.flow.pmtuDiscovery = 2
  assert.equal(endpoint.send(new BufferSrc(data), IpAddress.of('192.0.2.2'), 9), -90)
  assert.equal(endpoint.send(new BufferSrc(data.subarray(0, 1472)), IpAddress.of('192.0.2.2'), 9), 1472)
  assert.equal(u16(link.takeIp(ETH_P_IP)[0], 6), 0x4000)
  net.run(0)
})

test('IPv4: a too-big message lowers the path MTU of its destination for ten minutes, and no lower than 552', () => {
  const { link, stack, net } = host()
  addRoute(stack, '0.0.0.0/0', link, '192.0.2.2')
  const endpoint = new UdpProtocol(stack).endpoint(false)
  endpoint.connect(IpAddress.of('203.0.113.5'), 9)
  const mtu = (destination: string): number => {
    const route = stack.ip.routeFor(plainFlow(17, IpAddress.of('0.0.0.0'), IpAddress.of(destination)))
    return typeof route === 'number' ? route : route.mtu
  }
  const tooBig = (size: number, port: number): void => {
    const quoted = udp('192.0.2.1', '203.0.113.5', port, 9, new Uint8Array(8))
    const inner = ipv4('192.0.2.1', '203.0.113.5', 17, quoted, { fragment: 0x4000 })
    inject(link, ipv4('198.51.100.1', '192.0.2.1', IPPROTO_ICMP, icmp(3, 4, size, inner)))
  }
  tooBig(1400, endpoint.localPort ^ 1)
  assert.equal(mtu('203.0.113.5'), 1500, 'a message about a packet that nobody sent changes nothing')
  tooBig(1400, endpoint.localPort)
  assert.equal(mtu('203.0.113.5'), 1400)
  assert.equal(mtu('203.0.113.6'), 1500)
  assert.equal(endpoint.takeError(), 90)
  tooBig(1450, endpoint.localPort)
  assert.equal(mtu('203.0.113.5'), 1400)
  tooBig(68, endpoint.localPort)
  assert.equal(mtu('203.0.113.5'), 552)
  net.run(601)
  assert.equal(mtu('203.0.113.5'), 1500)
})

test('IPv4: redirects are obeyed only from the gateway in use, to a neighbour', () => {
  const { link, stack } = host()
  addRoute(stack, '0.0.0.0/0', link, '192.0.2.2')
  const next = (): string => {
    const route = stack.ip.routeFor(plainFlow(17, IpAddress.of('0.0.0.0'), IpAddress.of('203.0.113.5')))
    return typeof route === 'number' ? `${route}` : route.nextHop.toString()
  }
  const redirect = (from: string, to: string): void => {
    const inner = ipv4('192.0.2.1', '203.0.113.5', 17, new Uint8Array(8))
    inject(link, ipv4(from, '192.0.2.1', IPPROTO_ICMP, icmp(5, 1, IpAddress.of(to).w3, inner)))
  }
  redirect('192.0.2.9', '192.0.2.3')
  redirect('192.0.2.2', '198.51.100.3')
  assert.equal(next(), '192.0.2.2')
  redirect('192.0.2.2', '192.0.2.3')
  assert.equal(next(), '192.0.2.3')
})

test('IPv4: a filter may drop, steal, or send elsewhere', () => {
  const { link, stack } = host()
  const seen: number[] = []
  let verdict = 1
  const stolen: Packet[] = []
  const hook = {
    priority: 0,
    filter: (_stack: IpStack, point: number, packet: Packet): number => {
      seen.push(point)
      if (verdict === 2) stolen.push(packet)
      return verdict
    },
  }
  for (let point = 0; point < 5; point++) stack.hooks.add(true, point, hook)
  inject(link, pingTo('192.0.2.1', new Uint8Array(8)))
  assert.deepEqual(seen.splice(0), [0, 1, 3, 4])
  assert.equal(link.take().length, 1)
  verdict = 0
  inject(link, pingTo('192.0.2.1', new Uint8Array(8)))
  assert.deepEqual(seen.splice(0), [0])
  verdict = 2
  inject(link, pingTo('192.0.2.1', new Uint8Array(8)))
  assert.equal(link.take().length, 0)
  assert.equal(stolen.length, 1)
  assert.equal(stolen[0].released, false)
})
