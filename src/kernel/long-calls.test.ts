import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SIGKILL } from '../abi/constants.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { Clock } from '../base/clock.ts'
import { call } from '../platform/fake.ts'
import { int, type SyscallRows } from '../syscalls/args.ts'
import { compileRows } from '../syscalls/dispatch.ts'
import { DATA, fork, peek, rows } from '../syscalls/testing.ts'
import { LongCalls } from './long-calls.ts'
import type { Task } from './task.ts'
import { testKernel } from './testing.ts'

const LONG = 900
const NOTE = 901

/** A call of so many shares, and one that notes who made it. */
function longRows(seen: string[]): SyscallRows {
  return {
    ...rows,
    long: {
      nr: LONG,
      args: [int],
      run(task: Task, shares: number) {
        const done = (typeof task.progress === 'number' ? task.progress : 0) + 1
        seen.push(`share of ${task.tid}`)
        if (done === shares) return done
        task.progress = done
        return task.yieldCall()
      },
    },
    note: {
      nr: NOTE,
      args: [],
      run(task: Task) {
        seen.push(`call of ${task.tid}`)
        return 0
      },
    },
  }
}

test('between two shares of a long call others are served, and long calls take turns', () => {
  const seen: string[] = []
  const { start, run } = testKernel(compileRows(longRows(seen)))
  let result = 0
  start(function* () {
    yield fork(function* () {
      for (let i = 0; i < 3; i++) yield call(NOTE)
    })
    yield fork(function* () {
      yield call(LONG, [3])
    })
    result = yield call(LONG, [4])
  })
  run()
  assert.equal(result, 4)
  const calls = seen.map((text, i) => (text.startsWith('call') ? i : -1)).filter(i => i >= 0)
  assert.equal(calls.length, 3)
  assert.ok(calls[2] < seen.length - 3, `the last share comes long after the calls: ${seen}`)
  const shares = seen.filter(text => text.startsWith('share'))
  assert.equal(shares.length, 7)
  assert.notEqual(shares[2], shares[3], 'they take turns')
})

test('a fatal signal ends a long call', () => {
  const seen: string[] = []
  const { kernel, start, run } = testKernel(compileRows(longRows(seen)))
  let status = 0
  start(function* (thread) {
    const child = yield fork(function* () {
      yield call(LONG, [1_000_000])
    })
    while (seen.length < 5) yield call(NR.getppid)
    yield call(NR.kill, [child, SIGKILL])
    yield call(NR.wait4, [-1, DATA, 0, 0])
    status = peek(thread, DATA)
  })
  run()
  assert.equal(status, SIGKILL)
  assert.ok(seen.length < 100)
  assert.equal(kernel.longCalls.waiting, false)
})

test('a call that is over leaves nothing for the next one to wait for', () => {
  let now = 0
  const calls = new LongCalls({ monotonic: () => now } as Clock)
  const order: string[] = []
  const first = { goOn: () => order.push('first') }
  calls.add(first)
  calls.looked(true)
  // Its last share: it does not yield again.
  now += 5_000_000
  calls.looked(false)
  assert.equal(calls.watching, false)
  now += 1_000_000_000
  calls.add({ goOn: () => order.push('second') })
  calls.looked(false)
  assert.deepEqual(order, ['first', 'second'])
})
