/** A name server of the tests', over UDP: it has the same IPv4 address for every name. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'

const HEADER = 12
const TYPE_A = 1

export async function dnsServer(address: string, answer: string): Promise<{ close(): void }> {
  const socket = createSocket('udp4')
  socket.on('message', (query, from) => socket.send(reply(query, answer), from.port, from.address))
  socket.bind(53, address)
  await once(socket, 'listening')
  return { close: () => socket.close() }
}

function reply(query: Buffer, address: string): Buffer {
  let end = HEADER
  while (query[end] !== 0) end += 1 + query[end]
  const question = query.subarray(HEADER, end + 5)
  const found = question.readUInt16BE(question.length - 4) === TYPE_A
  const header = Buffer.from(query.subarray(0, HEADER))
  header.writeUInt16BE(0x8180, 2)
  header.writeUInt16BE(found ? 1 : 0, 6)
  header.writeUInt32BE(0, 8)
  if (!found) return Buffer.concat([header, question])
  const record = Buffer.from([
    0xc0,
    HEADER,
    0,
    TYPE_A,
    0,
    1,
    0,
    0,
    0,
    60,
    0,
    4,
    ...address.split('.').map(Number),
  ])
  return Buffer.concat([header, question, record])
}
