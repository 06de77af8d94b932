import assert from 'node:assert/strict'
import { join } from 'node:path'
import { beforeEach, test } from 'node:test'
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  F_DUPFD,
  F_GETFD,
  F_GETFL,
  F_GETLK,
  F_SETFD,
  F_SETFL,
  F_SETLK,
  F_SETLKW,
  F_UNLCK,
  F_WRLCK,
  FIONREAD,
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_LARGEFILE,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  PROT_READ,
  PROT_WRITE,
  RLIMIT_FSIZE,
  RLIMIT_NOFILE,
  RWF_APPEND,
  S_IFIFO,
  SEEK_CUR,
  SEEK_DATA,
  SEEK_END,
  SEEK_HOLE,
  SEEK_SET,
  UTIME_OMIT,
  XATTR_CREATE,
} from '../abi/constants.ts'
import {
  EACCES,
  EAGAIN,
  EBADF,
  EDEADLK,
  EEXIST,
  EFAULT,
  EINVAL,
  EMFILE,
  ENODATA,
  ENOENT,
  ENOTDIR,
  EOPNOTSUPP,
  EPIPE,
  ERANGE,
  ERESTARTSYS,
  ESPIPE,
} from '../abi/errno.ts'
import { DIRENT64, FLOCK, OPEN_HOW, STAT, STATX } from '../abi/layout.ts'
import { fromBytes, toBytes } from '../base/bytes.ts'
import { CapabilitySet, Credentials, UserNamespace } from '../base/credentials.ts'
import { BLOCK } from '../base/result.ts'
import { WaitQueue } from '../base/wait-queue.ts'
import { Pipe } from '../fs/pipe/pipe.ts'
import { openFifo, PipeFile } from '../fs/pipe/pipe-file.ts'
import { TmpfsSuper } from '../fs/tmpfs/super.ts'
import { Rlimits } from '../kernel/rlimits.ts'
import { HeldProgress, type Task } from '../kernel/task.ts'
import { MmContext } from '../mm/context.ts'
import { FakeSpace } from '../mm/fake-space.ts'
import { pickMmapLayout } from '../mm/layout.ts'
import { Mm } from '../mm/mm.ts'
import { mmap } from '../mm/mmap.ts'
import { loadAddon } from '../platform/addon.ts'
import { LinuxHost } from '../platform/linux-host.ts'
import { AnonFs } from '../vfs/anon.ts'
import { FdTable } from '../vfs/fd-table.ts'
import { File } from '../vfs/file.ts'
import { Mount, MountNamespace } from '../vfs/mount.ts'
import { FsState } from '../vfs/path.ts'
import { Vfs } from '../vfs/vfs.ts'
import * as attr from './attr.ts'
import * as descriptor from './descriptor.ts'
import { getcwd, getdents64 } from './directory.ts'
import * as copy from './file-copy.ts'
import * as link from './link.ts'
import { open, openat, openat2 } from './open.ts'
import * as io from './read-write.ts'
import { fstat, newfstatat, statx } from './stat.ts'
import * as xattr from './xattr.ts'

const host = new LinuxHost(loadAddon(join(import.meta.dirname, '../../native/build/caisson.node')))
const userNs = new UserNamespace(undefined, 0, 0, 1)
const PAGES = 64

/** As much of a Task as file calls need, over real memory, descriptors and file system. */
class FakeTask {
  readonly mm: Mm
  readonly kernel: unknown
  fds = new FdTable()
  fs: FsState
  cred = new Credentials(userNs)
  readonly mountNs: MountNamespace
  readonly anonFs: AnonFs
  readonly group = { rlimits: new Rlimits(new Array(16).fill(Number.POSITIVE_INFINITY), []), pid: undefined }
  readonly pidNs = undefined
  progress: unknown = undefined
  interrupted = 0
  sigpipes = 0
  /** Guest memory for arguments. */
  readonly buffer: number
  #names: number

