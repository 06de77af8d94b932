import assert from 'node:assert/strict'
import { join } from 'node:path'
import { beforeEach, test } from 'node:test'
import {
  F_RDLCK,
  F_UNLCK,
  F_WRLCK,
  IN_CREATE,
  IN_MOVED_FROM,
  IN_MOVED_TO,
  LOCK_EX,
  LOCK_SH,
  MS_PRIVATE,
  MS_RDONLY,
  MS_SHARED,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  O_TRUNC,
  O_WRONLY,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  RENAME_WHITEOUT,
  RESOLVE_BENEATH,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_SYMLINKS,
  RESOLVE_NO_XDEV,
  S_IFCHR,
  S_IFIFO,
} from '../abi/constants.ts'
import {
  EACCES,
  EAGAIN,
  EBUSY,
  EEXIST,
  EINVAL,
  EISDIR,
  ELOOP,
  EMFILE,
  ENAMETOOLONG,
  ENOENT,
  ENOTDIR,
  ENOTEMPTY,
  ENXIO,
  EPERM,
  EROFS,
  ETXTBSY,
  EXDEV,
} from '../abi/errno.ts'
import { fromBytes, toBytes } from '../base/bytes.ts'
import { CapabilitySet, Credentials, UserNamespace } from '../base/credentials.ts'
import { BufferDst, BufferSrc } from '../base/io.ts'
import { TmpfsSuper } from '../fs/tmpfs/super.ts'
import { loadAddon } from '../platform/addon.ts'
import { LinuxHost } from '../platform/linux-host.ts'
import { chmod, setTimes } from './attributes.ts'
import { FdTable } from './fd-table.ts'
import type { File } from './file.ts'
import { allowWrite, denyWrite, fileGet, filePut } from './file-ref.ts'
import { LockWaits } from './lock-waits.ts'
import { InodeLocks, LOCK_TO_END, type PosixLock } from './locks.ts'
import { Mount, MountNamespace } from './mount.ts'
import { formatMountinfo, formatMounts } from './mount-info.ts'
import * as mounts from './mount-operations.ts'
import { LOOKUP_EMPTY, LOOKUP_FOLLOW, lookup, openAt, type WalkContext } from './namei.ts'
import * as operations from './operations.ts'
import { FsState, type Path } from './path.ts'
import { pathToString, pathToStringChecked } from './path-string.ts'
import { Vfs } from './vfs.ts'

const host = new LinuxHost(loadAddon(join(import.meta.dirname, '../../native/build/caisson.node')))
const rootNs = new UserNamespace(undefined, 0, 0, 1)

let vfs: Vfs
let ns: MountNamespace
let root: WalkContext
let user: WalkContext

function newTmpfs(): TmpfsSuper {
  const infinite = Number.POSITIVE_INFINITY
  return new TmpfsSuper(vfs.newDev(), host, host, {
    size: infinite,
    inodes: infinite,
    mode: 0o755,
    uid: 0,
    gid: 0,
  })
}
function context(uid: number): WalkContext {
  const cred = new Credentials(rootNs)
  Object.assign(cred, { uid, euid: uid, suid: uid, fsuid: uid, gid: uid, egid: uid, sgid: uid, fsgid: uid })
  if (uid === 0) cred.effective = cred.permitted = CapabilitySet.ALL
  return { fs: new FsState(ns.rootPath, ns.rootPath, 0o022), cred, mountNs: ns }
}
function ok<T extends object>(value: T | number): T {
  if (typeof value === 'number') throw new Error(`errno ${-value}`)
  return value
}
function find(name: string, flags = LOOKUP_FOLLOW, resolve = 0, start?: Path): Path | number {
  return lookup(root, start, name, flags, resolve)
}
function open(name: string, flags = O_RDONLY, mode = 0o644, ctx = root): File | number {
  return openAt(ctx, undefined, name, flags, mode)
}
function create(name: string, text = '', mode = 0o644): void {
  const file = ok(open(name, O_CREAT | O_WRONLY | O_TRUNC, mode))
  file.write(new BufferSrc(toBytes(text)))
  filePut(file)
}
function content(name: string): string {
  const file = ok(open(name))
  const into = new BufferDst(new Uint8Array(100))
  file.read(into)
  filePut(file)
  return fromBytes(into.bytes, 0, into.done)
}
const mkdir = (name: string, ctx = root): number => operations.mkdir(ctx, undefined, name, 0o777)
const symlink = (target: string, name: string): number => operations.symlink(root, target, undefined, name)
const rename = (from: string, to: string, flags = 0, ctx = root): number =>
  operations.rename(ctx, undefined, from, undefined, to, flags)
