/** Identity: credentials(7), capabilities(7). Ids in arguments are those of the caller's user namespace. */
import {
  CAP_SETGID,
  CAP_SETPCAP,
  CAP_SETUID,
  NGROUPS_MAX,
  SECBIT_KEEP_CAPS,
  SECBIT_NO_SETUID_FIXUP,
} from '../abi/constants.ts'
import { EFAULT, EINVAL, EPERM, ESRCH } from '../abi/errno.ts'
import { USER_CAP_DATA, USER_CAP_HEADER } from '../abi/layout.ts'
import { CONSTANT_GETEGID, CONSTANT_GETEUID, CONSTANT_GETGID, CONSTANT_GETUID } from '../abi/protocol.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { CapabilitySet, type Credentials, isMapped } from '../base/credentials.ts'
import { fromKernelId, INVALID_ID, toKernelId } from '../base/id-map.ts'
import { constantCall } from '../kernel/constant-calls.ts'
import { commitCredentials } from '../kernel/credentials.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { addr, id, int, type SyscallRows, structIn, structInOut, structOut } from './args.ts'

/** An argument of -1: leave as it is. */
const KEEP = 0xffffffff

function uidOf(task: Task, kernelId: number): number {
  return fromKernelId(task.cred.userNs.uidMap, kernelId)
}
function gidOf(task: Task, kernelId: number): number {
  return fromKernelId(task.cred.userNs.gidMap, kernelId)
}
function kuid(task: Task, uid: number): number {
  return uid === KEEP ? INVALID_ID : toKernelId(task.cred.userNs.uidMap, uid)
}
function kgid(task: Task, gid: number): number {
  return gid === KEEP ? INVALID_ID : toKernelId(task.cred.userNs.gidMap, gid)
}

export function getuid(task: Task): number {
  return constantCall(task, CONSTANT_GETUID, uidOf(task, task.cred.uid))
}
export function geteuid(task: Task): number {
  return constantCall(task, CONSTANT_GETEUID, uidOf(task, task.cred.euid))
}
export function getgid(task: Task): number {
  return constantCall(task, CONSTANT_GETGID, gidOf(task, task.cred.gid))
}
export function getegid(task: Task): number {
  return constantCall(task, CONSTANT_GETEGID, gidOf(task, task.cred.egid))
}

export function getresuid(task: Task, realAt: GuestAddr, effectiveAt: GuestAddr, savedAt: GuestAddr): number {
  const { uid, euid, suid } = task.cred
  return putThree(
    task,
    [realAt, effectiveAt, savedAt],
    [uid, euid, suid].map(each => uidOf(task, each)),
  )
}
export function getresgid(task: Task, realAt: GuestAddr, effectiveAt: GuestAddr, savedAt: GuestAddr): number {
  const { gid, egid, sgid } = task.cred
  return putThree(
    task,
    [realAt, effectiveAt, savedAt],
    [gid, egid, sgid].map(each => gidOf(task, each)),
  )
}

function putThree(task: Task, places: readonly GuestAddr[], values: readonly number[]): number {
  for (let i = 0; i < 3; i++) {
    const status = task.mm.putU32(places[i], values[i])
    if (status < 0) return status
  }
  return 0
}

export function setuid(task: Task, uid: number): number {
  const to = kuid(task, uid)
  if (to === INVALID_ID) return -EINVAL
  const old = task.cred
  const cred = old.clone()
  if (old.capable(CAP_SETUID)) cred.uid = cred.suid = to
  else if (to !== old.uid && to !== old.suid) return -EPERM
  cred.euid = cred.fsuid = to
  return changeUids(task, cred)
}

export function setreuid(task: Task, uid: number, euid: number): number {
  const real = kuid(task, uid)
  const effective = kuid(task, euid)
  if ((uid !== KEEP && real === INVALID_ID) || (euid !== KEEP && effective === INVALID_ID)) return -EINVAL
  const old = task.cred
  const cred = old.clone()
  const privileged = old.capable(CAP_SETUID)
  if (uid !== KEEP) {
    cred.uid = real
    if (real !== old.uid && real !== old.euid && !privileged) return -EPERM
  }
  if (euid !== KEEP) {
    cred.euid = effective
    if (effective !== old.uid && effective !== old.euid && effective !== old.suid && !privileged)
      return -EPERM
  }
  if (uid !== KEEP || (euid !== KEEP && effective !== old.uid)) cred.suid = cred.euid
  cred.fsuid = cred.euid
  return changeUids(task, cred)
}

