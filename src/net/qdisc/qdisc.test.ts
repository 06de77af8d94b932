import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  TC_ACT_SHOT,
  TC_ACT_STOLEN,
  TC_H_INGRESS,
  TC_H_ROOT,
  TCA_ACT_KIND,
  TCA_ACT_OPTIONS,
  TCA_EGRESS_REDIR,
  TCA_GACT_PARMS,
  TCA_HTB_INIT,
  TCA_HTB_PARMS,
  TCA_MATCHALL_ACT,
  TCA_MIRRED_PARMS,
  TCA_TBF_BURST,
  TCA_TBF_PARMS,
  TCA_U32_DIVISOR,
  TCA_U32_SEL,
} from '../../abi/constants.ts'
import {
  TC_GACT,
  TC_HTB_GLOB,
  TC_HTB_OPT,
  TC_MIRRED,
  TC_NETEM_QOPT,
  TC_PRIO_QOPT,
  TC_RATESPEC,
  TC_TBF_QOPT,
  TC_U32_SEL,
} from '../../abi/layout.ts'
import { RecorderDevice, TestNet } from '../ip/testing.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { IfbDevice } from '../link/ifb.ts'
import { Attributes, MessageWriter } from '../netlink/message.ts'
import { GSO_TCPV4, type Packet } from '../packet.ts'
import { ActionList, readActions } from './actions/action.ts'
import { type Filter, FilterBlock, type FilterChange, FilterGroup } from './filter.ts'
import type { Htb } from './htb.ts'
import type { IngressQdisc } from './ingress.ts'
import { ACTIONS, CLASSIFIERS, QDISCS } from './kinds.ts'
import type { Qdisc } from './qdisc.ts'
import { trafficOf } from './traffic-control.ts'

/** A device that notes when what was sent. */
class TimedDevice extends RecorderDevice {
  readonly times: number[] = []

  override transmit(packet: Packet): number {
    this.times.push(this.stack!.runtime.now())
    return super.transmit(packet)
  }
}

function world(seed = 5) {
  const net = new TestNet(seed)
  const stack = net.stack()
  const device = new TimedDevice('eth0')
  stack.devices.register(device)
  stack.devices.setUp(device, true)
  net.run(5)
  device.take()
  device.times.length = 0
  return { net, stack, device, start: net.clock.time }
}

function bytes(fill: (writer: MessageWriter) => void): Uint8Array {
  const writer = new MessageWriter()
  fill(writer)
  return writer.take()
}

function install(device: NetDevice, kind: string, options?: Uint8Array, parent = TC_H_ROOT): Qdisc {
  const control = trafficOf(device)
  const qdisc = QDISCS.get(kind)!(control)
  qdisc.handle = parent === TC_H_INGRESS ? 0xffff0000 : 0x10000
  assert.equal(qdisc.configure(options, true), 0)
  control.install(parent, qdisc)
  return qdisc
}

function frame(stack: IpStack, length: number, priority = 0, mark = 0): Packet {
  const packet = stack.packets.allocate(length)
  packet.append(length)
  packet.bytes.fill(0, packet.start, packet.end)
  packet.view.setUint16(packet.start + 12, 0x0800)
  packet.bytes[packet.start + 14] = 0x45
  packet.priority = priority
  packet.mark = mark
  return packet
}

/** `rate`: bytes a second. */
function tbf(rate: number, burst: number, limit: number): Uint8Array {
  return bytes(writer => {
    const at = writer.attribute(TCA_TBF_PARMS, TC_TBF_QOPT.size)
    writer.set32(at + TC_TBF_QOPT.rate + TC_RATESPEC.rate, rate)
    writer.set32(at + TC_TBF_QOPT.limit, limit)
    writer.u32(TCA_TBF_BURST, burst)
  })
}

const noChange: FilterChange = {
  exclusive: false,
  create: true,
  actions: () => -1,
  refuse: (_reason, errno) => -errno,
}

function addAction(
  stack: IpStack,
  block: FilterBlock,
  kind: string,
  fill: (writer: MessageWriter) => void,
): Filter {
  const list = bytes(writer => {
    const nest = writer.nest(1)
    writer.string(TCA_ACT_KIND, kind)
    const options = writer.nest(TCA_ACT_OPTIONS)
    fill(writer)
    writer.close(options)
    writer.close(nest)
  })
  const options = new Attributes(
    bytes(writer => {
      writer.bytes(TCA_MATCHALL_ACT, list)
    }),
  )
  const group = new FilterGroup('matchall', 3, 1, CLASSIFIERS.get('matchall')!(block))
  const made = group.classifier.change(0, options, {
    ...noChange,
    actions: () => {
      const actions = readActions(stack, new Attributes(list), ACTIONS)
      return typeof actions === 'number' ? actions : new ActionList(actions, stack.traffic.actions)
    },
  })
  assert.ok(typeof made !== 'number')
  block.add(0, group)
  return made
}

