import assert from 'node:assert/strict'
import { test } from 'node:test'
import { S_IFBLK, S_IFCHR, S_IFREG } from '../../abi/constants.ts'
import { fromBytes, toBytes } from '../../base/bytes.ts'
import { newHostStat } from '../../platform/host.ts'
import { makedev } from '../../vfs/vfs.ts'
import { decodeDevice, encodeDevice, mayStandIn } from './device-node.ts'

test('device nodes: the attribute says what mknod was told', () => {
  const node = { mode: S_IFCHR | 0o666, rdev: makedev(1, 3) }
  assert.equal(fromBytes(encodeDevice(node)), 'c 1 3 666')
  assert.deepEqual(decodeDevice(encodeDevice(node)), node)
  const disk = { mode: S_IFBLK | 0o4660, rdev: makedev(4095, 2 ** 20 - 1) }
  assert.deepEqual(decodeDevice(encodeDevice(disk)), disk)
})

test('device nodes: an attribute that says anything else is none', () => {
  const wrong = [
    '',
    'c',
    'c 1 3',
    'x 1 3 666',
    'c 1 3 888',
    'c 1 3 666 ',
    'c 4096 0 666',
    'c 1 1048576 666',
    'c -1 3 666',
  ]
  for (const text of wrong) assert.equal(decodeDevice(toBytes(text)), undefined, text)
})

test('device nodes: only an empty file of the one mode is looked at', () => {
  const stat = newHostStat()
  stat.mode = S_IFREG | 0o1600
  assert.equal(mayStandIn(stat), true)
  stat.size = 1
  assert.equal(mayStandIn(stat), false)
  stat.size = 0
  stat.mode = S_IFREG | 0o600
  assert.equal(mayStandIn(stat), false)
})
