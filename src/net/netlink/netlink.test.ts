import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  AF_INET,
  AF_NETLINK,
  AF_UNSPEC,
  IFA_LOCAL,
  IFLA_ALT_IFNAME,
  IFLA_IFNAME,
  IFLA_INFO_KIND,
  IFLA_LINKINFO,
  IFLA_PROP_LIST,
  NETLINK_EXT_ACK,
  NETLINK_ROUTE,
  NLM_F_ACK,
  NLM_F_CAPPED,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_MULTI,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSGERR_ATTR_MSG,
  RTM_DELLINK,
  RTM_DELLINKPROP,
  RTM_GETADDR,
  RTM_GETLINK,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWLINKPROP,
  RTNLGRP_LINK,
  SOCK_RAW,
} from '../../abi/constants.ts'
import {
  EAGAIN,
  EEXIST,
  EINVAL,
  ENOBUFS,
  ENODEV,
  ENOENT,
  EOPNOTSUPP,
  EPERM,
  ERANGE,
} from '../../abi/errno.ts'
import { IFADDRMSG, IFINFOMSG, NLMSGERR, NLMSGHDR, SOCKADDR_NL } from '../../abi/layout.ts'
import { fromBytes } from '../../base/bytes.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { Task } from '../../kernel/task.ts'
import { InetNetworks } from '../inet/network.ts'
import { receiveRequest, sendRequest } from '../socket.ts'
import { netStack } from '../stack.ts'
import { TestWorld } from '../testing.ts'
import { Attributes, MessageWriter, viewOf } from './message.ts'
import type { NetlinkSocket } from './socket.ts'

interface Message {
  readonly type: number
  readonly flags: number
  readonly body: Uint8Array
}

function world() {
  const made = new TestWorld()
  const kernel = { ...made.kernel, host: { random: (into: Uint8Array) => into.fill(7) } } as unknown as Kernel
  made.net.runtime = new InetNetworks(kernel)
  const task = made.task()
  const { own } = netStack(made.net)
  const socket = () => own!.create(task, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE) as NetlinkSocket
  return { made, task, own: own!, socket }
}

function build(type: number, flags: number, fill: (writer: MessageWriter) => void): Uint8Array {
  const writer = new MessageWriter()
  writer.start(type, NLM_F_REQUEST | flags, 9, 0)
  fill(writer)
  writer.end()
  return writer.take()
}
function ask(task: Task, socket: NetlinkSocket, message: Uint8Array): Message[] {
  assert.equal(socket.send(task, sendRequest(new BufferSrc(message), 0)), message.length)
  return read(task, socket)
}
function read(task: Task, socket: NetlinkSocket): Message[] {
  const messages: Message[] = []
  for (;;) {
    const bytes = new Uint8Array(8192)
    const n = socket.receive(task, receiveRequest(new BufferDst(bytes), 0))
    if (n < 0) return messages
    for (let at = 0; at < n; ) {
      const view = viewOf(bytes.subarray(at))
      const length = view.getUint32(NLMSGHDR.nlmsg_len, true)
      const type = view.getUint16(NLMSGHDR.nlmsg_type, true)
      const flags = view.getUint16(NLMSGHDR.nlmsg_flags, true)
      messages.push({ type, flags, body: bytes.slice(at + NLMSGHDR.size, at + length) })
      at += (length + 3) & ~3
    }
  }
}
function errorOf([message]: Message[]): number {
  assert.equal(message.type, NLMSG_ERROR)
  return viewOf(message.body).getInt32(NLMSGERR.error, true)
}
function dummy(name: string): (writer: MessageWriter) => void {
  return writer => {
    writer.struct(IFINFOMSG.size)
    writer.string(IFLA_IFNAME, name)
    const info = writer.nest(IFLA_LINKINFO)
    writer.string(IFLA_INFO_KIND, 'dummy')
    writer.close(info)
  }
}
const CREATE = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL

test('attributes: what a writer has nested comes out again, and a damaged list ends the reading', () => {
  const writer = new MessageWriter()
  writer.u32(1, 0xfedcba98)
  const nest = writer.nest(2)
  writer.string(3, 'name')
  writer.close(nest)
  writer.u8(4, 5)
  const bytes = writer.take()
  const attributes = new Attributes(bytes)
  assert.equal(attributes.u32(1), 0xfedcba98)
  assert.equal(attributes.nested(2)?.string(3), 'name')
  assert.equal(attributes.u8(4), 5)
  assert.equal(attributes.u32(4), undefined, 'too short')
  assert.equal(attributes.trailing, false)
  bytes[0] = 2
  assert.equal(new Attributes(bytes).u32(1), undefined)
  assert.equal(new Attributes(bytes).trailing, true)
})