const show = (path: Path): string => pathToString(path, root.fs.root)

beforeEach(() => {
  vfs = new Vfs(host)
  ns = new MountNamespace(vfs, 1, rootNs, new Mount(vfs, newTmpfs()))
  root = context(0)
  user = context(1000)
  mkdir('/a')
  mkdir('/a/b')
  create('/a/f', 'hello')
})

test('walk: which errno wins', () => {
  const long = 'x'.repeat(256)
  const cases: [string, number][] = [
    ['', -ENOENT],
    ['/a/none', -ENOENT],
    ['/none/x', -ENOENT],
    ['/a/f/x', -ENOTDIR],
    ['/a/f/', -ENOTDIR],
    ['/a/f/.', -ENOTDIR],
    ['/a/f/..', -ENOTDIR],
    [`/a/${long}`, -ENAMETOOLONG],
    [`/a/${long}/x`, -ENAMETOOLONG],
  ]
  for (const [name, errno] of cases) assert.equal(find(name), errno, name)
})

test("walk: '..' stops at the root, and slashes and dots are nothing", () => {
  assert.equal(show(ok(find('/../../a/./b//..///f'))), '/a/f')
  assert.equal(show(ok(find('///'))), '/')
  root.fs.cwd = ok(find('/a/b'))
  assert.equal(show(ok(find('../f'))), '/a/f')
})

test('walk: links are followed up to forty, a loop is ELOOP', () => {
  symlink('/a', '/link')
  symlink('b/../f', '/a/rel')
  symlink('self', '/self')
  assert.equal(show(ok(find('/link/rel'))), '/a/f')
  assert.equal(show(ok(find('/link', 0))), '/link')
  assert.equal(show(ok(find('/link/', 0))), '/a')
  assert.equal(find('/self'), -ELOOP)
  symlink('/a/f', '/l0')
  for (let i = 1; i <= 40; i++) symlink(`l${i - 1}`, `/l${i}`)
  assert.equal(show(ok(find('/l39'))), '/a/f')
  assert.equal(find('/l40'), -ELOOP)
})

test('openat2: RESOLVE_* hold the walk back', () => {
  symlink('/a/f', '/a/abs')
  symlink('../a/f', '/a/up')
  const start = ok(find('/a'))
  assert.equal(find('../a', 0, RESOLVE_BENEATH, start), -EXDEV)
  assert.equal(find('/a', 0, RESOLVE_BENEATH, start), -EXDEV)
  assert.equal(find('up', LOOKUP_FOLLOW, RESOLVE_BENEATH, start), -EXDEV)
  assert.equal(find('up', LOOKUP_FOLLOW, RESOLVE_NO_SYMLINKS, start), -ELOOP)
  assert.equal(show(ok(find('b/..', 0, RESOLVE_BENEATH, start))), '/a')
  assert.equal(show(ok(find('/../f', 0, RESOLVE_IN_ROOT, start))), '/a/f')
  assert.equal(find('abs', LOOKUP_FOLLOW, RESOLVE_IN_ROOT, start), -ENOENT)
  const sb = newTmpfs()
  new Mount(vfs, sb).attach(ns, ok(find('/a/b')))
  assert.equal(find('b', 0, RESOLVE_NO_XDEV, start), -EXDEV)
})

