import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ETH_P_8021Q, IFLA_VXLAN_LINK, NUD_NOARP, NUD_PERMANENT, NUD_REACHABLE } from '../../abi/constants.ts'
import { ELOOP, ENOSPC } from '../../abi/errno.ts'
import { IpAddress } from '../address.ts'
import { TestNet } from '../ip/testing.ts'
import type { IpStack } from '../ip-stack.ts'
import { vxlanKind } from '../netlink/kinds/vxlan.ts'
import { Attributes } from '../netlink/message.ts'
import type { NetlinkRequest } from '../netlink/protocol.ts'
import { checkNesting } from './nesting.ts'
import { randomMac, vethPair } from './veth.ts'
import { VlanDevice } from './vlan.ts'
import { VxlanDevice } from './vxlan.ts'

function vxlan(stack: IpStack): VxlanDevice {
  const device = new VxlanDevice('vx0', stack, 5, 4789, randomMac(stack.random))
  stack.devices.register(device)
  return device
}

/** Attributes of 32 bits. */
function words(...pairs: readonly (readonly [number, number])[]): Attributes {
  const view = new DataView(new ArrayBuffer(8 * pairs.length))
  for (const [i, [type, value]] of pairs.entries()) {
    view.setUint16(8 * i, 8, true)
    view.setUint16(8 * i + 2, type, true)
    view.setUint32(8 * i + 4, value, true)
  }
  return new Attributes(new Uint8Array(view.buffer))
}

test('vxlan: it cannot be laid over what stands over it', () => {
  const net = new TestNet(1)
  const stack = net.stack()
  const device = vxlan(stack)
  const vlan = new VlanDevice('vx0.5', device, randomMac(stack.random), 5, ETH_P_8021Q)
  stack.devices.register(vlan)
  const request = {} as NetlinkRequest
  assert.equal(vxlanKind.change!(device, words([IFLA_VXLAN_LINK, vlan.index]), request), -ELOOP)
  assert.equal(vxlanKind.change!(device, words([IFLA_VXLAN_LINK, device.index]), request), -ELOOP)
  assert.equal(checkNesting(undefined, vlan), 0)
  stack.devices.unregister(device)
  device.close()
  assert.equal(vlan.stack, undefined)
})

test('vxlan: the device below forgets it, wherever that is by then', () => {
  const net = new TestNet(1)
  const [stack, other] = [net.stack(), net.stack()]
  const [near] = vethPair(stack.random, 'v0', 'v1')
  stack.devices.register(near)
  const device = vxlan(stack)
  device.layOver(near)
  assert.deepEqual(device.below, [near])
  stack.devices.unregister(near)
  other.devices.register(near)
  stack.devices.unregister(device)
  device.close()
  assert.deepEqual(near.uppers, [])
})

test('vxlan: stations have a bounded number of ends in all, whatever limit was given', () => {
  const device = vxlan(new TestNet(1).stack())
  device.limit = 0xffffffff
  const end = device.end(IpAddress.of('192.0.2.1'))
  const many = new Array(4096).fill(end)
  for (let i = 0; i < 16; i++) assert.equal(device.enter(i, [...many], NUD_PERMANENT | NUD_NOARP), 0)
  assert.equal(device.enter(16, [end], NUD_REACHABLE), -ENOSPC)
  device.forgetEnd(0, 1)
  assert.equal(device.enter(16, [end], NUD_REACHABLE), 0)
  assert.equal(device.enter(16, [end, end], NUD_REACHABLE), -ENOSPC)
  for (let i = 0; i < 4095; i++) device.forgetEnd(0, 0)
  assert.equal(device.stations.has(0), false)
  device.forget(1)
  assert.equal(device.enter(0, [...many], NUD_PERMANENT), 0)
})

test('vxlan: what goes to an end has a source of ours, whatever the address of the end is', () => {
  const device = vxlan(new TestNet(1).stack())
  const v6 = IpAddress.of('fd00::1234:56ff:fe78:9abc')
  assert.ok(device.end(v6).flow.source.isAny)
  assert.ok(device.end(IpAddress.of('192.0.2.1')).flow.source.isAny)
  assert.equal(device.end(IpAddress.of('192.0.2.1')).flow.source.isV4, true)
})
