/**
 * --network=user: joins the guest's network to a gateway over sockets of the caller's namespace, which the broker makes
 * (native/launcher/broker.c).
 *
 *   open    before the seal: the broker learns what may be connected to, and makes the sockets of published ports
 *   start   when the platform's loop runs
 */
import { IPPROTO_TCP, IPPROTO_UDP } from '../abi/constants.ts'
import { EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, errnoName } from '../abi/errno.ts'
import { IpAddress, parseAddress, V4_ANY, V6_ANY } from '../net/address.ts'
import type { DeviceGuard } from '../net/link/device.ts'
import type { FlowRule } from '../net/policy/rule.ts'
import { netStack } from '../net/stack.ts'
import type { UserGateway } from '../net/usermode/gateway.ts'
import { joinUserNetwork } from '../net/usermode/link.ts'
import { type PublishedSocket, PublishedTcpPort, PublishedUdpPort } from '../net/usermode/publish.ts'
import { type BrokerRule, LinuxBroker } from '../platform/linux-broker.ts'
import { LinuxSockets } from '../platform/linux-sockets.ts'
import { BROKER_FD } from './launcher-channel.ts'
import type { PublishedPort, UserNetworkSettings } from './options.ts'
import type { Sentry } from './sentry.ts'
import { UserError } from './user-error.ts'

const DNS_PORT = 53
const MAPPED_BITS = 96

export class UserNetwork {
  readonly #broker: LinuxBroker
  readonly #ports: readonly PublishedSocket[]

  private constructor(broker: LinuxBroker, ports: readonly PublishedSocket[]) {
    this.#broker = broker
    this.#ports = ports
  }

  static open(
    { addon, host, kernel }: Sentry,
    settings: UserNetworkSettings,
    flowRules: readonly FlowRule[],
    guard: DeviceGuard | undefined,
  ): UserNetwork {
    const sockets = new LinuxSockets(addon)
    const broker = new LinuxBroker(addon, host, sockets, BROKER_FD)
    const resolvers = settings.resolvers.flatMap(text => parseAddress(text) ?? [])
    for (const rule of [...localRules(resolvers, settings.hostLoopback), ...fixedRules(flowRules)]) {
      check(broker.rule(rule))
    }
    const gateway = joinUserNetwork(
      netStack(kernel.net).ip!,
      { host, sockets, broker },
      { hostLoopback: settings.hostLoopback, resolvers },
      guard,
    )
    // They are nobody else's.
    kernel.net.unprivilegedPortStart = 0
    const ports = settings.published.map(port => publish(broker, gateway, port))
    check(broker.seal())
    return new UserNetwork(broker, ports)
  }

  start(): void {
    this.#broker.start()
    for (const port of this.#ports) port.start()
  }
}

function check(status: number): void {
  if (status < 0) throw new UserError(`the network can't be made: ${errnoName(-status)}`)
}

/** The caller's resolvers may be reached wherever they are; his loopback only where he says so. */
function localRules(resolvers: readonly IpAddress[], hostLoopback: boolean): BrokerRule[] {
  const rules: BrokerRule[] = []
  for (const protocol of [IPPROTO_UDP, IPPROTO_TCP]) {
    for (const address of resolvers) rules.push(rule(true, address, address.bits, protocol, DNS_PORT))
  }
  const own = ['127.0.0.1/32', '::1/128']
  // connect(2) takes the any address for the loopback one.
  const local = ['127.0.0.0/8', '0.0.0.0/8', '::1/128', '::/128']
  for (const text of hostLoopback ? own : []) rules.push(prefixRule(true, text))
  for (const text of local) rules.push(prefixRule(false, text))
  return rules
}

/**
 * Of the guest's rules those that hold for addresses alone: they are kept a second time by the broker, for a sentry that was
 * taken over. What stands behind a rule that allows names can't be, since what they stand for is known only here.
 */
function fixedRules(rules: readonly FlowRule[]): BrokerRule[] {
  const fixed: BrokerRule[] = []
  for (const { verdict, target, protocol, firstPort, lastPort } of rules) {
    const allows = verdict === 'allow'
    if (target.kind === 'name') {
      if (allows) return fixed
      continue
    }
    const [address, length] = target.kind === 'all' ? [V6_ANY, 0] : [target.address, target.length]
    fixed.push({ ...rule(allows, address, length), protocol, firstPort, lastPort })
  }
  // Where something is allowed, all else is not.
  if (fixed.some(each => each.allows)) fixed.push(rule(false, V6_ANY, 0))
  return fixed
}

function prefixRule(allows: boolean, text: string): BrokerRule {
  const [address, length] = text.split('/')
  return rule(allows, IpAddress.of(address), Number(length))
}

/** `protocol` and `port` 0: all of them. */
function rule(allows: boolean, address: IpAddress, length: number, protocol = 0, port = 0): BrokerRule {
  return {
    allows,
    protocol,
    address: mapped(address),
    prefixLength: address.isV4 ? length + MAPPED_BITS : length,
    firstPort: port,
    lastPort: port === 0 ? 65535 : port,
  }
}

function mapped(address: IpAddress): Uint8Array {
  const bytes = new Uint8Array(16)
  address.writeV6(new DataView(bytes.buffer), 0)
  return bytes
}

function publish(broker: LinuxBroker, gateway: UserGateway, port: PublishedPort): PublishedSocket {
  const protocol = port.protocol === 'tcp' ? IPPROTO_TCP : IPPROTO_UDP
  const address = port.address === '' ? V6_ANY : IpAddress.of(port.address)
  let fd = broker.listen(protocol, mapped(address), port.port)
  // A host without IPv6.
  if (port.address === '' && (fd === -EAFNOSUPPORT || fd === -EADDRNOTAVAIL)) {
    fd = broker.listen(protocol, mapped(V4_ANY), port.port)
  }
  if (fd < 0) throw new UserError(`${port.text} can't be published: ${listenReason(port, -fd)}`)
  return port.protocol === 'tcp'
    ? new PublishedTcpPort(gateway, fd, port.guestPort)
    : new PublishedUdpPort(gateway, fd, port.guestPort)
}

function listenReason({ address, port, protocol }: PublishedPort, errno: number): string {
  if (errno === EADDRINUSE) return `${protocol} port ${port} is in use on the host`
  if (errno === EADDRNOTAVAIL) return `${address} is no address of the host`
  if (errno === EACCES)
    return `port ${port} is for root, since it is below the host's ip_unprivileged_port_start`
  return errnoName(errno)
}
