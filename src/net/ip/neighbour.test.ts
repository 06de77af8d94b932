import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  ETH_P_ARP,
  ETH_P_IP,
  NUD_DELAY,
  NUD_FAILED,
  NUD_INCOMPLETE,
  NUD_PROBE,
  NUD_REACHABLE,
  NUD_STALE,
} from '../../abi/constants.ts'
import { IpAddress } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import { plainFlow } from './ipv4-output.ts'
import { concat, ethernet, PEER_MAC, type RecorderDevice, TestNet } from './testing.ts'

const PEER = IpAddress.of('192.0.2.2')
const ANY = IpAddress.of('0.0.0.0')

function host(): { net: TestNet; stack: IpStack; link: RecorderDevice } {
  const net = new TestNet(3)
  const stack = net.stack()
  const link = net.recorder(stack, '192.0.2.1/24')
  stack.sysctls.ipv6Conf.of(link.index).disable_ipv6 = 1
  stack.ipv6Switched(link)
  net.run(1)
  link.take()
  return { net, stack, link }
}

function arp(
  operation: number,
  senderMac: Uint8Array,
  sender: string,
  targetMac: Uint8Array,
  target: string,
): Uint8Array {
  const head = [0, 1, 8, 0, 6, 4, 0, operation]
  return concat(head, senderMac, IpAddress.of(sender).bytes(), targetMac, IpAddress.of(target).bytes())
}

function send(stack: IpStack, destination = PEER): number {
  const packet = stack.packets.allocate(8)
  packet.append(8)
  return stack.ip.send(packet, plainFlow(200, ANY, destination))
}

const answer = (link: RecorderDevice, mac = PEER_MAC): void =>
  link.inject(ethernet(link.address, ETH_P_ARP, arp(2, mac, '192.0.2.2', link.address, '192.0.2.1'), mac))

test('ARP: a request is answered, and its sender learned without another question', () => {
  const { link, stack } = host()
  link.inject(
    ethernet(
      new Uint8Array(6).fill(255),
      ETH_P_ARP,
      arp(1, PEER_MAC, '192.0.2.2', new Uint8Array(6), '192.0.2.1'),
    ),
  )
  const [reply] = link.take()
  assert.deepEqual(reply.subarray(0, 6), PEER_MAC)
  assert.deepEqual(reply.subarray(14), arp(2, link.address, '192.0.2.1', PEER_MAC, '192.0.2.2'))
  assert.equal(stack.neighbours4.find(link, PEER)?.state, NUD_STALE)
  link.inject(
    ethernet(
      new Uint8Array(6).fill(255),
      ETH_P_ARP,
      arp(1, PEER_MAC, '192.0.2.2', new Uint8Array(6), '192.0.2.9'),
    ),
  )
  assert.equal(link.take().length, 0)
})

test('ARP: a probe for our address is answered without learning (RFC 5227)', () => {
  const { link, stack } = host()
  link.inject(
    ethernet(
      new Uint8Array(6).fill(255),
      ETH_P_ARP,
      arp(1, PEER_MAC, '0.0.0.0', new Uint8Array(6), '192.0.2.1'),
    ),
  )
  assert.equal(link.take().length, 1)
  assert.equal(stack.neighbours4.size, 0)
})

test('ARP: packets wait for the answer, in order; three questions a second apart, then the sender is told', () => {
  const { link, stack, net } = host()
  assert.equal(send(stack), 0)
  assert.equal(send(stack), 0)
  assert.equal(link.take().length, 1)
  answer(link)
  assert.equal(link.takeIp(ETH_P_IP).length, 2)
  assert.equal(stack.neighbours4.find(link, PEER)?.state, NUD_REACHABLE)

  const errors: number[] = []
  stack.raw = { deliver: () => true, error: (_packet, error) => errors.push(error.errno) }
  const silent = IpAddress.of('192.0.2.77')
  send(stack, silent)
  const times: number[] = []
  const started = net.clock.time
  for (let i = 0; i < 40; i++) {
    if (link.take().length > 0) times.push(Math.round((net.clock.time - started) / 1e9))
    net.run(0.1)
  }
  assert.deepEqual(times, [0, 1, 2])
  assert.equal(stack.neighbours4.find(link, silent)?.state, NUD_FAILED)
  assert.deepEqual(errors, [113])
})

