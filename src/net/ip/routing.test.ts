import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  IFA_F_DEPRECATED,
  RTN_BLACKHOLE,
  RTN_PROHIBIT,
  RTN_THROW,
  RTN_UNREACHABLE,
  RTNH_F_DEAD,
} from '../../abi/constants.ts'
import { IpAddress } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { FibRoute } from './fib.ts'
import { Flow } from './flow.ts'
import type { InterfaceAddress } from './interface-address.ts'
import { FR_ACT_PROHIBIT, FR_ACT_TO_TBL } from './rules.ts'
import { selectSource6 } from './source-selection.ts'
import { addAddress, addRoute, TestNet } from './testing.ts'

function host(...addresses: string[][]): { net: TestNet; stack: IpStack; links: NetDevice[] } {
  const net = new TestNet(2)
  const stack = net.stack()
  const links = addresses.map(list => net.recorder(stack, ...list))
  net.run(3)
  return { net, stack, links }
}

/** `device source next-hop`, or the errno. */
function way(stack: IpStack, destination: string, change: Partial<Flow> = {}): string {
  const flow = Object.assign(new Flow(), { destination: IpAddress.of(destination) }, change)
  if (change.source === undefined && destination.includes(':')) flow.source = IpAddress.of('::')
  const route = stack.ip.routeFor(flow)
  return typeof route === 'number' ? `${route}` : `${route.device.name} ${route.source} ${route.nextHop}`
}

test('routes: the longest prefix wins, then the lowest metric', () => {
  const { stack, links } = host(['10.0.0.1/24'], ['10.1.0.1/24'])
  const [a, b] = links
  addRoute(stack, '0.0.0.0/0', a, '10.0.0.254', 100)
  addRoute(stack, '0.0.0.0/0', b, '10.1.0.254', 50)
  addRoute(stack, '172.16.0.0/12', a, '10.0.0.253')
  addRoute(stack, '172.16.5.0/24', b, '10.1.0.253')
  assert.equal(way(stack, '8.8.8.8'), 'eth1 10.1.0.1 10.1.0.254')
  assert.equal(way(stack, '172.16.4.1'), 'eth0 10.0.0.1 10.0.0.253')
  assert.equal(way(stack, '172.16.5.1'), 'eth1 10.1.0.1 10.1.0.253')
  assert.equal(way(stack, '10.0.0.7'), 'eth0 10.0.0.1 10.0.0.7')
  assert.equal(way(stack, '10.0.0.1'), 'lo 10.0.0.1 10.0.0.1')
  assert.equal(way(stack, '8.8.8.8', { device: a.index }), 'eth0 10.0.0.1 10.0.0.254')
  assert.equal(way(stack, '8.8.8.8', { dontRoute: true }), '-101')
})

test('routes: kinds that say no, and throw, which says nothing', () => {
  const { stack, links } = host(['10.0.0.1/24'])
  addRoute(stack, '0.0.0.0/0', links[0], '10.0.0.254')
  const kinds: [string, number, string][] = [
    ['192.168.1.0', RTN_UNREACHABLE, '-113'],
    ['192.168.2.0', RTN_BLACKHOLE, '-22'],
    ['192.168.3.0', RTN_PROHIBIT, '-13'],
    ['192.168.4.0', RTN_THROW, '-101'],
  ]
  for (const [prefix, type, expected] of kinds) {
    const route = new FibRoute(IpAddress.of(prefix), 24)
    route.type = type
    assert.equal(stack.addRoute(route, {}), 0)
    assert.equal(way(stack, prefix.replace(/0$/, '9')), expected)
  }
})

test('routes: adding as ip-route(8) does: add, replace, append, change', () => {
  const { stack, links } = host(['10.0.0.1/24'])
  const make = (gateway: string): FibRoute => {
    const route = new FibRoute(IpAddress.of('172.16.0.0'), 16)
    route.nextHops.push({ device: links[0], gateway: IpAddress.of(gateway), weight: 1, flags: 0 })
    return route
  }
  assert.equal(stack.addRoute(make('10.0.0.2'), { noCreate: true, replace: true }), -2)
  assert.equal(stack.addRoute(make('10.0.0.2'), { exclusive: true }), 0)
  assert.equal(stack.addRoute(make('10.0.0.3'), { exclusive: true }), -17)
  assert.equal(stack.addRoute(make('10.0.0.3'), { append: true }), 0)
  assert.equal(way(stack, '172.16.0.1'), 'eth0 10.0.0.1 10.0.0.2')
  assert.equal(stack.addRoute(make('10.0.0.4'), { replace: true }), 0)
  assert.equal(way(stack, '172.16.0.1'), 'eth0 10.0.0.1 10.0.0.4')
  assert.equal(stack.fib4.table(254).at(IpAddress.of('172.16.0.0'), 16).length, 2)
})

test('routes: with several next hops a flow keeps its way, and all get their share', () => {
  const { stack, links } = host(['10.0.0.1/24'])
  const route = new FibRoute(IpAddress.of('0.0.0.0'), 0)
  for (const [gateway, weight] of [['10.0.0.2', 1] as const, ['10.0.0.3', 3] as const]) {
    route.nextHops.push({ device: links[0], gateway: IpAddress.of(gateway), weight, flags: 0 })
  }
  stack.addRoute(route, {})
  let second = 0
  for (let i = 0; i < 1000; i++) {
    const destination = IpAddress.v4(0x08000000 + i * 77).toString()
    const chosen = way(stack, destination)
    assert.equal(way(stack, destination), chosen)
    if (chosen.endsWith('10.0.0.3')) second++
  }
  assert.ok(second > 650 && second < 850, `${second}`)
  route.nextHops[1].flags |= RTNH_F_DEAD
  stack.generation++
  assert.ok(way(stack, '8.8.8.8').endsWith('10.0.0.2'))
})

