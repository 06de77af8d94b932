/** Which address of ours a packet is sent from: Linux's inet_select_addr for IPv4, RFC 6724 §5 for IPv6. */
import { IFA_F_DEPRECATED, IFA_F_HOMEADDRESS, RT_SCOPE_LINK, RT_SCOPE_UNIVERSE } from '../../abi/constants.ts'
import { type IpAddress, V4_ANY } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { addressScope, type InterfaceAddress } from './interface-address.ts'

/**
 * A primary address of the device with a scope that reaches far enough, the one in the destination's network before the
 * first; else one of another device, unless it is only good on its link. 0.0.0.0 where there is none.
 */
export function selectSource4(
  stack: IpStack,
  device: NetDevice,
  destination: IpAddress | undefined,
  scope: number,
): IpAddress {
  let first: IpAddress | undefined
  for (const entry of stack.addresses.of(device)) {
    if (!entry.address.isV4 || entry.secondary || entry.scope > scope) continue
    if (destination === undefined || destination.inPrefix(entry.prefixAddress, entry.length))
      return entry.address
    first ??= entry.address
  }
  if (first !== undefined) return first
  for (const other of stack.devices.all) {
    for (const entry of stack.addresses.of(other)) {
      if (!entry.address.isV4 || entry.secondary) continue
      if (entry.scope !== RT_SCOPE_LINK && entry.scope <= scope) return entry.address
    }
  }
  return V4_ANY
}

/** Undefined when no address will do. `device`: where the packet goes out. */
export function selectSource6(
  stack: IpStack,
  device: NetDevice | undefined,
  destination: IpAddress,
): IpAddress | undefined {
  const wanted = scope6(destination)
  // §4: for multicast and link-local destinations only the outgoing device's addresses are candidates.
  const ownOnly = device !== undefined && (destination.isMulticast || wanted <= SCOPE_LINK)
  let best: InterfaceAddress | undefined
  for (const other of ownOnly ? [device] : stack.devices.all) {
    if (!other.up) continue
    for (const entry of stack.addresses.of(other)) {
      if (entry.address.isV4 || !entry.usable || entry.address.isMulticast) continue
      if (best === undefined || better(entry, best, destination, wanted, device)) best = entry
    }
  }
  return best?.address
}

/** Whether `a` is to be preferred over `b`: the rules of RFC 6724 §5 in their order. */
function better(
  a: InterfaceAddress,
  b: InterfaceAddress,
  destination: IpAddress,
  wanted: number,
  device: NetDevice | undefined,
): boolean {
  // Rule 1: the same address.
  if (a.address.equals(destination)) return true
  if (b.address.equals(destination)) return false
  // Rule 2: the appropriate scope.
  const scopeA = scope6(a.address)
  const scopeB = scope6(b.address)
  if (scopeA !== scopeB) return scopeA < scopeB ? scopeA >= wanted : scopeB < wanted
  // Rule 3: no deprecated addresses.
  const oldA = a.flags & IFA_F_DEPRECATED
  const oldB = b.flags & IFA_F_DEPRECATED
  if (oldA !== oldB) return oldA === 0
  // Rule 4: home addresses.
  if (((a.flags ^ b.flags) & IFA_F_HOMEADDRESS) !== 0) return (a.flags & IFA_F_HOMEADDRESS) !== 0
  // Rule 5: the outgoing interface.
  if ((a.device === device) !== (b.device === device)) return a.device === device
  // Rule 6: a matching label.
  const { labels } = a.device.stack!
  const label = labels.of(destination, device?.index ?? 0)?.label
  const labelOf = ({ address, device: own }: InterfaceAddress) => labels.of(address, own.index)?.label
  const labelA = labelOf(a) === label
  if (labelA !== (labelOf(b) === label)) return labelA
  // Rule 8: the longest matching prefix. (7, temporary addresses, has nothing to tell apart.)
  return commonPrefix(a, destination) > commonPrefix(b, destination)
}

function commonPrefix(entry: InterfaceAddress, destination: IpAddress): number {
  return Math.min(entry.address.commonPrefix(destination), entry.length)
}

const SCOPE_LINK = 2

/** RFC 4007's scope values, as multicast addresses carry them. */
export function scope6(address: IpAddress): number {
  if (address.isMulticast) return address.isV4 ? 14 : (address.w0 >>> 16) & 0xf
  if (address.isLoopback || address.isLinkLocal) return SCOPE_LINK
  return addressScope(address) === RT_SCOPE_UNIVERSE ? 14 : 5
}
