import assert from 'node:assert/strict'
import { beforeEach, test } from 'node:test'
import { ETH_P_IP, NUD_PERMANENT, POLLIN, POLLOUT } from '../../abi/constants.ts'
import { EAGAIN, EINVAL, EMSGSIZE, ENETDOWN, ENOBUFS } from '../../abi/errno.ts'
import type { HostLinks } from '../../platform/host-links.ts'
import { IpAddress } from '../address.ts'
import { addAddress, concat, ethernet, icmp, ipv4, PEER_MAC, TestNet } from '../ip/testing.ts'
import type { IpStack } from '../ip-stack.ts'
import { CHECKSUM_PARTIAL, GSO_TCPV4, type Packet } from '../packet.ts'
import { HostLink, type LinkHost } from './host-link.ts'
import { OFFLOAD_HEADER } from './offload-header.ts'
import { SideLink } from './side-link.ts'

const MAC = Uint8Array.of(2, 0, 0, 0, 0, 1)

/** A descriptor that gives what is in `incoming` and takes as much as `room` says. */
class FakeLink implements HostLinks, LinkHost {
  incoming: (Uint8Array | number)[] = []
  sent: Uint8Array[] = []
  room = Number.POSITIVE_INFINITY
  watched = 0
  reads = 0
  /** Whether there is somebody who reads ahead, and what he has to do. */
  helper = false
  ahead: { readonly buffers: readonly Uint8Array[]; readonly offset: number } | undefined = undefined
  ready: (events: number) => void = () => {}

  receive(_fd: number, buffers: readonly Uint8Array[], offset: number, lengths: Int32Array): number {
    this.reads++
    for (let i = 0; i < buffers.length; i++) {
      const frame = this.incoming.shift()
      if (frame === undefined) return i
      if (typeof frame !== 'number') buffers[i].set(frame, offset)
      lengths[i] = typeof frame === 'number' ? frame : frame.length
    }
    return buffers.length
  }
  readAhead(_fd: number, buffers: readonly Uint8Array[], offset: number): boolean {
    assert.equal(this.ahead, undefined, 'one job at a time')
    if (this.helper) this.ahead = { buffers, offset }
    return this.helper
  }
  collect(lengths: Int32Array): number {
    const { buffers, offset } = this.ahead!
    this.ahead = undefined
    return this.receive(0, buffers, offset, lengths)
  }
  send(_fd: number, bytes: Uint8Array, start: number, end: number): number {
    if (this.room-- <= 0) return -EAGAIN
    this.sent.push(bytes.slice(start, end))
    return end - start
  }
  watch(_fd: number, events: number, ready: (events: number) => void): number {
    assert.equal(this.watched, 0, 'watched twice')
    this.watched = events
    this.ready = ready
    return 0
  }
  unwatch(): void {
    this.watched = 0
  }
  close(): number {
    return 0
  }
}

let net: TestNet
let stack: IpStack
let cable: FakeLink
let link: HostLink

beforeEach(() => {
  net = new TestNet()
  stack = net.stack()
  stack.sysctls.ipv6Conf.all.disable_ipv6 = 1
  cable = new FakeLink()
  link = new HostLink('eth0', 9, MAC, cable, cable)
  stack.devices.register(link)
  addAddress(stack, link, '10.0.0.1/24')
  stack.devices.setUp(link, true)
  net.run(1)
  cable.sent = []
})

function framed(frame: Uint8Array, ...header: number[]): Uint8Array {
  return concat([...header, ...new Array<number>(OFFLOAD_HEADER - header.length).fill(0)], frame)
}
function ping(data = 8): Uint8Array {
  return ethernet(MAC, ETH_P_IP, ipv4('10.0.0.2', '10.0.0.1', 1, icmp(8, 0, 0, new Uint8Array(data))))
}
function packetOf(length: number): Packet {
  const packet = stack.packets.allocate(length)
  packet.append(length)
  packet.bytes.set(PEER_MAC, packet.start)
  return packet
}

