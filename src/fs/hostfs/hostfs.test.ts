import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, beforeEach, test } from 'node:test'
import {
  ACL_GROUP_OBJ,
  ACL_MASK,
  ACL_OTHER,
  ACL_USER,
  ACL_USER_OBJ,
  AT_FDCWD,
  O_APPEND,
  O_CREAT,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  SEEK_HOLE,
} from '../../abi/constants.ts'
import { EACCES, ELOOP, ENOENT, ENOTEMPTY, ENXIO, EOPNOTSUPP } from '../../abi/errno.ts'
import { toBytes } from '../../base/bytes.ts'
import { CapabilitySet, Credentials, UserNamespace } from '../../base/credentials.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import { loadAddon } from '../../platform/addon.ts'
import { LinuxHost } from '../../platform/linux-host.ts'
import { ACL_ACCESS, encodeAcl } from '../../vfs/acl.ts'
import { rootDentry } from '../../vfs/dentry.ts'
import type { File } from '../../vfs/file.ts'
import { filePut } from '../../vfs/file-ref.ts'
import { Mount, MountNamespace } from '../../vfs/mount.ts'
import { lookup } from '../../vfs/namei.ts'
import { openAt } from '../../vfs/open.ts'
import { mkdir, rmdir, unlink } from '../../vfs/operations.ts'
import { holdPath } from '../../vfs/path.ts'
import { MAY_WRITE, modePermission } from '../../vfs/permission.ts'
import { rename } from '../../vfs/rename.ts'
import { Vfs } from '../../vfs/vfs.ts'
import type { WalkContext } from '../../vfs/walk.ts'
import { type HostSuper, mountHostfs } from './super.ts'

