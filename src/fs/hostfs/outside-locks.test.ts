import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import {
  AT_FDCWD,
  F_RDLCK,
  F_UNLCK,
  F_WRLCK,
  LOCK_EX,
  LOCK_NB,
  LOCK_SH,
  LOCK_UN,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  O_RDWR,
} from '../../abi/constants.ts'
import { EAGAIN } from '../../abi/errno.ts'
import { CapabilitySet, Credentials, UserNamespace } from '../../base/credentials.ts'
import { loadAddon } from '../../platform/addon.ts'
import { LinuxHost } from '../../platform/linux-host.ts'
import type { File } from '../../vfs/file.ts'
import { filePut } from '../../vfs/file-ref.ts'
import { LOCK_TO_END, locksOf, type PosixLock } from '../../vfs/locks.ts'
import { Mount, MountNamespace } from '../../vfs/mount.ts'
import { openAt } from '../../vfs/open.ts'
import { Vfs } from '../../vfs/vfs.ts'
import { mountHostfs } from './super.ts'

const host = new LinuxHost(loadAddon(join(import.meta.dirname, '../../../native/build/caisson.node')))
host.ownFds = host.openat2(AT_FDCWD, '/proc/self/fd', O_PATH | O_DIRECTORY, 0, 0)
const userNs = new UserNamespace(undefined, 0, 0, 1)
const cred = Object.assign(new Credentials(userNs), {
  effective: CapabilitySet.ALL,
  fsuid: process.getuid!(),
  fsgid: process.getgid!(),
})
const dir = fs.mkdtempSync(join(tmpdir(), 'caisson-locks-'))
after(() => fs.rmSync(dir, { recursive: true }))
fs.writeFileSync(join(dir, 'f'), 'data')

/** Opens the file as a sandbox of its own. */
function open(flags: number): File {
  const vfs = new Vfs(host)
  const sb = mountHostfs(vfs.newDev(), host, host.openat2(AT_FDCWD, dir, O_PATH | O_DIRECTORY, 0, 0), {
    shared: true,
  })
  if (typeof sb === 'number') throw new Error(`errno ${-sb}`)
  const root = new Mount(vfs, sb)
  const path = { mount: root, dentry: root.root }
  const ctx = {
    fs: { root: path, cwd: path, umask: 0 },
    cred,
    mountNs: new MountNamespace(vfs, 1, userNs, root),
  }
  // A name that is known from before is opened by a descriptor that all readers share.
  for (let i = 0; i < 8; i++) {
    host.newTurn()
    const known = openAt(ctx, undefined, 'f', O_RDONLY, 0)
    if (typeof known !== 'number') filePut(known)
  }
  const file = openAt(ctx, undefined, 'f', flags, 0)
  if (typeof file === 'number') throw new Error(`errno ${-file}`)
  return file
}
function lock(owner: string, type: number, start: number, end: number): PosixLock {
  return { owner, type, start, end, holder: owner }
}

test('locks of volumes: a range that one sandbox holds is in the way of another', () => {
  const [a, b] = [open(O_RDWR), open(O_RDWR)]
  const [ofA, ofB] = [locksOf(a.inode), locksOf(b.inode)]
  assert.equal(ofA.set(lock('p', F_WRLCK, 10, 20)), 0)
  assert.equal(ofB.findConflict(lock('q', F_RDLCK, 0, 100)), undefined)
  assert.equal(ofB.set(lock('q', F_RDLCK, 0, 100)), -EAGAIN)
  assert.equal(ofB.ranges.length, 0)
  assert.equal(ofB.set(lock('q', F_WRLCK, 20, LOCK_TO_END)), 0)
  const found = ofA.outside!.conflict(F_RDLCK, 15, 30)
  assert.deepEqual([found?.type, found?.start, found?.end], [F_WRLCK, 20, LOCK_TO_END])

  // Two readers in one sandbox: the range stays held until the last lets go.
  assert.equal(ofA.set(lock('p', F_UNLCK, 0, LOCK_TO_END)), 0)
  assert.equal(ofA.set(lock('p', F_RDLCK, 0, 10)), 0)
  assert.equal(ofA.set(lock('r', F_RDLCK, 5, 15)), 0)
  ofA.dropOwner('p')
  assert.equal(ofB.set(lock('q', F_WRLCK, 0, 5)), 0)
  assert.equal(ofB.set(lock('q', F_WRLCK, 0, 6)), -EAGAIN)
  ofA.dropOwner('r')
  assert.equal(ofB.set(lock('q', F_WRLCK, 0, 20)), 0)
  ofB.dropOwner('q')
  filePut(a)
  filePut(b)
})

test('locks of volumes: what fails for a part leaves all as it was', () => {
  const [a, b] = [open(O_RDWR), open(O_RDWR)]
  const [ofA, ofB] = [locksOf(a.inode), locksOf(b.inode)]
  assert.equal(ofA.set(lock('p', F_RDLCK, 0, 10)), 0)
  assert.equal(ofA.set(lock('p', F_RDLCK, 20, 30)), 0)
  assert.equal(ofB.set(lock('q', F_RDLCK, 25, 26)), 0)
  assert.equal(ofA.set(lock('p', F_WRLCK, 0, 30)), -EAGAIN)
  assert.equal(
    ofB.set(lock('q', F_RDLCK, 5, 15)),
    0,
    'neither the first part nor the gap is locked for writing',
  )
  ofB.dropOwner('q')
  assert.equal(ofB.set(lock('q', F_WRLCK, 0, 1)), -EAGAIN, 'the first part is still locked for reading')
  filePut(a)
  filePut(b)
})

test('locks of volumes: flock(2) is seen on the host, and goes with the description', () => {
  const outside = host.openat2(AT_FDCWD, join(dir, 'f'), O_RDONLY, 0, 0)
  const file = open(O_RDONLY)
  const locks = locksOf(file.inode)
  assert.equal(locks.flock(file, LOCK_EX), 0)
  assert.equal(host.flock(outside, LOCK_SH | LOCK_NB), -EAGAIN)
  locks.unflock(file)
  assert.equal(host.flock(outside, LOCK_SH | LOCK_NB), 0)
  assert.equal(locks.flock(file, LOCK_EX), -EAGAIN)
  assert.equal(locks.flock(file, LOCK_SH), 0)
  host.flock(outside, LOCK_UN)
  filePut(file)
  assert.equal(host.flock(outside, LOCK_EX | LOCK_NB), 0)
  host.close(outside)
})
