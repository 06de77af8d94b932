/**
 * HostSettings: /proc/sys/net of the host's network namespace that the sentry lives in. Nothing of it can be changed: it
 * is the host's.
 */
import {
  AT_SYMLINK_NOFOLLOW,
  O_DIRECTORY,
  O_RDONLY,
  RESOLVE_BENEATH,
  RESOLVE_NO_SYMLINKS,
} from '../../abi/constants.ts'
import { EPERM } from '../../abi/errno.ts'
import { fromBytes } from '../../base/bytes.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import type { NetSettings } from '../../fs/proc/net-settings.ts'
import { type Host, newHostStat } from '../../platform/host.ts'
import { Dirents } from '../../vfs/dirents.ts'

/** What is shown of one file at most. */
const MAX_TEXT = 65536
const RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS

export class HostSettings implements NetSettings {
  readonly #host: Host
  /** A mount of that directory alone, read-only. */
  readonly #tree: number
  readonly #stat = newHostStat()

  constructor(host: Host, tree: number) {
    this.#host = host
    this.#tree = tree
  }

  mode(path: string): number | undefined {
    const status = this.#host.statx(this.#tree, path, AT_SYMLINK_NOFOLLOW, this.#stat)
    return status < 0 ? undefined : this.#stat.mode
  }

  list(path: string): readonly string[] {
    const fd = this.#host.openat2(this.#tree, path || '.', O_RDONLY | O_DIRECTORY, 0, RESOLVE)
    if (fd < 0) return []
    const entries = new Dirents()
    const piece = new Uint8Array(4096)
    for (;;) {
      const length = this.#host.getdents(fd, piece)
      if (length <= 0) break
      entries.addRaw(piece, length)
    }
    this.#host.close(fd)
    const names: string[] = []
    entries.walk(0, name => names.push(name) > 0)
    return names
  }

  read(path: string): OrErrno<string> {
    const fd = this.#host.openat2(this.#tree, path, O_RDONLY, 0, RESOLVE)
    if (fd < 0) return fd
    const bytes = new Uint8Array(MAX_TEXT)
    const length = this.#host.pread(fd, bytes, -1)
    this.#host.close(fd)
    return length < 0 ? length : fromBytes(bytes, 0, length)
  }

  /** Writing the value that it has is no error. */
  write(path: string, text: string): Status {
    const value = this.read(path)
    return !failed(value) && words(value) === words(text) ? 0 : -EPERM
  }
}

function words(text: string): string {
  return text.trim().replace(/\s+/g, ' ')
}
