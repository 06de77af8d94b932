/** The mounts of a namespace as text: /proc/PID/mounts, mountinfo and mountstats (proc_pid_mountinfo(5)). */
import {
  MS_DIRSYNC,
  MS_LAZYTIME,
  MS_MANDLOCK,
  MS_NOATIME,
  MS_NODEV,
  MS_NODIRATIME,
  MS_NOEXEC,
  MS_NOSUID,
  MS_NOSYMFOLLOW,
  MS_RDONLY,
  MS_RELATIME,
  MS_SYNCHRONOUS,
} from '../abi/constants.ts'
import type { Mount, MountNamespace } from './mount.ts'
import type { Path } from './path.ts'
import { isReachable, pathToString } from './path-string.ts'
import type { SuperBlock } from './super-block.ts'
import { major, minor } from './vfs.ts'

/** /proc/PID/mounts as seen from `root`: mounts that can't be reached from there are left out. */
export function* formatMounts(ns: MountNamespace, root: Path): Generator<string, void, void> {
  for (const mount of ns.mounts) {
    const at = mountpointText(mount, root)
    if (at === undefined) continue
    const { sb } = mount
    const options = (mount.readOnly ? 'ro' : 'rw') + superFlags(sb) + flagsText(mount) + ownOptions(sb)
    yield `${escapeField(sb.source, true)} ${escapeField(at)} ${sb.fsType} ${options} 0 0\n`
  }
}

export function* formatMountinfo(ns: MountNamespace, root: Path): Generator<string, void, void> {
  for (const mount of ns.mounts) {
    const at = mountpointText(mount, root)
    if (at === undefined) continue
    const { sb } = mount
    const parent = mount.parent?.id ?? mount.id
    const dev = `${major(sb.dev)}:${minor(sb.dev)}`
    const options = ((mount.flags & MS_RDONLY) !== 0 ? 'ro' : 'rw') + flagsText(mount)
    const superOptions = ((sb.flags & MS_RDONLY) !== 0 ? 'ro' : 'rw') + superFlags(sb) + ownOptions(sb)
    const head = `${mount.id} ${parent} ${dev} ${escapeField(sb.showRoot(mount.root))} ${escapeField(at)} ${options}`
    yield `${head}${propagationText(mount)} - ${sb.fsType} ${escapeField(sb.source, true)} ${superOptions}\n`
  }
}

export function formatMountstats(ns: MountNamespace, root: Path): string {
  let text = ''
  for (const mount of ns.mounts) {
    const at = mountpointText(mount, root)
    if (at === undefined) continue
    text += `device ${escapeField(mount.sb.source, true)} mounted on ${escapeField(at)} with fstype ${mount.sb.fsType}\n`
  }
  return text
}

function mountpointText(mount: Mount, root: Path): string | undefined {
  const place = { mount, dentry: mount.root }
  return isReachable(place, root) ? pathToString(place, root) : undefined
}

function propagationText(mount: Mount): string {
  let text = ''
  if (mount.peerGroup !== 0) text += ` shared:${mount.peerGroup}`
  if (mount.masterGroup !== 0) text += ` master:${mount.masterGroup}`
  return mount.unbindable ? `${text} unbindable` : text
}

function superFlags(sb: SuperBlock): string {
  let text = ''
  if ((sb.flags & MS_SYNCHRONOUS) !== 0) text += ',sync'
  if ((sb.flags & MS_DIRSYNC) !== 0) text += ',dirsync'
  if ((sb.flags & MS_MANDLOCK) !== 0) text += ',mand'
  if ((sb.flags & MS_LAZYTIME) !== 0) text += ',lazytime'
  return text
}

function flagsText(mount: Mount): string {
  let text = ''
  if ((mount.flags & MS_NOSUID) !== 0) text += ',nosuid'
  if ((mount.flags & MS_NODEV) !== 0) text += ',nodev'
  if ((mount.flags & MS_NOEXEC) !== 0) text += ',noexec'
  if ((mount.flags & MS_NOATIME) !== 0) text += ',noatime'
  if ((mount.flags & MS_NODIRATIME) !== 0) text += ',nodiratime'
  if ((mount.flags & MS_RELATIME) !== 0) text += ',relatime'
  if ((mount.flags & MS_NOSYMFOLLOW) !== 0) text += ',nosymfollow'
  if (mount.idmap !== undefined) text += ',idmapped'
  return text
}

function ownOptions(sb: SuperBlock): string {
  const text = sb.options()
  return text === '' ? '' : `,${text}`
}

/** Fields are separated by spaces, so those in names are written in octal. */
function escapeField(text: string, source = false): string {
  return text.replace(
    source ? /[ \t\n\\#]/g : /[ \t\n\\]/g,
    char => `\\${char.charCodeAt(0).toString(8).padStart(3, '0')}`,
  )
}
