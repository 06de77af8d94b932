/**
 * The keyrings of a task: its own, its process's and its session's (process-keyring(7) and its neighbours). A task has none
 * until it asks; a child inherits the session's, a thread the process's too. Where there is no session keyring the user's own,
 * `_uid_ses.N`, takes its place.
 */
import {
  KEY_REQKEY_DEFL_DEFAULT,
  KEY_REQKEY_DEFL_GROUP_KEYRING,
  KEY_REQKEY_DEFL_NO_CHANGE,
  KEY_REQKEY_DEFL_PROCESS_KEYRING,
  KEY_REQKEY_DEFL_REQUESTOR_KEYRING,
  KEY_REQKEY_DEFL_THREAD_KEYRING,
  KEY_SPEC_GROUP_KEYRING,
  KEY_SPEC_PROCESS_KEYRING,
  KEY_SPEC_REQKEY_AUTH_KEY,
  KEY_SPEC_REQUESTOR_KEYRING,
  KEY_SPEC_SESSION_KEYRING,
  KEY_SPEC_THREAD_KEYRING,
  KEY_SPEC_USER_KEYRING,
  KEY_SPEC_USER_SESSION_KEYRING,
} from '../../abi/constants.ts'
import { EACCES, EAGAIN, EINVAL, ENOKEY } from '../../abi/errno.ts'
import { fromKernelId, INVALID_ID } from '../../base/id-map.ts'
import { failed, type OrErrno } from '../../base/result.ts'
import type { Kernel } from '../kernel.ts'
import type { Task } from '../task.ts'
import {
  KEY_NEED_SEARCH,
  type Key,
  KeyStore,
  POS_ALL,
  POS_SETATTR,
  USR_ALL,
  USR_LINK,
  USR_READ,
  USR_VIEW,
} from './key.ts'
import { type KeyRef, type KeySearch, keyPermission, linkKey, searchKeyring } from './keyring.ts'
import { KEYRING } from './types.ts'

/** What a task holds. */
export interface TaskKeyrings {
  thread: Key | undefined
  process: Key | undefined
  session: Key | undefined
  /** KEYCTL_SET_REQKEY_KEYRING. */
  requestDestination: number
}

export function keysOf(kernel: Kernel): KeyStore {
  kernel.keys ??= new KeyStore(kernel.host, kernel.clock)
  return kernel.keys
}

function keyringsOf(task: Task): TaskKeyrings {
  task.keyrings ??= { thread: undefined, process: undefined, session: undefined, requestDestination: 0 }
  return task.keyrings
}

/** What a new task takes over. */
export function inheritKeyrings(parent: Task, child: Task, thread: boolean): void {
  const from = parent.keyrings
  if (from === undefined) return
  const store = keysOf(parent.kernel)
  const { session } = from
  const process = thread ? from.process : undefined
  if (session !== undefined) store.get(session)
  if (process !== undefined) store.get(process)
  child.keyrings = { thread: undefined, process, session, requestDestination: from.requestDestination }
}

/** execve: the thread's and the process's go. */
export function keyringsAtExec(task: Task): void {
  const own = task.keyrings
  if (own === undefined) return
  const store = keysOf(task.kernel)
  if (own.thread !== undefined) store.put(own.thread)
  if (own.process !== undefined) store.put(own.process)
  own.thread = own.process = undefined
}

export function dropKeyrings(task: Task): void {
  const { keyrings } = task
  if (keyrings === undefined) return
  task.keyrings = undefined
  const store = keysOf(task.kernel)
  for (const key of [keyrings.thread, keyrings.process, keyrings.session]) {
    if (key !== undefined) store.put(key)
  }
}

function makeKeyring(task: Task, name: string, perm: number, overrun = false): OrErrno<Key> {
  const { cred } = task
  const owner = { userNs: cred.userNs, fsuid: cred.uid, gid: cred.gid }
  return keysOf(task.kernel).alloc(KEYRING, name, owner, perm, true, overrun)
}

function installThread(task: Task): OrErrno<Key> {
  const own = keyringsOf(task)
  if (own.thread !== undefined) return own.thread
  const made = makeKeyring(task, '_tid', POS_ALL | USR_VIEW, true)
  if (!failed(made)) own.thread = made
  return made
}

