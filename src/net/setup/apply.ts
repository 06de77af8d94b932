/**
 * Gives a stack the configuration of a NetworkRecord. The devices are the caller's, one for each link that it has taken over; a
 * link without a device is left out, and what depends on it.
 */
import { IFA_F_DADFAILED, IFA_F_NODAD, IFA_F_TENTATIVE, IFF_UP, NUD_PERMANENT } from '../../abi/constants.ts'
import { EEXIST, EINVAL, ENOBUFS } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import { type IpAddress, parseAddress } from '../address.ts'
import { FibRoute, type NextHop } from '../ip/fib.ts'
import { FOREVER, InterfaceAddress } from '../ip/interface-address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import {
  ADDRESS_STATES,
  type AddressRecord,
  addressesByAge,
  type LinkRecord,
  type NetworkRecord,
  parseMac,
  type RouteRecord,
  routesInOrder,
} from './record.ts'

/**
 * `deviceOf`: the device that stands for a link, registered already (the loopback device) or not (then it gets the link's
 * index). The errno of the first thing that the stack refuses; what was done before it stays.
 */
export function applyNetwork(
  stack: IpStack,
  record: NetworkRecord,
  deviceOf: (link: LinkRecord) => NetDevice | undefined,
): Status {
  const devices = new Map<number, NetDevice>()
  for (const link of record.links) {
    const device = deviceOf(link)
    if (device === undefined) continue
    devices.set(link.index, device)
    const status = applyLink(stack, link, device)
    if (status < 0) return status
  }
  for (const route of routesInOrder(record.routes)) {
    const status = applyRoute(stack, route, devices)
    if (status < 0 && status !== -EEXIST) return status
  }
  for (const { link, address: text, mac } of record.neighbours) {
    const device = devices.get(link)
    const address = parseAddress(text)
    const hardware = parseMac(mac)
    if (device === undefined || address === undefined || hardware === undefined) continue
    const table = address.isV4 ? stack.neighbours4 : stack.neighbours6
    const entry = table.get(device, address)
    if (entry === undefined) return -ENOBUFS
    entry.update(hardware, NUD_PERMANENT, { override: true })
  }
  return 0
}

function applyLink(stack: IpStack, link: LinkRecord, device: NetDevice): Status {
  const { devices, sysctls } = stack
  if (device.stack === undefined) {
    device.name = link.name
    device.mtu = link.mtu
    device.txQueueLength = link.txQueueLength
    device.address = parseMac(link.mac) ?? device.address
    const status = devices.register(device, link.index)
    if (status < 0) return status
  } else {
    const status = devices.setMtu(device, link.mtu)
    if (status < 0) return status
  }
  if (link.ipv6Disabled) {
    sysctls.ipv6Conf.of(device.index).disable_ipv6 = 1
    if (device.up) stack.ipv6Switched(device)
  }
  if ((link.flags & IFF_UP) !== 0) {
    const status = devices.setUp(device, true)
    if (status < 0) return status
  }
  for (const address of addressesByAge(link.addresses)) {
    const status = applyAddress(stack, address, device)
    if (status < 0) return status
  }
  return 0
}

function applyAddress(stack: IpStack, record: AddressRecord, device: NetDevice): Status {
  const address = parseAddress(record.address)
  if (address === undefined) return -EINVAL
  const known = stack.addresses.find(address, device)
  if (known !== undefined) {
    if (device.isLoopback) return 0
    // The link-local address that it has given itself, not checked yet; the host has checked this one.
    stack.addresses.remove(known)
  }
  const entry = new InterfaceAddress(device, address, record.length)
  entry.peer = optional(record.peer)
  entry.broadcast = optional(record.broadcast)
  entry.scope = record.scope
  entry.label = record.label ?? device.name
  entry.priority = record.priority
  const own = record.flags & ~ADDRESS_STATES
  const checked = (record.flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) === 0
  entry.flags = checked ? own | IFA_F_NODAD : own
  const status = stack.addresses.add(entry)
  if (status < 0) return status
  if ((own & IFA_F_NODAD) === 0) entry.flags &= ~IFA_F_NODAD
  if (record.valid !== FOREVER) entry.setLifetimes(stack, record.valid, record.preferred)
  return 0
}

function applyRoute(stack: IpStack, record: RouteRecord, devices: ReadonlyMap<number, NetDevice>): Status {
  const destination = parseAddress(record.destination)
  if (destination === undefined || record.length > destination.bits) return -EINVAL
  const hops: NextHop[] = []
  for (const { link, gateway, weight, flags } of record.hops) {
    const device = devices.get(link)
    if (device?.up) hops.push({ device, gateway: optional(gateway), weight, flags })
  }
  // All of its ways lead over links that were not taken over.
  if (record.hops.length > 0 && hops.length === 0) return 0
  const route = new FibRoute(destination, record.length)
  route.table = record.table
  route.type = record.type
  route.scope = record.scope
  route.protocol = record.protocol
  route.tos = record.tos
  route.priority = record.priority
  route.source = optional(record.source)
  route.metrics = record.metrics
  route.nextHops = hops
  return stack.addRoute(route, { append: true })
}

function optional(text: string | undefined): IpAddress | undefined {
  return text === undefined ? undefined : parseAddress(text)
}
