import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { loadAddon } from '../platform/addon.ts'
import { mountRootfs, unmountRootfs } from './rootfs.ts'

const addon = loadAddon(join(import.meta.dirname, '../../native/build/caisson.node'))
const dir = mkdtempSync(join(tmpdir(), 'caisson-rootfs-'))
after(() => rmSync(dir, { recursive: true }))
const skip = process.geteuid!() === 0 ? false : 'only root can mount'
const mountsBelow = (path: string) =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter(line => line.includes(path))

test('a root of more layers than mount(2) takes at once, and a bind in it, come and go', { skip }, () => {
  const layers = Array.from({ length: 60 }, (_, i) =>
    join(dir, 'a-directory-with-a-rather-long-name', `${i}`.repeat(30)),
  )
  for (const [i, layer] of layers.entries()) {
    mkdirSync(layer, { recursive: true })
    writeFileSync(join(layer, `file${i}`), '')
  }
  const rootfs = join(dir, 'rootfs')
  const volume = join(dir, 'volume')
  mkdirSync(volume)
  mkdirSync(join(layers[0], 'volume'))
  const overlay = {
    type: 'overlay',
    source: 'overlay',
    target: '',
    options: [`lowerdir=${layers.join(':')}`],
  }
  const bind = { type: 'bind', source: volume, target: '/volume', options: ['rbind', 'ro', 'rprivate'] }
  const cwd = process.cwd()
  mountRootfs(addon, [overlay, bind], rootfs)
  assert.equal(readdirSync(rootfs).length, 61)
  assert.throws(() => writeFileSync(join(rootfs, 'volume/x'), ''), /EROFS/)
  assert.equal(process.cwd(), cwd)
  unmountRootfs(addon, rootfs)
  assert.deepEqual(readdirSync(rootfs), [])
  assert.deepEqual(mountsBelow(dir), [])
})

test('a mount below a root stays in it, whatever the links of the image say', { skip }, () => {
  const rootfs = join(dir, 'linked')
  const image = join(dir, 'image')
  const outside = join(dir, 'outside')
  for (const path of [join(image, 'etc'), outside]) mkdirSync(path, { recursive: true })
  symlinkSync(outside, join(image, 'absolute'))
  symlinkSync('../../../../etc', join(image, 'relative'))
  const root = { type: 'bind', source: image, target: '', options: ['bind'] }
  const mount = (target: string) => ({ type: 'tmpfs', source: 'tmpfs', target, options: ['ro'] })
  mountRootfs(addon, [root, mount('relative')], rootfs)
  assert.deepEqual(
    mountsBelow(dir).map(line => line.split(' ')[4]),
    [rootfs, join(rootfs, 'etc')],
  )
  unmountRootfs(addon, rootfs)
  assert.throws(
    () => mountRootfs(addon, [root, mount('absolute')], rootfs),
    /looking for absolute failed: ENOENT/,
  )
  assert.deepEqual(mountsBelow(dir), [])
})

test('of a root that can not be mounted as a whole nothing is left', { skip }, () => {
  const rootfs = join(dir, 'half')
  const good = { type: 'tmpfs', source: 'tmpfs', target: '', options: ['nosuid', 'size=1m'] }
  const bad = { type: 'no-such-fs', source: 'x', target: '', options: [] }
  assert.throws(() => mountRootfs(addon, [good, bad], rootfs), /mounting no-such-fs of x failed: ENODEV/)
  assert.deepEqual(mountsBelow(dir), [])
  const loop = { type: 'ext4', source: 'x', target: '', options: ['loop'] }
  assert.throws(() => mountRootfs(addon, [loop], rootfs), /loop device/)
  execFileSync('rmdir', [rootfs])
})