function redirect(stack: IpStack, block: FilterBlock, to: NetDevice): Filter {
  return addAction(stack, block, 'mirred', writer => {
    const at = writer.attribute(TCA_MIRRED_PARMS, TC_MIRRED.size)
    writer.set32(at + TC_MIRRED.action, TC_ACT_STOLEN)
    writer.set32(at + TC_MIRRED.eaction, TCA_EGRESS_REDIR)
    writer.set32(at + TC_MIRRED.ifindex, to.index)
  })
}

test('tbf: a burst goes at once, the rest at its rate, and what there is no room for is dropped', () => {
  const { net, stack, device, start } = world()
  const qdisc = install(device, 'tbf', tbf(100_000, 2000, 8000))
  for (let i = 0; i < 12; i++) device.send(frame(stack, 1000))
  assert.equal(device.sent.length, 2)
  net.run(1)
  assert.equal(device.sent.length, 10)
  assert.equal(qdisc.statistics.drops, 2)
  assert.deepEqual(
    device.times.map(time => Math.round((time - start) / 1e6)),
    [0, 0, 10, 20, 30, 40, 50, 60, 70, 80],
  )
  assert.equal(qdisc.length, 0)
  assert.equal(net.runtime.queueRoom.memory, 0)
})

test('tbf: a timer that is late loses nothing of the rate, though the bucket is small', () => {
  const { net, stack, device } = world()
  install(device, 'tbf', tbf(1_000_000, 1500, 1 << 20))
  for (let i = 0; i < 100; i++) device.send(frame(stack, 1000))
  // Each wakeup comes when several packets are due.
  for (let i = 0; i < 10; i++) {
    net.clock.time += 10e6
    net.timers.expire(net.clock.time)
  }
  assert.equal(device.sent.length, 100)
})

test('netem: packets are late by the delay, in their order, and a device that is set down drops them', () => {
  const { net, stack, device, start } = world()
  const options = bytes(writer => {
    const at = writer.struct(TC_NETEM_QOPT.size)
    writer.set32(at + TC_NETEM_QOPT.latency, 50e6 / 64)
    writer.set32(at + TC_NETEM_QOPT.limit, 3)
  })
  install(device, 'netem', options)
  for (let i = 0; i < 4; i++) device.send(frame(stack, 100 + i))
  net.run(1)
  assert.deepEqual(
    device.sent.map(sent => sent.length),
    [100, 101, 102],
  )
  assert.ok(device.times.every(time => time - start === 50e6))
  device.send(frame(stack, 100))
  stack.devices.setUp(device, false)
  assert.equal(net.runtime.queueRoom.memory, 0)
})

test('netem: of many packets about as many are lost as was said', () => {
  const { net, stack, device } = world()
  const options = bytes(writer => {
    const at = writer.struct(TC_NETEM_QOPT.size)
    writer.set32(at + TC_NETEM_QOPT.loss, 0x40000000)
    writer.set32(at + TC_NETEM_QOPT.limit, 1000)
  })
  install(device, 'netem', options)
  for (let i = 0; i < 1000; i++) device.send(frame(stack, 100))
  net.run(1)
  assert.ok(device.sent.length > 680 && device.sent.length < 820, String(device.sent.length))
})

test('prio: what has waited goes by band, as the priorities say', () => {
  const { net, stack, device } = world()
  const outer = install(device, 'prio', bytes(prioOptions)) as Qdisc & {
    graft(id: number, child: Qdisc): Qdisc | undefined
  }
  // Nothing goes before its time: so all of them wait together.
  const control = trafficOf(device)
  control.install(TC_H_ROOT, undefined)
  const shaper = QDISCS.get('tbf')!(control) as Qdisc & { graft(id: number, child: Qdisc): Qdisc | undefined }
  shaper.handle = 0x20000
  assert.equal(shaper.configure(tbf(1_000_000, 1100, 1 << 20), true), 0)
  const inner = QDISCS.get('prio')!(control)
  inner.handle = 0x10000
  assert.equal(inner.configure(bytes(prioOptions), true), 0)
  shaper.graft(0x20001, inner)
  control.install(TC_H_ROOT, shaper)
  assert.equal(outer.length, 0)
  for (const priority of [0, 2, 6, 0, 6]) device.send(frame(stack, 1000 + priority, priority))
  net.run(1)
  // The first went at once, the second was looked at before the others had come.
  assert.deepEqual(
    device.sent.map(sent => sent.length - 1000),
    [0, 2, 6, 6, 0],
  )

  function prioOptions(writer: MessageWriter): void {
    const at = writer.struct(TC_PRIO_QOPT.size)
    writer.set32(at, 3)
    for (const [i, band] of [1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1].entries())
      writer.set8(at + TC_PRIO_QOPT.priomap + i, band)
  }
})