  constructor() {
    const vfs = new Vfs(host)
    const infinite = Number.POSITIVE_INFINITY
    const sb = new TmpfsSuper(vfs.newDev(), host, host, {
      size: infinite,
      inodes: infinite,
      mode: 0o755,
      uid: 0,
      gid: 0,
    })
    this.mountNs = new MountNamespace(vfs, 1, userNs, new Mount(vfs, sb))
    this.fs = new FsState(this.mountNs.rootPath, this.mountNs.rootPath, 0o022)
    vfs.openFifo = openFifo
    this.anonFs = new AnonFs(vfs)
    this.kernel = { clock: host, vfs }
    this.cred.effective = this.cred.permitted = CapabilitySet.ALL
    this.group.rlimits.set(RLIMIT_NOFILE, 100, 100)
    this.mm = new Mm(
      new FakeSpace(),
      new MmContext({ addressLimit: 0x7ffffffff000, vdso: 0, vdsoSize: 0 }, host),
    )
    pickMmapLayout(this.mm, 8 << 20, 0)
    this.buffer = mmap(
      this.mm,
      0,
      PAGES * 4096,
      PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS,
      undefined,
      0,
    )
    this.#names = this.buffer + (PAGES - 4) * 4096
  }
  get walk(): this {
    return this
  }
  block(_queue: unknown, interrupted = -ERESTARTSYS): number {
    this.interrupted = interrupted
    return BLOCK
  }
  blockUntil(): number {
    return BLOCK
  }
  yieldCall(): number {
    return BLOCK
  }
  sendSigpipe(): void {
    this.sigpipes++
  }
  /** The call is over. */
  end(): void {
    if (this.progress instanceof HeldProgress) this.progress.end()
    this.progress = undefined
  }
  /** A string in guest memory. */
  str(text: string): number {
    const at = this.#names
    this.mm.copyOut(at, toBytes(`${text}\0`))
    this.#names += text.length + 1
    return at
  }
  put(text: string, at = this.buffer): number {
    this.mm.copyOut(at, toBytes(text))
    return at
  }
  get(length: number, at = this.buffer): string {
    const bytes = new Uint8Array(length)
    this.mm.copyIn(at, bytes)
    return fromBytes(bytes)
  }
  view(length: number, at = this.buffer): DataView {
    const bytes = new Uint8Array(length)
    this.mm.copyIn(at, bytes)
    return new DataView(bytes.buffer)
  }
  putView(view: DataView, at = this.buffer): number {
    this.mm.copyOut(at, new Uint8Array(view.buffer))
    return at
  }
}

let fake: FakeTask
let task: Task

beforeEach(() => {
  fake = new FakeTask()
  task = fake as unknown as Task
})

function openFile(name: string, flags: number, mode = 0o644): number {
  return open(task, fake.str(name), flags, mode)
}
function writeFile(name: string, text: string): void {
  const fd = openFile(name, O_CREAT | O_WRONLY | O_TRUNC)
  io.write(task, fd, fake.put(text), text.length)
  descriptor.close(task, fd)
}
function pipe(flags = 0): [number, number] {
  const shared = new Pipe()
  const path = fake.anonFs.path('pipe:[1]', S_IFIFO | 0o600)
  const ends = [O_RDONLY, O_WRONLY].map(mode => new PipeFile(path, mode | flags, fake.cred, shared))
  return ends.map(end => fake.fds.install(end, false, 0, 100)) as [number, number]
}

