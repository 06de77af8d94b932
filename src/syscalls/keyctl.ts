/** keyctl(2): one small function for each operation. */
import {
  CAP_SYS_ADMIN,
  KEY_SPEC_SESSION_KEYRING,
  KEYCTL_ASSUME_AUTHORITY,
  KEYCTL_CAPABILITIES,
  KEYCTL_CHOWN,
  KEYCTL_CLEAR,
  KEYCTL_DESCRIBE,
  KEYCTL_GET_KEYRING_ID,
  KEYCTL_GET_SECURITY,
  KEYCTL_INSTANTIATE,
  KEYCTL_INSTANTIATE_IOV,
  KEYCTL_INVALIDATE,
  KEYCTL_JOIN_SESSION_KEYRING,
  KEYCTL_LINK,
  KEYCTL_MOVE,
  KEYCTL_MOVE_EXCL,
  KEYCTL_NEGATE,
  KEYCTL_READ,
  KEYCTL_REJECT,
  KEYCTL_RESTRICT_KEYRING,
  KEYCTL_REVOKE,
  KEYCTL_SEARCH,
  KEYCTL_SESSION_TO_PARENT,
  KEYCTL_SET_REQKEY_KEYRING,
  KEYCTL_SET_TIMEOUT,
  KEYCTL_SETPERM,
  KEYCTL_UNLINK,
  KEYCTL_UPDATE,
} from '../abi/constants.ts'
import { EACCES, EAGAIN, EEXIST, EINVAL, ENOENT, ENOKEY, ENOTDIR, EOPNOTSUPP, EPERM } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { toBytes } from '../base/bytes.ts'
import { fromKernelId, INVALID_ID, toKernelId } from '../base/id-map.ts'
import { failed } from '../base/result.ts'
import {
  CAPABILITIES,
  KEY_NEED_LINK,
  KEY_NEED_READ,
  KEY_NEED_SEARCH,
  KEY_NEED_SETATTR,
  KEY_NEED_VIEW,
  KEY_NEED_WRITE,
  KEY_PERM_MASK,
  type Key,
} from '../kernel/keys/key.ts'
import {
  type KeyRef,
  keyPermission,
  linkKey,
  searchFor,
  searchKeyring,
  unlinkKey,
} from '../kernel/keys/keyring.ts'
import {
  giveSessionToParent,
  joinSession,
  keysOf,
  lookupKey,
  setRequestDestination,
} from '../kernel/keys/task-keyrings.ts'
import { dropLinks, findKeyType } from '../kernel/keys/types.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { int, type SyscallRows, word } from './args.ts'
import { readDescription, readPayload, readTypeName, updateKey } from './keys.ts'

const PAGE_SIZE = 4096

type Operation = (task: Task, a: number, b: number, c: number, d: number) => number

const OPERATIONS: Readonly<Record<number, Operation>> = {
  [KEYCTL_GET_KEYRING_ID]: getKeyringId,
  [KEYCTL_JOIN_SESSION_KEYRING]: joinSessionKeyring,
  [KEYCTL_UPDATE]: update,
  [KEYCTL_REVOKE]: revoke,
  [KEYCTL_CHOWN]: chown,
  [KEYCTL_SETPERM]: setPermissions,
  [KEYCTL_DESCRIBE]: describe,
  [KEYCTL_CLEAR]: clear,
  [KEYCTL_LINK]: link,
  [KEYCTL_UNLINK]: unlink,
  [KEYCTL_SEARCH]: search,
  [KEYCTL_READ]: read,
  [KEYCTL_SET_REQKEY_KEYRING]: (task, destination) => setRequestDestination(task, int32(destination)),
  [KEYCTL_SET_TIMEOUT]: setTimeout,
  [KEYCTL_ASSUME_AUTHORITY]: assumeAuthority,
  [KEYCTL_GET_SECURITY]: getSecurity,
  [KEYCTL_SESSION_TO_PARENT]: sessionToParent,
  [KEYCTL_INVALIDATE]: invalidate,
  [KEYCTL_RESTRICT_KEYRING]: restrict,
  [KEYCTL_MOVE]: move,
  [KEYCTL_CAPABILITIES]: capabilities,
  // Only who was called to make a key may.
  [KEYCTL_INSTANTIATE]: () => -EPERM,
  [KEYCTL_INSTANTIATE_IOV]: () => -EPERM,
  [KEYCTL_NEGATE]: () => -EPERM,
  [KEYCTL_REJECT]: () => -EPERM,
}