test('htb: leaves have their rates, and borrow what the others leave', () => {
  const { net, stack, device } = world()
  const glob = bytes(writer => {
    const at = writer.attribute(TCA_HTB_INIT, TC_HTB_GLOB.size)
    writer.set32(at + TC_HTB_GLOB.version, 3)
    writer.set32(at + TC_HTB_GLOB.rate2quantum, 10)
  })
  const htb = install(device, 'htb', glob) as Htb
  const leaf = (id: number, parent: number, rate: number, ceil: number) => {
    const options = bytes(writer => {
      const at = writer.attribute(TCA_HTB_PARMS, TC_HTB_OPT.size)
      writer.set32(at + TC_HTB_OPT.rate + TC_RATESPEC.rate, rate)
      writer.set32(at + TC_HTB_OPT.ceil + TC_RATESPEC.rate, ceil)
      writer.set32(at + TC_HTB_OPT.buffer, 2e6 / 64)
      writer.set32(at + TC_HTB_OPT.cbuffer, 2e6 / 64)
      writer.set32(at + TC_HTB_OPT.quantum, 1500)
    })
    assert.equal(typeof htb.changeClass(undefined, id, parent, new Attributes(options)), 'object')
  }
  leaf(0x10001, TC_H_ROOT, 1_000_000, 1_000_000)
  leaf(0x10010, 0x10001, 750_000, 1_000_000)
  leaf(0x10020, 0x10001, 250_000, 1_000_000)
  for (let i = 0; i < 900; i++) {
    device.send(frame(stack, 1000, 0x10010))
    device.send(frame(stack, 1001, 0x10020))
  }
  net.run(1)
  const count = (length: number) => device.sent.filter(sent => sent.length === length).length
  assert.ok(Math.abs(count(1000) - 750) < 15, `${count(1000)}`)
  assert.ok(Math.abs(count(1001) - 250) < 15, `${count(1001)}`)
  net.run(0.3)
  // The first has nothing more, so the second has it all.
  const before = count(1001)
  net.run(0.1)
  assert.ok(Math.abs(count(1001) - before - 100) < 10, `${count(1001) - before}`)
})

test('fq_codel: a flow that fills the queue is held short, and a small one is not kept waiting by it', () => {
  const { net, stack, device } = world()
  const control = trafficOf(device)
  const shaper = QDISCS.get('tbf')!(control) as Qdisc & { graft(id: number, child: Qdisc): Qdisc | undefined }
  shaper.handle = 0x20000
  assert.equal(shaper.configure(tbf(1_000_000, 1600, 1 << 20), true), 0)
  const fair = QDISCS.get('fq_codel')!(control)
  fair.handle = 0x10000
  shaper.graft(0x20001, fair)
  control.install(TC_H_ROOT, shaper)
  const flow = (length: number, address: number) => {
    const packet = frame(stack, length)
    packet.bytes[packet.start + 14 + 15] = address
    return packet
  }
  for (let i = 0; i < 1000; i++) device.send(flow(1000, 1))
  device.send(flow(200, 2))
  net.run(0.005)
  assert.ok(device.sent.some(sent => sent.length === 200))
  net.run(2)
  assert.ok(fair.statistics.drops > 10, `${fair.statistics.drops}`)
  assert.equal(fair.length, 0)
  // What it has dropped waits nowhere above it either.
  assert.equal(shaper.length, 0)
  assert.equal(shaper.backlog, 0)
  assert.equal(net.runtime.queueRoom.memory, 0)
})

