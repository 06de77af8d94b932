import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MACVLAN_MODE_BRIDGE } from '../../abi/constants.ts'
import { TestNet } from '../ip/testing.ts'
import { MacvlanDevice } from './macvlan.ts'
import { randomMac, vethPair } from './veth.ts'

test('macvlan: what a station gets from one in another namespace knows nothing of that', () => {
  const net = new TestNet(1)
  const [host, guest] = [net.stack(), net.stack()]
  const { random } = net.runtime
  const [near, far] = vethPair(random, 'v0', 'v1')
  for (const device of [near, far]) {
    host.devices.register(device)
    host.devices.setUp(device, true)
  }
  const [here, there] = [host, guest].map(stack => {
    const device = new MacvlanDevice('mac0', near, randomMac(random), MACVLAN_MODE_BRIDGE)
    stack.devices.register(device)
    assert.equal(stack.devices.setUp(device, true), 0)
    return device
  })
  net.run(5)
  const seen: [number, unknown][] = []
  host.taps.push({
    seen: (device, { mark, connection }) => {
      if (device === here) seen.push([mark, connection])
    },
  })
  for (const to of [here.address, new Uint8Array(6).fill(0xff)]) {
    const frame = guest.packets.allocate(60)
    const at = frame.append(60)
    frame.bytes.set(to, at)
    frame.bytes.set(there.address, at + 6)
    frame.mark = 7
    frame.connection = guest
    guest.transmit(there, frame)
  }
  net.run(0)
  assert.deepEqual(seen, [
    [0, undefined],
    [0, undefined],
  ])
})
