/**
 * Keys and keyrings: keyrings(7).
 *
 * A Key is made by add_key(2) or with one of the keyrings of a task or user. It lives as long as somebody holds it: a keyring
 * that links to it, or a task's or user's own hold on a keyring; `KeyStore.put` ends it with the last. Revoked, expired and
 * invalidated keys answer with their errors first and leave their keyrings when those are looked at later.
 */
import {
  KEYCTL_CAPS0_BIG_KEY,
  KEYCTL_CAPS0_CAPABILITIES,
  KEYCTL_CAPS0_INVALIDATE,
  KEYCTL_CAPS0_MOVE,
  KEYCTL_CAPS0_RESTRICT_KEYRING,
  KEYCTL_CAPS1_NS_KEYRING_NAME,
} from '../../abi/constants.ts'
import { EDQUOT, EKEYEXPIRED, EKEYREVOKED, ENOKEY } from '../../abi/errno.ts'
import type { Clock } from '../../base/clock.ts'
import type { UserNamespace } from '../../base/credentials.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { Host } from '../../platform/host.ts'
import { dropLinks, type KeyType } from './types.ts'

/** What KEYCTL_CAPABILITIES tells. */
export const CAPABILITIES = [
  KEYCTL_CAPS0_CAPABILITIES |
    KEYCTL_CAPS0_BIG_KEY |
    KEYCTL_CAPS0_INVALIDATE |
    KEYCTL_CAPS0_RESTRICT_KEYRING |
    KEYCTL_CAPS0_MOVE,
  KEYCTL_CAPS1_NS_KEYRING_NAME,
]

/** include/linux/key.h: what may be done with a key; the masks of possessor, owner, group and others are bytes of it. */
export const KEY_NEED_VIEW = 0x01
export const KEY_NEED_READ = 0x02
export const KEY_NEED_WRITE = 0x04
export const KEY_NEED_SEARCH = 0x08
export const KEY_NEED_LINK = 0x10
export const KEY_NEED_SETATTR = 0x20
export const KEY_PERM_MASK = 0x3f3f3f3f

const POSSESSOR = 24
const OWNER = 16
/** What a new key lets its possessor and its owner do, beside what its type adds. */
export const POS_ALL = 0x3f << POSSESSOR
export const POS_SETATTR = KEY_NEED_SETATTR << POSSESSOR
export const USR_ALL = 0x3f << OWNER
export const USR_VIEW = KEY_NEED_VIEW << OWNER
export const USR_READ = KEY_NEED_READ << OWNER
export const USR_LINK = KEY_NEED_LINK << OWNER

/** A revoked or expired key is still there for so long: /proc/sys/kernel/keys/gc_delay. */
const GC_DELAY_SEC = 300
/** What a link takes of its keyring's quota. */
const LINK_BYTES = 4

export class Key {
  readonly serial: number
  readonly type: KeyType
  readonly description: string
  readonly userNs: UserNamespace
  /** Kernel-wide ids; gid INVALID_ID: of no group. */
  uid: number
  gid: number
  perm: number
  /** Counts against its owner's quota. */
  readonly inQuota: boolean
  /** Holders: links and tasks' own. */
  usage = 0
  payload: Uint8Array | undefined = undefined
  /** Of a keyring: by type and description. */
  readonly links = new Map<string, Key>()
  /** Links to it are refused (KEYCTL_RESTRICT_KEYRING). */
  restricted = false
  /** It is a user's: not what a task made. */
  ofUser = false
  invalidated = false
  /** Seconds of the wall clock. */
  revokedAt = Number.POSITIVE_INFINITY
  expiry = Number.POSITIVE_INFINITY
  /** Bytes of quota that it has. */
  charged = 0

  constructor(
    serial: number,
    type: KeyType,
    description: string,
    userNs: UserNamespace,
    uid: number,
    gid: number,
    perm: number,
    inQuota: boolean,
  ) {
    this.serial = serial
    this.type = type
    this.description = description
    this.userNs = userNs
    this.uid = uid
    this.gid = gid
    this.perm = perm
    this.inQuota = inQuota
  }

  get isKeyring(): boolean {
    return this.type.name === 'keyring'
  }
  get revoked(): boolean {
    return this.revokedAt !== Number.POSITIVE_INFINITY
  }
  /** By which a keyring knows it: no two of one type and description. */
  get index(): string {
    return indexOf(this.type.name, this.description)
  }
}

export function indexOf(type: string, description: string): string {
  return `${type}\0${description}`
}

/** What of a user's quota is in use. */
export interface KeyQuota {
  keys: number
  bytes: number
}

