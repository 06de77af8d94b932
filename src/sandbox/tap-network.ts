/**
 * `caisson do --network=sandbox`: the guest's interface is the other end of a TAP device in the caller's network namespace
 * (native/launcher/tap.c), with a default route to there.
 */
import { readlinkSync } from 'node:fs'
import {
  ARPHRD_ETHER,
  IFF_UP,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTN_UNICAST,
  RTPROT_BOOT,
  TUNGETIFF,
} from '../abi/constants.ts'
import { errnoName } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { IpAddress } from '../net/address.ts'
import { FOREVER } from '../net/ip/interface-address.ts'
import { type DeviceGuard, formatMac } from '../net/link/device.ts'
import { HostLink } from '../net/link/host-link.ts'
import { applyNetwork } from '../net/setup/apply.ts'
import type { AddressRecord, NetworkRecord, RouteRecord } from '../net/setup/record.ts'
import { netStack } from '../net/stack.ts'
import { LinuxLinks } from '../platform/linux-links.ts'
import { TAP_FD } from './launcher-channel.ts'
import type { Sentry } from './sentry.ts'
import { UserError } from './user-error.ts'

/** As tap.c has them: where the blocks begin, which have four addresses each. */
const FIRST4 = 0xc6120000
const FIRST6 = [0xfd636169, 0x73736f6e, 0] as const
const PREFIX4 = 30
const PREFIX6 = 126
const MTU = 1500
const LINK = 2
/** IP6_RT_PRIO_USER, which is the default of IPv6's routes. */
const METRIC6 = 1024
/** sizeof(struct ifreq), which begins with the name. */
const IFREQ = 40

/** Whether the launcher could make the device. To be asked before the sentry has left the host's tree. */
export function hasTap(): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${TAP_FD}`) === '/dev/net/tun'
  } catch {
    return false
  }
}

/** Which one it is: the N of caissonN. To be asked before the seal. */
export function tapBlock({ addon }: Sentry): number {
  const request = new Uint8Array(IFREQ)
  const status = addon.syscall(NR.ioctl, TAP_FD, TUNGETIFF, request)
  const [, number] = /^caisson(\d+)\0/.exec(Buffer.from(request).toString('latin1')) ?? []
  if (number === undefined) throw new UserError(`the sandbox's link has no name: ${errnoName(-status)}`)
  return Number(number)
}

/** Gives the kernel's first network namespace the link. `guard`: what it is held to. */
export function connectTap({ kernel, host, addon }: Sentry, block: number, guard?: DeviceGuard): void {
  const stack = netStack(kernel.net).ip!
  const mac = Uint8Array.of(2, 0xca, 0x15, 0x50, block >> 8, block & 0xff)
  const status = applyNetwork(stack, tapRecord(block, mac), ({ name }) => {
    const link = new HostLink(name, TAP_FD, mac, host, new LinuxLinks(addon))
    link.guard = guard
    return link
  })
  if (status < 0) throw new UserError(`the sandbox's network can't be set up: ${errnoName(-status)}`)
}

function tapRecord(block: number, mac: Uint8Array): NetworkRecord {
  const at = (place: number) => 4 * block + place
  const v4 = (place: number) => IpAddress.v4(FIRST4 + at(place)).toString()
  const v6 = (place: number) => new IpAddress(...FIRST6, at(place)).toString()
  return {
    links: [
      {
        index: LINK,
        name: 'eth0',
        type: ARPHRD_ETHER,
        kind: '',
        flags: IFF_UP,
        mtu: MTU,
        mac: formatMac(mac),
        txQueueLength: 1000,
        ipv6Disabled: false,
        addresses: [address(v4(2), PREFIX4), address(v6(2), PREFIX6)],
      },
    ],
    routes: [defaultRoute('0.0.0.0', v4(1)), defaultRoute('::', v6(1))],
    neighbours: [],
  }
}

function address(text: string, length: number): AddressRecord {
  return {
    address: text,
    length,
    scope: RT_SCOPE_UNIVERSE,
    flags: 0,
    priority: 0,
    valid: FOREVER,
    preferred: FOREVER,
  }
}

function defaultRoute(destination: string, gateway: string): RouteRecord {
  return {
    destination,
    length: 0,
    table: RT_TABLE_MAIN,
    type: RTN_UNICAST,
    scope: RT_SCOPE_UNIVERSE,
    protocol: RTPROT_BOOT,
    tos: 0,
    priority: destination.includes(':') ? METRIC6 : 0,
    metrics: {},
    hops: [{ link: LINK, gateway, weight: 1, flags: 0 }],
  }
}
