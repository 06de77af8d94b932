/** The network namespace of a process, for what is started in it. */
import { statSync } from 'node:fs'
import { CLONE_NEWNET, O_CLOEXEC } from '../abi/constants.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { Addon } from '../platform/addon.ts'
import { UserError } from '../sandbox/user-error.ts'

/**
 * Does `work`, which must not be asynchronous, in the network namespace of a process or at a path. Only this thread moves there,
 * and it comes back. The root of a user namespace may not come back to a namespace of the host's, as rootless podman has
 * it: with `mayStay`, for processes that soon end, it stays there.
 */
export function inNetworkNamespace<T>(
  addon: Addon,
  where: number | string,
  work: () => T,
  mayStay = false,
): T {
  const path = pathOf(where)
  const own = addon.syscall(NR.open, '/proc/thread-self/ns/net', O_CLOEXEC)
  const other = addon.syscall(NR.open, path, O_CLOEXEC)
  try {
    join(addon, other, path)
    try {
      return work()
    } finally {
      join(addon, own, path, mayStay)
    }
  } finally {
    if (own >= 0) addon.close(own)
    if (other >= 0) addon.close(other)
  }
}

/** What tells it from others; undefined for one that can't be seen from here: nobody could join it, either. */
export function networkNamespaceId(where: number | string): number | undefined {
  try {
    return statSync(pathOf(where)).ino
  } catch {
    return undefined
  }
}

function pathOf(where: number | string): string {
  return typeof where === 'number' ? `/proc/${where}/ns/net` : where
}

/** `perhaps`: or not. */
function join(addon: Addon, namespace: number, path: string, perhaps = false): void {
  if (namespace >= 0 && addon.syscall(NR.setns, namespace, CLONE_NEWNET) === 0) return
  if (!perhaps) {
    throw new UserError(`the network namespace ${path} can't be joined, or left again`)
  }
}
