/**
 * Ports: who holds which local port, when two may share one (socket(7): SO_REUSEADDR, SO_REUSEPORT), and which one is
 * chosen for those who don't care: at random in ip_local_port_range, those for connecting at even distance from its
 * beginning and those for binding at odd, so that the two seldom meet. As Linux does.
 */
import { EADDRINUSE, EADDRNOTAVAIL } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { IpAddress } from '../address.ts'

/** An endpoint that is bound, a connection, or what is left of one in TIME-WAIT. */
export interface PortOwner {
  readonly localAddress: IpAddress
  /** Index of the device that it is bound to; 0 for none. */
  readonly device: number
  readonly v6Only: boolean
  readonly reuseAddress: boolean
  readonly reusePort: boolean
  readonly listening: boolean
  readonly uid: number
  /** The port was chosen for a connection: others may have it for connections to other peers. */
  readonly shared: boolean
}

export class PortTable {
  readonly #owners = new Map<number, Set<PortOwner>>()

  owners(port: number): ReadonlySet<PortOwner> | undefined {
    return this.#owners.get(port)
  }
  add(port: number, owner: PortOwner): void {
    const owners = this.#owners.get(port)
    if (owners === undefined) this.#owners.set(port, new Set([owner]))
    else owners.add(owner)
  }
  remove(port: number, owner: PortOwner): void {
    const owners = this.#owners.get(port)
    if (owners === undefined || !owners.delete(owner)) return
    if (owners.size === 0) this.#owners.delete(port)
  }

  /** Whether `owner` may not have `port` because of somebody else. */
  conflicts(port: number, owner: PortOwner): boolean {
    for (const other of this.#owners.get(port) ?? []) {
      if (other === owner || !overlap(owner, other)) continue
      if (owner.reuseAddress && other.reuseAddress && !other.listening) continue
      if (owner.reusePort && other.reusePort && owner.uid === other.uid) continue
      return true
    }
    return false
  }

  /** A free port for bind(2) with port 0: the port, or -EADDRINUSE. */
  choose(
    owner: PortOwner,
    range: readonly number[],
    reserved: ReadonlySet<number>,
    random: number,
  ): number | Status {
    for (const parity of [1, 0]) {
      const port = search(range, parity, random, reserved, candidate => !this.conflicts(candidate, owner))
      if (port > 0) return port
    }
    return -EADDRINUSE
  }

  /**
   * A port for connect(2): `usable` tells whether the four-tuple is free. Only ports that nobody has bound on purpose.
   * The port, or -EADDRNOTAVAIL.
   */
  chooseForConnect(
    range: readonly number[],
    reserved: ReadonlySet<number>,
    random: number,
    usable: (port: number) => boolean,
  ): number | Status {
    for (const parity of [0, 1]) {
      const port = search(range, parity, random, reserved, candidate => {
        for (const owner of this.#owners.get(candidate) ?? []) if (!owner.shared) return false
        return usable(candidate)
      })
      if (port > 0) return port
    }
    return -EADDRNOTAVAIL
  }
}

/** The first port of a parity that will do, from a random place on; 0: none. */
function search(
  range: readonly number[],
  parity: number,
  random: number,
  reserved: ReadonlySet<number>,
  good: (port: number) => boolean,
): number {
  const low = range[0] + parity
  const count = Math.floor((range[1] - low) / 2) + 1
  for (let i = 0; i < count; i++) {
    const port = low + 2 * ((random + i) % count)
    if (!reserved.has(port) && good(port)) return port
  }
  return 0
}

/** Whether a segment could be for either. */
function overlap(a: PortOwner, b: PortOwner): boolean {
  if (a.device !== 0 && b.device !== 0 && a.device !== b.device) return false
  const x = a.localAddress
  const y = b.localAddress
  if (x.isV4 === y.isV4) return x.isAny || y.isAny || x.equals(y)
  // One is IPv4's: only a wildcard of IPv6 that takes IPv4, too, meets it.
  const six = x.isV4 ? b : a
  return six.localAddress.isAny && !six.v6Only
}

/** Whether a listener takes connections to `address`; more, the better it fits; 0: not. */
export function listenScore(owner: PortOwner, address: IpAddress, device: number): number {
  if (owner.device !== 0 && owner.device !== device) return 0
  const bonus = owner.device !== 0 ? 4 : 0
  const { localAddress } = owner
  if (localAddress.isAny) {
    if (localAddress.isV4 === address.isV4) return bonus + 2
    return localAddress.isV4 || owner.v6Only ? 0 : bonus + 1
  }
  return localAddress.equals(address) ? bonus + 3 : 0
}
