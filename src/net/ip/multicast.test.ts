import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ETH_P_IP, ETH_P_IPV6 } from '../../abi/constants.ts'
import { IpAddress } from '../address.ts'
import { sumBytes } from '../checksum.ts'
import type { IpStack } from '../ip-stack.ts'
import type { Membership } from './multicast.ts'
import { concat, ethernet, icmp6, ipv4, ipv6, type RecorderDevice, TestNet } from './testing.ts'

const GROUP = IpAddress.of('239.1.2.3')
const A = IpAddress.of('192.0.2.10')
const B = IpAddress.of('192.0.2.11')

function host(): { net: TestNet; stack: IpStack; link: RecorderDevice } {
  const net = new TestNet(4)
  const stack = net.stack()
  const link = net.recorder(stack, '192.0.2.1/24')
  net.run(5)
  link.take()
  return { net, stack, link }
}

function join(stack: IpStack, link: RecorderDevice, group = GROUP): Membership {
  const membership = stack.multicast.join(link, group)
  assert.ok(typeof membership !== 'number')
  return membership
}

/** IGMP messages sent: `type` and its records `record-type group sources`. */
function reports(link: RecorderDevice): string[] {
  return link.takeIp(ETH_P_IP).map(packet => {
    assert.equal(packet[8], 1, 'it stays on the link')
    assert.deepEqual([...packet.subarray(20, 24)], [148, 4, 0, 0], 'routers look at it')
    const message = packet.subarray(24)
    assert.equal(sumBytes(message), 0xffff)
    const view = new DataView(message.buffer, message.byteOffset, message.length)
    const at = (offset: number): string => IpAddress.read(view, offset, true).toString()
    if (message[0] !== 0x22) return `${message[0].toString(16)} ${at(4)}`
    const records: string[] = []
    let offset = 8
    for (let i = 0; i < view.getUint16(6); i++) {
      const count = view.getUint16(offset + 2)
      const sources = Array.from({ length: count }, (_, k) => at(offset + 8 + 4 * k))
      records.push([message[offset], at(offset + 4), ...sources].join(' '))
      offset += 8 + 4 * count
    }
    return records.join('; ')
  })
}

function query(link: RecorderDevice, body: number[], to = '224.0.0.1'): void {
  const message = Uint8Array.from(body)
  const sum = ~sumBytes(message) & 0xffff
  message[2] = sum >> 8
  message[3] = sum & 255
  const mac = Uint8Array.of(1, 0, 0x5e, 0, 0, 1)
  link.inject(ethernet(mac, ETH_P_IP, ipv4('192.0.2.254', to, 2, message, { ttl: 1 })))
}

test('multicast: a group with the link address of all hosts takes that from nobody when it is left', () => {
  const { link, stack } = host()
  const key = '01:00:5e:00:00:01'
  assert.equal(link.multicastList.get(key), 1)
  const membership = join(stack, link, IpAddress.of('239.0.0.1'))
  assert.equal(link.multicastList.get(key), 2)
  stack.devices.setUp(link, false)
  assert.equal(link.multicastList.get(key), 1, 'of the group, which is kept')
  stack.devices.setUp(link, true)
  stack.multicast.leave(membership)
  assert.equal(link.multicastList.get(key), 1)
})

test('IGMPv3: joining and leaving are told twice, to the routers of version 3', () => {
  const { link, stack, net } = host()
  const membership = join(stack, link)
  net.run(2)
  assert.deepEqual(reports(link), ['4 239.1.2.3', '4 239.1.2.3'])
  join(stack, link)
  net.run(2)
  assert.deepEqual(reports(link), [], 'a second member changes nothing')
  stack.multicast.leave(membership)
  net.run(2)
  assert.deepEqual(reports(link), [])
  stack.multicast.leave([...stack.multicast.group(link, GROUP)!.memberships][0])
  net.run(2)
  assert.deepEqual(reports(link), ['3 239.1.2.3', '3 239.1.2.3'])
  assert.equal(stack.multicast.group(link, GROUP), undefined)
})

