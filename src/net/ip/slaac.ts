/**
 * Stateless autoconfiguration: RFC 4862, and what else router advertisements tell (RFC 4861 §6.3, RFC 4191): link-local
 * addresses, router solicitations, default routers, prefixes, hop limit and MTU.
 */
import {
  IFA_F_MANAGETEMPADDR,
  IFA_F_STABLE_PRIVACY,
  IPV6_MIN_MTU,
  NUD_STALE,
  RT_TABLE_MAIN,
  RTPROT_KERNEL,
  RTPROT_RA,
} from '../../abi/constants.ts'
import { NSEC_PER_SEC } from '../../base/clock.ts'
import { type Expiry, Timer } from '../../kernel/timers.ts'
import { IpAddress, V6_ANY } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import type { Packet } from '../packet.ts'
import { FibRoute } from './fib.ts'
import { FOREVER, InterfaceAddress } from './interface-address.ts'
import { ALL_ROUTERS } from './ndp.ts'
import {
  addOption,
  findOption,
  linkAddress,
  ND_OPT_MTU,
  ND_OPT_PREFIX_INFORMATION,
  ND_OPT_SOURCE_LL_ADDR,
  ND_ROUTER_SOLICIT,
  ndMessage,
} from './ndp-message.ts'

/** RFC 4862 §5.5.3 (e): an advertisement can't shorten a valid lifetime below this. */
const TWO_HOURS = 7200
const PREFIX_ON_LINK = 0x80
const PREFIX_AUTONOMOUS = 0x40
/** Default routers that one device learns; more are an attack. */
const MAX_ROUTERS = 16
/** router_solicitations: asks for ever, ever more slowly. */
const UNLIMITED = -1

/** What is known of a device's link. */
class LinkState implements Expiry {
  readonly owner: Slaac
  readonly device: NetDevice
  readonly timer = new Timer(this)
  /** Solicitations sent since the last start. */
  sent = 0
  /** ns until the next one. */
  interval = 0
  hopLimit = 0
  mtu = 0

  constructor(owner: Slaac, device: NetDevice) {
    this.owner = owner
    this.device = device
  }
  expired(): void {
    this.owner.solicit(this)
  }
}

export class Slaac {
  readonly #stack: IpStack
  readonly #links = new Map<NetDevice, LinkState>()

  constructor(stack: IpStack) {
    this.#stack = stack
  }

  /** The device's hop limit, as a router or a setting says. */
  hopLimit(device: NetDevice): number {
    return this.#links.get(device)?.hopLimit || this.#stack.sysctls.ipv6Conf.of(device.index).hop_limit
  }
  /** 0 where no router said one. */
  linkMtu(device: NetDevice): number {
    return this.#links.get(device)?.mtu ?? 0
  }
  linkLocal(device: NetDevice): IpAddress | undefined {
    return this.#stack.addresses
      .of(device)
      .find(entry => entry.usable && !entry.address.isV4 && entry.address.isLinkLocal)?.address
  }

  /**
   * fe80:: and the interface identifier (addr_gen_mode 0), unless the device has a link-local address already. One without
   * a hardware address gets a random one.
   */
  addLinkLocal(device: NetDevice): void {
    const { addresses, sysctls, random } = this.#stack
    if (sysctls.ipv6Conf.of(device.index).addr_gen_mode !== 0) return
    if (addresses.of(device).some(entry => !entry.address.isV4 && entry.address.isLinkLocal)) return
    const bare = device.headerLength === 0
    const [high, low] = bare
      ? [random.below(2 ** 32), random.below(2 ** 32)]
      : interfaceIdentifier(device.address)
    const entry = new InterfaceAddress(device, new IpAddress(0xfe800000, 0, high, low), 64)
    if (bare) entry.flags |= IFA_F_STABLE_PRIVACY
    addresses.add(entry)
  }

  /** The device has a link. */
  start(device: NetDevice): void {
    const state = this.#state(device)
    state.sent = 0
    this.#stack.dad.resume(device)
    if (this.linkLocal(device) !== undefined) this.linkLocalReady(device)
  }

  stop(device: NetDevice): void {
    const state = this.#links.get(device)
    if (state === undefined) return
    this.#stack.timers.cancel(state.timer)
    this.#links.delete(device)
  }

