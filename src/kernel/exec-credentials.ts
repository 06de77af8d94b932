/**
 * What execve makes of the credentials: set-id bits, file capabilities, root's capabilities, the ambient set
 * (capabilities(7), "Transformation of capabilities during execve()"; security/commoncap.c).
 */
import {
  CAP_SETUID,
  MS_NOSUID,
  S_ISGID,
  S_ISUID,
  SECBIT_KEEP_CAPS,
  SECBIT_NOROOT,
  VFS_CAP_FLAGS_EFFECTIVE,
  VFS_CAP_REVISION_1,
  VFS_CAP_REVISION_2,
  VFS_CAP_REVISION_3,
  VFS_CAP_REVISION_MASK,
} from '../abi/constants.ts'
import { EINVAL, EPERM } from '../abi/errno.ts'
import {
  CapabilitySet,
  type Credentials,
  isMapped,
  isWithin,
  type UserNamespace,
} from '../base/credentials.ts'
import { INVALID_ID, toKernelId } from '../base/id-map.ts'
import type { OrErrno } from '../base/result.ts'
import type { File } from '../vfs/file.ts'
import { seenGid, seenUid } from '../vfs/idmap.ts'

const S_IXGRP = 0o010
const XATTR_NAME_CAPS = 'security.capability'

export interface ExecCredentials {
  readonly cred: Credentials
  /** AT_SECURE. */
  readonly secure: boolean
}

interface FileCapabilities {
  readonly permitted: CapabilitySet
  readonly inheritable: CapabilitySet
  readonly effective: boolean
}

/** mnt_may_suid: what a user namespace mounts gives nothing to those outside of it. */
function mayGainFrom({ path }: File, cred: Credentials): boolean {
  if ((path.mount.flags & MS_NOSUID) !== 0) return false
  const { userNs } = path.mount.sb
  return userNs === undefined || isWithin(cred.userNs, userNs)
}

/** `unsafe`: somebody outside the process could abuse privileges that it gains, so that it must not. */
export function execCredentials(old: Credentials, file: File, unsafe: boolean): OrErrno<ExecCredentials> {
  const cred = old.clone()
  const mayGain = mayGainFrom(file, cred)
  if (mayGain && !old.noNewPrivs) takeSetIdBits(cred, file)

  const caps = mayGain ? fileCapabilities(file, cred.userNs) : undefined
  if (typeof caps === 'number') return caps
  let effective = false
  cred.permitted = CapabilitySet.NONE
  if (caps !== undefined) {
    effective = caps.effective
    cred.permitted = caps.permitted.and(cred.bounding).or(caps.inheritable.and(cred.inheritable))
    // A program that doesn't know capabilities would run with less than it counts on.
    if (effective && !caps.permitted.subsetOf(cred.permitted)) return -EPERM
  }
  const root = toKernelId(cred.userNs.uidMap, 0)
  const setRoot = cred.euid === root && old.uid !== root
  if ((cred.securebits & SECBIT_NOROOT) === 0 && !(caps !== undefined && setRoot)) {
    if (cred.euid === root || cred.uid === root) cred.permitted = old.bounding.or(old.inheritable)
    if (cred.euid === root) effective = true
  }

  // Compared with what was effective: an id that was set already gains nothing.
  const setId = cred.euid !== old.euid || cred.egid !== old.egid
  const gained = !cred.permitted.subsetOf(old.permitted)
  if ((setId || gained) && (old.noNewPrivs || unsafe)) {
    if (old.noNewPrivs || !old.capable(CAP_SETUID)) {
      cred.euid = cred.uid
      cred.egid = cred.gid
    }
    cred.permitted = cred.permitted.and(old.permitted)
  }
  cred.suid = cred.fsuid = cred.euid
  cred.sgid = cred.fsgid = cred.egid
  if (caps !== undefined || setId) cred.ambient = CapabilitySet.NONE
  cred.permitted = cred.permitted.or(cred.ambient)
  cred.effective = effective ? cred.permitted : cred.ambient
  cred.securebits &= ~SECBIT_KEEP_CAPS

  const grew = !cred.permitted.subsetOf(cred.ambient)
  return { cred, secure: setId || (cred.uid !== root && (effective || grew)) }
}

function takeSetIdBits(cred: Credentials, file: File): void {
  const { mode } = file.inode
  const uid = seenUid(file.path.mount, file.inode)
  const gid = seenGid(file.path.mount, file.inode)
  const { userNs } = cred
  if (!isMapped(userNs.uidMap, uid) || !isMapped(userNs.gidMap, gid)) return
  if ((mode & S_ISUID) !== 0) cred.euid = uid
  // Without group execution the bit means mandatory locking.
  if ((mode & (S_ISGID | S_IXGRP)) === (S_ISGID | S_IXGRP)) cred.egid = gid
}

/** rootid_owns_currentns: whether what that id gave counts here: root of the namespace, or of one that it comes from. */
function isRootOver(id: number, userNs: UserNamespace): boolean {
  if (id === INVALID_ID) return false
  for (let ns: UserNamespace | undefined = userNs; ns !== undefined; ns = ns.parent)
    if (toKernelId(ns.uidMap, 0) === id) return true
  return false
}

/** struct vfs_ns_cap_data; undefined when the file has none. */
function fileCapabilities(file: File, userNs: UserNamespace): FileCapabilities | undefined | number {
  const value = file.inode.getxattr(XATTR_NAME_CAPS)
  if (typeof value === 'number') return undefined
  if (value.length < 12) return -EINVAL
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength)
  const magic = view.getUint32(0, true)
  const revision = (magic & VFS_CAP_REVISION_MASK) >>> 0
  const words = revision === VFS_CAP_REVISION_1 ? 1 : 2
  const rooted = revision === VFS_CAP_REVISION_3
  if (!rooted && revision !== VFS_CAP_REVISION_2 && revision !== VFS_CAP_REVISION_1) return -EINVAL
  if (value.length !== 4 + words * 8 + (rooted ? 4 : 0)) return -EINVAL
  const kept = rooted ? view.getUint32(4 + words * 8, true) : 0
  const { idmap } = file.path.mount
  if (!isRootOver(idmap === undefined ? kept : idmap.uidSeen(kept), userNs)) return undefined
  return {
    permitted: new CapabilitySet(view.getUint32(4, true), words > 1 ? view.getUint32(12, true) : 0).and(
      CapabilitySet.ALL,
    ),
    inheritable: new CapabilitySet(view.getUint32(8, true), words > 1 ? view.getUint32(16, true) : 0).and(
      CapabilitySet.ALL,
    ),
    effective: (magic & VFS_CAP_FLAGS_EFFECTIVE) !== 0,
  }
}
