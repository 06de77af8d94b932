/** bpf(2), for what containers need of it: programs that say which devices the processes of a cgroup may use. */
import {
  BPF_CGROUP_DEVICE,
  BPF_F_ALLOW_MULTI,
  BPF_F_ALLOW_OVERRIDE,
  BPF_F_ANY_ALIGNMENT,
  BPF_F_QUERY_EFFECTIVE,
  BPF_F_REPLACE,
  BPF_F_STRICT_ALIGNMENT,
  BPF_OBJ_GET_INFO_BY_FD,
  BPF_PROG_ATTACH,
  BPF_PROG_DETACH,
  BPF_PROG_GET_FD_BY_ID,
  BPF_PROG_LOAD,
  BPF_PROG_QUERY,
  BPF_PROG_TYPE_CGROUP_DEVICE,
  BPF_PROG_TYPE_CGROUP_SKB,
  CAP_BPF,
  CAP_SYS_ADMIN,
} from '../abi/constants.ts'
import { E2BIG, EBADF, EFAULT, EINVAL, ENOENT, ENOSPC, EPERM } from '../abi/errno.ts'
import {
  BPF_ATTACH_ATTR,
  BPF_ID_ATTR,
  BPF_INFO_ATTR,
  BPF_INSN,
  BPF_LOAD_ATTR,
  BPF_PROG_INFO,
  BPF_QUERY_ATTR,
} from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { fromBytes } from '../base/bytes.ts'
import { failed, type OrErrno } from '../base/result.ts'
import { take64 } from '../base/words.ts'
import { ProgramFile, putProgram } from '../fs/bpf/program-file.ts'
import { cgroupOf } from '../fs/cgroup/super.ts'
import { CgroupProgram, verify } from '../kernel/bpf/cgroup-program.ts'
import type { Cgroup } from '../kernel/cgroup/cgroup.ts'
import { attachProgram, detachProgram, effectivePrograms } from '../kernel/cgroup/device-guard.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { filePut } from '../vfs/file-ref.ts'
import { addr, int, type SyscallRows, uint } from './args.ts'
import { fdLimit, fileOf } from './at.ts'

const MAX_ATTR = 4096
const MAX_INSTRUCTIONS = 4096
const NAME_LENGTH = 16
const ATTACH_FLAGS = BPF_F_ALLOW_OVERRIDE | BPF_F_ALLOW_MULTI | BPF_F_REPLACE

export function bpf(task: Task, command: number, attrAt: GuestAddr, attrSize: number): number {
  const { cred, kernel } = task
  if (!cred.capable(CAP_BPF, kernel.userNs) && !cred.capable(CAP_SYS_ADMIN, kernel.userNs)) return -EPERM
  if (attrSize > MAX_ATTR) return -E2BIG
  const bytes = new Uint8Array(Math.max(attrSize, BPF_LOAD_ATTR.size))
  if (attrSize > 0 && task.mm.copyIn(attrAt, bytes.subarray(0, attrSize)) < 0) return -EFAULT
  // What a later kernel knows may be there if it asks for nothing.
  if (bytes.subarray(BPF_LOAD_ATTR.size).some(byte => byte !== 0)) return -E2BIG
  const attr = new DataView(bytes.buffer)
  switch (command) {
    case BPF_PROG_LOAD:
      return load(task, attr)
    case BPF_PROG_ATTACH:
      return attach(task, attr)
    case BPF_PROG_DETACH:
      return detach(task, attr)
    case BPF_PROG_QUERY:
      return query(task, attr, attrAt)
    case BPF_PROG_GET_FD_BY_ID:
      return openById(task, attr)
    case BPF_OBJ_GET_INFO_BY_FD:
      return info(task, attr, attrAt)
  }
  return -EINVAL
}

function load(task: Task, attr: DataView): number {
  if (
    (attr.getUint32(BPF_LOAD_ATTR.prog_flags, true) & ~(BPF_F_STRICT_ALIGNMENT | BPF_F_ANY_ALIGNMENT)) !==
    0
  )
    return -EINVAL
  const count = attr.getUint32(BPF_LOAD_ATTR.insn_cnt, true)
  if (count === 0 || count > MAX_INSTRUCTIONS) return -E2BIG
  const type = attr.getUint32(BPF_LOAD_ATTR.prog_type, true)
  if (type !== BPF_PROG_TYPE_CGROUP_DEVICE && type !== BPF_PROG_TYPE_CGROUP_SKB) return -EINVAL
  const code = task.mm.view(take64(attr, BPF_LOAD_ATTR.insns), count * BPF_INSN.size)
  if (code === undefined) return -EFAULT
  // The guest can't change what is looked at.
  const copy = new Uint8Array(code.buffer, code.byteOffset, code.byteLength).slice()
  const verified = verify(new DataView(copy.buffer))
  if (typeof verified === 'number') return verified
  const raw = new Uint8Array(attr.buffer, BPF_LOAD_ATTR.prog_name, NAME_LENGTH)
  const [name] = fromBytes(raw).split('\0')
  const { kernel } = task
  const program = new CgroupProgram(++kernel.lastBpfProgram, type, name, task.cred.uid, verified)
  kernel.bpfPrograms.set(program.id, program)
  return openProgram(task, program)
}

function openProgram(task: Task, program: CgroupProgram): number {
  const file = new ProgramFile(task, program)
  const fd = task.fds.install(file, true, 0, fdLimit(task))
  if (fd < 0) filePut(file)
  return fd
}

