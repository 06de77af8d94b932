/**
 * Where the host has its cgroups: the mounted hierarchies, from mountinfo, and the caller's own place in each, from
 * /proc/self/cgroup (cgroups(7)). A host is of version 1 as soon as one controller is mounted as such; a hybrid one has
 * an empty version 2 hierarchy beside, which is then one more directory to be in.
 */
import { readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { unescapePath } from '../../sandbox/mount-info.ts'

export interface Hierarchy {
  /** Of version 1: the controllers, or 'name=systemd'; of version 2: ''. */
  readonly controllers: readonly string[]
  readonly mountpoint: string
  /** The caller's own directory. */
  readonly own: string
}

export interface Hierarchies {
  readonly version: 1 | 2
  readonly list: readonly Hierarchy[]
}

/** Of version 2. */
export const UNIFIED = ''

/** `proc`: where procfs is; another in tests. */
export function findHierarchies(proc = '/proc'): Hierarchies {
  const own = ownPaths(readFileSync(`${proc}/self/cgroup`, 'utf8'))
  const list: Hierarchy[] = []
  for (const line of readFileSync(`${proc}/self/mountinfo`, 'utf8').split('\n')) {
    const [left, right] = line.split(' - ')
    const [type, , options] = right?.split(' ') ?? []
    if (type !== 'cgroup' && type !== 'cgroup2') continue
    const [, , , root, mountpoint] = left.split(' ').map(unescapePath)
    const controllers = type === 'cgroup2' ? [UNIFIED] : options.split(',').filter(each => own.has(each))
    // One that is mounted twice serves once.
    if (controllers.length === 0 || list.some(each => each.controllers[0] === controllers[0])) continue
    list.push({ controllers, mountpoint, own: below(mountpoint, root, own.get(controllers[0]) ?? '/') })
  }
  const version = list.some(each => !/^$|^name=/.test(each.controllers[0])) ? 1 : 2
  return { version, list }
}

/** 'memory' → '/user.slice' */
function ownPaths(text: string): Map<string, string> {
  const paths = new Map<string, string>()
  for (const line of text.split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? []
    if (controllers === undefined) continue
    for (const controller of controllers.split(',')) paths.set(controller, path)
  }
  return paths
}

/** The directory of the cgroup `path` where the cgroup `root` is mounted at `mountpoint`. */
function below(mountpoint: string, root: string, path: string): string {
  const relative = posix.relative(root, path)
  return relative.startsWith('..') ? mountpoint : posix.join(mountpoint, relative)
}
