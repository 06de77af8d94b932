import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ETH_P_IP, ETH_P_IPV6 } from '../../abi/constants.ts'
import { IpAddress } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import { CHECKSUM_PARTIAL } from '../packet.ts'
import { UdpProtocol } from '../udp/protocol.ts'
import { Random, seededFill } from './runtime.ts'
import {
  concat,
  ethernet,
  icmp,
  icmp6,
  ipv4,
  ipv6,
  PEER_MAC,
  type RecorderDevice,
  TestNet,
  udp,
} from './testing.ts'

const ROUNDS = 20_000
/** FUZZ_SEED=n repeats a run. */
const SEED = Number(process.env.FUZZ_SEED ?? Math.floor(Math.random() * 0x7fffffff) + 1)

const V4 = ['192.0.2.2', '192.0.2.1', '224.0.0.1', '192.0.2.255', '198.51.100.9', '127.0.0.1', '0.0.0.0']
const V6 = [
  '2001:db8::2',
  '2001:db8::1',
  'fe80::2',
  'fe80::ff:fe00:1',
  'ff02::1',
  'ff02::1:ff00:1',
  '::',
  '::1',
]
const MACS = [
  Uint8Array.of(2, 0, 0, 0, 0, 1),
  Uint8Array.of(0x33, 0x33, 0, 0, 0, 1),
  new Uint8Array(6).fill(255),
]

/** Makes packets that are nearly right, since what is all wrong gets nowhere. */
class Generator {
  readonly random: Random

  constructor(seed: number) {
    this.random = new Random(seededFill(seed))
  }

  of<T>(list: readonly T[]): T {
    return list[this.random.below(list.length)]
  }
  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.random.below(256))
  }

  frame(): Uint8Array {
    const kind = this.random.below(8)
    const source = this.of(V4)
    const destination = this.of(V4)
    const source6 = this.of(V6)
    const destination6 = this.of(V6)
    const mac = this.of(MACS)
    if (kind === 0) return ethernet(mac, 0x0806, this.arp())
    if (kind === 1)
      return ethernet(mac, this.of([ETH_P_IP, ETH_P_IPV6, 0x0806, 5]), this.bytes(this.random.below(120)))
    if (kind <= 4) {
      const [protocol, payload] = this.payload4(source, destination)
      return ethernet(mac, ETH_P_IP, ipv4(source, destination, protocol, payload, this.options4()))
    }
    const [next, payload] = this.payload6(source6, destination6)
    return ethernet(mac, ETH_P_IPV6, ipv6(source6, destination6, next, payload, this.of([255, 255, 64, 1])))
  }

  arp(): Uint8Array {
    const head = [0, 1, 8, 0, 6, 4, 0, this.random.below(4)]
    return concat(
      head,
      PEER_MAC,
      IpAddress.of(this.of(V4)).bytes(),
      this.of(MACS),
      IpAddress.of(this.of(V4)).bytes(),
    )
  }

  options4(): object {
    const fragment = this.random.below(4) === 0 ? this.of([0x2000, 0x2001, 3, 0x1fff, 0x4000, 0x3ffe]) : 0
    const options = this.random.below(4) === 0 ? this.bytes(4 * this.random.below(10)) : undefined
    return {
      fragment,
      options,
      id: this.random.below(4),
      ttl: this.of([0, 1, 64]),
      tos: this.random.below(256),
    }
  }

  payload4(source: string, destination: string): [number, Uint8Array] {
    const data = this.bytes(this.random.below(80))
    switch (this.random.below(5)) {
      case 0:
        return [17, udp(source, destination, 99, this.of([53, 99]), data)]
      case 1: {
        const inner = ipv4(destination, source, this.of([17, 1, 6, 2]), this.bytes(this.random.below(30)))
        return [1, icmp(this.of([3, 4, 5, 11, 12]), this.random.below(16), this.random.u32(), inner)]
      }
      case 2:
        return [1, icmp(this.random.below(20), 0, this.random.u32(), data)]
      case 3:
        return [
          2,
          icmp(this.of([0x11, 0x12, 0x16, 0x17, 0x22]), this.random.below(256), this.random.u32(), data),
        ]
      default:
        return [this.random.below(256), data]
    }
  }

  payload6(source: string, destination: string): [number, Uint8Array] {
    const data = this.bytes(this.random.below(80))
    const kind = this.random.below(6)
    if (kind === 0) return [17, udp(source, destination, 99, this.of([53, 99]), data)]
    if (kind === 1) {
      const inner = ipv6(destination, source, this.of([17, 58, 44, 0]), this.bytes(this.random.below(40)))
      const head = [
        1 + this.random.below(4),
        this.random.below(8),
        0,
        0,
        0,
        0,
        this.random.below(8),
        this.random.below(256),
      ]
      return [58, icmp6(source, destination, concat(head, inner))]
    }
    if (kind === 2) {
      const type = this.of([133, 134, 135, 136, 137, 130, 131, 143])
      const options = concat([this.random.below(26), this.random.below(4)], this.bytes(this.random.below(40)))
      const body = concat([type, 0, 0, 0], this.bytes(4), IpAddress.of(this.of(V6)).bytes(), options)
      return [58, icmp6(source, destination, body)]
    }
    if (kind === 3) {
      const chain = this.of([0, 43, 44, 60, 51])
      return [
        chain,
        concat([this.of([0, 43, 44, 60, 58, 17, 59]), this.random.below(3)], this.bytes(6), data),
      ]
    }
    return [this.random.below(256), data]
  }

  /** Some bytes changed, or the end cut off. */
  spoil(frame: Uint8Array): Uint8Array {
    const kind = this.random.below(4)
    if (kind === 0) return frame.subarray(0, this.random.below(frame.length + 1))
    const changed = frame.slice()
    if (kind === 1 && frame.length > 14) {
      for (let i = 0; i < 3; i++) changed[14 + this.random.below(frame.length - 14)] = this.random.below(256)
    }
    return changed
  }
}

