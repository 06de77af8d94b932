import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IpAddress } from '../../address.ts'
import { Packet } from '../../packet.ts'
import { UNTRACKED } from './connection.ts'
import { Template, ZONE_BOTH, ZONE_ORIGINAL, ZONE_REPLY } from './template.ts'
import { Tuple } from './tuple.ts'

test('conntrack: tuples of other zones are others, and answers are of the same zone', () => {
  const here = new Tuple(IpAddress.v4(1), IpAddress.v4(2), 17, 3, 4)
  const there = here.in(7)
  assert.equal(here.zone, 0)
  assert.equal(here.equals(there), false)
  assert.equal(there.in(0).equals(here), true)
  assert.equal(here.in(0), here)
  assert.equal(there.invert()?.zone, 7)
})

test('conntrack: a template says the zone of one direction or of both, of packets that are not tracked yet', () => {
  const zones = (directions: number) => {
    const { original, reply } = new Template(7, directions)
    return [original, reply]
  }
  assert.deepEqual(zones(ZONE_BOTH), [7, 7])
  assert.deepEqual(zones(ZONE_ORIGINAL), [7, 0])
  assert.deepEqual(zones(ZONE_REPLY), [0, 7])
  const packet = new Packet(new Uint8Array(1))
  const template = new Template(7, ZONE_BOTH)
  template.attach(packet)
  new Template(8, ZONE_BOTH).attach(packet)
  assert.equal(packet.connection, template)
  packet.connection = UNTRACKED
  template.attach(packet)
  assert.equal(packet.connection, UNTRACKED)
})
