import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ENOBUFS } from '../../abi/errno.ts'
import { type RecorderDevice, TestNet } from '../ip/testing.ts'
import { Policer, parseRate, Shaper } from './rate.ts'

const MBIT = 1e6
const FRAME = 1250

test('rates are bits a second, with a unit or without', () => {
  assert.equal(parseRate('10mbit'), 10e6)
  assert.equal(parseRate('1.5M'), 1.5e6)
  assert.equal(parseRate('500Kbit'), 500e3)
  assert.equal(parseRate('9600'), 9600)
  for (const text of ['', 'fast', '-1', '10mb', '7999', '2000gbit']) {
    assert.equal(typeof parseRate(text), 'string', text)
  }
})

function shaped(rate: number): { net: TestNet; device: RecorderDevice; send(length?: number): number } {
  const net = new TestNet()
  const stack = net.stack()
  stack.sysctls.ipv6Conf.all.disable_ipv6 = 1
  const device = net.recorder(stack)
  net.run(1)
  device.take()
  device.shaper = new Shaper(device, rate)
  const send = (length = FRAME): number => {
    const packet = stack.packets.allocate(length)
    packet.append(length)
    return stack.transmit(device, packet)
  }
  return { net, device, send }
}

test('what is sent beyond a rate waits for its turn, in order, and what does not fit is dropped', () => {
  const { net, device, send } = shaped(MBIT)
  let refused = 0
  for (let i = 0; i < 100; i++) if (send() === -ENOBUFS) refused++
  const burst = device.take().length
  assert.ok(burst > 10 && burst < 16, `${burst} at once`)
  assert.equal(device.statistics.txDropped, refused)
  assert.ok(refused > 0)
  // 100 frames of 1,250 bytes are a second's worth.
  net.run(0.2)
  const later = device.take().length
  assert.ok(Math.abs(later - 20) <= 1, `${later} in 200 ms`)
  net.run(10)
  assert.equal(burst + later + device.take().length, 100 - refused)
})

test('small packets that wait take no more memory than large ones', () => {
  const { net, device, send } = shaped(MBIT)
  let waiting = -device.stack!.packets.outstanding
  while (send(14) === 0);
  waiting += device.stack!.packets.outstanding
  assert.ok(waiting > 100 && waiting * 512 <= 256 << 10, `${waiting} wait`)
  net.run(10)
  assert.equal(device.stack!.packets.outstanding, 0)
})

test('packets that wait for a device that is set down are gone', () => {
  const { net, device, send } = shaped(MBIT)
  for (let i = 0; i < 30; i++) send()
  device.take()
  device.stack!.devices.setUp(device, false)
  net.run(10)
  assert.deepEqual(device.take(), [])
})

test('what comes in beyond a rate is dropped', () => {
  const policer = new Policer(8 * MBIT)
  let admitted = 0
  // Ten seconds of twice the rate.
  for (let ms = 0; ms < 10_000; ms++) {
    for (let i = 0; i < 2; i++) if (policer.admits(1000, ms * 1e6)) admitted++
  }
  assert.ok(Math.abs(admitted - 10_131) < 20, `${admitted}`)
})
