import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IORING_SETUP_DEFER_TASKRUN, POLLIN } from '../../abi/constants.ts'
import { IO_URING_SQE } from '../../abi/layout.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import { testKernel } from '../../kernel/testing.ts'
import { IoUringFile } from './io-uring.ts'
import { type UringOperation, UringRequest } from './request.ts'
import { type RingMemory, Rings, ringSizes } from './rings.ts'

/** Reads as zeros: the guest takes no completion. */
class Memory implements RingMemory {
  u32(): number {
    return 0
  }
  putU32(): void {}
  read(): void {}
  write(): void {}
  release(): void {}
}

function world() {
  const { kernel, start } = testKernel({ decode() {}, run: () => 0, touches: () => false, name: String })
  const task = start(function* () {})
  const sizes = ringSizes(4, 8, 0)
  const rings = new Rings(new Memory(), new Memory(), 0, sizes)
  const path = kernel.anonFs.path('anon_inode:[io_uring]', 0o600)
  const ring = new IoUringFile(path, task.cred, kernel.uring, rings, IORING_SETUP_DEFER_TASKRUN)
  const request = (issue: UringOperation['issue']): UringRequest => {
    const entry = new DataView(new ArrayBuffer(IO_URING_SQE.size))
    return new UringRequest(task, ring, entry, { prepare: () => 0, issue })
  }
  return { task, ring, sizes, request }
}

test('work that makes work for ever leaves others their turn', () => {
  const { ring, sizes, request } = world()
  let tries = 0
  const queues = [new WaitQueue(), new WaitQueue()]
  for (const i of [0, 1]) {
    request(task => {
      tries++
      queues[1 - i].wake()
      return task.block(queues[i])
    }).start()
  }
  ring.runWork()
  assert.ok(ring.hasWork)
  assert.ok(tries >= sizes.cqEntries && tries < 2 * sizes.cqEntries, `${tries} tries`)
})

test('a request that is over is no work any more', () => {
  const { ring, request } = world()
  const queue = new WaitQueue()
  const waiting = request(task => task.block(queue))
  waiting.start()
  queue.wake()
  assert.ok(ring.hasWork)
  waiting.abandon()
  assert.equal(ring.hasWork, false)
  ring.runWork()
  assert.equal(ring.poll() & POLLIN, POLLIN, 'its completion')
})
