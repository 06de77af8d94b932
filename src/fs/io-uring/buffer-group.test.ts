import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IOU_PBUF_RING_INC } from '../../abi/constants.ts'
import { ENOMEM, EOVERFLOW } from '../../abi/errno.ts'
import { IO_URING_BUF } from '../../abi/layout.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { Mm } from '../../mm/mm.ts'
import { BufferList, BufferRing } from './buffer-group.ts'

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

/** A guest's ring with `count` buffers of four bytes in eight places. */
function memoryWith(count: number): Mm {
  const view = new DataView(new ArrayBuffer(8 * IO_URING_BUF.size))
  for (let id = 0; id < count; id++) {
    view.setUint32(id * IO_URING_BUF.size + IO_URING_BUF.addr, 0x1000 + id * 4, true)
    view.setUint32(id * IO_URING_BUF.size + IO_URING_BUF.len, 4, true)
    view.setUint16(id * IO_URING_BUF.size + IO_URING_BUF.bid, id, true)
  }
  view.setUint16(IO_URING_BUF.resv, count, true)
  const bytes = new Uint8Array(view.buffer)
  const copyIn = (at: number, into: Uint8Array) => {
    into.set(bytes.subarray(at, at + into.length))
    return 0
  }
  return { copyIn } as unknown as Mm
}

test('a bundle has as many buffers as its bytes fill, and a part of one only where the rest of it stays', () => {
  const whole = new BufferRing(0, undefined, 8, 0)
  const mm = memoryWith(5)
  const ids = (ring: BufferRing, length: number) => ring.peekMany(mm, length).map(({ id }) => id)
  assert.deepEqual(ids(whole, 3), [0])
  assert.deepEqual(ids(whole, 8), [0, 1])
  assert.deepEqual(ids(whole, 10), [0, 1])
  assert.deepEqual(ids(whole, 1000), [0, 1, 2, 3, 4])
  assert.equal(whole.consumeMany(whole.peekMany(mm, 8), 5), false)
  assert.deepEqual(ids(whole, 1000), [2, 3, 4])

  const partly = new BufferRing(0, undefined, 8, IOU_PBUF_RING_INC)
  assert.deepEqual(ids(partly, 10), [0, 1, 2])
  assert.equal(partly.consumeMany(partly.peekMany(mm, 10), 10), true)
  assert.deepEqual(partly.peekMany(mm, 1), [{ address: 0x100a, length: 2, id: 2 }])
})
