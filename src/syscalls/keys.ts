/** add_key(2), request_key(2). The keys are in kernel/keys/. */
import { EAGAIN, EDQUOT, EINVAL, ENAMETOOLONG, ENODEV, ENOKEY, ENOTDIR, EPERM } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { failed, type OrErrno, type Status } from '../base/result.ts'
import {
  KEY_NEED_LINK,
  KEY_NEED_READ,
  KEY_NEED_SEARCH,
  KEY_NEED_SETATTR,
  KEY_NEED_VIEW,
  KEY_NEED_WRITE,
  type Key,
  type KeyStore,
} from '../kernel/keys/key.ts'
import { type KeyRef, keyPermission, linkKey, searchFor } from '../kernel/keys/keyring.ts'
import { keysOf, lookupKey, searchTaskKeyrings } from '../kernel/keys/task-keyrings.ts'
import { findKeyType, type KeyType } from '../kernel/keys/types.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { bufferIn, int, type SyscallRows, size as sizeArg, string } from './args.ts'

const MAX_TYPE = 32
const MAX_DESCRIPTION = 4096
const MAX_PAYLOAD = 1024 * 1024 - 1

/** key_get_type_from_user. */
export function readTypeName(task: Task, at: GuestAddr): OrErrno<string> {
  const name = task.mm.readString(at, MAX_TYPE)
  if (name === -ENAMETOOLONG || name === '') return -EINVAL
  return typeof name === 'string' && name.startsWith('.') ? -EPERM : name
}

/** strndup_user of a description. */
export function readDescription(task: Task, at: GuestAddr): OrErrno<string> {
  const text = task.mm.readString(at, MAX_DESCRIPTION)
  return text === -ENAMETOOLONG ? -EINVAL : text
}

export function readPayload(task: Task, at: GuestAddr, size: number): OrErrno<Uint8Array> {
  const payload = new Uint8Array(size)
  const status = size > 0 ? task.mm.copyIn(at, payload) : 0
  return status < 0 ? status : payload
}

export function add_key(
  task: Task,
  typeAt: GuestAddr,
  descriptionAt: GuestAddr,
  payloadAt: GuestAddr,
  size: number,
  ring: number,
): number {
  if (size > MAX_PAYLOAD) return -EINVAL
  const typeName = readTypeName(task, typeAt)
  if (failed(typeName)) return typeName
  const description = descriptionAt === 0 ? '' : readDescription(task, descriptionAt)
  if (failed(description)) return description
  if (description.startsWith('.') && typeName.startsWith('keyring')) return -EPERM
  const payload = readPayload(task, payloadAt, size)
  if (failed(payload)) return payload
  const keyring = lookupKey(task, ring, true, KEY_NEED_WRITE)
  if (failed(keyring)) return keyring
  const type = findKeyType(typeName)
  if (type === undefined) return -ENODEV
  const key = createOrUpdate(task, keyring, type, description, payload)
  return failed(key) ? key : key.serial
}

/** key_create_or_update. */
function createOrUpdate(
  task: Task,
  { key: keyring, possessed }: KeyRef,
  type: KeyType,
  description: string,
  payload: Uint8Array,
): OrErrno<Key> {
  if (!keyring.isKeyring) return -ENOTDIR
  const valid = type.check(description === '' ? undefined : description, payload)
  if (valid < 0) return valid
  if (description === '') return -EINVAL
  const store = keysOf(task.kernel)
  const { cred } = task
  if (type.canUpdate) {
    const old = keyring.links.get(`${type.name}\0${description}`)
    if (old !== undefined && !old.revoked && !old.invalidated) {
      const status = keyPermission(cred, { key: old, possessed }, KEY_NEED_WRITE)
      return status < 0 ? status : updateKey(store, old, payload) || old
    }
  }
  const owner = { userNs: cred.userNs, fsuid: cred.fsuid, gid: cred.fsgid }
  let key = store.alloc(type, description, owner, newKeyPermissions(type))
  if (key === -EDQUOT) {
    store.collect()
    key = store.alloc(type, description, owner, newKeyPermissions(type))
  }
  if (failed(key)) return key
  let status = type.name === 'keyring' ? 0 : setPayload(store, key, payload)
  if (status === 0) status = linkKey(store, keyring, key)
  // What was linked lives by the link alone.
  store.put(key)
  return status < 0 ? status : key
}

/** What key_create_or_update lets possessor and owner do. */
function newKeyPermissions(type: KeyType): number {
  let possessor = KEY_NEED_VIEW | KEY_NEED_SEARCH | KEY_NEED_LINK | KEY_NEED_SETATTR
  if (type.canRead) possessor |= KEY_NEED_READ
  if (type.canUpdate || type.name === 'keyring') possessor |= KEY_NEED_WRITE
  return (possessor << 24) | (KEY_NEED_VIEW << 16)
}

function setPayload(store: KeyStore, key: Key, payload: Uint8Array): Status {
  const status = store.reserve(key, payload.length)
  if (status === 0) key.payload = payload
  return status
}

/** A new payload is a new beginning: a timeout is forgotten. */
export function updateKey(store: KeyStore, key: Key, payload: Uint8Array): Status {
  const status = setPayload(store, key, payload)
  if (status === 0) key.expiry = Number.POSITIVE_INFINITY
  return status
}

export function request_key(
  task: Task,
  typeAt: GuestAddr,
  descriptionAt: GuestAddr,
  calloutAt: GuestAddr,
  destination: number,
): number {
  const typeName = readTypeName(task, typeAt)
  if (failed(typeName)) return typeName
  const description = readDescription(task, descriptionAt)
  if (failed(description)) return description
  const callout = calloutAt === 0 ? '' : readPage(task, calloutAt)
  if (failed(callout)) return callout
  const into = destination === 0 ? undefined : lookupKey(task, destination, true, KEY_NEED_WRITE)
  if (into !== undefined && failed(into)) return into
  const type = findKeyType(typeName)
  if (type === undefined) return -ENOKEY
  const store = keysOf(task.kernel)
  const found = searchTaskKeyrings(task, searchFor(store, task.cred, type.name, description, true))
  // Nobody makes keys on demand: no program is called for it.
  if (failed(found)) return found === -EAGAIN ? -ENOKEY : found
  if (into !== undefined) {
    const status = linkKey(store, into.key, found.key)
    if (status < 0) return status
  }
  return found.key.serial
}

function readPage(task: Task, at: GuestAddr): OrErrno<string> {
  const text = task.mm.readString(at, 4096)
  return text === -ENAMETOOLONG ? -EINVAL : text
}

export const keyCalls = {
  add_key: { nr: NR.add_key, run: add_key, args: [string, string, bufferIn(3), sizeArg, int] },
  request_key: {
    nr: NR.request_key,
    run: request_key,
    args: [string, string, string, int],
    partial: 'keys that are there are found; no program is called to make others',
  },
} satisfies SyscallRows
