/**
 * Propagation of mounts and unmounts between peers and to slaves: mount_namespaces(7), 'Shared subtrees'.
 * A mount that appears on a shared mount appears on all that receive from it.
 */
import { EBUSY, EINVAL, ENOSPC } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'
import { isBelow } from './dentry.ts'
import {
  copyTree,
  lockTree,
  MOUNT_MAX,
  type Mount,
  type MountNamespace,
  makeShared,
  mountTree,
  topOf,
} from './mount.ts'
import type { Path } from './path.ts'
import type { Vfs } from './vfs.ts'

/** All mounts to which events on `mount` go, the nearest first; `slaveOf` says that they go one way only. */
function receivers(mount: Mount): Map<Mount, { slaveOf: number }> {
  const found = new Map<Mount, { slaveOf: number }>()
  const add = (other: Mount, slaveOf: number): void => {
    // What is attached nowhere receives nothing.
    if (other !== mount && other.namespace !== undefined && !found.has(other)) found.set(other, { slaveOf })
  }
  const groups = [mount.peerGroup]
  for (let i = 0; i < groups.length; i++) {
    for (const peer of mount.groups.peersOf(groups[i])) add(peer, i === 0 ? 0 : -1)
    for (const slave of mount.groups.slavesOf(groups[i])) {
      add(slave, groups[i])
      if (slave.peerGroup !== 0 && !groups.includes(slave.peerGroup)) groups.push(slave.peerGroup)
    }
  }
  return found
}

/**
 * Whether all namespaces have room for `tree` at `at`, and its copies: -ENOSPC. `moved`: its own has it already. The file of a
 * mount namespace is not to spread (-EINVAL).
 */
export function roomFor(tree: Mount, at: Path, moved: boolean): Status {
  const { length } = mountTree(tree)
  const added = new Map<MountNamespace, number>()
  const add = (ns: MountNamespace | undefined): boolean => {
    if (ns === undefined) return true
    const count = (added.get(ns) ?? 0) + length
    added.set(ns, count)
    return ns.mounts.size + count <= MOUNT_MAX
  }
  if (!moved && !add(at.mount.namespace)) return -ENOSPC
  if (at.mount.peerGroup === 0) return 0
  for (const receiver of receivers(at.mount).keys()) {
    if (!isBelow(at.dentry, receiver.root)) continue
    if (tree.root.inode?.mountNs !== undefined) return -EINVAL
    if (!add(receiver.namespace)) return -ENOSPC
  }
  return 0
}

/**
 * Attaches a tree (not attached anywhere) at `at`, and copies of it wherever `at`'s mount propagates to. What stands there
 * comes to stand on it (MOVE_MOUNT_BENEATH).
 */
export function attachTree(vfs: Vfs, tree: Mount, at: Path): void {
  if (at.mount.peerGroup === 0) {
    tuck(tree, at)
    return
  }
  for (const mount of mountTree(tree)) makeShared(mount)
  // Copied before anything comes to stand on it; what is in the tree itself receives nothing of it.
  const attached: [tree: Mount, at: Path][] = [[tree, at]]
  for (const [receiver, { slaveOf }] of receivers(at.mount)) {
    if (!isBelow(at.dentry, receiver.root)) continue
    const copies = new Map<Mount, Mount>()
    const copy = copyTree(vfs, tree, tree.root, copies, false)
    if (typeof copy === 'number') continue
    if (slaveOf !== 0) {
      for (const [original, each] of copies) {
        each.peerGroup = 0
        each.masterGroup = original.peerGroup
        if (receiver.peerGroup !== 0) makeShared(each)
      }
    }
    if (receiver.namespace?.userNs !== at.mount.namespace?.userNs) lockTree(copy)
    attached.push([copy, { mount: receiver, dentry: at.dentry }])
  }
  for (const [each, place] of attached) tuck(each, place)
}

/** propagation_would_overmount: whether what is mounted at `place` would come to `mount`, onto its root, as well. */
export function wouldOvermount(place: Path, mount: Mount): boolean {
  const group = place.mount.peerGroup
  if (group === 0 || mount.root !== place.dentry) return false
  const seen = new Set<number>()
  const groups = [mount.peerGroup, mount.masterGroup]
  for (let each = groups.pop(); each !== undefined; each = groups.pop()) {
    if (each === group) return true
    if (each === 0 || seen.has(each)) continue
    seen.add(each)
    for (const peer of mount.groups.peersOf(each)) groups.push(peer.masterGroup)
  }
  return false
}

/** Attaches `mount` there; what stands there already comes to stand on it. */
export function tuck(mount: Mount, at: Path): void {
  const above = at.mount.children.get(at.dentry)
  if (above !== undefined) above.rehang(topOf(mount, mount.root))
  mount.attach(at.mount.namespace, at)
}

/** The copies of `mount` that propagation has brought to other places. */
function copiesOf(mount: Mount): Mount[] {
  const at = mount.mountpoint
  if (at === undefined || at.mount.peerGroup === 0) return []
  const copies: Mount[] = []
  for (const receiver of receivers(at.mount).keys()) {
    const copy = receiver.children.get(at.dentry)
    if (copy !== undefined && copy !== mount) copies.push(copy)
  }
  return copies
}

/** Whether an unmount of it has to fail: it, or a copy that would go with it, is in use. */
export function propagatedBusy(mount: Mount): Status {
  if (mount.busy) return -EBUSY
  for (const copy of copiesOf(mount)) {
    // With something mounted on it, it just stays.
    if (copy.refs > 0 && [...copy.children.keys()].every(dentry => dentry === copy.root)) return -EBUSY
  }
  return 0
}

/**
 * Unmounts the tree and all copies of what is in it that have nothing else mounted on them. What stands on the very root
 * of a copy comes down to where the copy stood.
 */
export function unmountPropagated(mount: Mount): void {
  const tree = mountTree(mount)
  const own = new Set(tree)
  const going = new Set<Mount>()
  for (const each of tree.reverse()) {
    for (const copy of copiesOf(each)) {
      const stays = (child: Mount): boolean =>
        !going.has(child) && !own.has(child) && child.mountpoint!.dentry !== copy.root
      if (own.has(copy) || [...copy.children.values()].some(stays)) continue
      going.add(copy)
    }
  }
  // One that is locked to its place goes only if that place does, or if it is itself what was unmounted.
  const top = new Set(copiesOf(mount))
  for (const copy of [...going].reverse()) {
    const goes = !copy.locked || top.has(copy) || going.has(copy.parent!)
    if (!goes) going.delete(copy)
  }
  for (const copy of going) {
    const { namespace } = copy
    const place = copy.mountpoint!
    const above = [...copy.children.values()].find(child => !going.has(child))
    // It goes with what it is locked to, and stays on it for who holds that.
    if (above === undefined && copy.locked && going.has(copy.parent!)) continue
    above?.detach()
    copy.unmount()
    above?.attach(namespace, place)
  }
  mount.unmount()
}
