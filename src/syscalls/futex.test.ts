/** Futexes and what an ending thread does to them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  CLONE_CHILD_CLEARTID,
  FUTEX_PRIVATE_FLAG,
  FUTEX_REQUEUE,
  FUTEX_WAIT,
  FUTEX_WAKE,
} from '../abi/constants.ts'
import { EAGAIN, ETIMEDOUT } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { call } from '../platform/fake.ts'
import { DATA, kernel, MS, peek, poke, sleep, spawn } from './testing.ts'

test('a thread that ends clears its tid word and wakes who waits there', () => {
  const { start, run: serve } = kernel()
  const seen: number[] = []
  start(function* (thread) {
    poke(thread, DATA + 400, 77)
    yield spawn(
      function* (second) {
        yield* sleep(second, 5)
        yield call(NR.exit, [0])
      },
      CLONE_CHILD_CLEARTID,
      DATA + 400,
    )
    seen.push(yield call(NR.futex, [DATA + 400, FUTEX_WAIT, 77, 0, 0, 0]), peek(thread, DATA + 400))
  })
  serve()
  assert.deepEqual(seen, [0, 0])
})

test('futexes: wake counts, requeue, a changed word and a timeout', () => {
  const { start, run: serve } = kernel()
  const seen: number[] = []
  const word = DATA + 400
  const other = DATA + 404
  start(function* (thread) {
    for (let i = 0; i < 3; i++) {
      yield spawn(function* () {
        yield call(NR.futex, [word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, 0, 0, 0])
        seen.push(1)
        yield call(NR.exit, [0])
      })
    }
    yield* sleep(thread, 1)
    seen.push(10 * (yield call(NR.futex, [word, FUTEX_REQUEUE | FUTEX_PRIVATE_FLAG, 1, 5, other, 0])))
    yield* sleep(thread, 1)
    seen.push(10 * (yield call(NR.futex, [other, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 100, 0, 0, 0])))
    yield* sleep(thread, 1)
    seen.push(yield call(NR.futex, [word, FUTEX_WAIT, 5, 0, 0, 0]))
    poke(thread, DATA + 416, 0, 0, 2 * MS, 0)
    seen.push(yield call(NR.futex, [word, FUTEX_WAIT, 0, DATA + 416, 0, 0]))
  })
  serve()
  assert.deepEqual(seen, [30, 1, 20, 1, 1, -EAGAIN, -ETIMEDOUT])
})