test('netlink: a dump ends with NLMSG_DONE, and its messages are parts of one answer', () => {
  const { task, socket } = world()
  const answers = ask(
    task,
    socket(),
    build(RTM_GETLINK, NLM_F_DUMP, w => w.struct(IFINFOMSG.size)),
  )
  assert.deepEqual(
    answers.map(answer => answer.type),
    [RTM_NEWLINK, NLMSG_DONE],
  )
  assert.ok(answers.every(answer => (answer.flags & NLM_F_MULTI) !== 0))
  assert.equal(new Attributes(answers[0].body, IFINFOMSG.size).string(IFLA_IFNAME), 'lo')
})

test('netlink: a long dump goes on as it is read, and takes no more than the receive buffer', () => {
  const { task, socket } = world()
  const one = socket()
  for (let i = 0; i < 300; i++)
    assert.equal(errorOf(ask(task, one, build(RTM_NEWLINK, CREATE, dummy(`d${i}`)))), 0)
  const message = build(RTM_GETLINK, NLM_F_DUMP, w => w.struct(IFINFOMSG.size))
  one.options.rcvbuf = 16384
  one.send(task, sendRequest(new BufferSrc(message), 0))
  assert.ok(one.receiveMemory < 16384)
  assert.ok(one.dumping)
  const answers = read(task, one)
  assert.equal(answers.length, 302)
  assert.equal(answers[301].type, NLMSG_DONE)
  assert.equal(one.dumping, false)
  assert.equal(one.receiveMemory, 0)
})

test('netlink: an acknowledgement quotes the request if it failed, and says why if that is wanted', () => {
  const { task, socket } = world()
  const one = socket()
  assert.equal(errorOf(ask(task, one, build(RTM_NEWLINK, CREATE, dummy('d0')))), 0)
  const [again] = ask(task, one, build(RTM_NEWLINK, CREATE, dummy('d0')))
  assert.equal(errorOf([again]), -EEXIST)
  assert.equal(again.flags & NLM_F_CAPPED, 0)
  one.switches.add(NETLINK_EXT_ACK)
  const unknown = build(RTM_NEWLINK, CREATE, w => {
    w.struct(IFINFOMSG.size)
    w.string(IFLA_IFNAME, 'x')
  })
  const [refused] = ask(task, one, unknown)
  assert.equal(errorOf([refused]), -EOPNOTSUPP)
  const reason = new Attributes(refused.body, NLMSGERR.msg + unknown.length).string(NLMSGERR_ATTR_MSG)
  assert.equal(reason, 'Unknown device type')
})

test('netlink: without CAP_NET_ADMIN questions are answered and changes refused', () => {
  const { made, own } = world()
  const user = made.task(1000)
  const one = own.create(user, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE) as NetlinkSocket
  assert.equal(errorOf(ask(user, one, build(RTM_NEWLINK, CREATE, dummy('d0')))), -EPERM)
  assert.equal(
    ask(
      user,
      one,
      build(RTM_GETADDR, NLM_F_DUMP, w => w.struct(IFADDRMSG.size)),
    ).at(-1)?.type,
    NLMSG_DONE,
  )
})

test('netlink: members of a group hear of changes, and a full queue is told of by ENOBUFS', () => {
  const { task, socket } = world()
  const [actor, listener] = [socket(), socket()]
  // With a port of its own: one that has none hears nothing.
  const address = new DataView(new ArrayBuffer(SOCKADDR_NL.size))
  address.setUint16(SOCKADDR_NL.nl_family, AF_NETLINK, true)
  address.setUint32(SOCKADDR_NL.nl_groups, 1 << (RTNLGRP_LINK - 1), true)
  assert.equal(listener.bind(task, new Uint8Array(address.buffer)), 0)
  ask(task, actor, build(RTM_NEWLINK, CREATE, dummy('d0')))
  assert.deepEqual(
    read(task, listener).map(message => message.type),
    [RTM_NEWLINK],
  )
  listener.options.rcvbuf = 0
  ask(task, actor, build(RTM_NEWLINK, CREATE, dummy('d1')))
  ask(task, actor, build(RTM_NEWLINK, CREATE, dummy('d2')))
  assert.equal(listener.takeError(), -ENOBUFS)
  assert.equal(read(task, listener).length, 1)
})

