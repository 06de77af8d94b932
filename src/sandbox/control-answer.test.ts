import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseAnswer } from './control-answer.ts'

const PROCESS = {
  pid: 1,
  hostPid: 5,
  ppid: 0,
  uid: 0,
  comm: 'sh',
  args: ['sh', '-c', 'x'],
  terminal: '',
  startedMs: 1,
  cpuMs: 2,
}
const STATS = {
  memory: 1,
  memoryPeak: 2,
  oomKills: 0,
  pids: 1,
  cpuUsageMs: 1.5,
  cpuUserMs: 1.5,
  cpuSystemMs: 0,
}

test('control answer: those of the protocol come through as they are', () => {
  const answers = [
    { done: true },
    { started: { pid: 7 } },
    { error: 'no' },
    { error: 'no such program', status: 127 },
    { info: { id: 'a', command: 'sh', startedMs: 1, processes: 2 } },
    { processes: [PROCESS] },
    { processes: [] },
    { stats: STATS },
    { containers: [{ id: 'a', status: 'running', pid: 1 }] },
  ]
  for (const answer of answers) assert.deepEqual(parseAnswer(JSON.stringify(answer)), answer)
})

test('control answer: what is of another form is none', () => {
  const lines = [
    '',
    'null',
    '3',
    '[]',
    '{}',
    '{"done":false}',
    '{"done":{}}',
    '{"error":{"toString":1}}',
    '{"started":null}',
    '{"started":{"pid":"1"}}',
    '{"started":{"pid":1e999}}',
    '{"processes":{"map":1}}',
    '{"processes":[null]}',
    JSON.stringify({ processes: [{ ...PROCESS, args: [1] }] }),
    JSON.stringify({ stats: { ...STATS, oomKills: null } }),
    `{"stats":${'['.repeat(1e6)}${']'.repeat(1e6)}}`,
    '{"__proto__":{"done":true}}',
    '{"toString":true}',
  ]
  for (const line of lines) assert.equal(parseAnswer(line), undefined, line.slice(0, 80))
})

test('control answer: an error counts whatever else is there, and a status must be one', () => {
  assert.deepEqual(parseAnswer('{"done":true,"error":"x"}'), { error: 'x' })
  for (const status of ['"1"', '0', '256', '1.5', '{}']) {
    assert.deepEqual(parseAnswer(`{"error":"x","status":${status}}`), { error: 'x' })
  }
})

test('control answer: no more than was asked for, and no text that a terminal would obey', () => {
  const answer = parseAnswer(
    JSON.stringify({ processes: [{ ...PROCESS, comm: '\x1b]0;x\x07\u202e', more: 1 }] }),
  )
  assert.deepEqual(answer, { processes: [{ ...PROCESS, comm: '?]0;x??' }] })
  assert.deepEqual(parseAnswer('{"error":"a\\nb\\u009b2J"}'), { error: 'a b?2J' })
  const long = parseAnswer(JSON.stringify({ error: 'x'.repeat(1e6) }))
  assert.ok(long !== undefined && 'error' in long && long.error.length < 10_000)
})