test('a frame goes up to the stack, and the answer goes out behind a header that asks for nothing', () => {
  stack.neighbours4.get(link, IpAddress.of('10.0.0.2'))!.update(PEER_MAC, NUD_PERMANENT)
  cable.incoming.push(framed(ping(100)))
  cable.ready(POLLIN)
  assert.equal(cable.sent.length, 1)
  const [answer] = cable.sent
  assert.equal(answer.length, OFFLOAD_HEADER + 14 + 20 + 8 + 100)
  assert.deepEqual(answer.subarray(0, OFFLOAD_HEADER), new Uint8Array(OFFLOAD_HEADER))
  assert.equal(answer[OFFLOAD_HEADER + 14 + 20], 0, 'an echo reply')
})

test('all that is there is read, and guests run between turns', () => {
  for (let i = 0; i < 300; i++) cable.incoming.push(framed(ping()))
  cable.ready(POLLIN)
  assert.equal(link.statistics.rxPackets, 256)
  net.run(0)
  assert.equal(link.statistics.rxPackets, 300)
})

test('frames that are none, and headers that ask for the unknown, are counted as errors', () => {
  cable.incoming.push(
    new Uint8Array(0),
    new Uint8Array(OFFLOAD_HEADER + 13),
    framed(ping(), 0, 3, 0, 0, 100),
    -EINVAL,
    framed(ping(), 1, 0, 0, 0, 0, 0, 0xff, 0xff, 2),
    framed(ping(), 0, 1, 0, 0, 0),
    framed(ping()),
  )
  cable.ready(POLLIN)
  assert.equal(link.statistics.rxErrors, 6)
  assert.equal(stack.counters.icmp.InEchos, 1)
})

test('a link whose other end goes down has no carrier until a frame passes, either way', () => {
  for (const pass of [
    () => {
      cable.incoming.push(framed(ping()))
      cable.ready(POLLIN)
    },
    () => link.transmit(packetOf(60)),
  ]) {
    cable.incoming.push(-ENETDOWN)
    cable.ready(POLLIN)
    assert.equal(link.carrier, false)
    pass()
    assert.equal(link.carrier, true)
  }
})

test('a packet that is to be split goes out whole, with what the link must know', () => {
  const packet = packetOf(14 + 20 + 32 + 9000)
  packet.gsoType = GSO_TCPV4
  packet.gsoSize = 1448
  packet.checksum = CHECKSUM_PARTIAL
  packet.checksumStart = packet.start + 34
  packet.checksumOffset = 16
  packet.view.setUint8(packet.checksumStart + 12, 8 << 4)
  assert.equal(link.transmit(packet), 0)
  const header = new DataView(cable.sent[0].buffer)
  assert.equal(header.getUint8(0), 1)
  assert.equal(header.getUint8(1), GSO_TCPV4)
  assert.deepEqual(
    [2, 4, 6, 8].map(at => header.getUint16(at, true)),
    [66, 1448, 34, 16],
  )
  assert.equal(cable.sent[0].length, OFFLOAD_HEADER + 9066)
})

test('a packet without room in front for the header goes out all the same', () => {
  const packet = stack.packets.allocate(100, 4)
  packet.append(100)
  assert.equal(link.transmit(packet), 0)
  assert.equal(cable.sent[0].length, OFFLOAD_HEADER + 100)
})

test('what is longer than the MTU and not to be split is refused', () => {
  assert.equal(link.transmit(packetOf(1515)), -EMSGSIZE)
  assert.equal(link.statistics.txErrors, 1)
})

test('a busy link queues in order, up to its limit, and goes on when it can be written', () => {
  link.txQueueLength = 3
  cable.room = 1
  const before = net.runtime.packets.outstanding
  const results = [100, 101, 102, 103, 104].map(length => link.transmit(packetOf(length)))
  assert.deepEqual(results, [0, 0, 0, 0, -ENOBUFS])
  assert.equal(link.statistics.txDropped, 1)
  assert.equal(cable.watched, POLLIN | POLLOUT)
  cable.room = 2
  cable.ready(POLLOUT)
  assert.equal(cable.watched, POLLIN | POLLOUT)
  cable.room = Number.POSITIVE_INFINITY
  cable.ready(POLLOUT)
  assert.deepEqual(
    cable.sent.map(frame => frame.length - OFFLOAD_HEADER),
    [100, 101, 102, 103],
  )
  assert.equal(cable.watched, POLLIN)
  assert.equal(net.runtime.packets.outstanding, before)
})

