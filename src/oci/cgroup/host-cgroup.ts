/**
 * A container's cgroup on the host, which holds the whole sandbox: launcher, sentry and the guest's processes.
 *
 *   plan      where it will be, as data that is saved before anything is made
 *   create    makes the directories and writes the limits; the launcher joins by itself (`directories`)
 *   open      of a container that there is
 *   remove    kills what is left in it, and removes the directories
 *
 * `directories` has one for each controller of cgroup version 1, and one by the name '' for version 2. The device
 * controller's rules are not written: a sandbox has no devices of the host. The guest's own limits are kept by its own
 * cgroup; those of the host have the sentry's share on top (settings.ts).
 */
import { join, posix } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../../sandbox/monotonic.ts'
import { UserError } from '../../sandbox/user-error.ts'
import type { ResourcesConfig } from '../config.ts'
import type { CgroupPlan } from '../plan.ts'
import { makeDirectory, pidsBelow, removeTree, tryRemove } from './directories.ts'
import { hasFile, readNumber, readTable, readText, tryWrite, writeText } from './files.ts'
import { findHierarchies, type Hierarchies, type Hierarchy, UNIFIED } from './hierarchies.ts'
import { hostMemory, type Setting } from './settings.ts'
import { settingsV1 } from './settings-v1.ts'
import { settingsV2 } from './settings-v2.ts'
import { type CgroupStats, oomKillsOf, statsV1, statsV2 } from './stats.ts'
import { parseSystemdPath, type SystemdUnit, slicePath } from './systemd-path.ts'

/** What is needed to find it again; plain data. */
export interface SavedCgroup {
  readonly version: 1 | 2
  /** By controller; '' for version 2. */
  readonly directories: Readonly<Record<string, string>>
  /** Where the hierarchy of a directory begins. */
  readonly mountpoints: Readonly<Record<string, string>>
  readonly systemd?: SystemdUnit
  /** It is ours, with all that is in it. */
  readonly made?: boolean
}

/** What is killed may have much to give back. */
const REMOVE_LIMIT_MS = 10_000
const FREEZE_LIMIT_MS = 5_000
const OOM_INTERVAL_MS = 500

export class HostCgroup {
  #saved: SavedCgroup
  /** Ends the process that holds a scope until others are in it. */
  #release = () => {}

  private constructor(saved: SavedCgroup) {
    this.#saved = saved
  }

  /** Touches nothing. `userManager`: the cgroup of the user's systemd, where it is that one which is to be asked. */
  static plan(
    { id, cgroup }: { readonly id: string; readonly cgroup: CgroupPlan },
    hierarchies = findHierarchies(),
    userManager?: string,
  ): SavedCgroup {
    const { path, driver } = cgroup
    if (driver === 'cgroupfs') return saved(hierarchies, each => directoryOf(each, path ?? id))
    const systemd = parseSystemdPath(path, id, userManager !== undefined)
    const place = `${userManager ?? ''}${slicePath(systemd.slice)}/${systemd.unit}`
    return { ...saved(hierarchies, each => join(each.mountpoint, place)), systemd }
  }