test('open, write, seek and read agree', () => {
  const fd = openFile('/f', O_CREAT | O_RDWR)
  assert.equal(fd, 0)
  assert.equal(io.write(task, fd, fake.put('hello world'), 11), 11)
  assert.equal(io.lseek(task, fd, -5, SEEK_END), 6)
  assert.equal(io.read(task, fd, fake.buffer, 100), 5)
  assert.equal(fake.get(5), 'world')
  assert.equal(io.lseek(task, fd, 0, SEEK_CUR), 11)
  assert.equal(io.pwrite64(task, fd, fake.put('HELLO'), 5, 0), 5)
  assert.equal(io.pread64(task, fd, fake.buffer, 5, 0), 5)
  assert.equal(fake.get(5), 'HELLO')
  assert.equal(io.lseek(task, fd, 0, 9), -EINVAL)
  assert.equal(io.lseek(task, fd, -1, SEEK_SET), -EINVAL)
  assert.equal(io.pread64(task, fd, fake.buffer, 5, -1), -EINVAL)
  assert.equal(io.lseek(task, fd, 2, SEEK_DATA), 2)
  assert.equal(io.lseek(task, fd, 2, SEEK_HOLE), 11)
})

test('read and write refuse the wrong descriptors', () => {
  const readOnly = openFile('/f', O_CREAT | O_RDONLY)
  const writeOnly = openFile('/f', O_WRONLY)
  const place = openFile('/f', O_PATH)
  assert.equal(io.write(task, readOnly, fake.buffer, 1), -EBADF)
  assert.equal(io.read(task, writeOnly, fake.buffer, 1), -EBADF)
  assert.equal(io.read(task, place, fake.buffer, 1), -EBADF)
  assert.equal(io.lseek(task, place, 0, 0), -EBADF)
  assert.equal(io.read(task, 99, fake.buffer, 1), -EBADF)
  assert.equal(io.read(task, -1, fake.buffer, 1), -EBADF)
})

test('O_APPEND: writes go to the end, pwrite too', () => {
  writeFile('/f', 'abc')
  const fd = openFile('/f', O_RDWR | O_APPEND)
  assert.equal(io.write(task, fd, fake.put('d'), 1), 1)
  assert.equal(io.pwrite64(task, fd, fake.put('e'), 1, 0), 1)
  assert.equal(io.pread64(task, fd, fake.buffer, 10, 0), 5)
  assert.equal(fake.get(5), 'abcde')
})

test('vectors: gathered and scattered; pwritev2 with RWF_APPEND', () => {
  const fd = openFile('/f', O_CREAT | O_RDWR)
  const iov = new DataView(new ArrayBuffer(32))
  fake.put('abcdef')
  for (const [i, at, length] of [
    [0, 0, 2],
    [1, 2, 4],
  ]) {
    iov.setBigUint64(i * 16, BigInt(fake.buffer + at), true)
    iov.setBigUint64(i * 16 + 8, BigInt(length), true)
  }
  const iovAt = fake.putView(iov, fake.buffer + 4096)
  assert.equal(io.writev(task, fd, iovAt, 2), 6)
  assert.equal(io.pwritev2(task, fd, iovAt, 1, 0, 0, RWF_APPEND), 2)
  assert.equal(io.pread64(task, fd, fake.buffer + 8192, 20, 0), 8)
  assert.equal(fake.get(8, fake.buffer + 8192), 'abcdefab')
  assert.equal(io.preadv2(task, fd, iovAt, 2, 0, 0, 0x1000), -EOPNOTSUPP)
  assert.equal(io.preadv(task, fd, iovAt, 2, -1, 0), -EINVAL)
  assert.equal(io.lseek(task, fd, 0, SEEK_CUR), 6)
})

test('a blocking read waits for the pipe, and goes on after a write', () => {
  const [r, w] = pipe()
  assert.equal(io.read(task, r, fake.buffer, 10), BLOCK)
  assert.equal(fake.interrupted, -ERESTARTSYS)
  const held = fake.fds.get(r)!
  assert.equal(held.refs, 2)
  fake.end()
  assert.equal(held.refs, 1)
  io.write(task, w, fake.put('hi'), 2)
  assert.equal(io.read(task, r, fake.buffer, 10), 2)
  descriptor.close(task, w)
  assert.equal(io.read(task, r, fake.buffer, 10), 0)
})

