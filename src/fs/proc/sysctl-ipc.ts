/**
 * The settings of an IPC namespace, by their names in sysctl(8), dots for slashes. /proc/sys shows those of the reader's
 * namespace; a container's are set before it has any process.
 */
import { EINVAL, ENOENT } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import { type IpcLimits, SHMMAX } from '../../kernel/ipc/limits.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { IpcNamespace } from '../../kernel/namespaces.ts'
import { type FileNode, rw } from '../pseudo/node.ts'
import { caller } from './access.ts'

interface Setting {
  /** The numbers of the file, in their order. */
  readonly fields: readonly (keyof IpcLimits)[]
  readonly min: number
  readonly max: number
}

const INT_MAX = 0x7fffffff
/** Where the table's indices end: IPCMNI. */
const MOST_OBJECTS = 32768

const one = (field: keyof IpcLimits, min: number, max: number): Setting => ({ fields: [field], min, max })

const SETTINGS: Readonly<Record<string, Setting>> = {
  'kernel.msgmax': one('msgmax', 0, INT_MAX),
  'kernel.msgmnb': one('msgmnb', 0, INT_MAX),
  'kernel.msgmni': one('msgmni', 0, MOST_OBJECTS),
  'kernel.msg_next_id': one('msgNextId', 0, INT_MAX),
  'kernel.sem': { fields: ['semmsl', 'semmns', 'semopm', 'semmni'], min: 0, max: INT_MAX },
  'kernel.sem_next_id': one('semNextId', 0, INT_MAX),
  'kernel.shm_next_id': one('shmNextId', 0, INT_MAX),
  'kernel.shm_rmid_forced': one('shmRmidForced', 0, 1),
  'kernel.shmall': one('shmall', 0, SHMMAX),
  'kernel.shmmax': one('shmmax', 0, SHMMAX),
  'kernel.shmmni': one('shmmni', 0, MOST_OBJECTS),
  'fs.mqueue.msg_default': one('mqMsgDefault', 1, 65536),
  'fs.mqueue.msg_max': one('mqMsgMax', 1, 65536),
  'fs.mqueue.msgsize_default': one('mqMsgsizeDefault', 128, 16 << 20),
  'fs.mqueue.msgsize_max': one('mqMsgsizeMax', 128, 16 << 20),
  'fs.mqueue.queues_max': one('mqQueuesMax', 0, INT_MAX),
}

/** -ENOENT when there is no such setting. */
export function setIpcSetting(ns: IpcNamespace, name: string, text: string): Status {
  const setting = Object.hasOwn(SETTINGS, name) ? SETTINGS[name] : undefined
  return setting === undefined ? -ENOENT : write(ns, setting, text)
}

/** The file of a setting. */
export function ipcSetting(name: string): FileNode<Kernel> {
  const setting = SETTINGS[name]
  return rw(
    kernel => `${format(caller(kernel).ns.ipc.limits, setting)}\n`,
    (kernel, text) => write(caller(kernel).ns.ipc, setting, text),
  )
}

function format(limits: IpcLimits, { fields }: Setting): string {
  return fields
    .map(field =>
      limits[field] === SHMMAX ? (2n ** 64n - 1n - 2n ** 24n).toString() : String(limits[field]),
    )
    .join('\t')
}

/** Fewer numbers than there are fields leave the rest; one that is out of range ends the writing before it. */
function write(ns: IpcNamespace, { fields, min, max }: Setting, text: string): Status {
  const words = text.trim().split(/\s+/)
  if (words.length > fields.length) return -EINVAL
  for (const [i, word] of words.entries()) {
    // All that a double can't tell from the largest is the largest.
    const value = /^\d+$/.test(word) ? Number(word) : -1
    if (value < min || (value > max && max !== SHMMAX)) return -EINVAL
    ns.limits[fields[i]] = Math.min(value, max)
  }
  ns.limitsChanged()
  return 0
}
