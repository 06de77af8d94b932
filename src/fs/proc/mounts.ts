/** /proc/PID/mounts, mountinfo and mountstats: proc_pid_mountinfo(5). Only what lies below the process's root is shown. */
import {
  MS_DIRSYNC, MS_LAZYTIME, MS_MANDLOCK, MS_NOATIME, MS_NODEV, MS_NODIRATIME, MS_NOEXEC, MS_NOSUID, MS_NOSYMFOLLOW, MS_RDONLY,
  MS_RELATIME, MS_SYNCHRONOUS,
} from '../../abi/constants.ts'
import type { Task } from '../../kernel/task.ts'
import type { Mount } from '../../vfs/mount.ts'
import { dentryToString, isReachable } from '../../vfs/path-string.ts'
import { major, minor } from '../../vfs/vfs.ts'
import { mangle, pathText } from './text.ts'

const SPACES = ' \t\n\\#'
const PATH_SPACES = ' \t\n\\'

const MOUNT_OPTIONS: readonly [number, string][] = [
  [MS_NOSUID, 'nosuid'], [MS_NODEV, 'nodev'], [MS_NOEXEC, 'noexec'], [MS_NOATIME, 'noatime'], [MS_NODIRATIME, 'nodiratime'],
  [MS_RELATIME, 'relatime'], [MS_NOSYMFOLLOW, 'nosymfollow'],
]
const SUPER_OPTIONS: readonly [number, string][] = [
  [MS_SYNCHRONOUS, 'sync'], [MS_DIRSYNC, 'dirsync'], [MS_MANDLOCK, 'mand'], [MS_LAZYTIME, 'lazytime'],
]

function names(table: readonly [number, string][], flags: number): string {
  return table.filter(([bit]) => (flags & bit) !== 0).map(([, name]) => `,${name}`).join('')
}

function superOptions(mount: Mount): string {
  const own = mount.sb.options()
  return names(SUPER_OPTIONS, mount.sb.flags) + (own === '' ? '' : `,${own}`)
}

/** The mounts that the task can see, with the places where they are. */
function* visible(task: Task): Generator<[mount: Mount, at: string]> {
  const { root } = task.fs
  for (const mount of task.ns.mnt.mounts) {
    const path = { mount, dentry: mount.root }
    if (isReachable(path, root)) yield [mount, pathText(path, root, PATH_SPACES)]
  }
}

export function formatMounts(task: Task): string {
  let text = ''
  for (const [mount, at] of visible(task)) {
    const access = mount.readOnly ? 'ro' : 'rw'
    const options = access + names(SUPER_OPTIONS, mount.sb.flags) + names(MOUNT_OPTIONS, mount.flags)
    const own = mount.sb.options()
    text += `${mangle(mount.sb.source, SPACES)} ${at} ${mount.sb.fsType} ${options}${own === '' ? '' : `,${own}`} 0 0\n`
  }
  return text
}

export function formatMountInfo(task: Task): string {
  let text = ''
  for (const [mount, at] of visible(task)) {
    const { sb } = mount
    const access = (mount.flags & MS_RDONLY) !== 0 ? 'ro' : 'rw'
    const superAccess = (sb.flags & MS_RDONLY) !== 0 ? 'ro' : 'rw'
    const tags =
      (mount.peerGroup > 0 ? ` shared:${mount.peerGroup}` : '') +
      (mount.masterGroup > 0 ? ` master:${mount.masterGroup}` : '') +
      (mount.unbindable ? ' unbindable' : '')
    text +=
      `${mount.id} ${mount.parent?.id ?? mount.id} ${major(sb.dev)}:${minor(sb.dev)} ` +
      `${mangle(dentryToString(mount.root), PATH_SPACES)} ${at} ${access}${names(MOUNT_OPTIONS, mount.flags)}${tags} - ` +
      `${sb.fsType} ${mangle(sb.source, SPACES)} ${superAccess}${superOptions(mount)}\n`
  }
  return text
}

export function formatMountStats(task: Task): string {
  let text = ''
  for (const [mount, at] of visible(task)) {
    text += `device ${mangle(mount.sb.source, SPACES)} mounted on ${at} with fstype ${mount.sb.fsType}\n`
  }
  return text
}
