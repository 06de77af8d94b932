/**
 * UserGateway: the other side of a guest's user-mode link: a stack of its own that takes every address in the world for its
 * own, and carries what comes there over sockets of the caller's network namespace, as slirp and passt do.
 *
 *     guest's IpStack ── veth ── gateway's IpStack ── TCP connections, UDP flows, echoes ── sockets of the caller's
 *
 * Made with the sandbox, before the seal, and lives as long as it. A connection is answered when the outside has answered
 * (splice.ts), so that what the guest sees is what the outside says: refused, unreachable, or nothing at all.
 */
import { IPPROTO_TCP, IPPROTO_UDP, RTN_LOCAL } from '../../abi/constants.ts'
import { ECONNREFUSED, EHOSTUNREACH } from '../../abi/errno.ts'
import { type IpAddress, V4_ANY, V4_LOOPBACK, V6_ANY, V6_LOOPBACK } from '../address.ts'
import { FibRoute } from '../ip/fib.ts'
import type { NetRuntime } from '../ip/runtime.ts'
import { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { LoopbackDevice } from '../link/loopback.ts'
import { addFixedAddress, USER_V4, USER_V6, type UserAddresses } from './addresses.ts'
import type { Outside } from './outside.ts'
import { UserPing } from './ping.ts'
import { UserTcp } from './tcp.ts'
import { UserUdp } from './udp.ts'

const DNS_PORT = 53

export interface UserNetworkOptions {
  /** The gateway's address leads to the caller's loopback. */
  readonly hostLoopback: boolean
  /** The caller's resolvers, from his resolv.conf. */
  readonly resolvers: readonly IpAddress[]
}

export class UserGateway {
  readonly stack: IpStack
  readonly outside: Outside
  readonly tcp: UserTcp
  readonly udp: UserUdp
  /** Where messages of the outside are read into, and written from. */
  readonly scratch = new Uint8Array(65536)
  readonly #options: UserNetworkOptions
  #resolver = 0

  /** `link`: the gateway's end, in no stack yet. */
  constructor(runtime: NetRuntime, link: NetDevice, outside: Outside, options: UserNetworkOptions) {
    this.outside = outside
    this.#options = options
    this.stack = new IpStack(runtime)
    this.#configure(link)
    this.tcp = new UserTcp(this)
    this.udp = new UserUdp(this)
    new UserPing(this, true)
    new UserPing(this, false)
  }

  #configure(link: NetDevice): void {
    const { stack } = this
    // The one who is told of errors is our own guest.
    stack.sysctls.ipv4.icmp_ratelimit = 0
    stack.sysctls.ipv6Icmp.ratelimit = 0
    const loopback = new LoopbackDevice()
    for (const device of [loopback, link]) {
      stack.devices.register(device)
      stack.devices.setUp(device, true)
    }
    for (const { gateway, resolver, length } of [USER_V4, USER_V6]) {
      addFixedAddress(stack, link, gateway, length)
      addFixedAddress(stack, link, resolver, length)
    }
    // As `ip route add local default dev lo`: everything else arrives here.
    for (const any of [V4_ANY, V6_ANY]) {
      const route = new FibRoute(any, 0)
      route.type = RTN_LOCAL
      route.nextHops.push({ device: loopback, gateway: undefined, weight: 1, flags: 0 })
      stack.addRoute(route, {})
    }
  }

  /** Where what the guest sends to an address really goes; a negative errno where that is nowhere. */
  target(address: IpAddress, protocol: number, port: number): IpAddress | number {
    const own = address.isV4 ? USER_V4 : USER_V6
    if (address.equals(own.gateway)) {
      if (!this.#options.hostLoopback) return -ECONNREFUSED
      return address.isV4 ? V4_LOOPBACK : V6_LOOPBACK
    }
    if (address.equals(own.resolver)) {
      const isDns = port === DNS_PORT && (protocol === IPPROTO_UDP || protocol === IPPROTO_TCP)
      return (isDns ? this.#currentResolver() : undefined) ?? -ECONNREFUSED
    }
    if (isNowhere(address, own)) return -EHOSTUNREACH
    return address
  }

  isResolver(address: IpAddress): boolean {
    return address.equals(USER_V4.resolver) || address.equals(USER_V6.resolver)
  }

  /** A question to the resolver was not answered: the next goes to the next one. */
  resolverFailed(): void {
    this.#resolver++
  }

  #currentResolver(): IpAddress | undefined {
    const { resolvers } = this.#options
    return resolvers[this.#resolver % Math.max(resolvers.length, 1)]
  }
}

/** What has no meaning beyond a link or a machine. */
function isNowhere(address: IpAddress, own: UserAddresses): boolean {
  if (address.isAny || address.isLoopback || address.isMulticast || address.isLimitedBroadcast) return true
  return (!address.isV4 && address.isLinkLocal) || address.inPrefix(own.guest, own.length)
}
