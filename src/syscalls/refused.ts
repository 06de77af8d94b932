/**
 * Calls on the machine itself, which is not the guest's: who lacks the capability hears EPERM, as everywhere; who has it
 * finds a kernel that was built without the feature.
 */
import {
  CAP_SYS_ADMIN,
  CAP_SYS_BOOT,
  CAP_SYS_MODULE,
  CAP_SYS_PACCT,
  CAP_SYS_RAWIO,
  CAP_SYS_TTY_CONFIG,
} from '../abi/constants.ts'
import { EINVAL, ENOSYS, EPERM } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { Task } from '../kernel/task.ts'
import { addr, fd as fdArg, hex, int, path, type SyscallRows, size, string, uint } from './args.ts'

/** Capabilities over the machine are those of the first user namespace. */
function refuse(task: Task, capability: number): number {
  return task.cred.capable(capability, task.kernel.userNs) ? -ENOSYS : -EPERM
}

export function acct(task: Task, _name: number): number {
  return refuse(task, CAP_SYS_PACCT)
}
export function swapon(task: Task, _name: number, _flags: number): number {
  return refuse(task, CAP_SYS_ADMIN)
}
export function swapoff(task: Task, _name: number): number {
  return refuse(task, CAP_SYS_ADMIN)
}
export function init_module(task: Task, _image: number, _size: number, _parameters: number): number {
  return refuse(task, CAP_SYS_MODULE)
}
export function finit_module(task: Task, _fd: number, _parameters: number, _flags: number): number {
  return refuse(task, CAP_SYS_MODULE)
}
export function delete_module(task: Task, _name: number, _flags: number): number {
  return refuse(task, CAP_SYS_MODULE)
}
export function kexec_load(
  task: Task,
  _entry: number,
  _count: number,
  _segments: number,
  _flags: number,
): number {
  return refuse(task, CAP_SYS_BOOT)
}
export function kexec_file_load(
  task: Task,
  _kernel: number,
  _initrd: number,
  _length: number,
  _commandLine: number,
  _flags: number,
): number {
  return refuse(task, CAP_SYS_BOOT)
}
export function iopl(task: Task, level: number): number {
  if (level > 3) return -EINVAL
  return level === 0 ? 0 : refuse(task, CAP_SYS_RAWIO)
}
export function ioperm(task: Task, from: number, count: number, on: number): number {
  if (from + count <= from || from + count > 65536) return -EINVAL
  return on === 0 ? 0 : refuse(task, CAP_SYS_RAWIO)
}

/** Hangs the caller's terminal up. */
export function vhangup(task: Task): number {
  if (!task.cred.capable(CAP_SYS_TTY_CONFIG)) return -EPERM
  task.group.processGroup.session.terminal?.vhangup()
  return 0
}

const partial = 'refused: EPERM, or ENOSYS with the capability'

export const refusedCalls = {
  acct: { nr: NR.acct, run: acct, args: [path], partial },
  swapon: { nr: NR.swapon, run: swapon, args: [path, hex], partial },
  swapoff: { nr: NR.swapoff, run: swapoff, args: [path], partial },
  init_module: { nr: NR.init_module, run: init_module, args: [addr, size, string], partial },
  finit_module: { nr: NR.finit_module, run: finit_module, args: [fdArg, string, hex], partial },
  delete_module: { nr: NR.delete_module, run: delete_module, args: [string, hex], partial },
  kexec_load: { nr: NR.kexec_load, run: kexec_load, args: [addr, size, addr, size], partial },
  kexec_file_load: {
    nr: NR.kexec_file_load,
    run: kexec_file_load,
    args: [fdArg, fdArg, size, string, size],
    partial,
  },
  iopl: { nr: NR.iopl, run: iopl, args: [uint], partial },
  ioperm: { nr: NR.ioperm, run: ioperm, args: [size, size, int], partial },
  vhangup: { nr: NR.vhangup, run: vhangup, args: [] },
} satisfies SyscallRows
