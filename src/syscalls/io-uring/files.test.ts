import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IORING_NOP_INJECT_RESULT } from '../../abi/constants.ts'
import { EINVAL } from '../../abi/errno.ts'
import { BLOCK, PENDING } from '../../base/result.ts'
import type { UringRequest } from '../../fs/io-uring/request.ts'
import type { Task } from '../../kernel/task.ts'
import { nop } from './files.ts'

test('a NOP ends with the result that it is told, but for those that say that it has not ended', () => {
  const cases = [
    [0, 0],
    [-1, -1],
    [0x7fffffff, 0x7fffffff],
    [BLOCK, -EINVAL],
    [PENDING, -EINVAL],
  ]
  for (const [told, result] of cases) {
    const request = { opFlags: IORING_NOP_INJECT_RESULT, len: told! >>> 0 } as UringRequest
    assert.equal(nop.issue({} as Task, request), result)
  }
})
