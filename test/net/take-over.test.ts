/** The configuration of a namespace of the host's as its stack takes it over. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { NUD_PERMANENT } from '../../src/abi/constants.ts'
import { IpAddress } from '../../src/net/address.ts'
import type { Fib } from '../../src/net/ip/fib.ts'
import { formatMac } from '../../src/net/link/device.ts'
import type { NetworkRecord } from '../../src/net/setup/record.ts'
import { cannotMakeNamespaces, JoinedNamespaces, LiveStack, readNamed } from './live-stack.ts'

const skip = cannotMakeNamespaces()
let net: JoinedNamespaces
let live: LiveStack
let record: NetworkRecord

function setUp(outside: string, inside: string): string[] {
  return [
    `link add eth0 netns ${inside} mtu 1450 address 02:00:00:00:77:02 type veth peer name p0 netns ${outside}`,
    `link add eth1 netns ${inside} type veth peer name p1 netns ${outside}`,
    `link add eth2 netns ${inside} type veth peer name p2 netns ${outside}`,
    `-n ${inside} link add br0 type bridge`,
    ...['p0', 'p1', 'p2'].map(name => `-n ${outside} link set ${name} up`),
    `-n ${inside} addr add 10.77.0.2/24 broadcast 10.77.0.255 dev eth0`,
    `-n ${inside} addr add 10.77.0.3/24 dev eth0 label eth0:1`,
    `-n ${inside} addr add fd77::2/64 dev eth0 nodad`,
    `-n ${inside} addr add fd77::3/64 dev eth0 nodad`,
    `-n ${inside} addr add 192.168.5.1 peer 192.168.5.2/32 dev eth1`,
    `-n ${inside} addr add 10.99.0.1/32 dev lo`,
    `-n ${inside} link set eth0 up`,
    `-n ${inside} link set eth1 up`,
    // As some CNI plugins have it: a gateway that is on no network of the interface's.
    `-n ${inside} route add 169.254.1.1 dev eth0 scope link`,
    `-n ${inside} route add default via 169.254.1.1 dev eth0 mtu 1400`,
    `-n ${inside} route add 10.80.0.0/16 metric 7 nexthop via 10.77.0.1 weight 3 nexthop dev eth1 weight 1`,
    `-n ${inside} route add 10.81.0.0/16 via 10.1.1.1 dev eth0 onlink src 10.77.0.3 table 100`,
    `-n ${inside} route add unreachable 10.82.0.0/16`,
    `-n ${inside} route add default via fd77::1 metric 5`,
    `-n ${inside} neigh add 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent`,
  ]
}

before(async () => {
  if (skip) return
  net = new JoinedNamespaces(setUp)
  live = new LiveStack()
  record = live.takeOver(net.inside)
})
after(() => {
  if (skip) return
  live.close()
  net.close()
})

test('the record is plain JSON', { skip }, () => {
  assert.deepEqual(JSON.parse(JSON.stringify(record)), prune(record))
})

test('each veth is a device with its index, MTU, MAC and state; others are left out', { skip }, () => {
  const { devices } = live.stack
  for (const name of ['lo', 'eth0', 'eth1', 'eth2']) assert.ok(devices.byName(name), name)
  assert.equal(devices.byName('br0'), undefined)
  const eth0 = devices.byName('eth0')!
  assert.equal(eth0.index, record.links.find(link => link.name === 'eth0')!.index)
  assert.equal(eth0.mtu, 1450)
  assert.equal(formatMac(eth0.address), '02:00:00:00:77:02')
  assert.equal(eth0.up, true)
  assert.equal(devices.byName('eth2')!.up, false)
})

test('addresses have their prefixes, peers, labels and places', { skip }, () => {
  const { addresses, devices } = live.stack
  // The order counts within a family.
  const shown = (name: string): string[] => {
    const entries = addresses.of(devices.byName(name)!).filter(entry => !entry.address.isLinkLocal)
    const ofFamily = (isV4: boolean) => entries.filter(entry => entry.address.isV4 === isV4)
    return [...ofFamily(true), ...ofFamily(false)].map(
      ({ address, peer, length, label, broadcast }) =>
        `${address} ${peer ?? '-'}/${length} ${label} ${broadcast ?? '-'}`,
    )
  }
  assert.deepEqual(shown('eth0'), [
    '10.77.0.2 -/24 eth0 10.77.0.255',
    '10.77.0.3 -/24 eth0:1 -',
    'fd77::3 -/64 eth0 -',
    'fd77::2 -/64 eth0 -',
  ])
  assert.equal(addresses.find(IpAddress.of('10.77.0.3'))!.secondary, true)
  const host = record.links.find(link => link.name === 'eth0')!.addresses.map(({ address }) => address)
  assert.deepEqual(
    host.filter(address => address.startsWith('fd77')),
    ['fd77::3', 'fd77::2'],
  )
  assert.deepEqual(shown('eth1'), ['192.168.5.1 192.168.5.2/32 eth1 -'])
  assert.deepEqual(shown('lo'), ['127.0.0.1 -/8 lo -', '10.99.0.1 -/32 lo -', '::1 -/128 lo -'])
  assert.ok(addresses.find(IpAddress.of('fd77::2'))!.usable)
})

test('routes have their ways, metrics and tables, and addresses bring their own', { skip }, () => {
  assert.deepEqual(routesOf(live.stack.fib4), [
    '100: 10.81.0.0/16 via 10.1.1.1 dev eth0 onlink src 10.77.0.3',
    '254: 0.0.0.0/0 via 169.254.1.1 dev eth0 mtu 1400',
    '254: 10.77.0.0/24 dev eth0 src 10.77.0.2',
    '254: 10.80.0.0/16 via 10.77.0.1 dev eth0 x3 dev eth1 metric 7',
    '254: 10.82.0.0/16 type 7',
    '254: 169.254.1.1/32 dev eth0',
    '254: 192.168.5.2/32 dev eth1 src 192.168.5.1',
  ])
  assert.ok(routesOf(live.stack.fib6).includes('254: ::/0 via fd77::1 dev eth0 metric 5'))
})

test('neighbours that somebody has set are known for good', { skip }, () => {
  const device = live.stack.devices.byName('eth0')!
  const entry = live.stack.neighbours4.find(device, IpAddress.of('169.254.1.1'))
  assert.equal(entry?.state, NUD_PERMANENT)
  assert.equal(formatMac(entry.hardware), 'ee:ee:ee:ee:ee:ee')
})

test('what was taken over, the host has no more', { skip }, () => {
  const left = readNamed(net.inside)
  for (const link of left.links) if (link.kind === 'veth') assert.deepEqual(link.addresses, [], link.name)
  // This one leads nowhere; it keeps the host from nothing.
  assert.deepEqual(
    left.routes.map(route => route.destination),
    ['10.82.0.0'],
  )
})

/** Lines as of ip(8), sorted, without those of the local table. */
function routesOf(fib: Fib): string[] {
  const lines: string[] = []
  for (const route of fib.routes()) {
    if (route.table === 255) continue
    const words = [`${route.table}: ${route.destination}/${route.length}`]
    for (const { gateway, device, weight, flags } of route.nextHops) {
      if (gateway !== undefined) words.push(`via ${gateway}`)
      words.push(`dev ${device.name}`)
      if ((flags & 4) !== 0) words.push('onlink')
      if (weight > 1) words.push(`x${weight}`)
    }
    if (route.type !== 1) words.push(`type ${route.type}`)
    if (route.source !== undefined) words.push(`src ${route.source}`)
    if (route.priority !== 0) words.push(`metric ${route.priority}`)
    if (route.metrics.mtu) words.push(`mtu ${route.metrics.mtu}`)
    lines.push(words.join(' '))
  }
  return lines.sort()
}

/** Without what is undefined, as JSON leaves it out. */
function prune<T>(value: T): T {
  if (Array.isArray(value)) return value.map(prune) as T
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).filter(([, inner]) => inner !== undefined)
  return Object.fromEntries(entries.map(([key, inner]) => [key, prune(inner)])) as T
}