export function keyctl(task: Task, operation: number, a: number, b: number, c: number, d: number): number {
  return OPERATIONS[operation]?.(task, a, b, c, d) ?? -EOPNOTSUPP
}

/** Serial numbers are ints in registers of 64 bits, as their sign has it or not. */
function int32(value: number): number {
  return value | 0
}

function size64(value: number): number {
  return value < 0 ? value + 2 ** 64 : value
}

function getKeyringId(task: Task, id: number, create: number): number {
  const ref = lookupKey(task, int32(id), int32(create) !== 0, KEY_NEED_SEARCH)
  return failed(ref) ? ref : ref.key.serial
}

function joinSessionKeyring(task: Task, nameAt: GuestAddr): number {
  if (nameAt === 0) return joinSession(task, undefined)
  const name = readDescription(task, nameAt)
  if (failed(name)) return name
  return name.startsWith('.') ? -EPERM : joinSession(task, name)
}

function update(task: Task, id: number, payloadAt: GuestAddr, size: number): number {
  if (size64(size) > PAGE_SIZE) return -EINVAL
  const payload = readPayload(task, payloadAt, size)
  if (failed(payload)) return payload
  const ref = lookupKey(task, int32(id), false, KEY_NEED_WRITE)
  if (failed(ref)) return ref
  const { key } = ref
  if (!key.type.canUpdate) return -EOPNOTSUPP
  return key.type.check(undefined, payload) || updateKey(keysOf(task.kernel), key, payload)
}

function revoke(task: Task, id: number): number {
  let ref = lookupKey(task, int32(id), false, KEY_NEED_WRITE)
  if (ref === -EACCES) ref = lookupKey(task, int32(id), false, KEY_NEED_SETATTR)
  if (failed(ref)) return ref
  const store = keysOf(task.kernel)
  const { key } = ref
  key.revokedAt = store.now()
  key.payload = undefined
  dropLinks(store, key)
  store.reserve(key, 0)
  return 0
}

/** Ids of all ones leave what there is. */
function chown(task: Task, id: number, user: number, group: number): number {
  const { cred } = task
  const uid = int32(user) === -1 ? undefined : toKernelId(cred.userNs.uidMap, user >>> 0)
  const gid = int32(group) === -1 ? undefined : toKernelId(cred.userNs.gidMap, group >>> 0)
  if (uid === INVALID_ID || gid === INVALID_ID) return -EINVAL
  if (uid === undefined && gid === undefined) return 0
  const ref = lookupKey(task, int32(id), true, KEY_NEED_SETATTR)
  if (failed(ref)) return ref
  const { key } = ref
  if (!cred.capable(CAP_SYS_ADMIN, task.kernel.userNs)) {
    if (uid !== undefined && uid !== key.uid) return -EACCES
    if (gid !== undefined && gid !== key.gid && !cred.inGroup(gid)) return -EACCES
  }
  const status = uid === undefined ? 0 : keysOf(task.kernel).changeOwner(key, uid)
  if (status < 0) return status
  if (gid !== undefined) key.gid = gid
  return 0
}

function setPermissions(task: Task, id: number, perm: number): number {
  const wanted = int32(perm)
  if ((wanted & ~KEY_PERM_MASK) !== 0) return -EINVAL
  const ref = lookupKey(task, int32(id), true, KEY_NEED_SETATTR)
  if (failed(ref)) return ref
  if (ref.key.uid !== task.cred.fsuid && !task.cred.capable(CAP_SYS_ADMIN, task.kernel.userNs)) return -EACCES
  ref.key.perm = wanted
  return 0
}

function describe(task: Task, id: number, buffer: GuestAddr, size: number): number {
  const ref = lookupKey(task, int32(id), false, KEY_NEED_VIEW)
  if (failed(ref)) return ref
  const { type, uid, gid, perm, description } = ref.key
  const { uidMap, gidMap } = task.cred.userNs
  const ids = `${fromKernelId(uidMap, uid) | 0};${fromKernelId(gidMap, gid) | 0}`
  const text = `${type.name};${ids};${(perm >>> 0).toString(16).padStart(8, '0')};${description}`
  return putWhole(task, toBytes(`${text}\0`), buffer, size)
}