function installProcess(task: Task): OrErrno<Key> {
  const own = keyringsOf(task)
  if (own.process !== undefined) return own.process
  const made = makeKeyring(task, '_pid', POS_ALL | USR_VIEW, true)
  if (!failed(made)) own.process = made
  return made
}

/** The task's session keyring is now this one, to which the task's hold goes over; undefined: a new one without a name. */
function installSession(task: Task, session: Key | undefined): OrErrno<Key> {
  const own = keyringsOf(task)
  const fresh = session ?? makeKeyring(task, '_ses', POS_ALL | USR_VIEW | USR_READ, own.session === undefined)
  if (failed(fresh)) return fresh
  if (own.session !== undefined) keysOf(task.kernel).put(own.session)
  own.session = fresh
  return fresh
}

/** join_session_keyring: the serial of the session keyring that the task has then. */
export function joinSession(task: Task, name: string | undefined): number {
  const store = keysOf(task.kernel)
  if (name === undefined) {
    const session = installSession(task, undefined)
    return failed(session) ? session : session.serial
  }
  const found = findByName(task, store, name)
  if (found !== undefined && found === task.keyrings?.session) return found.serial
  const keyring =
    found === undefined ? makeKeyring(task, name, POS_ALL | USR_VIEW | USR_READ | USR_LINK) : store.get(found)
  if (failed(keyring)) return keyring
  installSession(task, keyring)
  return keyring.serial
}

/** find_keyring_by_name. */
function findByName(task: Task, store: KeyStore, name: string): Key | undefined {
  for (const key of store.keys.values()) {
    if (!key.isKeyring || key.description !== name || key.revoked || key.userNs !== task.cred.userNs) continue
    if (keyPermission(task.cred, { key, possessed: false }, KEY_NEED_SEARCH) === 0) return key
  }
  return undefined
}

/** KEYCTL_SESSION_TO_PARENT: the parent's session keyring is the caller's from now on. */
export function giveSessionToParent(task: Task, parent: Task): void {
  const session = task.keyrings?.session
  if (session !== undefined) installSession(parent, keysOf(task.kernel).get(session))
}

/** look_up_user_keyrings: both, made at first use and kept for ever. */
function userKeyrings(task: Task): OrErrno<{ user: Key; session: Key }> {
  const { cred } = task
  const store = keysOf(task.kernel)
  let known = store.userKeyrings.get(cred.userNs)
  if (known === undefined) {
    known = new Map()
    store.userKeyrings.set(cred.userNs, known)
  }
  const number = fromKernelId(cred.userNs.uidMap, cred.uid)
  const owner = { userNs: cred.userNs, fsuid: cred.uid, gid: INVALID_ID }
  const perm = (POS_ALL & ~POS_SETATTR) | USR_ALL
  const find = (name: string): OrErrno<Key> => {
    const old = known.get(name)
    if (old !== undefined && !old.revoked && !old.invalidated) return old
    const made = store.alloc(KEYRING, name, owner, perm)
    if (failed(made)) return made
    made.ofUser = true
    known.set(name, made)
    return made
  }
  const user = find(`_uid.${number}`)
  if (failed(user)) return user
  const session = find(`_uid_ses.${number}`)
  if (failed(session)) return session
  if (!session.links.has(user.index)) linkKey(store, session, user)
  return { user, session }
}

/** search_process_keyrings: the thread's, the process's, the session's. -EAGAIN when it is nowhere. */
export function searchTaskKeyrings(task: Task, search: KeySearch): OrErrno<KeyRef> {
  const own = task.keyrings
  let negative = 0
  let error = -EAGAIN
  for (const key of [own?.thread, own?.process, own?.session ?? existingUserSession(task)]) {
    if (key === undefined) continue
    const found = searchKeyring(search, { key, possessed: true })
    if (!failed(found)) return found
    if (found === -ENOKEY) negative = found
    else if (found !== -EAGAIN) error = found
  }
  if (negative !== 0) return negative
  return error === -EACCES ? -EAGAIN : error
}

