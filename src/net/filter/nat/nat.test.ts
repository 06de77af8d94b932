import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  ETH_P_IP,
  ICMP_DEST_UNREACH,
  ICMP_PORT_UNREACH,
  IPPROTO_ICMP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  NF_DROP,
  NF_INET_FORWARD,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NF_INET_PRE_ROUTING,
  NFT_NAT_DNAT,
  NFT_NAT_SNAT,
  TCP_CONNTRACK_CLOSE,
  TCP_CONNTRACK_ESTABLISHED,
  TCP_CONNTRACK_SYN_SENT,
} from '../../../abi/constants.ts'
import { IpAddress } from '../../address.ts'
import { checksumOf, pseudoHeaderSum, sumBytes } from '../../checksum.ts'
import {
  addRoute,
  concat,
  ethernet,
  icmp,
  ipv4,
  PEER_MAC,
  type RecorderDevice,
  routerPort,
  udp,
} from '../../ip/testing.ts'
import {
  chain,
  expression,
  type Fill,
  FilterWorld,
  inState,
  masquerade,
  rule,
  table,
  toPort,
  translate,
  verdict,
} from '../../netlink/netfilter/testing.ts'

const SYN = 2
const RST = 4
const ACK = 16

/** A router between 10.1.0.0/24 (device `inside`) and 10.2.0.0/24 (`outside`), the test being everybody else. */
function router(...rules: readonly [point: number, type: string, priority: number, ...rule: Fill[]][]) {
  const made = new FilterWorld()
  const space = made.namespace()
  const { ip: stack } = space.net
  stack.sysctls.setForwarding(1, [])
  const inside = routerPort(stack, 'inside', '10.1.0.1/24', '10.1.0.2')
  const outside = routerPort(stack, 'outside', '10.2.0.1/24', '10.2.0.2')
  addRoute(stack, '0.0.0.0/0', outside, '10.2.0.2')
  made.run(0)
  space.apply(table('t'))
  rules.forEach(([point, type, priority, ...expressions], i) => {
    space.apply(chain('t', `c${i}`, point, { type, priority }), rule('t', `c${i}`, ...expressions))
  })
  inside.take()
  outside.take()
  const { conntrack } = space.net.netfilter
  return { made, space, stack, inside, outside, conntrack, all: () => [...conntrack.table.connections()] }
}

function send(device: RecorderDevice, packet: Uint8Array): void {
  device.inject(ethernet(device.address, ETH_P_IP, packet))
}

function tcp(
  from: string,
  to: string,
  ports: [number, number],
  flags: number,
  sequence = 0,
  ack = 0,
): Uint8Array {
  const bytes = new Uint8Array(20)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, ports[0])
  view.setUint16(2, ports[1])
  view.setUint32(4, sequence)
  view.setUint32(8, ack)
  view.setUint8(12, 0x50)
  view.setUint8(13, flags)
  view.setUint16(14, 1000)
  const pseudo = pseudoHeaderSum(IpAddress.of(from), IpAddress.of(to), IPPROTO_TCP, 20)
  view.setUint16(16, checksumOf(sumBytes(bytes, pseudo)))
  return ipv4(from, to, IPPROTO_TCP, bytes)
}
function datagram(from: string, to: string, ports: [number, number]): Uint8Array {
  return ipv4(from, to, IPPROTO_UDP, udp(from, to, ports[0], ports[1], Uint8Array.of(1, 2, 3)))
}

/** What the one packet that left by the device looks like, once its checksums have been found right. */
function only(device: RecorderDevice): string {
  const packets = device.takeIp(ETH_P_IP)
  assert.equal(packets.length, 1)
  return describe(packets[0])
}
function describe(packet: Uint8Array): string {
  const view = new DataView(packet.buffer, packet.byteOffset)
  assert.equal(sumBytes(packet.subarray(0, 20)), 0xffff, 'header checksum')
  const source = IpAddress.read(view, 12, true)
  const destination = IpAddress.read(view, 16, true)
  const payload = packet.subarray(20)
  if (packet[9] === IPPROTO_ICMP) {
    assert.equal(sumBytes(payload), 0xffff, 'ICMP checksum')
    return `${source} > ${destination} icmp ${payload[0]}/${payload[1]}`
  }
  const pseudo = pseudoHeaderSum(source, destination, packet[9], payload.length)
  assert.equal(sumBytes(payload, pseudo), 0xffff, 'transport checksum')
  const flags = packet[9] === IPPROTO_TCP ? ` ${payload[13]}` : ''
  return `${source}:${view.getUint16(20)} > ${destination}:${view.getUint16(22)}${flags}`
}

const toMasquerade = [NF_INET_POST_ROUTING, 'nat', 100, masquerade] as const

test('nat: a masqueraded connection has the address of the device it leaves by, and its answers come back', () => {
  const { inside, outside, all } = router([...toMasquerade])
  send(inside, datagram('10.1.0.2', '8.8.8.8', [5000, 53]))
  assert.equal(only(outside), '10.2.0.1:5000 > 8.8.8.8:53')
  send(outside, datagram('8.8.8.8', '10.2.0.1', [53, 5000]))
  assert.equal(only(inside), '8.8.8.8:53 > 10.1.0.2:5000')
  assert.equal(all().length, 1)
})

