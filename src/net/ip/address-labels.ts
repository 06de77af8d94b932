/** AddressLabels: RFC 6724's policy table, by which of several source addresses one is chosen: addrlabel.c, ip-addrlabel(8). */
import { EEXIST, ENOSPC, ESRCH } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import { IpAddress } from '../address.ts'

/** Entries of one namespace. */
const MAX_LABELS = 4096

export interface AddressLabel {
  readonly prefix: IpAddress
  readonly length: number
  /** Index of the only device that it is of, 0 for all. */
  readonly device: number
  label: number
}

/** ::ffff:0:0, of IPv4's addresses. */
const MAPPED = new IpAddress(0, 0, 0xffff, 0)

const DEFAULTS: readonly (readonly [prefix: string | IpAddress, length: number, label: number])[] = [
  ['::', 0, 1],
  ['fc00::', 7, 5],
  ['fec0::', 10, 11],
  ['2002::', 16, 2],
  ['3ffe::', 16, 12],
  ['2001:10::', 28, 7],
  ['2001::', 32, 6],
  [MAPPED, 96, 4],
  ['::', 96, 3],
  ['::1', 128, 0],
]

export class AddressLabels {
  /** The longest prefix first. */
  readonly #labels: AddressLabel[] = []

  constructor() {
    for (const [prefix, length, label] of DEFAULTS)
      this.set(
        { prefix: typeof prefix === 'string' ? IpAddress.of(prefix) : prefix, length, device: 0, label },
        false,
      )
  }

  all(): readonly AddressLabel[] {
    return this.#labels
  }
  of(address: IpAddress, device: number): AddressLabel | undefined {
    return this.#labels.find(
      entry =>
        (entry.device === 0 || entry.device === device) && address.inPrefix(entry.prefix, entry.length),
    )
  }

  set(added: AddressLabel, replace: boolean): Status {
    const same = this.#same(added)
    if (same !== undefined) {
      if (!replace) return -EEXIST
      same.label = added.label
      return 0
    }
    if (this.#labels.length >= MAX_LABELS) return -ENOSPC
    const at = this.#labels.findIndex(other => other.length <= added.length)
    this.#labels.splice(at < 0 ? this.#labels.length : at, 0, added)
    return 0
  }
  remove(wanted: Omit<AddressLabel, 'label'>): Status {
    const same = this.#same(wanted)
    if (same === undefined) return -ESRCH
    this.#labels.splice(this.#labels.indexOf(same), 1)
    return 0
  }
  #same({ prefix, length, device }: Omit<AddressLabel, 'label'>): AddressLabel | undefined {
    return this.#labels.find(
      other => other.length === length && other.device === device && other.prefix.equals(prefix),
    )
  }
}
