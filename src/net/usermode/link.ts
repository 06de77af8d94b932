/** A user-mode network for a stack: the interface in it, its addresses and routes, and the gateway behind it. */
import { NUD_PERMANENT } from '../../abi/constants.ts'
import type { IpAddress } from '../address.ts'
import { FibRoute } from '../ip/fib.ts'
import type { IpStack } from '../ip-stack.ts'
import type { DeviceGuard, NetDevice } from '../link/device.ts'
import { randomMac, VethDevice } from '../link/veth.ts'
import { addFixedAddress, USER_V4, USER_V6 } from './addresses.ts'
import { UserGateway, type UserNetworkOptions } from './gateway.ts'
import type { Outside } from './outside.ts'

/** The guest's end: a network card whose cable leads into the unknown, which it can't remove. */
class UserLink extends VethDevice {
  override readonly kind = ''
  override get linkIndex(): number {
    return 0
  }
}

/** `stack`: the guest's, with its loopback device up. `guard`: what its interface is held to. */
export function joinUserNetwork(
  stack: IpStack,
  outside: Outside,
  options: UserNetworkOptions,
  guard?: DeviceGuard,
): UserGateway {
  const device = new UserLink('eth0', randomMac(stack.random))
  const far = new VethDevice('gateway', randomMac(stack.random))
  device.peer = far
  far.peer = device
  const gateway = new UserGateway(stack.runtime, far, outside, options)
  device.guard = guard
  stack.devices.register(device)
  stack.devices.setUp(device, true)
  for (const addresses of [USER_V4, USER_V6]) {
    addFixedAddress(stack, device, addresses.guest, addresses.length)
    const route = new FibRoute(addresses.guest.masked(0), 0)
    route.nextHops.push({ device, gateway: addresses.gateway, weight: 1, flags: 0 })
    stack.addRoute(route, {})
  }
  // Nobody else is on this link, so that nobody needs to be asked for.
  for (const { guest, gateway: router, resolver } of [USER_V4, USER_V6]) {
    addFixedNeighbour(stack, device, router, far.address)
    addFixedNeighbour(stack, device, resolver, far.address)
    addFixedNeighbour(gateway.stack, far, guest, device.address)
  }
  // As container engines have it.
  stack.sysctls.ipv4.ping_group_range = [0, 0x7fffffff]
  return gateway
}

function addFixedNeighbour(stack: IpStack, device: NetDevice, address: IpAddress, mac: Uint8Array): void {
  const table = address.isV4 ? stack.neighbours4 : stack.neighbours6
  table.get(device, address)?.update(mac, NUD_PERMANENT, { override: true })
}
