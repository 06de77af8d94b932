/** RTN_*: what kind of address one is to this machine, for rules that ask: inet_addr_type, ipv6_addr_type. */
import { RTN_LOCAL, RTN_MULTICAST, RTN_UNICAST, RTN_UNREACHABLE, RTN_UNSPEC } from '../../abi/constants.ts'
import { type IpAddress, V6_ANY } from '../address.ts'
import { plainFlow } from '../ip/ipv4-output.ts'
import { addressType4 } from '../ip/routing4.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'

/** `device`: only its own addresses are local. */
export function addressType(stack: IpStack, address: IpAddress, device?: NetDevice): number {
  if (address.isV4) {
    const type = addressType4(stack, address)
    return type === RTN_LOCAL && !isOf(stack, address, device) ? RTN_UNICAST : type
  }
  if (address.isAny) return RTN_UNSPEC
  if (address.isMulticast) return RTN_MULTICAST
  if (stack.addresses.isLocal(address, device)) return RTN_LOCAL
  const route = stack.ip.routeFor(plainFlow(0, V6_ANY, address))
  return typeof route === 'number' ? RTN_UNREACHABLE : RTN_UNICAST
}

function isOf(stack: IpStack, address: IpAddress, device: NetDevice | undefined): boolean {
  if (device === undefined) return true
  if (device.isLoopback && address.isLoopback) return true
  return stack.addresses.of(device).some(entry => entry.address.equals(address))
}
