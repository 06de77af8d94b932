/** The directories of a cgroup: made with their parents, looked through, removed. */
import { existsSync, mkdirSync, readdirSync, rmdirSync } from 'node:fs'
import { join, posix } from 'node:path'
import { UserError } from '../../sandbox/user-error.ts'
import { isHostRoot } from '../host-root.ts'
import { readText, tryWrite } from './files.ts'
import { UNIFIED } from './hierarchies.ts'

/** Not permitted, or the hierarchy is mounted read-only: who is not the host's root goes without. */
const REFUSALS = new Set(['EACCES', 'EPERM', 'EROFS'])

/** Whether it could be made: only for the host's root, and where something is `wanted` of it, it must be. */
export function makeDirectory(
  controller: string,
  mountpoint: string,
  directory: string,
  wanted: boolean,
): boolean {
  try {
    makeWithParents(controller, mountpoint, directory)
    return true
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (REFUSALS.has(code ?? '') && !wanted && !isHostRoot()) return false
    throw new UserError(`the cgroup ${directory} can't be made: ${message}`)
  }
}

/** Processes in it and below. */
export function pidsBelow(directory: string): number[] {
  const pids = readText(directory, 'cgroup.procs').split('\n').map(Number)
  const below = childrenOf(directory).flatMap(pidsBelow)
  // 0 is a process that this pid namespace does not have.
  return [...pids.filter(pid => pid > 0), ...below]
}

/** With all below; whether it is gone. */
export function removeTree(directory: string): boolean {
  for (const child of childrenOf(directory)) removeTree(child)
  return tryRemove(directory)
}

/** If it is empty; whether it is gone. */
export function tryRemove(directory: string): boolean {
  try {
    rmdirSync(directory)
    return true
  } catch {
    // A hierarchy that is read-only refuses, whether it is there or not.
    return !existsSync(directory)
  }
}

/** Each of the parents must hand on what the next is to have. */
function makeWithParents(controller: string, mountpoint: string, directory: string): void {
  let parent = mountpoint
  for (const name of posix.relative(mountpoint, directory).split('/')) {
    if (name === '') continue
    if (controller === UNIFIED) enableControllers(parent)
    const child = join(parent, name)
    try {
      mkdirSync(child)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    if (controller === 'cpuset') inheritCpus(parent, child)
    parent = child
  }
}

/** One by one: the kernel may refuse some here, and who needs those will hear of it from the file that is missing. */
function enableControllers(parent: string): void {
  const enabled = new Set(readText(parent, 'cgroup.subtree_control').split(' '))
  for (const controller of readText(parent, 'cgroup.controllers').split(' ')) {
    if (controller !== '' && !enabled.has(controller))
      tryWrite(parent, 'cgroup.subtree_control', `+${controller}`)
  }
}

/** In version 1 a new cpuset has no CPUs, and no process can join it. */
function inheritCpus(parent: string, child: string): void {
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    if (readText(child, file) === '') tryWrite(child, file, readText(parent, file))
  }
}

function childrenOf(directory: string): string[] {
  try {
    const entries = readdirSync(directory, { withFileTypes: true })
    return entries.filter(entry => entry.isDirectory()).map(entry => join(directory, entry.name))
  } catch {
    return []
  }
}