test('ingress: what comes in is dropped, or goes by way of an ifb, which holds it to a rate', () => {
  const { net, stack, device } = world()
  const ifb = new IfbDevice('ifb0', Uint8Array.of(2, 0, 0, 0, 0, 9))
  stack.devices.register(ifb)
  stack.devices.setUp(ifb, true)
  net.run(1)
  const ingress = install(device, 'ingress', undefined, TC_H_INGRESS) as IngressQdisc
  const control = trafficOf(ifb)
  const shaper = QDISCS.get('tbf')!(control)
  shaper.handle = 0x20000
  assert.equal(shaper.configure(tbf(100_000, 1000, 1 << 20), true), 0)
  control.install(TC_H_ROOT, shaper)
  const filter = redirect(stack, ingress.incoming, ifb)
  const seen: number[] = []
  stack.counters.ip.InReceives = 0
  for (let i = 0; i < 5; i++) device.inject(whole(500))
  net.run(0.0001)
  seen.push(stack.counters.ip.InReceives)
  net.run(1)
  seen.push(stack.counters.ip.InReceives)
  assert.deepEqual(seen, [2, 5])
  assert.equal(filter.actions?.actions[0].statistics.packets, 5)
  ingress.incoming.clear()
  assert.equal(stack.traffic.actions.of('mirred').size, 0)
  addAction(stack, ingress.incoming, 'gact', writer => {
    const at = writer.attribute(TCA_GACT_PARMS, TC_GACT.size)
    writer.set32(at + TC_GACT.action, TC_ACT_SHOT)
  })
  device.inject(whole(500))
  net.run(1)
  assert.equal(stack.counters.ip.InReceives, 5)
  trafficOf(device).install(TC_H_INGRESS, undefined)
  assert.equal(device.traffic, undefined)

  function whole(length: number): Uint8Array {
    const made = new Uint8Array(length)
    made.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45])
    return made
  }
})

test('ifb: what one sends on to another ends there, and does not run in a circle', () => {
  const { net, stack, device } = world()
  const [one, other] = ['ifb0', 'ifb1'].map((name, i) => {
    const ifb = new IfbDevice(name, Uint8Array.of(2, 0, 0, 0, 0, 9 + i))
    stack.devices.register(ifb)
    stack.devices.setUp(ifb, true)
    return ifb
  })
  net.run(30)
  redirect(stack, (install(device, 'clsact', undefined, TC_H_INGRESS) as IngressQdisc).outgoing, one)
  redirect(stack, (install(one, 'clsact', undefined, TC_H_INGRESS) as IngressQdisc).outgoing, other)
  for (const queued of [false, true]) {
    if (queued) install(one, 'pfifo')
    const dropped = one.statistics.rxDropped
    device.send(frame(stack, 100))
    net.run(0.01)
    assert.equal(one.statistics.rxDropped, dropped + 1)
  }
  assert.equal(net.runtime.queueRoom.memory, 0)
})

test('traffic control: what comes back without end lets others have their turn', () => {
  const { net, stack } = world()
  let sent = 0
  let echoes = false
  class Echo extends TimedDevice {
    override transmit(packet: Packet): number {
      sent++
      return echoes ? this.send(packet) : super.transmit(packet)
    }
  }
  const echo = new Echo('echo0')
  stack.devices.register(echo)
  stack.devices.setUp(echo, true)
  install(echo, 'pfifo')
  echoes = true
  echo.send(frame(stack, 100))
  assert.ok(sent > 1000 && sent < 10000, `${sent}`)
  const before = sent
  net.timers.expire(net.clock.time++)
  assert.ok(sent > before)
  stack.devices.setUp(echo, false)
  assert.equal(net.runtime.queueRoom.memory, 0)
})

test('qdiscs: a packet that is to be split into segments of no length waits and goes as one', () => {
  const { stack, device } = world()
  const qdisc = install(device, 'pfifo')
  const packet = frame(stack, 1000)
  packet.gsoType = GSO_TCPV4
  device.send(packet)
  assert.equal(device.sent.length, 1)
  assert.deepEqual([qdisc.length, qdisc.backlog, qdisc.statistics.packets], [0, 0, 1])
})

test('u32: of two chains with one preference, one goes without the tables of the other', () => {
  const { net } = world()
  const { queueRoom } = net.runtime
  const block = new FilterBlock(queueRoom)
  const change = { ...noChange, actions: () => new ActionList([], net.stack().traffic.actions) }
  const groups = [0, 1].map(chain => {
    const classifier = CLASSIFIERS.get('u32')!(block)
    const selector = bytes(writer => {
      writer.bytes(TCA_U32_SEL, new Uint8Array(TC_U32_SEL.size))
    })
    assert.ok(typeof classifier.change(0, new Attributes(selector), change) !== 'number')
    const group = new FilterGroup('u32', 3, 10, classifier)
    block.add(chain, group)
    block.settle()
    return group
  })
  const table = bytes(writer => {
    writer.u32(TCA_U32_DIVISOR, 4)
  })
  assert.ok(typeof groups[0].classifier.change(0, new Attributes(table), change) !== 'number')
  block.settle()
  assert.equal(queueRoom.objects, 5)
  block.remove(1, groups[1])
  assert.deepEqual([groups[0].classifier.size, [...groups[0].classifier.filters()].length], [2, 3])
  assert.equal(queueRoom.objects, 3)
  block.clear()
  assert.equal(queueRoom.objects, 0)
})
