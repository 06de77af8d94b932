/** poll(2) for reading, by a process that has nothing else to do: it waits in the call. */
import { POLLIN } from '../abi/constants.ts'
import { POLLFD } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { Addon } from './addon.ts'

/**
 * The index of the first of the descriptors that can be read or whose other end is gone; -1 if there is none after `timeoutMs`
 * (-1: it waits as long as it takes), or a signal came.
 */
export function pollIn(addon: Addon, fds: readonly number[], timeoutMs: number): number {
  const bytes = new Uint8Array(fds.length * POLLFD.size)
  const view = new DataView(bytes.buffer)
  for (const [i, fd] of fds.entries()) {
    view.setInt32(i * POLLFD.size + POLLFD.fd, fd, true)
    view.setInt16(i * POLLFD.size + POLLFD.events, POLLIN, true)
  }
  if (addon.syscall(NR.poll, bytes, fds.length, timeoutMs) <= 0) return -1
  return fds.findIndex((_, i) => view.getInt16(i * POLLFD.size + POLLFD.revents, true) !== 0)
}
