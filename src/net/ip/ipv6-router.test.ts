import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ETH_P_IPV6, NF_INET_LOCAL_OUT } from '../../abi/constants.ts'
import { BufferSrc } from '../../base/io.ts'
import { IpAddress } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { Packet } from '../packet.ts'
import { UdpProtocol } from '../udp/protocol.ts'
import { plainFlow } from './ipv4-output.ts'
import {
  addRoute,
  concat,
  ethernet,
  icmp6,
  ipv6,
  PEER_MAC,
  type RecorderDevice,
  TestNet,
  udp,
} from './testing.ts'

const ANY = IpAddress.of('::')

function router(): { net: TestNet; stack: IpStack; link: RecorderDevice; narrow: RecorderDevice } {
  const net = new TestNet(5)
  const stack = net.stack()
  const link = net.recorder(stack, '2001:db8::1/64')
  const narrow = net.recorder(stack, '2001:db8:9::1/64')
  narrow.address = Uint8Array.of(2, 0, 0, 0, 0, 3)
  stack.devices.setMtu(narrow, 1280)
  net.run(4)
  stack.sysctls.setForwarding6(1, [link.index, narrow.index])
  for (const text of ['2001:db8::2', 'fe80::2']) {
    stack.neighbours6.get(link, IpAddress.of(text))!.update(PEER_MAC, 0x80)
  }
  stack.neighbours6.get(narrow, IpAddress.of('2001:db8:9::2'))!.update(PEER_MAC, 0x80)
  link.take()
  narrow.take()
  return { net, stack, link, narrow }
}

function inject(link: RecorderDevice, packet: Uint8Array): void {
  link.inject(ethernet(link.address, ETH_P_IPV6, packet))
}

const toOther = (data: number, hopLimit = 64): Uint8Array =>
  ipv6(
    '2001:db8::2',
    '2001:db8:9::2',
    17,
    udp('2001:db8::2', '2001:db8:9::2', 1, 2, new Uint8Array(data)),
    hopLimit,
  )

test('IPv6 router: forwards with a smaller hop limit, tells what is too long, expired or without a way', () => {
  const { link, narrow } = router()
  inject(link, toOther(100))
  const [forwarded] = narrow.takeIp(ETH_P_IPV6)
  assert.equal(forwarded[7], 63)
  assert.deepEqual(forwarded.subarray(40), toOther(100).subarray(40))
  inject(link, toOther(1300))
  const [tooBig] = link.takeIp(ETH_P_IPV6)
  assert.deepEqual([tooBig[40], tooBig[41], tooBig[46], tooBig[47]], [2, 0, 1280 >> 8, 1280 & 255])
  assert.ok(tooBig.length <= 1280)
  inject(link, toOther(100, 1))
  assert.deepEqual([...link.takeIp(ETH_P_IPV6)[0].subarray(40, 42)], [3, 0])
  const nowhere = ipv6('2001:db8::2', '2001:db8:77::1', 17, new Uint8Array(8))
  inject(link, nowhere)
  assert.deepEqual([...link.takeIp(ETH_P_IPV6)[0].subarray(40, 42)], [1, 0])
})

test('IPv6 router: link-local packets never leave their link', () => {
  const { link, narrow } = router()
  inject(link, ipv6('fe80::2', '2001:db8:9::2', 17, udp('fe80::2', '2001:db8:9::2', 1, 2, new Uint8Array(8))))
  assert.equal(narrow.take().length, 0)
})

test('IPv6 router: sends a neighbour to the router that it could use itself', () => {
  const { link, stack } = router()
  addRoute(stack, '2001:db8:55::/48', link, 'fe80::9')
  stack.neighbours6.get(link, IpAddress.of('fe80::9'))!.update(Uint8Array.of(2, 0, 0, 0, 0, 9), 0x80)
  inject(link, ipv6('2001:db8::2', '2001:db8:55::1', 17, new Uint8Array(8)))
  const sent = link.takeIp(ETH_P_IPV6)
  const redirect = sent.find(packet => packet[6] === 58)!
  assert.equal(redirect[40], 137)
  assert.equal(redirect[7], 255)
  assert.deepEqual(redirect.subarray(48, 64), IpAddress.of('fe80::9').bytes())
  assert.deepEqual(redirect.subarray(64, 80), IpAddress.of('2001:db8:55::1').bytes())
  assert.equal(sent.filter(packet => packet[6] === 17).length, 1)
})

