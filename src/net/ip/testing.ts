/** For tests of the stack: virtual time, stacks joined by veth pairs, and a device that records what is sent over it. */
import {
  IFA_F_NODAD,
  IPPROTO_ICMPV6,
  IPPROTO_UDP,
  NUD_PERMANENT,
  RT_SCOPE_LINK,
} from '../../abi/constants.ts'
import { type Clock, Timespec } from '../../base/clock.ts'
import type { Status } from '../../base/result.ts'
import { Timers } from '../../kernel/timers.ts'
import { IpAddress } from '../address.ts'
import { checksumOf, pseudoHeaderSum, sumBytes } from '../checksum.ts'
import { IpStack } from '../ip-stack.ts'
import { NetDevice } from '../link/device.ts'
import { LoopbackDevice } from '../link/loopback.ts'
import { vethPair } from '../link/veth.ts'
import type { Packet } from '../packet.ts'
import { FibRoute } from './fib.ts'
import { InterfaceAddress } from './interface-address.ts'
import { NetRuntime, seededFill } from './runtime.ts'

export class VirtualClock implements Clock {
  time = 1e12

  monotonic(): number {
    return this.time
  }
  realtime(): Timespec {
    return new Timespec(1_700_000_000 + Math.floor(this.time / 1e9), this.time % 1e9)
  }
  boottime(): number {
    return this.time
  }
}

export class TestNet {
  readonly clock = new VirtualClock()
  readonly timers = new Timers()
  readonly runtime: NetRuntime

  constructor(seed = 1) {
    this.runtime = new NetRuntime(this.clock, this.timers, seededFill(seed))
  }

  /** A stack with its loopback device up. */
  stack(): IpStack {
    const stack = new IpStack(this.runtime)
    const lo = new LoopbackDevice()
    stack.devices.register(lo)
    stack.devices.setUp(lo, true)
    this.run(0)
    return stack
  }

  /** Joins two stacks by a veth pair with these addresses (`a.b.c.d/n` or IPv6, NODAD), both ends up. */
  join(
    one: IpStack,
    other: IpStack,
    oneAddresses: string[],
    otherAddresses: string[],
  ): [NetDevice, NetDevice] {
    const [a, b] = vethPair(this.runtime.random, 'eth%d', 'eth%d')
    one.devices.register(a)
    other.devices.register(b)
    for (const text of oneAddresses) addAddress(one, a, text)
    for (const text of otherAddresses) addAddress(other, b, text)
    one.devices.setUp(a, true)
    other.devices.setUp(b, true)
    return [a, b]
  }

  /** A device of `stack` whose other end is the test. */
  recorder(stack: IpStack, ...addresses: string[]): RecorderDevice {
    const device = new RecorderDevice()
    stack.devices.register(device)
    for (const text of addresses) addAddress(stack, device, text)
    stack.devices.setUp(device, true)
    return device
  }

  /** Lets `seconds` go by: everything that is due happens at its time. */
  run(seconds: number): void {
    const end = this.clock.time + seconds * 1e9
    for (;;) {
      this.runtime.backlog.drain()
      const next = this.timers.next
      if (next > end) break
      this.clock.time = Math.max(this.clock.time, next)
      this.timers.expire(this.clock.time)
    }
    this.clock.time = end
  }
}

/** A device of a router: with an address, and a neighbour whose link address is known, PEER_MAC. */
export function routerPort(stack: IpStack, name: string, address: string, peer: string): RecorderDevice {
  const device = new RecorderDevice(name)
  stack.devices.register(device)
  stack.sysctls.setForwarding(1, [device.index])
  addAddress(stack, device, address)
  stack.devices.setUp(device, true)
  const entry = stack.neighbours4.get(device, IpAddress.of(peer))!
  entry.update(PEER_MAC, NUD_PERMANENT, { override: true, router: undefined })
  return device
}

export function addAddress(stack: IpStack, device: NetDevice, text: string): InterfaceAddress {
  const [address, length] = text.split('/')
  const entry = new InterfaceAddress(device, IpAddress.of(address), Number(length))
  entry.flags |= IFA_F_NODAD
  const status = stack.addresses.add(entry)
  if (status < 0) throw new Error(`address ${text}: ${status}`)
  return entry
}

export function addRoute(
  stack: IpStack,
  prefix: string,
  device: NetDevice,
  gateway?: string,
  metric = 0,
): FibRoute {
  const [address, length] = prefix.split('/')
  const route = new FibRoute(IpAddress.of(address), Number(length))
  route.priority = metric
  if (gateway === undefined && route.destination.isV4) route.scope = RT_SCOPE_LINK
  route.nextHops.push({
    device,
    gateway: gateway === undefined ? undefined : IpAddress.of(gateway),
    weight: 1,
    flags: 0,
  })
  const status = stack.addRoute(route, {})
  if (status < 0) throw new Error(`route ${prefix}: ${status}`)
  return route
}

