/** Mounts by descriptors: fsopen(2), fsconfig(2), fsmount(2), fspick(2), open_tree(2), move_mount(2), mount_setattr(2). */
import {
  AT_EMPTY_PATH,
  AT_NO_AUTOMOUNT,
  AT_RECURSIVE,
  AT_SYMLINK_NOFOLLOW,
  CAP_SYS_ADMIN,
  FSCONFIG_CMD_CREATE,
  FSCONFIG_CMD_CREATE_EXCL,
  FSCONFIG_CMD_RECONFIGURE,
  FSCONFIG_SET_BINARY,
  FSCONFIG_SET_FD,
  FSCONFIG_SET_FLAG,
  FSCONFIG_SET_PATH,
  FSCONFIG_SET_PATH_EMPTY,
  FSCONFIG_SET_STRING,
  FSMOUNT_CLOEXEC,
  FSOPEN_CLOEXEC,
  FSPICK_CLOEXEC,
  FSPICK_EMPTY_PATH,
  FSPICK_NO_AUTOMOUNT,
  FSPICK_SYMLINK_NOFOLLOW,
  MOUNT_ATTR__ATIME,
  MOUNT_ATTR_IDMAP,
  MOUNT_ATTR_NOATIME,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NODIRATIME,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_NOSYMFOLLOW,
  MOUNT_ATTR_RDONLY,
  MOUNT_ATTR_RELATIME,
  MOUNT_ATTR_STRICTATIME,
  MOVE_MOUNT__MASK,
  MOVE_MOUNT_BENEATH,
  MOVE_MOUNT_F_EMPTY_PATH,
  MOVE_MOUNT_F_SYMLINKS,
  MOVE_MOUNT_SET_GROUP,
  MOVE_MOUNT_T_EMPTY_PATH,
  MOVE_MOUNT_T_SYMLINKS,
  MS_NOATIME,
  MS_NODEV,
  MS_NODIRATIME,
  MS_NOEXEC,
  MS_NOSUID,
  MS_NOSYMFOLLOW,
  MS_PRIVATE,
  MS_RDONLY,
  MS_RELATIME,
  MS_SHARED,
  MS_SLAVE,
  MS_UNBINDABLE,
  O_PATH,
  OPEN_TREE_CLOEXEC,
  OPEN_TREE_CLONE,
} from '../abi/constants.ts'
import { E2BIG, EBADF, EBUSY, EFAULT, EINVAL, ENODEV, EOPNOTSUPP, EPERM } from '../abi/errno.ts'
import { MOUNT_ATTR } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { UserNamespace } from '../base/credentials.ts'
import { failed, type OrErrno } from '../base/result.ts'
import { take64 } from '../base/words.ts'
import { FsContextFile, isDetached, TreeFile } from '../fs/fs-context.ts'
import { NsFile } from '../fs/proc/ns-file.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { type File, PathFile } from '../vfs/file.ts'
import { filePut } from '../vfs/file-ref.ts'
import { MountIdmap } from '../vfs/idmap.ts'
import { type Mount, mayHaveFlags, mountTree } from '../vfs/mount.ts'
import * as operations from '../vfs/mount-operations.ts'
import { LOOKUP_EMPTY, LOOKUP_FOLLOW } from '../vfs/namei.ts'
import { type Path, whileHeld } from '../vfs/path.ts'
import { mayChangeMounts } from '../vfs/restriction.ts'
import {
  addr,
  fd as fdArg,
  flags as flagsArg,
  hex,
  int,
  path,
  type SyscallRows,
  size,
  string,
  uint,
} from './args.ts'
import { fdLimit, fileOf, lookupAt } from './at.ts'
import { copyStruct } from './struct-argument.ts'

const MAX_KEY = 256
const MAX_ATTR = 4096
/** MS_* for each MOUNT_ATTR_* that is a bit of its own. */
const ATTRIBUTES: readonly (readonly [attr: number, flag: number])[] = [
  [MOUNT_ATTR_RDONLY, MS_RDONLY],
  [MOUNT_ATTR_NOSUID, MS_NOSUID],
  [MOUNT_ATTR_NODEV, MS_NODEV],
  [MOUNT_ATTR_NOEXEC, MS_NOEXEC],
  [MOUNT_ATTR_NODIRATIME, MS_NODIRATIME],
  [MOUNT_ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW],
]
const KNOWN_ATTRIBUTES = ATTRIBUTES.reduce((all, [attr]) => all | attr, MOUNT_ATTR__ATIME)

