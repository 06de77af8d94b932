import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  AF_INET,
  AF_INET6,
  AF_NETLINK,
  AF_PACKET,
  IPPROTO_ICMP,
  MSG_DONTWAIT,
  MSG_ERRQUEUE,
  PACKET_MR_MULTICAST,
  PACKET_MR_PROMISC,
  POLLIN,
  POLLOUT,
  SO_REUSEADDR,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../../abi/constants.ts'
import {
  EACCES,
  EADDRINUSE,
  EAFNOSUPPORT,
  EAGAIN,
  ECONNREFUSED,
  ECONNRESET,
  EINPROGRESS,
  EINVAL,
  EISCONN,
  ENETUNREACH,
  ENOBUFS,
  ENOTCONN,
  EPERM,
} from '../../abi/errno.ts'
import { PACKET_MREQ } from '../../abi/layout.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { IpAddress } from '../address.ts'
import { seededFill } from '../ip/runtime.ts'
import { addAddress } from '../ip/testing.ts'
import { vethPair } from '../link/veth.ts'
import { getSocketOption, setSocketOption } from '../options.ts'
import { Packet } from '../packet.ts'
import { receiveRequest, type Socket, sendRequest } from '../socket.ts'
import { netStack } from '../stack.ts'
import { TestWorld } from '../testing.ts'
import { parseSocketAddress, socketAddress } from './address.ts'
import { SocketFilter } from './filter.ts'
import { type InetNetwork, InetNetworks } from './network.ts'
import { PacketMemberships } from './packet-memberships.ts'

function world(up = true) {
  const made = new TestWorld()
  const kernel = {
    ...made.kernel,
    host: { random: seededFill(5) },
  } as unknown as Kernel
  made.net.runtime = new InetNetworks(kernel)
  const net = netStack(made.net).own as InetNetwork
  if (up) net.startLoopback()
  const task = made.task()
  const socket = (family: number, type: number, protocol = 0) =>
    net.create(task, family, type, protocol) as Socket
  return { made, net, task, socket }
}
const HERE = IpAddress.of('127.0.0.1')
const to = (port: number) => socketAddress(AF_INET, HERE, port)

function portOf(socket: Socket): number {
  const name = socket.name(false) as Uint8Array
  return (name[2] << 8) | name[3]
}
function text(socket: Socket, task: ReturnType<TestWorld['task']>, flags = MSG_DONTWAIT): string | number {
  const bytes = new Uint8Array(100)
  const n = socket.receive(task, receiveRequest(new BufferDst(bytes), flags))
  return n < 0 ? n : new TextDecoder().decode(bytes.subarray(0, n))
}
const bytes = (words: string) => sendRequest(new BufferSrc(new TextEncoder().encode(words)), 0)

test('socket addresses: mapped ones are of IPv4 inside and of IPv6 outside', () => {
  const mapped = socketAddress(AF_INET6, HERE, 80)
  const parsed = parseSocketAddress(mapped, AF_INET6)
  assert.ok(typeof parsed !== 'number' && parsed.address.equals(HERE) && parsed.port === 80)
  assert.equal(parseSocketAddress(mapped, AF_INET), -EAFNOSUPPORT)
  assert.equal(parseSocketAddress(mapped.subarray(0, 20), AF_INET6), -EINVAL)
  const local = socketAddress(AF_INET6, IpAddress.of('fe80::1'), 1, 7)
  assert.equal(new DataView(local.buffer).getUint32(24, true), 7, 'a link-local address has its scope')
})

test('streams: a connection is made in the background, and its listener has it', () => {
  const { net, task, socket } = world()
  const listener = socket(AF_INET, SOCK_STREAM)
  assert.equal(listener.bind(task, to(0)), 0)
  assert.equal(listener.listen(task, 1), 0)
  assert.equal(listener.accept(), -EAGAIN)
  const client = socket(AF_INET, SOCK_STREAM)
  assert.equal(client.connect(task, to(portOf(listener))), -EINPROGRESS)
  net.settle()
  assert.equal(client.connect(task, to(portOf(listener))), 0)
  assert.equal(client.connect(task, to(portOf(listener))), -EISCONN)
  const server = listener.accept() as Socket
  assert.equal(client.send(task, bytes('hello')), 5)
  net.settle()
  assert.equal(server.poll() & POLLIN, POLLIN)
  assert.equal(text(server, task), 'hello')
  server.release()
  net.settle()
  assert.equal(text(client, task), '')
})

test('streams: a port where nobody listens refuses', () => {
  const { net, task, socket } = world()
  const client = socket(AF_INET, SOCK_STREAM)
  assert.equal(client.connect(task, to(9)), -EINPROGRESS)
  net.settle()
  assert.equal(client.connect(task, to(9)), -ECONNREFUSED)
})

