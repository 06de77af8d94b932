import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  IPSET_ERR_EXIST,
  IPSET_ERR_HASH_ELEM,
  IPSET_ERR_HASH_FULL,
  IPSET_ERR_MAX_SETS,
  IPSET_ERR_REFERENCED,
  IPSET_ERR_TYPE_MISMATCH,
} from '../../../abi/constants.ts'
import { IpAddress } from '../../address.ts'
import { FilterWorld } from '../../netlink/netfilter/testing.ts'
import { FilterRoom } from '../room.ts'
import { IpSet, type SetConfig } from './set.ts'
import { IpSets } from './sets.ts'
import { findType, type MemberKey, NO_KEY } from './types.ts'

const CONFIG: SetConfig = {
  ...{ hashSize: 1024, maxElements: 3, timeout: undefined, counters: false, comments: false },
  ...{ forceAdd: false, netmask: 32, bucketSize: 12, initialValue: 0, range: [0, 0] },
}

function setOf(type: string, config: Partial<SetConfig> = {}, room = new FilterRoom(100)) {
  const world = new FilterWorld()
  const { runtime } = world.namespace().net.netfilter.stack
  return { world, set: new IpSet(runtime, room, 's', findType(type)!, true, { ...CONFIG, ...config }) }
}
const at = (text: string, length = 32): MemberKey => ({ ...NO_KEY, address: IpAddress.of(text), length })

test('ipset: an address is in the smallest network around it, which may exempt it', () => {
  const { set } = setOf('hash:net')
  set.add(at('10.0.0.0', 8), {}, false)
  set.add(at('10.1.0.0', 16), { noMatch: true }, false)
  assert.equal(set.find(at('10.2.3.4'))?.noMatch, false)
  assert.equal(set.find(at('10.1.3.4'))?.noMatch, true)
  assert.equal(set.find(at('11.2.3.4')), undefined)
  set.remove(at('10.1.0.0', 16))
  assert.equal(set.find(at('10.1.3.4'))?.noMatch, false)
  assert.deepEqual(set.lengths(), [8])
})

test('ipset: a set takes what it was made for, and what all sets together have room for', () => {
  const room = new FilterRoom(2)
  const { set } = setOf('hash:ip', {}, room)
  assert.equal(set.add(at('1.0.0.1'), {}, false), 0)
  assert.equal(set.add(at('1.0.0.1'), {}, false), -IPSET_ERR_EXIST)
  assert.equal(set.add(at('0.0.0.0'), {}, false), -IPSET_ERR_HASH_ELEM)
  assert.equal(set.add(at('1.0.0.2'), {}, false), 0)
  assert.equal(set.add(at('1.0.0.3'), {}, false), -IPSET_ERR_HASH_FULL)
  set.clear()
  assert.equal(room.left, 2)
})

test('ipset: what has a time is gone when it is over, and makes room', () => {
  const { world, set } = setOf('hash:ip', { timeout: 10 })
  for (const text of ['1.0.0.1', '1.0.0.2']) set.add(at(text), {}, false)
  set.add(at('1.0.0.3'), { timeout: 0 }, false)
  assert.equal(set.add(at('1.0.0.4'), {}, false), -IPSET_ERR_HASH_FULL)
  world.run(11)
  assert.equal(set.find(at('1.0.0.1')), undefined)
  assert.equal(set.add(at('1.0.0.4'), {}, false), 0)
  assert.ok(set.find(at('1.0.0.3')) !== undefined)
})

test('ipset: sets that are swapped take names, numbers and users from each other', () => {
  const sets = new IpSets(new FilterRoom(2))
  const { set: a } = setOf('hash:ip')
  const { set: b } = setOf('hash:ip')
  b.name = 'b'
  sets.add(a)
  sets.add(b)
  sets.use(a.index)
  assert.equal(sets.swap(a, b), 0)
  assert.deepEqual([sets.find('b'), sets.at(0), b.references], [a, b, 1])
  assert.ok(sets.remove(b) < 0)
  assert.equal(sets.remove(a), 0)
})

test('ipset: a set that a rule refers to keeps its name, and may be swapped with one of other making', () => {
  const sets = new IpSets(new FilterRoom(3))
  const { set } = setOf('hash:ip')
  const { set: bitmap } = setOf('bitmap:ip')
  const { set: networks } = setOf('hash:net')
  bitmap.name = 'bitmap'
  networks.name = 'networks'
  for (const each of [set, bitmap, networks]) assert.equal(sets.add(each), 0)
  sets.use(set.index)
  assert.equal(sets.rename(set, 'other'), -IPSET_ERR_REFERENCED)
  assert.equal(sets.swap(set, networks), -IPSET_ERR_TYPE_MISMATCH)
  assert.equal(sets.swap(set, bitmap), 0)
  assert.equal(sets.rename(set, 'other'), 0)
})

test('ipset: a set takes its room with it when it goes, in use or not', () => {
  const room = new FilterRoom(4)
  const sets = new IpSets(room)
  const { set } = setOf('hash:ip', {}, room)
  sets.add(set)
  sets.use(set.index)
  for (const text of ['1.0.0.1', '1.0.0.2', '1.0.0.3']) assert.equal(set.add(at(text), {}, false), 0)
  const { set: another } = setOf('hash:ip', {}, room)
  another.name = 'another'
  assert.equal(sets.add(another), -IPSET_ERR_MAX_SETS)
  sets.clear()
  assert.equal(room.left, 4)
})

test('ipset: what a set without timeouts is given stays, whatever time a rule says', () => {
  const { world, set } = setOf('hash:ip')
  set.add(at('1.0.0.1'), { timeout: 5 }, false)
  world.run(10)
  assert.ok(set.find(at('1.0.0.1')) !== undefined)
})

test('ipset: the room of what is over is found even if all of it is taken', () => {
  const room = new FilterRoom(2)
  const { world, set } = setOf('hash:ip', { timeout: 10 }, room)
  for (const text of ['1.0.0.1', '1.0.0.2']) set.add(at(text), {}, false)
  assert.equal(set.add(at('1.0.0.3'), {}, false), -IPSET_ERR_HASH_FULL)
  world.run(11)
  assert.equal(set.add(at('1.0.0.3'), {}, false), 0)
})