test('IPv6: a host obeys redirects of its router, and of nobody else', () => {
  const { link, stack } = router()
  stack.sysctls.setForwarding6(
    0,
    [...stack.devices.all].map(device => device.index),
  )
  addRoute(stack, '::/0', link, 'fe80::2')
  const next = (): string => {
    const route = stack.ip.routeFor(plainFlow(17, ANY, IpAddress.of('2001:4860::1')))
    return typeof route === 'number' ? `${route}` : `${route.nextHop}`
  }
  const redirect = (from: string, target: string): void => {
    const to = '2001:db8::1'
    const words = concat(IpAddress.of(target).bytes(), IpAddress.of('2001:4860::1').bytes())
    inject(link, ipv6(from, to, 58, icmp6(from, to, concat([137, 0, 0, 0, 0, 0, 0, 0], words)), 255))
  }
  assert.equal(next(), 'fe80::2')
  redirect('fe80::66', 'fe80::66')
  redirect('fe80::2', '2001:db8::66')
  assert.equal(next(), 'fe80::2')
  redirect('fe80::2', 'fe80::3')
  assert.equal(next(), 'fe80::3')
})

test('IPv6: the path MTU falls to what a router says, not below 1280, and long datagrams are then fragmented', () => {
  const { link, stack } = router()
  addRoute(stack, '::/0', link, 'fe80::2')
  const endpoint = new UdpProtocol(stack).endpoint(true)
  const far = IpAddress.of('2001:4860::1')
  endpoint.connect(far, 9)
  const say = (mtu: number): void => {
    const inner = ipv6(
      '2001:db8::1',
      '2001:4860::1',
      17,
      udp('2001:db8::1', '2001:4860::1', endpoint.localPort, 9, new Uint8Array(8)),
    )
    const body = concat([2, 0, 0, 0, 0, 0, mtu >> 8, mtu & 255], inner)
    inject(link, ipv6('2001:db8:1::1', '2001:db8::1', 58, icmp6('2001:db8:1::1', '2001:db8::1', body)))
  }
  const lengths = (size: number): number[] => {
    endpoint.takeError()
    endpoint.send(new BufferSrc(new Uint8Array(size)))
    return link.takeIp(ETH_P_IPV6).map(packet => packet.length)
  }
  assert.deepEqual(lengths(1400), [1448])
  say(1400)
  assert.deepEqual(lengths(1400), [1400, 104])
  say(600)
  assert.deepEqual(lengths(1232), [1280])
  assert.deepEqual(lengths(1233), [1280, 57])
})

test('IPv6: a filter that changes the destination has the packet routed anew', () => {
  const { link, narrow, stack } = router()
  stack.hooks.add(false, NF_INET_LOCAL_OUT, {
    priority: -100,
    filter: (_stack: IpStack, _point: number, packet: Packet): number => {
      IpAddress.of('2001:db8:9::2').writeV6(packet.view, packet.network + 24)
      return 1
    },
  })
  const endpoint = new UdpProtocol(stack).endpoint(true)
  assert.equal(endpoint.send(new BufferSrc(new Uint8Array(8)), IpAddress.of('2001:db8::2'), 9), 8)
  assert.equal(link.takeIp(ETH_P_IPV6).length, 0)
  assert.deepEqual(narrow.takeIp(ETH_P_IPV6)[0].subarray(24, 40), IpAddress.of('2001:db8:9::2').bytes())
})

test('IPv6: link-local addresses are reached through the device that is said, also those of this machine', () => {
  const { link, narrow, net, stack } = router()
  const protocol = new UdpProtocol(stack)
  const server = protocol.endpoint(true)
  assert.equal(server.bind(IpAddress.of('fe80::ff:fe00:1'), 53, link.index), 0)
  const client = protocol.endpoint(true)
  assert.equal(client.connect(IpAddress.of('fe80::ff:fe00:1'), 53), -22, 'without a scope')
  assert.equal(client.connect(IpAddress.of('fe80::ff:fe00:1'), 53, link.index), 0)
  client.send(new BufferSrc(new Uint8Array(1)))
  net.run(0)
  assert.equal(server.queue.length, 1)
  assert.equal(server.queue.first?.device, link)
  const other = protocol.endpoint(true)
  other.connect(IpAddress.of('fe80::77'), 53, narrow.index)
  other.send(new BufferSrc(new Uint8Array(1)))
  assert.ok(
    narrow.takeIp(ETH_P_IPV6).some(packet => packet[40] === 135),
    'asked for on that link',
  )
  assert.ok(!link.takeIp(ETH_P_IPV6).some(packet => packet[40] === 135))
})
