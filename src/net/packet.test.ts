import assert from 'node:assert/strict'
import { test } from 'node:test'
import { segments } from './ip/segmentation.ts'
import { TestNet } from './ip/testing.ts'
import { OFFLOAD_HEADER, writeOffloads } from './link/offload-header.ts'
import { CHECKSUM_NONE, CHECKSUM_PARTIAL, GSO_TCPV4, type Packet } from './packet.ts'

/** A frame whose link has said these of it. */
function offloaded(length: number, checksumStart: number, gsoSize = 0): Packet {
  const packet = new TestNet().runtime.packets.allocate(length)
  packet.bytes.fill(0, packet.append(length), packet.end)
  packet.checksum = CHECKSUM_PARTIAL
  packet.checksumStart = packet.start + checksumStart
  packet.gsoType = gsoSize > 0 ? GSO_TCPV4 : 0
  packet.gsoSize = gsoSize
  return packet
}

test('a checksum that lay in what IP has cut off is left alone, in a copy too', () => {
  const packet = offloaded(1000, 900)
  packet.trim(28)
  const copy = packet.clone()
  copy.completeChecksum()
  assert.equal(copy.checksum, CHECKSUM_NONE)
  assert.ok(copy.data().every(byte => byte === 0))
})

test('a frame that is to be split, and whose checksum is at its very end, goes on without a hint of its headers', () => {
  const packet = offloaded(320, 318, 100)
  assert.equal(packet.end, packet.bytes.length)
  writeOffloads(packet)
  assert.equal(packet.view.getUint16(packet.start - OFFLOAD_HEADER + 2, true), 0)
})

test('a frame whose TCP header says that it is shorter than one is not split', () => {
  const packet = offloaded(331, 311, 1)
  packet.network = packet.start
  packet.transport = packet.checksumStart
  packet.view.setUint8(packet.transport + 12, 2 << 4)
  assert.deepEqual([...segments(new TestNet().stack(), packet)], [])
})
