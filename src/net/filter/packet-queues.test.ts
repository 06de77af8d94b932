import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NF_ACCEPT, NF_DROP, NF_QUEUE, NF_STOLEN } from '../../abi/constants.ts'
import type { HeldPacket } from '../ip/hooks.ts'
import { Packet } from '../packet.ts'
import { PacketQueues } from './packet-queues.ts'
import { queueVerdict } from './queue-choice.ts'

function packetBetween(source: number, destination: number): Packet {
  const packet = new Packet(new Uint8Array(20))
  packet.network = 0
  packet.view.setUint8(0, 0x45)
  packet.view.setUint32(12, source)
  packet.view.setUint32(16, destination)
  return packet
}

test('packet queues: one that nobody has bound drops, or lets pass where the rule says so', () => {
  const queues = new PacketQueues(1)
  const held = {} as HeldPacket
  const choice = { first: 0xffff, count: 1, bypass: false, byCpu: false }
  const packet = packetBetween(1, 2)
  const verdict = queueVerdict(choice, packet, queues.seed)
  assert.equal(verdict & 0xff, NF_QUEUE)
  assert.equal(queues.enqueue(held, verdict), NF_DROP)
  assert.equal(
    queues.enqueue(held, queueVerdict({ ...choice, bypass: true }, packet, queues.seed)),
    NF_ACCEPT,
  )
  queues.listeners.set(0xffff, { take: () => NF_STOLEN, deviceDown() {}, close() {} })
  assert.equal(queues.enqueue(held, verdict), NF_STOLEN)
})

test('packet queues: of several, both directions between two addresses go to the same one', () => {
  const choice = { first: 10, count: 7, bypass: false, byCpu: false }
  const used = new Set<number>()
  for (let i = 0; i < 100; i++) {
    const there = queueVerdict(choice, packetBetween(i, 1000), 5) >>> 16
    assert.equal(queueVerdict(choice, packetBetween(1000, i), 5) >>> 16, there)
    assert.ok(there >= 10 && there < 17)
    used.add(there)
  }
  assert.equal(used.size, 7)
  assert.equal(queueVerdict({ ...choice, byCpu: true }, packetBetween(1, 2), 5) >>> 16, 10)
})