test('routes: a device that goes down takes its routes along, and up brings back those of its addresses', () => {
  const { stack, links } = host(['10.0.0.1/24', '2001:db8::1/64'])
  addRoute(stack, '0.0.0.0/0', links[0], '10.0.0.254')
  stack.devices.setUp(links[0], false)
  assert.equal(way(stack, '8.8.8.8'), '-101')
  assert.equal(way(stack, '10.0.0.9'), '-101')
  stack.devices.setUp(links[0], true)
  assert.equal(way(stack, '10.0.0.9'), 'eth0 10.0.0.1 10.0.0.9')
  assert.equal(way(stack, '8.8.8.8'), '-101')
  assert.equal(way(stack, '2001:db8::9'), '-101', 'IPv6 addresses are lost with the link')
})

test('routes: removing an address removes what hung on it', () => {
  const { stack, links } = host(['10.0.0.1/24', '10.0.0.2/24', '10.0.1.1/24'])
  const find = (text: string): InterfaceAddress => stack.addresses.find(IpAddress.of(text))!
  assert.ok(find('10.0.0.2').secondary && !find('10.0.1.1').secondary)
  stack.addresses.remove(find('10.0.1.1'))
  assert.equal(way(stack, '10.0.1.9'), '-101')
  stack.sysctls.ipv4Conf.of(links[0].index).promote_secondaries = 1
  stack.addresses.remove(find('10.0.0.1'))
  assert.equal(way(stack, '10.0.0.9'), 'eth0 10.0.0.2 10.0.0.9')
  stack.addresses.remove(find('10.0.0.2'))
  assert.equal(way(stack, '10.0.0.9'), '-101')
  assert.equal([...stack.fib4.routes()].filter(route => route.uses(links[0])).length, 0)
})

test('rules: by source, mark and priority, with a table of their own', () => {
  const { stack, links } = host(['10.0.0.1/24', '10.0.5.1/24'])
  addRoute(stack, '0.0.0.0/0', links[0], '10.0.0.254')
  const other = new FibRoute(IpAddress.of('0.0.0.0'), 0)
  other.table = 100
  other.nextHops.push({ device: links[0], gateway: IpAddress.of('10.0.5.254'), weight: 1, flags: 0 })
  stack.addRoute(other, {})
  const rule = {
    priority: 100,
    action: FR_ACT_TO_TBL,
    table: 100,
    source: IpAddress.of('10.0.5.0'),
    sourceLength: 24,
  }
  assert.equal(stack.rules4.add(rule, true), 0)
  assert.equal(stack.rules4.add({ ...rule }, true), -17)
  stack.generation++
  assert.equal(way(stack, '8.8.8.8'), 'eth0 10.0.0.1 10.0.0.254')
  assert.equal(way(stack, '8.8.8.8', { source: IpAddress.of('10.0.5.1') }), 'eth0 10.0.5.1 10.0.5.254')
  stack.rules4.add({ priority: 50, action: FR_ACT_PROHIBIT, table: 0, mark: 7, markMask: 0xff }, true)
  stack.generation++
  assert.equal(way(stack, '8.8.8.8', { mark: 7 }), '-13')
  assert.equal(way(stack, '8.8.8.8', { mark: 8 }), 'eth0 10.0.0.1 10.0.0.254')
})

test('sources: an address of ours, or none', () => {
  const { stack } = host(['10.0.0.1/24'])
  assert.equal(way(stack, '10.0.0.9', { source: IpAddress.of('10.9.9.9') }), '-22')
  assert.equal(
    way(stack, '10.0.0.9', { source: IpAddress.of('10.9.9.9'), anySource: true }),
    'eth0 10.9.9.9 10.0.0.9',
  )
  assert.equal(way(stack, '255.255.255.255'), '-101')
  assert.equal(way(stack, '10.0.0.255'), 'eth0 10.0.0.1 10.0.0.255')
  assert.equal(way(stack, '0.0.0.0'), 'lo 127.0.0.1 127.0.0.1')
})

test('sources: RFC 6724 prefers scope, then living addresses, the outgoing device, the label, the longest prefix', () => {
  const { stack, links } = host(
    ['2001:db8:1::1/64', 'fd00::1/64'],
    ['2001:db8:2::1/64', '2002:c000:201::1/64'],
  )
  const chosen = (destination: string, device = links[0]): string =>
    `${selectSource6(stack, device, IpAddress.of(destination))}`
  assert.equal(chosen('2001:db8:1::1'), '2001:db8:1::1')
  assert.equal(chosen('fe80::9'), 'fe80::ff:fe00:1')
  assert.equal(chosen('ff02::9'), 'fe80::ff:fe00:1')
  assert.equal(chosen('2001:db8:2::9'), '2001:db8:1::1', 'the outgoing device before the prefix')
  assert.equal(chosen('fd00::9'), 'fd00::1')
  assert.equal(chosen('2002:c633:6401::1', links[1]), '2002:c000:201::1')
  addAddress(stack, links[0], '2001:db8:1::2/64')
  stack.addresses.find(IpAddress.of('2001:db8:1::1'))!.flags |= IFA_F_DEPRECATED
  assert.equal(chosen('2001:db8:3::9'), '2001:db8:1::2')
})
