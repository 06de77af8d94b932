/**
 * InterfaceAddress: an address of a device (a line of `ip address`), and InterfaceAddresses: all of a stack's.
 *
 * An entry lives from `add` (netlink, set-up, SLAAC, a device going up) to `remove`, to the end of its lifetime, or to the
 * end of its device. With it come and go the routes that it implies. IPv6 addresses are tentative until duplicate address
 * detection (dad.ts) has found nobody else who has them.
 */
import {
  IFA_F_DADFAILED,
  IFA_F_DEPRECATED,
  IFA_F_OPTIMISTIC,
  IFA_F_PERMANENT,
  IFA_F_SECONDARY,
  IFA_F_TENTATIVE,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_SCOPE_SITE,
  RT_SCOPE_UNIVERSE,
} from '../../abi/constants.ts'
import { EADDRNOTAVAIL, EEXIST, EINVAL, ENOBUFS } from '../../abi/errno.ts'
import { NSEC_PER_SEC } from '../../base/clock.ts'
import type { Status } from '../../base/result.ts'
import { type Expiry, Timer } from '../../kernel/timers.ts'
import type { IpAddress } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { addRoutesOf, removeRoutesOf } from './address-routes.ts'

/** A lifetime without end: INFINITY_LIFE_TIME. */
export const FOREVER = 0xffffffff
/** Addresses of one device: more than anybody needs, fewer than fill the memory. */
const MAX_ADDRESSES = 4096

export class InterfaceAddress implements Expiry {
  readonly device: NetDevice
  readonly address: IpAddress
  readonly length: number
  /** Of a point-to-point link: the other side (then the prefix is its). */
  peer: IpAddress | undefined = undefined
  /** IPv4 only. */
  broadcast: IpAddress | undefined = undefined
  scope: number
  /** IFA_F_* */
  flags = 0
  label: string
  /** Metric of its prefix route, 0 for the default. */
  priority = 0
  /** Whether the route to its network comes and goes with it: not so for what router advertisements gave. */
  ownsPrefixRoute = true
  /** IFA_PROTO. */
  protocol = 0
  /** Lifetimes in seconds from `updated`, or FOREVER. */
  valid = FOREVER
  preferred = FOREVER
  /** Monotonic ns. */
  created = 0
  updated = 0
  /** The group under which neighbours ask for it is joined. */
  solicitedJoined = false
  /** Duplicate address detection: probes left. */
  dadProbes = 0
  dadNonce: Uint8Array | undefined = undefined
  readonly dadTimer: Timer
  readonly #lifeTimer = new Timer(this)
  #stack: IpStack | undefined = undefined

  constructor(device: NetDevice, address: IpAddress, length: number) {
    this.device = device
    this.address = address
    this.length = length
    this.scope = addressScope(address)
    this.label = device.name
    this.dadTimer = new Timer(this)
  }

  get secondary(): boolean {
    return (this.flags & IFA_F_SECONDARY) !== 0
  }
  /** Whether packets may be sent from and to it. */
  get usable(): boolean {
    const { flags } = this
    return (flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) === 0 || (flags & IFA_F_OPTIMISTIC) !== 0
  }
  /** The address that the prefix is of. */
  get prefixAddress(): IpAddress {
    return this.peer ?? this.address
  }

  /** Sets lifetimes from now: netlink and router advertisements. */
  setLifetimes(stack: IpStack, valid: number, preferred: number): void {
    this.#stack = stack
    this.valid = valid
    this.preferred = preferred
    this.updated = stack.runtime.now()
    if (valid === FOREVER) this.flags |= IFA_F_PERMANENT
    else this.flags &= ~IFA_F_PERMANENT
    this.#age()
  }

  expired(timer: Timer): void {
    if (timer === this.dadTimer) this.#stack?.dad.next(this)
    else this.#age()
  }

  attach(stack: IpStack): void {
    this.#stack = stack
    this.created = this.updated = stack.runtime.now()
    if (this.valid === FOREVER) this.flags |= IFA_F_PERMANENT
    this.#age()
  }
  detach(): void {
    this.#stack?.timers.cancel(this.#lifeTimer)
    this.#stack?.timers.cancel(this.dadTimer)
    this.#stack = undefined
  }

  #age(): void {
    const stack = this.#stack
    if (stack === undefined) return
    stack.timers.cancel(this.#lifeTimer)
    const now = stack.runtime.now()
    const end = this.valid === FOREVER ? Number.POSITIVE_INFINITY : this.updated + this.valid * NSEC_PER_SEC
    const old = this.preferred === FOREVER ? end : this.updated + this.preferred * NSEC_PER_SEC
    if (now >= end) {
      stack.addresses.remove(this)
      return
    }
    const was = this.flags & IFA_F_DEPRECATED
    if (this.preferred !== FOREVER && now >= old) this.flags |= IFA_F_DEPRECATED
    else this.flags &= ~IFA_F_DEPRECATED
    if (was !== (this.flags & IFA_F_DEPRECATED)) {
      stack.generation++
      stack.listener?.addressChanged(this, false)
    }
    stack.timers.add(this.#lifeTimer, now < old ? Math.min(old, end) : end)
  }
}

export class InterfaceAddresses {
  readonly #stack: IpStack
  readonly #byKey = new Map<string, InterfaceAddress[]>()
  readonly #byDevice = new Map<NetDevice, InterfaceAddress[]>()

  constructor(stack: IpStack) {
    this.#stack = stack
  }