test('nat: what a device has masqueraded is forgotten when the device goes down', () => {
  const { stack, inside, outside, all } = router([...toMasquerade])
  send(inside, datagram('10.1.0.2', '8.8.8.8', [5000, 53]))
  stack.devices.setUp(inside, false)
  assert.equal(all().length, 1)
  stack.devices.setUp(outside, false)
  assert.equal(all().length, 0)
})

test('nat: a port that another connection has already taken behind us is exchanged for a free one', () => {
  const { stack, inside, outside, all } = router([...toMasquerade])
  stack.neighbours4.get(inside, IpAddress.of('10.1.0.3'))!.update(PEER_MAC, 0x80, {
    override: true,
    router: undefined,
  })
  send(inside, datagram('10.1.0.2', '8.8.8.8', [5000, 53]))
  assert.equal(only(outside), '10.2.0.1:5000 > 8.8.8.8:53')
  send(inside, datagram('10.1.0.3', '8.8.8.8', [5000, 53]))
  const other = only(outside)
  const port = Number(/^10\.2\.0\.1:(\d+) > 8\.8\.8\.8:53$/.exec(other)?.[1])
  assert.ok(port >= 1024 && port !== 5000, other)
  send(outside, datagram('8.8.8.8', '10.2.0.1', [53, port]))
  assert.equal(only(inside), '8.8.8.8:53 > 10.1.0.3:5000')
  assert.equal(all().length, 2)
})

test('nat: a published port leads to the machine behind, whose answers seem to be ours', () => {
  const { inside, outside, all } = router([
    ...([NF_INET_PRE_ROUTING, 'nat', -100] as const),
    toPort(IPPROTO_TCP, 8080),
    translate(NFT_NAT_DNAT, '10.1.0.2', 80),
  ])
  send(outside, tcp('9.9.9.9', '10.2.0.1', [6000, 8080], SYN, 100))
  assert.equal(only(inside), '9.9.9.9:6000 > 10.1.0.2:80 2')
  send(inside, tcp('10.1.0.2', '9.9.9.9', [80, 6000], SYN | ACK, 500, 101))
  assert.equal(only(outside), '10.2.0.1:8080 > 9.9.9.9:6000 18')
  send(outside, tcp('9.9.9.9', '10.2.0.1', [6000, 8080], ACK, 101, 501))
  assert.equal(only(inside), '9.9.9.9:6000 > 10.1.0.2:80 16')
  assert.deepEqual(
    all().map(({ tcp }) => tcp?.state),
    [TCP_CONNTRACK_ESTABLISHED],
  )
})

test('nat: an error about a translated packet reaches its sender, quoting what that one sent', () => {
  const { inside, outside } = router([...toMasquerade])
  send(inside, datagram('10.1.0.2', '8.8.8.8', [5000, 53]))
  const [sent] = outside.takeIp(ETH_P_IP)
  send(
    outside,
    ipv4('7.7.7.7', '10.2.0.1', IPPROTO_ICMP, icmp(ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0, sent)),
  )
  const [error] = inside.takeIp(ETH_P_IP)
  assert.equal(describe(error), '7.7.7.7 > 10.1.0.2 icmp 3/3')
  assert.equal(describe(error.slice(28)), '10.1.0.2:5000 > 8.8.8.8:53')
})

test('nat: what is sent from here to a translated address goes there', () => {
  const { space, stack, outside } = router([
    ...([NF_INET_LOCAL_OUT, 'nat', -100] as const),
    translate(NFT_NAT_DNAT, '10.2.0.2', 5353),
  ])
  const { udp: protocol } = space.net
  const endpoint = protocol.endpoint(false)
  endpoint.bind(IpAddress.of('10.1.0.1'), 777)
  assert.equal(endpoint.connect(IpAddress.of('1.2.3.4'), 53), 0)
  const packet = (): void => {
    const bytes = stack.packets.allocate(8)
    const at = bytes.append(8)
    bytes.view.setUint16(at, 777)
    bytes.view.setUint16(at + 2, 53)
    bytes.view.setUint16(at + 4, 8)
    bytes.view.setUint16(at + 6, 0)
    assert.equal(stack.ip.send(bytes, endpoint.flow), 0)
  }
  packet()
  const [first] = outside.takeIp(ETH_P_IP)
  assert.deepEqual([...first.slice(16, 20), ...first.slice(22, 24)], [10, 2, 0, 2, 5353 >> 8, 5353 & 255])
})

test('conntrack: answers pass where nothing new may', () => {
  const { inside, outside } = router([
    NF_INET_FORWARD,
    'filter',
    0,
    fromOutside,
    inState(8),
    verdict(NF_DROP),
  ])
  send(outside, tcp('9.9.9.9', '10.1.0.2', [1, 2], SYN))
  assert.deepEqual(inside.takeIp(ETH_P_IP), [])
  send(inside, tcp('10.1.0.2', '9.9.9.9', [2, 1], SYN, 10))
  assert.equal(only(outside), '10.1.0.2:2 > 9.9.9.9:1 2')
  send(outside, tcp('9.9.9.9', '10.1.0.2', [1, 2], SYN | ACK, 70, 11))
  assert.equal(only(inside), '9.9.9.9:1 > 10.1.0.2:2 18')
})

