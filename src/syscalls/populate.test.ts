import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MADV_COLLAPSE } from '../abi/constants.ts'
import { BLOCK } from '../base/result.ts'
import type { Task } from '../kernel/task.ts'
import { Population, populate } from './populate.ts'

const HUGE = 1 << 21

test('advice about huge pages is given about whole ones, wherever its range begins', () => {
  let now = 0
  const task = { kernel: { now: () => now }, yieldCall: () => BLOCK } as unknown as Task
  const start = 0x7000_0000_1000
  const end = start + 64 * HUGE
  const population = new Population(start, end, MADV_COLLAPSE)
  const whole = new Set<number>()
  let at = start
  let result: number
  do {
    result = populate(task, population, (from, length) => {
      assert.equal(from, at)
      at += length
      now += 3_000_000
      for (let page = Math.ceil(from / HUGE) * HUGE; page + HUGE <= at; page += HUGE) whole.add(page)
      return 0
    })
  } while (result === BLOCK)
  assert.equal(result, 0)
  assert.equal(at, end)
  assert.equal(whole.size, 63)
})