function mayMount(task: Task): boolean {
  return task.cred.capable(CAP_SYS_ADMIN, task.mountNs.userNs)
}

function install(task: Task, file: File, cloexec: boolean): number {
  const fd = task.fds.install(file, cloexec, 0, fdLimit(task))
  if (fd < 0) filePut(file)
  return fd
}

export function fsopen(task: Task, nameAt: GuestAddr, flags: number): number {
  if (!mayMount(task)) return -EPERM
  if ((flags & ~FSOPEN_CLOEXEC) !== 0) return -EINVAL
  const name = task.mm.readString(nameAt, MAX_ATTR)
  if (failed(name)) return typeof name === 'number' && name === -EFAULT ? name : -EINVAL
  const type = task.kernel.fsTypes.get(name)
  if (type === undefined) return -ENODEV
  const file = new FsContextFile(task.kernel.anonFs, task.cred, type)
  return install(task, file, (flags & FSOPEN_CLOEXEC) !== 0)
}

/** The super block of a mounted file system, to be reconfigured. */
export function fspick(task: Task, dirfd: number, nameAt: GuestAddr, flags: number): number {
  const known = FSPICK_CLOEXEC | FSPICK_SYMLINK_NOFOLLOW | FSPICK_NO_AUTOMOUNT | FSPICK_EMPTY_PATH
  if (!mayMount(task)) return -EPERM
  if ((flags & ~known) !== 0) return -EINVAL
  const follow = (flags & FSPICK_SYMLINK_NOFOLLOW) === 0 ? LOOKUP_FOLLOW : 0
  const empty = (flags & FSPICK_EMPTY_PATH) !== 0 ? LOOKUP_EMPTY : 0
  const at = lookupAt(task, dirfd, nameAt, follow | empty)
  if (failed(at)) return at
  const { mount } = at
  if (at.dentry !== mount.root) return -EINVAL
  const type = task.kernel.fsTypes.get(mount.sb.fsType)
  if (type === undefined) return -EOPNOTSUPP
  const file = new FsContextFile(task.kernel.anonFs, task.cred, type, mount.sb)
  return install(task, file, (flags & FSPICK_CLOEXEC) !== 0)
}

export function fsconfig(
  task: Task,
  fd: number,
  command: number,
  keyAt: GuestAddr,
  valueAt: GuestAddr,
  aux: number,
): number {
  if (fd < 0) return -EINVAL
  switch (command) {
    case FSCONFIG_SET_FLAG:
      if (keyAt === 0 || valueAt !== 0 || aux !== 0) return -EINVAL
      break
    case FSCONFIG_SET_STRING:
      if (keyAt === 0 || valueAt === 0 || aux !== 0) return -EINVAL
      break
    case FSCONFIG_SET_BINARY:
    case FSCONFIG_SET_PATH:
    case FSCONFIG_SET_PATH_EMPTY:
    case FSCONFIG_SET_FD:
      break
    case FSCONFIG_CMD_CREATE:
    case FSCONFIG_CMD_CREATE_EXCL:
    case FSCONFIG_CMD_RECONFIGURE:
      if (keyAt !== 0 || valueAt !== 0 || aux !== 0) return -EINVAL
      break
    default:
      return -EOPNOTSUPP
  }
  const file = fileOf(task, fd)
  if (file === undefined) return -EBADF
  if (!(file instanceof FsContextFile)) return -EINVAL
  if (command === FSCONFIG_CMD_RECONFIGURE) return file.reconfigure(task.cred)
  if (command === FSCONFIG_CMD_CREATE || command === FSCONFIG_CMD_CREATE_EXCL) {
    const { fs, cred, mountNs } = task
    if (!mayMount(task)) return -EPERM
    const exclusive = command === FSCONFIG_CMD_CREATE_EXCL
    return file.create({ fs, cred, mountNs, vfs: mountNs.vfs, ns: task.ns }, exclusive)
  }
  const key = task.mm.readString(keyAt, MAX_KEY)
  if (failed(key)) return key === -EFAULT ? key : -EINVAL
  if (command === FSCONFIG_SET_FLAG) return file.setParameter(key, undefined)
  // No file system here takes parameters of another kind.
  if (command !== FSCONFIG_SET_STRING) return -EINVAL
  const value = task.mm.readString(valueAt, MAX_KEY)
  if (failed(value)) return value === -EFAULT ? value : -EINVAL
  return file.setParameter(key, value)
}

