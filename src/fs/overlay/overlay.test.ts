import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, beforeEach, test } from 'node:test'
import {
  AT_FDCWD,
  O_APPEND,
  O_CREAT,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  RENAME_EXCHANGE,
} from '../../abi/constants.ts'
import { EEXIST, ENOENT, ENOSPC, ENOTEMPTY } from '../../abi/errno.ts'
import { toBytes } from '../../base/bytes.ts'
import { CapabilitySet, Credentials, UserNamespace } from '../../base/credentials.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import { loadAddon } from '../../platform/addon.ts'
import { LinuxHost } from '../../platform/linux-host.ts'
import { chmod } from '../../vfs/attributes.ts'
import type { File } from '../../vfs/file.ts'
import { filePut } from '../../vfs/file-ref.ts'
import type { Inode } from '../../vfs/inode.ts'
import { Mount, MountNamespace } from '../../vfs/mount.ts'
import { lookup } from '../../vfs/namei.ts'
import { openAt } from '../../vfs/open.ts'
import { link, mkdir, rmdir, unlink } from '../../vfs/operations.ts'
import { rename } from '../../vfs/rename.ts'
import { Vfs } from '../../vfs/vfs.ts'
import type { WalkContext } from '../../vfs/walk.ts'
import { type HostSuper, mountHostfs } from '../hostfs/super.ts'
import { TmpfsSuper } from '../tmpfs/super.ts'
import { mountOverlay, type OverlaySuper, UPPER_FIRST_INO } from './super.ts'

const host = new LinuxHost(loadAddon(join(import.meta.dirname, '../../../native/build/caisson.node')))
const vfs = new Vfs(host)
const userNs = new UserNamespace(undefined, 0, 0, 1)
const cred = Object.assign(new Credentials(userNs), { effective: CapabilitySet.ALL })
const dir = fs.mkdtempSync(join(tmpdir(), 'caisson-overlay-'))
after(() => fs.rmSync(dir, { recursive: true }))
let count = 0
let top = ''
beforeEach(() => {
  top = join(dir, String(count++))
  fs.mkdirSync(top)
})

function lowerOf(path: string): HostSuper {
  const fd = host.openat2(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0, 0)
  return mountHostfs(vfs.newDev(), host, fd, { shared: false }) as HostSuper
}
function mount(size = Number.POSITIVE_INFINITY, lowers = [lowerOf(top)]) {
  const options = {
    size,
    inodes: Number.POSITIVE_INFINITY,
    mode: 0o755,
    uid: 0,
    gid: 0,
    firstIno: UPPER_FIRST_INO,
  }
  const upper = new TmpfsSuper(vfs.newDev(), host, host, options)
  const sb = mountOverlay(vfs, { upper, lowers }, cred) as OverlaySuper
  const root = new Mount(vfs, sb)
  const path = { mount: root, dentry: root.root }
  const mountNs = new MountNamespace(vfs, 1, userNs, root)
  const ctx: WalkContext = { fs: { root: path, cwd: path, umask: 0o22 }, cred, mountNs }
  return { sb, ctx, upper, lower: lowers[0] }
}
function open(ctx: WalkContext, name: string, flags = O_RDONLY, mode = 0o644): File {
  const file = openAt(ctx, undefined, name, flags, mode)
  if (typeof file === 'number') throw new Error(`open ${name}: errno ${-file}`)
  return file
}
function put(ctx: WalkContext, name: string, text: string, flags = O_CREAT | O_TRUNC | O_WRONLY): void {
  const file = open(ctx, name, flags)
  assert.equal(file.write(new BufferSrc(toBytes(text))), text.length)
  filePut(file)
}
function text(file: File): string {
  const into = new BufferDst(new Uint8Array(1000))
  const n = file.readAt(into, 0)
  return Buffer.from(into.bytes.subarray(0, Math.max(0, n))).toString()
}
function cat(ctx: WalkContext, name: string): string | number {
  const file = openAt(ctx, undefined, name, O_RDONLY, 0)
  if (typeof file === 'number') return file
  const out = text(file)
  filePut(file)
  return out
}
function list(ctx: WalkContext, name: string): string {
  const file = open(ctx, name, O_RDONLY | O_DIRECTORY)
  const out: string[] = []
  file.readdir((entry, ino) => {
    if (entry !== '.' && entry !== '..') {
      out.push(entry)
      assert.equal(ino, inodeOf(ctx, `${name}/${entry}`).ino, `d_ino of ${entry}`)
    }
    return true
  })
  filePut(file)
  return out.sort().join(' ')
}
function inodeOf(ctx: WalkContext, name: string): Inode {
  const path = lookup(ctx, undefined, name, 0)
  if (typeof path === 'number') throw new Error(`lookup ${name}: errno ${-path}`)
  path.dentry.inode!.getattr()
  return path.dentry.inode!
}
function makeTree(): void {
  fs.mkdirSync(join(top, 'd/e'), { recursive: true })
  fs.writeFileSync(join(top, 'd/f'), 'lower f')
  fs.writeFileSync(join(top, 'd/e/g'), 'lower g')
  fs.writeFileSync(join(top, 'h'), 'lower h')
  fs.symlinkSync('d/f', join(top, 's'))
}

