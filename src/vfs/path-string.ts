/** How a place is written: d_path(), getcwd(2), the links of /proc. */
import type { Dentry } from './dentry.ts'
import type { Mount } from './mount.ts'
import type { Path } from './path.ts'

/**
 * The path as seen from `root`: with ' (deleted)' behind an unlinked name. A place that is not below `root` is written
 * from where its mounts end; `reachable` tells the two apart. Anonymous objects have their name alone.
 */
export function pathToString(path: Path, root: Path): string {
  const { dentry, mount } = path
  if (dentry.parent === undefined && dentry !== mount.root) return dentry.name
  const text = climb(path, root).text
  return dentry.unhashed ? `${text} (deleted)` : text
}

/** As getcwd(2) and /proc/PID/mountinfo need it: '(unreachable)' in front of what is not below `root`. */
export function pathToStringChecked(path: Path, root: Path): string {
  const { text, reachable } = climb(path, root)
  const marked = reachable ? text : `(unreachable)${text}`
  return path.dentry.unhashed ? `${marked} (deleted)` : marked
}

/** Whether a walk down from `root` can reach the place. */
export function isReachable(path: Path, root: Path): boolean {
  return climb(path, root).reachable
}

function climb(path: Path, root: Path): { text: string; reachable: boolean } {
  let mount: Mount = path.mount
  let dentry: Dentry = path.dentry
  let text = ''
  while (dentry !== root.dentry || mount !== root.mount) {
    if (dentry === mount.root) {
      const at = mount.mountpoint
      if (at === undefined) return { text: text === '' ? '/' : text, reachable: false }
      mount = at.mount
      dentry = at.dentry
      continue
    }
    if (dentry.parent === undefined) return { text: text === '' ? '/' : text, reachable: false }
    text = `/${dentry.name}${text}`
    dentry = dentry.parent
  }
  return { text: text === '' ? '/' : text, reachable: true }
}

/** The path of a dentry within its file system. */
export function dentryToString(dentry: Dentry): string {
  let text = ''
  for (let at = dentry; at.parent !== undefined; at = at.parent) text = `/${at.name}${text}`
  return text === '' ? '/' : text
}