test('rtnetlink: an address comes with its routes and goes with its link', () => {
  const { task, own, socket } = world()
  const one = socket()
  ask(task, one, build(RTM_NEWLINK, CREATE, dummy('d0')))
  const { index } = own.ip.devices.byName('d0')!
  const address = build(RTM_NEWADDR, CREATE, w => {
    const at = w.struct(IFADDRMSG.size)
    w.set8(at + IFADDRMSG.ifa_family, AF_INET)
    w.set8(at + IFADDRMSG.ifa_prefixlen, 24)
    w.set32(at + IFADDRMSG.ifa_index, index)
    w.bytes(IFA_LOCAL, Uint8Array.of(10, 0, 0, 1))
  })
  assert.equal(errorOf(ask(task, one, address)), 0)
  assert.equal(errorOf(ask(task, one, address)), -EEXIST)
  assert.equal([...own.ip.fib4.routes()].length, 1, 'the local one; others come when the link is up')
  const removal = build(RTM_DELLINK, NLM_F_ACK, w => {
    const at = w.struct(IFINFOMSG.size)
    w.set8(at, AF_UNSPEC)
    w.set32(at + IFINFOMSG.ifi_index, index)
  })
  assert.equal(errorOf(ask(task, one, removal)), 0)
  assert.equal(errorOf(ask(task, one, removal)), -ENODEV)
  assert.equal([...own.ip.fib4.routes()].length, 0)
})

test('rtnetlink: an alternative name finds a link, is listed, and goes with it', () => {
  const { task, own, socket } = world()
  const one = socket()
  ask(task, one, build(RTM_NEWLINK, CREATE, dummy('d0')))
  ask(task, one, build(RTM_NEWLINK, CREATE, dummy('d1')))
  const long = 'an-alternative-name-longer-than-others'
  const change = (type: number, device: string, names: string[]) =>
    errorOf(
      ask(
        task,
        one,
        build(type, NLM_F_ACK, w => {
          w.struct(IFINFOMSG.size)
          w.string(IFLA_IFNAME, device)
          const list = w.nest(IFLA_PROP_LIST)
          for (const name of names) w.string(IFLA_ALT_IFNAME, name)
          w.close(list)
        }),
      ),
    )
  assert.equal(change(RTM_NEWLINKPROP, 'd0', [long, 'second']), 0)
  assert.equal(change(RTM_NEWLINKPROP, 'd1', ['second']), -EEXIST)
  assert.equal(change(RTM_NEWLINKPROP, 'd1', ['d0']), -EEXIST)
  assert.equal(change(RTM_NEWLINKPROP, 'd1', ['x'.repeat(128)]), -ERANGE)
  assert.equal(change(RTM_DELLINKPROP, 'd1', ['second']), -EINVAL)
  assert.equal(change(RTM_DELLINKPROP, 'd1', ['third']), -ENOENT)
  const [found] = ask(
    task,
    one,
    build(RTM_GETLINK, 0, w => {
      w.struct(IFINFOMSG.size)
      w.string(IFLA_ALT_IFNAME, long)
    }),
  )
  const attributes = new Attributes(found.body, IFINFOMSG.size)
  assert.equal(attributes.string(IFLA_IFNAME), 'd0')
  const names = attributes
    .nested(IFLA_PROP_LIST)!
    .list.map(({ value }) => fromBytes(value, 0, value.length - 1))
  assert.deepEqual(names, [long, 'second'])
  assert.equal(own.ip.devices.byOwnName('second'), undefined)
  assert.equal(change(RTM_DELLINKPROP, 'second', ['second']), 0)
  own.ip.devices.unregister(own.ip.devices.byName(long)!)
  assert.equal(own.ip.devices.byName(long), undefined)
})

test('netlink: a socket is shown once it has a port', () => {
  const { task, own, socket } = world()
  const one = socket()
  assert.deepEqual(own.netlink.bound, [])
  ask(
    task,
    one,
    build(RTM_GETLINK, NLM_F_DUMP, w => w.struct(IFINFOMSG.size)),
  )
  assert.deepEqual(own.netlink.bound, [one])
})

test('netlink: hostile messages are answered or dropped, never believed', () => {
  const { task, socket } = world()
  const one = socket()
  let seed = 12345
  const random = (limit: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
    return seed % limit
  }
  for (let round = 0; round < 3000; round++) {
    const bytes = Uint8Array.from({ length: 16 + random(120) }, () => random(256))
    const view = viewOf(bytes)
    view.setUint32(NLMSGHDR.nlmsg_len, random(4) === 0 ? random(300) : bytes.length, true)
    view.setUint16(NLMSGHDR.nlmsg_type, 16 + random(110), true)
    view.setUint16(NLMSGHDR.nlmsg_flags, NLM_F_REQUEST | random(0x10000), true)
    if (bytes.length > 20) bytes[16] = [0, 2, 10][random(3)]
    if (bytes.length > 36) view.setUint16(32, random(40), true)
    assert.equal(one.send(task, sendRequest(new BufferSrc(bytes), 0)), bytes.length)
    read(task, one)
  }
  assert.equal(one.receive(task, receiveRequest(new BufferDst(new Uint8Array(10)), 0)), -EAGAIN)
})
