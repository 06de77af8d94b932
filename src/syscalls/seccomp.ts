/** seccomp(2): the arguments. What the filters do is in kernel/seccomp/. */
import {
  BPF_MAXINSNS,
  CAP_SYS_ADMIN,
  SECCOMP_FILTER_FLAG_LOG,
  SECCOMP_FILTER_FLAG_NEW_LISTENER,
  SECCOMP_FILTER_FLAG_SPEC_ALLOW,
  SECCOMP_FILTER_FLAG_TSYNC,
  SECCOMP_FILTER_FLAG_TSYNC_ESRCH,
  SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
  SECCOMP_GET_ACTION_AVAIL,
  SECCOMP_GET_NOTIF_SIZES,
  SECCOMP_SET_MODE_FILTER,
  SECCOMP_SET_MODE_STRICT,
} from '../abi/constants.ts'
import { EACCES, EFAULT, EINVAL, EOPNOTSUPP } from '../abi/errno.ts'
import {
  SECCOMP_DATA,
  SECCOMP_NOTIF,
  SECCOMP_NOTIF_RESP,
  SECCOMP_NOTIF_SIZES,
  SOCK_FILTER,
  SOCK_FPROG,
} from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { failed } from '../base/result.ts'
import { BpfProgram } from '../kernel/seccomp/bpf.ts'
import { SeccompListener } from '../kernel/seccomp/listener.ts'
import { addFilter, isKnownAction, restrictStrictly } from '../kernel/seccomp/seccomp.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { addr, flags as flagsArg, hex, type SyscallRows } from './args.ts'
import { installFile } from './install.ts'

const FILTER_FLAGS =
  SECCOMP_FILTER_FLAG_TSYNC |
  SECCOMP_FILTER_FLAG_LOG |
  SECCOMP_FILTER_FLAG_SPEC_ALLOW |
  SECCOMP_FILTER_FLAG_TSYNC_ESRCH |
  SECCOMP_FILTER_FLAG_NEW_LISTENER |
  SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV

export function seccomp(task: Task, operation: number, flags: number, at: GuestAddr): number {
  switch (operation) {
    case SECCOMP_SET_MODE_STRICT:
      return flags !== 0 || at !== 0 ? -EINVAL : restrictStrictly(task)
    case SECCOMP_SET_MODE_FILTER:
      return setFilter(task, flags, at)
    case SECCOMP_GET_ACTION_AVAIL: {
      if (flags !== 0) return -EINVAL
      const action = task.mm.u32(at)
      if (action === undefined) return -EFAULT
      return isKnownAction(action) ? 0 : -EOPNOTSUPP
    }
    case SECCOMP_GET_NOTIF_SIZES:
      return flags !== 0 ? -EINVAL : putNotificationSizes(task, at)
  }
  return -EINVAL
}

function putNotificationSizes(task: Task, at: GuestAddr): number {
  const out = task.mm.out(SECCOMP_NOTIF_SIZES.size)
  out.setUint16(SECCOMP_NOTIF_SIZES.seccomp_notif, SECCOMP_NOTIF.size, true)
  out.setUint16(SECCOMP_NOTIF_SIZES.seccomp_notif_resp, SECCOMP_NOTIF_RESP.size, true)
  out.setUint16(SECCOMP_NOTIF_SIZES.seccomp_data, SECCOMP_DATA.size, true)
  return task.mm.commit(at)
}

function setFilter(task: Task, flags: number, at: GuestAddr): number {
  if ((flags & ~FILTER_FLAGS) !== 0) return -EINVAL
  const listens = (flags & SECCOMP_FILTER_FLAG_NEW_LISTENER) !== 0
  // Both have the result to themselves.
  const ambiguous =
    (flags & (SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH)) === SECCOMP_FILTER_FLAG_TSYNC
  if (listens && ambiguous) return -EINVAL
  if (!listens && (flags & SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) !== 0) return -EINVAL
  const header = task.mm.view(at, SOCK_FPROG.size)
  if (header === undefined) return -EFAULT
  const length = header.getUint16(SOCK_FPROG.len, true)
  const low = header.getUint32(SOCK_FPROG.filter, true)
  const high = header.getUint32(SOCK_FPROG.filter + 4, true)
  if (length === 0 || length > BPF_MAXINSNS) return -EINVAL
  if (!task.cred.noNewPrivs && !task.cred.capable(CAP_SYS_ADMIN)) return -EACCES
  const bytes = new Uint8Array(length * SOCK_FILTER.size)
  if (task.mm.copyIn(high * 2 ** 32 + low, bytes) < 0) return -EFAULT
  const program = BpfProgram.check(bytes)
  if (failed(program)) return program
  const esrch = (flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH) !== 0
  const sync = (flags & SECCOMP_FILTER_FLAG_TSYNC) !== 0
  const logs = (flags & SECCOMP_FILTER_FLAG_LOG) !== 0
  if (!listens) return addFilter(task, program, logs, sync, esrch)
  const killable = (flags & SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) !== 0
  const listener = makeListener(task, killable)
  const fd = installFile(task, listener, true)
  if (fd < 0) return fd
  const status = addFilter(task, program, logs, sync, esrch, listener)
  if (status === 0) return fd
  task.fds.close(fd)
  return status
}

/** Ids of notifications begin anywhere, so that nobody counts on them. */
function makeListener(task: Task, killable: boolean): SeccompListener {
  const seed = new Uint32Array(1)
  task.kernel.host.random(new Uint8Array(seed.buffer))
  const place = task.kernel.anonFs.path('anon_inode:seccomp notify', 0o600)
  return new SeccompListener(place, task.cred, killable, seed[0] + 1)
}

const filterFlags = flagsArg({
  SECCOMP_FILTER_FLAG_TSYNC,
  SECCOMP_FILTER_FLAG_LOG,
  SECCOMP_FILTER_FLAG_SPEC_ALLOW,
  SECCOMP_FILTER_FLAG_TSYNC_ESRCH,
  SECCOMP_FILTER_FLAG_NEW_LISTENER,
  SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
})

export const seccompCalls = {
  seccomp: {
    nr: NR.seccomp,
    run: seccomp,
    args: [hex, filterFlags, addr],
  },
} satisfies SyscallRows
