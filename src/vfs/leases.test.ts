import assert from 'node:assert/strict'
import { beforeEach, test } from 'node:test'
import { F_RDLCK, F_UNLCK, F_WRLCK, O_RDONLY, POLL_MSG } from '../abi/constants.ts'
import { EAGAIN } from '../abi/errno.ts'
import { Timespec } from '../base/clock.ts'
import { CapabilitySet, Credentials, UserNamespace } from '../base/credentials.ts'
import { AnonFs } from './anon.ts'
import { PathFile } from './file.ts'
import { InodeLeases } from './leases.ts'
import { Vfs } from './vfs.ts'

const SECOND = 1e9

let now: number
let vfs: Vfs
let leases: InodeLeases
let told: number[]

beforeEach(() => {
  now = SECOND
  const monotonic = (): number => now
  vfs = new Vfs({ monotonic, boottime: monotonic, realtime: () => new Timespec() })
  leases = new InodeLeases(vfs)
  told = []
  vfs.signalOwner = (_file, fd, reason) => {
    assert.equal(reason, POLL_MSG)
    told.push(fd)
  }
})

function open(): PathFile {
  const cred = new Credentials(new UserNamespace(undefined, 0, 0, 1))
  cred.effective = CapabilitySet.ALL
  return new PathFile(new AnonFs(vfs).path('file', 0o100644), O_RDONLY, cred)
}

test('leases: who opens in conflict waits until the holder gives way', () => {
  const file = open()
  assert.equal(leases.set(file, 5, F_WRLCK), 0)
  const until = leases.breakFor(false)
  assert.equal(until, now + vfs.leaseBreakTime * SECOND)
  assert.deepEqual(told, [5])
  assert.equal(leases.typeOf(file), F_RDLCK)
  assert.equal(leases.breakFor(false), until)
  assert.deepEqual(told, [5], 'the holder is told once')
  assert.equal(leases.set(file, 5, F_RDLCK), 0)
  assert.equal(leases.breakFor(false), 0)
})

test('leases: a writer after a reader breaks what the reader would have left', () => {
  const file = open()
  leases.set(file, 5, F_WRLCK)
  leases.breakFor(false)
  leases.breakFor(true)
  assert.deepEqual(told, [5, 5])
  assert.equal(leases.typeOf(file), F_UNLCK)
})

test('leases: what the holder does not do in time is done for it', () => {
  const file = open()
  leases.set(file, 5, F_RDLCK)
  const until = leases.breakFor(true)
  now = until - 1
  assert.equal(leases.breakFor(true), until)
  now = until
  assert.equal(leases.breakFor(true), 0)
  assert.equal(leases.set(file, 5, F_UNLCK), -EAGAIN)
})

test('leases: without a limit an opener waits for ever', () => {
  vfs.leaseBreakTime = 0
  leases.set(open(), 5, F_RDLCK)
  assert.equal(leases.breakFor(true), Number.POSITIVE_INFINITY)
})