export function setresuid(task: Task, uid: number, euid: number, suid: number): number {
  const wanted = [uid, euid, suid]
  const ids = wanted.map(each => kuid(task, each))
  for (let i = 0; i < 3; i++) if (wanted[i] !== KEEP && ids[i] === INVALID_ID) return -EINVAL
  const old = task.cred
  const mayBe = [old.uid, old.euid, old.suid]
  if (!ids.every((to, i) => wanted[i] === KEEP || mayBe.includes(to)) && !old.capable(CAP_SETUID))
    return -EPERM
  const cred = old.clone()
  if (uid !== KEEP) cred.uid = ids[0]
  if (euid !== KEEP) cred.euid = ids[1]
  if (suid !== KEEP) cred.suid = ids[2]
  cred.fsuid = cred.euid
  return changeUids(task, cred)
}

/** The previous id, whether it worked or not. */
export function setfsuid(task: Task, uid: number): number {
  const old = task.cred
  const before = uidOf(task, old.fsuid)
  const to = kuid(task, uid)
  if (to === INVALID_ID || to === old.fsuid) return before
  if (to !== old.uid && to !== old.euid && to !== old.suid && !old.capable(CAP_SETUID)) return before
  const cred = old.clone()
  cred.fsuid = to
  fixFsCapabilities(task, old, cred)
  commitCredentials(task, cred)
  return before
}

export function setgid(task: Task, gid: number): number {
  const to = kgid(task, gid)
  if (to === INVALID_ID) return -EINVAL
  const old = task.cred
  const cred = old.clone()
  if (old.capable(CAP_SETGID)) cred.gid = cred.sgid = to
  else if (to !== old.gid && to !== old.sgid) return -EPERM
  cred.egid = cred.fsgid = to
  commitCredentials(task, cred)
  return 0
}

export function setregid(task: Task, gid: number, egid: number): number {
  const real = kgid(task, gid)
  const effective = kgid(task, egid)
  if ((gid !== KEEP && real === INVALID_ID) || (egid !== KEEP && effective === INVALID_ID)) return -EINVAL
  const old = task.cred
  const cred = old.clone()
  const privileged = old.capable(CAP_SETGID)
  if (gid !== KEEP) {
    if (real !== old.gid && real !== old.egid && !privileged) return -EPERM
    cred.gid = real
  }
  if (egid !== KEEP) {
    if (effective !== old.gid && effective !== old.egid && effective !== old.sgid && !privileged)
      return -EPERM
    cred.egid = effective
  }
  if (gid !== KEEP || (egid !== KEEP && effective !== old.gid)) cred.sgid = cred.egid
  cred.fsgid = cred.egid
  commitCredentials(task, cred)
  return 0
}

export function setresgid(task: Task, gid: number, egid: number, sgid: number): number {
  const wanted = [gid, egid, sgid]
  const ids = wanted.map(each => kgid(task, each))
  for (let i = 0; i < 3; i++) if (wanted[i] !== KEEP && ids[i] === INVALID_ID) return -EINVAL
  const old = task.cred
  const mayBe = [old.gid, old.egid, old.sgid]
  if (!ids.every((to, i) => wanted[i] === KEEP || mayBe.includes(to)) && !old.capable(CAP_SETGID))
    return -EPERM
  const cred = old.clone()
  if (gid !== KEEP) cred.gid = ids[0]
  if (egid !== KEEP) cred.egid = ids[1]
  if (sgid !== KEEP) cred.sgid = ids[2]
  cred.fsgid = cred.egid
  commitCredentials(task, cred)
  return 0
}

export function setfsgid(task: Task, gid: number): number {
  const old = task.cred
  const before = gidOf(task, old.fsgid)
  const to = kgid(task, gid)
  if (to === INVALID_ID || to === old.fsgid) return before
  if (to !== old.gid && to !== old.egid && to !== old.sgid && !old.capable(CAP_SETGID)) return before
  const cred = old.clone()
  cred.fsgid = to
  commitCredentials(task, cred)
  return before
}

