import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SIGSYS } from '../abi/constants.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { call } from '../platform/fake.ts'
import { DATA, fork, MS, kernel as newKernel, peek, sleep } from '../syscalls/testing.ts'
import { Containment } from './containment.ts'
import type { Task } from './task.ts'
import { Timer } from './timers.ts'

test('a bug in a timer ends the process whose timer it is, and nobody else', () => {
  const { kernel, start, run, log } = newKernel()
  let status = 0
  let ended = false
  const init = start(function* (thread) {
    const pid = yield fork(function* (own) {
      for (;;) yield* sleep(own, 10)
    })
    const child = kernel.pidNs.task(pid) as Task
    const failing = {
      expired() {
        throw new Error('in a timer')
      },
      victim: () => child.group,
    }
    kernel.timers.add(new Timer(failing), kernel.now() + 50 * MS)
    yield call(NR.wait4, [-1, DATA, 0, 0])
    status = peek(thread, DATA) & 0x7f
    yield* sleep(thread, 10)
    ended = true
  })
  assert.equal(run(), 0)
  assert.ok(init.ended && ended)
  assert.equal(status, SIGSYS)
  assert.match(log.join('\n'), /^bug: a timer of .* failed in the kernel.*Error: in a timer\n +at /m)
})

test("a bug in a timer that is nobody's ends the kernel, and the other timers are as they were", () => {
  const { kernel, start } = newKernel()
  start(function* (thread) {
    yield* sleep(thread, 1000)
  })
  const failing = {
    expired() {
      throw new Error('nobody knows')
    },
  }
  kernel.timers.add(new Timer(failing), kernel.now() + 10 * MS)
  assert.throws(() => kernel.run(), /nobody knows/)
  assert.notEqual(kernel.timers.next, Number.POSITIVE_INFINITY)
})

test('bugs are logged, less and less often, and there is an end to them', () => {
  const lines: string[] = []
  const put = (text: string): void => {
    lines.push(text)
  }
  const containment = new Containment({ debug: put, info: put, warn: put, error: put })
  const error = new Error('again')
  for (let i = 0; i < 1000; i++) containment.survived('a packet', error)
  assert.equal(lines.length, 25)
  assert.throws(() => containment.survived('a packet', error), /again/)
})
