/** Transfers between a descriptor of the host and an IoDst or IoSrc: in place in its windows, or past the sentry. */
import type { IoDst, IoSrc } from '../base/io.ts'
import type { Host } from './host.ts'

/** Below this a copy through the sentry is faster than passing a descriptor to the guest's process. */
export const DIRECT_MIN = 64 << 10

/**
 * Reads up to `length` bytes at `offset` of `fd`: the count (short at the end of the file), or a negative errno. `passed`:
 * a descriptor of the same file that the guest's process may have, -1 if there is none.
 */
export function readHost(
  host: Host,
  fd: number,
  into: IoDst,
  offset: number,
  length: number,
  passed = fd,
): number {
  let done = 0
  while (done < length && into.remaining > 0) {
    const direct = Math.min(into.direct, length - done)
    if (direct >= DIRECT_MIN && passed >= 0) {
      const n = into.readHost(passed, offset + done, direct)
      if (n <= 0) return done > 0 ? done : n
      done += n
      if (n < direct) break
      continue
    }
    const window = into.window(length - done)
    const n = host.pread(fd, window, offset + done)
    if (n <= 0) return done > 0 ? done : n
    const status = into.commit(n)
    if (status < 0) return done > 0 ? done : status
    done += n
    if (n < window.length) break
  }
  return done
}

/** Writes up to `length` bytes at `offset` of `fd`: the count, or a negative errno when there was not one. `passed`: as above. */
export function writeHost(
  host: Host,
  fd: number,
  from: IoSrc,
  offset: number,
  length: number,
  passed = fd,
): number {
  let done = 0
  while (done < length && from.remaining > 0) {
    const direct = Math.min(from.direct, length - done)
    if (direct >= DIRECT_MIN && passed >= 0) {
      const n = from.writeHost(passed, offset + done, direct)
      if (n <= 0) return done > 0 ? done : n
      done += n
      if (n < direct) break
      continue
    }
    const window = from.window(length - done)
    if (typeof window === 'number') return done > 0 ? done : window
    const n = host.pwrite(fd, window, offset + done)
    if (n <= 0) return done > 0 ? done : n
    from.consume(n)
    done += n
    if (n < window.length) break
  }
  return done
}
