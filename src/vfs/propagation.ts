/**
 * Propagation of mounts and unmounts between peers and to slaves: mount_namespaces(7), 'Shared subtrees'.
 * A mount that appears on a shared mount appears on all that receive from it.
 */
import { isBelow } from './dentry.ts'
import { copyTree, lockTree, type Mount, makeShared, mountTree, topOf } from './mount.ts'
import type { Path } from './path.ts'
import type { Vfs } from './vfs.ts'

/** All mounts to which events on `mount` go, the nearest first; `slave` says that they go one way only. */
function receivers(vfs: Vfs, mount: Mount): Map<Mount, { slaveOf: number }> {
  const found = new Map<Mount, { slaveOf: number }>()
  const groups = [mount.peerGroup]
  for (let i = 0; i < groups.length; i++) {
    const group = groups[i]
    if (group === 0) continue
    for (const other of vfs.mounts) {
      if (other === mount || found.has(other)) continue
      if (other.peerGroup === group) found.set(other, { slaveOf: i === 0 ? 0 : -1 })
      else if (other.masterGroup === group) {
        found.set(other, { slaveOf: group })
        if (other.peerGroup !== 0 && !groups.includes(other.peerGroup)) groups.push(other.peerGroup)
      }
    }
  }
  return found
}

/** Attaches a tree (not attached anywhere) at `at`, and copies of it wherever `at`'s mount propagates to. */
export function attachTree(vfs: Vfs, tree: Mount, at: Path): void {
  tree.attach(at.mount.namespace, at)
  if (at.mount.peerGroup === 0) return
  for (const mount of mountTree(tree)) makeShared(vfs, mount)
  for (const [receiver, { slaveOf }] of receivers(vfs, at.mount)) {
    if (receiver === tree || !isBelow(at.dentry, receiver.root)) continue
    const copies = new Map<Mount, Mount>()
    const copy = copyTree(vfs, tree, tree.root, copies, false)
    if (typeof copy === 'number') continue
    if (slaveOf !== 0) {
      for (const [original, each] of copies) {
        each.peerGroup = 0
        each.masterGroup = original.peerGroup
        if (receiver.peerGroup !== 0) makeShared(vfs, each)
      }
    }
    if (receiver.namespace?.userNs !== at.mount.namespace?.userNs) lockTree(copy)
    copy.attach(receiver.namespace, topOf(receiver, at.dentry))
  }
}

/** The copies of `mount` that came to other places by propagation; those in use or with mounts on them stay. */
export function propagatedCopies(vfs: Vfs, mount: Mount): Mount[] {
  const at = mount.mountpoint
  if (at === undefined || at.mount.peerGroup === 0) return []
  const copies: Mount[] = []
  for (const receiver of receivers(vfs, at.mount).keys()) {
    const copy = receiver.children.get(at.dentry)
    if (copy !== undefined && copy.root === mount.root && copy.children.size === 0) copies.push(copy)
  }
  return copies
}
