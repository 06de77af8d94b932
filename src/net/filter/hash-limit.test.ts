import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HashLimit, type HashLimitConfig, HashLimits } from './hash-limit.ts'
import { FilterRoom } from './room.ts'

const SECOND = 1e9
const CONFIG: HashLimitConfig = {
  ...{ mode: 0, sourceLength: 32, destinationLength: 32 },
  ...{ cost: SECOND, cap: 2 * SECOND, refills: 0, max: 0, expire: 10_000 },
}

test('hash limit: each key has a rate of its own, which begins with its burst', () => {
  const limit = new HashLimit(CONFIG, new FilterRoom())
  assert.deepEqual(
    [0, 0, 0, SECOND].map(now => limit.allows('a', 1, now)),
    [true, true, false, true],
  )
  assert.equal(limit.allows('b', 1, SECOND), true)
})

test('hash limit: there is room for so many keys, and again when the first are forgotten', () => {
  const limit = new HashLimit({ ...CONFIG, max: 2 }, new FilterRoom())
  assert.equal(limit.allows('a', 1, 0), true)
  assert.equal(limit.allows('b', 1, 5 * SECOND), true)
  assert.equal(limit.allows('c', 1, 6 * SECOND), undefined)
  assert.equal(limit.allows('c', 1, 11 * SECOND), true)
})

test('hash limit: of bytes, a burst gives the whole so many times more', () => {
  const limit = new HashLimit({ ...CONFIG, cap: SECOND, refills: 1 }, new FilterRoom())
  assert.deepEqual(
    [0, 0, 0].map(now => limit.allows('a', 5, now)),
    [true, true, false],
  )
})

test('hash limit: all keys of a kernel have one room, which a forgotten key and the last rule give back', () => {
  const room = new FilterRoom(2)
  const [a, b] = [new HashLimits(room), new HashLimits(room)]
  const [first, second] = [a.use('x', CONFIG), b.use('x', CONFIG)]
  assert.equal(first.allows('a', 1, 0), true)
  assert.equal(first.allows('b', 1, 0), true)
  assert.equal(second.allows('c', 1, 0), undefined)
  assert.equal(first.allows('c', 1, 11 * SECOND), true)
  assert.equal(second.allows('c', 1, 11 * SECOND), true)
  a.unuse('x')
  b.clear()
  assert.equal(room.left, 2)
})