test('a busy link queues, also where the host says that its interface needs no queue', () => {
  link.txQueueLength = 0
  cable.room = 0
  assert.equal(link.transmit(packetOf(100)), 0)
  cable.room = 1
  cable.ready(POLLOUT)
  assert.equal(cable.sent.length, 1)
})

test('down, it is not watched, keeps no packets, and forgets what comes in until it is up again', () => {
  cable.room = 0
  link.transmit(packetOf(100))
  // Too large to be copied: it goes up in the packet that it was read into.
  const large = ipv4('10.0.0.2', '10.0.0.1', 200, new Uint8Array(20000))
  cable.incoming.push(framed(ethernet(MAC, ETH_P_IP, large)))
  cable.ready(POLLIN)
  stack.devices.setUp(link, false)
  assert.equal(cable.watched, 0)
  net.run(1)
  assert.equal(net.runtime.packets.outstanding, 0)
  const { rxPackets } = link.statistics
  for (let i = 0; i < 40; i++) cable.incoming.push(framed(ping()))
  stack.devices.setUp(link, true)
  assert.equal(cable.incoming.length, 0)
  assert.equal(link.statistics.rxPackets, rxPackets)
})

/** An echo request over a side link to the loopback address, from `source`. */
function sidePing(source: string): Uint8Array {
  return framed(ethernet(PEER_MAC, ETH_P_IP, ipv4(source, '127.0.0.1', 1, icmp(8, 0, 0, new Uint8Array(8)))))
}

/** 40 large frames, each with its number, to a link whose frames end here. */
function much(seen: (number: number) => void): HostLink {
  class Ending extends HostLink {
    protected override deliver(_stack: IpStack, packet: Packet): void {
      seen(packet.bytes[packet.start])
      packet.release()
    }
  }
  const ending = new Ending('eth1', 9, MAC, cable, cable)
  stack.devices.setUp(link, false)
  stack.devices.register(ending)
  stack.devices.setUp(ending, true)
  cable.helper = true
  for (let i = 0; i < 40; i++) cable.incoming.push(framed(new Uint8Array(20_000).fill(i)))
  return ending
}

test('while much comes in somebody else reads the next frames, which come after those before', () => {
  const seen: number[] = []
  let ahead = 0
  const ending = much(number => {
    seen.push(number)
    if (cable.ahead !== undefined) ahead++
  })
  const before = stack.packets.outstanding
  cable.ready(POLLIN)
  net.run(1)
  assert.deepEqual(
    seen,
    Array.from({ length: 40 }, (_, i) => i),
  )
  assert.equal(ahead, 40)
  assert.equal(cable.ahead, undefined)
  assert.equal(stack.packets.outstanding, before)
  stack.devices.setUp(ending, false)
})

test('a link that is set down takes back what somebody else reads', () => {
  const before = stack.packets.outstanding
  const ending = much(number => {
    if (number === 3) stack.devices.setUp(ending, false)
  })
  cable.ready(POLLIN)
  net.run(1)
  assert.equal(cable.ahead, undefined)
  assert.ok(stack.packets.outstanding <= before)
})

test('side link: what comes from the host’s address arrives at the loopback device, and the answer goes back', () => {
  const side = new FakeLink()
  assert.equal(new SideLink(9, side, side).attach(stack), 0)
  side.incoming.push(sidePing('127.255.255.254'))
  side.ready(POLLIN)
  assert.equal(stack.loopback!.statistics.rxPackets, 1)
  assert.equal(side.sent.length, 1)
  const answer = side.sent[0].subarray(OFFLOAD_HEADER)
  assert.deepEqual(answer.subarray(0, 6), PEER_MAC, 'to whom it came from')
  assert.equal(answer[14 + 20], 0, 'an echo reply')
  assert.deepEqual([...stack.devices.all].map(({ name }) => name).sort(), ['eth0', 'lo'])
})

test('side link: what comes from other addresses, or is no IPv4, goes nowhere', () => {
  const side = new FakeLink()
  new SideLink(9, side, side).attach(stack)
  side.incoming.push(sidePing('127.0.0.1'), sidePing('10.0.0.2'), framed(new Uint8Array(60)))
  side.ready(POLLIN)
  assert.equal(stack.loopback!.statistics.rxPackets, 0)
  assert.equal(side.sent.length, 0)
})