test('overlay: what is below is seen, and a write copies the file up and keeps its number, owner and mode', () => {
  makeTree()
  fs.chmodSync(join(top, 'd/f'), 0o640)
  fs.utimesSync(join(top, 'd/f'), 1000, 2000)
  const { ctx, upper } = mount()
  assert.equal(cat(ctx, 's'), 'lower f')
  assert.equal(list(ctx, '.'), 'd h s')
  const before = inodeOf(ctx, 'd/f')
  const { ino, mode, uid } = before
  const reader = open(ctx, 'd/f')
  put(ctx, 'd/f', ' and more', O_WRONLY | O_APPEND)
  assert.equal(cat(ctx, 'd/f'), 'lower f and more')
  assert.equal(text(reader), 'lower f')
  const after = inodeOf(ctx, 'd/f')
  assert.equal(after, before)
  assert.deepEqual([after.ino, after.mode, after.uid], [ino, mode, uid])
  assert.equal(fs.readFileSync(join(top, 'd/f'), 'latin1'), 'lower f')
  assert.equal(list(ctx, 'd'), 'e f')
  assert.equal(chmod(cred, reader.path, 0o600), 0)
  assert.equal(inodeOf(ctx, 'd/f').mode & 0o777, 0o600)
  assert.equal(upper.quota.pages, 1)
  filePut(reader)
})

test('overlay: a copied-up directory keeps its times', () => {
  makeTree()
  fs.utimesSync(join(top, 'd'), 1000, 2000)
  const { ctx } = mount()
  chmod(cred, open(ctx, 'd/f').path, 0o600)
  assert.equal(inodeOf(ctx, 'd').mtime.sec, 2000)
  put(ctx, 'd/new', 'x')
  assert.ok(inodeOf(ctx, 'd').mtime.sec > 2000)
})

test('overlay: removed names stay removed, made again they are new', () => {
  makeTree()
  const { ctx } = mount()
  assert.equal(unlink(ctx, undefined, 'd/f'), 0)
  assert.equal(cat(ctx, 'd/f'), -ENOENT)
  assert.equal(list(ctx, 'd'), 'e')
  ctx.fs.root.mount.sb.dentries.shrinkAll()
  assert.equal(cat(ctx, 'd/f'), -ENOENT)
  assert.equal(rmdir(ctx, undefined, 'd'), -ENOTEMPTY)
  unlink(ctx, undefined, 'd/e/g')
  assert.equal(rmdir(ctx, undefined, 'd/e'), 0)
  assert.equal(rmdir(ctx, undefined, 'd'), 0)
  assert.equal(list(ctx, '.'), 'h s')
  assert.equal(mkdir(ctx, undefined, 'd', 0o755), 0)
  assert.equal(list(ctx, 'd'), '')
  assert.equal(cat(ctx, 'd/f'), -ENOENT)
  put(ctx, 'd/f', 'new')
  assert.equal(cat(ctx, 'd/f'), 'new')
  unlink(ctx, undefined, 'd/f')
  assert.equal(cat(ctx, 'd/f'), -ENOENT)
  assert.equal(fs.readFileSync(join(top, 'd/e/g'), 'latin1'), 'lower g')
})

