import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  ETH_P_IPV6,
  IFA_F_DADFAILED,
  IFA_F_DEPRECATED,
  IFA_F_TENTATIVE,
  NF_ACCEPT,
  NF_INET_LOCAL_OUT,
  NUD_DELAY,
  NUD_PROBE,
  NUD_REACHABLE,
  NUD_STALE,
} from '../../abi/constants.ts'
import { IpAddress } from '../address.ts'
import { pseudoHeaderSum, sumBytes } from '../checksum.ts'
import type { IpStack } from '../ip-stack.ts'
import { plainFlow } from './ipv4-output.ts'
import { concat, ethernet, icmp6, ipv6, PEER_MAC, type RecorderDevice, TestNet } from './testing.ts'

const PEER = 'fe80::2'
const OWN = 'fe80::ff:fe00:1'
const ALL_NODES = 'ff02::1'

/** A host whose link-local address is ready; the test is the other side of its link. */
function host(): { net: TestNet; stack: IpStack; link: RecorderDevice } {
  const net = new TestNet(5)
  const stack = net.stack()
  const link = net.recorder(stack, '2001:db8::1/64')
  net.run(4)
  stack.neighbours6.get(link, IpAddress.of(PEER))!.update(PEER_MAC, 0x80)
  stack.neighbours6.get(link, IpAddress.of('2001:db8::2'))!.update(PEER_MAC, 0x80)
  link.take()
  return { net, stack, link }
}

function inject(link: RecorderDevice, packet: Uint8Array, to = link.address): void {
  link.inject(ethernet(to, ETH_P_IPV6, packet))
}

/** A message of neighbour discovery from the peer. */
function nd(link: RecorderDevice, to: string, body: Uint8Array, from = PEER, hopLimit = 255): void {
  const group = to.startsWith('ff') ? Uint8Array.of(0x33, 0x33, 0, 0, 0, 1) : link.address
  inject(link, ipv6(from, to, 58, icmp6(from, to, body), hopLimit), group)
}

const address = (text: string): Uint8Array => IpAddress.of(text).bytes()
const linkOption = (type: number, mac: Uint8Array): Uint8Array => concat([type, 1], mac)
const solicit = (target: string): Uint8Array => concat([135, 0, 0, 0, 0, 0, 0, 0], address(target))
const advert = (target: string, flags: number, mac = PEER_MAC): Uint8Array =>
  concat([136, 0, 0, 0, flags, 0, 0, 0], address(target), linkOption(2, mac))

/** What was sent, but for questions after routers, which have their own times. */
function answers(link: RecorderDevice): Uint8Array[] {
  return link.takeIp(ETH_P_IPV6).filter(packet => packet[40] !== 133)
}

/** Type of each ICMPv6 message without extension headers, with its target if it has one. */
function messages(frames: Uint8Array[]): string[] {
  return frames
    .filter(packet => packet[6] === 58)
    .map(packet => {
      const target = packet.length >= 64 && packet[40] >= 135 && packet[40] <= 136
      const view = new DataView(packet.buffer, packet.byteOffset)
      return target ? `${packet[40]} ${IpAddress.read(view, 48, false)}` : `${packet[40]}`
    })
}

test('IPv6: an echo request is answered from the address that was asked', () => {
  const { link } = host()
  const echo = icmp6('2001:db8::2', '2001:db8::1', concat([128, 0, 0, 0, 0, 7, 0, 1], [9, 8, 7]))
  inject(link, ipv6('2001:db8::2', '2001:db8::1', 58, echo))
  const [answer] = link.takeIp(ETH_P_IPV6)
  assert.deepEqual(answer.subarray(8, 24), address('2001:db8::1'))
  assert.deepEqual([...answer.subarray(44)], [0, 7, 0, 1, 9, 8, 7])
  const pseudo = pseudoHeaderSum(
    IpAddress.of('2001:db8::1'),
    IpAddress.of('2001:db8::2'),
    58,
    answer.length - 40,
  )
  assert.equal(sumBytes(answer.subarray(40), pseudo), 0xffff)
})

