/** NeighbourProxies: addresses of others that a router answers for on a link: struct pneigh_entry, `ip neigh add proxy`. */
import { ENOBUFS, ENOENT } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { IpAddress } from '../address.ts'
import type { NetDevice } from '../link/device.ts'

/** Of one family in one namespace. */
const MAX_PROXIES = 16384

export interface NeighbourProxy {
  readonly address: IpAddress
  readonly device: NetDevice
  /** NTF_* */
  flags: number
  protocol: number
}

export class NeighbourProxies {
  readonly #proxies = new Map<string, NeighbourProxy>()

  all(): IterableIterator<NeighbourProxy> {
    return this.#proxies.values()
  }
  find(device: NetDevice, address: IpAddress): NeighbourProxy | undefined {
    return this.#proxies.size === 0 ? undefined : this.#proxies.get(keyOf(device, address))
  }
  /** A new one, or changes the one that is there. */
  set(proxy: NeighbourProxy): Status {
    const key = keyOf(proxy.device, proxy.address)
    if (this.#proxies.size >= MAX_PROXIES && !this.#proxies.has(key)) return -ENOBUFS
    this.#proxies.set(key, proxy)
    return 0
  }
  remove(device: NetDevice, address: IpAddress): Status {
    return this.#proxies.delete(keyOf(device, address)) ? 0 : -ENOENT
  }
  /** The device is gone: those that were of it. */
  flush(device: NetDevice): void {
    for (const [key, proxy] of this.#proxies) if (proxy.device === device) this.#proxies.delete(key)
  }
}

function keyOf(device: NetDevice, address: IpAddress): string {
  return `${device.index} ${address.key}`
}