/** `iifname "outside"` */
const fromOutside: Fill = writer => {
  expression('meta', w => {
    w.be32(2, 6)
    w.be32(1, 1)
  })(writer)
  expression('cmp', w => {
    w.be32(1, 1)
    w.be32(2, 0)
    const data = w.nest(3)
    w.bytes(1, concat(new TextEncoder().encode('outside'), new Uint8Array(9)))
    w.close(data)
  })(writer)
}

test('conntrack: a refused connection is forgotten at once, others when their time is over', () => {
  const { made, inside, outside, all, conntrack } = router([NF_INET_FORWARD, 'filter', 0, inState(2)])
  send(inside, tcp('10.1.0.2', '9.9.9.9', [2, 1], SYN, 10))
  assert.deepEqual(
    all().map(({ tcp }) => tcp?.state),
    [TCP_CONNTRACK_SYN_SENT],
  )
  send(outside, tcp('9.9.9.9', '10.1.0.2', [1, 2], RST | ACK, 0, 11))
  assert.equal(only(inside), '9.9.9.9:1 > 10.1.0.2:2 20')
  assert.deepEqual(all(), [])
  send(inside, tcp('10.1.0.2', '9.9.9.9', [3, 1], SYN, 10))
  send(inside, datagram('10.1.0.2', '9.9.9.9', [3, 1]))
  assert.equal(all().length, 2)
  made.run(60)
  assert.equal(all().length, 1, 'UDP without an answer is the shorter')
  made.run(70)
  assert.equal(conntrack.table.size, 0)
})

test('conntrack: segments that neither side would take are invalid, and change nothing', () => {
  const invalid = [NF_INET_FORWARD, 'filter', 0, inState(1), verdict(NF_DROP)] as const
  const { inside, outside, all } = router([...invalid])
  send(inside, tcp('10.1.0.2', '9.9.9.9', [2, 1], SYN, 1000))
  send(outside, tcp('9.9.9.9', '10.1.0.2', [1, 2], SYN | ACK, 5000, 1001))
  send(inside, tcp('10.1.0.2', '9.9.9.9', [2, 1], ACK, 1001, 5001))
  inside.take()
  outside.take()
  const [{ tcp: tracking }] = all()
  send(outside, tcp('9.9.9.9', '10.1.0.2', [1, 2], RST, 4000))
  send(outside, tcp('9.9.9.9', '10.1.0.2', [1, 2], ACK, 900_000, 1001))
  assert.deepEqual(inside.takeIp(ETH_P_IP), [])
  assert.equal(tracking?.state, TCP_CONNTRACK_ESTABLISHED)
  send(outside, tcp('9.9.9.9', '10.1.0.2', [1, 2], RST, 5001))
  assert.equal(only(inside), '9.9.9.9:1 > 10.1.0.2:2 4')
  assert.equal(tracking?.state, TCP_CONNTRACK_CLOSE)
})

test('conntrack: at the limit, connections without answers make room, those with answers stay', () => {
  const { inside, outside, conntrack, all } = router([NF_INET_FORWARD, 'filter', 0, inState(2)])
  conntrack.settings.nf_conntrack_max = 20
  for (let port = 1; port <= 200; port++) {
    send(inside, datagram('10.1.0.2', '9.9.9.9', [port, 1]))
    assert.ok(all().length <= 20)
  }
  outside.take()
  for (const connection of all()) connection.status |= 4
  send(inside, datagram('10.1.0.2', '9.9.9.9', [300, 1]))
  assert.deepEqual(outside.takeIp(ETH_P_IP), [], 'a packet that would need room is dropped')
})

test('nat: a connection gets the source address and port that a rule gives', () => {
  const snat = [NF_INET_POST_ROUTING, 'nat', 100, translate(NFT_NAT_SNAT, '10.2.0.77', 1234)] as const
  const { inside, outside } = router([...snat])
  send(inside, tcp('10.1.0.2', '9.9.9.9', [2, 1], SYN))
  assert.equal(only(outside), '10.2.0.77:1234 > 9.9.9.9:1 2')
})

test('filter: packets for this machine are dropped where a rule says so, and counted nowhere else', () => {
  const { inside, stack } = router([NF_INET_LOCAL_IN, 'filter', 0, toPort(IPPROTO_UDP, 9), verdict(NF_DROP)])
  send(inside, datagram('10.1.0.2', '10.1.0.1', [1, 9]))
  assert.deepEqual(inside.takeIp(ETH_P_IP), [], 'no unreachable')
  send(inside, datagram('10.1.0.2', '10.1.0.1', [1, 10]))
  assert.equal(only(inside), '10.1.0.1 > 10.1.0.2 icmp 3/3')
  assert.equal(stack.runtime.packets.outstanding, 0)
})
