import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ETH_HLEN, ETH_P_IP, IPVLAN_MODE_L3 } from '../../abi/constants.ts'
import { addRoute, TestNet } from '../ip/testing.ts'
import { IpvlanDevice } from './ipvlan.ts'
import { vethPair } from './veth.ts'

test('ipvlan: what the routes of the device below lead back to the station is lost, not sent for ever', () => {
  const net = new TestNet(1)
  const stack = net.stack()
  const [near, far] = vethPair(net.runtime.random, 'v0', 'v1')
  for (const device of [near, far]) {
    stack.devices.register(device)
    stack.devices.setUp(device, true)
  }
  const station = new IpvlanDevice('ipvl0', near)
  station.port.mode = IPVLAN_MODE_L3
  station.modeChanged()
  stack.devices.register(station)
  assert.equal(stack.devices.setUp(station, true), 0)
  net.run(5)
  addRoute(stack, '10.9.0.0/16', station)
  const packet = stack.packets.allocate(60)
  const at = packet.append(60)
  packet.view.setUint16(at + 12, ETH_P_IP)
  packet.bytes.set([0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 1, 10, 9, 0, 1], at + ETH_HLEN)
  stack.transmit(station, packet)
  assert.equal(station.statistics.txDropped, 1)
  assert.equal(net.runtime.tunnelDepth, 0)
})
