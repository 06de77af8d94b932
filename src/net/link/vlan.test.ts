import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ETH_P_8021Q } from '../../abi/constants.ts'
import { TestNet } from '../ip/testing.ts'
import { BridgeDevice } from './bridge.ts'
import { randomMac, vethPair } from './veth.ts'
import { VlanDevice } from './vlan.ts'

test('vlan: a frame that a bridge sends in a circle gets as many tags as fit into the link', () => {
  const net = new TestNet(1)
  const stack = net.stack()
  const { random } = net.runtime
  const bridge = new BridgeDevice('br0', randomMac(random))
  const [near, far] = vethPair(random, 'v0', 'v1')
  for (const device of [bridge, near, far]) stack.devices.register(device)
  const vlan = new VlanDevice('v0.5', near, randomMac(random), 5, ETH_P_8021Q)
  stack.devices.register(vlan)
  for (const device of [bridge, near, far, vlan]) assert.equal(stack.devices.setUp(device, true), 0)
  for (const port of [far, vlan]) assert.equal(bridge.addPort(port), 0)
  net.run(0)
  const frame = stack.packets.allocate(60)
  frame.bytes.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 0x88, 0xb5], frame.append(60))
  stack.transmit(vlan, frame)
  net.run(0)
  const { txPackets, txBytes } = vlan.statistics
  assert.ok(txPackets > 300, `${txPackets} times`)
  assert.ok(txBytes > txPackets * 60)
})
