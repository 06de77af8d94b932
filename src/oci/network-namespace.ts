/** The network namespace of a process, for what is started in it. */
import { CLONE_NEWNET, O_CLOEXEC } from '../abi/constants.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { Addon } from '../platform/addon.ts'
import { UserError } from '../sandbox/user-error.ts'

/**
 * Does `work`, which must not be asynchronous, in the network namespace of process `pid`. Only this thread moves there,
 * and it comes back.
 */
export function inNetworkNamespace<T>(addon: Addon, pid: number, work: () => T): T {
  const own = addon.syscall(NR.open, '/proc/thread-self/ns/net', O_CLOEXEC)
  const other = addon.syscall(NR.open, `/proc/${pid}/ns/net`, O_CLOEXEC)
  try {
    join(addon, other, pid)
    try {
      return work()
    } finally {
      join(addon, own, pid)
    }
  } finally {
    if (own >= 0) addon.close(own)
    if (other >= 0) addon.close(other)
  }
}

function join(addon: Addon, namespace: number, pid: number): void {
  if (namespace >= 0 && addon.syscall(NR.setns, namespace, CLONE_NEWNET) === 0) return
  throw new UserError(`the network namespace of process ${pid} can't be joined, or left again`)
}
