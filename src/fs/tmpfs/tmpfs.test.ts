import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  F_SEAL_GROW,
  F_SEAL_SHRINK,
  F_SEAL_WRITE,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  MAP_SHARED,
  O_RDONLY,
  O_RDWR,
  PROT_READ,
  PROT_WRITE,
  RENAME_EXCHANGE,
  RENAME_WHITEOUT,
  S_IFCHR,
  SEEK_DATA,
  SEEK_HOLE,
} from '../../abi/constants.ts'
import { EEXIST, EINVAL, ENODATA, ENOENT, ENOSPC, ENOTEMPTY, ENXIO, EPERM } from '../../abi/errno.ts'
import { toBytes } from '../../base/bytes.ts'
import { Credentials, UserNamespace } from '../../base/credentials.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import { loadAddon } from '../../platform/addon.ts'
import { LinuxHost } from '../../platform/linux-host.ts'
import { Dentry } from '../../vfs/dentry.ts'
import type { File } from '../../vfs/file.ts'
import { filePut } from '../../vfs/file-ref.ts'
import type { Inode } from '../../vfs/inode.ts'
import { Mount } from '../../vfs/mount.ts'
import { Vfs } from '../../vfs/vfs.ts'
import type { TmpfsRegular } from './regular.ts'
import { defaultTmpfsOptions, parseTmpfsOptions, TmpfsSuper } from './super.ts'

const host = new LinuxHost(loadAddon(join(import.meta.dirname, '../../../native/build/caisson.node')))
const vfs = new Vfs(host)
const cred = new Credentials(new UserNamespace(undefined, 0, 0, 1))
const PAGE = 4096

function newTmpfs(size = Number.POSITIVE_INFINITY, inodes = Number.POSITIVE_INFINITY): TmpfsSuper {
  return new TmpfsSuper(vfs.newDev(), host, host, { size, inodes, mode: 0o755, uid: 0, gid: 0 })
}
function ok<T extends object>(value: T | number): T {
  if (typeof value === 'number') throw new Error(`errno ${-value}`)
  return value
}
function open(inode: Inode, flags = O_RDWR): File {
  const sb = inode.sb as TmpfsSuper
  const path = { mount: new Mount(vfs, sb), dentry: new Dentry('f', undefined, inode, sb) }
  return ok(inode.open(path, flags, cred))
}
function newFile(sb: TmpfsSuper, name = 'f'): File {
  return open(ok(sb.root.create(name, 0o644, cred)))
}
function write(file: File, text: string | Uint8Array, offset: number): number {
  return file.writeAt(new BufferSrc(typeof text === 'string' ? toBytes(text) : text), offset)
}
function read(file: File, offset: number, length: number): string {
  const into = new BufferDst(new Uint8Array(length))
  const n = file.readAt(into, offset)
  assert.ok(n >= 0, `read: ${n}`)
  return Buffer.from(into.bytes.subarray(0, n)).toString('latin1')
}
function names(dir: Inode, cursor = 0): string[] {
  const out: string[] = []
  dir.readdir(cursor, name => {
    out.push(name)
    return true
  })
  return out
}

test('tmpfs: a small file stays in the sentry, a grown one moves to a memfd with the same bytes', () => {
  const sb = newTmpfs()
  const file = newFile(sb)
  assert.equal(write(file, 'hello', 0), 5)
  assert.equal(write(file, 'world', 100), 5)
  assert.equal(file.hostFd, undefined)
  assert.equal(read(file, 0, 200).length, 105)
  assert.equal(read(file, 98, 10), '\0\0world')
  const big = new Uint8Array(70000).fill(0x61)
  assert.equal(write(file, big, 200), big.length)
  assert.ok(file.hostFd !== undefined)
  assert.equal(file.inode.size, 70200)
  assert.equal(read(file, 98, 10), '\0\0world\0\0\0')
  assert.equal(read(file, 70198, 10), 'aa')
  assert.equal(sb.quota.pages, 18)
  assert.equal(file.inode.setattr({ size: 0 }), 0)
  assert.equal(file.hostFd, undefined)
  assert.equal(sb.quota.pages, 0)
  filePut(file)
})

