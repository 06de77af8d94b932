import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, beforeEach, test } from 'node:test'
import {
  AT_FDCWD,
  IN_ATTRIB,
  IN_CLOSE_WRITE,
  IN_CREATE,
  IN_DELETE,
  IN_ISDIR,
  IN_MODIFY,
  IN_MOVED_FROM,
  IN_MOVED_TO,
  O_CREAT,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  O_WRONLY,
} from '../../abi/constants.ts'
import { ENOENT } from '../../abi/errno.ts'
import { toBytes } from '../../base/bytes.ts'
import { CapabilitySet, Credentials, UserNamespace } from '../../base/credentials.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import { loadAddon } from '../../platform/addon.ts'
import { LinuxHost } from '../../platform/linux-host.ts'
import { chmod } from '../../vfs/attributes.ts'
import type { File } from '../../vfs/file.ts'
import { filePut } from '../../vfs/file-ref.ts'
import type { Inode } from '../../vfs/inode.ts'
import { addMark, type Mark, removeMark } from '../../vfs/marks.ts'
import { Mount, MountNamespace } from '../../vfs/mount.ts'
import { lookup } from '../../vfs/namei.ts'
import { openAt } from '../../vfs/open.ts'
import { unlink } from '../../vfs/operations.ts'
import { rename } from '../../vfs/rename.ts'
import { Vfs } from '../../vfs/vfs.ts'
import type { WalkContext } from '../../vfs/walk.ts'
import { type HostSuper, mountHostfs } from './super.ts'

/** Counts what it is asked. Each look at `turn` is a system call of its own. */
class TestHost extends LinuxHost {
  asked = 0
  #turns = 0
  override get turn(): number {
    return ++this.#turns
  }
  override statx(...args: Parameters<LinuxHost['statx']>): number {
    this.asked++
    return super.statx(...args)
  }
  override openat2(...args: Parameters<LinuxHost['openat2']>): number {
    this.asked++
    return super.openat2(...args)
  }
  override watch(_fd: number, _events: number, ready: (events: number) => void): number {
    this.ready = ready
    return 0
  }
  override unwatch(): void {
    this.ready = undefined
  }
  ready: ((events: number) => void) | undefined = undefined
}

const host = new TestHost(loadAddon(join(import.meta.dirname, '../../../native/build/caisson.node')))
host.ownFds = host.openat2(AT_FDCWD, '/proc/self/fd', O_PATH | O_DIRECTORY, 0, 0)
const vfs = new Vfs(host)
const userNs = new UserNamespace(undefined, 0, 0, 1)
const cred = Object.assign(new Credentials(userNs), {
  effective: CapabilitySet.ALL,
  fsuid: process.getuid!(),
  fsgid: process.getgid!(),
})
const dir = fs.mkdtempSync(join(tmpdir(), 'caisson-followed-'))
after(() => fs.rmSync(dir, { recursive: true }))
let count = 0
let top = ''
beforeEach(() => {
  top = join(dir, String(count++))
  fs.mkdirSync(top)
})

function mount(): { sb: HostSuper; ctx: WalkContext } {
  const fd = host.openat2(AT_FDCWD, top, O_PATH | O_DIRECTORY, 0, 0)
  const sb = mountHostfs(vfs.newDev(), host, fd, { shared: true }) as HostSuper
  const root = new Mount(vfs, sb)
  const path = { mount: root, dentry: root.root }
  const mountNs = new MountNamespace(vfs, 1, userNs, root)
  return { sb, ctx: { fs: { root: path, cwd: path, umask: 0o22 }, cred, mountNs } }
}
function open(ctx: WalkContext, name: string, flags = O_RDONLY): File {
  const file = openAt(ctx, undefined, name, flags, 0o644)
  if (typeof file === 'number') throw new Error(`open ${name}: errno ${-file}`)
  return file
}
function content(ctx: WalkContext, name: string): string {
  const file = open(ctx, name)
  const into = new BufferDst(new Uint8Array(100))
  const n = file.readAt(into, 0)
  filePut(file)
  return Buffer.from(into.bytes.subarray(0, Math.max(0, n))).toString()
}
/** stat(2) */
function stat(ctx: WalkContext, name: string): Inode | number {
  const place = lookup(ctx, undefined, name, 0)
  if (typeof place === 'number') return place
  const inode = place.dentry.inode!
  const status = inode.getattr()
  return status < 0 ? status : inode
}
function size(ctx: WalkContext, name: string): number {
  const inode = stat(ctx, name)
  return typeof inode === 'number' ? inode : inode.size
}
/** Walks there until nothing of it is asked of the host. */
function learn(ctx: WalkContext, ...names: string[]): void {
  for (let i = 0; i < 12; i++) for (const name of names) stat(ctx, name)
  const before = host.asked
  for (const name of names) stat(ctx, name)
  assert.equal(host.asked - before, 0, `the host is still asked for ${names.join()}`)
}
function mark(inode: Inode, events: string[], mask = 0xfff): Mark {
  const made: Mark = {
    mask,
    event: (event, _cookie, name) => void events.push(`${(event & ~IN_ISDIR).toString(16)} ${name ?? ''}`),
    inodeGone: () => removeMark(inode, made),
  }
  addMark(inode, made)
  return made
}
const line = (mask: number, name = ''): string => `${mask.toString(16)} ${name}`

