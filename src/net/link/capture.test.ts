import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EAGAIN, EPIPE } from '../../abi/errno.ts'
import { BufferSrc } from '../../base/io.ts'
import { IpAddress } from '../address.ts'
import { TestNet } from '../ip/testing.ts'
import { UdpProtocol } from '../udp/protocol.ts'
import { Capture } from './capture.ts'

interface Block {
  type: number
  body: DataView
}

/** The blocks of a pcapng file, whose lengths must add up. */
function blocksOf(file: Buffer): Block[] {
  const blocks: Block[] = []
  for (let at = 0; at < file.length; ) {
    const length = file.readUInt32LE(at + 4)
    assert.equal(file.readUInt32LE(at + length - 4), length)
    blocks.push({
      type: file.readUInt32LE(at),
      body: new DataView(file.buffer, file.byteOffset + at + 8, length - 12),
    })
    at += length
  }
  return blocks
}

function world(write: (bytes: Uint8Array) => number) {
  const net = new TestNet(2)
  const [one, other] = [net.stack(), net.stack()]
  net.join(one, other, ['10.0.0.1/24'], ['10.0.0.2/24'])
  net.run(5)
  const capture = new Capture(net.clock, net.timers, write)
  one.taps.push(capture)
  const endpoint = new UdpProtocol(one).endpoint(false)
  const send = (to: string, length: number): void => {
    endpoint.send(new BufferSrc(new Uint8Array(length).fill(7)), IpAddress.of(to), 9)
    net.run(0)
  }
  return { net, capture, send }
}

test('capture: each packet of each interface is in the file once, with its direction', () => {
  const pieces: Uint8Array[] = []
  const { net, capture, send } = world(bytes => {
    pieces.push(bytes.slice())
    return bytes.length
  })
  send('127.0.0.1', 3)
  send('10.0.0.2', 5)
  net.run(1)
  assert.ok(pieces.length > 0, 'it does not wait for the end')
  capture.close()
  const blocks = blocksOf(Buffer.concat(pieces))
  assert.equal(blocks[0].body.getUint32(0, true), 0x1a2b3c4d)
  const names = blocks
    .filter(block => block.type === 1)
    .map(({ body }) => Buffer.from(body.buffer, body.byteOffset + 12, body.getUint16(10, true)).toString())
  const packets = blocks
    .filter(block => block.type === 6)
    .map(({ body }) => {
      const length = body.getUint32(12, true)
      const options = 20 + ((length + 3) & ~3)
      return { name: names[body.getUint32(0, true)], length, flags: body.getUint32(options + 4, true) }
    })
  const udp = packets.filter(({ length }) => length === 14 + 20 + 8 + 5)
  assert.deepEqual(udp, [{ name: 'eth0', length: 47, flags: 2 }])
  // The datagram and the ICMP error about it, which nobody took.
  const local = packets.filter(({ name }) => name === 'lo')
  assert.deepEqual(
    local.map(({ length, flags }) => [length, flags]),
    [
      [14 + 20 + 8 + 3, 1],
      [14 + 20 + 8 + 20 + 8 + 3, 1],
    ],
  )
})

test('capture: where nobody reads, packets are left out, and what is in the file is whole', () => {
  const pieces: Uint8Array[] = []
  let room = 100_000
  const { net, capture, send } = world(bytes => {
    const count = Math.min(bytes.length, room)
    room -= count
    if (count === 0) return -EAGAIN
    pieces.push(bytes.slice(0, count))
    return count
  })
  for (let i = 0; i < 2000; i++) send('10.0.0.2', 1000)
  net.run(1)
  assert.ok(capture.lost > 500)
  room = Number.POSITIVE_INFINITY
  net.run(1)
  capture.close()
  assert.ok(blocksOf(Buffer.concat(pieces)).length > 500)
})

test('capture: a reader that is gone ends it, and nothing else', () => {
  const { net, capture, send } = world(() => -EPIPE)
  send('10.0.0.2', 10)
  net.run(1)
  for (let i = 0; i < 2000; i++) send('10.0.0.2', 1000)
  capture.close()
})
