/**
 * The network of a sandbox with a stack of its own: what the host side has taken over from the kernel of the host
 * (take-network.ts) becomes the configuration of the container's network namespace, with the same interfaces, addresses and
 * routes. Its packets then go over the descriptors that came along, and end with them. What changes in the namespace on the
 * host while the container runs is changed here as well, and nothing else: what the guest has done to its interfaces stays.
 */
import { IFF_LOOPBACK } from '../abi/constants.ts'
import { errnoName } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'
import type { Kernel } from '../kernel/kernel.ts'
import { IpAddress } from '../net/address.ts'
import { InetNetwork } from '../net/inet/network.ts'
import { Capture } from '../net/link/capture.ts'
import { HostLink } from '../net/link/host-link.ts'
import type { LinkRates } from '../net/link/rate.ts'
import { SideLink } from '../net/link/side-link.ts'
import { type FlowRule, parseRuleLine } from '../net/policy/rule.ts'
import { ResolverRelay } from '../net/resolver/relay.ts'
import { applyNetwork, type Devices, removeFromNetwork } from '../net/setup/apply.ts'
import { type NetworkRecord, parseMac } from '../net/setup/record.ts'
import { netStack } from '../net/stack.ts'
import type { HostLinks } from '../platform/host-links.ts'
import type { Container } from './container.ts'
import { setInterfaceSysctls } from './container-sysctl.ts'
import { useRules } from './flow-policy.ts'
import type { NetworkSpec, NetworkUpdate } from './protocol.ts'
import { UserError } from './user-error.ts'

/** Docker's; see oci/engine-resolver.ts. */
const ENGINE_RESOLVER = IpAddress.of('127.0.0.11')

/** Gives up the request's descriptor of an index. */
type Take = (index: number) => number

export class TakenNetwork {
  readonly #kernel: Kernel
  readonly #network: InetNetwork
  readonly #hostLinks: HostLinks
  readonly #devices: Devices = new Map()
  readonly #rates: LinkRates
  /** Nobody sees what goes over it, if undefined. */
  #capture: Capture | undefined = undefined

  private constructor(kernel: Kernel, network: InetNetwork, hostLinks: HostLinks, rates: LinkRates) {
    this.#kernel = kernel
    this.#network = network
    this.#hostLinks = hostLinks
    this.#rates = rates
  }

  static connect(
    { kernel, ns, spec }: Container,
    { record, links, resolvers, side, capture, policies, rates, trusted }: NetworkSpec,
    hostLinks: HostLinks,
    take: Take,
  ): TakenNetwork {
    const { own } = netStack(ns.net)
    if (!(own instanceof InetNetwork)) throw new UserError('the sandbox has no network stack of its own')
    // Before there is a guest, or a link.
    useRules(kernel, policies.map(parseRules), trusted, kernel.log)
    const made = new TakenNetwork(kernel, own, hostLinks, rates)
    const behind = links.length + resolvers
    if (capture) made.#startCapture(take(side ? behind + 1 : behind))
    made.#apply(record, links, take, false)
    made.#relayResolver(resolvers, index => take(links.length + index))
    if (side) new SideLink(take(behind), kernel.host, hostLinks).attach(own.ip)
    setInterfaceSysctls(spec.sysctl, ns)
    return made
  }

  update({ change, links, resolvers }: NetworkUpdate, take: Take): void {
    if (change !== undefined) {
      removeFromNetwork(this.#network.ip, change.removed, this.#devices)
      this.#apply(change.added, links, take, true)
    }
    this.#relayResolver(resolvers, index => take(links.length + index))
  }

  /** The sandbox ends. */
  close(): void {
    this.#capture?.close()
    const lost = this.#capture?.lost ?? 0
    if (lost > 0) {
      this.#kernel.log.warn(
        `--pcap: ${lost} packets are not in the file, which could not be written fast enough`,
      )
    }
  }

  #startCapture(fd: number): void {
    const { clock, timers, host } = this.#kernel
    this.#capture = new Capture(clock, timers, bytes => host.pwrite(fd, bytes, -1))
    this.#network.ip.taps.push(this.#capture)
  }

  #apply(record: NetworkRecord, links: readonly number[], take: Take, replace: boolean): void {
    const { ip } = this.#network
    const devices = this.#devices
    const fds = new Map(links.map((link, i) => [link, take(i)]))
    const status = applyNetwork(
      ip,
      record,
      ({ index, flags, name, mac }) => {
        if ((flags & IFF_LOOPBACK) !== 0) return ip.loopback
        const fd = fds.get(index)
        if (fd === undefined) return devices.get(index)
        const address = parseMac(mac) ?? new Uint8Array(6)
        const link = new HostLink(name, fd, address, this.#kernel.host, this.#hostLinks)
        link.guard = this.#network.networks.guard
        link.limit(this.#rates)
        return link
      },
      { devices, replace },
    )
    check(status, "the container's network can't be set up")
  }

  #relayResolver(count: number, take: Take): void {
    if (count === 0) return
    const { networks } = this.#network
    const sockets = Array.from({ length: count }, (_, i) => take(i))
    const status = new ResolverRelay(this.#network, this.#kernel.host, sockets, networks.guard).start(
      ENGINE_RESOLVER,
    )
    check(status, "the engine's name server can't be reached")
  }
}

function parseRules(lines: readonly string[]): FlowRule[] {
  return lines.map(line => {
    const rule = parseRuleLine(line)
    if (typeof rule === 'string') throw new UserError(`${line}: ${rule}`)
    return rule
  })
}

function check(status: Status, failure: string): void {
  if (status < 0) throw new UserError(`${failure}: ${errnoName(-status)}`)
}