test('IGMPv3: source filters of several members are combined (RFC 3376 §3.2)', () => {
  const { link, stack, net } = host()
  const one = join(stack, link)
  stack.multicast.setFilter(one, false, [A])
  net.run(2)
  link.take()
  stack.multicast.setFilter(one, false, [A, B])
  net.run(2)
  assert.deepEqual(reports(link), ['5 239.1.2.3 192.0.2.11', '5 239.1.2.3 192.0.2.11'])
  const two = join(stack, link)
  stack.multicast.setFilter(two, true, [B, IpAddress.of('192.0.2.12')])
  net.run(2)
  assert.equal(reports(link).at(-1), '6 239.1.2.3 192.0.2.12')
  assert.ok(stack.multicast.listens(link, GROUP, B), 'one member wants what the other refuses')
  assert.ok(!stack.multicast.listens(link, GROUP, IpAddress.of('192.0.2.12')))
})

test('IGMPv3: queries are answered within their time, for one group or for all', () => {
  const { link, stack, net } = host()
  join(stack, link)
  join(stack, link, IpAddress.of('239.9.9.9'))
  net.run(5)
  link.take()
  query(link, [0x11, 50, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0])
  net.run(5)
  assert.deepEqual(reports(link).sort(), ['2 239.1.2.3', '2 239.9.9.9'])
  query(link, [0x11, 10, 0, 0, 239, 9, 9, 9, 2, 125, 0, 0], '239.9.9.9')
  net.run(1)
  assert.deepEqual(reports(link), ['2 239.9.9.9'])
})

test('IGMPv2: where a router speaks it, so do we, and stay quiet when another member has answered', () => {
  const { link, stack, net } = host()
  const membership = join(stack, link)
  net.run(5)
  link.take()
  query(link, [0x11, 100, 0, 0, 0, 0, 0, 0])
  net.run(10)
  assert.deepEqual(reports(link), ['16 239.1.2.3'])
  query(link, [0x11, 100, 0, 0, 0, 0, 0, 0])
  query(link, [0x16, 0, 0, 0, 239, 1, 2, 3], '239.1.2.3')
  net.run(10)
  assert.deepEqual(reports(link), [])
  stack.multicast.leave(membership)
  assert.deepEqual(reports(link), ['17 239.1.2.3'])
  net.run(300)
  join(stack, link)
  net.run(2)
  assert.equal(reports(link)[0], '4 239.1.2.3', 'version 3 again when the router is gone')
})

test('MLDv2: groups are reported from the link-local address, with a router alert', () => {
  const { link, stack, net } = host()
  const group = IpAddress.of('ff05::1234')
  const membership = join(stack, link, group)
  net.run(3)
  const [report] = link.takeIp(ETH_P_IPV6).filter(packet => packet[6] === 0)
  assert.deepEqual([...report.subarray(40, 48)], [58, 0, 5, 2, 0, 0, 1, 0])
  assert.deepEqual([report[48], report[56]], [143, 4])
  assert.deepEqual(report.subarray(60, 76), group.bytes())
  assert.deepEqual(report.subarray(24, 40), IpAddress.of('ff02::16').bytes())
  net.run(5)
  link.take()
  const body = concat([130, 0, 0, 0, 0x03, 0xe8, 0, 0], new Uint8Array(16), [2, 125, 0, 0])
  const message = icmp6('fe80::99', 'ff02::1', body)
  link.inject(
    ethernet(Uint8Array.of(0x33, 0x33, 0, 0, 0, 1), ETH_P_IPV6, ipv6('fe80::99', 'ff02::1', 58, message, 1)),
  )
  net.run(1)
  const all = link.takeIp(ETH_P_IPV6).filter(packet => packet[6] === 0)
  assert.equal(all.length > 0 && all.every(packet => packet[48] === 143), true)
  stack.multicast.leave(membership)
  assert.ok(!stack.multicast.isMember(link, group))
})
