import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  BPF_DEVCG_ACC_MKNOD,
  BPF_DEVCG_ACC_READ,
  BPF_DEVCG_ACC_WRITE,
  S_IFBLK,
  S_IFCHR,
} from '../../abi/constants.ts'
import { EPERM } from '../../abi/errno.ts'
import { makedev } from '../../vfs/vfs.ts'
import type { Cgroup } from './cgroup.ts'
import { DeviceGuard, type DeviceRule, mayUseDevice } from './device-guard.ts'

const READ = BPF_DEVCG_ACC_READ
const WRITE = BPF_DEVCG_ACC_WRITE
const FUSE = makedev(10, 229)

function cgroup(rules: readonly DeviceRule[] | undefined, parent?: Cgroup): Cgroup {
  const devices = new DeviceGuard()
  devices.rules = rules
  return { devices, parent } as unknown as Cgroup
}

function rule(allow: boolean, access: number, type?: 'c' | 'b', major?: number, minor?: number): DeviceRule {
  return { allow, access, type, major, minor }
}

test('device rules: what none allows is denied, and without rules everything is allowed', () => {
  assert.equal(mayUseDevice(cgroup([]), S_IFCHR, FUSE, READ), -EPERM)
  assert.equal(mayUseDevice(cgroup(undefined), S_IFCHR, FUSE, READ | WRITE), 0)
})

test('device rules: the last one for a device and an access counts', () => {
  const group = cgroup([
    rule(true, READ | WRITE),
    rule(false, WRITE, 'c', 10),
    rule(true, WRITE, 'c', 10, 230),
  ])
  assert.equal(mayUseDevice(group, S_IFCHR, FUSE, READ), 0)
  assert.equal(mayUseDevice(group, S_IFCHR, FUSE, READ | WRITE), -EPERM)
  assert.equal(mayUseDevice(group, S_IFCHR, makedev(10, 230), READ | WRITE), 0)
  assert.equal(mayUseDevice(group, S_IFBLK, FUSE, WRITE), 0)
  assert.equal(mayUseDevice(group, S_IFCHR, FUSE, BPF_DEVCG_ACC_MKNOD), -EPERM)
})

test('device rules: those of each cgroup above hold, too', () => {
  const top = cgroup([rule(true, READ, 'c', 10, 229)])
  const below = cgroup([rule(true, READ | WRITE)], cgroup(undefined, top))
  assert.equal(mayUseDevice(below, S_IFCHR, FUSE, READ), 0)
  assert.equal(mayUseDevice(below, S_IFCHR, FUSE, WRITE), -EPERM)
})