test('followed: what is asked again and again is not asked of the host, and changes from outside show at once', () => {
  fs.mkdirSync(join(top, 'a/b'), { recursive: true })
  fs.writeFileSync(join(top, 'a/b/f'), '1')
  const { ctx } = mount()
  learn(ctx, 'a/b/f', 'a/b/none')
  assert.equal(content(ctx, 'a/b/f'), '1')
  const before = host.asked
  assert.equal(content(ctx, 'a/b/f'), '1')
  assert.equal(host.asked, before, 'an open of a known file asks nothing')

  fs.appendFileSync(join(top, 'a/b/f'), '23')
  assert.equal(size(ctx, 'a/b/f'), 3)
  assert.equal(content(ctx, 'a/b/f'), '123')
  fs.writeFileSync(join(top, 'a/new'), 'other')
  fs.renameSync(join(top, 'a/new'), join(top, 'a/b/f'))
  assert.equal(content(ctx, 'a/b/f'), 'other')
  fs.writeFileSync(join(top, 'a/b/none'), 'some')
  assert.equal(size(ctx, 'a/b/none'), 4)
  fs.unlinkSync(join(top, 'a/b/f'))
  assert.equal(size(ctx, 'a/b/f'), -ENOENT)
  learn(ctx, 'a/b/none')
  fs.chmodSync(join(top, 'a/b'), 0o711)
  assert.equal((stat(ctx, 'a/b') as Inode).mode & 0o777, 0o711)
  fs.renameSync(join(top, 'a'), join(top, 'c'))
  assert.equal(size(ctx, 'a/b/none'), -ENOENT)
  assert.equal(size(ctx, 'c/b/none'), 4)
})

test('followed: our own changes are seen as well, and what they made known is not asked for', () => {
  fs.writeFileSync(join(top, 'f'), '1')
  const { ctx } = mount()
  learn(ctx, 'f', 'x', '.')
  const made = open(ctx, 'x', O_CREAT | O_WRONLY)
  let before = host.asked
  assert.equal(size(ctx, 'x'), 0)
  assert.equal(host.asked, before, 'a new file is known')
  made.writeAt(new BufferSrc(toBytes('abc')), 0)
  assert.equal(size(ctx, 'x'), 3)
  filePut(made)
  assert.equal(unlink(ctx, undefined, 'x'), 0)
  before = host.asked
  assert.equal(size(ctx, 'x'), -ENOENT)
  assert.equal(host.asked, before, 'a removed name is known to be missing')
  assert.equal(rename(ctx, undefined, 'f', undefined, 'g', 0), 0)
  assert.equal(size(ctx, 'f'), -ENOENT)
  assert.equal(size(ctx, 'g'), 1)
  fs.writeFileSync(join(top, 'f'), 'back')
  assert.equal(size(ctx, 'f'), 4)
})

test('followed: a file with a second name, and one that was mapped for writing, are asked for', () => {
  fs.mkdirSync(join(top, 'd'))
  fs.writeFileSync(join(top, 'd/f'), '1')
  fs.linkSync(join(top, 'd/f'), join(top, 'g'))
  const { ctx } = mount()
  for (let i = 0; i < 10; i++) stat(ctx, 'd/f')
  fs.appendFileSync(join(top, 'g'), '2')
  assert.equal(size(ctx, 'd/f'), 2)
})