test('ARP: reachable, stale, delayed, probed, failed: the states of RFC 4861 in their times', () => {
  const { link, stack, net } = host()
  send(stack)
  answer(link)
  const neighbour = stack.neighbours4.find(link, PEER)!
  link.take()
  assert.equal(neighbour.state, NUD_REACHABLE)
  net.run(46)
  assert.equal(neighbour.state, NUD_STALE, 'at most 1.5 times 30 s')
  send(stack)
  assert.equal(neighbour.state, NUD_DELAY)
  assert.equal(link.takeIp(ETH_P_IP).length, 1, 'a stale address is used')
  net.run(4.9)
  assert.equal(link.take().length, 0)
  net.run(0.2)
  assert.equal(neighbour.state, NUD_PROBE)
  const [question] = link.take()
  assert.deepEqual(question.subarray(0, 6), PEER_MAC, 'probes are for the neighbour alone')
  answer(link)
  assert.equal(neighbour.state, NUD_REACHABLE)

  net.run(46)
  send(stack)
  neighbour.confirm()
  net.run(5.1)
  assert.equal(neighbour.state, NUD_REACHABLE, 'an answer of the transport saves the probe')

  net.run(46)
  send(stack)
  net.run(5 + 4)
  assert.equal(neighbour.state, NUD_FAILED)
  send(stack)
  assert.equal(neighbour.state, NUD_INCOMPLETE)
})

test('ARP: the first of several answers wins for a second, an announcement at once', () => {
  const { link, stack, net } = host()
  const other = Uint8Array.of(2, 0, 0, 0, 0, 9)
  send(stack)
  answer(link)
  const neighbour = stack.neighbours4.find(link, PEER)!
  net.run(0.5)
  answer(link, other)
  assert.deepEqual(neighbour.hardware, PEER_MAC)
  net.run(1)
  answer(link, other)
  assert.deepEqual(neighbour.hardware, other)
  const third = Uint8Array.of(2, 0, 0, 0, 0, 8)
  link.inject(
    ethernet(
      new Uint8Array(6).fill(255),
      ETH_P_ARP,
      arp(1, third, '192.0.2.2', new Uint8Array(6), '192.0.2.2'),
      third,
    ),
  )
  assert.deepEqual(neighbour.hardware, third)
})

test('ARP: a scan of the network can not fill the table, and what waits is bounded', () => {
  const { link, stack, net } = host()
  const big = net.recorder(stack, '10.0.0.1/8')
  let refused = 0
  for (let i = 2; i < 2000; i++) if (send(stack, IpAddress.v4(0x0a000000 + i)) < 0) refused++
  assert.equal(stack.neighbours4.size, 1024)
  assert.equal(refused, 1998 - 1024)
  big.take()
  net.run(10)
  for (let i = 0; i < 5000; i++) send(stack)
  answer(link)
  const sent = link.takeIp(ETH_P_IP).length
  assert.equal(sent, 212992 / 512, 'as much as unres_qlen_bytes')
  assert.equal(stack.neighbours4.waiting, 0)
  net.run(200)
  assert.ok(stack.neighbours4.size < 200, 'the failed ones have been collected')
})

test('ARP: what nobody asked for is not believed', () => {
  const { link, stack } = host()
  answer(link)
  assert.equal(stack.neighbours4.size, 0)
  const multicast = Uint8Array.of(3, 0, 0, 0, 0, 9)
  send(stack)
  answer(link, multicast)
  assert.equal(stack.neighbours4.find(link, PEER)?.state, NUD_INCOMPLETE)
})