test('streams: a connection that was reset before it was accepted still has a peer for accept', () => {
  const { net, task, socket } = world()
  const listener = socket(AF_INET, SOCK_STREAM)
  listener.bind(task, to(0))
  listener.listen(task, 1)
  const client = socket(AF_INET, SOCK_STREAM)
  client.connect(task, to(portOf(listener)))
  net.settle()
  const port = portOf(client)
  client.options.lingerOn = true
  client.release()
  net.settle()
  const server = listener.accept() as Socket
  assert.deepEqual(server.acceptedName(), to(port))
  assert.equal(server.name(true), -ENOTCONN)
  assert.equal(text(server, task), -ECONNRESET)
})

test('binding: one port for one socket, unless both say that they share', () => {
  const { task, socket } = world()
  const first = socket(AF_INET, SOCK_STREAM)
  assert.equal(first.bind(task, to(5000)), 0)
  assert.equal(socket(AF_INET, SOCK_STREAM).bind(task, to(5000)), -EADDRINUSE)
  assert.equal(
    socket(AF_INET6, SOCK_STREAM).bind(task, socketAddress(AF_INET6, IpAddress.of('::'), 5000)),
    -EADDRINUSE,
  )
  const on = Uint8Array.of(1, 0, 0, 0)
  setSocketOption(first, task, SOL_SOCKET, SO_REUSEADDR, on)
  const other = socket(AF_INET, SOCK_STREAM)
  setSocketOption(other, task, SOL_SOCKET, SO_REUSEADDR, on)
  assert.equal(other.bind(task, to(5000)), 0)
})

test('privileges: low ports, raw sockets and ping sockets take a right', () => {
  const { made, net } = world()
  const user = made.task(1000)
  const stream = net.create(user, AF_INET, SOCK_STREAM, 0) as Socket
  assert.equal(stream.bind(user, to(80)), -EACCES)
  assert.equal(net.create(user, AF_INET, SOCK_RAW, IPPROTO_ICMP), -EPERM)
  assert.equal(net.create(user, AF_INET, SOCK_DGRAM, IPPROTO_ICMP), -EACCES)
})

test('datagrams: an error that came back is told once, and with IP_RECVERR kept with its datagram', () => {
  const { net, task, socket } = world()
  const one = socket(AF_INET, SOCK_DGRAM)
  assert.equal(one.connect(task, to(9)), 0)
  assert.equal(one.send(task, bytes('lost')), 4)
  net.settle()
  assert.equal(text(one, task), -ECONNREFUSED)
  assert.equal(text(one, task), -EAGAIN)
  one.setOption(task, 0, 11, Uint8Array.of(1, 0, 0, 0))
  one.send(task, bytes('lost'))
  net.settle()
  assert.equal(text(one, task, MSG_ERRQUEUE), 'lost')
  assert.equal(text(one, task, MSG_ERRQUEUE), -EAGAIN)
  assert.equal(one.poll() & POLLOUT, POLLOUT)
})

test('a new namespace: nothing can be reached before its loopback interface is up', () => {
  const { net, task, socket } = world(false)
  assert.equal(socket(AF_INET, SOCK_DGRAM).connect(task, to(9)), -ENETUNREACH)
  net.startLoopback()
  assert.equal(socket(AF_INET, SOCK_DGRAM).connect(task, to(9)), 0)
})

test('sockets leave nothing behind: no registration, no timer, no tap', () => {
  const { made, net, task, socket } = world()
  for (const [type, protocol] of [
    [SOCK_STREAM, 0],
    [SOCK_DGRAM, 0],
    [SOCK_RAW, IPPROTO_ICMP],
  ]) {
    const one = socket(AF_INET, type, protocol)
    setSocketOption(one, task, SOL_SOCKET, 29, Uint8Array.of(1, 0, 0, 0))
    one.release()
  }
  assert.equal(net.sockets.size, 0)
  assert.equal(net.ip.taps.length, 0)
  assert.equal(made.timers.next, Number.POSITIVE_INFINITY)
})

