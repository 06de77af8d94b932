import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ETH_P_8021Q } from '../../abi/constants.ts'
import { ELOOP, EMLINK } from '../../abi/errno.ts'
import { RecorderDevice, TestNet } from '../ip/testing.ts'
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

test('how deep devices stand is found by looking at each of them once', () => {
  let looks = 0
  class Layer extends RecorderDevice {
    lowers: NetDevice[] = []
    override get below(): readonly NetDevice[] {
      looks++
      return this.lowers
    }
  }
  const layers = Array.from({ length: 6 }, () => Array.from({ length: 20 }, () => new Layer()))
  for (const [i, layer] of layers.entries()) for (const device of layer) device.lowers = layers[i + 1] ?? []
  const top = new Layer()
  ;[top.lowers] = layers
  assert.equal(checkNesting(new Layer(), top), 0)
  // Twice: for a circle, and for the depth.
  assert.equal(looks, 2 * (1 + 6 * 20))
})