function changeUids(task: Task, cred: Credentials): number {
  fixCapabilities(task, task.cred, cred)
  commitCredentials(task, cred)
  return 0
}

/** capabilities(7), "Effect of user ID changes on capabilities". */
function fixCapabilities(task: Task, old: Credentials, cred: Credentials): void {
  if ((old.securebits & SECBIT_NO_SETUID_FIXUP) !== 0) return
  const root = toKernelId(old.userNs.uidMap, 0)
  const had = old.uid === root || old.euid === root || old.suid === root
  const has = cred.uid === root || cred.euid === root || cred.suid === root
  if (had && !has) {
    if ((old.securebits & SECBIT_KEEP_CAPS) === 0) cred.permitted = cred.effective = CapabilitySet.NONE
    cred.ambient = CapabilitySet.NONE
  }
  if (old.euid === root && cred.euid !== root) cred.effective = CapabilitySet.NONE
  if (old.euid !== root && cred.euid === root) cred.effective = cred.permitted
  fixFsCapabilities(task, old, cred)
}

/** The capabilities that belong to fsuid 0: CAP_FS_SET. */
const FS_CAPS = new CapabilitySet(
  (1 << 0) | (1 << 1) | (1 << 2) | (1 << 3) | (1 << 4) | (1 << 9) | (1 << 27),
  1 << 0,
)

function fixFsCapabilities(_task: Task, old: Credentials, cred: Credentials): void {
  if ((old.securebits & SECBIT_NO_SETUID_FIXUP) !== 0) return
  const root = toKernelId(old.userNs.uidMap, 0)
  // A change of all ids has set the effective set as a whole.
  if (cred.euid !== old.euid || cred.uid !== old.uid || cred.suid !== old.suid) return
  if (old.fsuid === root && cred.fsuid !== root) cred.effective = cred.effective.minus(FS_CAPS)
  if (old.fsuid !== root && cred.fsuid === root)
    cred.effective = cred.effective.or(cred.permitted.and(FS_CAPS))
}

export function getgroups(task: Task, count: number, at: GuestAddr): number {
  if (count < 0) return -EINVAL
  const { groups } = task.cred
  if (count === 0) return groups.length
  if (groups.length > count) return -EINVAL
  const words = Uint32Array.from(groups, gid => gidOf(task, gid))
  const status = task.mm.copyOut(at, new Uint8Array(words.buffer))
  return status < 0 ? status : groups.length
}

export function setgroups(task: Task, count: number, at: GuestAddr): number {
  const { userNs } = task.cred
  if (!task.cred.capable(CAP_SETGID) || !userNs.setgroupsAllowed || userNs.gidMap.length === 0) return -EPERM
  if (count < 0 || count > NGROUPS_MAX) return -EINVAL
  const bytes = new Uint8Array(4 * count)
  if (task.mm.copyIn(at, bytes) < 0) return -EFAULT
  const groups: number[] = []
  for (const gid of new Uint32Array(bytes.buffer)) {
    const to = kgid(task, gid)
    if (to === INVALID_ID || !isMapped(userNs.gidMap, to)) return -EINVAL
    groups.push(to)
  }
  const cred = task.cred.clone()
  cred.groups = groups.sort((a, b) => a - b)
  commitCredentials(task, cred)
  return 0
}

const CAPABILITY_VERSION_1 = 0x19980330
const CAPABILITY_VERSION_2 = 0x20071026
const CAPABILITY_VERSION_3 = 0x20080522

/** How many words of each set the header's version has; an unknown version gets ours written back. */
function capWords(task: Task, headerAt: GuestAddr): { words: number; pid: number } | number {
  const view = task.mm.view(headerAt, USER_CAP_HEADER.size)
  if (view === undefined) return -EFAULT
  const version = view.getUint32(USER_CAP_HEADER.version, true)
  const pid = view.getInt32(USER_CAP_HEADER.pid, true)
  if (version === CAPABILITY_VERSION_1) return { words: 1, pid }
  if (version === CAPABILITY_VERSION_2 || version === CAPABILITY_VERSION_3) return { words: 2, pid }
  const status = task.mm.putU32(headerAt, CAPABILITY_VERSION_3)
  return status < 0 ? status : -EINVAL
}

