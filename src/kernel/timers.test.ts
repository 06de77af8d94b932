import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Timer, Timers } from './timers.ts'

test('timers: due ones expire in the order of their deadlines, moved and cancelled ones included', () => {
  const timers = new Timers()
  const order: number[] = []
  const made = Array.from({ length: 50 }, (_, i) => {
    const timer = new Timer({ expired: () => order.push(i) })
    timers.add(timer, (i * 37) % 50)
    return timer
  })
  timers.add(made[10], 100)
  timers.cancel(made[20])
  timers.cancel(made[20])
  assert.equal(made[20].armed, false)
  timers.expire(60)
  const expected = made.map((_, i) => i).filter(i => i !== 10 && i !== 20)
  expected.sort((a, b) => ((a * 37) % 50) - ((b * 37) % 50))
  assert.deepEqual(order, expected)
  assert.equal(timers.next, 100)
  timers.expire(100)
  assert.equal(order.at(-1), 10)
  assert.equal(timers.next, Number.POSITIVE_INFINITY)
})

test('timers: a timer may arm itself again when it expires', () => {
  const timers = new Timers()
  let count = 0
  const timer: Timer = new Timer({
    expired: () => {
      if (++count < 3) timers.add(timer, count * 10)
    },
  })
  timers.add(timer, 0)
  timers.expire(15)
  assert.equal(count, 2)
  timers.expire(20)
  assert.equal(count, 3)
})
