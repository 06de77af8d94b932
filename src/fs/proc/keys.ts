/** /proc/keys and /proc/key-users. */
import { fromKernelId } from '../../base/id-map.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { KEY_NEED_VIEW, type Key, type KeyStore, quotaLimits } from '../../kernel/keys/key.ts'
import { keyPermission } from '../../kernel/keys/keyring.ts'
import { keysOf, possesses } from '../../kernel/keys/task-keyrings.ts'
import { caller } from './access.ts'

/** The keys that the reader may look at. */
export function formatKeys(kernel: Kernel): string {
  const task = caller(kernel)
  const store = keysOf(kernel)
  const visible = [...store.keys.values()]
    .filter(key => keyPermission(task.cred, { key, possessed: possesses(task, key) }, KEY_NEED_VIEW) === 0)
    .sort((a, b) => a.serial - b.serial)
  return visible.map(key => formatKey(store, key, task.cred)).join('')
}

function formatKey(store: KeyStore, key: Key, { userNs }: { userNs: Key['userNs'] }): string {
  const flags = `I${key.revoked ? 'R' : '-'}-${key.inQuota ? 'Q' : '-'}--${key.invalidated ? 'i' : '-'}`
  const uid = String(fromKernelId(userNs.uidMap, key.uid)).padStart(5)
  const gid = String(fromKernelId(userNs.gidMap, key.gid)).padStart(5)
  const perm = (key.perm >>> 0).toString(16).padStart(8, '0')
  const serial = key.serial.toString(16).padStart(8, '0')
  const left = timeLeft(store, key).padStart(4)
  const usage = String(key.usage).padStart(5)
  return `${serial} ${flags} ${usage} ${left} ${perm} ${uid} ${gid} ${key.type.name.padEnd(9)} ${describe(key)}\n`
}

function describe(key: Key): string {
  if (key.isKeyring) return `${key.description}: ${key.links.size === 0 ? 'empty' : key.links.size}`
  return key.payload === undefined ? key.description : `${key.description}: ${key.payload.length}`
}

const MINUTE = 60
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const WEEK = 7 * DAY

function timeLeft(store: KeyStore, key: Key): string {
  if (key.expiry === Number.POSITIVE_INFINITY) return 'perm'
  const left = key.expiry - store.now()
  if (left <= 0) return 'expd'
  if (left < MINUTE) return `${left}s`
  if (left < HOUR) return `${Math.floor(left / MINUTE)}m`
  if (left < DAY) return `${Math.floor(left / HOUR)}h`
  return left < WEEK ? `${Math.floor(left / DAY)}d` : `${Math.floor(left / WEEK)}w`
}

export function formatKeyUsers(kernel: Kernel): string {
  const { userNs } = caller(kernel).cred
  const store = keysOf(kernel)
  let text = ''
  for (const [uid, { keys, bytes }] of [...store.quotas].sort((a, b) => a[0] - b[0])) {
    if (keys === 0) continue
    const [maxKeys, maxBytes] = quotaLimits(uid)
    const all = [...store.keys.values()].filter(key => key.uid === uid).length
    const user = String(fromKernelId(userNs.uidMap, uid)).padStart(5)
    text += `${user}: ${String(all).padStart(5)} ${all}/${all} ${keys}/${maxKeys} ${bytes}/${maxBytes}\n`
  }
  return text
}
