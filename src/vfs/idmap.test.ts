import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CAP_CHOWN } from '../abi/constants.ts'
import { CapabilitySet, Credentials, UserNamespace } from '../base/credentials.ts'
import { INVALID_ID } from '../base/id-map.ts'
import { MountIdmap, NO_OWNER, sameIdmap } from './idmap.ts'

const first = new UserNamespace(undefined, 0, 0, 1)
const map = { inside: 0, outside: 10000, count: 1000 }
const maps = { uidMap: [map], gidMap: [{ inside: 0, outside: 20000, count: 500 }] }

test('idmap: what is kept is seen by the map, and the other way round', () => {
  const idmap = new MountIdmap(maps, undefined)
  assert.deepEqual([idmap.uidSeen(0), idmap.uidSeen(999), idmap.uidSeen(1000)], [10000, 10999, INVALID_ID])
  assert.deepEqual([idmap.uidKept(10000), idmap.uidKept(0)], [0, INVALID_ID])
  assert.deepEqual([idmap.gidSeen(7), idmap.gidKept(20007), idmap.gidSeen(500)], [20007, 7, INVALID_ID])
})

test("idmap: over a file system of another user namespace its ids are that one's", () => {
  const owner = new UserNamespace(first, 0, 0, 2)
  owner.uidMap = [{ inside: 0, outside: 50000, count: 10 }]
  owner.gidMap = owner.uidMap
  const idmap = new MountIdmap(maps, owner)
  assert.deepEqual([idmap.uidSeen(50003), idmap.uidSeen(3), idmap.uidKept(10003)], [10003, INVALID_ID, 50003])
})

test('idmap: an identity is translated once, and knows whom files belong to', () => {
  const idmap = new MountIdmap(maps, undefined)
  const cred = new Credentials(first)
  cred.fsuid = 10005
  cred.fsgid = 20006
  cred.groups = [20007, 3]
  cred.effective = CapabilitySet.ALL
  const known = idmap.translate(cred)
  assert.equal(idmap.translate(cred), known)
  assert.deepEqual([known.fsuid, known.fsgid, known.groups], [5, 6, [7, NO_OWNER]])
  assert.deepEqual(
    [known.knowsUid(5), known.knowsUid(10005), known.mapsUid(5), known.mapsUid(5000)],
    [true, false, true, false],
  )
  assert.equal(known.capable(CAP_CHOWN), true)
  assert.deepEqual([cred.fsuid, cred.knowsUid(10005)], [10005, true])
})

test('idmap: nobody is a member of a group that nobody has', () => {
  const cred = new Credentials(first)
  cred.fsgid = 5
  cred.groups = [3]
  const known = new MountIdmap(maps, undefined).translate(cred)
  assert.equal(known.inGroup(3), false)
  assert.equal(known.inGroup(5), false)
  assert.deepEqual([known.inGroup(INVALID_ID), known.fsuid === INVALID_ID], [false, false])
})

test('idmap: maps with the same lines are the same', () => {
  const one = new MountIdmap(maps, undefined)
  assert.equal(
    sameIdmap(one, new MountIdmap({ uidMap: [{ ...map }], gidMap: [...maps.gidMap] }, undefined)),
    true,
  )
  assert.equal(sameIdmap(one, new MountIdmap({ uidMap: [map], gidMap: [map] }, undefined)), false)
  assert.deepEqual([sameIdmap(one, undefined), sameIdmap(undefined, undefined)], [false, true])
})
