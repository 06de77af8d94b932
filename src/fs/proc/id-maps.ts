/** /proc/PID/uid_map, gid_map, projid_map and setgroups: user_namespaces(7). */
import { CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN, O_ACCMODE, O_RDONLY } from '../../abi/constants.ts'
import { EACCES, EINVAL, EPERM } from '../../abi/errno.ts'
import { type Credentials, type IdMapping, isMapped, type UserNamespace } from '../../base/credentials.ts'
import { fromKernelId, INVALID_ID, toKernelId } from '../../base/id-map.ts'
import type { Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import { caller } from './access.ts'

const MAX_LINES = 340
const MAX_TEXT = 4096

export type MapKind = 'uidMap' | 'gidMap'

/** The second column is as the reader's namespace numbers it; for one inside, as the parent does. */
export function formatIdMap(task: Task, kind: MapKind, reader: Credentials): string {
  const ns = task.cred.userNs
  const lower = ns === reader.userNs && ns.parent !== undefined ? ns.parent : reader.userNs
  return ns[kind]
    .map(line => {
      const outside = isMapped(lower[kind], line.outside)
        ? fromKernelId(lower[kind], line.outside)
        : INVALID_ID
      return `${[line.inside, outside, line.count].map(n => String(n).padStart(10)).join(' ')}\n`
    })
    .join('')
}

/** Sets the map, once. `opener`: who opened the file; the writer counts too. */
export function writeIdMap(task: Task, kind: MapKind, text: string, opener: Credentials): Status {
  const ns = task.cred.userNs
  const { parent } = ns
  if (text.length >= MAX_TEXT) return -EINVAL
  if (parent === undefined) return -EPERM
  if (opener.userNs !== ns && opener.userNs !== parent) return -EPERM
  if (ns[kind].length > 0) return -EPERM
  if (!opener.capable(CAP_SYS_ADMIN, ns)) return -EPERM
  const lines = parse(text)
  if (typeof lines === 'number') return lines
  const writer = caller(task.kernel).cred
  if (!permitted(ns, parent, kind, lines, writer, opener)) return -EPERM
  for (const line of lines) {
    // All of it must exist in the parent, in one piece.
    const first = toKernelId(parent[kind], line.outside)
    const last = toKernelId(parent[kind], line.outside + line.count - 1)
    if (first === INVALID_ID || last - first !== line.count - 1) return -EPERM
    line.outside = first
  }
  ns[kind] = lines
  return 0
}

function parse(text: string): IdMapping[] | number {
  const lines: IdMapping[] = []
  for (const row of text.replace(/\n$/, '').split('\n')) {
    const match = /^[ \t]*(\d+)[ \t]+(\d+)[ \t]+(\d+)[ \t]*$/.exec(row)
    if (match === null) return -EINVAL
    const [inside, outside, count] = match.slice(1).map(Number)
    if (inside >= INVALID_ID || outside >= INVALID_ID || count === 0) return -EINVAL
    if (inside + count > INVALID_ID || outside + count > INVALID_ID) return -EINVAL
    if (
      lines.some(
        other =>
          overlap(other.inside, inside, other.count, count) ||
          overlap(other.outside, outside, other.count, count),
      )
    ) {
      return -EINVAL
    }
    lines.push({ inside, outside, count })
    if (lines.length > MAX_LINES) return -EINVAL
  }
  return lines
}

function overlap(a: number, b: number, countA: number, countB: number): boolean {
  return a < b + countB && b < a + countA
}

function permitted(
  ns: UserNamespace,
  parent: UserNamespace,
  kind: MapKind,
  lines: readonly IdMapping[],
  writer: Credentials,
  opener: Credentials,
): boolean {
  // Without privilege one may map oneself, and a group only once it can't be used to drop groups.
  if (lines.length === 1 && lines[0].count === 1 && ns.owner === writer.euid) {
    const id = toKernelId(parent[kind], lines[0].outside)
    if (kind === 'uidMap' && id === writer.euid) return true
    if (kind === 'gidMap' && id === writer.egid && !ns.setgroupsAllowed) return true
  }
  const cap = kind === 'uidMap' ? CAP_SETUID : CAP_SETGID
  return writer.capable(cap, parent) && opener.capable(cap, parent)
}

export function formatSetgroups(task: Task): string {
  return task.cred.userNs.setgroupsAllowed ? 'allow\n' : 'deny\n'
}

/** Who may write it is decided when it is opened. */
export function mayOpenSetgroups(task: Task, cred: Credentials, flags: number): Status {
  if ((flags & O_ACCMODE) === O_RDONLY) return 0
  return cred.capable(CAP_SYS_ADMIN, task.cred.userNs) ? 0 : -EACCES
}

export function writeSetgroups(task: Task, text: string): Status {
  const ns = task.cred.userNs
  if (text.length >= 8) return -EINVAL
  const match = /^(allow|deny)\s*$/.exec(text)
  if (match === null) return -EINVAL
  if (match[1] === 'allow') return ns.setgroupsAllowed ? 0 : -EPERM
  if (ns.gidMap.length > 0) return -EPERM
  ns.setgroupsAllowed = false
  return 0
}
