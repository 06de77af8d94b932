/**
 * SimpleXattrs: the extended attributes of an inode that is in memory only: struct simple_xattrs. An inode makes one when
 * it gets its first attribute; which names there may be is the file system's to say.
 */
import { XATTR_CREATE, XATTR_REPLACE } from '../abi/constants.ts'
import { EEXIST, EINVAL, ENODATA, ENOSPC, EOPNOTSUPP } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'

/** Bytes of extended attributes, names included, that one inode may have. */
const LIMIT = 128 * 1024

export class SimpleXattrs {
  readonly #values = new Map<string, Uint8Array>()

  get(name: string): Uint8Array | number {
    return this.#values.get(name) ?? -ENODATA
  }

  set(name: string, value: Uint8Array, flags: number): Status {
    const old = this.#values.get(name)
    if (old !== undefined && (flags & XATTR_CREATE) !== 0) return -EEXIST
    if (old === undefined && (flags & XATTR_REPLACE) !== 0) return -ENODATA
    let total = name.length + value.length
    for (const [key, bytes] of this.#values) if (key !== name) total += key.length + bytes.length
    if (total > LIMIT) return -ENOSPC
    this.#values.set(name, value.slice())
    return 0
  }

  list(): string[] {
    return [...this.#values.keys()]
  }

  remove(name: string): Status {
    return this.#values.delete(name) ? 0 : -ENODATA
  }
}

/** Whether a name begins with one of the prefixes, and goes on behind it. */
export function checkXattrName(name: string, prefixes: readonly string[]): Status {
  for (const prefix of prefixes) if (name.startsWith(prefix)) return name.length > prefix.length ? 0 : -EINVAL
  return -EOPNOTSUPP
}