  close(): void {
    for (const device of [...this.#links.keys()]) this.stop(device)
  }

  /** Duplicate detection is done with the link-local address: routers can be asked. */
  linkLocalReady(device: NetDevice): void {
    const conf = this.#stack.sysctls.ipv6Conf.of(device.index)
    const state = this.#state(device)
    if (
      !this.#accepts(device) ||
      conf.router_solicitations === 0 ||
      !device.needsNeighbours ||
      state.timer.armed
    )
      return
    if (state.sent > 0) return
    state.interval = conf.router_solicitation_interval * NSEC_PER_SEC
    const delay = this.#stack.random.fraction() * conf.router_solicitation_delay * NSEC_PER_SEC
    this.#stack.timers.add(state.timer, this.#stack.runtime.now() + delay)
  }

  /** RFC 4861 §6.3.7, with the growing intervals of RFC 7559. */
  solicit(state: LinkState): void {
    const stack = this.#stack
    const { device } = state
    const conf = stack.sysctls.ipv6Conf.of(device.index)
    if (!device.running) return
    const source = this.linkLocal(device)
    const message = ndMessage(stack.packets, ND_ROUTER_SOLICIT, 0)
    if (source !== undefined) addOption(message, ND_OPT_SOURCE_LL_ADDR, device.address)
    stack.ndp.send(message, device, source ?? V6_ANY, ALL_ROUTERS)
    state.sent++
    if (conf.router_solicitations !== UNLIMITED && state.sent >= conf.router_solicitations) return
    const wait = state.interval * (0.9 + 0.2 * stack.random.fraction())
    stack.timers.add(state.timer, stack.runtime.now() + wait)
    state.interval = Math.min(2 * state.interval, conf.router_solicitation_max_interval * NSEC_PER_SEC)
  }

  /** A router advertisement that neighbour discovery has found well-formed. */
  received(packet: Packet): void {
    const stack = this.#stack
    const device = packet.device!
    const conf = stack.sysctls.ipv6Conf.of(device.index)
    // RFC 4861 §6.1.2
    if (!packet.source.isLinkLocal || !this.#accepts(device)) return
    if (conf.accept_ra_from_local === 0 && stack.addresses.find(packet.source) !== undefined) return
    const state = this.#state(device)
    stack.timers.cancel(state.timer)
    state.sent = Math.max(state.sent, 1)
    const { view, start } = packet
    const hopLimit = view.getUint8(start + 4)
    if (hopLimit >= conf.accept_ra_min_hop_limit && hopLimit !== 0) state.hopLimit = hopLimit
    this.#times(device, view.getUint32(start + 8), view.getUint32(start + 12))
    const mac = linkAddress(packet, start + 16, ND_OPT_SOURCE_LL_ADDR)
    if (mac !== undefined) {
      stack.neighbours6.get(device, packet.source)?.update(mac, NUD_STALE, { override: true, router: true })
    }
    const preference = ((view.getUint8(start + 5) & 0x18) << 27) >> 30
    if (conf.accept_ra_defrtr !== 0) {
      this.#defaultRouter(
        device,
        packet.source,
        view.getUint16(start + 6),
        preference === -2 ? 0 : preference,
      )
    }
    const mtuAt = findOption(packet, start + 16, ND_OPT_MTU)
    if (mtuAt >= 0 && conf.accept_ra_mtu !== 0) {
      const mtu = view.getUint32(mtuAt + 4)
      if (mtu >= IPV6_MIN_MTU && mtu <= device.mtu && mtu !== state.mtu) {
        state.mtu = mtu
        stack.generation++
      }
    }
    if (conf.accept_ra_pinfo === 0) return
    let at = findOption(packet, start + 16, ND_OPT_PREFIX_INFORMATION)
    while (at >= 0) {
      if (view.getUint8(at + 1) === 4) this.#prefix(device, packet, at)
      at = findOption(packet, at + view.getUint8(at + 1) * 8, ND_OPT_PREFIX_INFORMATION)
    }
  }

  /** It isn't a router any more. */
  routerGone(device: NetDevice, router: IpAddress): void {
    for (const route of this.#defaultRoutes(device)) {
      if (route.nextHops[0].gateway?.equals(router)) this.#stack.removeRoute(route)
    }
  }

  #accepts(device: NetDevice): boolean {
    const conf = this.#stack.sysctls.ipv6Conf.of(device.index)
    // accept_ra 1: as a host; 2: as a router too.
    return conf.accept_ra === 2 || (conf.accept_ra === 1 && conf.forwarding === 0)
  }

  /** Reachable and retransmission times, in ms; 0 says nothing. */
  #times(device: NetDevice, reachable: number, retrans: number): void {
    const neigh = this.#stack.sysctls.ipv6Neigh.of(device.index)
    if (reachable !== 0 && reachable <= 3600000) neigh.base_reachable_time_ms = reachable
    if (retrans >= 10 && retrans <= 3600000) neigh.retrans_time_ms = retrans
  }

