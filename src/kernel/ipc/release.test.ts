/** The end of an IPC namespace. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IpcNamespace } from '../namespaces.ts'
import { releaseIpc } from './release.ts'

test('an IPC namespace that nobody holds gives its shared memory back; one that a descriptor or a mount holds does not', () => {
  const destroyed: unknown[] = []
  const segment = {}
  const ns = Object.assign(Object.create(IpcNamespace.prototype), {
    holders: 1,
    shm: { size: 1, objects: () => [segment], destroy: (each: unknown) => destroyed.push(each) },
  })
  const kernel = { ipc: undefined, tasks: () => [] }
  releaseIpc(kernel as never, ns)
  assert.deepEqual(destroyed, [])
  ns.holders = 0
  releaseIpc(kernel as never, ns)
  assert.deepEqual(destroyed, [segment])
})

test('an IPC namespace of a live task stays, and so does the first', () => {
  const ns = { holders: 0, shm: { size: 1, objects: () => assert.fail('it must stay') } }
  releaseIpc({ ipc: undefined, tasks: () => [{ ns: { ipc: ns } }] } as never, ns as never)
  releaseIpc({ ipc: ns, tasks: () => [] } as never, ns as never)
})
