/**
 * runtime-spec's `root` and `mounts` as the guest's mount table, and the host directories and files that it takes. A
 * bind mount of one of the host's own windows into its kernel (/proc, /sys, /sys/fs/cgroup, /dev) gives the sandbox's own
 * of that kind: engines bind them into privileged containers.
 */
import { realpathSync, type Stats, statfsSync, statSync } from 'node:fs'
import { posix, resolve } from 'node:path'
import { MS_BIND, MS_RDONLY, MS_REC, MS_SHARED, MS_SLAVE } from '../abi/constants.ts'
import type { MountSpec } from '../sandbox/protocol.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { Config, MountConfig } from './config.ts'
import { isKnownDevice } from './devices.ts'
import { parseMountOptions, parsePropagation } from './mount-options.ts'
import { type IdMaps, idMap } from './namespaces.ts'
import type { HostTree } from './plan.ts'
import { pseudoType } from './pseudo-type.ts'

/** By the names that mount(8) knows them by. Both kinds of cgroup file system are shown as version 2. */
const OWN_TYPES: ReadonlyMap<string, string> = new Map([
  ['proc', 'proc'],
  ['sysfs', 'sysfs'],
  ['tmpfs', 'tmpfs'],
  ['devtmpfs', 'devtmpfs'],
  ['devpts', 'devpts'],
  ['mqueue', 'mqueue'],
  ['cgroup', 'cgroup2'],
  ['cgroup2', 'cgroup2'],
])

/** Directories of the host in whose place the sandbox has its own. */
const OWN_DIRECTORIES: ReadonlyMap<string, string> = new Map([
  ['/proc', 'proc'],
  ['/sys', 'sysfs'],
  ['/sys/fs/cgroup', 'cgroup2'],
  ['/dev', 'devtmpfs'],
  ['/dev/pts', 'devpts'],
  ['/dev/mqueue', 'mqueue'],
])

export interface MountPlan {
  readonly mounts: readonly MountSpec[]
  readonly trees: readonly HostTree[]
}

export function planRoot(config: Config, bundle: string): { tree: HostTree; propagation: number } {
  const { root, linux } = config
  if (root === undefined) throw new UserError('root is missing')
  const source = resolve(bundle, root.path)
  const stats = inspect(source, 'root.path')
  if (!stats.isDirectory()) throw new UserError(`root.path: ${source} is not a directory`)
  const propagation = parsePropagation(linux?.rootfsPropagation ?? '') ?? 0
  const readOnlyOnceBuilt = root.readonly ?? false
  return {
    tree: { source, recursive: true, readOnly: false, readOnlyOnceBuilt, field: 'root.path' },
    propagation,
  }
}

/** `first`: the index of the first tree; `own`: the maps of the container's user namespace. */
export function planMounts(
  mounts: readonly MountConfig[],
  bundle: string,
  first: number,
  own: IdMaps,
  warnings: string[],
): MountPlan {
  const trees: HostTree[] = []
  const specs = mounts.map((mount, i) => {
    const field = `mounts[${i}]`
    const options = parseMountOptions(mount.options ?? [])
    const { flags, propagation, copyUp, rest } = options
    if (options.refused !== undefined) {
      throw new UserError(`${field}.options can't be obeyed: a sandbox has no '${options.refused}'`)
    }
    const target = posix.normalize(posix.join('/', mount.destination))
    if (target === '/') throw new UserError(`${field}.destination is the root, which root.path gives`)
    const idmap = planIdmap(mount, field, options.idmap, own)
    const common = { target, flags, propagation }
    const leaveOutIdmap = (): void => {
      if (idmap !== undefined)
        warnings.push(`${field}: owners are mapped in bind mounts of the host's files only`)
    }
    if (mount.type !== 'bind' && !options.bind) {
      const type = OWN_TYPES.get(mount.type ?? '')
      if (type === undefined) {
        throw new UserError(
          `${field}.type can't be obeyed: the sandbox has no file system '${mount.type ?? ''}' of its own; ` +
            'mount it on the host and bind it',
        )
      }
      leaveOutIdmap()
      return { ...common, type, source: mount.source ?? type, options: rest.join(','), copyUp }
    }
    for (const option of rest) warnings.push(`${field}.options: a bind mount has no use for '${option}'`)
    if (!mount.source) throw new UserError(`${field}.source is missing: what shall be bound?`)
    const source = resolve(bundle, mount.source)
    const pseudo = ownInsteadOf(source, `${field}.source`)
    if (pseudo !== undefined) {
      warnings.push(`${field}.source: the sandbox has its own ${pseudo} in place of the host's ${source}`)
      leaveOutIdmap()
      return { ...common, type: pseudo, source: pseudo, options: '' }
    }
    if (propagation.some(change => (change & (MS_SLAVE | MS_SHARED)) !== 0)) {
      warnings.push(`${field}.options: mounts that the host makes later below ${source} won't appear there`)
    }
    const tree = first + trees.length
    const readOnly = (flags & MS_RDONLY) !== 0
    trees.push({ source, recursive: options.recursive, readOnly, field: `${field}.source` })
    const bind = MS_BIND | (options.recursive ? MS_REC : 0)
    return { ...common, flags: flags | bind, type: 'bind', source, options: '', tree, idmap }
  })
  return { mounts: specs, trees }
}

/** How the owners of files in a bind mount are to be seen; undefined: as they are. */
function planIdmap(mount: MountConfig, field: string, asked: boolean, own: IdMaps): IdMaps | undefined {
  const { uidMappings = [], gidMappings = [] } = mount
  if (uidMappings.length === 0 && gidMappings.length === 0) {
    if (!asked) return undefined
    if (own.uidMap.length > 0) return own
    throw new UserError(
      `${field}.options has 'idmap', but neither the mount nor the container has mappings: give ${field}.uidMappings and gidMappings`,
    )
  }
  if (uidMappings.length === 0 || gidMappings.length === 0)
    throw new UserError(`${field}: uidMappings and gidMappings must be given together`)
  return { uidMap: idMap(uidMappings), gidMap: idMap(gidMappings) }
}

/** The type of the sandbox's own file system that stands in for the host's at `source`. */
function ownInsteadOf(source: string, field: string): string | undefined {
  const stats = inspect(source, field)
  const real = realpathSync(source)
  const own = OWN_DIRECTORIES.get(real)
  if (own !== undefined) return own
  if (stats.isBlockDevice() || stats.isCharacterDevice()) {
    if (isKnownDevice(stats.isBlockDevice() ? 'b' : 'c', major(stats.rdev), minor(stats.rdev)))
      return undefined
    throw new UserError(`${field}: ${source} is a device of the host, which a sandbox can't reach`)
  }
  const pseudo = pseudoType(statfsSync(real).type)
  if (pseudo === 'cgroup' || pseudo === 'cgroup2') return 'cgroup2'
  if (pseudo === undefined) return undefined
  throw new UserError(`${field}: ${source} belongs to the ${pseudo} of the host, which a sandbox can't reach`)
}

function inspect(source: string, field: string): Stats {
  try {
    return statSync(source)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new UserError(`${field}: ${code === 'ENOENT' ? `${source} does not exist` : message}`)
  }
}

/** glibc's gnu_dev_major and gnu_dev_minor. */
function major(dev: number): number {
  return Math.floor(dev / 0x100) & 0xfff
}
function minor(dev: number): number {
  return (dev & 0xff) | (Math.floor(dev / 0x1000) & 0xfff00)
}