  #defaultRoutes(device: NetDevice): FibRoute[] {
    return [...this.#stack.fib6.table(RT_TABLE_MAIN).at(V6_ANY, 0)].filter(
      route => route.protocol === RTPROT_RA && route.uses(device),
    )
  }

  #defaultRouter(device: NetDevice, router: IpAddress, lifetime: number, preference: number): void {
    const stack = this.#stack
    const routes = this.#defaultRoutes(device)
    const known = routes.find(route => route.nextHops[0].gateway?.equals(router))
    if (known !== undefined && (lifetime === 0 || known.preference !== preference)) stack.removeRoute(known)
    if (lifetime === 0) return
    const expires = stack.runtime.now() + lifetime * NSEC_PER_SEC
    if (known !== undefined && known.preference === preference) {
      known.expires = expires
      stack.routeExpiry.watch(known)
      return
    }
    for (const old of routes) if (old.expires <= stack.runtime.now()) stack.removeRoute(old)
    if (routes.length >= MAX_ROUTERS) return
    const route = new FibRoute(V6_ANY, 0)
    route.priority = stack.sysctls.ipv6Conf.of(device.index).ra_defrtr_metric
    route.protocol = RTPROT_RA
    route.preference = preference
    route.expires = expires
    route.nextHops.push({ device, gateway: router, weight: 1, flags: 0 })
    stack.addRoute(route, { append: true })
  }

  /** RFC 4862 §5.5.3, RFC 4861 §6.3.4 */
  #prefix(device: NetDevice, packet: Packet, at: number): void {
    const stack = this.#stack
    const { view } = packet
    const length = view.getUint8(at + 2)
    const flags = view.getUint8(at + 3)
    const valid = view.getUint32(at + 4)
    const preferred = view.getUint32(at + 8)
    const prefix = IpAddress.read(view, at + 16, false)
    if (prefix.isLinkLocal || prefix.isMulticast || length > 128 || prefix.isV4) return
    if ((flags & PREFIX_ON_LINK) !== 0) this.#onLink(device, prefix, length, valid)
    if ((flags & PREFIX_AUTONOMOUS) === 0 || preferred > valid || length !== 64) return
    const conf = stack.sysctls.ipv6Conf.of(device.index)
    if (conf.autoconf === 0) return
    const [high, low] = interfaceIdentifier(device.address)
    const address = new IpAddress(prefix.w0, prefix.w1, high, low)
    const known = stack.addresses.find(address, device)
    if (known === undefined) {
      if (valid === 0) return
      const count = stack.addresses.of(device).filter(entry => !entry.address.isV4).length
      if (conf.max_addresses !== 0 && count >= conf.max_addresses) return
      const entry = new InterfaceAddress(device, address, length)
      entry.flags |= IFA_F_MANAGETEMPADDR
      entry.ownsPrefixRoute = false
      entry.valid = valid
      entry.preferred = preferred
      stack.addresses.add(entry)
      return
    }
    const left =
      known.valid === FOREVER
        ? FOREVER
        : Math.max(0, known.valid - (stack.runtime.now() - known.updated) / NSEC_PER_SEC)
    const next = valid > TWO_HOURS || valid > left ? valid : Math.min(left, TWO_HOURS)
    known.setLifetimes(stack, next, Math.min(preferred, next))
  }

  #onLink(device: NetDevice, prefix: IpAddress, length: number, valid: number): void {
    const stack = this.#stack
    const table = stack.fib6.table(RT_TABLE_MAIN)
    const known = table
      .at(prefix, length)
      .find(route => route.uses(device) && route.nextHops[0].gateway === undefined)
    const expires = valid === FOREVER ? Number.POSITIVE_INFINITY : stack.runtime.now() + valid * NSEC_PER_SEC
    if (known !== undefined) {
      if (known.protocol !== RTPROT_KERNEL) return
      if (valid === 0) stack.removeRoute(known)
      else if (known.expires !== Number.POSITIVE_INFINITY) known.expires = expires
      stack.routeExpiry.watch(known)
      return
    }
    if (valid === 0) return
    const route = new FibRoute(prefix, length)
    route.priority = 256
    route.protocol = RTPROT_KERNEL
    route.expires = expires
    route.nextHops.push({ device, gateway: undefined, weight: 1, flags: 0 })
    stack.addRoute(route, {})
  }

  #state(device: NetDevice): LinkState {
    let state = this.#links.get(device)
    if (state === undefined) {
      state = new LinkState(this, device)
      this.#links.set(device, state)
    }
    return state
  }
}

/** EUI-64 of a MAC address, with the universal bit turned: RFC 4291, appendix A. */
function interfaceIdentifier(mac: Uint8Array): [number, number] {
  return [
    (((mac[0] ^ 2) << 24) | (mac[1] << 16) | (mac[2] << 8) | 0xff) >>> 0,
    ((0xfe << 24) | (mac[3] << 16) | (mac[4] << 8) | mac[5]) >>> 0,
  ]
}
