/** Operations: calls that nobody waits in. A system call of the test's own submits them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ECANCELED } from '../abi/errno.ts'

import { WaitQueue } from '../base/wait-queue.ts'
import { call } from '../platform/fake.ts'
import type { SyscallTable } from './kernel.ts'
import { Operation } from './operation.ts'
import { HeldProgress, type Task } from './task.ts'
import { testKernel } from './testing.ts'

const SUBMIT = 1
const WAKE = 2
const CANCEL = 3

class Held extends HeldProgress {
  ended = 0
  override end(): void {
    this.ended++
  }
}

/** Waits for its queue until something is there. */
class Wanting extends Operation {
  readonly queue = new WaitQueue()
  readonly held = new Held()
  tries = 0
  there = 0
  deadline = Number.POSITIVE_INFINITY
  result: number | undefined

  protected override run(task: Task): number {
    this.tries++
    assert.equal(task.operation, this)
    task.progress ??= this.held
    if (this.there > 0) return this.there
    task.block(this.queue)
    return task.kernel.now() >= this.deadline ? 0 : task.blockUntil(this.deadline)
  }
  protected override finished(result: number): void {
    assert.equal(this.result, undefined)
    this.result = result
  }
}

function world(calls: Readonly<Record<number, (task: Task) => number>>) {
  const table: SyscallTable = {
    decode() {},
    run: (task, nr) => {
      const before = task.progress
      const result = calls[nr](task)
      assert.equal(task.progress, before, 'a call keeps its own progress')
      return result
    },
    touches: () => false,
    name: nr => String(nr),
  }
  return testKernel(table)
}

test('an operation that has to wait is tried again when its queue wakes, and before the waker’s call is over', () => {
  let operation: Wanting | undefined
  const { start, run } = world({
    [SUBMIT]: task => {
      operation = new Wanting(task)
      operation.attempt()
      return operation.waiting ? 1 : 0
    },
    [WAKE]: () => {
      operation!.there = 5
      operation!.queue.wake()
      assert.equal(operation!.result, undefined, 'waking only makes a note')
      return 0
    },
  })
  const seen: (number | undefined)[] = []
  start(function* () {
    seen.push(yield call(SUBMIT))
    yield call(WAKE)
    seen.push(operation!.result, operation!.tries, operation!.held.ended)
  })
  run()
  assert.deepEqual(seen, [1, 5, 2, 1])
})

test('a cancelled operation ends once, with ECANCELED, and not before the call that cancels it is served', () => {
  let operation: Wanting | undefined
  const { start, run } = world({
    [SUBMIT]: task => {
      operation = new Wanting(task)
      operation.attempt()
      return 0
    },
    [CANCEL]: () => {
      assert.equal(operation!.cancelSoon(), true)
      assert.equal(operation!.cancelSoon(), false)
      assert.equal(operation!.done, false)
      return 0
    },
  })
  let result: number | undefined
  start(function* () {
    yield call(SUBMIT)
    yield call(CANCEL)
    result = operation!.result
    assert.equal(operation!.cancel(), false)
  })
  run()
  assert.equal(result, -ECANCELED)
  assert.equal(operation!.tries, 1)
})

test('an operation with a deadline is tried at it', () => {
  let operation: Wanting | undefined
  const { start, run, kernel } = world({
    [SUBMIT]: task => {
      operation = new Wanting(task)
      operation.deadline = task.kernel.now() + 1e6
      operation.attempt()
      return 0
    },
    [WAKE]: task => {
      if (task.kernel.now() >= operation!.deadline) return 0
      return task.blockUntil(operation!.deadline + 1)
    },
  })
  start(function* () {
    yield call(SUBMIT)
    yield call(WAKE)
  })
  run()
  assert.equal(operation!.result, 0)
  assert.equal(kernel.operations.length, 0)
})

test('an operation whose task has ended is over at the next wake-up, without a try', () => {
  let operation: Wanting | undefined
  const { start, run, kernel } = world({
    [SUBMIT]: task => {
      operation = new Wanting(task)
      operation.attempt()
      return 0
    },
    [WAKE]: () => {
      operation!.there = 1
      operation!.queue.wake()
      return 0
    },
  })
  start(function* () {
    yield call(SUBMIT)
  })
  run()
  assert.equal(operation!.result, undefined)
  operation!.queue.wake()
  kernel.turn(0)
  assert.equal(operation!.result, -ECANCELED)
  assert.equal(operation!.tries, 1)
})

test('an operation that no signal interrupts leaves how its task sleeps alone', () => {
  class Stubborn extends Wanting {
    protected override run(task: Task): number {
      task.uninterruptible = true
      return super.run(task)
    }
  }
  let interruptible: boolean | undefined
  const { start, run } = world({
    [SUBMIT]: task => {
      const operation = new Stubborn(task)
      operation.attempt()
      interruptible = !task.uninterruptible
      operation.cancel()
      return 0
    },
  })
  start(function* () {
    yield call(SUBMIT)
  })
  run()
  assert.equal(interruptible, true)
})