test('open: O_CREAT, O_EXCL, O_NOFOLLOW, O_DIRECTORY and trailing slashes', () => {
  symlink('/a/new', '/dangling')
  symlink('/a', '/dirlink')
  assert.equal(open('/a', O_WRONLY), -EISDIR)
  assert.equal(open('/a', O_CREAT | O_RDONLY), -EISDIR)
  assert.equal(open('/a/x/', O_CREAT | O_WRONLY), -EISDIR)
  assert.equal(open('/a/f', O_CREAT | O_EXCL | O_WRONLY), -EEXIST)
  assert.equal(open('/dangling', O_CREAT | O_EXCL | O_WRONLY), -EEXIST)
  assert.equal(open('/dirlink', O_NOFOLLOW), -ELOOP)
  assert.equal(open('/dirlink', O_NOFOLLOW | O_DIRECTORY), -ENOTDIR)
  assert.equal(open('/a/f', O_DIRECTORY), -ENOTDIR)
  filePut(ok(open('/dangling', O_CREAT | O_WRONLY)))
  assert.equal(content('/a/new'), '')
  const link = ok(open('/dirlink', O_PATH | O_NOFOLLOW))
  assert.equal(link.inode.isSymlink, true)
  assert.equal(show(ok(lookup(root, link.path, '', LOOKUP_EMPTY))), '/dirlink')
  filePut(link)
})

test('open: the mode of a new file obeys the umask, and the opener may write it whatever it is', () => {
  const file = ok(open('/a/ro', O_CREAT | O_RDWR, 0o466))
  assert.equal(file.inode.mode & 0o777, 0o444)
  assert.equal(file.write(new BufferSrc(toBytes('x'))), 1)
  filePut(file)
})