/** The length, and the bytes if there is room for all. */
function putWhole(task: Task, bytes: Uint8Array, buffer: GuestAddr, size: number): number {
  if (buffer === 0 || size64(size) < bytes.length) return bytes.length
  const status = task.mm.copyOut(buffer, bytes)
  return status < 0 ? status : bytes.length
}

function clear(task: Task, id: number): number {
  const ref = lookupKey(task, int32(id), true, KEY_NEED_WRITE)
  if (failed(ref)) return ref
  if (!ref.key.isKeyring) return -ENOTDIR
  const store = keysOf(task.kernel)
  dropLinks(store, ref.key)
  return store.reserveLinks(ref.key, 0)
}

function link(task: Task, id: number, ring: number): number {
  const keyring = lookupKey(task, int32(ring), true, KEY_NEED_WRITE)
  if (failed(keyring)) return keyring
  const ref = lookupKey(task, int32(id), true, KEY_NEED_LINK)
  return failed(ref) ? ref : linkKey(keysOf(task.kernel), keyring.key, ref.key)
}

function unlink(task: Task, id: number, ring: number): number {
  const keyring = lookupKey(task, int32(ring), false, KEY_NEED_WRITE)
  if (failed(keyring)) return keyring
  const ref = lookupKey(task, int32(id), false, 0)
  return failed(ref) ? ref : unlinkKey(keysOf(task.kernel), keyring.key, ref.key)
}

function search(
  task: Task,
  ring: number,
  typeAt: GuestAddr,
  descriptionAt: GuestAddr,
  destination: number,
): number {
  const typeName = readTypeName(task, typeAt)
  if (failed(typeName)) return typeName
  const description = readDescription(task, descriptionAt)
  if (failed(description)) return description
  const keyring = lookupKey(task, int32(ring), false, KEY_NEED_SEARCH)
  if (failed(keyring)) return keyring
  const into =
    int32(destination) === 0 ? undefined : lookupKey(task, int32(destination), true, KEY_NEED_WRITE)
  if (into !== undefined && failed(into)) return into
  const type = findKeyType(typeName)
  if (type === undefined) return -ENOKEY
  const store = keysOf(task.kernel)
  const found = searchKeyring(searchFor(store, task.cred, type.name, description), keyring)
  if (failed(found)) return found === -EAGAIN ? -ENOKEY : found
  if (into !== undefined) {
    const status = keyPermission(task.cred, found, KEY_NEED_LINK) || linkKey(store, into.key, found.key)
    if (status < 0) return status
  }
  return found.key.serial
}

/** What a key holds; of a keyring the serial numbers in it, as many as fit. */
function read(task: Task, id: number, buffer: GuestAddr, size: number): number {
  const ref = lookupKey(task, int32(id), false, 0)
  if (failed(ref)) return -ENOKEY
  const { key } = ref
  // Who possesses a key that may be searched for may read it too.
  if (keyPermission(task.cred, ref, KEY_NEED_READ) < 0 && !ref.possessed) return -EACCES
  if (!key.type.canRead) return -EOPNOTSUPP
  const valid = keysOf(task.kernel).validate(key)
  if (valid < 0) return valid
  if (!key.isKeyring) return putWhole(task, key.payload ?? new Uint8Array(0), buffer, size)
  if (size % 4 !== 0) return -EINVAL
  return putWhole(task, serialsOf(key), buffer, size)
}

function serialsOf(keyring: Key): Uint8Array {
  const serials = [...keyring.links.values()].map(key => key.serial)
  return new Uint8Array(Int32Array.from(serials).buffer)
}

/** 0 seconds: for ever. */
function setTimeout(task: Task, id: number, seconds: number): number {
  const ref = lookupKey(task, int32(id), true, KEY_NEED_SETATTR)
  if (failed(ref)) return ref
  const after = seconds >>> 0
  ref.key.expiry = after === 0 ? Number.POSITIVE_INFINITY : keysOf(task.kernel).now() + after
  return 0
}

/** Of a key that is being made: there is none. */
function assumeAuthority(_task: Task, id: number): number {
  if (int32(id) < 0) return -EINVAL
  return int32(id) === 0 ? 0 : -ENOKEY
}

/** No security module labels keys: an empty string. */
function getSecurity(task: Task, id: number, buffer: GuestAddr, size: number): number {
  const ref = lookupKey(task, int32(id), false, KEY_NEED_VIEW)
  if (failed(ref)) return ref
  if (buffer === 0 || size === 0) return 1
  return task.mm.copyOut(buffer, new Uint8Array(1)) || 1
}

