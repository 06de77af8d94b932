import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { SIGKILL, SIGTERM } from '../abi/constants.ts'
import { loadAddon } from '../platform/addon.ts'
import { identifyProcess, isAlive, signalProcess } from './process-identity.ts'
import { NoContainerError, ownIdentity, type SavedState, StateStore, statusOf } from './state.ts'

const addon = loadAddon(join(import.meta.dirname, '../../native/build/caisson.node'))
let root: string
let store: StateStore

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'caisson-state-'))
  store = new StateStore(root, addon)
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

function stateOf(id: string, change: Partial<SavedState> = {}): SavedState {
  return {
    format: 1,
    ociVersion: '1.0.2',
    id,
    bundle: '/b',
    rootfs: '/b/rootfs',
    created: '2026-01-01T00:00:00.000Z',
    ownerUid: 0,
    annotations: {},
    phase: 'creating',
    creator: ownIdentity(),
    sandbox: id,
    poststart: [],
    poststop: [],
    ...change,
  }
}

test('state: what is saved is found again, and gone when removed', () => {
  store.create(stateOf('a'))
  assert.deepEqual(store.find('a'), stateOf('a'))
  store.save(stateOf('a', { phase: 'created' }))
  assert.equal(store.load('a').phase, 'created')
  assert.deepEqual(store.list(), ['a'])
  store.remove('a')
  assert.equal(store.find('a'), undefined)
  assert.throws(() => store.load('a'), NoContainerError)
  assert.deepEqual(readdirSync(root), [])
})

test('state: of two with one id the second is refused and changes nothing', () => {
  store.create(stateOf('a'))
  assert.throws(() => store.create(stateOf('a', { bundle: '/other' })), /already exists/)
  assert.equal(store.load('a').bundle, '/b')
  assert.deepEqual(readdirSync(root), ['a'])
})

test('state: a root that is a file is no container of the same id', () => {
  const path = join(root, 'file')
  writeFileSync(path, '')
  assert.throws(
    () => new StateStore(path, addon).create(stateOf('a')),
    /can't be written to .*file already exists/,
  )
})

test('state: ids are names, and none leads out of the root', () => {
  for (const id of ['..', '.', '', 'a/b', '../a', 'a@1.1', 'a b', 'a\n', 'x'.repeat(300)]) {
    assert.throws(() => store.find(id), /invalid container ID format/, id)
  }
})

test('state: remove takes away what a creator that was killed had begun, and not what one that lives has', () => {
  mkdirSync(join(root, 'a@999999999.1'))
  mkdirSync(join(root, `a@${process.pid}.${ownIdentity().startTime}`))
  mkdirSync(join(root, 'ab@999999999.1'))
  store.remove('a')
  assert.deepEqual(readdirSync(root).sort(), [
    `a@${process.pid}.${ownIdentity().startTime}`,
    'ab@999999999.1',
  ])
})

test('state: one at a time changes a container, and who waits for one that goes finds none', async () => {
  store.create(stateOf('a'))
  const order: string[] = []
  const first = store.locked('a', async () => {
    order.push('first')
    await new Promise(resolve => setTimeout(resolve, 30))
    order.push('removed')
    store.remove('a')
  })
  await assert.rejects(
    store.locked('a', async () => order.push('second')),
    NoContainerError,
  )
  await first
  assert.deepEqual(order, ['first', 'removed'])
})

test('state: a damaged file is said to be one', () => {
  mkdirSync(join(root, 'a'))
  writeFileSync(join(root, 'a/state.json'), '{"id":')
  assert.throws(() => store.find('a'), /is damaged/)
  assert.equal(store.tryFind('a'), undefined)
})

test('state: a container is what its process on the host is, whatever the file says', () => {
  const live = ownIdentity()
  const dead = { ...live, startTime: live.startTime - 1 }
  const status = (change: Partial<SavedState>, frozen = false) => statusOf(stateOf('a', change), () => frozen)
  assert.equal(status({ phase: 'creating' }), 'creating')
  assert.equal(status({ phase: 'creating', creator: dead }), 'stopped')
  assert.equal(status({ phase: 'created', process: live }), 'created')
  assert.equal(status({ phase: 'started', process: live }), 'running')
  assert.equal(status({ phase: 'started', process: live }, true), 'paused')
  assert.equal(status({ phase: 'started', process: live, paused: true }), 'paused')
  assert.equal(status({ phase: 'started', process: dead }), 'stopped')
  assert.equal(status({ phase: 'started' }), 'stopped')
})

test('state: a process is known by its start too', () => {
  const self = identifyProcess(process.pid)!
  assert.ok(isAlive(self))
  assert.ok(!isAlive({ ...self, startTime: self.startTime + 1 }))
  assert.equal(identifyProcess(999_999_999), undefined)
})

test('state: a signal reaches the process that was meant, or nobody', async () => {
  const child = spawn('sleep', ['1000'])
  const ended = new Promise(resolve => child.on('exit', (_, signal) => resolve(signal)))
  const identity = identifyProcess(child.pid!)!
  assert.equal(signalProcess(addon, { ...identity, startTime: identity.startTime + 1 }, SIGKILL), false)
  assert.equal(signalProcess(addon, identity, SIGTERM), true)
  assert.equal(await ended, 'SIGTERM')
  assert.equal(signalProcess(addon, identity, SIGKILL), false)
})
