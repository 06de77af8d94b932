import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ARPHRD_ETHER, ARPHRD_LOOPBACK, IFF_LOOPBACK, IFF_UP } from '../../abi/constants.ts'
import { FOREVER } from '../ip/interface-address.ts'
import { compareNetworks, isEmptyChange, SIDE_NAME, withChange } from './change.ts'
import type { AddressRecord, LinkRecord, NetworkRecord, RouteRecord } from './record.ts'

function address(text: string): AddressRecord {
  const [plain, length] = text.split('/')
  const rest = { scope: 0, flags: 0, priority: 0, valid: FOREVER, preferred: FOREVER }
  return { address: plain, length: Number(length), ...rest }
}

function link(index: number, addresses: readonly string[], name = `eth${index}`): LinkRecord {
  const rest = {
    kind: 'veth',
    mtu: 1500,
    mac: `02:00:00:00:00:0${index}`,
    txQueueLength: 0,
    ipv6Disabled: false,
  }
  const type = name === 'lo' ? ARPHRD_LOOPBACK : ARPHRD_ETHER
  const flags = name === 'lo' ? IFF_UP | IFF_LOOPBACK : IFF_UP
  return { index, name, type, flags, ...rest, addresses: addresses.map(address) }
}

function route(to: string, over: number, gateway?: string): RouteRecord {
  const [destination, length] = to.split('/')
  const rest = { table: 254, type: 1, scope: 0, protocol: 3, tos: 0, priority: 0, metrics: {} }
  return {
    destination,
    length: Number(length),
    ...rest,
    hops: [{ link: over, gateway, weight: 1, flags: 0 }],
  }
}

const record = (links: readonly LinkRecord[], routes: readonly RouteRecord[] = []): NetworkRecord => ({
  links: [link(1, ['127.0.0.1/8'], 'lo'), ...links],
  routes,
  neighbours: [],
})

const DEFAULT = '0.0.0.0/0'
const taken = record([link(2, ['10.0.0.2/24', 'fd00::2/64'])], [route(DEFAULT, 2, '10.0.0.1')])

test('a network that was taken, and whose addresses the host has no more, has not changed', () => {
  const now = record([link(2, []), link(3, ['127.255.255.254/32'], SIDE_NAME)], [route('127.0.0.0/8', 3)])
  assert.ok(isEmptyChange(compareNetworks(taken, now, false)))
})

test('an interface that has come is added with its addresses and routes, and is not again', () => {
  const now = record([link(2, []), link(4, ['10.1.0.2/24'])], [route('10.9.0.0/16', 4, '10.1.0.1')])
  const change = compareNetworks(taken, now, false)
  assert.deepEqual(change.added.links, [link(4, ['10.1.0.2/24'])])
  assert.deepEqual(change.added.routes, now.routes)
  assert.deepEqual(change.removed, { links: [], addresses: [], routes: [] })
  const then = withChange(taken, change)
  assert.deepEqual(
    then.links.map(({ name }) => name),
    ['lo', 'eth2', 'eth4'],
  )
  assert.ok(isEmptyChange(compareNetworks(then, record([link(2, []), link(4, [])]), false)))
})

test('an interface that is gone takes what depends on it along', () => {
  const change = compareNetworks(taken, record([]), false)
  assert.deepEqual(change.removed.links, [2])
  assert.deepEqual(withChange(taken, change), record([]))
})

test('an address that an interface has got later is added to those it has', () => {
  const change = compareNetworks(taken, record([link(2, ['10.0.0.3/24'])]), false)
  assert.deepEqual(change.added.links, [link(2, ['10.0.0.3/24'])])
  assert.deepEqual(withChange(taken, change).links[1], link(2, ['10.0.0.2/24', 'fd00::2/64', '10.0.0.3/24']))
})

test('a route takes the place of one to the same destination', () => {
  const now = record([link(2, [])], [route(DEFAULT, 2, '10.0.0.9')])
  const change = compareNetworks(taken, now, false)
  assert.deepEqual(withChange(taken, change).routes, now.routes)
  const back = record([link(2, [])], taken.routes)
  assert.deepEqual(compareNetworks(withChange(taken, change), back, false).added.routes, taken.routes)
})

test('where the host keeps its IPv4 addresses and routes, those that it has no more are removed', () => {
  const now = record([link(2, ['10.0.0.7/24'])], [route('10.9.0.0/16', 2, '10.0.0.1')])
  const { added, removed } = compareNetworks(taken, now, true)
  assert.deepEqual(added.links, [link(2, ['10.0.0.7/24'])])
  assert.deepEqual(removed.addresses, [{ link: 2, address: '10.0.0.2', length: 24 }])
  assert.deepEqual(removed.routes, taken.routes)
  const then = withChange(taken, { added, removed })
  assert.deepEqual(then.links[1], link(2, ['fd00::2/64', '10.0.0.7/24']))
  assert.deepEqual(then.routes, now.routes)
})
