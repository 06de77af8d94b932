/**
 * Host directories and files for a sandbox: descriptors of detached mounts, clones of the host's, which nobody but their
 * holder can reach and which end with the last descriptor. They have no devices and no set-user-ID programs, and where
 * the container may only read them, the host's kernel holds that too.
 *
 * File systems that show or steer the host's kernel (proc, sysfs, cgroup, …) are never part of a tree. Where some are
 * mounted below a source, the tree is cloned in a short-lived mount namespace in which they have been taken away.
 */
import { readFileSync, statfsSync } from 'node:fs'
import { getSystemErrorMessage } from 'node:util'
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_RECURSIVE,
  CLONE_NEWNS,
  MNT_DETACH,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  MS_PRIVATE,
  MS_REC,
  O_CLOEXEC,
  O_PATH,
  OPEN_TREE_CLOEXEC,
  OPEN_TREE_CLONE,
  RESOLVE_NO_SYMLINKS,
  UMOUNT_NOFOLLOW,
} from '../abi/constants.ts'
import { EINVAL } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { encodeText } from '../base/bytes.ts'
import type { Addon } from '../platform/addon.ts'
import { type HostMount, parseMountInfo, pseudoMountsBelow } from '../sandbox/mount-info.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { HostTree } from './plan.ts'
import { pseudoType } from './pseudo-type.ts'

/** A descriptor for each tree, in their order; the caller's to close. */
export function openTrees(addon: Addon, trees: readonly HostTree[]): number[] {
  const mounts = parseMountInfo(readFileSync('/proc/self/mountinfo', 'latin1'))
  const opened: number[] = []
  try {
    for (const tree of trees) opened.push(openTree(addon, tree, mounts))
    return opened
  } catch (error) {
    for (const fd of opened) addon.close(fd)
    throw error
  }
}

function openTree(addon: Addon, tree: HostTree, mounts: readonly HostMount[]): number {
  // By descriptor, so that what is looked at is what is cloned.
  const at = addon.syscall(NR.open, encodeText(tree.source), O_PATH | O_CLOEXEC)
  if (at < 0) throw refusal(tree, 'it', at)
  try {
    const type = pseudoType(statfsSync(`/proc/self/fd/${at}`).type)
    if (type !== undefined) {
      throw new UserError(
        `${tree.field}: ${tree.source} belongs to the ${type} of the host, which stays its own`,
      )
    }
    const path = addon.readlinkat(AT_FDCWD, `/proc/self/fd/${at}`)
    if (typeof path === 'number') throw refusal(tree, 'its path', path)
    const pseudo = tree.recursive ? pseudoMountsIn(path, mounts) : []
    const fd = pseudo.length === 0 ? cloneTree(addon, tree, at) : cloneWithout(addon, tree, path, pseudo)
    try {
      restrict(addon, tree, fd)
      return fd
    } catch (error) {
      addon.close(fd)
      throw error
    }
  } finally {
    addon.close(at)
  }
}

function cloneTree(addon: Addon, tree: HostTree, at: number): number {
  const recursive = tree.recursive ? AT_RECURSIVE : 0
  const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | recursive
  const fd = addon.syscall(NR.open_tree, at, '', flags)
  if (fd < 0) throw refusal(tree, 'a copy of its mount', fd)
  return fd
}

/** To be called when the sandbox has built the container's root of them. */
export function sealTrees(addon: Addon, trees: readonly HostTree[], opened: readonly number[]): void {
  trees.forEach((tree, i) => {
    if (tree.readOnlyOnceBuilt) setAttributes(addon, tree, opened[i], MOUNT_ATTR_RDONLY)
  })
}

function restrict(addon: Addon, tree: HostTree, fd: number): void {
  const readOnly = tree.readOnly ? MOUNT_ATTR_RDONLY : 0
  setAttributes(addon, tree, fd, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | readOnly)
}

function setAttributes(addon: Addon, tree: HostTree, fd: number, set: number): void {
  const attr = new Uint8Array(32)
  new DataView(attr.buffer).setUint32(0, set, true)
  const flags = AT_EMPTY_PATH | (tree.recursive ? AT_RECURSIVE : 0)
  const status = addon.syscall(NR.mount_setattr, fd, '', flags, attr, attr.length)
  if (status < 0) throw refusal(tree, 'restricting it (Linux 5.12 or newer is needed)', status)
}

/** Absolute paths, byte strings. */
function pseudoMountsIn(path: string, mounts: readonly HostMount[]): string[] {
  return pseudoMountsBelow(mounts, path).map(below => (path === '/' ? `/${below}` : `${path}/${below}`))
}

/**
 * What is at `path`, where no symbolic link is on the way, in a copy of our mount namespace without `pseudo`. It is this
 * thread's alone: all happens before anybody else runs.
 */
function cloneWithout(addon: Addon, tree: HostTree, path: string, pseudo: readonly string[]): number {
  const own = addon.syscall(NR.open, '/proc/thread-self/ns/mnt', O_CLOEXEC)
  const cwd = addon.syscall(NR.open, '.', O_PATH | O_CLOEXEC)
  if (own < 0 || cwd < 0) throw refusal(tree, 'our mount namespace', Math.min(own, cwd))
  try {
    const status = addon.syscall(NR.unshare, CLONE_NEWNS)
    if (status < 0) throw refusal(tree, 'a mount namespace to copy it in', status)
    try {
      // As long as they are shared the host would lose its own.
      const unshared = addon.syscall(NR.mount, 0, '/', 0, MS_REC | MS_PRIVATE, 0)
      if (unshared < 0) throw refusal(tree, 'making its mounts private', unshared)
      for (const below of pseudo) {
        const gone = addon.syscall(NR.umount2, below, MNT_DETACH | UMOUNT_NOFOLLOW)
        // EINVAL: no mount; what lies in /dev itself is no device here.
        if (gone < 0 && gone !== -EINVAL) throw refusal(tree, `leaving out ${below}`, gone)
      }
      // A link that somebody has put there meanwhile would lead to what still has its pseudo file systems.
      const at = addon.openat2(AT_FDCWD, path, O_PATH | O_CLOEXEC, 0, RESOLVE_NO_SYMLINKS)
      if (at < 0) throw refusal(tree, 'it', at)
      try {
        return cloneTree(addon, tree, at)
      } finally {
        addon.close(at)
      }
    } finally {
      comeBack(addon, tree, own, cwd)
    }
  } finally {
    addon.close(own)
    addon.close(cwd)
  }
}

/** Both set root and working directory, which here have never been others. */
function comeBack(addon: Addon, tree: HostTree, own: number, cwd: number): void {
  const status = Math.min(addon.syscall(NR.setns, own, CLONE_NEWNS), addon.syscall(NR.fchdir, cwd))
  if (status < 0) throw refusal(tree, 'coming back from where it was copied', status)
}

function refusal(tree: HostTree, what: string, errno: number): UserError {
  const reason = getSystemErrorMessage(errno)
  return new UserError(`${tree.field}: ${tree.source} can't be given to the container: ${what}: ${reason}`)
}
