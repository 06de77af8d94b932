import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fromBinary } from '@bufbuild/protobuf'
import { TaskOOMSchema, TaskPausedSchema } from './generated/containerd/events/task_pb.ts'
import type { Envelope } from './generated/containerd/types/event_pb.ts'
import { ShimLog } from './log.ts'
import { type EventSink, Publisher } from './publisher.ts'
import { CODE, RpcError } from './ttrpc/status.ts'

const log = new ShimLog('/nowhere', false)

/** Fails as often as `failures` says, with these codes, before it takes an event. */
function sink(failures: number[], taken: Envelope[]): EventSink {
  return {
    async forward(event) {
      const code = failures.shift()
      if (code !== undefined) throw new RpcError(code, 'no')
      taken.push(event)
    },
    close() {},
  }
}

test('events arrive once and in their order, also over a containerd that was away for a while', async () => {
  const taken: Envelope[] = []
  const publisher = new Publisher(sink([CODE.unavailable, CODE.unavailable], taken), 'ns', log)
  publisher.publish('/tasks/oom', TaskOOMSchema, { containerId: 'a' })
  publisher.publish('/tasks/paused', TaskPausedSchema, { containerId: 'b' })
  await publisher.flushed(10_000)
  assert.deepEqual(
    taken.map(({ topic, namespace, event }) => [topic, namespace, event!.typeUrl]),
    [
      ['/tasks/oom', 'ns', 'containerd.events.TaskOOM'],
      ['/tasks/paused', 'ns', 'containerd.events.TaskPaused'],
    ],
  )
  assert.equal(fromBinary(TaskOOMSchema, taken[0].event!.value).containerId, 'a')
})

test('an event that is refused again and again is dropped, and holds up no other for ever', async t => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const taken: Envelope[] = []
  const publisher = new Publisher(sink(Array(5).fill(CODE.unknown), taken), 'ns', log)
  publisher.publish('/tasks/oom', TaskOOMSchema, { containerId: 'a' })
  publisher.publish('/tasks/paused', TaskPausedSchema, { containerId: 'b' })
  for (let i = 0; i < 20; i++) {
    await new Promise(resolve => setImmediate(resolve))
    t.mock.timers.tick(1000)
  }
  assert.deepEqual(
    taken.map(({ topic }) => topic),
    ['/tasks/paused'],
  )
})

test('flushed gives up after its limit', async () => {
  const publisher = new Publisher(sink([CODE.unavailable, CODE.unavailable], []), 'ns', log)
  publisher.publish('/tasks/oom', TaskOOMSchema, { containerId: 'a' })
  await publisher.flushed(1)
})
