import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  AF_NETLINK,
  NETLINK_ROUTE,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
  RTM_DELQDISC,
  RTM_NEWQDISC,
  RTM_NEWTCLASS,
  SOCK_RAW,
  TC_H_INGRESS,
  TC_H_ROOT,
  TCA_HTB_INIT,
  TCA_HTB_PARMS,
  TCA_KIND,
  TCA_OPTIONS,
} from '../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../../abi/errno.ts'
import { NLMSGERR, NLMSGHDR, TC_HTB_GLOB, TC_HTB_OPT, TC_RATESPEC, TCMSG } from '../../../abi/layout.ts'
import { BufferDst, BufferSrc } from '../../../base/io.ts'
import type { Kernel } from '../../../kernel/kernel.ts'
import { InetNetworks } from '../../inet/network.ts'
import { RecorderDevice } from '../../ip/testing.ts'
import { IngressQdisc } from '../../qdisc/ingress.ts'
import { receiveRequest, sendRequest } from '../../socket.ts'
import { netStack } from '../../stack.ts'
import { TestWorld } from '../../testing.ts'
import { MessageWriter, viewOf } from '../message.ts'
import type { NetlinkSocket } from '../socket.ts'

function world() {
  const made = new TestWorld()
  const kernel = { ...made.kernel, host: { random: (into: Uint8Array) => into.fill(7) } } as unknown as Kernel
  made.net.runtime = new InetNetworks(kernel)
  const task = made.task()
  const { own, ip } = netStack(made.net)
  const device = new RecorderDevice('eth0')
  ip!.devices.register(device)
  const socket = own!.create(task, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE) as NetlinkSocket
  /** The errno that a message is answered with. */
  const ask = (
    type: number,
    place: { handle: number; parent: number },
    kind: string,
    fill?: (writer: MessageWriter) => void,
    flags = NLM_F_CREATE,
  ): number => {
    const writer = new MessageWriter()
    writer.start(type, NLM_F_REQUEST | NLM_F_ACK | flags, 9, 0)
    const at = writer.struct(TCMSG.size)
    writer.set32(at + TCMSG.tcm_ifindex, device.index)
    writer.set32(at + TCMSG.tcm_handle, place.handle)
    writer.set32(at + TCMSG.tcm_parent, place.parent)
    writer.string(TCA_KIND, kind)
    if (fill !== undefined) {
      const nest = writer.nest(TCA_OPTIONS)
      fill(writer)
      writer.close(nest)
    }
    writer.end()
    const message = writer.take()
    assert.equal(socket.send(task, sendRequest(new BufferSrc(message), 0)), message.length)
    const bytes = new Uint8Array(8192)
    assert.ok(socket.receive(task, receiveRequest(new BufferDst(bytes), 0)) > 0)
    return viewOf(bytes).getInt32(NLMSGHDR.size + NLMSGERR.error, true)
  }
  return { device, ip: ip!, ask }
}

test('qdiscs: at the numbers beside that of the ingress there is no place for any', () => {
  const { device, ip, ask } = world()
  assert.equal(ask(RTM_NEWQDISC, { handle: 0xffff0000, parent: TC_H_INGRESS }, 'clsact'), 0)
  const beside = { handle: 0x10000, parent: 0xfffffff2 }
  assert.equal(ask(RTM_NEWQDISC, beside, 'pfifo', undefined, NLM_F_CREATE | NLM_F_REPLACE), -EOPNOTSUPP)
  assert.ok(device.traffic?.clsact instanceof IngressQdisc)
  assert.equal(ask(RTM_DELQDISC, { handle: 0, parent: TC_H_INGRESS }, 'clsact'), 0)
  assert.equal(device.traffic, undefined)
  assert.equal(ip.runtime.queueRoom.objects, 0)
})

test('qdiscs: a class of htb with classes of its own takes none, and all are counted till the device is gone', () => {
  const { device, ip, ask } = world()
  const glob = (writer: MessageWriter) => {
    const at = writer.attribute(TCA_HTB_INIT, TC_HTB_GLOB.size)
    writer.set32(at + TC_HTB_GLOB.version, 3)
  }
  const rate = (writer: MessageWriter) => {
    const at = writer.attribute(TCA_HTB_PARMS, TC_HTB_OPT.size)
    writer.set32(at + TC_HTB_OPT.rate + TC_RATESPEC.rate, 1000)
    writer.set32(at + TC_HTB_OPT.ceil + TC_RATESPEC.rate, 1000)
  }
  assert.equal(ask(RTM_NEWQDISC, { handle: 0x10000, parent: TC_H_ROOT }, 'htb', glob), 0)
  assert.equal(ask(RTM_NEWTCLASS, { handle: 0x10001, parent: TC_H_ROOT }, 'htb', rate), 0)
  assert.equal(ask(RTM_NEWTCLASS, { handle: 0x10002, parent: 0x10001 }, 'htb', rate), 0)
  assert.equal(ask(RTM_NEWQDISC, { handle: 0x20000, parent: 0x10001 }, 'pfifo'), -EINVAL)
  assert.equal(ask(RTM_NEWQDISC, { handle: 0x20000, parent: 0x10002 }, 'pfifo'), 0)
  assert.equal(ip.runtime.queueRoom.objects, 4)
  ip.devices.unregister(device)
  assert.equal(ip.runtime.queueRoom.objects, 0)
})
