import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ETH_P_8021Q } from '../../abi/constants.ts'
import { ELOOP, EMLINK } from '../../abi/errno.ts'
import { TestNet } from '../ip/testing.ts'
import { BridgeDevice } from './bridge.ts'
import type { NetDevice } from './device.ts'
import { checkNesting } from './nesting.ts'
import { randomMac, vethPair } from './veth.ts'
import { VlanDevice } from './vlan.ts'

test('devices stand over each other neither in a circle nor without end', () => {
  const net = new TestNet(1)
  const stack = net.stack()
  const { random } = net.runtime
  const bridge = new BridgeDevice('br0', randomMac(random))
  stack.devices.register(bridge)
  const own = new VlanDevice('br0.5', bridge, randomMac(random), 5, ETH_P_8021Q)
  stack.devices.register(own)
  assert.equal(bridge.addPort(own), -ELOOP)
  const [near, far] = vethPair(random, 'v0', 'v1')
  for (const end of [near, far]) stack.devices.register(end)
  let top: NetDevice = near
  for (let i = 0; i < 8; i++) {
    assert.equal(checkNesting(undefined, top), 0)
    top = new VlanDevice(`${i}`, top, randomMac(random), 5, ETH_P_8021Q)
    stack.devices.register(top)
  }
  assert.equal(checkNesting(undefined, top), -EMLINK)
  assert.equal(bridge.addPort(top), -EMLINK)
  assert.equal(bridge.addPort(near), 0)
})