export function fsmount(task: Task, fd: number, flags: number, attributes: number): number {
  if (!mayMount(task)) return -EPERM
  if ((flags & ~FSMOUNT_CLOEXEC) !== 0) return -EINVAL
  if ((attributes & ~KNOWN_ATTRIBUTES) !== 0) return -EINVAL
  const atime = atimeFlags(attributes)
  if (atime === undefined) return -EINVAL
  const file = fileOf(task, fd)
  if (file === undefined) return -EBADF
  if (!(file instanceof FsContextFile)) return -EINVAL
  const mount = file.takeMount()
  if (typeof mount === 'number') return mount
  mount.flags = atime
  for (const [attr, flag] of ATTRIBUTES) if ((attributes & attr) !== 0) mount.flags |= flag
  return install(task, new TreeFile(mount, task.cred), (flags & FSMOUNT_CLOEXEC) !== 0)
}

/** The MS_* flags for the MOUNT_ATTR__ATIME field; undefined for a value that is none. */
function atimeFlags(attributes: number): number | undefined {
  switch (attributes & MOUNT_ATTR__ATIME) {
    case MOUNT_ATTR_RELATIME:
      return MS_RELATIME
    case MOUNT_ATTR_NOATIME:
      return MS_NOATIME
    case MOUNT_ATTR_STRICTATIME:
      return 0
  }
  return undefined
}

/** MS_* of a mount as MOUNT_ATTR_*: mnt_to_attr_flags. */
export function mountAttributes(flags: number): number {
  let attributes: number = MOUNT_ATTR_STRICTATIME
  if ((flags & MS_NOATIME) !== 0) attributes = MOUNT_ATTR_NOATIME
  else if ((flags & MS_RELATIME) !== 0) attributes = MOUNT_ATTR_RELATIME
  for (const [attr, flag] of ATTRIBUTES) if ((flags & flag) !== 0) attributes |= attr
  return attributes
}

/** A descriptor of a place; with OPEN_TREE_CLONE of a copy of the mount there, attached nowhere. */
export function open_tree(task: Task, dirfd: number, nameAt: GuestAddr, flags: number): number {
  const known =
    AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC
  if ((flags & ~known) !== 0) return -EINVAL
  const clone = (flags & OPEN_TREE_CLONE) !== 0
  if ((flags & AT_RECURSIVE) !== 0 && !clone) return -EINVAL
  if (clone && !mayMount(task)) return -EPERM
  const at = lookupAt(task, dirfd, nameAt, lookupFlags(flags))
  if (failed(at)) return at
  const cloexec = (flags & OPEN_TREE_CLOEXEC) !== 0
  if (!clone) return install(task, new PathFile(at, O_PATH, task.cred), cloexec)
  const { mount, dentry } = at
  const ns = task.mountNs
  if (mount.unbindable || (mount.namespace !== ns && !isDetached(topMount(mount)))) return -EINVAL
  const recursive = (flags & AT_RECURSIVE) !== 0
  const copy = operations.copyToBind(ns.vfs, mount, dentry, recursive)
  return failed(copy) ? copy : install(task, new TreeFile(copy, task.cred), cloexec)
}

function lookupFlags(flags: number): number {
  return (
    ((flags & AT_SYMLINK_NOFOLLOW) === 0 ? LOOKUP_FOLLOW : 0) |
    ((flags & AT_EMPTY_PATH) !== 0 ? LOOKUP_EMPTY : 0)
  )
}

function topMount(mount: Mount): Mount {
  let at = mount
  while (at.parent !== undefined) at = at.parent
  return at
}

