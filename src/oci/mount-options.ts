/** The options of runtime-spec's mounts, which are those of mount(8): flags, propagation, and the rest. */
import {
  MS_DIRSYNC,
  MS_I_VERSION,
  MS_LAZYTIME,
  MS_MANDLOCK,
  MS_NOATIME,
  MS_NODEV,
  MS_NODIRATIME,
  MS_NOEXEC,
  MS_NOSUID,
  MS_NOSYMFOLLOW,
  MS_POSIXACL,
  MS_PRIVATE,
  MS_RDONLY,
  MS_REC,
  MS_RELATIME,
  MS_SHARED,
  MS_SILENT,
  MS_SLAVE,
  MS_STRICTATIME,
  MS_SYNCHRONOUS,
  MS_UNBINDABLE,
} from '../abi/constants.ts'

/** What an option sets, or clears. */
interface Change {
  readonly set?: number
  readonly clear?: number
}

const SIMPLE: Readonly<Record<string, Change>> = {
  acl: { set: MS_POSIXACL },
  async: { clear: MS_SYNCHRONOUS },
  defaults: {},
  dirsync: { set: MS_DIRSYNC },
  iversion: { set: MS_I_VERSION },
  lazytime: { set: MS_LAZYTIME },
  loud: { clear: MS_SILENT },
  mand: { set: MS_MANDLOCK },
  noacl: { clear: MS_POSIXACL },
  noiversion: { clear: MS_I_VERSION },
  nolazytime: { clear: MS_LAZYTIME },
  nomand: { clear: MS_MANDLOCK },
  silent: { set: MS_SILENT },
  sync: { set: MS_SYNCHRONOUS },
}

/** With an 'r' before, they are those of the mounts below, too: here a bind mount is one mount with all below it. */
const ATTRIBUTES: Readonly<Record<string, Change>> = {
  ro: { set: MS_RDONLY },
  rw: { clear: MS_RDONLY },
  nosuid: { set: MS_NOSUID },
  suid: { clear: MS_NOSUID },
  nodev: { set: MS_NODEV },
  dev: { clear: MS_NODEV },
  noexec: { set: MS_NOEXEC },
  exec: { clear: MS_NOEXEC },
  noatime: { set: MS_NOATIME },
  atime: { clear: MS_NOATIME },
  nodiratime: { set: MS_NODIRATIME },
  diratime: { clear: MS_NODIRATIME },
  relatime: { set: MS_RELATIME },
  norelatime: { clear: MS_RELATIME },
  strictatime: { set: MS_STRICTATIME },
  nostrictatime: { clear: MS_STRICTATIME },
  nosymfollow: { set: MS_NOSYMFOLLOW },
  symfollow: { clear: MS_NOSYMFOLLOW },
}

const PROPAGATION: Readonly<Record<string, number>> = {
  private: MS_PRIVATE,
  shared: MS_SHARED,
  slave: MS_SLAVE,
  unbindable: MS_UNBINDABLE,
}

const CHANGES: ReadonlyMap<string, Change> = new Map([
  ...Object.entries(SIMPLE),
  ...Object.entries(ATTRIBUTES),
  ...Object.entries(ATTRIBUTES).map(([name, change]): [string, Change] => [`r${name}`, change]),
])
const REFUSED: ReadonlySet<string> = new Set(['remount'])

/** Every name, for `features`. */
export const MOUNT_OPTIONS: readonly string[] = [
  ...CHANGES.keys(),
  ...Object.keys(PROPAGATION).flatMap(name => [name, `r${name}`]),
  'bind',
  'rbind',
  'idmap',
  'ridmap',
  'tmpcopyup',
].sort()

export interface MountOptions {
  /** MS_*, without MS_BIND. */
  readonly flags: number
  readonly bind: boolean
  readonly recursive: boolean
  readonly propagation: readonly number[]
  readonly copyUp: boolean
  /** By the container's own maps, where the mount has none. */
  readonly idmap: boolean
  /** What is the file system's to understand. */
  readonly rest: readonly string[]
  /** The first one that can't be obeyed. */
  readonly refused?: string
}

export function parseMountOptions(options: readonly string[]): MountOptions {
  let flags = 0
  let bind = false
  let recursive = false
  let copyUp = false
  let idmap = false
  let refused: string | undefined
  const propagation: number[] = []
  const rest: string[] = []
  for (const option of options) {
    const change = CHANGES.get(option)
    const kind = parsePropagation(option)
    if (change !== undefined) flags = (flags & ~(change.clear ?? 0)) | (change.set ?? 0)
    else if (kind !== undefined) propagation.push(kind)
    else if (option === 'bind') bind = true
    else if (option === 'rbind') bind = recursive = true
    else if (option === 'tmpcopyup') copyUp = true
    else if (option === 'idmap' || option === 'ridmap') idmap = true
    else if (REFUSED.has(option)) refused ??= option
    else if (option !== '') rest.push(option)
  }
  return { flags, bind, recursive, propagation, copyUp, idmap, rest, refused }
}

/** 'rslave' → MS_SLAVE | MS_REC */
export function parsePropagation(name: string): number | undefined {
  if (Object.hasOwn(PROPAGATION, name)) return PROPAGATION[name]
  const plain = name.slice(1)
  return name.startsWith('r') && Object.hasOwn(PROPAGATION, plain) ? PROPAGATION[plain] | MS_REC : undefined
}
