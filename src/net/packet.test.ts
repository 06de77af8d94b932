import assert from 'node:assert/strict'
import { test } from 'node:test'
import { segments } from './ip/segmentation.ts'
import { TestNet } from './ip/testing.ts'
import { OFFLOAD_HEADER, writeOffloads } from './link/offload-header.ts'
import { CHECKSUM_NONE, CHECKSUM_PARTIAL, GSO_TCPV4, type Packet, PacketPool } from './packet.ts'

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

test('packet pool: buffers in use are kept, those go that nobody has needed for a while, and in quiet times all', () => {
  const pool = new PacketPool()
  /** How many of so many packets had a buffer that was there already. */
  const known = new Set<Uint8Array>()
  const use = (count: number): number => {
    const packets = Array.from({ length: count }, () => pool.allocate(65536))
    const again = packets.filter(packet => known.has(packet.bytes)).length
    for (const packet of packets) {
      known.add(packet.bytes)
      packet.release()
    }
    return again
  }
  use(500)
  assert.equal(use(500), 500)
  // A whole period that sees no more than a few in use.
  for (let i = 0; i < 2000; i++) use(10)
  assert.equal(use(500), 10)
  pool.trim()
  assert.equal(use(500), 0)
})