test('tmpfs: bytes behind a truncation are zero when the file grows again', () => {
  const file = newFile(newTmpfs())
  write(file, 'x'.repeat(5000), 0)
  file.inode.setattr({ size: 10 })
  file.inode.setattr({ size: 20 })
  assert.equal(read(file, 0, 100), 'x'.repeat(10) + '\0'.repeat(10))
  assert.equal(file.inode.blocks, 8)
  filePut(file)
})

test('tmpfs: holes are whole pages, in memory and in a memfd', () => {
  for (const far of [8 * PAGE, 100 * PAGE]) {
    const file = newFile(newTmpfs())
    write(file, 'a', 0)
    write(file, 'b', far)
    assert.equal(file.seek(0, SEEK_HOLE), PAGE)
    assert.equal(file.seek(PAGE, SEEK_DATA), far)
    assert.equal(file.seek(far, SEEK_HOLE), far + 1)
    assert.equal(file.seek(far + 1, SEEK_DATA), -ENXIO)
    assert.equal(file.inode.blocks, 16)
    assert.equal(file.fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), 0)
    assert.equal(file.seek(0, SEEK_DATA), far)
    assert.equal(read(file, 0, 1), '\0')
    assert.equal(file.inode.blocks, 8)
    filePut(file)
  }
})

test('tmpfs: a write goes as far as there is room and then says ENOSPC', () => {
  for (const pages of [4, 40]) {
    const sb = newTmpfs(pages * PAGE)
    const file = newFile(sb)
    const bytes = new Uint8Array((pages + 2) * PAGE).fill(1)
    assert.equal(write(file, bytes, 100), pages * PAGE - 100)
    assert.equal(write(file, bytes, pages * PAGE), -ENOSPC)
    assert.equal(write(file, 'over', 0), 4)
    assert.equal(sb.quota.pages, pages)
    file.inode.setattr({ size: PAGE })
    assert.equal(sb.quota.pages, 1)
    assert.equal(file.fallocate(0, 0, (pages + 1) * PAGE), -ENOSPC)
    assert.equal(file.inode.size, PAGE)
    assert.equal(file.fallocate(0, 0, pages * PAGE), 0)
    assert.equal(file.inode.size, pages * PAGE)
    assert.equal(sb.quota.pages, pages)
    sb.root.unlink('f', file.inode)
    filePut(file)
    assert.equal(sb.quota.pages, 0)
    assert.equal(sb.quota.inodes, 1)
  }
})

test('tmpfs: a sparse file is charged hole by hole, also when a mapping fills them', () => {
  const sb = newTmpfs(64 * PAGE)
  const file = newFile(sb)
  assert.equal(file.inode.setattr({ size: 1000 * PAGE }), 0)
  assert.equal(sb.quota.pages, 0)
  assert.equal(write(file, 'x', 500 * PAGE), 1)
  assert.equal(write(file, 'y', 500 * PAGE + 7), 1)
  assert.equal(write(file, new Uint8Array(3 * PAGE).fill(1), 499 * PAGE + 1), 3 * PAGE)
  assert.equal(sb.quota.pages, 4)
  const source = ok(file.mapping(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED))
  assert.equal(sb.quota.pages, 4)
  host.pwrite(source.hostFd!, new Uint8Array(10 * PAGE), 0)
  sb.quota.recount()
  assert.equal(sb.quota.pages, 14)
  assert.equal(write(file, new Uint8Array(100 * PAGE), 600 * PAGE), 50 * PAGE)
  assert.equal(write(file, 'z', 900 * PAGE), -ENOSPC)
  filePut(file)
  assert.equal(sb.quota.pages, 0)
})