test('a vector that shrinks between two shares of a read does not make the call wait for itself', () => {
  const fd = openFile('/f', O_CREAT | O_RDWR)
  const size = 6 << 20
  assert.equal(attr.ftruncate(task, fd, size), 0)
  const at = mmap(fake.mm, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, undefined, 0)
  const iov = new DataView(new ArrayBuffer(16))
  iov.setBigUint64(0, BigInt(at), true)
  iov.setBigUint64(8, BigInt(size), true)
  assert.equal(io.readv(task, fd, fake.putView(iov), 1), BLOCK)
  const file = fake.fds.get(fd)!
  assert.notEqual(file.longCall, undefined)
  iov.setBigUint64(8, 100n, true)
  assert.equal(io.readv(task, fd, fake.putView(iov), 1), 100)
  fake.end()
  assert.equal(file.longCall, undefined)
})

test('a large read of a regular file that has nothing yet waits as a small one does', () => {
  const queue = new WaitQueue()
  class Waiting extends File {
    override get waitQueue(): WaitQueue {
      return queue
    }
    override read(): number {
      return -EAGAIN
    }
  }
  const { path } = fake.fds.get(openFile('/f', O_CREAT | O_RDWR))!
  const fd = fake.fds.install(new Waiting(path, O_RDONLY, fake.cred), false, 0, 100) as number
  for (const count of [100, 200_000]) {
    assert.equal(io.read(task, fd, fake.buffer, count), BLOCK)
    fake.end()
  }
  assert.equal(descriptor.fcntl(task, fd, F_SETFL, O_NONBLOCK), 0)
  assert.equal(io.read(task, fd, fake.buffer, 200_000), -EAGAIN)
})

test('a blocking write to a pipe goes on until all is written; a signal ends it with what went', () => {
  const [r, w] = pipe()
  const big = 100000
  assert.equal(io.write(task, w, fake.buffer, big), BLOCK)
  assert.equal(fake.interrupted, 65536)
  const progress = fake.progress
  fake.progress = undefined
  let drained = 0
  while (drained < 65536) drained += io.read(task, r, fake.buffer, 65536)
  fake.progress = progress
  assert.equal(io.write(task, w, fake.buffer, big), big)
  fake.end()
})

test('nonblocking: EAGAIN or the part that fits; EPIPE with SIGPIPE', () => {
  const [r, w] = pipe(O_NONBLOCK)
  assert.equal(io.read(task, r, fake.buffer, 1), -EAGAIN)
  assert.equal(io.write(task, w, fake.buffer, 100000), 65536)
  assert.equal(io.write(task, w, fake.buffer, 1), -EAGAIN)
  assert.equal(io.pread64(task, r, fake.buffer, 1, 0), -ESPIPE)
  assert.equal(io.lseek(task, r, 0, SEEK_SET), -ESPIPE)
  descriptor.close(task, r)
  assert.equal(io.write(task, w, fake.buffer, 1), -EPIPE)
  assert.equal(fake.sigpipes, 1)
})

test('open of a FIFO waits for its other end', () => {
  link.mknodat(task, AT_FDCWD, fake.str('/fifo'), S_IFIFO | 0o600, 0)
  const name = fake.str('/fifo')
  assert.equal(open(task, name, O_RDONLY, 0), BLOCK)
  const reader = fake.progress
  fake.progress = undefined
  const w = open(task, name, O_WRONLY | O_NONBLOCK, 0)
  assert.ok(w >= 0)
  fake.progress = reader
  const r = open(task, name, O_RDONLY, 0)
  assert.ok(r >= 0)
  fake.end()
  io.write(task, w, fake.put('x'), 1)
  assert.equal(io.read(task, r, fake.buffer, 1), 1)
})