/** Its clock stands still until moved. */
class TestHost extends LinuxHost {
  time = 1e9
  calls = 0
  override monotonic(): number {
    return this.time
  }
  override recent(): number {
    return this.time
  }
  /** Each look is a call of its own. */
  override get turn(): number {
    return ++this.#turns
  }
  #turns = 0
  /** Its file system's times don't move. */
  coarse = false
  override statx(...args: Parameters<LinuxHost['statx']>): number {
    this.calls++
    const status = super.statx(...args)
    if (this.coarse) args[3].ctimeSec = args[3].ctimeNsec = 0
    return status
  }
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
const dir = fs.mkdtempSync(join(tmpdir(), 'caisson-hostfs-'))
after(() => fs.rmSync(dir, { recursive: true }))
let count = 0
let top = ''
beforeEach(() => {
  top = join(dir, String(count++))
  fs.mkdirSync(top)
})

function mount(shared: boolean): { sb: HostSuper; ctx: WalkContext } {
  const fd = host.openat2(AT_FDCWD, top, O_PATH | O_DIRECTORY, 0, 0)
  const sb = mountHostfs(vfs.newDev(), host, fd, { shared }) as HostSuper
  const root = new Mount(vfs, sb)
  const path = { mount: root, dentry: root.root }
  const mountNs = new MountNamespace(vfs, 1, userNs, root)
  return { sb, ctx: { fs: { root: path, cwd: path, umask: 0o22 }, cred, mountNs } }
}
function open(ctx: WalkContext, name: string, flags = O_RDONLY, mode = 0o644): File {
  const file = openAt(ctx, undefined, name, flags, mode)
  if (typeof file === 'number') throw new Error(`open ${name}: errno ${-file}`)
  return file
}
function text(file: File): string {
  const into = new BufferDst(new Uint8Array(1000))
  const n = file.readAt(into, 0)
  return Buffer.from(into.bytes.subarray(0, Math.max(0, n))).toString()
}
function list(ctx: WalkContext, name: string): string[] {
  const file = open(ctx, name, O_RDONLY | O_DIRECTORY)
  const out: string[] = []
  file.readdir(entry => out.push(entry) > 0)
  filePut(file)
  return out.sort()
}
const openFds = (): number => fs.readdirSync('/proc/self/fd').length

test('hostfs: files are read and written in place, and attributes are the host’s', () => {
  fs.writeFileSync(join(top, 'f'), 'hello')
  fs.truncateSync(join(top, 'f'), 100000)
  const { ctx } = mount(true)
  const file = open(ctx, 'f', O_RDWR)
  assert.equal(text(file).slice(0, 5), 'hello')
  assert.equal(file.writeAt(new BufferSrc(toBytes('J')), 0), 1)
  assert.equal(fs.readFileSync(join(top, 'f'), 'latin1').slice(0, 5), 'Jello')
  assert.equal(file.seek(0, SEEK_HOLE), 4096)
  assert.equal(file.inode.getattr(), 0)
  const stat = fs.statSync(join(top, 'f'))
  assert.equal(file.inode.ino, stat.ino)
  assert.equal(file.inode.size, stat.size)
  assert.equal(file.inode.blocks, stat.blocks)
  assert.equal(file.fsync(false), 0)
  filePut(file)
})

test('hostfs: nothing outside is reached through links, and a FIFO is not opened', () => {
  fs.symlinkSync('/etc', join(top, 'out'))
  fs.mkdirSync(join(top, 'etc'))
  fs.writeFileSync(join(top, 'etc/passwd'), 'inside')
  const { ctx } = mount(true)
  assert.equal(text(open(ctx, 'out/passwd')), 'inside')
  assert.equal(openAt(ctx, undefined, 'out', O_RDONLY | O_NOFOLLOW, 0), -ELOOP)
  assert.equal(openAt(ctx, undefined, '../../../etc/hostname', O_RDONLY, 0), -ENOENT)
  host.mknodat(host.openat2(AT_FDCWD, top, O_PATH, 0, 0), 'fifo', 0o10644, 0, 0)
  assert.equal(openAt(ctx, undefined, 'fifo', O_RDONLY, 0), -ENXIO)
})

test('hostfs: names are made, moved and removed on the host', () => {
  const { ctx } = mount(true)
  assert.equal(mkdir(ctx, undefined, 'a', 0o777), 0)
  assert.equal(mkdir(ctx, undefined, 'b', 0o700), 0)
  assert.equal(fs.statSync(join(top, 'a')).mode & 0o777, 0o755)
  const file = open(ctx, 'a/f', O_CREAT | O_RDWR, 0o444)
  assert.equal(file.writeAt(new BufferSrc(toBytes('data')), 0), 4)
  assert.equal(fs.statSync(join(top, 'a/f')).mode & 0o777, 0o444)
  assert.equal(rename(ctx, undefined, 'a', undefined, 'b/c', 0), 0)
  assert.equal(file.inode.getattr(), 0)
  assert.equal(text(open(ctx, 'b/c/f')), 'data')
  assert.equal(rmdir(ctx, undefined, 'b'), -ENOTEMPTY)
  assert.equal(unlink(ctx, undefined, 'b/c/f'), 0)
  assert.equal(file.inode.nlink, 0)
  assert.equal(file.inode.getattr(), 0)
  assert.equal(file.inode.nlink, 0)
  assert.equal(file.inode.setattr({ size: 2 }), 0)
  assert.equal(text(file), 'da')
  assert.equal(rmdir(ctx, undefined, 'b/c'), 0)
  assert.deepEqual(fs.readdirSync(join(top, 'b')), [])
  filePut(file)
})

test('hostfs: O_APPEND writes at the end that the host knows', () => {
  fs.writeFileSync(join(top, 'log'), 'one\n')
  const { ctx } = mount(true)
  const file = open(ctx, 'log', O_WRONLY | O_APPEND)
  file.write(new BufferSrc(toBytes('two\n')))
  fs.appendFileSync(join(top, 'log'), 'three\n')
  file.write(new BufferSrc(toBytes('four\n')))
  assert.equal(fs.readFileSync(join(top, 'log'), 'latin1'), 'one\ntwo\nthree\nfour\n')
  filePut(file)
})

test('hostfs: a shared tree shows what others do at once', () => {
  const { ctx } = mount(true)
  assert.equal(openAt(ctx, undefined, 'later', O_RDONLY, 0), -ENOENT)
  fs.writeFileSync(join(top, 'later'), '1')
  assert.equal(text(open(ctx, 'later')), '1')
  fs.writeFileSync(join(top, 'new'), '2')
  fs.renameSync(join(top, 'new'), join(top, 'later'))
  assert.equal(text(open(ctx, 'later')), '2')
  fs.unlinkSync(join(top, 'later'))
  assert.equal(openAt(ctx, undefined, 'later', O_RDONLY, 0), -ENOENT)
})

test('hostfs: a cached tree is believed for a second, and what is opened anew is the file that was asked for', () => {
  fs.mkdirSync(join(top, 'd'))
  for (const name of ['f', 'h']) fs.writeFileSync(join(top, 'd', name), '1')
  const { ctx } = mount(false)
  filePut(open(ctx, 'd/f'))
  assert.equal(typeof lookup(ctx, undefined, 'd/h', 0), 'object')
  const before = host.calls
  filePut(open(ctx, 'd/f'))
  assert.equal(host.calls - before, 0)
  assert.equal(openAt(ctx, undefined, 'd/later', O_RDONLY, 0), -ENOENT)
  host.time += 0.01e9
  for (const name of ['f', 'h']) {
    fs.writeFileSync(join(top, 'd/g'), '2')
    fs.renameSync(join(top, 'd/g'), join(top, 'd', name))
  }
  fs.writeFileSync(join(top, 'd/later'), '3')
  assert.equal(text(open(ctx, 'd/f')), '1')
  assert.equal(text(open(ctx, 'd/h')), '2')
  assert.equal(openAt(ctx, undefined, 'd/later', O_RDONLY, 0), -ENOENT)
  host.time += 1.1e9
  assert.equal(text(open(ctx, 'd/f')), '2')
  assert.equal(text(open(ctx, 'd/later')), '3')
  assert.equal(openAt(ctx, undefined, 'd/never', O_RDONLY, 0), -ENOENT)
  const known = host.calls
  assert.equal(openAt(ctx, undefined, 'd/never', O_RDONLY, 0), -ENOENT)
  assert.equal(host.calls, known)
})

test('hostfs: where a link leads is asked once, and anew when another may have taken its place', () => {
  for (const name of ['a', 'b']) fs.writeFileSync(join(top, name), name)
  fs.symlinkSync('a', join(top, 'link'))
  const { ctx } = mount(false)
  for (const name of ['link', 'b']) filePut(open(ctx, name))
  const before = host.calls
  filePut(open(ctx, 'link'))
  assert.equal(host.calls - before, 0)
  fs.symlinkSync('b', join(top, 'new'))
  fs.renameSync(join(top, 'new'), join(top, 'link'))
  host.time += 1.1e9
  assert.equal(text(open(ctx, 'link')), 'b')
})

test('hostfs: a directory of thousands is listed whole, and positions can be returned to', () => {
  fs.mkdirSync(join(top, 'd'))
  for (let i = 0; i < 3000; i++) fs.writeFileSync(join(top, `d/file-with-a-long-name-${i}`), '')
  const { ctx } = mount(false)
  const file = open(ctx, 'd', O_RDONLY | O_DIRECTORY)
  const first: string[] = []
  file.readdir(name => first.length < 1500 && first.push(name) > 0)
  const at = file.pos
  const rest: string[] = []
  file.readdir(name => rest.push(name) > 0)
  assert.equal(new Set([...first, ...rest]).size, 3002)
  file.seek(at, 0)
  const again: string[] = []
  file.readdir(name => again.push(name) > 0)
  assert.deepEqual(again, rest)
  filePut(file)
})

test('hostfs: /proc of the host is an empty directory', () => {
  top = '/'
  const { ctx } = mount(false)
  assert.deepEqual(list(ctx, 'proc'), ['.', '..'])
  assert.equal(openAt(ctx, undefined, 'proc/self/status', O_RDONLY, 0), -ENOENT)
  assert.ok(list(ctx, 'etc').includes('passwd'))
})

test('hostfs: descriptors and inodes are given back', () => {
  for (let i = 0; i < 700; i++) fs.mkdirSync(join(top, `d${i}/e`), { recursive: true })
  for (let i = 0; i < 700; i++) fs.writeFileSync(join(top, `d${i}/e/f`), String(i))
  const before = openFds()
  const { sb, ctx } = mount(false)
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 700; i++) {
      const file = open(ctx, `d${i}/e/f`)
      assert.equal(text(file), String(i))
      filePut(file)
    }
    assert.ok(openFds() - before < 780, `${openFds() - before} descriptors`)
  }
  sb.dentries.shrinkAll()
  assert.equal(sb.inodeCount, 1)
  assert.ok(openFds() - before < 5, `${openFds() - before} descriptors`)
})

