/**
 * POSIX access control lists: acl(5), fs/posix_acl.c.
 *
 * An ACL is kept by the file system as an extended attribute, in the form in which it is set, with kernel-wide ids. File systems
 * that keep them for us (SuperBlock.acls 'ours') leave the rest to this file: what permission, chmod and the making of files owe
 * them. Where they are the host's, the host does what changes bring with them; here they are only looked at: for permission, and
 * in place of the umask. A server's (FUSE) are looked at for permission alone, if it wants that.
 */
import {
  ACL_GROUP,
  ACL_GROUP_OBJ,
  ACL_MASK,
  ACL_OTHER,
  ACL_USER,
  ACL_USER_OBJ,
  CAP_FSETID,
  S_ISGID,
} from '../abi/constants.ts'
import { EACCES, EINVAL, ENODATA, EOPNOTSUPP, EPERM } from '../abi/errno.ts'
import type { Credentials } from '../base/credentials.ts'
import { failed, type OrErrno, type Status } from '../base/result.ts'
import type { Inode } from './inode.ts'
import { capableOver, INODE_APPEND, INODE_IMMUTABLE, ownerOrCapable } from './permission.ts'

export const ACL_ACCESS = 'system.posix_acl_access'
export const ACL_DEFAULT = 'system.posix_acl_default'

const VERSION = 2
const HEADER = 4
const ENTRY = 8
const NO_ID = 0xffffffff
/** The longest list that stays decoded: a server may say 8,000 entries of each of its files, at no cost to itself. */
const KEPT_ENTRIES = 64

export interface AclEntry {
  readonly tag: number
  /** 0 to 7. */
  readonly perm: number
  /** Of ACL_USER and ACL_GROUP; else NO_ID. */
  readonly id: number
}
export type Acl = readonly AclEntry[]

/** What an inode has of both kinds: null for none, undefined where it was not asked for yet. */
export interface InodeAcls {
  access: Acl | null | undefined
  default: Acl | null | undefined
}

export function isAclName(name: string): boolean {
  return name === ACL_ACCESS || name === ACL_DEFAULT
}

/** posix_acl_from_xattr; an empty list is none. `toKernel`: how the ids are to be understood. */
export function decodeAcl(bytes: Uint8Array, toKernel: (tag: number, id: number) => number): OrErrno<Acl> {
  if (bytes.length === 0) return []
  if (bytes.length < HEADER) return -EINVAL
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (view.getUint32(0, true) !== VERSION) return -EOPNOTSUPP
  if ((bytes.length - HEADER) % ENTRY !== 0) return -EINVAL
  const acl: AclEntry[] = []
  for (let at = HEADER; at < bytes.length; at += ENTRY) {
    const tag = view.getUint16(at, true)
    const named = tag === ACL_USER || tag === ACL_GROUP
    const id = named ? toKernel(tag, view.getUint32(at + 4, true)) : NO_ID
    if (named && id === NO_ID) return -EINVAL
    acl.push({ tag, perm: view.getUint16(at + 2, true), id })
  }
  return acl
}

export function encodeAcl(acl: Acl, fromKernel: (tag: number, id: number) => number): Uint8Array {
  const bytes = new Uint8Array(HEADER + acl.length * ENTRY)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, VERSION, true)
  acl.forEach(({ tag, perm, id }, i) => {
    const at = HEADER + i * ENTRY
    view.setUint16(at, tag, true)
    view.setUint16(at + 2, perm, true)
    view.setUint32(at + 4, id === NO_ID ? NO_ID : fromKernel(tag, id), true)
  })
  return bytes
}

const same = (_tag: number, id: number): number => id