test('openat2 refuses what openat ignores', () => {
  const how = (flags: number, mode: number, resolve: number, size: number = OPEN_HOW.size): number => {
    const view = new DataView(new ArrayBuffer(Math.max(size, OPEN_HOW.size)))
    view.setUint32(OPEN_HOW.flags, flags, true)
    view.setUint32(OPEN_HOW.mode, mode, true)
    view.setUint32(OPEN_HOW.resolve, resolve, true)
    return openat2(task, AT_FDCWD, fake.str('/'), fake.putView(view), size)
  }
  assert.equal(how(0x40000000, 0, 0), -EINVAL)
  assert.equal(how(O_RDONLY, 0o644, 0), -EINVAL)
  assert.equal(how(O_RDONLY, 0, 0x100), -EINVAL)
  assert.equal(how(O_RDONLY, 0, 0, 16), -EINVAL)
  assert.equal(how(O_RDONLY | O_DIRECTORY, 0, 0, 32), 0)
  assert.equal(openat(task, 0, fake.str('none'), O_RDONLY, 0), -ENOENT)
  assert.equal(openat(task, 77, fake.str('none'), O_RDONLY, 0), -EBADF)
  assert.equal(openat(task, AT_FDCWD, 0, O_RDONLY, 0), -EFAULT)
})

test('descriptors: dup, limits, flags', () => {
  const fd = openFile('/f', O_CREAT | O_RDWR | O_CLOEXEC)
  assert.equal(descriptor.fcntl(task, fd, F_GETFD, 0), 1)
  assert.equal(descriptor.dup(task, fd), 1)
  assert.equal(descriptor.fcntl(task, 1, F_GETFD, 0), 0)
  assert.equal(descriptor.dup2(task, 1, 7), 7)
  assert.equal(descriptor.dup2(task, 7, 7), 7)
  assert.equal(descriptor.dup2(task, 55, 55), -EBADF)
  assert.equal(descriptor.dup2(task, 1, 100), -EBADF)
  assert.equal(descriptor.dup3(task, 1, 1, 0), -EINVAL)
  assert.equal(descriptor.fcntl(task, fd, F_DUPFD, 50), 50)
  assert.equal(descriptor.fcntl(task, fd, F_DUPFD, 100), -EINVAL)
  assert.equal(descriptor.fcntl(task, fd, F_GETFL, 0), O_RDWR | O_LARGEFILE)
  assert.equal(descriptor.fcntl(task, fd, F_SETFL, O_NONBLOCK | O_APPEND), 0)
  assert.equal(descriptor.fcntl(task, 7, F_GETFL, 0), O_RDWR | O_LARGEFILE | O_NONBLOCK | O_APPEND)
  descriptor.fcntl(task, 7, F_SETFD, 1)
  assert.equal(descriptor.close_range(task, 1, 60, 0), 0)
  assert.deepEqual(
    [...fake.fds.entries()].map(([n]) => n),
    [0],
  )
  assert.equal(descriptor.close(task, 1), -EBADF)
  fake.group.rlimits.set(RLIMIT_NOFILE, 1, 1)
  assert.equal(openFile('/g', O_CREAT | O_RDWR), -EMFILE)
  assert.equal(openFile('/g', O_PATH), -EMFILE)
})

test('ioctl FIONREAD of a file is what is left to read', () => {
  writeFile('/f', 'hello')
  const fd = openFile('/f', O_RDONLY)
  io.lseek(task, fd, 2, SEEK_SET)
  assert.equal(descriptor.ioctl(task, fd, FIONREAD, fake.buffer), 0)
  assert.equal(fake.view(4).getUint32(0, true), 3)
})

