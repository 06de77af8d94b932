import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TCPOPT_MSS, TCPOPT_NOP } from '../../abi/constants.ts'
import { Packet } from '../packet.ts'
import { findTcpOption } from './tcp-options.ts'

/** A packet that is nothing but a TCP header of 24 bytes, of which only some are there. */
function header(options: number[], length: number): Packet {
  const bytes = new Uint8Array(24)
  bytes[12] = 6 << 4
  bytes.set(options, 20)
  const packet = new Packet(bytes.slice(0, length))
  packet.transport = packet.start = 0
  packet.end = length
  return packet
}

test('TCP options: they are found in their order, if the header is there as a whole', () => {
  assert.equal(findTcpOption(header([TCPOPT_MSS, 4, 5, 0xb4], 24), TCPOPT_MSS), 20)
  assert.equal(findTcpOption(header([TCPOPT_NOP, TCPOPT_MSS, 3, 5], 24), TCPOPT_MSS), 21)
  assert.equal(findTcpOption(header([TCPOPT_NOP, TCPOPT_MSS, 4, 5], 24), TCPOPT_MSS), -1, 'it is too long')
  // Whoever changes one changes a word that would not be there.
  assert.equal(findTcpOption(header([TCPOPT_NOP, 0, 0, 0], 21), TCPOPT_NOP), -1)
})
