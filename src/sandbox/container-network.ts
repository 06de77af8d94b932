/**
 * The network of a sandbox with a stack of its own: what the host side has taken over from the kernel of the host
 * (take-network.ts) becomes the configuration of the container's network namespace, with the same interfaces, addresses and
 * routes. Its packets then go over the descriptors that came along, and end with them.
 */
import { IFF_LOOPBACK } from '../abi/constants.ts'
import { errnoName } from '../abi/errno.ts'
import { IpAddress } from '../net/address.ts'
import { InetNetwork } from '../net/inet/network.ts'
import { HostLink } from '../net/link/host-link.ts'
import { SideLink } from '../net/link/side-link.ts'
import { type ResolverHost, ResolverRelay } from '../net/resolver/relay.ts'
import { applyNetwork } from '../net/setup/apply.ts'
import { parseMac } from '../net/setup/record.ts'
import { netStack } from '../net/stack.ts'
import type { HostLinks } from '../platform/host-links.ts'
import type { Container } from './container.ts'
import { setInterfaceSysctls } from './container-sysctl.ts'
import type { NetworkSpec } from './protocol.ts'
import { UserError } from './user-error.ts'

/** Docker's; see oci/engine-resolver.ts. */
const ENGINE_RESOLVER = IpAddress.of('127.0.0.11')

/** `take`: gives up the request's descriptor of an index. */
export function connectNetwork(
  { kernel, ns, spec }: Container,
  { record, links, resolvers, side }: NetworkSpec,
  hostLinks: HostLinks,
  take: (index: number) => number,
): void {
  const { own } = netStack(ns.net)
  if (!(own instanceof InetNetwork)) throw new UserError('the sandbox has no network stack of its own')
  const stack = own.ip
  const fds = new Map(links.map((link, i) => [link, take(i)]))
  const status = applyNetwork(stack, record, ({ index, flags, name, mac }) => {
    if ((flags & IFF_LOOPBACK) !== 0) return stack.loopback
    const fd = fds.get(index)
    if (fd === undefined) return undefined
    return new HostLink(name, fd, parseMac(mac) ?? new Uint8Array(6), kernel.host, hostLinks)
  })
  if (status < 0) throw new UserError(`the container's network can't be set up: ${errnoName(-status)}`)
  const sockets = Array.from({ length: resolvers }, (_, i) => take(links.length + i))
  if (resolvers > 0) relayResolver(own, kernel.host, sockets)
  if (side) new SideLink(take(links.length + resolvers), kernel.host, hostLinks).attach(stack)
  setInterfaceSysctls(spec.sysctl, ns)
}

function relayResolver(network: InetNetwork, host: ResolverHost, fds: readonly number[]): void {
  const status = new ResolverRelay(network, host, fds).start(ENGINE_RESOLVER)
  if (status < 0) throw new UserError(`the engine's name server can't be reached: ${errnoName(-status)}`)
}
