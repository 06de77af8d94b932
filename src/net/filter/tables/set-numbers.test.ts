import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SetNumbers } from './set-numbers.ts'

test('sets: a name gets the first free number, whatever other patterns there were meanwhile', () => {
  const numbers = new SetNumbers()
  const taken = new Set<string>()
  const take = (pattern: string): number | undefined => {
    const number = numbers.take(pattern, name => taken.has(name))
    taken.add(pattern.replace('%d', String(number)))
    return number
  }
  assert.deepEqual([take('__set%d'), take('__set%d')], [0, 1])
  for (let i = 0; i < 1000; i++) assert.equal(take(`${i}-%d`), 0)
  assert.equal(take('__set%d'), 2)
  assert.equal(take('999-%d'), 1)
})
