/** Keys, keyrings and their quota. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EACCES, EAGAIN, EDEADLK, EDQUOT, EKEYEXPIRED, EKEYREVOKED, ENOENT } from '../../abi/errno.ts'
import { Timespec } from '../../base/clock.ts'
import { Credentials, UserNamespace } from '../../base/credentials.ts'
import { failed, type OrErrno } from '../../base/result.ts'
import { KEY_NEED_READ, KEY_NEED_SEARCH, type Key, KeyStore, POS_ALL, USR_ALL } from './key.ts'
import { keyPermission, linkKey, searchFor, searchKeyring, unlinkKey } from './keyring.ts'
import { findKeyType, KEYRING } from './types.ts'

const user = findKeyType('user')!
const userNs = new UserNamespace(undefined, 0, 0, 1)

function setUp(uid = 1000) {
  const clock = { sec: 1000, realtime: () => new Timespec(clock.sec, 0) }
  let last = 100
  const host = {
    random(into: Uint8Array) {
      new DataView(into.buffer, into.byteOffset).setInt32(0, ++last * 2, true)
    },
  }
  const store = new KeyStore(host as never, clock as never)
  const owner = { userNs, fsuid: uid, gid: 5 }
  const make = (type: typeof user, name: string, perm = POS_ALL | USR_ALL) =>
    found(store.alloc(type, name, owner, perm))
  const cred = new Credentials(userNs)
  cred.fsuid = uid
  return { store, clock, owner, cred, make }
}

function found<T extends object>(value: OrErrno<T>): T {
  assert.ok(!failed(value), `${value}`)
  return value
}

test('a key is found through keyrings in keyrings', () => {
  const { store, cred, make } = setUp()
  const [top, inner, key] = [make(KEYRING, 'top'), make(KEYRING, 'inner'), make(user, 'k')]
  assert.equal(linkKey(store, top, inner), 0)
  assert.equal(linkKey(store, inner, key), 0)
  const search = searchFor(store, cred, 'user', 'k')
  assert.equal(found(searchKeyring(search, { key: top, possessed: true })).key, key)
  assert.equal(searchKeyring(searchFor(store, cred, 'user', 'x'), { key: top, possessed: true }), -EAGAIN)
  assert.equal(linkKey(store, inner, top), -EDEADLK)
  assert.equal(linkKey(store, top, top), -EDEADLK)
})

test('keyrings that share others are searched, and linked, in no more steps than they have links', () => {
  const { store, cred, make } = setUp(0)
  const levels = Array.from({ length: 6 }, (_, level) =>
    Array.from({ length: 40 }, (_, i) => make(KEYRING, `${level}.${i}`)),
  )
  for (let level = 5; level > 0; level--) {
    for (const upper of levels[level - 1]) for (const lower of levels[level]) linkKey(store, upper, lower)
  }
  const [[top]] = levels
  const search = searchFor(store, cred, 'user', 'x')
  assert.equal(searchKeyring(search, { key: top, possessed: true }), -EAGAIN)
  assert.equal(linkKey(store, make(KEYRING, 'other'), top), 0)
  assert.equal(linkKey(store, levels[5][7], top), -EDEADLK)
})

test('a key ends with its last holder, and gives its quota back', () => {
  const { store, make } = setUp()
  const [ring, key] = [make(KEYRING, 'r'), make(user, 'k')]
  linkKey(store, ring, key)
  store.put(key)
  assert.equal(store.keys.has(key.serial), true)
  assert.equal(store.quotaOf(1000).keys, 2)
  assert.equal(unlinkKey(store, ring, key), 0)
  assert.equal(store.keys.has(key.serial), false)
  assert.equal(unlinkKey(store, ring, key), -ENOENT)
  store.put(ring)
  assert.deepEqual(store.quotaOf(1000), { keys: 0, bytes: 0 })
})

test('a revoked key is told of, an expired one too, and both are forgotten after a while', () => {
  const { store, clock, cred, make } = setUp()
  const [ring, key] = [make(KEYRING, 'r'), make(user, 'k')]
  linkKey(store, ring, key)
  store.put(key)
  const look = () => searchKeyring(searchFor(store, cred, 'user', 'k'), { key: ring, possessed: true })
  key.expiry = clock.sec + 10
  assert.equal(found(look()).key, key)
  clock.sec += 10
  assert.equal(look(), -EKEYEXPIRED)
  key.revokedAt = clock.sec
  assert.equal(look(), -EKEYREVOKED)
  clock.sec += 300
  store.collect()
  assert.equal(look(), -EAGAIN)
  assert.equal(store.keys.has(key.serial), false)
})

test('possession adds to what the owner, the group or others may', () => {
  const { cred, make } = setUp()
  const key: Key = make(user, 'k', (KEY_NEED_SEARCH << 24) | (KEY_NEED_READ << 16))
  assert.equal(keyPermission(cred, { key, possessed: false }, KEY_NEED_READ), 0)
  assert.equal(keyPermission(cred, { key, possessed: false }, KEY_NEED_SEARCH), -EACCES)
  assert.equal(keyPermission(cred, { key, possessed: true }, KEY_NEED_READ | KEY_NEED_SEARCH), 0)
  const stranger = cred.clone()
  stranger.fsuid = 7
  assert.equal(keyPermission(stranger, { key, possessed: false }, KEY_NEED_READ), -EACCES)
})

test('a user has a limited number of keys and bytes', () => {
  const { store, owner, make } = setUp()
  for (let i = 0; i < 200; i++) make(user, `k${i}`)
  assert.equal(store.alloc(user, 'one more', owner, 0), -EDQUOT)
  const { store: fresh, make: makeFresh } = setUp()
  const key = makeFresh(user, 'big')
  assert.equal(fresh.reserve(key, 19_000), 0)
  assert.equal(fresh.reserve(key, 30_000), -EDQUOT)
})