/** posix_acl_valid: the order of the tags, one of each that there must be, and a mask where anybody is named. */
function isValid(acl: Acl): boolean {
  const order = [ACL_USER_OBJ, ACL_USER, ACL_GROUP_OBJ, ACL_GROUP, ACL_MASK, ACL_OTHER]
  const counts = new Map<number, number>()
  let last = 0
  for (const { tag, perm } of acl) {
    const place = order.indexOf(tag)
    if (place < last || (perm & ~7) !== 0) return false
    last = place
    counts.set(tag, (counts.get(tag) ?? 0) + 1)
  }
  const count = (tag: number): number => counts.get(tag) ?? 0
  const named = count(ACL_USER) + count(ACL_GROUP) > 0
  return (
    count(ACL_USER_OBJ) === 1 &&
    count(ACL_GROUP_OBJ) === 1 &&
    count(ACL_OTHER) === 1 &&
    count(ACL_MASK) <= 1 &&
    (!named || count(ACL_MASK) === 1)
  )
}

/**
 * The inode's list; undefined if there is none. Cached with the inode that has it, unless it is long. A server may say an error,
 * or nothing yet.
 */
export function aclOf(inode: Inode, name: string): OrErrno<Acl> | undefined {
  const source = inode.aclSource
  if (source === undefined) return undefined
  source.acls ??= { access: undefined, default: undefined }
  const kind = name === ACL_ACCESS ? 'access' : 'default'
  const { acls } = source
  if (acls[kind] === undefined) {
    const read = readAcl(source, name)
    if (typeof read === 'number' || (read !== null && read.length > KEPT_ENTRIES)) return read
    acls[kind] = read
  }
  return acls[kind] ?? undefined
}

function readAcl(inode: Inode, name: string): OrErrno<Acl> | null {
  if (name === ACL_DEFAULT && !inode.isDir) return null
  const bytes = inode.getxattr(name)
  if (typeof bytes === 'number') {
    const none = inode.sb.acls !== 'server' || bytes === -ENODATA || bytes === -EOPNOTSUPP
    return none ? null : bytes
  }
  const acl = decodeAcl(bytes, same)
  return failed(acl) || acl.length === 0 ? null : acl
}

/** posix_acl_permission, for who is not the owner: 0 or -EACCES; undefined when there is no list. `want`: MAY_* bits. */
export function aclPermission(cred: Credentials, inode: Inode, want: number): Status | undefined {
  const acl = aclOf(inode, ACL_ACCESS)
  if (acl === undefined || failed(acl)) return acl
  const mask = acl.find(entry => entry.tag === ACL_MASK)?.perm ?? 7
  const granted = (perm: number): Status => ((perm & want) === want ? 0 : -EACCES)
  let member = false
  for (const { tag, perm, id } of acl) {
    if (tag === ACL_USER && id === cred.fsuid) return granted(perm & mask)
    if (tag === ACL_GROUP_OBJ || tag === ACL_GROUP) {
      if (!cred.inGroup(tag === ACL_GROUP_OBJ ? inode.gid : id)) continue
      member = true
      if ((perm & want) === want) return granted(perm & mask)
    }
    if (tag === ACL_OTHER) return member ? -EACCES : granted(perm)
  }
  return -EACCES
}

/** vfs_set_acl, vfs_remove_acl (`acl` empty): the list and, of the access list, what the mode shows of it. */
export function setAcl(cred: Credentials, inode: Inode, name: string, acl: Acl): Status {
  if ((inode.inodeFlags & (INODE_IMMUTABLE | INODE_APPEND)) !== 0) return -EPERM
  if (inode.sb.acls === 'none' || inode.isSymlink) return -EOPNOTSUPP
  if (name === ACL_DEFAULT && !inode.isDir) return acl.length > 0 ? -EACCES : 0
  if (!ownerOrCapable(cred, inode)) return -EPERM
  if (acl.length === 0) return store(inode, name, acl)
  if (!isValid(acl)) return -EINVAL
  // It sees to the mode, too.
  if (inode.sb.acls === 'server') return store(inode, name, acl)
  if (name === ACL_DEFAULT) return store(inode, name, acl)
  let mode = inode.mode & 0o7777
  mode = (mode & ~0o777) | modeOf(acl)
  if (!cred.inGroup(inode.gid) && !capableOver(cred, inode, CAP_FSETID)) mode &= ~S_ISGID
  const status = store(inode, name, isPlain(acl) ? [] : acl)
  return status < 0 || mode === (inode.mode & 0o7777) ? status : inode.setattr({ mode })
}

