import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PageSet } from './page-set.ts'

test('page set: what is added is found, counted once, and gone when it is deleted', () => {
  const set = new PageSet()
  assert.equal(set.add(500, 1100), 600)
  assert.equal(set.add(1000, 1200), 100)
  assert.deepEqual(
    [499, 500, 1199, 1200].map(page => set.has(page)),
    [false, true, true, false],
  )
  assert.deepEqual([set.missing(0, 9), set.missing(500, 5000), set.missing(500, 800)], [0, 1200, 800])
  assert.deepEqual([set.next(0, 5000), set.next(700, 5000), set.next(1200, 5000)], [500, 700, 5000])
  assert.equal(set.delete(600, 1024), 424)
  assert.deepEqual([set.missing(500, 5000), set.next(600, 5000)], [600, 1024])
  assert.equal(set.delete(0), 276)
  assert.equal(set.next(0, 5000), 5000)
})

test('page set: far away is as near as any other place', () => {
  const set = new PageSet()
  const far = 2 ** 51 - 2
  set.add(3, 4)
  set.add(far, far + 1)
  assert.deepEqual([set.next(4, 2 ** 51), set.missing(far, far + 2)], [far, far + 1])
  assert.equal(set.delete(4), 1)
  assert.ok(set.has(3))
})
