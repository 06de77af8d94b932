import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IpAddress } from '../address.ts'
import { RecentLists, stampsFor } from './recent.ts'
import { FilterRoom } from './room.ts'

const address = (last: number) => IpAddress.of(`10.0.${last >> 8}.${last & 0xff}`)

test('recent: a list keeps the last times of an address, as many as rules ask for', () => {
  const list = new RecentLists(new FilterRoom()).use('x', stampsFor(3), undefined)
  for (const now of [1, 2, 3, 4, 5]) list.see(address(1), 64, now)
  assert.equal(list.find(address(1), 0)?.seenSince(3), 3)
  assert.equal(list.find(address(1), 0)?.seenSince(0), 4)
  assert.equal(list.find(address(1), 63), undefined, 'of another hop limit')
  assert.equal(list.find(address(2), 0), undefined)
})

test('recent: the longest unseen address gives way when the list is full', () => {
  const list = new RecentLists(new FilterRoom()).use('x', 1, undefined)
  for (let i = 0; i < 100; i++) list.see(address(i), 64, i)
  list.see(address(0), 64, 100)
  list.see(address(500), 64, 101)
  assert.equal(list.find(address(1), 0), undefined)
  assert.ok(list.find(address(0), 0) !== undefined)
})

test('recent: a list is gone when no rule names it any more', () => {
  const lists = new RecentLists(new FilterRoom())
  const list = lists.use('x', 1, undefined)
  assert.equal(lists.use('x', 1, undefined), list)
  lists.unuse('x')
  list.see(address(1), 64, 1)
  assert.ok(lists.use('x', 1, undefined).find(address(1), 0) !== undefined)
  lists.unuse('x')
  lists.unuse('x')
  assert.equal(lists.use('x', 1, undefined).find(address(1), 0), undefined)
})

test('recent: addresses of one network are one where the list has a mask', () => {
  const list = new RecentLists(new FilterRoom()).use('x', 1, IpAddress.of('255.255.255.0'))
  list.see(list.masked(address(1)), 64, 1)
  assert.ok(list.find(list.masked(address(2)), 0) !== undefined)
})

test('recent: where there is no room for another address, the longest unseen one of the list gives way', () => {
  const room = new FilterRoom(9)
  const lists = new RecentLists(room)
  const list = lists.use('x', stampsFor(255), undefined)
  const other = lists.use('y', stampsFor(0), undefined)
  list.see(address(1), 64, 1)
  assert.equal(room.left, 1, 'it may get many times')
  list.see(address(2), 64, 2)
  assert.equal(list.find(address(1), 0), undefined)
  assert.ok(list.find(address(2), 0) !== undefined)
  other.see(address(1), 64, 3)
  assert.equal(room.left, 0)
  list.remove(address(2))
  lists.unuse('y')
  assert.equal(room.left, 9)
})