test('followed: an open file that was replaced keeps its own attributes, and its name leads to the new one', () => {
  fs.writeFileSync(join(top, 'f'), 'old')
  const { ctx } = mount()
  learn(ctx, 'f')
  const file = open(ctx, 'f')
  fs.appendFileSync(join(top, 'f'), 'er')
  assert.equal(file.inode.getattr(), 0)
  assert.equal(file.inode.size, 5)
  fs.truncateSync(join(top, 'f'), 3)
  fs.writeFileSync(join(top, 'n'), 'newer')
  fs.renameSync(join(top, 'n'), join(top, 'f'))
  assert.equal(file.inode.getattr(), 0)
  assert.equal(file.inode.size, 3)
  assert.equal(size(ctx, 'f'), 5)
  assert.equal(content(ctx, 'f'), 'newer')
  filePut(file)
})

test('followed: watchers inside hear of what others do, and once of what is done inside', () => {
  fs.writeFileSync(join(top, 'f'), '1')
  const { ctx } = mount()
  const events: string[] = []
  const ofFile: string[] = []
  const root = ctx.fs.root.dentry.inode!
  const made = mark(root, events)
  const f = stat(ctx, 'f') as Inode
  const madeOfFile = mark(f, ofFile)
  assert.notEqual(host.ready, undefined)

  fs.writeFileSync(join(top, 'new'), 'x')
  fs.renameSync(join(top, 'new'), join(top, 'moved'))
  fs.unlinkSync(join(top, 'moved'))
  fs.mkdirSync(join(top, 'dir'))
  fs.appendFileSync(join(top, 'f'), '2')
  fs.chmodSync(join(top, 'f'), 0o600)
  host.ready!(1)
  assert.deepEqual(events.splice(0), [
    line(IN_CREATE, 'new'),
    line(IN_MODIFY, 'new'),
    line(IN_CLOSE_WRITE, 'new'),
    line(IN_MOVED_FROM, 'new'),
    line(IN_MOVED_TO, 'moved'),
    line(IN_DELETE, 'moved'),
    line(IN_CREATE, 'dir'),
    line(IN_MODIFY, 'f'),
    line(IN_CLOSE_WRITE, 'f'),
    line(IN_ATTRIB, 'f'),
  ])
  assert.deepEqual(ofFile.splice(0), [line(IN_MODIFY), line(IN_CLOSE_WRITE), line(IN_ATTRIB)])

  const file = open(ctx, 'own', O_CREAT | O_WRONLY)
  file.writeAt(new BufferSrc(toBytes('abc')), 0)
  filePut(file)
  chmod(
    cred,
    { mount: ctx.fs.root.mount, dentry: (lookup(ctx, undefined, 'f', 0) as typeof ctx.fs.root).dentry },
    0o644,
  )
  assert.equal(unlink(ctx, undefined, 'own'), 0)
  host.ready!(1)
  const times = (text: string): number => events.filter(event => event === text).length
  assert.equal(times(line(IN_CREATE, 'own')), 1)
  assert.equal(times(line(IN_ATTRIB, 'f')), 1)
  assert.equal(times(line(IN_DELETE, 'own')), 1)
  // The system calls tell of writes.
  assert.equal(times(line(IN_MODIFY, 'own')), 0)

  removeMark(root, made)
  removeMark(f, madeOfFile)
  assert.equal(host.ready, undefined)
})

test('followed: a queue that ran over is noticed', () => {
  fs.writeFileSync(join(top, 'f'), '1')
  const { ctx } = mount()
  learn(ctx, 'f')
  const limit = Number(fs.readFileSync('/proc/sys/fs/inotify/max_queued_events', 'latin1'))
  for (let i = 0; i < limit; i += 2) {
    fs.chmodSync(join(top, 'f'), 0o600)
    fs.utimesSync(join(top, 'f'), i, i)
    fs.writeFileSync(join(top, 'g'), '')
    fs.unlinkSync(join(top, 'g'))
  }
  fs.appendFileSync(join(top, 'f'), '2')
  assert.equal(size(ctx, 'f'), 2)
})

test('followed: watches are bounded, and go with what they are about', () => {
  for (let i = 0; i < 1200; i++) {
    fs.mkdirSync(join(top, `d${i}`))
    fs.writeFileSync(join(top, `d${i}/f`), '1')
  }
  const { sb, ctx } = mount()
  for (let i = 0; i < 1200; i++) learn(ctx, `d${i}/f`)
  assert.ok(host.changes.count <= 1024, `${host.changes.count} watches`)
  for (let i = 0; i < 1200; i += 50) {
    fs.appendFileSync(join(top, `d${i}/f`), '2')
    assert.equal(size(ctx, `d${i}/f`), 2)
  }
  const before = host.changes.count
  sb.dentries.shrinkAll()
  assert.ok(host.changes.count < before - 900)
  assert.equal(sb.inodeCount, 1)
})
