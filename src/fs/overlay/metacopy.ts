/**
 * metacopy: files of which a layer has the attributes alone. Their data is in a layer further down, by the same path or by
 * that of a redirect; data-only layers (`lowerdir=a::b`) show nothing but the data that such a redirect leads to.
 */
import { EIO, ENOENT, EPERM } from '../../abi/errno.ts'
import type { OrErrno } from '../../base/result.ts'
import type { Inode } from '../../vfs/inode.ts'
import { letGo } from './directory.ts'
import type { OverlayInode } from './inode.ts'
import type { LayeredSuper } from './layered.ts'

/** Which layer is asked first for the data of a file of the upper one. */
const UPPER = -1

/**
 * `node` has the attributes of a file of `layer` (UPPER for the upper one), which the layers know by `path`: it gets its data,
 * if that is elsewhere. `node`, or a negative errno.
 */
export function withData(
  sb: LayeredSuper,
  node: OverlayInode,
  layer: number,
  path: () => string,
): OrErrno<OverlayInode> {
  if (node.data !== undefined || !node.isRegular || !sb.isMetacopy(node.real)) return node
  const data = sb.followsMetacopy(layer) ? findData(sb, node.real, layer, path()) : -EPERM
  if (typeof data !== 'number') {
    node.takeData(data)
    return node
  }
  if (node.dentries === 0) node.release()
  return data
}

export function withUpperData(
  sb: LayeredSuper,
  node: OverlayInode,
  path: () => string,
): OrErrno<OverlayInode> {
  return withData(sb, node, UPPER, path)
}

function findData(sb: LayeredSuper, meta: Inode, layer: number, path: string): OrErrno<Inode> {
  let at = meta
  let redirected = false
  for (let i = layer + 1; ; i++) {
    const redirect = sb.redirectOf(at)
    if (redirect !== '') path = redirect.startsWith('/') ? redirect : `${parentOf(path)}/${redirect}`
    redirected ||= redirect.startsWith('/')
    if (at !== meta) letGo(at)
    let found: Inode | undefined
    for (; i < sb.lowerRoots.length && found === undefined; i++) found = lookupIn(sb.lowerRoots[i], path)
    if (found === undefined) break
    i--
    if (!found.isRegular) {
      letGo(found)
      return -EIO
    }
    if (!sb.isMetacopy(found)) return found
    at = found
  }
  if (!redirected) return -EIO
  for (const root of sb.dataRoots) {
    const found = lookupIn(root, path)
    if (found?.isRegular) return found
    if (found !== undefined) letGo(found)
  }
  return -EIO
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'))
}

/** What one layer has there. */
function lookupIn(root: Inode, path: string): Inode | undefined {
  let at: Inode = root
  for (const name of path.split('/').slice(1)) {
    const next: OrErrno<Inode> = at.isDir ? at.lookup(name) : -ENOENT
    if (at !== root) letGo(at)
    if (typeof next === 'number') return undefined
    at = next
  }
  return at
}
