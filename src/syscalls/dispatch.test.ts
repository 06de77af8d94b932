/** From a trapped call to its handler. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MSGHDR } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { Task } from '../kernel/task.ts'
import { testKernel } from '../kernel/testing.ts'
import { MAX_RW_COUNT } from '../mm/mm.ts'
import { call } from '../platform/fake.ts'
import { compileRows } from './dispatch.ts'
import { syscallRows } from './table.ts'
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

test('the memory that a call touches is known by the kinds of its arguments', () => {
  const table = compileRows(syscallRows)
  const touched = (nr: number, args: number[], segments: number[] = []): string[] => {
    const seen: string[] = []
    const task = { args, mm: { importIovec: () => segments } } as unknown as Task
    table.touches(task, nr, (start, length, writes) => {
      seen.push(`${writes ? 'write' : 'read'} ${length} at ${start}`)
      return false
    })
    return seen
  }
  assert.deepEqual(touched(NR.read, [0, 4096, 10]), ['write 10 at 4096'])
  assert.deepEqual(touched(NR.write, [0, 4096, 10]), ['read 10 at 4096'])
  assert.deepEqual(touched(NR.write, [0, 0, 10]), [], 'a null pointer is no memory')
  assert.deepEqual(touched(NR.write, [0, 4096, 0]), [], 'nor are no bytes')
  assert.deepEqual(touched(NR.writev, [0, 4096, 2], [8192, 3, 16384, 4]), [
    'read 32 at 4096',
    'read 3 at 8192',
    'read 4 at 16384',
  ])
  assert.deepEqual(touched(NR.readv, [0, 4096, 1], [8192, 3]), ['read 16 at 4096', 'write 3 at 8192'])
  assert.deepEqual(touched(5000, [1, 2, 3]), [])
  assert.deepEqual(
    touched(NR.read, [0, 4096, 2 ** 40]),
    [`write ${MAX_RW_COUNT} at 4096`],
    'no call goes further',
  )
})

test('of a message that much is looked at which a call may use', () => {
  const header = new DataView(new ArrayBuffer(MSGHDR.size))
  const fill = { msg_name: 8192, msg_namelen: 0x7fffffff, msg_iov: 16384, msg_iovlen: 1 }
  for (const [field, value] of Object.entries(fill)) {
    header.setUint32(MSGHDR[field as keyof typeof fill], value, true)
  }
  header.setUint32(MSGHDR.msg_control, 12288, true)
  header.setUint32(MSGHDR.msg_controllen + 4, 0x4000, true)
  const task = {
    args: [0, 4096, 0],
    mm: { view: () => header, importIovec: () => [20480, 5] },
  } as unknown as Task
  const seen: number[][] = []
  compileRows(syscallRows).touches(task, NR.recvmsg, (start, length) => {
    seen.push([start, length])
    return false
  })
  assert.deepEqual(seen.slice(1), [
    [4096, MSGHDR.size],
    [8192, 128],
    [12288, 131072],
    [16384, 16],
    [20480, 5],
  ])
})

test('a look that has found what it wanted ends the search', () => {
  const table = compileRows(syscallRows)
  let looks = 0
  const task = { args: [0, 4096, 2], mm: { importIovec: () => [8192, 3] } } as unknown as Task
  assert.equal(
    table.touches(task, NR.writev, () => {
      looks++
      return true
    }),
    true,
  )
  assert.equal(looks, 1)
})
