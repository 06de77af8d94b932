/** Links of keyrings, and the search through them: security/keys/keyring.c. */
import {
  EACCES,
  EAGAIN,
  EDEADLK,
  EKEYEXPIRED,
  EKEYREVOKED,
  ELOOP,
  ENOENT,
  ENOTDIR,
  EPERM,
} from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import { INVALID_ID } from '../../base/id-map.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import { indexOf, KEY_NEED_SEARCH, type Key, type KeyStore } from './key.ts'

const MAX_DEPTH = 6
const GROUP_ALL = 0x3f00

/** A key, and whether the asker possesses it: it can be reached from the asker's own keyrings. */
export interface KeyRef {
  readonly key: Key
  readonly possessed: boolean
}

/** key_task_permission: -EACCES, unless all of `need` (KEY_NEED_*) is allowed. */
export function keyPermission(cred: Credentials, { key, possessed }: KeyRef, need: number): Status {
  let allowed = key.perm
  if (key.uid === cred.fsuid) allowed >>= 16
  else if (key.gid !== INVALID_ID && (key.perm & GROUP_ALL) !== 0 && cred.inGroup(key.gid)) allowed >>= 8
  if (possessed) allowed |= key.perm >> 24
  return (allowed & need) === need ? 0 : -EACCES
}

/** What a search looks for. */
export interface KeySearch {
  readonly store: KeyStore
  readonly cred: Credentials
  /** A key of that type and description, or this very key. */
  readonly index: string
  readonly only?: Key
  /** Revoked and expired keys count as found no more: the error then says so. */
  readonly checkState: boolean
  /** An expired key is as if it were not there. */
  readonly skipExpired?: boolean
}

export function searchFor(
  store: KeyStore,
  cred: Credentials,
  type: string,
  description: string,
  skipExpired = false,
): KeySearch {
  return { store, cred, index: indexOf(type, description), checkState: true, skipExpired }
}

/** keyring_search_rcu: the keyring and those below it; -EAGAIN when there is nothing. */
export function searchKeyring(search: KeySearch, keyring: KeyRef): OrErrno<KeyRef> {
  if (!keyring.key.isKeyring) return -ENOTDIR
  const allowed = keyPermission(search.cred, keyring, KEY_NEED_SEARCH)
  if (allowed < 0) return allowed
  const outcome = { error: -EAGAIN }
  if (search.only === keyring.key || search.index === keyring.key.index) {
    const found = consider(search, keyring.key, keyring.possessed, outcome)
    if (found !== undefined) return found
  }
  return descend(search, keyring.key, keyring.possessed, 0, outcome, new Map()) ?? outcome.error
}

function descend(
  search: KeySearch,
  keyring: Key,
  possessed: boolean,
  depth: number,
  outcome: { error: number },
  seen: Map<Key, number>,
): KeyRef | undefined {
  if (seenFromThere(seen, keyring, depth)) return undefined
  if (search.checkState && (keyring.revoked || keyring.invalidated)) return undefined
  const direct = keyring.links.get(search.index)
  if (direct !== undefined) {
    const found = consider(search, direct, possessed, outcome)
    if (found !== undefined) return found
  }
  if (depth >= MAX_DEPTH) return undefined
  for (const key of keyring.links.values()) {
    if (!key.isKeyring || keyPermission(search.cred, { key, possessed }, KEY_NEED_SEARCH) < 0) continue
    const found = descend(search, key, possessed, depth + 1, outcome, seen)
    if (found !== undefined) return found
  }
  return undefined
}

/** keyring_search_iterator. */
function consider(
  search: KeySearch,
  key: Key,
  possessed: boolean,
  outcome: { error: number },
): KeyRef | undefined {
  const { store, cred, checkState, only } = search
  if (only !== undefined && only !== key) return undefined
  if (checkState) {
    if (key.invalidated || key.revoked) {
      outcome.error = -EKEYREVOKED
      return undefined
    }
    if (store.isExpired(key)) {
      if (search.skipExpired !== true) outcome.error = -EKEYEXPIRED
      return undefined
    }
  }
  const ref = { key, possessed }
  if (keyPermission(cred, ref, KEY_NEED_SEARCH) < 0) {
    outcome.error = -EACCES
    return undefined
  }
  return ref
}

/** key_link: takes the place of a key of the same type and description. */
export function linkKey(store: KeyStore, keyring: Key, key: Key): Status {
  if (!keyring.isKeyring) return -ENOTDIR
  if (keyring.restricted) return -EPERM
  if (keyring.revoked || keyring.invalidated) return -EKEYREVOKED
  if (key.isKeyring) {
    const cycle = detectCycle(key, keyring, 0, new Map())
    if (cycle < 0) return cycle
  }
  const old = keyring.links.get(key.index)
  if (old === undefined) {
    const status = store.reserveLinks(keyring, keyring.links.size + 1)
    if (status < 0) return status
  }
  keyring.links.set(key.index, store.get(key))
  if (old !== undefined) store.put(old)
  return 0
}

/** Whether `wanted` is `below` or can be reached from it. `seen`: at what depth a keyring, and all below it, was looked at. */
function detectCycle(below: Key, wanted: Key, depth: number, seen: Map<Key, number>): Status {
  if (below === wanted) return -EDEADLK
  if (depth > MAX_DEPTH) return -ELOOP
  if (seenFromThere(seen, below, depth)) return 0
  for (const key of below.links.values()) {
    if (!key.isKeyring) continue
    const status = detectCycle(key, wanted, depth + 1, seen)
    if (status < 0) return status
  }
  return 0
}

/** Keyrings that share others have far more ways through them than links: each is looked at once for each depth at most. */
function seenFromThere(seen: Map<Key, number>, keyring: Key, depth: number): boolean {
  if ((seen.get(keyring) ?? Number.POSITIVE_INFINITY) <= depth) return true
  seen.set(keyring, depth)
  return false
}

export function unlinkKey(store: KeyStore, keyring: Key, key: Key): Status {
  if (!keyring.isKeyring) return -ENOTDIR
  if (keyring.links.get(key.index) !== key) return -ENOENT
  keyring.links.delete(key.index)
  store.reserveLinks(keyring, keyring.links.size)
  store.put(key)
  return 0
}