/** A frame as a link hands it that says something, true or not, of checksums and segments. */
function injectOffloaded(stack: IpStack, link: RecorderDevice, frame: Uint8Array, random: Random): void {
  const packet = stack.packets.allocate(frame.length, 64)
  packet.bytes.set(frame, packet.append(frame.length))
  packet.checksum = CHECKSUM_PARTIAL
  packet.checksumStart = packet.start + random.below(100)
  packet.checksumOffset = random.below(40)
  packet.gsoType = random.below(2) === 0 ? 0 : [1, 4, 5][random.below(3)]
  packet.gsoSize = random.below(200)
  stack.receive(link, packet)
  stack.runtime.backlog.drain()
}

for (const forwarding of [0, 1]) {
  test(`fuzz: no packet breaks a ${forwarding === 1 ? 'router' : 'host'}, or makes it keep memory`, t => {
    t.diagnostic(`FUZZ_SEED=${SEED}`)
    const generator = new Generator(SEED + forwarding)
    const net = new TestNet(SEED)
    const stack = net.stack()
    const link = net.recorder(stack, '192.0.2.1/24', '2001:db8::1/64')
    const other = net.recorder(stack, '198.51.100.1/24', '2001:db8:9::1/64')
    stack.devices.setMtu(other, 1280)
    stack.sysctls.setForwarding(forwarding, [link.index, other.index])
    stack.sysctls.setForwarding6(forwarding, [link.index, other.index])
    const endpoint = new UdpProtocol(stack).endpoint(true)
    endpoint.recvErr = true
    endpoint.bind(IpAddress.of('::'), 53)
    net.run(5)
    for (let i = 0; i < ROUNDS; i++) {
      const frame = generator.spoil(generator.frame())
      try {
        if (i % 10 === 0) injectOffloaded(stack, link, frame, generator.random)
        else link.inject(frame)
      } catch (error) {
        throw new Error(`FUZZ_SEED=${SEED}, packet ${i}: ${Buffer.from(frame).toString('hex')}`, {
          cause: error,
        })
      }
      if (i % 50 === 0) net.run(0.2)
      const packet = endpoint.receive(false)
      if (typeof packet !== 'number') packet.release()
      endpoint.errors.clear()
      link.take()
      other.take()
    }
    net.run(200)
    assert.equal(stack.reassembly.count, 0)
    assert.ok(stack.neighbours4.size < 1100 && stack.neighbours6.size < 1100)
    // It still works.
    net.run(3600)
    link.take()
    link.inject(
      ethernet(link.address, ETH_P_IP, ipv4('192.0.2.2', '192.0.2.1', 1, icmp(8, 0, 0, new Uint8Array(8)))),
    )
    assert.ok(link.take().length > 0)
    endpoint.close()
    stack.close()
    assert.equal(net.timers.next, Number.POSITIVE_INFINITY)
    assert.equal(net.runtime.packets.outstanding, 0, 'no packet is forgotten')
  })
}
