/** From a trapped call to its handler. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NR } from '../abi/syscall-numbers.ts'
import { testKernel } from '../kernel/testing.ts'
import { call } from '../platform/fake.ts'
import { compileRows } from './dispatch.ts'
import { DATA, fork, kernel, peek, rows } from './testing.ts'

test('an unknown call number is ENOSYS and logged once', () => {
  const { start, log, run: serve } = kernel()
  const seen: number[] = []
  start(function* () {
    seen.push(yield call(999), yield call(999), yield call(5000))
  })
  serve()
  assert.deepEqual(seen, [-38, -38, -38])
  assert.equal(log.length, 2)
})

test('a handler that throws ends the process, not the kernel', () => {
  const broken = {
    nr: 900,
    args: [],
    run: (_task: unknown) => {
      throw new Error('a bug')
    },
  }
  const { start, log, run: serve } = testKernel(compileRows({ ...rows, broken }))
  const seen: number[] = []
  start(function* (thread) {
    yield fork(function* () {
      yield call(900)
    })
    yield call(NR.wait4, [-1, DATA, 0, 0])
    seen.push(peek(thread, DATA) & 0x7f)
  })
  serve()
  assert.deepEqual(seen, [31])
  assert.match(log[0], /a bug/)
})