function sessionToParent(task: Task): number {
  const parent = task.group.parent?.leader
  if (parent === undefined || parent.tid <= 1 || parent.ended || parent.group.live !== 1) return -EPERM
  const session = lookupKey(task, KEY_SPEC_SESSION_KEYRING, false, KEY_NEED_LINK)
  if (failed(session)) return session
  const theirs = parent.cred
  const { cred } = task
  if (theirs.uid !== cred.euid || theirs.euid !== cred.euid || theirs.suid !== cred.euid) return -EPERM
  if (theirs.gid !== cred.egid || theirs.egid !== cred.egid || theirs.sgid !== cred.egid) return -EPERM
  const old = parent.keyrings?.session
  if ((old !== undefined && old.uid !== cred.euid) || session.key.uid !== cred.euid) return -EPERM
  giveSessionToParent(task, parent)
  return 0
}

function invalidate(task: Task, id: number): number {
  const ref = lookupKey(task, int32(id), false, KEY_NEED_SEARCH)
  if (failed(ref)) return ref
  ref.key.invalidated = true
  keysOf(task.kernel).collect()
  return 0
}

/** Without a type: nothing more may be linked. No type here can restrict links to keys that it has vetted. */
function restrict(task: Task, id: number, typeAt: GuestAddr, restrictionAt: GuestAddr): number {
  const ref = lookupKey(task, int32(id), false, KEY_NEED_SETATTR)
  if (failed(ref)) return ref
  if (typeAt === 0) {
    if (restrictionAt !== 0) return -EINVAL
    if (!ref.key.isKeyring) return -ENOTDIR
    if (ref.key.restricted) return -EEXIST
    ref.key.restricted = true
    return 0
  }
  if (restrictionAt === 0) return -EINVAL
  const typeName = readTypeName(task, typeAt)
  if (failed(typeName)) return typeName
  const restriction = readDescription(task, restrictionAt)
  if (failed(restriction)) return restriction
  if (!ref.key.isKeyring) return -ENOTDIR
  return findKeyType(typeName) === undefined ? -ENOKEY : -ENOENT
}

/** From one keyring to another; without KEYCTL_MOVE_EXCL it takes the place of one that is like it. */
function move(task: Task, id: number, fromRing: number, toRing: number, flags: number): number {
  if (((flags % 2 ** 32) & ~KEYCTL_MOVE_EXCL) !== 0) return -EINVAL
  const ref = lookupKey(task, int32(id), true, KEY_NEED_LINK)
  if (failed(ref)) return ref
  const from = lookupKey(task, int32(fromRing), false, KEY_NEED_WRITE)
  if (failed(from)) return from
  const to = lookupKey(task, int32(toRing), true, KEY_NEED_WRITE)
  if (failed(to)) return to
  return moveKey(task, ref, from.key, to.key, (flags & KEYCTL_MOVE_EXCL) !== 0)
}

function moveKey(task: Task, { key }: KeyRef, from: Key, to: Key, exclusive: boolean): number {
  if (!from.isKeyring || !to.isKeyring) return -ENOTDIR
  if (from === to) return 0
  if (from.links.get(key.index) !== key) return -ENOENT
  const there = to.links.get(key.index)
  if (exclusive && there !== undefined) return -EEXIST
  const store = keysOf(task.kernel)
  return linkKey(store, to, key) || unlinkKey(store, from, key)
}

/** How many bytes of capabilities there are; what is beyond them is zeroed. */
function capabilities(task: Task, buffer: GuestAddr, size: number): number {
  if (size !== 0) {
    const bytes = new Uint8Array(Math.min(size64(size), PAGE_SIZE))
    bytes.set(CAPABILITIES.slice(0, bytes.length))
    const status = task.mm.copyOut(buffer, bytes)
    if (status < 0) return status
  }
  return CAPABILITIES.length
}

export const keyctlCalls = {
  keyctl: {
    nr: NR.keyctl,
    run: keyctl,
    args: [int, word, word, word, word],
    partial:
      'keys of the types user, logon, keyring and big_key; no persistent keyrings, no public keys and Diffie-Hellman, no watches (EOPNOTSUPP)',
  },
} satisfies SyscallRows
