/**
 * security.capability, the capabilities of a program (capabilities(7), security/commoncap.c). They count for the user namespace
 * whose root gave them: a namespace below the first writes version 2, and what is kept is version 3, with that root's id.
 */
import {
  CAP_SETFCAP,
  VFS_CAP_FLAGS_EFFECTIVE,
  VFS_CAP_REVISION_2,
  VFS_CAP_REVISION_3,
  VFS_CAP_REVISION_MASK,
} from '../abi/constants.ts'
import { EINVAL, EOVERFLOW, EPERM } from '../abi/errno.ts'
import { fromKernelId, INVALID_ID, OVERFLOW_ID, toKernelId } from '../base/id-map.ts'
import type { OrErrno } from '../base/result.ts'
import type { Task } from '../kernel/task.ts'
import { throughMount } from '../vfs/idmap.ts'
import type { Mount } from '../vfs/mount.ts'
import type { Path } from '../vfs/path.ts'
import { capableOver } from '../vfs/permission.ts'

export const XATTR_CAPABILITY = 'security.capability'

const SIZE_2 = 20
const SIZE_3 = 24
const ROOT_ID = 20

function revisionOf(value: Uint8Array): number {
  if (value.length < 4) return 0
  return (viewOf(value).getUint32(0, true) & VFS_CAP_REVISION_MASK) >>> 0
}

function viewOf(value: Uint8Array): DataView {
  return new DataView(value.buffer, value.byteOffset, value.byteLength)
}

/** cap_convert_nscap: what is to be kept when a task sets the value. */
export function keptCapability(task: Task, { mount, dentry }: Path, value: Uint8Array): OrErrno<Uint8Array> {
  const revision = revisionOf(value)
  const valid =
    (value.length === SIZE_2 && revision === VFS_CAP_REVISION_2) ||
    (value.length === SIZE_3 && revision === VFS_CAP_REVISION_3)
  if (!valid) return -EINVAL
  const { cred } = task
  if (!capableOver(throughMount(cred, mount), dentry.inode!, CAP_SETFCAP)) return -EPERM
  const { userNs } = cred
  const { idmap } = mount
  if (revision === VFS_CAP_REVISION_2 && userNs.level === 0 && idmap === undefined) return value
  const inside = revision === VFS_CAP_REVISION_3 ? viewOf(value).getUint32(ROOT_ID, true) : 0
  const seen = toKernelId(userNs.uidMap, inside)
  const root = idmap === undefined ? seen : idmap.uidKept(seen)
  if (root === INVALID_ID) return -EINVAL
  return withRoot(value, VFS_CAP_REVISION_3, SIZE_3, root)
}

/** cap_inode_getsecurity: what the task sees of the value that is kept. */
export function shownCapability(task: Task, { idmap }: Mount, value: Uint8Array): OrErrno<Uint8Array> {
  if (value.length !== SIZE_3 || revisionOf(value) !== VFS_CAP_REVISION_3) return value
  const { userNs } = task.cred
  const root = viewOf(value).getUint32(ROOT_ID, true)
  const inside = fromKernelId(userNs.uidMap, idmap === undefined ? root : idmap.uidSeen(root))
  if (inside === 0) return withRoot(value, VFS_CAP_REVISION_2, SIZE_2, 0)
  if (inside === OVERFLOW_ID && userNs.level > 0) return -EOVERFLOW
  return withRoot(value, VFS_CAP_REVISION_3, SIZE_3, inside)
}

function withRoot(value: Uint8Array, revision: number, size: number, root: number): Uint8Array {
  const bytes = new Uint8Array(size)
  bytes.set(value.subarray(0, SIZE_2))
  const out = viewOf(bytes)
  out.setUint32(0, (revision | (viewOf(value).getUint32(0, true) & VFS_CAP_FLAGS_EFFECTIVE)) >>> 0, true)
  if (size === SIZE_3) out.setUint32(ROOT_ID, root, true)
  return bytes
}