test('hostfs: two names of one file are one inode', () => {
  fs.writeFileSync(join(top, 'a'), 'x')
  fs.linkSync(join(top, 'a'), join(top, 'b'))
  const { ctx } = mount(false)
  const a = open(ctx, 'a')
  const b = open(ctx, 'b')
  assert.equal(a.inode, b.inode)
  assert.equal(a.inode.nlink, 2)
  assert.equal(unlink(ctx, undefined, 'b'), 0)
  assert.equal(text(open(ctx, 'a')), 'x')
  filePut(a)
  filePut(b)
})

test('hostfs: a tree deeper than the descriptors kept is walked, changed and renamed in', () => {
  const { sb, ctx } = mount(true)
  const places = [ctx.fs.cwd]
  for (let depth = 0; depth < 1200; depth++) {
    assert.equal(mkdir(ctx, undefined, 'd', 0o755), 0)
    const next = lookup(ctx, undefined, 'd', 0)
    if (typeof next === 'number') throw new Error(`depth ${depth}: errno ${-next}`)
    places.push(next)
    ctx.fs.cwd = next
  }
  const deepest = places[1200]
  const high = places[1]
  ctx.fs.cwd = deepest
  filePut(open(ctx, 'f', O_CREAT | O_WRONLY))
  // Closes all but the last directories above the other end.
  assert.equal(rename(ctx, deepest, 'f', high, 'g', 0), 0)
  assert.equal(rename(ctx, high, 'g', deepest, 'h', 0), 0)
  assert.equal(rename(ctx, high, 'd', high, 'e', 0), 0)
  sb.dirFds.closeIdle()
  filePut(open(ctx, 'h'))
  assert.ok(sb.dirFds.idle <= 512)
  for (let depth = 1199; depth > 1; depth--) {
    assert.equal(unlink(ctx, places[depth + 1], 'h') <= 0, true)
    assert.equal(rmdir(ctx, places[depth], 'd'), 0, `depth ${depth}`)
  }
})