  /** In the order in which they are shown and chosen from. */
  of(device: NetDevice): readonly InterfaceAddress[] {
    return this.#byDevice.get(device) ?? []
  }

  *all(): IterableIterator<InterfaceAddress> {
    for (const list of this.#byDevice.values()) yield* list
  }

  /** An entry with exactly this address, on `device` if given. */
  find(address: IpAddress, device?: NetDevice): InterfaceAddress | undefined {
    const list = this.#byKey.get(address.key)
    if (list === undefined || device === undefined) return list?.[0]
    return list.find(entry => entry.device === device)
  }

  /** Whether packets to it are for us, as far as addresses of devices go. */
  isLocal(address: IpAddress, device?: NetDevice): boolean {
    const list = this.#byKey.get(address.key)
    if (list === undefined) return false
    for (const entry of list) {
      if (entry.usable && (device === undefined || entry.device === device)) return true
    }
    return false
  }

  /** -EEXIST, -EINVAL, -EADDRNOTAVAIL (IPv6 is off on the device), -ENOBUFS. */
  add(entry: InterfaceAddress): Status {
    const stack = this.#stack
    const { device, address } = entry
    if (device.stack !== stack || entry.length > address.bits) return -EINVAL
    if (!address.isV4 && !stack.ipv6Enabled(device)) return -EADDRNOTAVAIL
    const list = this.#byDevice.get(device) ?? []
    if (list.length >= MAX_ADDRESSES) return -ENOBUFS
    if (address.isV4) {
      entry.flags &= ~IFA_F_SECONDARY
      for (const other of list) {
        if (!other.address.isV4 || other.length !== entry.length) continue
        if (!entry.prefixAddress.inPrefix(other.prefixAddress, other.length)) continue
        if (other.address.equals(address)) return -EEXIST
        if (!other.secondary) entry.flags |= IFA_F_SECONDARY
      }
    } else if (this.find(address, device) !== undefined) {
      return -EEXIST
    }
    this.#insert(list, entry)
    this.#byDevice.set(device, list)
    const same = this.#byKey.get(address.key)
    if (same === undefined) this.#byKey.set(address.key, [entry])
    else same.push(entry)
    entry.attach(stack)
    stack.generation++
    if (address.isV4) {
      addRoutesOf(stack, entry)
      stack.listener?.addressChanged(entry, false)
      stack.arp.announce(entry)
    } else {
      stack.dad.start(entry)
    }
    return 0
  }

  remove(entry: InterfaceAddress): Status {
    const stack = this.#stack
    const list = this.#byDevice.get(entry.device)
    const at = list?.indexOf(entry) ?? -1
    if (list === undefined || at < 0) return -EADDRNOTAVAIL
    list.splice(at, 1)
    if (list.length === 0) this.#byDevice.delete(entry.device)
    const same = this.#byKey.get(entry.address.key)!
    same.splice(same.indexOf(entry), 1)
    if (same.length === 0) this.#byKey.delete(entry.address.key)
    entry.detach()
    stack.generation++
    removeRoutesOf(stack, entry)
    if (!entry.address.isV4) stack.dad.ended(entry)
    stack.listener?.addressChanged(entry, true)
    if (entry.address.isV4 && !entry.secondary) this.#primaryGone(entry)
    return 0
  }

  /** All of a device's, of one family or of both. */
  flush(device: NetDevice, isV4?: boolean): void {
    for (const entry of [...this.of(device)]) {
      if (isV4 === undefined || entry.address.isV4 === isV4) this.remove(entry)
    }
  }

  /** Its secondaries go with a primary address, unless promote_secondaries makes the first of them one. */
  #primaryGone(entry: InterfaceAddress): void {
    const { device } = entry
    const rest = this.of(device).filter(
      other =>
        other.address.isV4 &&
        other.secondary &&
        other.length === entry.length &&
        other.prefixAddress.inPrefix(entry.prefixAddress, entry.length),
    )
    if (rest.length === 0) return
    if (this.#stack.sysctls.either(device.index, 'promote_secondaries') && device.up) {
      for (const other of rest) {
        if (other === rest[0]) other.flags &= ~IFA_F_SECONDARY
        removeRoutesOf(this.#stack, other)
        addRoutesOf(this.#stack, other)
      }
      this.#stack.listener?.addressChanged(rest[0], false)
      return
    }
    for (const other of rest) this.remove(other)
  }

  /** IPv4: primaries, the narrower scopes first, then secondaries. IPv6: wider scopes first, new ones before old ones. */
  #insert(list: InterfaceAddress[], entry: InterfaceAddress): void {
    let at = list.length
    if (entry.address.isV4 && !entry.secondary) {
      at = list.findIndex(other => other.address.isV4 && (other.secondary || other.scope < entry.scope))
    } else if (!entry.address.isV4) {
      at = list.findIndex(other => !other.address.isV4 && other.scope >= entry.scope)
    }
    list.splice(at < 0 ? list.length : at, 0, entry)
  }
}

/** RT_SCOPE_* of an address by itself. */
export function addressScope(address: IpAddress): number {
  if (address.isLoopback) return RT_SCOPE_HOST
  if (address.isV4) return RT_SCOPE_UNIVERSE
  if (address.isLinkLocal) return RT_SCOPE_LINK
  // Site-local addresses, which RFC 3879 has ended but Linux still shows.
  return address.w0 >>> 22 === 0x3fb ? RT_SCOPE_SITE : RT_SCOPE_UNIVERSE
}
