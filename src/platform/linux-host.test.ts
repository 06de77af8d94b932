import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import {
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  POLLIN,
  POLLOUT,
  RESOLVE_BENEATH,
} from '../abi/constants.ts'
import { ENAMETOOLONG, ENOENT, ENOSYS, EXDEV } from '../abi/errno.ts'
import { loadAddon } from './addon.ts'
import { newHostStat } from './host.ts'
import { LinuxHost } from './linux-host.ts'

const addon = loadAddon(join(import.meta.dirname, '../../native/build/caisson.node'))
const host = new LinuxHost(addon)
let dir = ''
let dirfd = -1

before(() => {
  dir = mkdtempSync(join(tmpdir(), 'caisson-host-'))
  dirfd = host.openat2(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0, 0)
  writeFileSync(join(dir, 'file'), 'hello world')
})
after(() => {
  host.close(dirfd)
  rmSync(dir, { recursive: true })
})

test('linux host: a file below a descriptor is read and written in place at offsets', () => {
  const fd = host.openat2(dirfd, 'file', O_RDWR, 0, RESOLVE_BENEATH)
  assert.ok(fd >= 0)
  const bytes = new Uint8Array(5)
  assert.equal(host.pread(fd, bytes, 6), 5)
  assert.equal(Buffer.from(bytes).toString(), 'world')
  assert.equal(host.pwrite(fd, Buffer.from('W'), 6), 1)
  assert.equal(readFileSync(join(dir, 'file'), 'utf8'), 'hello World')
  assert.equal(host.close(fd), 0)
})

test('linux host: errors come back as negative errno numbers', () => {
  assert.equal(host.openat2(dirfd, 'nothing', O_RDONLY, 0, RESOLVE_BENEATH), -ENOENT)
  assert.equal(host.openat2(dirfd, '../..', O_RDONLY, 0, RESOLVE_BENEATH), -EXDEV)
  assert.equal(host.openat2(dirfd, 'x'.repeat(5000), O_RDONLY, 0, 0), -ENAMETOOLONG)
})

test('linux host: statx says what node:fs says', () => {
  const stat = newHostStat()
  assert.equal(host.statx(dirfd, 'file', 0, stat), 0)
  const expected = statSync(join(dir, 'file'))
  assert.equal(stat.size, expected.size)
  assert.equal(stat.mode, expected.mode)
  assert.equal(stat.ino, expected.ino)
  assert.equal(stat.uid, expected.uid)
  assert.equal(Math.floor(stat.mtimeSec * 1000 + stat.mtimeNsec / 1e6), Math.floor(expected.mtimeMs))
})

test('linux host: names are byte strings', () => {
  assert.equal(host.symlinkat('target-\xff', dirfd, 'link-\xc3\xa9'), 0)
  assert.equal(host.readlinkat(dirfd, 'link-\xc3\xa9'), 'target-\xff')
  assert.equal(host.unlinkat(dirfd, 'link-\xc3\xa9', 0), 0)
})

test('linux host: poll tells what is ready without waiting', () => {
  const fd = host.inotifyInit()
  host.ownFds = host.openat2(AT_FDCWD, '/proc/self/fd', O_PATH | O_DIRECTORY, 0, 0)
  assert.equal(host.poll(fd, POLLIN), 0)
  assert.ok(host.inotifyAddWatch(fd, dirfd, 0x100) > 0)
  writeFileSync(join(dir, 'new'), '')
  assert.equal(host.poll(fd, POLLIN | POLLOUT) & POLLIN, POLLIN)
  host.close(fd)
  host.ownFds = -1
})

test('linux host: clocks agree with the runtime, facts are host files', () => {
  assert.ok(Math.abs(host.monotonic() - performance.now() * 1e6 - performanceOrigin()) < 1e9)
  assert.ok(Math.abs(host.realtime().sec - Date.now() / 1000) < 2)
  assert.match(host.fact('proc/meminfo'), /^MemTotal:/)
  assert.match(host.fact('proc/cpuinfo'), /^processor/)
  assert.equal(host.fact('proc/nothing'), '')
})

test('linux host: modes are changed without following a link, whatever the kernel has for it', () => {
  // Last: another host takes over where the addon puts its results.
  const old = new LinuxHost({ ...addon, fchmodat2: () => -ENOSYS })
  assert.equal(old.chmodWay, 'fchmod')
  old.ownFds = old.openat2(AT_FDCWD, '/proc/self/fd', O_PATH | O_DIRECTORY, 0, 0)
  assert.equal(old.chmodWay, 'fchmodat')
  writeFileSync(join(dir, 'mode'), '')
  symlinkSync('mode', join(dir, 'to-mode'))
  const fd = host.openat2(dirfd, 'mode', O_RDONLY, 0, 0)
  for (const way of [host, old]) {
    assert.equal(way.fchmod(fd, 0o640), 0)
    assert.equal(statSync(join(dir, 'mode')).mode & 0o777, 0o640)
    assert.equal(way.fchmodat(dirfd, 'mode', 0o600, AT_SYMLINK_NOFOLLOW), 0)
    assert.equal(statSync(join(dir, 'mode')).mode & 0o777, 0o600)
    assert.ok(way.fchmodat(dirfd, 'to-mode', 0o777, AT_SYMLINK_NOFOLLOW) < 0)
    assert.equal(statSync(join(dir, 'mode')).mode & 0o777, 0o600)
  }
  host.close(fd)
})

function performanceOrigin(): number {
  return Number(process.hrtime.bigint()) - performance.now() * 1e6
}