test('overlay: whatever leaves a name, the lower file of that name stays hidden', () => {
  for (const name of ['a', 'b', 'c', 'd', 'e']) fs.writeFileSync(join(top, name), `lower ${name}`)
  const { ctx } = mount()
  // A new file in the place of a lower one, then gone.
  put(ctx, 'new', 'new')
  assert.equal(rename(ctx, undefined, 'new', undefined, 'a', 0), 0)
  assert.equal(unlink(ctx, undefined, 'a'), 0)
  // A lower file over another one.
  assert.equal(rename(ctx, undefined, 'b', undefined, 'c', 0), 0)
  assert.equal(cat(ctx, 'c'), 'lower b')
  assert.equal(unlink(ctx, undefined, 'c'), 0)
  // Places exchanged, then both gone.
  put(ctx, 'f', 'new f')
  assert.equal(rename(ctx, undefined, 'd', undefined, 'f', RENAME_EXCHANGE), 0)
  assert.deepEqual([cat(ctx, 'd'), cat(ctx, 'f')], ['new f', 'lower d'])
  assert.equal(unlink(ctx, undefined, 'd'), 0)
  assert.equal(unlink(ctx, undefined, 'f'), 0)
  // A copy, moved away and back.
  put(ctx, 'e', 'changed', O_WRONLY)
  assert.equal(rename(ctx, undefined, 'e', undefined, 'g', 0), 0)
  assert.equal(cat(ctx, 'e'), -ENOENT)
  assert.equal(rename(ctx, undefined, 'g', undefined, 'e', 0), 0)
  assert.equal(unlink(ctx, undefined, 'e'), 0)
  assert.equal(list(ctx, '.'), '')
  for (const name of ['a', 'b', 'c', 'd', 'e', 'f', 'g']) assert.equal(cat(ctx, name), -ENOENT, name)
  for (const name of ['a', 'b', 'c', 'd', 'e']) assert.equal(fs.existsSync(join(top, name)), true)
})

test('overlay: a lower directory is renamed with all that is below, twice', () => {
  makeTree()
  const { ctx } = mount()
  assert.equal(rename(ctx, undefined, 'd', undefined, 'moved', 0), 0)
  assert.equal(cat(ctx, 'moved/e/g'), 'lower g')
  assert.equal(cat(ctx, 'd/f'), -ENOENT)
  assert.equal(mkdir(ctx, undefined, 'd', 0o755), 0)
  assert.equal(list(ctx, 'd'), '')
  assert.equal(rename(ctx, undefined, 'moved/e', undefined, 'd/e', 0), 0)
  assert.equal(cat(ctx, 'd/e/g'), 'lower g')
  put(ctx, 'd/e/g', 'changed')
  ctx.fs.root.mount.sb.dentries.shrinkAll()
  assert.equal(cat(ctx, 'd/e/g'), 'changed')
  assert.equal(list(ctx, 'moved'), 'f')
  assert.equal(rename(ctx, undefined, 'd', undefined, 'moved', RENAME_EXCHANGE), 0)
  assert.equal(cat(ctx, 'moved/e/g'), 'changed')
  assert.equal(list(ctx, 'd'), 'f')
  assert.equal(rename(ctx, undefined, 'h', undefined, 'd/f', 0), 0)
  assert.equal(cat(ctx, 'd/f'), 'lower h')
  assert.equal(list(ctx, '.'), 'd moved s')
  unlink(ctx, undefined, 'd/f')
  assert.equal(list(ctx, 'd'), '')
})

test('overlay: an empty lower directory can be replaced, a full one not', () => {
  makeTree()
  fs.mkdirSync(join(top, 'empty'))
  const { ctx } = mount()
  assert.equal(rename(ctx, undefined, 'empty', undefined, 'd', 0), -ENOTEMPTY)
  assert.equal(rename(ctx, undefined, 'd', undefined, 'empty', 0), 0)
  assert.equal(list(ctx, 'empty'), 'e f')
})