test('open: O_TMPFILE has no name, and may get one unless O_EXCL', () => {
  assert.equal(open('/none', O_TMPFILE | O_RDWR), -ENOENT)
  const file = ok(open('/a', O_TMPFILE | O_RDWR, 0o600))
  assert.match(show(file.path), /^\/a\/#\d+ \(deleted\)$/)
  assert.equal(operations.link(root, file.path, undefined, '/a/named'), 0)
  filePut(file)
  assert.equal(content('/a/named'), '')
  const closed = ok(open('/a', O_TMPFILE | O_EXCL | O_RDWR, 0o600))
  assert.equal(operations.link(root, closed.path, undefined, '/a/other'), -ENOENT)
  filePut(closed)
})

test('open: device nodes and FIFOs go to who registered, or nowhere', () => {
  assert.equal(operations.mknod(root, undefined, '/dev', S_IFCHR | 0o666, (1 << 20) | 3), 0)
  assert.equal(operations.mknod(root, undefined, '/fifo', S_IFIFO | 0o666, 0), 0)
  assert.equal(open('/dev'), -ENXIO)
  assert.equal(open('/fifo'), -ENXIO)
  vfs.devices.register(S_IFCHR, 1, 3, (path, flags, cred) =>
    ok(path.dentry.parent!.inode!.open(path, flags, cred)),
  )
  filePut(ok(open('/dev')))
  assert.equal(operations.mknod(user, undefined, '/dev2', S_IFCHR | 0o666, 3), -EACCES)
})

test('permission: search, write, sticky directories', () => {
  mkdir('/private')
  chmod(root.cred, ok(find('/private')), 0o700)
  create('/private/x')
  assert.equal(lookup(user, undefined, '/private/x', 0), -EACCES)
  assert.equal(open('/a/f', O_WRONLY, 0, user), -EACCES)
  assert.equal(mkdir('/a/no', user), -EACCES)
  mkdir('/tmp')
  chmod(root.cred, ok(find('/tmp')), 0o1777)
  create('/tmp/roots')
  assert.equal(operations.unlink(user, undefined, '/tmp/roots'), -EPERM)
  assert.equal(mkdir('/tmp/mine', user), 0)
  assert.equal(operations.rmdir(user, undefined, '/tmp/mine'), 0)
  assert.equal(chmod(user.cred, ok(find('/tmp/roots')), 0o777), -EPERM)
  assert.equal(setTimes(user.cred, ok(find('/tmp/roots')), undefined, undefined, true), -EACCES)
})

test('setgid directories give their group on', () => {
  mkdir('/shared')
  const dir = ok(find('/shared')).dentry.inode!
  dir.setattr({ gid: 1000 })
  dir.setattr({ mode: 0o2777 })
  mkdir('/shared/sub')
  const sub = ok(find('/shared/sub')).dentry.inode!
  assert.equal(sub.gid, 1000)
  assert.equal(sub.mode & 0o7777, 0o2755)
})

test('unlink and rmdir: errnos', () => {
  assert.equal(operations.unlink(root, undefined, '/a'), -EISDIR)
  assert.equal(operations.unlink(root, undefined, '/a/f/'), -ENOTDIR)
  assert.equal(operations.unlink(root, undefined, '/a/.'), -EISDIR)
  assert.equal(operations.rmdir(root, undefined, '/a'), -ENOTEMPTY)
  assert.equal(operations.rmdir(root, undefined, '/a/.'), -EINVAL)
  assert.equal(operations.rmdir(root, undefined, '/a/..'), -ENOTEMPTY)
  assert.equal(operations.rmdir(root, undefined, '/'), -EBUSY)
  assert.equal(operations.rmdir(root, undefined, '/a/f'), -ENOTDIR)
  assert.equal(mkdir('/a'), -EEXIST)
  assert.equal(mkdir('/'), -EEXIST)
  assert.equal(mkdir('/a/new/'), 0)
  assert.equal(symlink('x', '/a/link/'), -ENOENT)
})

test('an unlinked file lives on in its descriptors', () => {
  const file = ok(open('/a/f', O_RDWR))
  assert.equal(operations.unlink(root, undefined, '/a/f'), 0)
  assert.equal(find('/a/f'), -ENOENT)
  assert.equal(show(file.path), '/a/f (deleted)')
  const into = new BufferDst(new Uint8Array(10))
  assert.equal(file.read(into), 5)
  filePut(file)
})

test('a removed working directory takes no new entries', () => {
  root.fs.cwd = ok(find('/a/b'))
  assert.equal(operations.rmdir(root, undefined, '/a/b'), 0)
  assert.equal(open('x', O_CREAT | O_WRONLY), -ENOENT)
  assert.equal(mkdir('x'), -ENOENT)
  assert.equal(pathToStringChecked(root.fs.cwd, root.fs.root), '/a/b (deleted)')
})

test('rename: replaces, exchanges, refuses', () => {
  create('/g', 'g')
  assert.equal(rename('/g', '/a/f', RENAME_NOREPLACE), -EEXIST)
  assert.equal(rename('/g', '/a/f', RENAME_EXCHANGE), 0)
  assert.equal(content('/g'), 'hello')
  assert.equal(content('/a/f'), 'g')
  assert.equal(rename('/g', '/a/f'), 0)
  assert.equal(content('/a/f'), 'hello')
  assert.equal(find('/g'), -ENOENT)
  assert.equal(rename('/a', '/a/b/c'), -EINVAL)
  assert.equal(rename('/a/b', '/a'), -ENOTEMPTY)
  assert.equal(rename('/a/f', '/a/b'), -EISDIR)
  assert.equal(rename('/a/b', '/a/f'), -ENOTDIR)
  assert.equal(rename('/a/.', '/x'), -EBUSY)
  assert.equal(rename('/a/f', '/x/'), -ENOTDIR)
  assert.equal(rename('/a/b', '/c/'), 0)
  mkdir('/c/sub')
  const held = ok(find('/c/sub'))
  assert.equal(rename('/c', '/d'), 0)
  assert.equal(show(held), '/d/sub')
  assert.equal(ok(find('/d/sub')).dentry, held.dentry)
})

test('rename: whoever may rename may leave a whiteout', () => {
  const user = context(1000)
  chmod(root.cred, ok(find('/a')), 0o777)
  ok(open('/a/mine', O_CREAT | O_WRONLY, 0o644, user))
  assert.equal(rename('/a/mine', '/a/other', RENAME_WHITEOUT, user), 0)
  assert.equal(ok(find('/a/mine')).dentry.inode!.type, S_IFCHR)
})

test('open: what is there already is EEXIST for O_EXCL, dots too', () => {
  assert.equal(open('/a/.', O_CREAT | O_EXCL), -EEXIST)
  assert.equal(open('/a/.', O_CREAT), -EISDIR)
})

test('rename: a hard link to the same file is left alone', () => {
  assert.equal(operations.link(root, ok(find('/a/f')), undefined, '/same'), 0)
  assert.equal(rename('/same', '/a/f'), 0)
  assert.equal(content('/same'), 'hello')
})

test('writers and executors exclude each other', () => {
  const file = ok(open('/a/f', O_WRONLY))
  assert.equal(denyWrite(file.inode), -ETXTBSY)
  filePut(file)
  const { inode } = ok(find('/a/f')).dentry
  assert.equal(denyWrite(inode!), 0)
  assert.equal(open('/a/f', O_WRONLY), -ETXTBSY)
  allowWrite(inode!)
  filePut(ok(open('/a/f', O_WRONLY)))
})

test('directories list themselves, their parent, and what the file system says', () => {
  const dir = ok(open('/a', O_RDONLY | O_DIRECTORY))
  const names: string[] = []
  const cursors: number[] = []
  dir.readdir((name, _ino, _type, next) => names.push(name) > 0 && cursors.push(next) > 0)
  assert.deepEqual(names, ['.', '..', 'b', 'f'])
  dir.seek(cursors[2], 0)
  names.length = 0
  dir.readdir(name => names.push(name) > 0)
  assert.deepEqual(names, ['f'])
  filePut(dir)
})

test('mounts cover, nest, and show in mountinfo', () => {
  const sb = newTmpfs()
  sb.source = 'a b'
  new Mount(vfs, sb, undefined, MS_RDONLY).attach(ns, ok(find('/a/b')))
  assert.equal(find('/a/b/..', 0) !== -ENOENT && show(ok(find('/a/b/..'))), '/a')
  assert.equal(mkdir('/a/b/x'), -EROFS)
  assert.equal(open('/a/b/x', O_CREAT | O_WRONLY), -EROFS)
  assert.equal(operations.rmdir(root, undefined, '/a/b'), -EBUSY)
  assert.equal(rename('/a/b', '/z'), -EBUSY)
  assert.match([...formatMounts(ns, root.fs.root)].join(''), /^a\\040b \/a\/b tmpfs ro/m)
  assert.match(
    [...formatMountinfo(ns, root.fs.root)].join(''),
    /^\d+ \d+ 0:\d+ \/ \/a\/b ro - tmpfs a\\040b rw/m,
  )
  assert.equal(mounts.umount(ns, root.fs, root.cred, ok(find('/a')), 0), -EINVAL)
  root.fs.cwd = ok(find('/a/b'))
  assert.equal(mounts.umount(ns, root.fs, root.cred, ok(find('/a/b')), 0), -EBUSY)
  root.fs.cwd = ok(find('/'))
  assert.equal(mounts.umount(ns, root.fs, root.cred, ok(find('/a/b')), 0), 0)
  assert.equal(mkdir('/a/b/x'), 0)
})

test('bind mounts show a part, and move with their namespace', () => {
  mkdir('/m')
  assert.equal(mounts.bind(ns, ok(find('/m')), ok(find('/a')), false), 0)
  assert.equal(content('/m/f'), 'hello')
  assert.equal(show(ok(find('/m/b'))), '/m/b')
  assert.equal(rename('/m/f', '/x'), -EXDEV)
  assert.equal(operations.link(root, ok(find('/m/f')), undefined, '/x'), -EXDEV)
  const fs = new FsState(root.fs.root, ok(find('/m/b')), 0)
  const copy = ns.clone(2, rootNs, fs)
  assert.equal(copy.mounts.size, 2)
  assert.equal(pathToString(fs.cwd, fs.root), '/m/b')
  assert.notEqual(fs.cwd.mount, ok(find('/m')).mount)
  assert.equal(mounts.umount(ns, root.fs, root.cred, ok(find('/m')), 0), 0)
  assert.equal(find('/m/f'), -ENOENT)
  assert.equal(typeof lookup({ ...root, fs, mountNs: copy }, undefined, 'b/..', 0), 'number')
  assert.equal(typeof lookup({ ...root, fs, mountNs: copy }, undefined, '../f', 0), 'object')
})

test('shared mounts propagate to their peers, private ones do not', () => {
  mkdir('/m')
  mounts.changePropagation(ns, ok(find('/')), MS_SHARED, true)
  const fs = new FsState(root.fs.root, root.fs.root, 0)
  const other = { ...root, fs, mountNs: ns.clone(2, rootNs, fs) }
  mounts.bind(ns, ok(find('/m')), ok(find('/a')), false)
  assert.equal(typeof lookup(other, undefined, '/m/f', 0), 'object')
  mounts.umount(ns, root.fs, root.cred, ok(find('/m')), 0)
  assert.equal(lookup(other, undefined, '/m/f', 0), -ENOENT)
  mounts.changePropagation(ns, ok(find('/')), MS_PRIVATE, true)
  mounts.bind(ns, ok(find('/m')), ok(find('/a')), false)
  assert.equal(lookup(other, undefined, '/m/f', 0), -ENOENT)
})

test('pivot_root puts a mount in the place of the root', () => {
  mkdir('/new')
  new Mount(vfs, newTmpfs()).attach(ns, ok(find('/new')))
  mkdir('/new/old')
  const newRoot = ok(find('/new'))
  const oldRoot = root.fs.root
  assert.equal(mounts.pivotRoot(ns, oldRoot, newRoot, ok(find('/a'))), -EBUSY)
  assert.equal(mounts.pivotRoot(ns, oldRoot, newRoot, ok(find('/new/old'))), 0)
  root.fs.root = root.fs.cwd = newRoot
  assert.equal(content('/old/a/f'), 'hello')
  assert.equal(find('/a'), -ENOENT)
})

test('the dentry cache forgets what nobody holds, and nothing else', () => {
  const { sb } = ns.root
  const held = ok(open('/a/f'))
  sb.dentries.limit = 10
  for (let i = 0; i < 100; i++) assert.equal(find(`/a/none${i}`), -ENOENT)
  assert.ok(sb.dentries.count <= 12, `${sb.dentries.count} cached`)
  assert.equal(ok(find('/a/f')).dentry, held.path.dentry)
  filePut(held)
  sb.dentries.shrinkAll()
  assert.equal(content('/a/f'), 'hello')
})

test('descriptors: the lowest free one, limits, copies', () => {
  const fds = new FdTable()
  const names = [0, 1, 2].map(() => fds.install(ok(open('/a/f')), false, 0, 100))
  assert.deepEqual(names, [0, 1, 2])
  fds.close(1)
  const extra = ok(open('/a/f'))
  assert.equal(fds.install(extra, true, 0, 1), -EMFILE)
  assert.equal(fds.install(extra, true, 0, 100), 1)
  assert.equal(fds.install(ok(open('/a/f')), true, 10, 100), 10)
  const copy = fds.clone()
  assert.equal(extra.refs, 2)
  copy.closeOnExec()
  assert.deepEqual(
    [...copy.entries()].map(([fd]) => fd),
    [0, 2],
  )
  assert.equal(copy.install(ok(open('/a/f')), false, 0, 100), 1)
  copy.put()
  fds.put()
  assert.equal(extra.refs, 0)
})

test('descriptors: high numbers, found and copied without all that are below', () => {
  const fds = new FdTable()
  const file = ok(open('/a/f'))
  for (const fd of [3, 1023, 1024, 5000, 1_000_000]) fds.set(fd, fileGet(file), fd === 5000)
  const numbers = [...fds.entries()].map(([fd]) => fd)
  assert.deepEqual(numbers, [3, 1023, 1024, 5000, 1_000_000])
  assert.deepEqual([fds.lowestFree(1023), fds.lowestFree(), fds.size], [1025, 0, 1_000_001])
  assert.deepEqual(
    [1025, 5001, 1_000_001, 0xffffffff].map(fd => fds.next(fd)),
    [5000, 1_000_000, -1, -1],
  )
  assert.deepEqual(
    [-1, 4, 1026, 2 ** 32 + 3].map(fd => fds.get(fd)),
    [undefined, undefined, undefined, undefined],
  )
  const copy = fds.clone(1_000_000, 1_000_000)
  assert.equal(copy.size, 5001)
  copy.closeOnExec()
  assert.deepEqual([copy.next(1025), fds.cloexec(5000), fds.cloexec(5001)], [-1, true, false])
  copy.put()
  fds.put()
  assert.equal(file.refs, 1)
})

test('locks: ranges of one owner merge and split, others conflict', () => {
  const locks = new InodeLocks()
  const lock = (owner: string, type: number, start: number, end: number): PosixLock => ({
    owner,
    type,
    start,
    end,
    holder: undefined,
  })
  locks.set(lock('p', F_WRLCK, 0, 10))
  locks.set(lock('p', F_WRLCK, 10, 20))
  assert.deepEqual(
    locks.ranges.map(({ start, end }) => [start, end]),
    [[0, 20]],
  )
  locks.set(lock('p', F_RDLCK, 5, 8))
  assert.deepEqual(
    locks.ranges.map(({ type, start, end }) => [type, start, end]),
    [
      [F_WRLCK, 0, 5],
      [F_RDLCK, 5, 8],
      [F_WRLCK, 8, 20],
    ],
  )
  assert.equal(locks.findConflict(lock('q', F_RDLCK, 5, 8)), undefined)
  assert.equal(locks.findConflict(lock('q', F_RDLCK, 8, LOCK_TO_END))!.start, 8)
  locks.set(lock('p', F_UNLCK, 0, LOCK_TO_END))
  assert.equal(locks.empty, true)
})

test('locks: two that wait for each other are a deadlock', () => {
  const [a, b] = [new InodeLocks(), new InodeLocks()]
  const whole = { type: F_WRLCK, start: 0, end: LOCK_TO_END, holder: undefined }
  a.set({ owner: 'p', ...whole })
  b.set({ owner: 'q', ...whole })
  const waits = new LockWaits()
  assert.equal(waits.wouldDeadlock('p', 'q'), false)
  const wait = { locks: b, lock: { owner: 'p', ...whole } }
  waits.add(wait)
  assert.equal(waits.wouldDeadlock('q', 'p'), true)
  waits.remove(wait)
  assert.equal(waits.wouldDeadlock('q', 'p'), false)
})

test('flock: shared together, exclusive alone, gone with the description', () => {
  const [first, second] = [ok(open('/a/f')), ok(open('/a/f'))]
  const locks = new InodeLocks()
  first.inode.locks = locks
  assert.equal(locks.flock(first, LOCK_SH), 0)
  assert.equal(locks.flock(second, LOCK_SH), 0)
  assert.equal(locks.flock(second, LOCK_EX), -EAGAIN)
  filePut(first)
  assert.equal(locks.flock(second, LOCK_EX), 0)
  filePut(second)
})

test('events reach the watches of a directory', () => {
  const events: [number, string | undefined][] = []
  const { inode } = ok(find('/a')).dentry
  inode!.watches = {
    event: (mask, _cookie, name) => events.push([mask, name]),
    permit: () => 0,
    inodeGone: () => {},
  }
  create('/a/new')
  rename('/a/new', '/a/moved')
  const kinds = events.filter(([mask]) => (mask & (IN_CREATE | IN_MOVED_FROM | IN_MOVED_TO)) !== 0)
  assert.deepEqual(kinds, [
    [IN_CREATE, 'new'],
    [IN_MOVED_FROM, 'new'],
    [IN_MOVED_TO, 'moved'],
  ])
})
