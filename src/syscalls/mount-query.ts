/** statmount(2), listmount(2): the mounts of a namespace as structs. */
import {
  CAP_SYS_ADMIN,
  LISTMOUNT_REVERSE,
  MNT_ID_REQ_SIZE_VER0,
  MS_DIRSYNC,
  MS_LAZYTIME,
  MS_PRIVATE,
  MS_RDONLY,
  MS_SHARED,
  MS_SLAVE,
  MS_SYNCHRONOUS,
  MS_UNBINDABLE,
  STATMOUNT_FS_TYPE,
  STATMOUNT_MNT_BASIC,
  STATMOUNT_MNT_NS_ID,
  STATMOUNT_MNT_OPTS,
  STATMOUNT_MNT_POINT,
  STATMOUNT_MNT_ROOT,
  STATMOUNT_PROPAGATE_FROM,
  STATMOUNT_SB_BASIC,
} from '../abi/constants.ts'
import { E2BIG, EFAULT, EINVAL, ENOENT, EOVERFLOW, EPERM } from '../abi/errno.ts'
import { MNT_ID_REQ, STATMOUNT } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { toBytes } from '../base/bytes.ts'
import { failed, type OrErrno } from '../base/result.ts'
import { put64, take64 } from '../base/words.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { newHostStatfs } from '../platform/host.ts'
import { type Mount, type MountNamespace, UNIQUE_ID_OFFSET } from '../vfs/mount.ts'
import type { Path } from '../vfs/path.ts'
import { isReachable, pathToString } from '../vfs/path-string.ts'
import { major, minor } from '../vfs/vfs.ts'
import { addr, flags as flagsArg, hex, type SyscallRows, size } from './args.ts'
import { mountAttributes } from './mount-fd.ts'
import { copyStruct } from './struct-argument.ts'

const PAGE_SIZE = 4096
const MAX_LISTED = 1_000_000
/** LSMT_ROOT, as a double. */
const ALL_FROM_ROOT = 2 ** 64
const STRINGS = STATMOUNT_MNT_ROOT | STATMOUNT_MNT_POINT | STATMOUNT_FS_TYPE | STATMOUNT_MNT_OPTS

/** struct mnt_id_req. */
interface Request {
  readonly id: number
  readonly param: number
  readonly ns: MountNamespace
}

function readRequest(task: Task, at: GuestAddr): OrErrno<{ id: number; param: number; nsId: number }> {
  const length = task.mm.u32(at)
  if (length === undefined) return -EFAULT
  if (length > PAGE_SIZE) return -E2BIG
  if (length < MNT_ID_REQ_SIZE_VER0) return -EINVAL
  const view = copyStruct(task, at, length, MNT_ID_REQ.size)
  if (failed(view)) return view
  if (view.getUint32(MNT_ID_REQ.spare, true) !== 0) return -EINVAL
  const id = take64(view, MNT_ID_REQ.mnt_id)
  if (id <= UNIQUE_ID_OFFSET) return -EINVAL
  return { id, param: take64(view, MNT_ID_REQ.param), nsId: take64(view, MNT_ID_REQ.mnt_ns_id) }
}

/** grab_requested_mnt_ns: the caller's, or another that it is privileged over. */
function inNamespace(task: Task, asked: { id: number; param: number; nsId: number }): OrErrno<Request> {
  const own = task.ns.mnt
  if (asked.nsId === 0 || asked.nsId === own.inum) return { ...asked, ns: own }
  for (const { namespace } of task.kernel.vfs.mounts) {
    if (namespace?.inum !== asked.nsId) continue
    return task.cred.capable(CAP_SYS_ADMIN, namespace.userNs) ? { ...asked, ns: namespace } : -ENOENT
  }
  return -ENOENT
}

function mountOf(ns: MountNamespace, id: number): Mount | undefined {
  for (const mount of ns.mounts) if (mount.uniqueId === id) return mount
  return undefined
}

/** From where the caller sees the namespace. */
function viewFrom(task: Task, ns: MountNamespace): Path {
  return ns === task.ns.mnt ? task.fs.root : ns.rootPath
}

function maySee(task: Task, ns: MountNamespace, place: Path): boolean {
  return isReachable(place, viewFrom(task, ns)) || task.cred.capable(CAP_SYS_ADMIN, ns.userNs)
}

export function statmount(
  task: Task,
  requestAt: GuestAddr,
  bufferAt: GuestAddr,
  bufferSize: number,
  flags: number,
): number {
  if (flags !== 0) return -EINVAL
  const asked = readRequest(task, requestAt)
  if (failed(asked)) return asked
  const request = inNamespace(task, asked)
  if (failed(request)) return request
  if (!task.mm.accessOk(bufferAt, bufferSize)) return -EFAULT
  const mask = asked.param % 2 ** 32
  if ((mask & STRINGS) !== 0 && bufferSize === STATMOUNT.size) return -EOVERFLOW
  const mount = mountOf(request.ns, request.id)
  if (mount === undefined) return -ENOENT
  if (!maySee(task, request.ns, { mount, dentry: mount.root })) return -EPERM
  const described = describe(mount, mask, viewFrom(task, request.ns), request.ns)
  if (STATMOUNT.size + described.strings.length > bufferSize && described.strings.length > 0)
    return -EOVERFLOW
  const fixed = described.fixed.subarray(0, Math.min(bufferSize, STATMOUNT.size))
  new DataView(described.fixed.buffer).setUint32(
    STATMOUNT.total,
    fixed.length + described.strings.length,
    true,
  )
  const status =
    described.strings.length > 0 ? task.mm.copyOut(bufferAt + STATMOUNT.size, described.strings) : 0
  return status < 0 ? status : task.mm.copyOut(bufferAt, fixed)
}