function programOf(task: Task, fd: number): CgroupProgram | undefined {
  const file = fileOf(task, fd)
  return file instanceof ProgramFile ? file.program : undefined
}

/** The cgroup behind the descriptor that all three commands begin with; `typeAt`: where they say what for. */
function target(task: Task, attr: DataView, typeAt: number): OrErrno<Cgroup> {
  const file = fileOf(task, attr.getInt32(BPF_ATTACH_ATTR.target_fd, true))
  if (file === undefined) return -EBADF
  return attr.getUint32(typeAt, true) === BPF_CGROUP_DEVICE ? cgroupOf(file) : -EINVAL
}

function attach(task: Task, attr: DataView): number {
  const flags = attr.getUint32(BPF_ATTACH_ATTR.attach_flags, true)
  if ((flags & ~ATTACH_FLAGS) !== 0) return -EINVAL
  const program = programOf(task, attr.getInt32(BPF_ATTACH_ATTR.attach_bpf_fd, true))
  if (program === undefined) return -EBADF
  const cgroup = target(task, attr, BPF_ATTACH_ATTR.attach_type)
  if (failed(cgroup)) return cgroup
  if (program.type !== BPF_PROG_TYPE_CGROUP_DEVICE) return -EINVAL
  const replaces = (flags & BPF_F_REPLACE) !== 0
  const old = replaces ? programOf(task, attr.getInt32(BPF_ATTACH_ATTR.replace_bpf_fd, true)) : undefined
  if (replaces && old === undefined) return -EBADF
  const gone = attachProgram(cgroup, program, flags, old)
  if (typeof gone === 'number') return gone
  program.users++
  if (gone !== undefined) putProgram(task.kernel, gone)
  return 0
}

function detach(task: Task, attr: DataView): number {
  const cgroup = target(task, attr, BPF_ATTACH_ATTR.attach_type)
  if (failed(cgroup)) return cgroup
  const gone = detachProgram(cgroup, programOf(task, attr.getInt32(BPF_ATTACH_ATTR.attach_bpf_fd, true)))
  if (typeof gone === 'number') return gone
  putProgram(task.kernel, gone)
  return 0
}

function query(task: Task, attr: DataView, attrAt: GuestAddr): number {
  const flags = attr.getUint32(BPF_QUERY_ATTR.query_flags, true)
  if ((flags & ~BPF_F_QUERY_EFFECTIVE) !== 0) return -EINVAL
  const cgroup = target(task, attr, BPF_QUERY_ATTR.attach_type)
  if (failed(cgroup)) return cgroup
  const programs = flags === 0 ? (cgroup.devices?.programs ?? []) : effectivePrograms(cgroup)
  const room = attr.getUint32(BPF_QUERY_ATTR.prog_cnt, true)
  const idsAt = take64(attr, BPF_QUERY_ATTR.prog_ids)
  const shown = flags === 0 ? (cgroup.devices?.flags ?? 0) : 0
  if (putU32(task, attrAt + BPF_QUERY_ATTR.attach_flags, shown) < 0) return -EFAULT
  if (putU32(task, attrAt + BPF_QUERY_ATTR.prog_cnt, programs.length) < 0) return -EFAULT
  if (room === 0 || idsAt === 0 || programs.length === 0) return 0
  for (let i = 0; i < Math.min(room, programs.length); i++) {
    if (putU32(task, idsAt + i * 4, programs[i].id) < 0) return -EFAULT
  }
  return room < programs.length ? -ENOSPC : 0
}

function openById(task: Task, attr: DataView): number {
  if (attr.getUint32(BPF_ID_ATTR.open_flags, true) !== 0) return -EINVAL
  const program = task.kernel.bpfPrograms.get(attr.getUint32(BPF_ID_ATTR.prog_id, true))
  return program === undefined ? -ENOENT : openProgram(task, program)
}

function info(task: Task, attr: DataView, attrAt: GuestAddr): number {
  const program = programOf(task, attr.getInt32(BPF_INFO_ATTR.bpf_fd, true))
  if (program === undefined) return -EBADF
  const length = Math.min(attr.getUint32(BPF_INFO_ATTR.info_len, true), BPF_PROG_INFO.size)
  const out = new DataView(new ArrayBuffer(BPF_PROG_INFO.size))
  out.setUint32(BPF_PROG_INFO.type, program.type, true)
  out.setUint32(BPF_PROG_INFO.id, program.id, true)
  out.setUint32(BPF_PROG_INFO.created_by_uid, program.uid, true)
  for (let i = 0; i < program.name.length; i++) {
    out.setUint8(BPF_PROG_INFO.name + i, program.name.charCodeAt(i))
  }
  const bytes = new Uint8Array(out.buffer, 0, length)
  if (task.mm.copyOut(take64(attr, BPF_INFO_ATTR.info), bytes) < 0) return -EFAULT
  return putU32(task, attrAt + BPF_INFO_ATTR.info_len, length) < 0 ? -EFAULT : 0
}

function putU32(task: Task, at: GuestAddr, value: number): number {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value, true)
  return task.mm.copyOut(at, bytes)
}

export const bpfCalls = {
  bpf: {
    nr: NR.bpf,
    run: bpf,
    args: [int, addr, uint],
    partial:
      'programs for cgroups, of which those for devices can be attached, without maps, helpers or stack',
  },
} satisfies SyscallRows