export function move_mount(
  task: Task,
  fromFd: number,
  fromAt: GuestAddr,
  toFd: number,
  toAt: GuestAddr,
  flags: number,
): number {
  if (!mayMount(task) || !mayChangeMounts(task.cred)) return -EPERM
  if ((flags & ~MOVE_MOUNT__MASK) !== 0) return -EINVAL
  if ((flags & MOVE_MOUNT_BENEATH) !== 0 && (flags & MOVE_MOUNT_SET_GROUP) !== 0) return -EINVAL
  const how = (follow: number, empty: number): number =>
    ((flags & follow) !== 0 ? LOOKUP_FOLLOW : 0) | ((flags & empty) !== 0 ? LOOKUP_EMPTY : 0)
  const to = lookupAt(task, toFd, toAt, how(MOVE_MOUNT_T_SYMLINKS, MOVE_MOUNT_T_EMPTY_PATH))
  if (failed(to)) return to
  const from = whileHeld(to, () =>
    lookupAt(task, fromFd, fromAt, how(MOVE_MOUNT_F_SYMLINKS, MOVE_MOUNT_F_EMPTY_PATH)),
  )
  if (failed(from)) return from
  if ((flags & MOVE_MOUNT_SET_GROUP) !== 0) return operations.setGroup(task.cred, from, to)
  const ns = task.mountNs
  const beneath = (flags & MOVE_MOUNT_BENEATH) !== 0 ? task.fs : undefined
  if (from.dentry === from.mount.root && isDetached(from.mount)) {
    return operations.attachDetached(ns, to, from.mount, beneath)
  }
  return operations.moveMount(ns, to, from, beneath)
}

/** struct mount_attr, decoded. */
interface AttributeChange {
  /** MOUNT_ATTR_IDMAP: by whose maps. */
  readonly idmap: UserNamespace | undefined
  readonly set: number
  readonly clear: number
  readonly propagation: number
}

export function mount_setattr(
  task: Task,
  dirfd: number,
  nameAt: GuestAddr,
  flags: number,
  attrAt: GuestAddr,
  attrSize: number,
): number {
  if ((flags & ~(AT_EMPTY_PATH | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT)) !== 0) return -EINVAL
  if (attrSize > MAX_ATTR) return -E2BIG
  if (attrSize < MOUNT_ATTR.size) return -EINVAL
  if (!mayMount(task)) return -EPERM
  const change = readChange(task, attrAt, attrSize)
  if (typeof change !== 'object') return change
  const at = lookupAt(task, dirfd, nameAt, lookupFlags(flags))
  return failed(at) ? at : changeMounts(task, at, (flags & AT_RECURSIVE) !== 0, change)
}

function readChange(task: Task, at: GuestAddr, length: number): OrErrno<AttributeChange> {
  const view = copyStruct(task, at, length, MOUNT_ATTR.size)
  if (failed(view)) return view
  const set = view.getUint32(MOUNT_ATTR.attr_set, true)
  const clear = view.getUint32(MOUNT_ATTR.attr_clr, true)
  const propagation = view.getUint32(MOUNT_ATTR.propagation, true)
  const high = [MOUNT_ATTR.attr_set, MOUNT_ATTR.attr_clr, MOUNT_ATTR.propagation].some(
    field => view.getUint32(field + 4, true) !== 0,
  )
  if (set === 0 && clear === 0 && propagation === 0 && !high) return 0
  if (high || ((set | clear) & ~(KNOWN_ATTRIBUTES | MOUNT_ATTR_IDMAP)) !== 0) return -EINVAL
  const kinds = MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE
  if ((propagation & ~kinds) !== 0 || (propagation & (propagation - 1)) !== 0) return -EINVAL
  // Access times are one field of three values: it is cleared as a whole, or not at all.
  if ((clear & MOUNT_ATTR__ATIME) !== 0) {
    if ((clear & MOUNT_ATTR__ATIME) !== MOUNT_ATTR__ATIME || atimeFlags(set) === undefined) return -EINVAL
  } else if ((set & MOUNT_ATTR__ATIME) !== 0) return -EINVAL
  if ((clear & MOUNT_ATTR_IDMAP) !== 0) return -EINVAL
  if ((set & MOUNT_ATTR_IDMAP) === 0) return { set, clear, propagation, idmap: undefined }
  const idmap = userNamespaceOf(task, take64(view, MOUNT_ATTR.userns_fd))
  return typeof idmap === 'number' ? idmap : { set, clear, propagation, idmap }
}