test('hostfs: one file can be the whole tree', () => {
  fs.writeFileSync(join(top, 'hosts'), 'localhost')
  const fd = host.openat2(AT_FDCWD, join(top, 'hosts'), O_PATH, 0, 0)
  const sb = mountHostfs(vfs.newDev(), host, fd, { shared: true }) as HostSuper
  const place = holdPath({ mount: new Mount(vfs, sb), dentry: rootDentry(sb) })
  const file = sb.root.open(place, O_RDWR, cred) as File
  assert.equal(text(file), 'localhost')
  assert.equal(file.writeAt(new BufferSrc(toBytes('L')), 0), 1)
  assert.equal(file.inode.setattr({ size: 5, mode: 0o600 }), 0)
  assert.equal(fs.readFileSync(join(top, 'hosts'), 'latin1'), 'Local')
  assert.equal(file.inode.size, 5)
  filePut(file)
  assert.equal(sb.root.setattr({ mode: 0o644, size: 0 }), 0)
  assert.equal(sb.root.mode & 0o777, 0o644)
})

test('hostfs: chmod changes the access control list that is obeyed, also when the time of change stays', t => {
  fs.writeFileSync(join(top, 'f'), '', { mode: 0o640 })
  const { ctx } = mount(false)
  const file = open(ctx, 'f')
  const { inode } = file
  const other = Object.assign(new Credentials(userNs), { fsuid: 12345, fsgid: 12345 })
  const none = 0xffffffff
  const list = [
    { tag: ACL_USER_OBJ, perm: 6, id: none },
    { tag: ACL_USER, perm: 6, id: 12345 },
    { tag: ACL_GROUP_OBJ, perm: 4, id: none },
    { tag: ACL_MASK, perm: 6, id: none },
    { tag: ACL_OTHER, perm: 0, id: none },
  ]
  const set = inode.setxattr(
    ACL_ACCESS,
    encodeAcl(list, (_tag, id) => id),
    0,
  )
  if (set === -EOPNOTSUPP) {
    filePut(file)
    return t.skip('the file system of the temporary directory has no access control lists')
  }
  assert.equal(set, 0)
  host.coarse = true
  assert.equal(inode.setattr({ mode: 0o660 }), 0)
  assert.equal(modePermission(other, inode, MAY_WRITE), 0)
  assert.equal(inode.setattr({ mode: 0o640 }), 0)
  assert.equal(modePermission(other, inode, MAY_WRITE), -EACCES)
  host.coarse = false
  filePut(file)
})