test('tmpfs: what is written through the mapped descriptor is read, and the other way round', () => {
  const file = newFile(newTmpfs())
  write(file, 'before', 0)
  const source = ok(file.mapping(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED))
  const bytes = new Uint8Array(6)
  assert.equal(host.pread(source.hostFd!, bytes, 0), 6)
  assert.equal(Buffer.from(bytes).toString(), 'before')
  host.pwrite(source.hostFd!, toBytes('AFTER'), 0)
  assert.equal(read(file, 0, 10), 'AFTERe')
  filePut(file)
})

test('tmpfs: links are counted, and the data goes with the last name and the last file', () => {
  const sb = newTmpfs()
  const file = newFile(sb, 'a')
  const { inode } = file
  write(file, 'data', 0)
  assert.equal(sb.root.link('b', inode), 0)
  assert.equal(inode.nlink, 2)
  assert.equal(sb.quota.inodes, 3)
  sb.root.unlink('a', inode)
  sb.root.unlink('b', inode)
  assert.equal(inode.nlink, 0)
  assert.equal(read(file, 0, 10), 'data')
  assert.equal(sb.quota.pages, 1)
  filePut(file)
  assert.equal(sb.quota.pages, 0)
  assert.equal(sb.quota.inodes, 1)
})

test('tmpfs: an unnamed file can be linked', () => {
  const sb = newTmpfs()
  const inode = ok(sb.root.tmpfile(0o600, cred))
  assert.equal(inode.nlink, 0)
  assert.equal(sb.root.link('named', inode), 0)
  assert.equal(inode.nlink, 1)
  assert.equal(sb.root.lookup('named'), inode)
})

test('tmpfs: cursors stay true while entries come and go', () => {
  const { root } = newTmpfs()
  for (let i = 0; i < 100; i++) ok(root.create(`f${i}`, 0o644, cred))
  const seen: string[] = []
  let cursor = 0
  root.readdir(0, (name, _ino, _type, next) => {
    if (seen.length === 50) return false
    seen.push(name)
    cursor = next
    return true
  })
  for (const name of seen) root.unlink(name, ok(root.lookup(name)))
  root.unlink('f60', ok(root.lookup('f60')))
  ok(root.create('new', 0o644, cred))
  const rest = names(root, cursor)
  assert.equal(rest.length, 50)
  assert.equal(rest[0], 'f50')
  assert.ok(!rest.includes('f60') && rest.includes('new'))
})

test('tmpfs: rename replaces, exchanges, leaves whiteouts, and keeps directory links right', () => {
  const { root } = newTmpfs()
  const a = ok(root.mkdir('a', 0o755, cred))
  const b = ok(root.mkdir('b', 0o755, cred))
  assert.equal(root.nlink, 4)
  const file = ok(a.create('x', 0o644, cred))
  const other = ok(b.mkdir('y', 0o755, cred))
  assert.equal(a.rename('x', file, b, 'y', other, RENAME_EXCHANGE), 0)
  assert.equal(a.lookup('x'), other)
  assert.equal(b.lookup('y'), file)
  assert.equal(a.nlink, 3)
  assert.equal(b.nlink, 2)
  assert.equal(root.rename('b', b, root, 'a', a, 0), -ENOTEMPTY)
  assert.equal(b.rename('y', file, root, 'z', undefined, RENAME_WHITEOUT), 0)
  const whiteout = ok(b.lookup('y'))
  assert.equal(whiteout.type, S_IFCHR)
  assert.equal(whiteout.rdev, 0)
  assert.equal(root.rmdir('a', a), -ENOTEMPTY)
  assert.equal(a.rmdir('x', other), 0)
  assert.equal(root.rmdir('a', a), 0)
  assert.equal(root.nlink, 3)
  assert.equal(a.create('late', 0o644, cred), -ENOENT)
})