function describe(
  mount: Mount,
  mask: number,
  root: Path,
  ns: MountNamespace,
): { fixed: Uint8Array<ArrayBuffer>; strings: Uint8Array } {
  const fixed = new Uint8Array(STATMOUNT.size)
  const out = new DataView(fixed.buffer)
  const { sb } = mount
  // What is not there points to an empty string.
  let strings = (mask & STRINGS) !== 0 ? '\0' : ''
  let filled = mask & (STATMOUNT_SB_BASIC | STATMOUNT_MNT_BASIC | STATMOUNT_MNT_NS_ID)
  if ((mask & STATMOUNT_SB_BASIC) !== 0) {
    out.setUint32(STATMOUNT.sb_dev_major, major(sb.dev), true)
    out.setUint32(STATMOUNT.sb_dev_minor, minor(sb.dev), true)
    const statfs = newHostStatfs()
    sb.statfs(statfs, mount.root.inode)
    put64(out, STATMOUNT.sb_magic, statfs.type)
    const shown = MS_RDONLY | MS_SYNCHRONOUS | MS_DIRSYNC | MS_LAZYTIME
    out.setUint32(STATMOUNT.sb_flags, sb.flags & shown, true)
  }
  if ((mask & STATMOUNT_MNT_BASIC) !== 0) {
    const parent = mount.parent ?? mount
    put64(out, STATMOUNT.mnt_id, mount.uniqueId)
    put64(out, STATMOUNT.mnt_parent_id, parent.uniqueId)
    out.setUint32(STATMOUNT.mnt_id_old, mount.id, true)
    out.setUint32(STATMOUNT.mnt_parent_id_old, parent.id, true)
    put64(out, STATMOUNT.mnt_attr, mountAttributes(mount.flags))
    put64(out, STATMOUNT.mnt_propagation, propagation(mount))
    put64(out, STATMOUNT.mnt_peer_group, mount.peerGroup)
    put64(out, STATMOUNT.mnt_master, mount.masterGroup)
  }
  if ((mask & STATMOUNT_PROPAGATE_FROM) !== 0) {
    filled |= STATMOUNT_PROPAGATE_FROM
    put64(out, STATMOUNT.propagate_from, mount.masterGroup)
  }
  const add = (flag: number, field: number, text: string) => {
    if ((mask & flag) === 0 || text === '') return
    out.setUint32(field, strings.length, true)
    strings += `${text}\0`
    filled |= flag
  }
  add(STATMOUNT_FS_TYPE, STATMOUNT.fs_type, sb.fsType)
  add(STATMOUNT_MNT_ROOT, STATMOUNT.mnt_root, sb.showRoot(mount.root))
  add(STATMOUNT_MNT_POINT, STATMOUNT.mnt_point, pathToString({ mount, dentry: mount.root }, root))
  add(STATMOUNT_MNT_OPTS, STATMOUNT.mnt_opts, sb.options())
  if ((mask & STATMOUNT_MNT_NS_ID) !== 0) put64(out, STATMOUNT.mnt_ns_id, ns.inum)
  put64(out, STATMOUNT.mask, filled)
  return { fixed, strings: toBytes(strings) }
}

function propagation(mount: Mount): number {
  const shared = mount.peerGroup !== 0 ? MS_SHARED : 0
  const slave = mount.masterGroup !== 0 ? MS_SLAVE : 0
  if (mount.unbindable) return shared | slave | MS_UNBINDABLE
  return (shared | slave) === 0 ? MS_PRIVATE : shared | slave
}

export function listmount(
  task: Task,
  requestAt: GuestAddr,
  idsAt: GuestAddr,
  count: number,
  flags: number,
): number {
  if ((flags & ~LISTMOUNT_REVERSE) !== 0) return -EINVAL
  if (count > MAX_LISTED) return -EOVERFLOW
  if (!task.mm.accessOk(idsAt, count * 8)) return -EFAULT
  const asked = readRequest(task, requestAt)
  if (failed(asked)) return asked
  const last = asked.param
  if (last !== 0 && last <= UNIQUE_ID_OFFSET) return -EINVAL
  const request = inNamespace(task, asked)
  if (failed(request)) return request
  const { ns, id } = request
  const below = id === ALL_FROM_ROOT ? undefined : mountOf(ns, id)
  if (id !== ALL_FROM_ROOT && below === undefined) return -ENOENT
  const from = below === undefined ? viewFrom(task, ns) : { mount: below, dentry: below.root }
  if (!maySee(task, ns, from)) return -EPERM
  const reverse = (flags & LISTMOUNT_REVERSE) !== 0
  const found = [...ns.mounts]
    .filter(mount => mount !== below && isReachable({ mount, dentry: mount.root }, from))
    .map(mount => mount.uniqueId)
    .sort((a, b) => (reverse ? b - a : a - b))
    .filter(each => last === 0 || (reverse ? each < last : each > last))
    .slice(0, count)
  const bytes = new Uint8Array(found.length * 8)
  const out = new DataView(bytes.buffer)
  found.forEach((each, i) => {
    put64(out, i * 8, each)
  })
  const status = task.mm.copyOut(idsAt, bytes)
  return status < 0 ? status : found.length
}

export const mountQueryCalls = {
  statmount: { nr: NR.statmount, run: statmount, args: [addr, addr, size, hex] },
  listmount: {
    nr: NR.listmount,
    run: listmount,
    args: [addr, addr, size, flagsArg({ LISTMOUNT_REVERSE })],
  },
} satisfies SyscallRows
