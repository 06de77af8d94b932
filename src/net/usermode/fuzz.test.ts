/** A guest's root can put any frame on the link: neither the gateway nor a policy's guard may fail over one. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ECONNREFUSED, ECONNRESET } from '../../abi/errno.ts'
import { concat, ethernet, icmp, icmp6, ipv4, ipv6, udp } from '../ip/testing.ts'
import type { DeviceGuard, NetDevice } from '../link/device.ts'
import type { Packet } from '../packet.ts'
import { FlowGuard } from '../policy/guard.ts'
import { USER_V4, USER_V6 } from './addresses.ts'
import { userNetwork } from './testing.ts'

const ROUNDS = 4000
const V4 = [USER_V4.guest.toString(), '198.51.100.7', USER_V4.gateway.toString(), USER_V4.resolver.toString()]
const V6 = [USER_V6.guest.toString(), '2001:db8::7', USER_V6.gateway.toString(), 'fe80::1']

class Dice {
  #state: number
  constructor(seed: number) {
    this.#state = seed
  }
  below(n: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0
    return Math.floor((this.#state / 2 ** 32) * n)
  }
  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)]
  }
}

function tcpHeader(dice: Dice): Uint8Array {
  const ports = [0, dice.below(4), 0, 80 + dice.below(4)]
  return concat(
    ports,
    [0, 0, 0, dice.below(8)],
    [0, 0, 0, 0, 0x50, dice.of([2, 2, 2, 16, 17, 4, 18]), 255, 255, 0, 0, 0, 0],
  )
}

function frame(dice: Dice, to: Uint8Array): Uint8Array {
  const [source, destination] = [dice.of(V4), dice.of(V4)]
  const [source6, destination6] = [dice.of(V6), dice.of(V6)]
  const data = new Uint8Array(dice.below(60))
  const packets: (() => [number, Uint8Array])[] = [
    () => [0x800, ipv4(source, destination, 6, tcpHeader(dice), { fragment: dice.of([0, 0, 0, 0x2000, 1]) })],
    () => [0x800, ipv4(source, destination, 17, udp(source, destination, dice.below(4), 53, data))],
    () => [
      0x800,
      ipv4(source, destination, 1, icmp(dice.of([0, 3, 5, 8, 11]), dice.below(16), dice.below(9), data)),
    ],
    () => [0x800, ipv4(source, destination, 1, icmp(3, 3, 0, ipv4(destination, source, 6, tcpHeader(dice))))],
    () => [0x86dd, ipv6(source6, destination6, 6, tcpHeader(dice))],
    () => [0x86dd, ipv6(source6, destination6, 17, udp(source6, destination6, dice.below(4), 53, data))],
    () => [
      0x86dd,
      ipv6(
        source6,
        destination6,
        58,
        icmp6(source6, destination6, concat([dice.of([1, 128, 135]), 0, 0, 0, 0, 0, 0, 1], data)),
      ),
    ],
    () => [
      0x86dd,
      ipv6(
        source6,
        destination6,
        dice.of([0, 43, 44, 60]),
        concat([6, 0, 0, 0, 0, 0, 0, 0], tcpHeader(dice)),
      ),
    ],
    () => [dice.below(65536), data],
  ]
  const [type, packet] = dice.of(packets)()
  const bytes = ethernet(to, type, packet)
  // Half of them are broken somewhere.
  if (dice.below(2) === 0)
    for (let i = dice.below(4); i >= 0; i--) bytes[dice.below(bytes.length)] = dice.below(256)
  return dice.below(8) === 0 ? bytes.slice(0, dice.below(bytes.length + 1)) : bytes
}

/** A guard that is made when the world is there. */
class LateGuard implements DeviceGuard {
  guard: FlowGuard | undefined = undefined
  leaves(device: NetDevice, packet: Packet): boolean {
    return this.guard?.leaves(device, packet) ?? true
  }
  arrives(device: NetDevice, packet: Packet): void {
    this.guard?.arrives(device, packet)
  }
}

test('user network: whatever frames come, the gateway lives, and forgets them', () => {
  for (const seed of [1, 2, 3]) {
    const dice = new Dice(seed)
    const late = new LateGuard()
    const world = userNetwork({ hostLoopback: true }, seed === 1 ? undefined : late)
    const { guest, net, outside, gateway } = world
    late.guard = new FlowGuard(guest.runtime, {
      onFlow: flow => (flow.destinationPort % 2 === 0 ? 'allow' : 'deny'),
      resolvers: [USER_V4.resolver],
      refused: () => {},
    })
    const device = guest.devices.byName('eth0')!
    const far = gateway.stack.devices.byName('gateway')!
    for (let i = 0; i < ROUNDS; i++) {
      const bytes = frame(dice, far.address)
      const packet = guest.packets.allocate(bytes.length, 64)
      packet.bytes.set(bytes, packet.append(bytes.length))
      guest.transmit(device, packet)
      net.run(dice.below(10) === 0 ? 1 : 0)
      const socket = dice.of([...outside.made, undefined])
      if (socket === undefined || socket.closed) continue
      if (socket.ready === undefined) socket.open()
      else if (dice.below(3) === 0) socket.connected(dice.of([0, 0, ECONNREFUSED]))
      else socket.receive(dice.of(['data', 'more', 0, -ECONNRESET]))
    }
    for (const socket of outside.made) if (socket.ready === undefined && !socket.closed) socket.open()
    net.run(3600)
    for (const socket of outside.made) socket.connected(ECONNRESET)
    net.run(3600)
    assert.equal(gateway.tcp.connections, 0)
    assert.equal(guest.packets.outstanding, 0)
    assert.ok(outside.made.length > 20, `${outside.made.length} sockets were asked for`)
    assert.deepEqual(
      outside.made.filter(socket => !socket.closed),
      [],
    )
  }
})