/** Keeps the frames that were sent; `inject` is what the other side sends. */
export class RecorderDevice extends NetDevice {
  override readonly kind = ''
  sent: Uint8Array[] = []

  constructor(name = 'eth%d') {
    super(name)
    this.address = Uint8Array.of(2, 0, 0, 0, 0, 1)
  }

  override transmit(packet: Packet): Status {
    this.sent.push(packet.data().slice())
    packet.release()
    return 0
  }

  inject(frame: Uint8Array): void {
    const packet = this.stack!.packets.allocate(frame.length, 64)
    packet.bytes.set(frame, packet.append(frame.length))
    this.stack!.receive(this, packet)
    this.stack!.runtime.backlog.drain()
  }

  /** What was sent since the last call. */
  take(): Uint8Array[] {
    const { sent } = this
    this.sent = []
    return sent
  }
  /** Of those, the ones of a protocol (EtherType), without their link header. */
  takeIp(etherType: number): Uint8Array[] {
    return this.take()
      .filter(frame => ((frame[12] << 8) | frame[13]) === etherType)
      .map(frame => frame.slice(14))
  }
}

/** The other side's link address. */
export const PEER_MAC = Uint8Array.of(2, 0, 0, 0, 0, 2)

export function concat(...parts: (Uint8Array | number[])[]): Uint8Array {
  return Uint8Array.from(parts.flatMap(part => [...part]))
}

export function ethernet(to: Uint8Array, protocol: number, payload: Uint8Array, from = PEER_MAC): Uint8Array {
  return concat(to, from, [protocol >> 8, protocol & 255], payload)
}

export interface Ipv4Options {
  ttl?: number
  tos?: number
  id?: number
  /** Flags and offset field. */
  fragment?: number
  options?: Uint8Array
}

export function ipv4(
  source: string,
  destination: string,
  protocol: number,
  payload: Uint8Array,
  more: Ipv4Options = {},
): Uint8Array {
  const options = more.options ?? new Uint8Array(0)
  const header = new Uint8Array(20 + options.length)
  const view = new DataView(header.buffer)
  view.setUint8(0, 0x40 | (header.length / 4))
  view.setUint8(1, more.tos ?? 0)
  view.setUint16(2, header.length + payload.length)
  view.setUint16(4, more.id ?? 1)
  view.setUint16(6, more.fragment ?? 0)
  view.setUint8(8, more.ttl ?? 64)
  view.setUint8(9, protocol)
  IpAddress.of(source).write(view, 12)
  IpAddress.of(destination).write(view, 16)
  header.set(options, 20)
  view.setUint16(10, checksumOf(sumBytes(header)))
  return concat(header, payload)
}

export function ipv6(
  source: string,
  destination: string,
  next: number,
  payload: Uint8Array,
  hopLimit = 64,
): Uint8Array {
  const header = new Uint8Array(40)
  const view = new DataView(header.buffer)
  view.setUint8(0, 0x60)
  view.setUint16(4, payload.length)
  view.setUint8(6, next)
  view.setUint8(7, hopLimit)
  IpAddress.of(source).writeV6(view, 8)
  IpAddress.of(destination).writeV6(view, 24)
  return concat(header, payload)
}

/** A UDP datagram with its checksum for these addresses. */
export function udp(
  source: string,
  destination: string,
  from: number,
  to: number,
  data: Uint8Array,
): Uint8Array {
  const bytes = concat([from >> 8, from & 255, to >> 8, to & 255, 0, 0, 0, 0], data)
  const view = new DataView(bytes.buffer)
  view.setUint16(4, bytes.length)
  const pseudo = pseudoHeaderSum(IpAddress.of(source), IpAddress.of(destination), IPPROTO_UDP, bytes.length)
  view.setUint16(6, checksumOf(sumBytes(bytes, pseudo)) || 0xffff)
  return bytes
}

export function icmp(type: number, code: number, info: number, data: Uint8Array): Uint8Array {
  const bytes = concat(
    [type, code, 0, 0, info >>> 24, (info >> 16) & 255, (info >> 8) & 255, info & 255],
    data,
  )
  new DataView(bytes.buffer).setUint16(2, checksumOf(sumBytes(bytes)))
  return bytes
}

export function icmp6(source: string, destination: string, body: Uint8Array): Uint8Array {
  const bytes = body.slice()
  const view = new DataView(bytes.buffer)
  view.setUint16(2, 0)
  const pseudo = pseudoHeaderSum(
    IpAddress.of(source),
    IpAddress.of(destination),
    IPPROTO_ICMPV6,
    bytes.length,
  )
  view.setUint16(2, checksumOf(sumBytes(bytes, pseudo)))
  return bytes
}
