/** ioctl(2) of AF_INET6 sockets about addresses and routes: struct in6_ifreq, struct in6_rtmsg. ifconfig(8), route(8) -A inet6. */
import {
  CAP_NET_ADMIN,
  RTN_UNICAST,
  RTN_UNREACHABLE,
  SIOCADDRT,
  SIOCDELRT,
  SIOCDIFADDR,
  SIOCSIFADDR,
} from '../../abi/constants.ts'
import {
  EADDRNOTAVAIL,
  EEXIST,
  EFAULT,
  EHOSTUNREACH,
  EINVAL,
  ENODEV,
  ENOTTY,
  EPERM,
  ESRCH,
} from '../../abi/errno.ts'
import { IN6_IFREQ, IN6_RTMSG } from '../../abi/layout.ts'
import { failed, type Status } from '../../base/result.ts'
import type { NetNamespace } from '../../kernel/namespaces.ts'
import type { IoctlContext } from '../../vfs/file.ts'
import { IpAddress } from '../address.ts'
import { FibRoute } from '../ip/fib.ts'
import { Flow } from '../ip/flow.ts'
import { InterfaceAddress } from '../ip/interface-address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'

const RTF_UP = 1
const RTF_REJECT = 0x200
/** IP6_RT_PRIO_USER: a route's metric where none was said. */
const DEFAULT_METRIC = 1024

/** -ENOTTY: no request of this family's own. inet6_ioctl. */
export function ipv6Ioctl(
  ns: NetNamespace,
  stack: IpStack,
  context: IoctlContext,
  request: number,
  argument: number,
): Status {
  const route = request === SIOCADDRT || request === SIOCDELRT
  if (!route && request !== SIOCSIFADDR && request !== SIOCDIFADDR) return -ENOTTY
  if (!context.cred.capable(CAP_NET_ADMIN, ns.userNs)) return -EPERM
  const record = new Uint8Array(route ? IN6_RTMSG.size : IN6_IFREQ.size)
  if (context.copyIn(argument, record) < 0) return -EFAULT
  const view = new DataView(record.buffer)
  if (route) return changeRoute(stack, view, request === SIOCADDRT)
  return changeAddress(stack, view, request === SIOCSIFADDR)
}

/** addrconf_add_ifaddr, addrconf_del_ifaddr. */
function changeAddress(stack: IpStack, view: DataView, add: boolean): Status {
  const length = view.getUint32(IN6_IFREQ.ifr6_prefixlen, true)
  if (length > 128) return -EINVAL
  const device = stack.devices.byIndex(view.getInt32(IN6_IFREQ.ifr6_ifindex, true))
  if (device === undefined) return -ENODEV
  const address = IpAddress.read(view, IN6_IFREQ.ifr6_addr, false)
  const known = stack.addresses.find(address, device)
  if (!add) return known?.length === length ? stack.addresses.remove(known) : -EADDRNOTAVAIL
  if (known !== undefined) return -EEXIST
  return stack.addresses.add(new InterfaceAddress(device, address, length))
}

/** ipv6_route_ioctl. */
function changeRoute(stack: IpStack, view: DataView, add: boolean): Status {
  const length = view.getUint16(IN6_RTMSG.rtmsg_dst_len, true)
  if (length > 128) return -EINVAL
  const index = view.getInt32(IN6_RTMSG.rtmsg_ifindex, true)
  const device = index === 0 ? undefined : stack.devices.byIndex(index)
  if (index !== 0 && device === undefined) return -ENODEV
  const gateway = IpAddress.read(view, IN6_RTMSG.rtmsg_gateway, false)
  const route = new FibRoute(IpAddress.read(view, IN6_RTMSG.rtmsg_dst, false), length)
  const metric = view.getUint32(IN6_RTMSG.rtmsg_metric, true)
  route.priority = metric || DEFAULT_METRIC
  const via = gateway.isAny ? undefined : gateway
  if (!add) return removeRoute(stack, route, device, via, metric)
  const flags = view.getUint32(IN6_RTMSG.rtmsg_flags, true)
  const rejects = (flags & RTF_REJECT) !== 0
  route.type = rejects ? RTN_UNREACHABLE : RTN_UNICAST
  const out = rejects ? stack.loopback : wayTo(stack, device, via)
  if (typeof out === 'number') return out
  if (out === undefined) return -ENODEV
  route.nextHops.push({ device: out, gateway: rejects ? undefined : via, weight: 1, flags: 0 })
  return (flags & RTF_UP) === 0 ? 0 : stack.addRoute(route, { exclusive: true })
}

/** The device of a new route: the one given, or the one that leads to the gateway. */
function wayTo(
  stack: IpStack,
  device: NetDevice | undefined,
  gateway: IpAddress | undefined,
): NetDevice | undefined | Status {
  if (gateway === undefined) return device
  const flow = new Flow()
  flow.destination = gateway
  flow.device = device?.index ?? 0
  const found = stack.ip.routeFor(flow)
  if (failed(found) || found.gateway !== undefined) return -EHOSTUNREACH
  return device ?? found.device
}

function removeRoute(
  stack: IpStack,
  wanted: FibRoute,
  device: NetDevice | undefined,
  gateway: IpAddress | undefined,
  metric: number,
): Status {
  for (const route of stack.fib6.table(wanted.table).at(wanted.destination, wanted.length)) {
    if (device !== undefined && !route.uses(device)) continue
    if (gateway !== undefined && !route.nextHops.some(hop => hop.gateway?.equals(gateway))) continue
    if (metric !== 0 && route.priority !== metric) continue
    return stack.removeRoute(route)
  }
  return -ESRCH
}
