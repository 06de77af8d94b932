import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  IN_ALL_EVENTS,
  IN_CLOSE_WRITE,
  IN_CREATE,
  IN_DELETE_SELF,
  IN_EXCL_UNLINK,
  IN_IGNORED,
  IN_MASK_ADD,
  IN_MASK_CREATE,
  IN_MODIFY,
  IN_ONESHOT,
  IN_OPEN,
  IN_Q_OVERFLOW,
} from '../../abi/constants.ts'
import { EAGAIN, EEXIST, EINVAL } from '../../abi/errno.ts'
import { fromBytes } from '../../base/bytes.ts'
import { BufferDst } from '../../base/io.ts'
import { TestWorld } from '../../net/testing.ts'
import { notifyCreate, notifyDentry, notifyGone } from '../../vfs/notify.ts'
import type { Path } from '../../vfs/path.ts'
import { InotifyFile } from './inotify.ts'

const world = new TestWorld()

function make(maxQueuedEvents = 100): InotifyFile {
  const limits = { maxQueuedEvents, maxUserInstances: 10, maxUserWatches: 10 }
  const usage = { instances: 0, watches: 0 }
  return new InotifyFile(world.anonFs.path('anon_inode:inotify', 0o600), 0, world.cred, limits, usage)
}
function place(): Path {
  const path = world.anonFs.path('x', 0o40755)
  path.dentry.refs++
  return path
}
/** What is read: 'wd:mask:name' of each event. */
function read(file: InotifyFile, room = 4096): string[] | number {
  const dst = new BufferDst(new Uint8Array(room))
  const n = file.read(dst)
  if (n < 0) return n
  const view = new DataView(dst.bytes.buffer)
  const events: string[] = []
  for (let at = 0; at < n; ) {
    const length = view.getUint32(at + 12, true)
    const name = fromBytes(dst.bytes, at + 16, at + 16 + length).replace(/\0+$/, '')
    events.push(`${view.getInt32(at, true)}:${view.getUint32(at + 4, true).toString(16)}:${name}`)
    at += 16 + length
  }
  return events
}
const hex = (mask: number) => (mask >>> 0).toString(16)

test('inotify: events in order, equal neighbours once, names of entries', () => {
  const file = make()
  const dir = place()
  const wd = file.addWatch(dir, IN_ALL_EVENTS)
  assert.equal(wd, 1)
  assert.equal(read(file), -EAGAIN)
  notifyCreate(dir.dentry.inode!, 'new', false)
  notifyCreate(dir.dentry.inode!, 'new', false)
  notifyCreate(dir.dentry.inode!, 'a-longer-name-than-16', false)
  notifyDentry(dir.dentry, IN_OPEN)
  assert.equal(read(file, 16), -EINVAL)
  assert.deepEqual(read(file), [
    `1:${hex(IN_CREATE)}:new`,
    `1:${hex(IN_CREATE)}:a-longer-name-than-16`,
    `1:${hex(IN_OPEN | 0x40000000)}:`,
  ])
})

test('inotify: masks are replaced, added to, or must be new', () => {
  const file = make()
  const dir = place()
  const wd = file.addWatch(dir, IN_MODIFY)
  assert.equal(file.addWatch(dir, IN_CLOSE_WRITE | IN_MASK_CREATE), -EEXIST)
  assert.equal(file.addWatch(dir, IN_CLOSE_WRITE | IN_MASK_ADD), wd)
  notifyDentry(dir.dentry, IN_MODIFY)
  assert.equal(file.addWatch(dir, IN_OPEN), wd)
  notifyDentry(dir.dentry, IN_MODIFY)
  assert.equal((read(file) as string[]).length, 1)
})

test('inotify: a watch ends with a removal, a first event or its inode, and says so', () => {
  const file = make()
  const [a, b, c] = [place(), place(), place()]
  const removed = file.addWatch(a, IN_ALL_EVENTS)
  file.addWatch(b, IN_OPEN | IN_ONESHOT)
  file.addWatch(c, IN_ALL_EVENTS)
  assert.equal(file.removeWatch(removed), 0)
  assert.equal(file.removeWatch(removed), -EINVAL)
  notifyDentry(b.dentry, IN_OPEN)
  notifyDentry(b.dentry, IN_OPEN)
  notifyGone(c.dentry.inode!)
  assert.deepEqual(read(file), [
    `1:${hex(IN_IGNORED)}:`,
    `2:${hex(IN_OPEN | 0x40000000)}:`,
    `2:${hex(IN_IGNORED)}:`,
    `3:${hex(IN_DELETE_SELF)}:`,
    `3:${hex(IN_IGNORED)}:`,
  ])
  assert.equal(a.dentry.inode!.watches, undefined)
})

test('inotify: a full queue ends with one overflow event', () => {
  const file = make(2)
  const dir = place()
  file.addWatch(dir, IN_ALL_EVENTS)
  for (const name of ['a', 'b', 'c', 'd']) notifyCreate(dir.dentry.inode!, name, false)
  const events = read(file) as string[]
  assert.equal(events.length, 3)
  assert.equal(events[2], `-1:${hex(IN_Q_OVERFLOW)}:`)
})

test('inotify: IN_EXCL_UNLINK leaves entries without a name alone', () => {
  const file = make()
  const dir = place()
  file.addWatch(dir, IN_ALL_EVENTS | IN_EXCL_UNLINK)
  dir.dentry.inode!.watches!.event(IN_MODIFY, 0, 'gone', true)
  assert.equal(read(file), -EAGAIN)
})
