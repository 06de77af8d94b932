/**
 * Duplicate address detection: RFC 4862 §5.4, with the nonces of RFC 7527 against our own probes that come back. An
 * address is tentative from `start` until dad_transmits probes have gone unanswered, each for retrans_time; then it is
 * used, and its routes are made. With a conflict it stays, unused, marked DADFAILED.
 */
import { IFA_F_DADFAILED, IFA_F_NODAD, IFA_F_OPTIMISTIC, IFA_F_TENTATIVE } from '../../abi/constants.ts'
import { NSEC_PER_SEC } from '../../base/clock.ts'
import { V6_ANY } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { addRoutesOf } from './address-routes.ts'
import type { InterfaceAddress } from './interface-address.ts'
import { ALL_NODES, solicitedNode } from './ndp.ts'
import { sameBytes } from './neighbour.ts'
import { NSEC_PER_MSEC } from './numbers.ts'

const NONCE_LENGTH = 6

export class DuplicateDetection {
  readonly #stack: IpStack

  constructor(stack: IpStack) {
    this.#stack = stack
  }

  /** A new IPv6 address, or one whose device has just gone up. */
  start(entry: InterfaceAddress): void {
    const stack = this.#stack
    const { device } = entry
    // Where nobody asks for neighbours nobody asks for this one.
    if (device.up && device.needsNeighbours && !entry.solicitedJoined) {
      stack.multicast.joinSolicited(device, solicitedNode(entry.address))
      entry.solicitedJoined = true
    }
    const conf = stack.sysctls.ipv6Conf
    const accept = Math.max(conf.all.accept_dad, conf.of(device.index).accept_dad)
    const probes = conf.of(device.index).dad_transmits
    if (!device.needsNeighbours || (entry.flags & IFA_F_NODAD) !== 0 || accept < 1 || probes < 1) {
      this.#finish(entry)
      return
    }
    entry.flags |= IFA_F_TENTATIVE
    stack.listener?.addressChanged(entry, false)
    // Without a link nobody could answer: it goes on when the device is up.
    if (!device.running) return
    entry.dadProbes = probes
    // RFC 4862 §5.4.2: so that machines that start together don't probe together.
    const delay = stack.random.fraction() * conf.of(device.index).router_solicitation_delay * NSEC_PER_SEC
    stack.timers.add(entry.dadTimer, stack.runtime.now() + delay)
  }

  /** The address's timer: the next probe, or the end. */
  next(entry: InterfaceAddress): void {
    const stack = this.#stack
    if (entry.dadProbes === 0) {
      this.#finish(entry)
      return
    }
    entry.dadProbes--
    entry.dadNonce = new Uint8Array(NONCE_LENGTH)
    for (let i = 0; i < NONCE_LENGTH; i++) entry.dadNonce[i] = stack.random.below(256)
    stack.ndp.sendSolicit(entry.device, entry.address, V6_ANY, solicitedNode(entry.address), entry.dadNonce)
    const wait = stack.sysctls.ipv6Neigh.of(entry.device.index).retrans_time_ms * NSEC_PER_MSEC
    stack.timers.add(entry.dadTimer, stack.runtime.now() + wait)
  }

  /** Somebody else has the address, or wants it too. `nonce`: of their solicitation. */
  conflict(entry: InterfaceAddress, nonce: Uint8Array | undefined): void {
    if ((entry.flags & IFA_F_TENTATIVE) === 0) return
    if (nonce !== undefined && entry.dadNonce !== undefined && sameBytes(nonce, entry.dadNonce)) return
    const stack = this.#stack
    stack.timers.cancel(entry.dadTimer)
    entry.flags = (entry.flags | IFA_F_DADFAILED) & ~IFA_F_OPTIMISTIC
    stack.listener?.addressChanged(entry, false)
  }

  /** The address is gone, or its device is down. */
  ended(entry: InterfaceAddress): void {
    this.#stack.timers.cancel(entry.dadTimer)
    if (!entry.solicitedJoined) return
    entry.solicitedJoined = false
    this.#stack.multicast.leaveSolicited(entry.device, solicitedNode(entry.address))
  }

  /** A link came up under a device: what waited for it goes on. */
  resume(device: NetDevice): void {
    for (const entry of this.#stack.addresses.of(device)) {
      if (!entry.address.isV4 && (entry.flags & IFA_F_TENTATIVE) !== 0 && !entry.dadTimer.armed)
        this.start(entry)
    }
  }

  #finish(entry: InterfaceAddress): void {
    const stack = this.#stack
    entry.flags &= ~(IFA_F_TENTATIVE | IFA_F_OPTIMISTIC | IFA_F_DADFAILED)
    entry.dadNonce = undefined
    stack.generation++
    addRoutesOf(stack, entry)
    stack.listener?.addressChanged(entry, false)
    const { device, address } = entry
    if (device.isLoopback || !device.up) return
    if (stack.sysctls.ipv6Conf.of(device.index).ndisc_notify !== 0) {
      stack.ndp.sendAdvert(device, address, ALL_NODES, false, true)
    }
    if (address.isLinkLocal) stack.slaac.linkLocalReady(device)
  }
}