function store(inode: Inode, name: string, acl: Acl): Status {
  let status: Status
  if (acl.length > 0) status = inode.setxattr(name, encodeAcl(acl, same), 0)
  else if (inode.sb.acls === 'server') status = inode.removexattr(name)
  else status = typeof inode.getxattr(name) === 'number' ? 0 : inode.removexattr(name)
  const source = inode.aclSource
  if (source !== undefined) source.acls = undefined
  return status
}

/** Nobody is named: the mode says all of it. */
function isPlain(acl: Acl): boolean {
  return acl.every(({ tag }) => tag === ACL_USER_OBJ || tag === ACL_GROUP_OBJ || tag === ACL_OTHER)
}

/** The permission bits that stand for the list: those of the group are the mask, if there is one. */
function modeOf(acl: Acl): number {
  const perm = (tag: number): number | undefined => acl.find(entry => entry.tag === tag)?.perm
  const group = perm(ACL_MASK) ?? perm(ACL_GROUP_OBJ)!
  return (perm(ACL_USER_OBJ)! << 6) | (group << 3) | perm(ACL_OTHER)!
}

/** posix_acl_chmod: the list follows the mode, as it has done already where it is the host's. */
export function aclAfterChmod(inode: Inode): Status {
  if (inode.sb.acls !== 'ours') return 0
  const acl = aclOf(inode, ACL_ACCESS)
  if (acl === undefined || failed(acl)) return 0
  const hasMask = acl.some(entry => entry.tag === ACL_MASK)
  const { mode } = inode
  const changed = acl.map(entry => {
    const { tag } = entry
    if (tag === ACL_USER_OBJ) return { ...entry, perm: (mode >> 6) & 7 }
    if (tag === ACL_OTHER) return { ...entry, perm: mode & 7 }
    if (tag === (hasMask ? ACL_MASK : ACL_GROUP_OBJ)) return { ...entry, perm: (mode >> 3) & 7 }
    return entry
  })
  return store(inode, ACL_ACCESS, changed)
}

/** What a new file in `dir` inherits; undefined when it is the umask that decides. */
export interface Inherited {
  /** Permission bits, of those that were asked for. */
  readonly mode: number
  readonly access: Acl
  readonly default: Acl
}

/** posix_acl_create. `mode` is the mode that was asked for, with its type, before the umask. */
export function inheritedAcl(dir: Inode, mode: number): Inherited | undefined {
  if (dir.sb.acls === 'server') return undefined
  const acl = aclOf(dir, ACL_DEFAULT)
  if (acl === undefined || failed(acl)) return undefined
  const hasMask = acl.some(entry => entry.tag === ACL_MASK)
  const access = acl.map(entry => {
    const { tag, perm } = entry
    if (tag === ACL_USER_OBJ) return { ...entry, perm: perm & (mode >> 6) & 7 }
    if (tag === ACL_OTHER) return { ...entry, perm: perm & mode & 7 }
    if (tag === (hasMask ? ACL_MASK : ACL_GROUP_OBJ)) return { ...entry, perm: perm & (mode >> 3) & 7 }
    return entry
  })
  return { mode: (mode & ~0o777) | modeOf(access), access: isPlain(access) ? [] : access, default: acl }
}

/** The new file gets what it inherits. The host's have it. */
export function applyInherited(inode: Inode, inherited: Inherited | undefined): void {
  if (inherited === undefined || inode.sb.acls === 'host') return
  if (inherited.access.length > 0) store(inode, ACL_ACCESS, inherited.access)
  if (inode.isDir) store(inode, ACL_DEFAULT, inherited.default)
}