test('IPv6: duplicate detection asks once from no address, waits a second, and then uses the address', () => {
  const net = new TestNet(9)
  const stack = net.stack()
  const link = net.recorder(stack)
  const entry = stack.addresses.of(link)[0]
  assert.equal(entry.address.toString(), OWN)
  assert.ok((entry.flags & IFA_F_TENTATIVE) !== 0)
  assert.ok(!stack.addresses.isLocal(entry.address))
  net.run(1)
  const [probe] = link.takeIp(ETH_P_IPV6).filter(packet => packet[6] === 58 && packet[40] === 135)
  assert.deepEqual(probe.subarray(8, 24), address('::'))
  assert.deepEqual(probe.subarray(24, 40), address('ff02::1:ff00:1'))
  assert.equal(probe[7], 255)
  assert.equal(probe[64], 14, 'a nonce, and no link address')
  net.run(1.1)
  assert.equal(entry.flags & IFA_F_TENTATIVE, 0)
  assert.ok(stack.addresses.isLocal(entry.address))
})

test('IPv6: an address that somebody else has, or wants at the same time, is not used', () => {
  for (const rival of ['advert', 'probe']) {
    const net = new TestNet(9)
    const stack = net.stack()
    const link = net.recorder(stack)
    const entry = stack.addresses.of(link)[0]
    net.run(0.5)
    if (rival === 'advert') nd(link, ALL_NODES, advert(OWN, 0x20), OWN)
    else nd(link, 'ff02::1:ff00:1', solicit(OWN), '::')
    net.run(5)
    assert.ok((entry.flags & IFA_F_DADFAILED) !== 0, rival)
    assert.ok(!stack.addresses.isLocal(entry.address), rival)
  }
})

test('IPv6: our own probe that comes back is no rival (RFC 7527)', () => {
  const net = new TestNet(9)
  const stack = net.stack()
  const link = net.recorder(stack)
  net.run(1)
  const probe = link.take().find(frame => frame[12] === 0x86 && frame[20] === 58 && frame[54] === 135)!
  link.inject(probe)
  net.run(2)
  assert.ok(stack.addresses.isLocal(IpAddress.of(OWN)))
})

test('NDP: solicitations for our address are answered, with what they teach', () => {
  const { link, stack } = host()
  const body = concat(solicit('2001:db8::1'), linkOption(1, PEER_MAC))
  nd(link, 'ff02::1:ff00:1', body, '2001:db8::77')
  const [answer] = link.takeIp(ETH_P_IPV6)
  assert.deepEqual(messages([answer]), ['136 2001:db8::1'])
  assert.equal(answer[44], 0x60, 'solicited, override')
  assert.deepEqual(answer.subarray(64), linkOption(2, link.address))
  assert.equal(
    stack.neighbours6.find(link, IpAddress.of('2001:db8::77'))?.state,
    NUD_DELAY,
    'stale, and used for the answer',
  )
  nd(link, 'ff02::1:ff00:1', solicit('2001:db8::1'), '::')
  const [all] = link.takeIp(ETH_P_IPV6)
  assert.deepEqual(all.subarray(24, 40), address(ALL_NODES))
})

test('NDP: messages that may come from elsewhere, or are malformed, are not believed', () => {
  const { link, stack } = host()
  const body = concat(solicit('2001:db8::1'), linkOption(1, PEER_MAC))
  nd(link, 'ff02::1:ff00:1', body, '2001:db8::77', 254)
  nd(link, 'ff02::1:ff00:1', concat(solicit('2001:db8::1'), [1, 0, 0, 0, 0, 0, 0, 0]), '2001:db8::77')
  nd(link, 'ff02::1:ff00:1', body.subarray(0, 20), '2001:db8::77')
  nd(link, 'ff02::1:ff00:1', body, '::')
  nd(link, '2001:db8::1', advert('2001:db8::88', 0x60), '2001:db8::88')
  assert.equal(link.take().length, 0)
  assert.equal(stack.neighbours6.find(link, IpAddress.of('2001:db8::77')), undefined)
  assert.equal(stack.neighbours6.find(link, IpAddress.of('2001:db8::88')), undefined)
})

test('NDP: an advertisement without override only casts doubt (RFC 4861 §7.2.5)', () => {
  const { link, stack, net } = host()
  const target = '2001:db8::5'
  const packet = stack.packets.allocate(8)
  packet.append(8)
  stack.ip.send(packet, plainFlow(200, IpAddress.of('::'), IpAddress.of(target)))
  assert.deepEqual(messages(link.takeIp(ETH_P_IPV6)), [`135 ${target}`])
  nd(link, '2001:db8::1', advert(target, 0x60), target)
  const neighbour = stack.neighbours6.find(link, IpAddress.of(target))!
  assert.equal(neighbour.state, NUD_REACHABLE)
  const other = Uint8Array.of(2, 0, 0, 0, 0, 7)
  nd(link, '2001:db8::1', advert(target, 0x40, other), target)
  assert.deepEqual(neighbour.hardware, PEER_MAC)
  assert.equal(neighbour.state, NUD_STALE)
  nd(link, '2001:db8::1', advert(target, 0x60, other), target)
  assert.deepEqual(neighbour.hardware, other)
  assert.equal(neighbour.state, NUD_REACHABLE)
  net.run(50)
  neighbour.probe()
  net.run(5.5)
  assert.equal(neighbour.state, NUD_PROBE)
})

