import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EFAULT } from '../../abi/errno.ts'
import { SystrapSpace } from './space.ts'
import type { Systrap } from './systrap.ts'

test('a space that has ended has no memory, whoever has its pid by now', () => {
  const asked: number[] = []
  const ask = (pid: number, _address: number, bytes: Uint8Array): number => {
    asked.push(pid)
    return bytes.length
  }
  const addon = { vmRead: ask, vmWrite: ask, pidfdKill: () => 0 }
  const space = new SystrapSpace({ addon, spaceGone() {} } as unknown as Systrap, 7, 0, 0, 0, 0)
  const bytes = new Uint8Array(4)
  assert.equal(space.read(0x1000, bytes), 4)
  assert.equal(space.write(0x1000, bytes), 4)
  space.destroy()
  assert.equal(space.read(0x1000, bytes), -EFAULT)
  assert.equal(space.write(0x1000, bytes), -EFAULT)
  assert.deepEqual(asked, [7, 7])
})
