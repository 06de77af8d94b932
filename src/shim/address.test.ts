import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chdir } from 'node:process'
import { after, test } from 'node:test'
import { loadAddon } from '../platform/addon.ts'
import { addressOf, listenAt, removeDeadSocket, saveAddress, socketPath } from './address.ts'
import { sha256 } from './sha256.ts'

const addon = loadAddon(join(import.meta.dirname, '../../native/build/caisson.node'))
const dir = mkdtempSync(join(tmpdir(), 'caisson-address-'))
after(() => rmSync(dir, { recursive: true }))

test('sha256: is what node:crypto computes, for texts of all lengths around the blocks', () => {
  for (let length = 0; length < 200; length++) {
    const text = 'äbcdefg/.-'.repeat(20).slice(0, length)
    assert.equal(sha256(text), createHash('sha256').update(text).digest('hex'))
  }
})

test('the socket has the name that shims of containerd have', () => {
  assert.equal(
    socketPath(undefined, '/run/containerd/containerd.sock', 'k8s.io', 'pod'),
    `/run/containerd/s/${createHash('sha256').update('/run/containerd/containerd.sock/k8s.io/pod').digest('hex')}`,
  )
  assert.match(socketPath('/x', '/a', 'b', 'c'), /^\/x\/[0-9a-f]{64}$/)
})

test('a socket is for its owner alone; where somebody listens there is none, what a dead one left is replaced', async () => {
  const path = join(dir, 'made/s')
  const fd = listenAt(addon, path)!
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.equal(listenAt(addon, path), undefined)
  addon.close(fd)
  const again = listenAt(addon, path)!
  assert.ok(again >= 0)
  const server = createServer().listen({ fd: again })
  assert.equal(listenAt(addon, path), undefined)
  server.close()
})

test('the socket of a bundle is removed when nobody listens there any more', () => {
  const before = process.cwd()
  const path = join(dir, 's2')
  const fd = listenAt(addon, path)!
  chdir(dir)
  saveAddress(addressOf(path))
  chdir(before)
  removeDeadSocket(addon, dir)
  assert.ok(existsSync(path))
  addon.close(fd)
  removeDeadSocket(addon, dir)
  assert.ok(!existsSync(path))
  removeDeadSocket(addon, join(dir, 'made'))
  writeFileSync(join(dir, 'address'), 'nonsense')
  removeDeadSocket(addon, dir)
})

test('a path that is too long for a socket is refused with a sentence', () => {
  assert.throws(() => listenAt(addon, join(dir, 'x'.repeat(100))), /too long for a socket/)
})
