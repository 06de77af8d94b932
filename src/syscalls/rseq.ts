/** rseq(2). */
import { RSEQ_FLAG_UNREGISTER } from '../abi/constants.ts'
import { EINVAL } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { registerRseq, unregisterRseq } from '../kernel/rseq.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { addr, flags as flagsArg, hex, type SyscallRows, uint } from './args.ts'

export function rseq(
  task: Task,
  address: GuestAddr,
  length: number,
  flags: number,
  signature: number,
): number {
  if ((flags & ~RSEQ_FLAG_UNREGISTER) !== 0) return -EINVAL
  const area = { address, length, signature }
  return (flags & RSEQ_FLAG_UNREGISTER) !== 0 ? unregisterRseq(task, area) : registerRseq(task, area)
}

export const rseqCalls = {
  rseq: { nr: NR.rseq, run: rseq, args: [addr, uint, flagsArg({ RSEQ_FLAG_UNREGISTER }), hex] },
} satisfies SyscallRows
