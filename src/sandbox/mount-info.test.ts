import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseMountInfo, pseudoMountsBelow } from './mount-info.ts'

const TEXT = `22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
23 22 0:5 / /proc rw - proc proc rw
24 23 0:6 / /proc/sys/fs/binfmt_misc rw shared:2 master:3 - autofs systemd-1 rw
25 22 0:7 / /srv/a\\040b/proc rw - proc proc rw
26 22 0:8 / /srv/a\\040b/data rw - tmpfs tmpfs rw
`

test('mountinfo: paths are unescaped, optional fields skipped', () => {
  const mounts = parseMountInfo(TEXT)
  assert.deepEqual(mounts[2], { path: '/proc/sys/fs/binfmt_misc', type: 'autofs' })
  assert.equal(mounts[3].path, '/srv/a b/proc')
})

test('mountinfo: of a root the topmost pseudo file systems are covered, and /dev, /proc, /sys in any case', () => {
  const mounts = parseMountInfo(TEXT)
  assert.deepEqual(pseudoMountsBelow(mounts, '/'), ['dev', 'proc', 'srv/a b/proc', 'sys'])
})

test('mountinfo: of a directory only what lies below it is covered', () => {
  const mounts = parseMountInfo(TEXT)
  assert.deepEqual(pseudoMountsBelow(mounts, '/srv/a b'), ['proc'])
  assert.deepEqual(pseudoMountsBelow(mounts, '/srv/a'), [])
})