export function capget(task: Task, headerAt: GuestAddr, dataAt: GuestAddr): number {
  const header = capWords(task, headerAt)
  if (typeof header === 'number') return header === -EINVAL && dataAt === 0 ? 0 : header
  if (header.pid < 0) return -EINVAL
  const target = header.pid === 0 ? task : task.pidNs.task(header.pid)
  if (target === undefined) return -ESRCH
  if (dataAt === 0) return 0
  const { effective, permitted, inheritable } = target.cred
  const out = task.mm.out(header.words * USER_CAP_DATA.size)
  for (let word = 0; word < header.words; word++) {
    const at = word * USER_CAP_DATA.size
    const half = (set: CapabilitySet): number => (word === 0 ? set.lo : set.hi)
    out.setUint32(at + USER_CAP_DATA.effective, half(effective), true)
    out.setUint32(at + USER_CAP_DATA.permitted, half(permitted), true)
    out.setUint32(at + USER_CAP_DATA.inheritable, half(inheritable), true)
  }
  return task.mm.commit(dataAt)
}

export function capset(task: Task, headerAt: GuestAddr, dataAt: GuestAddr): number {
  const header = capWords(task, headerAt)
  if (typeof header === 'number') return header
  if (header.pid !== 0 && header.pid !== task.tid) return -EPERM
  const view = task.mm.view(dataAt, header.words * USER_CAP_DATA.size)
  if (view === undefined) return -EFAULT
  const read = (field: number): CapabilitySet =>
    new CapabilitySet(
      view.getUint32(field, true),
      header.words > 1 ? view.getUint32(USER_CAP_DATA.size + field, true) : 0,
    ).and(CapabilitySet.ALL)
  const effective = read(USER_CAP_DATA.effective)
  const permitted = read(USER_CAP_DATA.permitted)
  const inheritable = read(USER_CAP_DATA.inheritable)
  const old = task.cred
  if (!old.capable(CAP_SETPCAP) && !inheritable.subsetOf(old.inheritable.or(old.permitted))) return -EPERM
  if (!inheritable.subsetOf(old.inheritable.or(old.bounding))) return -EPERM
  if (!permitted.subsetOf(old.permitted)) return -EPERM
  if (!effective.subsetOf(permitted)) return -EPERM
  const cred = old.clone()
  cred.effective = effective
  cred.permitted = permitted
  cred.inheritable = inheritable
  cred.ambient = old.ambient.and(permitted).and(inheritable)
  commitCredentials(task, cred)
  return 0
}

const two = [id, id]
const three = [id, id, id]

export const credentialCalls = {
  getuid: { nr: NR.getuid, run: getuid, args: [] },
  geteuid: { nr: NR.geteuid, run: geteuid, args: [] },
  getgid: { nr: NR.getgid, run: getgid, args: [] },
  getegid: { nr: NR.getegid, run: getegid, args: [] },
  getresuid: { nr: NR.getresuid, run: getresuid, args: [addr, addr, addr] },
  getresgid: { nr: NR.getresgid, run: getresgid, args: [addr, addr, addr] },
  setuid: { nr: NR.setuid, run: setuid, args: [id] },
  setreuid: { nr: NR.setreuid, run: setreuid, args: two },
  setresuid: { nr: NR.setresuid, run: setresuid, args: three },
  setfsuid: { nr: NR.setfsuid, run: setfsuid, args: [id] },
  setgid: { nr: NR.setgid, run: setgid, args: [id] },
  setregid: { nr: NR.setregid, run: setregid, args: two },
  setresgid: { nr: NR.setresgid, run: setresgid, args: three },
  setfsgid: { nr: NR.setfsgid, run: setfsgid, args: [id] },
  getgroups: { nr: NR.getgroups, run: getgroups, args: [int, addr] },
  setgroups: { nr: NR.setgroups, run: setgroups, args: [int, addr] },
  capget: { nr: NR.capget, run: capget, args: [structInOut(USER_CAP_HEADER), structOut(USER_CAP_DATA)] },
  capset: { nr: NR.capset, run: capset, args: [structInOut(USER_CAP_HEADER), structIn(USER_CAP_DATA)] },
} satisfies SyscallRows
