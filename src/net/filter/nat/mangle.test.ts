import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IPPROTO_TCP, IPPROTO_UDP } from '../../../abi/constants.ts'
import { IpAddress } from '../../address.ts'
import { checksumOf, pseudoHeaderSum, sumView } from '../../checksum.ts'
import { ipv4, ipv6 } from '../../ip/testing.ts'
import { CHECKSUM_NONE, CHECKSUM_PARTIAL, Packet } from '../../packet.ts'
import { Tuple } from '../conntrack/tuple.ts'
import { manglePacket } from './mangle.ts'

const CHECKSUM_AT = { [IPPROTO_TCP]: 16, [IPPROTO_UDP]: 6 } as const
type Protocol = keyof typeof CHECKSUM_AT

/** A packet whose transport checksum is whole, or only begun. */
function packetOf(from: string, to: string, protocol: Protocol, partial: boolean): Packet {
  const source = IpAddress.of(from)
  const destination = IpAddress.of(to)
  const transport = Uint8Array.from({ length: 33 }, (_, i) => i * 7)
  const at = CHECKSUM_AT[protocol]
  const view = new DataView(transport.buffer)
  const pseudo = pseudoHeaderSum(source, destination, protocol, transport.length)
  view.setUint16(at, 0)
  view.setUint16(at, partial ? pseudo : checksumOf(sumView(view, 0, transport.length, pseudo)))
  const bytes = source.isV4 ? ipv4(from, to, protocol, transport) : ipv6(from, to, protocol, transport)
  const packet = new Packet(bytes)
  packet.start = packet.network = 0
  packet.end = bytes.length
  packet.transport = source.isV4 ? 20 : 40
  packet.transportProtocol = protocol
  packet.source = source
  packet.destination = destination
  packet.checksum = partial ? CHECKSUM_PARTIAL : CHECKSUM_NONE
  packet.checksumStart = packet.transport
  packet.checksumOffset = at
  return packet
}

for (const [from, to, other] of [
  ['10.0.0.1', '10.0.0.2', '192.168.255.254'],
  ['fd00::1', 'fd00::2', '2001:db8:ffff:1:2:3:4:5'],
]) {
  for (const protocol of [IPPROTO_TCP, IPPROTO_UDP] as const) {
    for (const partial of [false, true]) {
      const what = `${protocol === IPPROTO_TCP ? 'TCP' : 'UDP'} over ${from}, checksum ${partial ? 'begun' : 'whole'}`
      test(`mangle: a packet with other addresses and ports has right checksums (${what})`, () => {
        const packet = packetOf(from, to, protocol, partial)
        const target = new Tuple(IpAddress.of(other), IpAddress.of(from), protocol, 0xfedc, 0x1234)
        manglePacket(packet, target, true)
        manglePacket(packet, target, false)
        packet.completeChecksum()
        const { view, transport, end, source, destination } = packet
        assert.equal(source.toString(), other)
        assert.equal(destination.toString(), from)
        assert.equal(view.getUint16(transport), 0xfedc)
        assert.equal(view.getUint16(transport + 2), 0x1234)
        if (source.isV4) assert.equal(sumView(view, 0, 20), 0xffff)
        const pseudo = pseudoHeaderSum(source, destination, protocol, end - transport)
        assert.equal(sumView(view, transport, end - transport, pseudo), 0xffff)
      })
    }
  }
}

test('mangle: a datagram without a checksum stays without one', () => {
  const packet = packetOf('10.0.0.1', '10.0.0.2', IPPROTO_UDP, false)
  packet.view.setUint16(packet.transport + 6, 0)
  manglePacket(packet, new Tuple(IpAddress.of('1.2.3.4'), packet.destination, IPPROTO_UDP, 5, 6), true)
  assert.equal(packet.view.getUint16(packet.transport + 6), 0)
})
