/**
 * DeviceGuard: the device programs of one cgroup (BPF_PROG_ATTACH), the rules that its container came with, and the question
 * that opening a device asks of those of a process's cgroup and the ones above. Made by the first of either.
 */
import {
  BPF_DEVCG_ACC_MKNOD,
  BPF_DEVCG_ACC_READ,
  BPF_DEVCG_ACC_WRITE,
  BPF_DEVCG_DEV_BLOCK,
  BPF_DEVCG_DEV_CHAR,
  BPF_F_ALLOW_MULTI,
  BPF_F_ALLOW_OVERRIDE,
  BPF_F_REPLACE,
  S_IFCHR,
} from '../../abi/constants.ts'
import { E2BIG, EINVAL, ENOENT, EPERM } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import { major, minor } from '../../vfs/vfs.ts'
import type { CgroupProgram } from '../bpf/cgroup-program.ts'
import type { Cgroup } from './cgroup.ts'

/** BPF_CGROUP_MAX_PROGS. */
const MOST_PROGRAMS = 64

/** A rule for all devices that it names: of both kinds, any major or any minor number where that is undefined. */
export interface DeviceRule {
  readonly allow: boolean
  readonly type: 'c' | 'b' | undefined
  readonly major: number | undefined
  readonly minor: number | undefined
  /** BPF_DEVCG_ACC_* */
  readonly access: number
}

export class DeviceGuard {
  /** What none of them allows is denied; undefined: there are no rules. */
  rules: readonly DeviceRule[] | undefined = undefined
  readonly programs: CgroupProgram[] = []
  /** BPF_F_ALLOW_* of those that are there. */
  flags = 0
}

/** BPF_PROG_ATTACH. The caller holds `program` for the cgroup, and lets go of what comes back. */
export function attachProgram(
  cgroup: Cgroup,
  program: CgroupProgram,
  flags: number,
  replaced: CgroupProgram | undefined,
): CgroupProgram | undefined | Status {
  const kind = flags & (BPF_F_ALLOW_OVERRIDE | BPF_F_ALLOW_MULTI)
  if (kind === (BPF_F_ALLOW_OVERRIDE | BPF_F_ALLOW_MULTI)) return -EINVAL
  if ((flags & BPF_F_REPLACE) !== 0 && (kind & BPF_F_ALLOW_MULTI) === 0) return -EINVAL
  if (!parentAllows(cgroup)) return -EPERM
  cgroup.devices ??= new DeviceGuard()
  const { programs } = cgroup.devices
  if (programs.length > 0 && cgroup.devices.flags !== kind) return -EPERM
  if (programs.length >= MOST_PROGRAMS) return -E2BIG
  let old: CgroupProgram | undefined
  if ((kind & BPF_F_ALLOW_MULTI) === 0) old = programs.pop()
  else {
    if (programs.includes(program)) return -EINVAL
    if ((flags & BPF_F_REPLACE) !== 0) {
      const at = replaced === undefined ? -1 : programs.indexOf(replaced)
      if (at < 0) return -ENOENT
      old = programs.splice(at, 1)[0]
    }
  }
  programs.push(program)
  cgroup.devices.flags = kind
  return old
}

/** BPF_PROG_DETACH: what was detached. Without a program it is the only one, where only one may be. */
export function detachProgram(cgroup: Cgroup, program: CgroupProgram | undefined): CgroupProgram | Status {
  const { devices } = cgroup
  if (devices === undefined || devices.programs.length === 0) return -ENOENT
  const multi = (devices.flags & BPF_F_ALLOW_MULTI) !== 0
  if (multi && program === undefined) return -EINVAL
  const at = multi ? devices.programs.indexOf(program!) : 0
  return at < 0 ? -ENOENT : devices.programs.splice(at, 1)[0]
}

/** hierarchy_allows_attach. */
function parentAllows(cgroup: Cgroup): boolean {
  for (let at = cgroup.parent; at !== undefined; at = at.parent) {
    const { devices } = at
    if (devices === undefined || devices.programs.length === 0) continue
    if ((devices.flags & BPF_F_ALLOW_MULTI) !== 0) return true
    return (devices.flags & BPF_F_ALLOW_OVERRIDE) !== 0
  }
  return true
}

/** The programs that a process of this cgroup is subject to (compute_effective_progs). */
export function effectivePrograms(cgroup: Cgroup): CgroupProgram[] {
  const all: CgroupProgram[] = []
  for (let at: Cgroup | undefined = cgroup; at !== undefined; at = at.parent) {
    const { devices } = at
    if (devices === undefined) continue
    if (all.length === 0 || (devices.flags & BPF_F_ALLOW_MULTI) !== 0) all.push(...devices.programs)
  }
  return all
}

/** Whether a process of `cgroup` may do this (BPF_DEVCG_ACC_*) with a device node: 0 or -EPERM. */
export function mayUseDevice(cgroup: Cgroup, type: number, rdev: number, access: number): Status {
  if (!rulesAllow(cgroup, type === S_IFCHR ? 'c' : 'b', major(rdev), minor(rdev), access)) return -EPERM
  const programs = effectivePrograms(cgroup)
  if (programs.length === 0) return 0
  const kind = type === S_IFCHR ? BPF_DEVCG_DEV_CHAR : BPF_DEVCG_DEV_BLOCK
  return programs.every(each => each.allows(access, kind, major(rdev), minor(rdev))) ? 0 : -EPERM
}

const ACCESSES = [BPF_DEVCG_ACC_MKNOD, BPF_DEVCG_ACC_READ, BPF_DEVCG_ACC_WRITE]

/** By those of the cgroup and of each above it. Of the rules for a device and an access the last one counts. */
function rulesAllow(
  cgroup: Cgroup,
  type: DeviceRule['type'],
  major: number,
  minor: number,
  access: number,
): boolean {
  const fits = (rule: DeviceRule) =>
    (rule.type ?? type) === type && (rule.major ?? major) === major && (rule.minor ?? minor) === minor
  for (let at: Cgroup | undefined = cgroup; at !== undefined; at = at.parent) {
    const rules = at.devices?.rules
    if (rules === undefined) continue
    for (const bit of ACCESSES) {
      if ((access & bit) === 0) continue
      if (rules.findLast(rule => (rule.access & bit) !== 0 && fits(rule))?.allow !== true) return false
    }
  }
  return true
}