test('stat shows what the file is', () => {
  writeFile('/f', 'hello')
  link.symlink(task, fake.str('f'), fake.str('/l'))
  assert.equal(newfstatat(task, AT_FDCWD, fake.str('/l'), fake.buffer, 0), 0)
  let view = fake.view(STAT.size)
  assert.equal(view.getUint32(STAT.st_mode, true), 0o100644)
  assert.equal(view.getUint32(STAT.st_size, true), 5)
  const fd = openFile('/f', O_RDONLY)
  assert.equal(newfstatat(task, fd, fake.str(''), fake.buffer, AT_EMPTY_PATH), 0)
  assert.equal(newfstatat(task, fd, fake.str(''), fake.buffer, 0), -ENOENT)
  assert.equal(newfstatat(task, fd, fake.str('x'), fake.buffer, 0), -ENOTDIR)
  assert.equal(fstat(task, fd, fake.buffer), 0)
  assert.equal(statx(task, AT_FDCWD, fake.str('/l'), 0x100, 0xfff, fake.buffer), 0)
  view = fake.view(STATX.size)
  assert.equal(view.getUint16(STATX.stx_mode, true), 0o120777)
  assert.ok(view.getUint32(STATX.stx_mnt_id, true) > 0)
  assert.equal(link.readlink(task, fake.str('/l'), fake.buffer, 10), 1)
  assert.equal(link.readlink(task, fake.str('/f'), fake.buffer, 10), -EINVAL)
})

test('getdents64 goes on where it stopped, and asks for room', () => {
  for (const name of ['a', 'bb', 'ccc']) writeFile(`/${name}`, '')
  const fd = openFile('/', O_RDONLY | O_DIRECTORY)
  assert.equal(getdents64(task, fd, fake.buffer, 10), -EINVAL)
  const names: string[] = []
  for (;;) {
    const n = getdents64(task, fd, fake.buffer, 48)
    assert.ok(n >= 0)
    if (n === 0) break
    const view = fake.view(n)
    for (let at = 0; at < n; at += view.getUint16(at + DIRENT64.d_reclen, true)) {
      const start = at + DIRENT64.d_name
      names.push(fake.get(8, fake.buffer + start).split('\0')[0])
    }
  }
  assert.deepEqual(names.sort(), ['.', '..', 'a', 'bb', 'ccc'])
  assert.equal(getcwd(task, fake.buffer, 1), -ERANGE)
  assert.equal(getcwd(task, fake.buffer, 100), 2)
})

test('attributes: mode, owner, times, size, access', () => {
  writeFile('/f', 'hello')
  const name = fake.str('/f')
  assert.equal(attr.chmod(task, name, 0o6755), 0)
  assert.equal(attr.chown(task, name, 1000, 0xffffffff), 0)
  const inode = fake.fds.get(openFile('/f', O_RDONLY))!.inode
  assert.equal(inode.mode & 0o7777, 0o755)
  assert.equal(inode.uid, 1000)
  const times = new DataView(new ArrayBuffer(32))
  times.setUint32(0, 12345, true)
  times.setUint32(24, UTIME_OMIT, true)
  const before = inode.mtime.sec
  assert.equal(attr.utimensat(task, AT_FDCWD, name, fake.putView(times), 0), 0)
  assert.deepEqual([inode.atime.sec, inode.mtime.sec], [12345, before])
  assert.equal(attr.truncate(task, name, 2), 0)
  assert.equal(inode.size, 2)
  assert.equal(attr.truncate(task, name, -1), -EINVAL)
  fake.cred = fake.cred.clone()
  fake.cred.uid = 2000
  assert.equal(attr.access(task, name, 2), -EACCES)
  assert.equal(attr.faccessat2(task, AT_FDCWD, name, 2, 0x200), 0)
  assert.equal(attr.access(task, name, 8), -EINVAL)
})

test('RLIMIT_FSIZE cuts the write that reaches it', () => {
  fake.group.rlimits.set(RLIMIT_FSIZE, 5, 5)
  const fd = openFile('/f', O_CREAT | O_RDWR)
  assert.equal(io.write(task, fd, fake.put('12345678'), 8), 5)
})

