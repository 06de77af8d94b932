/**
 * Peer groups: which mounts share what is mounted on them, and which only receive it. mount_namespaces(7).
 *
 * A mount joins and leaves by its `peerGroup` and `masterGroup`. A group ends with its last peer; what was a slave of it then
 * is one of the group that this peer was a slave of itself, if any.
 */
import type { Mount } from './mount.ts'

const NOBODY: ReadonlySet<Mount> = new Set()

export class PeerGroups {
  readonly #peers = new Map<number, Set<Mount>>()
  readonly #slaves = new Map<number, Set<Mount>>()
  #last = 0

  newGroup(): number {
    return ++this.#last
  }
  peersOf(group: number): ReadonlySet<Mount> {
    return this.#peers.get(group) ?? NOBODY
  }
  slavesOf(group: number): ReadonlySet<Mount> {
    return this.#slaves.get(group) ?? NOBODY
  }

  /** `mount` is a peer of `to` now and no more of `from`; 0: of none. */
  changePeer(mount: Mount, from: number, to: number): void {
    leave(this.#peers, from, mount)
    join(this.#peers, to, mount)
    if (from !== 0 && !this.#peers.has(from)) {
      for (const slave of [...this.slavesOf(from)]) slave.masterGroup = mount.masterGroup
    }
  }
  changeMaster(mount: Mount, from: number, to: number): void {
    leave(this.#slaves, from, mount)
    join(this.#slaves, to, mount)
  }
}

function leave(groups: Map<number, Set<Mount>>, group: number, mount: Mount): void {
  const members = groups.get(group)
  if (members?.delete(mount) && members.size === 0) groups.delete(group)
}

function join(groups: Map<number, Set<Mount>>, group: number, mount: Mount): void {
  if (group === 0) return
  const members = groups.get(group)
  if (members === undefined) groups.set(group, new Set([mount]))
  else members.add(mount)
}