/** A router advertisement with one prefix. */
function routerAdvert(prefix: string, valid: number, preferred: number, lifetime = 1800): Uint8Array {
  const words = (value: number): number[] => [
    value >>> 24,
    (value >> 16) & 255,
    (value >> 8) & 255,
    value & 255,
  ]
  const head = [134, 0, 0, 0, 37, 0, lifetime >> 8, lifetime & 255, ...words(0), ...words(0)]
  const info = concat([3, 4, 64, 0xc0], words(valid), words(preferred), words(0), address(prefix))
  return concat(head, linkOption(1, PEER_MAC), [5, 1, 0, 0, 0, 0, 5, 0xdc - 100], info)
}

test('SLAAC: the host asks for routers, and takes prefix, router, hop limit and MTU', () => {
  const net = new TestNet(5)
  const stack = net.stack()
  const link = net.recorder(stack)
  net.run(4)
  assert.ok(messages(link.takeIp(ETH_P_IPV6)).includes('133'))
  nd(link, ALL_NODES, routerAdvert('2001:db8:5::', 7200, 3600))
  const formed = '2001:db8:5:0:0:ff:fe00:1'
  net.run(3)
  assert.ok(stack.addresses.isLocal(IpAddress.of(formed)))
  const route = stack.ip.routeFor(plainFlow(17, IpAddress.of('::'), IpAddress.of('2001:4860::8888')))
  assert.ok(typeof route !== 'number')
  assert.equal(route.gateway?.toString(), PEER)
  assert.equal(route.source.toString(), IpAddress.of(formed).toString())
  assert.equal(route.mtu, 1400)
  assert.equal(stack.slaac.hopLimit(link), 37)
  net.run(3700)
  const entry = stack.addresses.find(IpAddress.of(formed))!
  assert.ok((entry.flags & IFA_F_DEPRECATED) !== 0)
  assert.equal(
    typeof stack.ip.routeFor(plainFlow(17, IpAddress.of('::'), IpAddress.of('2001:4860::8888'))),
    'number',
  )
  net.run(3600)
  assert.equal(stack.addresses.find(IpAddress.of(formed)), undefined)
})

test('SLAAC: nobody can take an address away in less than two hours (RFC 4862 §5.5.3)', () => {
  const { link, stack, net } = host()
  nd(link, ALL_NODES, routerAdvert('2001:db8:5::', 86400, 86400))
  nd(link, ALL_NODES, routerAdvert('2001:db8:5::', 0, 0))
  net.run(3)
  const entry = stack.addresses.find(IpAddress.of('2001:db8:5:0:0:ff:fe00:1'))!
  assert.equal(entry.valid, 7200)
})

test('SLAAC: routers and prefixes from beyond the link are ignored, and a router does not configure itself', () => {
  const { link, stack } = host()
  nd(link, ALL_NODES, routerAdvert('2001:db8:5::', 7200, 7200), '2001:db8::2')
  nd(link, ALL_NODES, routerAdvert('2001:db8:5::', 7200, 7200), PEER, 64)
  stack.sysctls.setForwarding6(1, [link.index])
  nd(link, ALL_NODES, routerAdvert('2001:db8:5::', 7200, 7200))
  assert.equal(stack.addresses.find(IpAddress.of('2001:db8:5:0:0:ff:fe00:1')), undefined)
})

/** A fragment of an echo request. */
function fragment(payload: Uint8Array, offset: number, more: boolean, id = 9): Uint8Array {
  const head = [58, 0, (offset >> 8) & 255, (offset & 0xf8) | (more ? 1 : 0), 0, 0, 0, id]
  return ipv6('2001:db8::2', '2001:db8::1', 44, concat(head, payload))
}

