/** The types of keys: what their payload may be, and what is done with it. */
import { EINVAL } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { Key, KeyStore } from './key.ts'

export interface KeyType {
  readonly name: string
  /** Bytes of quota before there is a payload. */
  readonly defaultSize: number
  readonly canRead: boolean
  readonly canUpdate: boolean
  /** What a new key of it may be called, and hold. */
  check(description: string | undefined, payload: Uint8Array): Status
}

const MAX_USER_PAYLOAD = 32767

function checkUser(_description: string | undefined, payload: Uint8Array): Status {
  return payload.length === 0 || payload.length > MAX_USER_PAYLOAD ? -EINVAL : 0
}

/** Its payload can't be read: it is for the kernel. The description says whose it is, before a colon. */
function checkLogon(description: string | undefined, payload: Uint8Array): Status {
  if (description !== undefined && description.indexOf(':') <= 0) return -EINVAL
  return checkUser(description, payload)
}

export const KEYRING: KeyType = {
  name: 'keyring',
  defaultSize: 0,
  canRead: true,
  canUpdate: false,
  check: (_description, payload) => (payload.length === 0 ? 0 : -EINVAL),
}

const TYPES: readonly KeyType[] = [
  { name: 'user', defaultSize: 0, canRead: true, canUpdate: true, check: checkUser },
  { name: 'logon', defaultSize: 0, canRead: false, canUpdate: true, check: checkLogon },
  {
    name: 'big_key',
    defaultSize: 0,
    canRead: true,
    canUpdate: true,
    check: (_description, payload) => (payload.length === 0 ? -EINVAL : 0),
  },
  KEYRING,
]

export function findKeyType(name: string): KeyType | undefined {
  return TYPES.find(type => type.name === name)
}

/** A keyring without links: keyring_clear. */
export function dropLinks(store: KeyStore, keyring: Key): void {
  const linked = [...keyring.links.values()]
  keyring.links.clear()
  for (const key of linked) store.put(key)
}