test('overlay: truncation copies no data, and a full upper layer leaves the lower file as it was', () => {
  fs.writeFileSync(join(top, 'big'), 'x'.repeat(100000))
  const { ctx, upper } = mount(8 * 4096)
  const failed = openAt(ctx, undefined, 'big', O_RDWR, 0)
  assert.equal(failed, -ENOSPC)
  assert.equal(upper.quota.pages, 0)
  assert.equal(inodeOf(ctx, 'big').size, 100000)
  put(ctx, 'big', 'short', O_WRONLY | O_TRUNC)
  assert.equal(cat(ctx, 'big'), 'short')
})

test('overlay: holes are copied as holes', () => {
  fs.writeFileSync(join(top, 'sparse'), 'start')
  fs.truncateSync(join(top, 'sparse'), 10e6)
  const { ctx, upper } = mount(64 * 4096)
  const file = open(ctx, 'sparse', O_RDWR)
  assert.equal(text(file).slice(0, 6), 'start\0')
  assert.equal(inodeOf(ctx, 'sparse').size, 10e6)
  assert.ok(upper.quota.pages <= 2)
  filePut(file)
})

test('overlay: links and unnamed files', () => {
  makeTree()
  const { ctx } = mount()
  const old = lookup(ctx, undefined, 'h', 0)
  if (typeof old === 'number') throw new Error('no h')
  assert.equal(link(ctx, old, undefined, 'd/h2'), 0)
  put(ctx, 'd/h2', '!', O_WRONLY | O_APPEND)
  assert.equal(cat(ctx, 'h'), 'lower h!')
  assert.equal(inodeOf(ctx, 'h').nlink, 2)
  assert.equal(inodeOf(ctx, 'h'), inodeOf(ctx, 'd/h2'))
  assert.equal(link(ctx, old, undefined, 'd/f'), -EEXIST)
})

test('overlay: a file that was removed while open is written in a copy of its own', () => {
  makeTree()
  const { ctx, upper } = mount()
  const reader = open(ctx, 'h')
  unlink(ctx, undefined, 'h')
  assert.equal(reader.inode.getattr(), 0)
  assert.equal(reader.inode.nlink, 0)
  assert.equal(chmod(cred, reader.path, 0o600), 0)
  assert.equal(text(reader), 'lower h')
  filePut(reader)
  assert.equal(upper.quota.pages, 0)
})

test('overlay: inodes of what was only looked at are given back', () => {
  for (let i = 0; i < 100; i++) fs.mkdirSync(join(top, `d${i}`))
  for (let i = 0; i < 100; i++) fs.writeFileSync(join(top, `d${i}/f`), '')
  const { ctx, sb, lower } = mount()
  for (let i = 0; i < 100; i++) cat(ctx, `d${i}/f`)
  put(ctx, 'd1/f', 'x')
  unlink(ctx, undefined, 'd1/f')
  sb.dentries.shrinkAll()
  assert.equal(sb.inodeCount, 2)
  assert.equal(lower.inodeCount, 2)
})

test('overlay: an image of layers, with whiteouts and opaque directories', {
  skip: process.getuid!() !== 0,
}, () => {
  for (const name of ['1/a', '1/b', '2/a', '2/b']) fs.mkdirSync(join(top, name), { recursive: true })
  fs.writeFileSync(join(top, '1/a/gone'), '')
  fs.writeFileSync(join(top, '1/a/kept'), 'kept')
  fs.writeFileSync(join(top, '1/b/hidden'), '')
  fs.writeFileSync(join(top, '2/b/top'), 'top')
  const fd = host.openat2(AT_FDCWD, join(top, '2/a'), O_RDONLY, 0, 0)
  host.mknodat(fd, 'gone', 0o20000, 0, 0)
  const b = host.openat2(AT_FDCWD, join(top, '2/b'), O_RDONLY, 0, 0)
  assert.equal(host.fsetxattr(b, 'trusted.overlay.opaque', toBytes('y'), 0), 0)
  const { ctx } = mount(undefined, [lowerOf(join(top, '2')), lowerOf(join(top, '1'))])
  assert.equal(list(ctx, 'a'), 'kept')
  assert.equal(cat(ctx, 'a/gone'), -ENOENT)
  assert.equal(list(ctx, 'b'), 'top')
  put(ctx, 'a/gone', 'back')
  assert.equal(cat(ctx, 'a/gone'), 'back')
  unlink(ctx, undefined, 'a/gone')
  assert.equal(cat(ctx, 'a/gone'), -ENOENT)
})