/** The user's session keyring, if it has been made. */
function existingUserSession(task: Task): Key | undefined {
  const { userNs, uid } = task.cred
  const name = `_uid_ses.${fromKernelId(userNs.uidMap, uid)}`
  return keysOf(task.kernel).userKeyrings.get(userNs)?.get(name)
}

/**
 * lookup_user_key: the key of a serial number, or the keyring that a KEY_SPEC_* means (with `create`: which is made then), if
 * `need` (KEY_NEED_*) is allowed; 0 asks for nothing, not even that the key is still good.
 */
export function lookupKey(task: Task, id: number, create: boolean, need: number): OrErrno<KeyRef> {
  const ref = id < 0 ? specialKey(task, id, create) : keyBySerial(task, id)
  if (failed(ref)) return ref
  const state = keysOf(task.kernel).validate(ref.key)
  if (state < 0 && need !== 0) return state
  return need === 0 ? ref : keyPermission(task.cred, ref, need) || ref
}

function keyBySerial(task: Task, serial: number): OrErrno<KeyRef> {
  if (serial < 1) return -EINVAL
  const store = keysOf(task.kernel)
  const key = store.keys.get(serial)
  if (key === undefined || store.isGone(key)) return -ENOKEY
  return { key, possessed: possesses(task, key) }
}

/** Whether the key is in one of the task's keyrings, where the task may search for it. */
export function possesses(task: Task, key: Key): boolean {
  const search = {
    store: keysOf(task.kernel),
    cred: task.cred,
    index: key.index,
    only: key,
    checkState: false,
  }
  return !failed(searchTaskKeyrings(task, search))
}

function specialKey(task: Task, id: number, create: boolean): OrErrno<KeyRef> {
  let key: OrErrno<Key> | undefined
  switch (id) {
    case KEY_SPEC_THREAD_KEYRING:
      key = create ? installThread(task) : task.keyrings?.thread
      break
    case KEY_SPEC_PROCESS_KEYRING:
      key = create ? installProcess(task) : task.keyrings?.process
      break
    case KEY_SPEC_SESSION_KEYRING:
      key = sessionKeyring(task, create)
      break
    case KEY_SPEC_USER_KEYRING:
    case KEY_SPEC_USER_SESSION_KEYRING: {
      const both = userKeyrings(task)
      if (failed(both)) return both
      key = id === KEY_SPEC_USER_KEYRING ? both.user : both.session
      break
    }
    // There are no group keyrings on Linux either; nobody here was asked to make a key.
    case KEY_SPEC_GROUP_KEYRING:
      return -EINVAL
    case KEY_SPEC_REQKEY_AUTH_KEY:
    case KEY_SPEC_REQUESTOR_KEYRING:
      return -ENOKEY
    default:
      return -EINVAL
  }
  if (key === undefined) return -ENOKEY
  return failed(key) ? key : { key, possessed: true }
}

/** Without one the user's takes its place; who wants to put something in gets one of its own. */
function sessionKeyring(task: Task, create: boolean): OrErrno<Key> {
  const session = task.keyrings?.session
  if (session !== undefined && !(session.ofUser && create)) return session
  if (create) return installSession(task, undefined)
  const both = userKeyrings(task)
  return failed(both) ? both : installSession(task, keysOf(task.kernel).get(both.session))
}

/** KEYCTL_SET_REQKEY_KEYRING: what was set before. A keyring that is chosen is made. */
export function setRequestDestination(task: Task, destination: number): number {
  const own = keyringsOf(task)
  const old = own.requestDestination
  if (destination === KEY_REQKEY_DEFL_NO_CHANGE) return old
  const known = destination >= KEY_REQKEY_DEFL_DEFAULT && destination <= KEY_REQKEY_DEFL_REQUESTOR_KEYRING
  if (!known || destination === KEY_REQKEY_DEFL_GROUP_KEYRING) return -EINVAL
  if (destination === KEY_REQKEY_DEFL_THREAD_KEYRING || destination === KEY_REQKEY_DEFL_PROCESS_KEYRING) {
    const make = destination === KEY_REQKEY_DEFL_THREAD_KEYRING ? installThread : installProcess
    const made = make(task)
    if (failed(made)) return made
  }
  own.requestDestination = destination
  return old
}
