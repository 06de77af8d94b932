/** How the files of a cgroup are read and written: one value, 'max' for no limit, or lines of 'key value'. */
import { EINVAL, EPERM } from '../../abi/errno.ts'
import type { Changes } from '../../base/changes.ts'
import type { Status } from '../../base/result.ts'
import type { Cgroup } from '../../kernel/cgroup/cgroup.ts'
import { caller } from '../proc/access.ts'
import { type FileNode, ro, rw } from '../pseudo/node.ts'

export type CgroupFile = FileNode<Cgroup>

const PAGE_SIZE = 4096

/**
 * A setting. Where namespaces are the borders of delegation (nsdelegate) those of the namespace's own root belong to who
 * made it.
 */
export function setting(
  read: (cgroup: Cgroup) => string,
  write: (cgroup: Cgroup, text: string) => Status,
): CgroupFile {
  return rw(
    cgroup => `${read(cgroup)}\n`,
    (cgroup, text) => {
      if (caller(cgroup.kernel).ns.cgroup.root === cgroup) return -EPERM
      return write(cgroup, text.trim())
    },
  )
}

/** A limit: a number or 'max'. */
export function limit(
  get: (cgroup: Cgroup) => number,
  set: (cgroup: Cgroup, value: number) => void,
  parse: (text: string) => number,
): CgroupFile {
  return setting(
    cgroup => limitText(get(cgroup)),
    (cgroup, text) => {
      const value = text === 'max' ? Number.POSITIVE_INFINITY : parse(text)
      if (value < 0) return value
      set(cgroup, value)
      return 0
    },
  )
}

export function limitText(value: number): string {
  return value === Number.POSITIVE_INFINITY ? 'max' : `${value}`
}

/** Bytes, with a suffix, in whole pages; -EINVAL if it is none. */
export function parseBytes(text: string): number {
  const match = /^(\d+)([kmgtpe]?)$/i.exec(text)
  if (match === null) return -EINVAL
  const bytes = Number(match[1]) * 1024 ** ' kmgtpe'.indexOf(match[2].toLowerCase() || ' ')
  return Math.floor(bytes / PAGE_SIZE) * PAGE_SIZE
}

export function parseNumber(text: string): number {
  return /^\d+$/.test(text) ? Number(text) : -EINVAL
}

/** Lines of 'key value'; with `changes` their changes are told. */
export function table(
  rows: (cgroup: Cgroup) => Readonly<Record<string, number>>,
  changes?: (cgroup: Cgroup) => Changes,
): CgroupFile {
  const node = ro<Cgroup>(cgroup =>
    Object.entries(rows(cgroup))
      .map(([key, value]) => `${key} ${value}\n`)
      .join(''),
  )
  return { ...node, changes }
}

export function value(read: (cgroup: Cgroup) => number | string): CgroupFile {
  return ro(cgroup => `${read(cgroup)}\n`)
}
