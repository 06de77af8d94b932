import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SIGSYS } from '../abi/constants.ts'
import { call, type Program } from '../platform/fake.ts'
import type { SyscallTable, Trace } from './kernel.ts'
import { testKernel } from './testing.ts'

const CALL = 1
const FAILING = 2

const table: SyscallTable = {
  decode() {},
  touches: () => false,
  name: nr => `call${nr}`,
  run(_task, nr) {
    if (nr === FAILING) throw new Error('in a handler')
    return 0
  },
}
const quiet: Trace = { enter() {}, exit() {}, signal() {}, ended() {}, blocked() {} }

function calling(nr: number): Program {
  return function* () {
    yield call(nr)
    assert.fail('it goes on')
  }
}

test('a bug in a handler ends the process, with what is known of it in the log', () => {
  const { start, run, log } = testKernel(table)
  start(calling(FAILING))
  assert.equal(run() & 0x7f, SIGSYS)
  assert.match(log.join('\n'), /^bug: call2\(.*Error: in a handler\n +at /m)
})

test('a bug on the way into a call or back does so, too, and the kernel goes on', () => {
  for (const place of ['enter', 'exit'] as const) {
    const { kernel, start, run, log } = testKernel(table)
    kernel.trace = {
      ...quiet,
      [place]() {
        throw new Error(`at ${place}`)
      },
    }
    const task = start(calling(CALL))
    assert.equal(run() & 0x7f, SIGSYS)
    assert.ok(task.ended)
    assert.match(log.join('\n'), new RegExp(`^bug: call1.*Error: at ${place}`, 'm'))
  }
})
