/**
 * Gives a stack the configuration of a NetworkRecord. The devices are the caller's, one for each link that it has taken over; a
 * link without a device is left out, and what depends on it.
 */
import { IFA_F_DADFAILED, IFA_F_NODAD, IFA_F_TENTATIVE, IFF_UP, NUD_PERMANENT } from '../../abi/constants.ts'
import { EEXIST, EINVAL, ENOBUFS } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import { type IpAddress, parseAddress } from '../address.ts'
import { type AddMode, FibRoute, type NextHop, sameRoute } from '../ip/fib.ts'
import { FOREVER, InterfaceAddress } from '../ip/interface-address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import type { RemovedRecord } from './change.ts'
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

/** By the index of the link that they stand for. */
export type Devices = Map<number, NetDevice>

interface ApplyOptions {
  /** Those that are there; new ones are put into it. */
  readonly devices?: Devices
  /** Routes of the record take the place of others. */
  readonly replace?: boolean
}

/**
 * `deviceOf`: the device that stands for a link, registered already (the loopback device, or one that is there) or not (then
 * it gets the link's index). The errno of the first thing that the stack refuses; what was done before it stays.
 */
export function applyNetwork(
  stack: IpStack,
  record: NetworkRecord,
  deviceOf: (link: LinkRecord) => NetDevice | undefined,
  { devices = new Map(), replace = false }: ApplyOptions = {},
): Status {
  const mode = replace ? { replace } : { append: true }
  for (const link of record.links) {
    const device = deviceOf(link)
    if (device === undefined || isElsewhere(device, stack)) continue
    devices.set(link.index, device)
    const status = applyLink(stack, link, device)
    if (status < 0) return status
  }
  for (const route of routesInOrder(record.routes)) {
    const status = applyRoute(stack, route, devices, mode)
    if (status < 0 && status !== -EEXIST) return status
  }
  for (const { link, address: text, mac } of record.neighbours) {
    const device = ownDevice(stack, devices, link)
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

/** The reverse for what is gone; what the guest has changed meanwhile stays as it is. `devices` loses what is removed. */
export function removeFromNetwork(stack: IpStack, removed: RemovedRecord, devices: Devices): void {
  for (const record of removed.routes) {
    const route = routeOf(stack, record, devices)
    if (route instanceof FibRoute) removeRoute(stack, route)
  }
  for (const { link, address: text } of removed.addresses) {
    const device = ownDevice(stack, devices, link)
    const address = parseAddress(text)
    if (device === undefined || address === undefined) continue
    const entry = stack.addresses.find(address, device)
    if (entry !== undefined) stack.addresses.remove(entry)
  }
  for (const link of removed.links) {
    const device = devices.get(link)
    devices.delete(link)
    device?.stack?.devices.unregister(device)
    device?.close()
  }
}

function removeRoute(stack: IpStack, wanted: FibRoute): void {
  const fib = wanted.destination.isV4 ? stack.fib4 : stack.fib6
  const { priority, tos } = wanted
  const found = fib.tables
    .get(wanted.table)
    ?.at(wanted.destination, wanted.length)
    .find(each => each.priority === priority && each.tos === tos && sameRoute(each, wanted))
  if (found !== undefined) stack.removeRoute(found)
}

/** The guest's root may move an interface to a namespace that it has made. */
function isElsewhere(device: NetDevice, stack: IpStack): boolean {
  return device.stack !== undefined && device.stack !== stack
}
function ownDevice(stack: IpStack, devices: Devices, link: number): NetDevice | undefined {
  const device = devices.get(link)
  return device?.stack === stack ? device : undefined
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

function applyRoute(stack: IpStack, record: RouteRecord, devices: Devices, mode: AddMode): Status {
  const route = routeOf(stack, record, devices)
  if (!(route instanceof FibRoute)) return route
  return stack.addRoute(route, mode)
}

/** 0: all of its ways lead over links that were not taken over. */
function routeOf(stack: IpStack, record: RouteRecord, devices: Devices): FibRoute | Status {
  const destination = parseAddress(record.destination)
  if (destination === undefined || record.length > destination.bits) return -EINVAL
  const hops: NextHop[] = []
  for (const { link, gateway, weight, flags } of record.hops) {
    const device = ownDevice(stack, devices, link)
    if (device?.up) hops.push({ device, gateway: optional(gateway), weight, flags })
  }
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
  return route
}

function optional(text: string | undefined): IpAddress | undefined {
  return text === undefined ? undefined : parseAddress(text)
}
