import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ENOMEM, EOVERFLOW } from '../../abi/errno.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { BufferList } from './buffer-group.ts'

const BUFFER = { address: 0x1000, length: 64, id: 0 }

function fill(kernel: Kernel): { readonly list: BufferList; readonly status: number } {
  const list = new BufferList(kernel)
  for (;;) {
    const status = list.add(BUFFER)
    if (status < 0) return { list, status }
  }
}

test('a list gives its buffers in order, and knows how many are left while it is refilled', () => {
  const kernel = { uring: { listedBuffers: 0 } } as Kernel
  const list = new BufferList(kernel)
  for (let id = 0; id < 3; id++) list.add({ ...BUFFER, id })
  for (let id = 0; id < 100; id++) {
    assert.equal(list.peek()?.id, id)
    list.consume()
    list.add({ ...BUFFER, id: id + 3 })
    assert.equal(list.count, 3)
    assert.equal(kernel.uring.listedBuffers, 3)
  }
  list.release()
  assert.equal(kernel.uring.listedBuffers, 0)
})

test('lists hold 65535 buffers each, and a million together, until they are released', () => {
  const kernel = { uring: { listedBuffers: 0 } } as Kernel
  const lists: BufferList[] = []
  for (;;) {
    const { list, status } = fill(kernel)
    lists.push(list)
    if (status === -ENOMEM) break
    assert.equal(status, -EOVERFLOW)
    assert.equal(list.count, 65535)
  }
  assert.equal(kernel.uring.listedBuffers, 1 << 20)
  for (const list of lists) list.release()
  assert.equal(kernel.uring.listedBuffers, 0)
})
