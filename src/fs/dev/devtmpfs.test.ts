import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ENOSPC } from '../../abi/errno.ts'
import type { SyscallTable } from '../../kernel/kernel.ts'
import { testKernel } from '../../kernel/testing.ts'
import type { MountContext } from '../../vfs/fs-type.ts'
import { devtmpfsType } from './devtmpfs.ts'

test('devtmpfs: options that leave no room for the nodes are refused', () => {
  const { kernel } = testKernel({} as SyscallTable)
  const type = devtmpfsType(kernel)
  const context = { vfs: kernel.vfs } as MountContext
  assert.equal(type.mount('dev', 0, 'nr_inodes=5', context), -ENOSPC)
  assert.ok(typeof type.mount('dev', 0, '', context) === 'object')
})
