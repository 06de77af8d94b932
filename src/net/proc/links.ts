/** /proc/net of interfaces: dev, dev_mcast, if_inet6, igmp, igmp6, ptype. */
import { ETH_P_ALL, RT_SCOPE_HOST, RT_SCOPE_LINK, RT_SCOPE_SITE } from '../../abi/constants.ts'
import type { IpAddress } from '../address.ts'
import type { InetNetwork } from '../inet/network.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { hex, hexBytes } from './format.ts'

/** IPV6_ADDR_LOOPBACK, _LINKLOCAL and _SITELOCAL as if_inet6 shows scopes. */
const SHOWN_SCOPES: ReadonlyMap<number, number> = new Map([
  [RT_SCOPE_HOST, 0x10],
  [RT_SCOPE_LINK, 0x20],
  [RT_SCOPE_SITE, 0x40],
])

export function devicesOf(stack: IpStack): NetDevice[] {
  return [...stack.devices.all].sort((a, b) => a.index - b.index)
}

export function devLines(stack: IpStack): string {
  let text = ''
  for (const { name, statistics: s } of devicesOf(stack)) {
    const pad = (value: number, width: number) => String(value).padStart(width)
    text +=
      `${name.padStart(6)}: ${pad(s.rxBytes, 7)} ${pad(s.rxPackets, 7)} ${pad(s.rxErrors, 4)} ${pad(s.rxDropped, 4)}` +
      ` ${pad(0, 4)} ${pad(0, 5)} ${pad(0, 10)} ${pad(s.multicast, 9)}` +
      ` ${pad(s.txBytes, 8)} ${pad(s.txPackets, 7)} ${pad(s.txErrors, 4)} ${pad(s.txDropped, 4)}` +
      ` ${pad(0, 4)} ${pad(s.collisions, 5)} ${pad(0, 7)} ${pad(0, 10)}\n`
  }
  return text
}

export function mcastLines(stack: IpStack): string {
  let text = ''
  for (const device of devicesOf(stack)) {
    for (const [address, users] of device.multicastList) {
      const fields = [
        `${device.index}`.padEnd(4),
        device.name.padEnd(15),
        `${users}`.padEnd(5),
        '0'.padEnd(5),
      ]
      text += `${fields.join(' ')} ${address.replaceAll(':', '')}\n`
    }
  }
  return text
}

export function ifInet6Lines(stack: IpStack): string {
  let text = ''
  for (const device of devicesOf(stack)) {
    for (const entry of stack.addresses.of(device)) {
      if (entry.address.isV4) continue
      const scope = SHOWN_SCOPES.get(entry.scope) ?? 0
      const numbers = [device.index, entry.length, scope, entry.flags & 0xff].map(value =>
        hex(value, 2, false),
      )
      text += `${hexBytes(entry.address.bytes())} ${numbers.join(' ')} ${device.name.padStart(8)}\n`
    }
  }
  return text
}

export function igmpLines(stack: IpStack): string {
  let text = ''
  for (const device of devicesOf(stack)) {
    const groups = [...stack.multicast.of(device)].filter(group => group.address.isV4)
    // All hosts listen to 224.0.0.1 without being asked to.
    const all = [0xe0000001, ...groups.map(group => group.address.w3)].reverse()
    if (!device.up) continue
    text += `${device.index}\t${device.name.padEnd(10)}: ${String(all.length).padStart(5)}      V3\n`
    for (const group of all) {
      const users = groups.find(each => each.address.w3 === group)?.memberships.size ?? 1
      text += `\t\t\t\t${littleEndian(group)} ${String(users).padStart(5)} 0:00000000\t\t0\n`
    }
  }
  return text
}

/** The flags are the kernel's own: 8 for a group that no router hears of, 4 for one that the device listens to. */
export function igmp6Lines(stack: IpStack): string {
  let text = ''
  for (const device of devicesOf(stack)) {
    if (!device.up || !stack.ipv6Enabled(device)) continue
    const line = (address: string, users: number, flags: number): string =>
      `${`${device.index}`.padEnd(4)} ${device.name.padEnd(15)} ${address} ${String(users).padStart(5)} ${hex(flags, 8)} 0\n`
    for (const { address, memberships } of [...stack.multicast.of(device)].reverse()) {
      if (address.isV4) continue
      const stays = ((address.w0 >>> 16) & 0xf) === 1
      text += line(hexBytes(address.bytes()), memberships.size, stays ? 8 : 4)
    }
    text += line('ff020000000000000000000000000001', 1, 0xc) + line('ff010000000000000000000000000001', 1, 8)
  }
  return text
}

/** mcfilter, mcfilter6: how many ask for a source of a group, and how many refuse it. */
export function filterLines(stack: IpStack, isV4: boolean): string {
  const text = (address: IpAddress) => (isV4 ? `0x${hex(address.w3, 8, false)}` : hexBytes(address.bytes()))
  let lines = ''
  for (const device of devicesOf(stack)) {
    for (const { address, memberships } of stack.multicast.of(device)) {
      if (address.isV4 !== isV4) continue
      const sources = new Map<string, { source: IpAddress; counts: [number, number] }>()
      for (const { exclude, sources: named } of memberships) {
        for (const source of named) {
          const entry = sources.get(source.key) ?? { source, counts: [0, 0] }
          entry.counts[exclude ? 1 : 0]++
          sources.set(source.key, entry)
        }
      }
      const place = `${String(device.index).padStart(3)} ${device.name.slice(0, 6).padStart(6)} ${text(address)}`
      for (const { source, counts } of sources.values()) {
        lines += `${place} ${text(source)} ${counts.map(count => String(count).padStart(6)).join(' ')}\n`
      }
    }
  }
  return lines
}

function littleEndian(word: number): string {
  const swapped = ((word & 0xff) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)
  return hex(swapped >>> 0, 8)
}

export function ptypeLines(net: InetNetwork): string {
  let text = ''
  for (const socket of net.packets.sockets) {
    const name = net.ip.devices.byIndex(socket.device)?.name ?? ''
    const type = socket.etherType === ETH_P_ALL ? 'ALL ' : hex(socket.etherType, 4, false)
    text += `${type} ${name.padEnd(8)} packet_rcv\n`
  }
  return `${text}0800          ip_rcv\n0806          arp_rcv\n86dd          ipv6_rcv\n`
}