/** build_mount_idmapped: the user namespace of a descriptor, whose maps the caller may have mounts seen by. */
function userNamespaceOf(task: Task, fd: number): OrErrno<UserNamespace> {
  if (fd > 0x7fffffff) return -EINVAL
  const file = fileOf(task, fd)
  if (file === undefined) return -EBADF
  if (!(file instanceof NsFile) || !(file.ns instanceof UserNamespace)) return -EINVAL
  if (file.ns.level === 0) return -EPERM
  return task.cred.capable(CAP_SYS_ADMIN, file.ns) ? file.ns : -EPERM
}

function changedFlags(mount: Mount, { set, clear }: AttributeChange): number {
  let { flags } = mount
  for (const [attr, flag] of ATTRIBUTES) {
    if ((clear & attr) !== 0) flags &= ~flag
    if ((set & attr) !== 0) flags |= flag
  }
  if ((clear & MOUNT_ATTR__ATIME) !== 0) flags = (flags & ~(MS_NOATIME | MS_RELATIME)) | atimeFlags(set)!
  return flags
}

function changeMounts(task: Task, at: Path, recursive: boolean, change: AttributeChange): number {
  const ns = task.mountNs
  const { mount } = at
  if (at.dentry !== mount.root) return -EINVAL
  if (mount.namespace !== ns && !isDetached(topMount(mount))) return -EINVAL
  const mounts = recursive ? mountTree(mount) : [mount]
  const becomesReadOnly = (change.set & MOUNT_ATTR_RDONLY) !== 0
  const { idmap } = change
  if (idmap !== undefined && (idmap.uidMap.length === 0 || idmap.gidMap.length === 0)) return -EINVAL
  for (const each of mounts) {
    if (!mayHaveFlags(each, changedFlags(each, change))) return -EPERM
    const mappable = idmap === undefined ? 0 : operations.mayIdmap(task.cred, each, idmap)
    if (mappable < 0) return mappable
    if (each.writers > 0 && (idmap !== undefined || (becomesReadOnly && !each.readOnly))) return -EBUSY
  }
  for (const each of mounts) {
    each.flags = changedFlags(each, change)
    if (idmap !== undefined) each.idmap = new MountIdmap(idmap, each.sb.userNs)
    if (change.propagation !== 0) operations.setPropagation(each, change.propagation)
  }
  ns.changes.changed()
  return 0
}

const treeFlags = flagsArg({
  OPEN_TREE_CLONE,
  OPEN_TREE_CLOEXEC,
  AT_EMPTY_PATH,
  AT_RECURSIVE,
  AT_SYMLINK_NOFOLLOW,
  AT_NO_AUTOMOUNT,
})

export const mountFdCalls = {
  fsopen: { nr: NR.fsopen, run: fsopen, args: [string, hex], returns: 'fd' },
  fspick: { nr: NR.fspick, run: fspick, args: [fdArg, path, hex], returns: 'fd' },
  fsconfig: {
    nr: NR.fsconfig,
    run: fsconfig,
    args: [fdArg, uint, string, addr, int],
    partial:
      'parameters are looked at as they come by overlay, by other file systems at FSCONFIG_CMD_CREATE; layers of overlays are given by name, not by descriptor',
  },
  fsmount: { nr: NR.fsmount, run: fsmount, args: [fdArg, hex, hex], returns: 'fd' },
  open_tree: { nr: NR.open_tree, run: open_tree, args: [fdArg, path, treeFlags], returns: 'fd' },
  move_mount: {
    nr: NR.move_mount,
    run: move_mount,
    args: [fdArg, path, fdArg, path, hex],
  },
  mount_setattr: {
    nr: NR.mount_setattr,
    run: mount_setattr,
    args: [fdArg, path, treeFlags, addr, size],
  },
} satisfies SyscallRows