test('tmpfs: extended attributes', () => {
  const inode = ok(newTmpfs().root.create('f', 0o644, cred))
  assert.equal(inode.getxattr('user.a'), -ENODATA)
  assert.equal(inode.setxattr('user.a', toBytes('1'), 0), 0)
  assert.equal(inode.setxattr('user.a', toBytes('2'), 1), -EEXIST)
  assert.equal(inode.setxattr('user.b', toBytes('2'), 2), -ENODATA)
  assert.deepEqual(inode.getxattr('user.a'), toBytes('1'))
  assert.deepEqual(inode.listxattr(), ['user.a'])
  assert.equal(inode.removexattr('user.a'), 0)
  assert.equal(inode.removexattr('user.a'), -ENODATA)
  assert.equal(inode.setxattr('user.big', new Uint8Array(200000), 0), -ENOSPC)
})

test('tmpfs: options are parsed as mount(8) documents them', () => {
  const defaults = defaultTmpfsOptions(2 ** 30)
  assert.deepEqual(parseTmpfsOptions('size=10m,mode=700,nr_inodes=1k,uid=5', defaults, 2 ** 30), {
    size: 10 * 2 ** 20,
    inodes: 1024,
    mode: 0o700,
    uid: 5,
    gid: 0,
  })
  assert.equal((parseTmpfsOptions('size=50%', defaults, 2 ** 30) as { size: number }).size, 2 ** 29)
  assert.equal(
    (parseTmpfsOptions('size=0', defaults, 2 ** 30) as { size: number }).size,
    Number.POSITIVE_INFINITY,
  )
  assert.equal(parseTmpfsOptions('sise=1', defaults, 2 ** 30), -EINVAL)
  assert.equal(parseTmpfsOptions('mode=9', defaults, 2 ** 30), -EINVAL)
})

test('memfd: seals hold for writes, sizes and mappings', () => {
  const sb = newTmpfs()
  const node = ok(sb.root.create('m', 0o777, cred)) as TmpfsRegular
  node.seals = 0
  const file = open(node)
  write(file, 'x'.repeat(PAGE), 0)
  assert.equal(file.addSeals(F_SEAL_GROW | F_SEAL_SHRINK), 0)
  assert.equal(write(file, 'y'.repeat(10), PAGE), -EPERM)
  assert.equal(write(file, 'y'.repeat(PAGE * 2), 0), PAGE)
  assert.equal(node.setattr({ size: PAGE * 2 }), -EPERM)
  assert.equal(node.setattr({ size: 1 }), -EPERM)
  assert.ok(typeof file.mapping(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED) === 'object')
  assert.equal(file.addSeals(F_SEAL_WRITE), 0)
  assert.equal(file.mapping(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED), -EPERM)
  assert.equal(write(file, 'z', 0), -EPERM)
  assert.equal(host.pwrite(file.hostFd!, toBytes('z'), 0), -EPERM)
  assert.equal(file.seals(), F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE)
  assert.equal(open(node, O_RDONLY).addSeals(F_SEAL_GROW), -EPERM)
  filePut(file)
})

test('pages: mappings that could make more than there is room for are a risk, and what they have made is known', () => {
  const sb = newTmpfs(4 * PAGE)
  let risks = 0
  sb.quota.onRisk = () => risks++
  const file = newFile(sb)
  const { hostFd: fd } = ok(file.mapping(0, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED))
  assert.equal(file.inode.setattr({ size: 4 * PAGE }), 0)
  assert.equal(risks, 0)
  assert.equal(file.inode.setattr({ size: 8 * PAGE }), 0)
  assert.equal(risks, 1)
  // As the guest would, past the kernel.
  host.pwrite(fd!, new Uint8Array(6 * PAGE).fill(1), 0)
  sb.quota.recount()
  assert.equal(sb.quota.pages, 6)
  assert.equal(sb.quota.takeGrown().size, 1)
  assert.equal(sb.quota.takeGrown().size, 0)
  assert.equal(sb.quota.atRisk, true)
  assert.equal(file.inode.setattr({ size: PAGE }), 0)
  assert.equal(sb.quota.atRisk, false)
})