test('sendfile and copy_file_range move bytes', () => {
  writeFile('/from', 'hello world')
  const from = openFile('/from', O_RDONLY)
  const to = openFile('/to', O_CREAT | O_RDWR)
  assert.equal(copy.sendfile(task, to, from, 0, 5), 5)
  assert.equal(io.lseek(task, from, 0, SEEK_CUR), 5)
  const [r, w] = pipe()
  assert.equal(copy.sendfile(task, w, from, 0, 100), 6)
  assert.equal(io.read(task, r, fake.buffer, 100), 6)
  assert.equal(fake.get(6), ' world')
  assert.equal(copy.sendfile(task, w, r, 0, 1), -EINVAL)
  const offset = fake.putView(new DataView(new ArrayBuffer(8)), fake.buffer + 4096)
  assert.equal(copy.copy_file_range(task, from, offset, to, 0, 100, 0), 11)
  assert.equal(fake.view(8, offset).getUint32(0, true), 11)
  assert.equal(io.pread64(task, to, fake.buffer, 100, 0), 16)
  assert.equal(fake.get(16), 'hellohello world')
  assert.equal(copy.copy_file_range(task, from, 0, to, 0, 1, 1), -EINVAL)
})

test('fcntl locks: conflict, query, deadlock', () => {
  writeFile('/f', '')
  const lock = (type: number, start: number, length: number): number => {
    const view = new DataView(new ArrayBuffer(FLOCK.size))
    view.setInt16(FLOCK.l_type, type, true)
    view.setUint32(FLOCK.l_start, start, true)
    view.setUint32(FLOCK.l_len, length, true)
    return fake.putView(view)
  }
  const mine = openFile('/f', O_RDWR)
  const myTable = fake.fds
  const otherTable = fake.fds.clone()
  assert.equal(descriptor.fcntl(task, mine, F_SETLK, lock(F_WRLCK, 0, 10)), 0)
  fake.fds = otherTable
  assert.equal(descriptor.fcntl(task, mine, F_SETLK, lock(F_WRLCK, 5, 10)), -EAGAIN)
  assert.equal(descriptor.fcntl(task, mine, F_GETLK, lock(F_WRLCK, 5, 10)), 0)
  assert.equal(fake.view(FLOCK.size).getInt16(FLOCK.l_type, true), F_WRLCK)
  assert.equal(descriptor.fcntl(task, mine, F_SETLK, lock(F_WRLCK, 20, 1)), 0)
  assert.equal(descriptor.fcntl(task, mine, F_SETLKW, lock(F_WRLCK, 0, 1)), BLOCK)
  const waiting = fake.progress
  fake.progress = undefined
  fake.fds = myTable
  assert.equal(descriptor.fcntl(task, mine, F_SETLKW, lock(F_WRLCK, 20, 1)), -EDEADLK)
  descriptor.fcntl(task, mine, F_SETLK, lock(F_UNLCK, 0, 0))
  fake.fds = otherTable
  fake.progress = waiting
  assert.equal(descriptor.fcntl(task, mine, F_SETLKW, lock(F_WRLCK, 0, 1)), 0)
  fake.end()
})

test('extended attributes: create, read, list, remove', () => {
  writeFile('/f', '')
  const [name, key] = [fake.str('/f'), fake.str('user.k')]
  assert.equal(xattr.getxattr(task, name, key, fake.buffer, 10), -ENODATA)
  assert.equal(xattr.setxattr(task, name, key, fake.put('value'), 5, XATTR_CREATE), 0)
  assert.equal(xattr.setxattr(task, name, key, fake.put('value'), 5, XATTR_CREATE), -EEXIST)
  assert.equal(xattr.getxattr(task, name, key, fake.buffer, 0), 5)
  assert.equal(xattr.getxattr(task, name, key, fake.buffer, 2), -ERANGE)
  assert.equal(xattr.listxattr(task, name, fake.buffer, 100), 7)
  assert.equal(xattr.setxattr(task, name, fake.str(''), fake.buffer, 0, 0), -ERANGE)
  assert.equal(xattr.removexattr(task, name, key), 0)
  assert.equal(xattr.listxattr(task, name, fake.buffer, 100), 0)
})
