import assert from 'node:assert/strict'
import { test } from 'node:test'
import { renumber } from './echo-socket.ts'

/** RFC 1071. */
function checksum(message: Uint8Array): number {
  let sum = 0
  for (let at = 0; at < message.length; at += 2) sum += (message[at] << 8) | message[at + 1]
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16)
  return ~sum & 0xffff
}

test('echo messages: with another identifier the checksum is still right', () => {
  for (const [from, to] of [
    [0, 1],
    [0xffff, 0],
    [0x1234, 0xfedc],
    [7, 7],
  ]) {
    const message = new Uint8Array([0, 0, 0, 0, from >> 8, from & 0xff, 0, 1, 0xab, 0xcd, 0xef, 0x01])
    const sum = checksum(message)
    message[2] = sum >> 8
    message[3] = sum & 0xff
    renumber(message, to)
    assert.equal((message[4] << 8) | message[5], to)
    assert.equal(checksum(message), 0)
  }
})
