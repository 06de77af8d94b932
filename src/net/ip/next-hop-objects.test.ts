import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AF_INET, AF_UNSPEC, RTN_BLACKHOLE, RTN_UNICAST } from '../../abi/constants.ts'
import { IpAddress } from '../address.ts'
import { FibRoute } from './fib.ts'
import type { NextHopObject } from './next-hop-objects.ts'
import { addAddress, RecorderDevice, TestNet } from './testing.ts'

function made() {
  const stack = new TestNet().stack()
  const device = new RecorderDevice()
  stack.devices.register(device)
  addAddress(stack, device, '10.0.0.1/24')
  stack.devices.setUp(device, true)
  const { nextHops } = stack
  const way = (id: number, more: Partial<NextHopObject> = {}): NextHopObject => {
    const shared = { protocol: 0, scope: 0, flags: 0, blackhole: false, gateway: undefined, group: undefined }
    return { ...shared, id, family: AF_INET, device, ...more }
  }
  const group = (id: number, ...ids: number[]) =>
    way(id, { family: AF_UNSPEC, device: undefined, group: ids.map(id => ({ id, weight: 1 })) })
  const routeBy = (id: number, prefix: string) => {
    const route = new FibRoute(IpAddress.of(prefix), 16)
    route.nextHopId = id
    route.nextHops = nextHops.hopsOf(nextHops.find(id)!)
    stack.addRoute(route, {})
    return route
  }
  return { stack, device, nextHops, way, group, routeBy }
}

test('next hop objects: a route leads nowhere as long as its object does, also as the only one of a group', () => {
  const { nextHops, way, group, routeBy } = made()
  nextHops.set(way(1))
  nextHops.set(group(2, 1))
  const routes = [routeBy(1, '10.1.0.0'), routeBy(2, '10.2.0.0')]
  nextHops.set(way(1, { blackhole: true, device: undefined }))
  assert.deepEqual(
    routes.map(({ type }) => type),
    [RTN_BLACKHOLE, RTN_BLACKHOLE],
  )
  nextHops.set(way(1))
  assert.deepEqual(
    routes.map(({ type }) => type),
    [RTN_UNICAST, RTN_UNICAST],
  )
})

test('next hop objects: with a device end its ways, groups of only those, and what goes by them', () => {
  const { stack, device, nextHops, way, group, routeBy } = made()
  const gone: number[] = []
  nextHops.listener = { nextHopChanged: ({ id }, isGone) => void (isGone && gone.push(id)) }
  nextHops.set(way(1))
  nextHops.set(way(2, { blackhole: true, device: undefined }))
  nextHops.set(group(3, 1))
  routeBy(3, '10.1.0.0')
  routeBy(2, '10.2.0.0')
  stack.devices.setUp(device, false)
  assert.deepEqual(gone, [1, 3])
  assert.deepEqual(
    nextHops.all().map(({ id }) => id),
    [2],
  )
  assert.deepEqual(
    [...stack.fib4.routes()].map(({ nextHopId }) => nextHopId).filter(id => id !== 0),
    [2],
  )
})

test('next hop objects: numbers are not given again at once, and all groups together have no more than their room', () => {
  const { nextHops, way, group } = made()
  assert.equal(nextHops.freeId(), 1)
  nextHops.set(way(1))
  nextHops.set(way(2))
  assert.equal(nextHops.freeId(), 3)
  nextHops.remove([nextHops.find(1)!])
  assert.equal(nextHops.freeId(), 4)
  const large = group(9, ...new Array<number>(1 << 15).fill(2))
  nextHops.set(large)
  nextHops.set({ ...large, id: 10 })
  assert.equal(nextHops.hasRoomFor(group(11, 2)), false)
  assert.equal(nextHops.hasRoomFor({ ...large, id: 10 }), true, 'in place of what is there')
  nextHops.remove([nextHops.find(9)!])
  assert.equal(nextHops.hasRoomFor(group(11, 2)), true)
})
