import assert from 'node:assert/strict'
import { test } from 'node:test'
import { answerTo, type ControlTarget } from './control.ts'

const INFO = { id: '12', command: 'sleep 9', startedMs: 1, processes: 2 }

function target(): ControlTarget & { traced: boolean[] } {
  const traced: boolean[] = []
  return { traced, info: () => INFO, setStrace: on => traced.push(on) }
}

test('control: info is answered', () => {
  assert.deepEqual(answerTo('{"command":"info"}', target()), { info: INFO })
})

test('control: strace is switched, and nothing else but true and false is taken', () => {
  const sandbox = target()
  assert.deepEqual(answerTo('{"command":"strace","on":true}', sandbox), { done: true })
  assert.ok('error' in answerTo('{"command":"strace","on":1}', sandbox))
  assert.deepEqual(sandbox.traced, [true])
})

test('control: nonsense is answered with an error', () => {
  for (const line of ['', 'null', '[]', '{"command":"reboot"}', '{'])
    assert.ok('error' in answerTo(line, target()))
})
