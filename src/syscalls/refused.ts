/**
 * Calls on the machine itself, which is not the guest's: who lacks the capability hears EPERM, as everywhere; who has it
 * finds that there is nothing of the kind here. (Modules, kexec
 * and port access are not here: kernels without them have no such calls.)
 */
import { CAP_SYS_ADMIN, CAP_SYS_PACCT, CAP_SYS_TTY_CONFIG } from '../abi/constants.ts'
import { ENOSYS, EPERM } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { Task } from '../kernel/task.ts'
import { hex, path, type SyscallRows } from './args.ts'

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

/** Hangs the caller's terminal up. */
export function vhangup(task: Task): number {
  if (!task.cred.capable(CAP_SYS_TTY_CONFIG)) return -EPERM
  task.group.processGroup.session.terminal?.vhangup()
  return 0
}

const refused = 'EPERM; ENOSYS for who has the capability: there is nothing of the kind here'

export const refusedCalls = {
  acct: { nr: NR.acct, run: acct, args: [path], refused },
  swapon: { nr: NR.swapon, run: swapon, args: [path, hex], refused },
  swapoff: { nr: NR.swapoff, run: swapoff, args: [path], refused },
  vhangup: { nr: NR.vhangup, run: vhangup, args: [] },
} satisfies SyscallRows
