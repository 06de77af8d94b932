import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HashLimit } from './hash-limit.ts'

const SECOND = 1e9
const CONFIG = { mode: 0, cost: SECOND, cap: 2 * SECOND, refills: 0, max: 0, expire: 10_000 }

test('hash limit: each key has a rate of its own, which begins with its burst', () => {
  const limit = new HashLimit(CONFIG)
  assert.deepEqual(
    [0, 0, 0, SECOND].map(now => limit.allows('a', 1, now)),
    [true, true, false, true],
  )
  assert.equal(limit.allows('b', 1, SECOND), true)
})

test('hash limit: there is room for so many keys, and again when the first are forgotten', () => {
  const limit = new HashLimit({ ...CONFIG, max: 2 })
  assert.equal(limit.allows('a', 1, 0), true)
  assert.equal(limit.allows('b', 1, 5 * SECOND), true)
  assert.equal(limit.allows('c', 1, 6 * SECOND), undefined)
  assert.equal(limit.allows('c', 1, 11 * SECOND), true)
})

test('hash limit: of bytes, a burst gives the whole so many times more', () => {
  const limit = new HashLimit({ ...CONFIG, cap: SECOND, refills: 1 })
  assert.deepEqual(
    [0, 0, 0].map(now => limit.allows('a', 5, now)),
    [true, true, false],
  )
})