/** All keys of a kernel. */
export class KeyStore {
  readonly keys = new Map<number, Key>()
  readonly quotas = new Map<number, KeyQuota>()
  /** The keyrings of users, `_uid.N` and `_uid_ses.N`, by user namespace. */
  readonly userKeyrings = new WeakMap<UserNamespace, Map<string, Key>>()
  readonly #host: Host
  readonly #clock: Clock
  readonly #random = new Int32Array(1)

  constructor(host: Host, clock: Clock) {
    this.#host = host
    this.#clock = clock
  }

  /** Seconds of the wall clock. */
  now(): number {
    return this.#clock.realtime().sec
  }

  /** A new key, held once. `overrun`: whether the quota allows it is not asked. */
  alloc(
    type: KeyType,
    description: string,
    owner: { userNs: UserNamespace; fsuid: number; gid: number },
    perm: number,
    inQuota = true,
    overrun = false,
  ): OrErrno<Key> {
    const key = new Key(
      this.#newSerial(),
      type,
      description,
      owner.userNs,
      owner.fsuid,
      owner.gid,
      perm,
      inQuota,
    )
    const bytes = description.length + 1 + type.defaultSize
    if (inQuota) {
      const quota = this.quotaOf(key.uid)
      const [maxKeys, maxBytes] = quotaLimits(key.uid)
      if (!overrun && (quota.keys + 1 > maxKeys || quota.bytes + bytes > maxBytes)) return -EDQUOT
      quota.keys++
      quota.bytes += bytes
      key.charged = bytes
    }
    key.usage = 1
    this.keys.set(key.serial, key)
    return key
  }

  get(key: Key): Key {
    key.usage++
    return key
  }
  put(key: Key): void {
    if (--key.usage > 0) return
    this.keys.delete(key.serial)
    if (key.inQuota) {
      const quota = this.quotaOf(key.uid)
      quota.keys--
      quota.bytes -= key.charged
    }
    dropLinks(this, key)
  }

  /** key_payload_reserve: the key's data has now so many bytes, or a keyring so many links. */
  reserve(key: Key, dataBytes: number): Status {
    if (!key.inQuota) return 0
    const bytes = key.description.length + 1 + dataBytes
    const quota = this.quotaOf(key.uid)
    const more = bytes - key.charged
    if (more > 0 && quota.bytes + more > quotaLimits(key.uid)[1]) return -EDQUOT
    quota.bytes += more
    key.charged = bytes
    return 0
  }
  reserveLinks(keyring: Key, links: number): Status {
    return this.reserve(keyring, links * LINK_BYTES)
  }

  /** The key's owner changes, and with it whose quota it takes. */
  changeOwner(key: Key, uid: number): Status {
    if (uid === key.uid) return 0
    if (key.inQuota) {
      const to = this.quotaOf(uid)
      const [maxKeys, maxBytes] = quotaLimits(uid)
      if (to.keys + 1 > maxKeys || to.bytes + key.charged > maxBytes) return -EDQUOT
      const from = this.quotaOf(key.uid)
      from.keys--
      from.bytes -= key.charged
      to.keys++
      to.bytes += key.charged
    }
    key.uid = uid
    return 0
  }

  quotaOf(uid: number): KeyQuota {
    let quota = this.quotas.get(uid)
    if (quota === undefined) {
      quota = { keys: 0, bytes: 0 }
      this.quotas.set(uid, quota)
    }
    return quota
  }

  isExpired(key: Key): boolean {
    return this.now() >= key.expiry
  }
  /** Nobody will find it any more. */
  isGone(key: Key): boolean {
    const now = this.now()
    return key.invalidated || now >= key.revokedAt + GC_DELAY_SEC || now >= key.expiry + GC_DELAY_SEC
  }
  /** key_validate. */
  validate(key: Key): Status {
    if (key.invalidated) return -ENOKEY
    if (key.revoked) return -EKEYREVOKED
    return this.isExpired(key) ? -EKEYEXPIRED : 0
  }

  /** Links to keys that are gone go, from all keyrings. */
  collect(): void {
    for (const keyring of [...this.keys.values()]) {
      for (const [index, key] of keyring.links) {
        if (!this.isGone(key)) continue
        keyring.links.delete(index)
        this.reserveLinks(keyring, keyring.links.size)
        this.put(key)
      }
    }
  }

  #newSerial(): number {
    for (;;) {
      this.#host.random(new Uint8Array(this.#random.buffer))
      const serial = this.#random[0] >>> 1
      if (serial >= 3 && !this.keys.has(serial)) return serial
    }
  }
}

/** maxkeys and maxbytes of /proc/sys/kernel/keys. */
export function quotaLimits(uid: number): readonly [keys: number, bytes: number] {
  return uid === 0 ? [1_000_000, 25_000_000] : [200, 20_000]
}