  /** Leaves nothing where it fails. */
  static async create(saved: SavedCgroup, resources: ResourcesConfig): Promise<HostCgroup> {
    refuseOthers(saved)
    const cgroup = new HostCgroup(saved)
    try {
      if (saved.systemd !== undefined) await cgroup.#startUnit(saved.systemd, resources)
      cgroup.#saved = { ...saved, made: true }
      cgroup.#makeDirectories(resources)
      for (const setting of cgroup.#settings(resources)) write(cgroup.#directories, setting)
      return cgroup
    } catch (error) {
      // What went wrong first is the reason.
      await cgroup.remove().catch(() => {})
      throw error
    }
  }

  static open(saved: SavedCgroup): HostCgroup {
    return new HostCgroup(saved)
  }

  get saved(): SavedCgroup {
    return this.#saved
  }
  get #directories(): SavedCgroup['directories'] {
    return this.#saved.directories
  }
  /** For the launcher to join. */
  get directories(): readonly string[] {
    return [...new Set(Object.values(this.#directories))]
  }

  join(pid: number): void {
    for (const directory of this.directories) {
      writeText(directory, 'cgroup.procs', String(pid), `process ${pid}'s cgroup`)
    }
  }

  /** To be called when a process of the container's has joined. */
  joined(): void {
    this.#release()
  }

  /** New limits; those that `resources` doesn't have stay. */
  async apply(resources: ResourcesConfig): Promise<void> {
    const { memory = {} } = resources
    const limit = hostMemory(memory.limit)
    if (memory.checkBeforeUpdate && limit !== undefined && limit > 0 && this.#memoryUsage() > limit) {
      throw new UserError(`linux.resources.memory.limit is ${memory.limit}, which is less than is in use`)
    }
    const { version, systemd } = this.#saved
    if (systemd !== undefined) {
      const { setProperties } = await import('./systemd.ts')
      const { systemdProperties } = await import('./systemd-properties.ts')
      await setProperties(systemd, systemdProperties(version, resources))
    }
    for (const setting of this.#settings(resources)) write(this.#directories, setting)
  }

  get frozen(): boolean {
    const { freezer, [UNIFIED]: unified } = this.#directories
    // FREEZING, too.
    if (freezer !== undefined) return readText(freezer, 'freezer.state').startsWith('FR')
    return readText(unified, 'cgroup.freeze') === '1'
  }

  /** The file that `frozen` looks at; undefined where there is none. */
  get freezerFile(): string | undefined {
    const { freezer, [UNIFIED]: unified } = this.#directories
    if (freezer !== undefined) return join(freezer, 'freezer.state')
    return unified === undefined ? undefined : join(unified, 'cgroup.freeze')
  }

  /** Resolves when nothing in it runs any more. */
  async freeze(): Promise<void> {
    const { freezer, [UNIFIED]: unified } = this.#directories
    const deadline = monotonicMs() + FREEZE_LIMIT_MS
    if (freezer === undefined && unified === undefined)
      throw new UserError('this host has no cgroups that freeze')
    for (;;) {
      if (freezer !== undefined) {
        // Written again until it has caught those that were being forked.
        writeText(freezer, 'freezer.state', 'FROZEN', 'pause')
        if (readText(freezer, 'freezer.state') === 'FROZEN') return
      } else {
        writeText(unified, 'cgroup.freeze', '1', 'pause')
        if (readTable(unified, 'cgroup.events').get('frozen') === 1) return
      }
      if (monotonicMs() > deadline) {
        this.thaw()
        throw new UserError('the container could not be paused: one of its processes can not be stopped')
      }
      await sleep(1)
    }
  }

  thaw(): void {
    if (!this.#saved.made) return
    const { freezer, [UNIFIED]: unified } = this.#directories
    if (freezer !== undefined) tryWrite(freezer, 'freezer.state', 'THAWED')
    else if (unified !== undefined) tryWrite(unified, 'cgroup.freeze', '0')
  }

  stats(): CgroupStats {
    return this.#saved.version === 1 ? statsV1(this.#directories) : statsV2(this.#directories[UNIFIED])
  }

  /** How many processes the kernel has killed for want of memory. */
  oomKills(): number {
    return oomKillsOf(this.#directories)
  }

  /** Calls back for each of them from now on, until the returned function is called. */
  watchOom(killed: () => void): () => void {
    let seen = this.oomKills()
    const timer = setInterval(() => {
      const kills = this.oomKills()
      if (kills > seen) killed()
      seen = kills
    }, OOM_INTERVAL_MS)
    timer.unref()
    return () => clearInterval(timer)
  }

  /** Processes of the host, in it and below. */
  pids(): number[] {
    const directory = this.#anyDirectory()
    return directory === undefined ? [] : pidsBelow(directory)
  }

  /** Sends SIGKILL to all, once. */
  killAll(): void {
    const { [UNIFIED]: unified } = this.#directories
    this.#release()
    // What is frozen does not die in version 1.
    if (unified === undefined || !tryWrite(unified, 'cgroup.kill', '1')) {
      for (const pid of this.pids()) kill(pid)
    }
    this.thaw()
  }

  /** Resolves when it is gone. */
  async remove(): Promise<void> {
    const { systemd, made } = this.#saved
    if (!made) {
      // Perhaps empty directories, perhaps somebody else's.
      this.#release()
      for (const directory of this.directories) tryRemove(directory)
      return
    }
    this.killAll()
    if (systemd !== undefined) await (await import('./systemd.ts')).stopUnit(systemd)
    const deadline = monotonicMs() + REMOVE_LIMIT_MS
    let left = this.directories
    for (let pause = 1; ; pause = Math.min(2 * pause, 50)) {
      left = left.filter(directory => !removeTree(directory))
      if (left.length === 0) return
      if (monotonicMs() > deadline)
        throw new UserError(`the cgroup ${left[0]} can't be removed: it is in use`)
      await sleep(pause)
      this.killAll()
    }
  }

  #settings(resources: ResourcesConfig): Setting[] {
    return this.#saved.version === 1 ? settingsV1(resources) : settingsV2(resources)
  }

  /** Goes on with those that could be made. */
  #makeDirectories(resources: ResourcesConfig): void {
    const { directories, mountpoints } = this.#saved
    const wanted = new Set(this.#settings(resources).map(setting => setting.controller))
    const made = Object.entries(directories).filter(([controller, directory]) =>
      makeDirectory(controller, mountpoints[controller], directory, wanted.has(controller)),
    )
    this.#saved = { ...this.#saved, directories: Object.fromEntries(made) }
  }

  async #startUnit(unit: SystemdUnit, resources: ResourcesConfig): Promise<void> {
    const { startUnit } = await import('./systemd.ts')
    const { systemdProperties } = await import('./systemd-properties.ts')
    const limits = systemdProperties(this.#saved.version, resources)
    const placeholder = await startUnit(unit, this.#anyDirectory() ?? '', limits)
    this.#release = () => void placeholder.kill('SIGKILL')
  }

  #memoryUsage(): number {
    const { memory, [UNIFIED]: unified } = this.#directories
    return memory === undefined
      ? readNumber(unified, 'memory.current')
      : readNumber(memory, 'memory.usage_in_bytes')
  }

  #anyDirectory(): string | undefined {
    const directories = this.#directories
    return directories.pids ?? directories[UNIFIED] ?? Object.values(directories)[0]
  }
}

/** All that is in a container's cgroup ends with it. */
function refuseOthers({ directories, mountpoints }: SavedCgroup): void {
  for (const [controller, directory] of Object.entries(directories)) {
    if (directory !== mountpoints[controller] && pidsBelow(directory).length === 0) continue
    throw new UserError(`linux.cgroupsPath can't be obeyed: there are processes in ${directory} already`)
  }
}

function saved({ version, list }: Hierarchies, directoryOf: (hierarchy: Hierarchy) => string): SavedCgroup {
  const directories: Record<string, string> = {}
  const mountpoints: Record<string, string> = {}
  for (const hierarchy of list) {
    for (const controller of hierarchy.controllers) {
      directories[controller] = directoryOf(hierarchy)
      mountpoints[controller] = hierarchy.mountpoint
    }
  }
  return { version, directories, mountpoints }
}

/**
 * As runc has it: an absolute path begins at the hierarchy's root, another one at the caller's own cgroup, in version 2
 * beside it, since a cgroup with processes in it can't give limits to others below.
 */
function directoryOf({ controllers, mountpoint, own }: Hierarchy, path: string): string {
  if (path.startsWith('/')) return join(mountpoint, posix.normalize(path))
  const parent = controllers[0] === UNIFIED && own !== mountpoint ? posix.dirname(own) : own
  return join(parent, posix.join('/', path))
}

function write(directories: Readonly<Record<string, string>>, setting: Setting): void {
  const { controller, field, tentative, otherwise } = setting
  const directory = directories[controller]
  if (directory === undefined) {
    throw new UserError(
      `${field} can't be obeyed: this host has no cgroup controller '${controller || 'unified'}'`,
    )
  }
  const { file, value } = otherwise !== undefined && !hasFile(directory, setting.file) ? otherwise : setting
  if (tentative) tryWrite(directory, file, value)
  else writeText(directory, file, value, field)
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It is gone.
  }
}