test('socket filters: a program that could run on for ever is refused, others decide by what a packet has', () => {
  const program = (...words: number[][]) => {
    const view = new DataView(new ArrayBuffer(words.length * 8))
    words.forEach(([code, jt, jf, k], i) => {
      view.setUint16(i * 8, code, true)
      view.setUint8(i * 8 + 2, jt)
      view.setUint8(i * 8 + 3, jf)
      view.setUint32(i * 8 + 4, k, true)
    })
    return SocketFilter.of(new Uint8Array(view.buffer))
  }
  assert.equal(program([0x28, 0, 0, 0]), -EINVAL, 'no end')
  assert.equal(program([0x05, 0, 0, 1], [0x06, 0, 0, 0]), -EINVAL, 'a jump out')
  // ldh [2]; jeq #0x1234, 0, 1; ret #7; ret #0
  const filter = program([0x28, 0, 0, 2], [0x15, 0, 1, 0x1234], [0x06, 0, 0, 7], [0x06, 0, 0, 0])
  assert.ok(filter instanceof SocketFilter)
  const packet = new Packet(Uint8Array.of(0, 0, 0x12, 0x34))
  packet.start = 0
  packet.end = 4
  assert.equal(filter.run(packet), 7)
  packet.bytes[3] = 0
  assert.equal(filter.run(packet), 0)
  packet.end = 3
  assert.equal(filter.run(packet), 0, 'what lies beyond the end')
  for (const header of [-0x100000, -0x200000]) {
    const about = program([0x30, 0, 0, header], [0x06, 0, 0, 7])
    assert.ok(about instanceof SocketFilter)
    assert.equal(about.run(packet), 0, 'a header that it has not')
    packet.network = packet.link = 0
    assert.equal(about.run(packet), 7)
    packet.network = packet.link = -1
  }
})

test('packet sockets: the same membership is counted, and there is an end to what is kept of others', () => {
  const { net } = world()
  const device = net.ip.devices.byIndex(1)!
  const memberships = new PacketMemberships(net.ip.devices)
  const request = (type: number, address: number) => {
    const bytes = new Uint8Array(PACKET_MREQ.size)
    const view = new DataView(bytes.buffer)
    view.setInt32(PACKET_MREQ.mr_ifindex, device.index, true)
    view.setUint16(PACKET_MREQ.mr_type, type, true)
    view.setUint32(PACKET_MREQ.mr_address, address)
    return bytes
  }
  const promiscuous = request(PACKET_MR_PROMISC, 0)
  assert.equal(memberships.add(promiscuous), 0)
  assert.equal(memberships.add(promiscuous), 0)
  memberships.drop(promiscuous)
  assert.equal(device.promiscuity, 1)
  memberships.drop(promiscuous)
  memberships.drop(promiscuous)
  assert.equal(device.promiscuity, 0)
  let status = 0
  for (let i = 0; status === 0 && i < 1e5; i++) status = memberships.add(request(PACKET_MR_MULTICAST, i))
  assert.equal(status, -ENOBUFS)
  memberships.clear()
  assert.equal(device.allMulticast, 0)
})

test('options: whatever is set and asked, sockets answer with an errno or a value', () => {
  const { net, task, socket } = world()
  let seed = 99
  const random = (limit: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
    return (seed >>> 8) % limit
  }
  const kinds: [number, number, number][] = [
    [AF_INET, SOCK_STREAM, 0],
    [AF_INET6, SOCK_STREAM, 0],
    [AF_INET, SOCK_DGRAM, 0],
    [AF_INET6, SOCK_DGRAM, 0],
    [AF_INET, SOCK_RAW, IPPROTO_ICMP],
    [AF_INET6, SOCK_RAW, 58],
    [AF_PACKET, SOCK_RAW, 0x0300],
    [AF_NETLINK, SOCK_RAW, 0],
  ]
  const lengths = [0, 1, 3, 4, 8, 12, 16, 20, 24, 136]
  for (const [family, type, protocol] of kinds) {
    const one = socket(family, type, protocol)
    for (const level of [0, 1, 6, 17, 41, 58, 255, 263, 270, 999]) {
      for (let name = 0; name < 90; name++) {
        // SO_ATTACH_FILTER reads from guest memory, which there is none of.
        if (level === 1 && name === 26) continue
        const length = lengths[random(lengths.length)]
        const value = Uint8Array.from({ length }, () => (random(3) === 0 ? random(256) : random(2)))
        assert.ok(setSocketOption(one, task, level, name, value) <= 0, `${level}/${name}`)
        const got = getSocketOption(one, task, level, name, lengths[random(lengths.length)], 0)
        assert.ok(got instanceof Uint8Array || got < 0, `${level}/${name}`)
      }
    }
    one.release()
  }
  assert.equal(net.sockets.size, 0)
})

test('an address of another interface has a route while loopback is down: what goes there is lost', () => {
  const { net, task, socket } = world(false)
  const [device] = vethPair(net.runtime.random, 'a', 'b')
  net.ip.devices.register(device)
  addAddress(net.ip, device, '10.0.0.1/24')
  net.ip.devices.setUp(device, true)
  const sender = socket(AF_INET, SOCK_DGRAM)
  assert.equal(sender.connect(task, socketAddress(AF_INET, IpAddress.of('10.0.0.1'), 9)), 0)
  assert.equal(sender.send(task, sendRequest(new BufferSrc(Uint8Array.of(1)), 0)), 1)
})
