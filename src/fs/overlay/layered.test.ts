import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, beforeEach, test } from 'node:test'
import {
  AT_FDCWD,
  MS_RDONLY,
  O_APPEND,
  O_CREAT,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  O_WRONLY,
} from '../../abi/constants.ts'
import { EINVAL, ELOOP, ENOENT, EROFS, EXDEV } from '../../abi/errno.ts'
import { toBytes } from '../../base/bytes.ts'
import { CapabilitySet, Credentials, UserNamespace } from '../../base/credentials.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import { failed } from '../../base/result.ts'
import { loadAddon } from '../../platform/addon.ts'
import { LinuxHost } from '../../platform/linux-host.ts'
import { filePut } from '../../vfs/file-ref.ts'
import type { MountContext } from '../../vfs/fs-type.ts'
import { Mount, MountNamespace } from '../../vfs/mount.ts'
import { openAt } from '../../vfs/open.ts'
import { link, mkdir, rmdir, unlink } from '../../vfs/operations.ts'
import { rename } from '../../vfs/rename.ts'
import { Vfs } from '../../vfs/vfs.ts'
import { type HostSuper, mountHostfs } from '../hostfs/super.ts'
import { overlayType } from './layered.ts'

const host = new LinuxHost(loadAddon(join(import.meta.dirname, '../../../native/build/caisson.node')))
const vfs = new Vfs(host)
const userNs = new UserNamespace(undefined, 0, 0, 1)
const cred = Object.assign(new Credentials(userNs), { effective: CapabilitySet.ALL })
const dir = fs.mkdtempSync(join(tmpdir(), 'caisson-layered-'))
after(() => fs.rmSync(dir, { recursive: true }))
let count = 0
let top = ''
beforeEach(() => {
  top = join(dir, String(count++))
  for (const name of ['lower/d', 'upper', 'work', 'm']) fs.mkdirSync(join(top, name), { recursive: true })
  fs.writeFileSync(join(top, 'lower/a'), 'lower a')
  fs.writeFileSync(join(top, 'lower/d/b'), 'lower b')
})

/** A file system of the host's, with `options` mounted on `m`: or the errno. */
function start(options = 'lowerdir=lower,upperdir=upper,workdir=work'): MountContext | number {
  const fd = host.openat2(AT_FDCWD, top, O_PATH | O_DIRECTORY, 0, 0)
  const sb = mountHostfs(vfs.newDev(), host, fd, { shared: false }) as HostSuper
  const root = new Mount(vfs, sb)
  const place = { mount: root, dentry: root.root }
  const mountNs = new MountNamespace(vfs, 1, userNs, root)
  const context: MountContext = {
    fs: { root: place, cwd: place, umask: 0o22 },
    cred,
    mountNs,
    vfs,
    ns: undefined,
  }
  const overlay = overlayType.mount('overlay', 0, options, context)
  if (failed(overlay)) return overlay
  const mount = new Mount(vfs, overlay)
  const at = { mount, dentry: mount.root }
  return { ...context, fs: { root: at, cwd: at, umask: 0o22 } }
}

function started(): MountContext {
  const context = start()
  if (typeof context === 'number') throw new Error(`errno ${-context}`)
  return context
}

function cat(context: MountContext, name: string): string | number {
  const file = openAt(context, undefined, name, O_RDONLY, 0)
  if (typeof file === 'number') return file
  const into = new BufferDst(new Uint8Array(100))
  const n = file.readAt(into, 0)
  filePut(file)
  return n < 0 ? n : Buffer.from(into.bytes.subarray(0, n)).toString()
}

function put(context: MountContext, name: string, text: string, flags = O_CREAT | O_WRONLY): number {
  const file = openAt(context, undefined, name, flags, 0o644)
  if (typeof file === 'number') return file
  const n = file.write(new BufferSrc(toBytes(text)))
  filePut(file)
  return n
}

const upper = (name: string): string => join(top, 'upper', name)

test('layered overlay: a copy, a link and a rename in a directory of the host’s', () => {
  const context = started()
  assert.equal(put(context, 'a', '!', O_WRONLY | O_APPEND), 1)
  assert.equal(cat(context, 'a'), 'lower a!')
  assert.equal(fs.readFileSync(join(top, 'lower/a'), 'latin1'), 'lower a')
  assert.equal(put(context, 't', 'text'), 4)
  const file = openAt(context, undefined, 't', O_PATH, 0)
  assert.ok(!failed(file))
  assert.equal(link(context, file.path, undefined, 'f'), 0)
  filePut(file)
  assert.equal(unlink(context, undefined, 't'), 0)
  assert.equal(cat(context, 'f'), 'text')
  assert.equal(rename(context, undefined, 'a', undefined, 'd/a', 0), 0)
  assert.equal(cat(context, 'd/a'), 'lower a!')
  assert.equal(cat(context, 'a'), -ENOENT)
  assert.equal(fs.lstatSync(upper('a')).isCharacterDevice(), true)
  assert.equal(fs.readFileSync(upper('d/a'), 'latin1'), 'lower a!')
  assert.deepEqual(fs.readdirSync(join(top, 'work/work')), [])
})

test('layered overlay: a directory that is made where one was hides what is below', () => {
  const context = started()
  assert.equal(rename(context, undefined, 'd', undefined, 'e', 0), -EXDEV)
  assert.equal(unlink(context, undefined, 'd/b'), 0)
  assert.equal(rmdir(context, undefined, 'd'), 0)
  assert.equal(mkdir(context, undefined, 'd', 0o755), 0)
  assert.equal(cat(context, 'd/b'), -ENOENT)
  // Another mount of the layers sees the same.
  assert.equal(cat(started(), 'd/b'), -ENOENT)
  assert.equal(cat(started(), 'a'), 'lower a')
})

test('layered overlay: with redirect_dir=on a directory of the host’s that merges is renamed, and another mount finds it', () => {
  const options = 'lowerdir=lower,upperdir=upper,workdir=work,redirect_dir=on'
  const context = start(options)
  if (typeof context === 'number') throw new Error(`errno ${-context}`)
  assert.equal(rename(context, undefined, 'd', undefined, 'e', 0), 0)
  assert.equal(cat(context, 'e/b'), 'lower b')
  assert.equal(cat(context, 'd/b'), -ENOENT)
  const again = start(options)
  if (typeof again === 'number') throw new Error(`errno ${-again}`)
  assert.equal(cat(again, 'e/b'), 'lower b')
  assert.equal(cat(again, 'd/b'), -ENOENT)
})

test('layered overlay: options that can’t be', () => {
  assert.equal(start('lowerdir=lower,upperdir=lower/d,workdir=work'), -ELOOP)
  assert.equal(start('lowerdir=lower,upperdir=upper,workdir=upper'), -EINVAL)
  const writable = 'lowerdir=lower,upperdir=upper,workdir=work'
  for (const wrong of [
    'metacopy=on,redirect_dir=off',
    'metacopy=maybe',
    'userxattr,metacopy=on',
    'verity=on',
  ])
    assert.ok(start(`${writable},${wrong}`) === -EINVAL, wrong)
  assert.equal(start('lowerdir=lower::upper:work'), -EINVAL)
  assert.equal(start('lowerdir=lower:nothing'), -ENOENT)
  const context = start('lowerdir=upper:lower')
  assert.ok(typeof context !== 'number')
  assert.equal(context.fs.root.mount.sb.flags & MS_RDONLY, MS_RDONLY)
  assert.equal(cat(context, 'a'), 'lower a')
  assert.equal(put(context, 'a', 'x', O_WRONLY), -EROFS)
})