test('IPv6: fragments are joined; overlaps and odd lengths are refused', () => {
  const { link, stack, net } = host()
  const echo = icmp6(
    '2001:db8::2',
    '2001:db8::1',
    concat([128, 0, 0, 0, 0, 7, 0, 1], new Uint8Array(56).fill(3)),
  )
  inject(link, fragment(echo.subarray(32), 32, false))
  inject(link, fragment(echo.subarray(0, 32), 0, true))
  assert.deepEqual(messages(answers(link)), ['129'])
  inject(link, fragment(echo, 0, false))
  assert.deepEqual(messages(answers(link)), ['129'], 'an atomic fragment is a whole packet')
  inject(link, fragment(echo.subarray(0, 32), 0, true, 10))
  inject(link, fragment(echo.subarray(24), 24, false, 10))
  inject(link, fragment(echo.subarray(32), 32, false, 10))
  assert.equal(answers(link).length, 0)
  net.run(2)
  inject(link, fragment(echo.subarray(0, 31), 0, true, 11))
  const [problem] = answers(link)
  assert.deepEqual([problem[40], problem[41], problem[47]], [4, 0, 4])
  assert.equal(stack.counters.ip6.ReasmOKs, 1)
})

test('IPv6: extension headers are gone through, unknown ones and source routes refused', () => {
  const { link, net } = host()
  const echo = icmp6('2001:db8::2', '2001:db8::1', concat([128, 0, 0, 0, 0, 7, 0, 1]))
  const ask = (next: number, headers: number[]): number[] => {
    net.run(2)
    inject(link, ipv6('2001:db8::2', '2001:db8::1', next, concat(headers, echo)))
    const [answer] = answers(link)
    return answer === undefined ? [] : [answer[40], answer[41], answer[47]]
  }
  const padding = [1, 4, 0, 0, 0, 0]
  assert.deepEqual(ask(0, [60, 0, ...padding, 58, 0, ...padding]).slice(0, 1), [129])
  assert.deepEqual(ask(60, [58, 0, 0x3f, 4, 0, 0, 0, 0]).slice(0, 1), [129], 'an option that may be skipped')
  assert.deepEqual(ask(60, [58, 0, 0x7f, 4, 0, 0, 0, 0]), [], 'one that may not')
  assert.deepEqual(ask(60, [58, 0, 0xbf, 4, 0, 0, 0, 0]), [4, 2, 42])
  assert.deepEqual(ask(43, [58, 0, 0, 1, 0, 0, 0, 0]), [4, 0, 42])
  assert.deepEqual(ask(43, [58, 0, 0, 0, 0, 0, 0, 0]).slice(0, 1), [129])
  assert.deepEqual(
    ask(60, [0, 0, ...padding, 58, 0, ...padding]),
    [4, 1, 40],
    'hop-by-hop options come first',
  )
  assert.deepEqual(ask(199, []), [4, 1, 6])
  assert.deepEqual(ask(60, [58, 200, ...padding]), [], 'cut off')
})

test('IPv6: with keep_addr_on_down an address is back with its link, checked again', () => {
  const { link, stack, net } = host()
  const global = IpAddress.of('2001:db8::1')
  stack.devices.setUp(link, false)
  assert.equal(stack.addresses.find(global), undefined)
  const again = net.recorder(stack, '2001:db8:7::1/64')
  stack.sysctls.ipv6Conf.of(again.index).keep_addr_on_down = 1
  net.run(3)
  stack.devices.setUp(again, false)
  assert.ok(stack.addresses.find(IpAddress.of('2001:db8:7::1')) !== undefined)
  assert.equal([...stack.fib6.routes()].filter(route => route.uses(again)).length, 0)
  stack.devices.setUp(again, true)
  net.run(3)
  assert.ok(stack.addresses.isLocal(IpAddress.of('2001:db8:7::1')))
  assert.ok([...stack.fib6.routes()].filter(route => route.uses(again)).length > 0)
})

test('IPv6: what a filter marks goes out by the link that it was for, where its address is of each link', () => {
  const { net, stack, link } = host()
  const other = net.recorder(stack, '2001:db8:1::1/64')
  net.run(4)
  stack.hooks.add(false, NF_INET_LOCAL_OUT, {
    priority: 0,
    filter: (_stack, _point, packet) => {
      packet.mark = 5
      return NF_ACCEPT
    },
  })
  for (const [device, silent] of [
    [link, other],
    [other, link],
  ]) {
    link.take()
    other.take()
    const packet = stack.packets.allocate(8)
    packet.bytes.fill(0, packet.append(8))
    const source = stack.slaac.linkLocal(device)!
    assert.equal(stack.ip.send(packet, plainFlow(253, source, IpAddress.of(ALL_NODES), device)), 0)
    assert.equal(answers(device).length, 1)
    assert.equal(answers(silent).length, 0)
  }
})
