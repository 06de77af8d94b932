import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ETH_P_IP } from '../../abi/constants.ts'
import { EINVAL } from '../../abi/errno.ts'
import { IpAddress } from '../address.ts'
import { TestNet } from '../ip/testing.ts'
import { IpTunnelDevice } from './ip-tunnel.ts'

test('ipip: what has no whole header is not sent', () => {
  const stack = new TestNet(1).stack()
  const tunnel = new IpTunnelDevice('ipip', 'tun0', stack)
  tunnel.remote = IpAddress.of('127.0.0.1')
  tunnel.aim()
  stack.devices.register(tunnel)
  assert.equal(stack.devices.setUp(tunnel, true), 0)
  const packet = stack.packets.allocate(8)
  packet.bytes[packet.append(8)] = 0x45
  packet.networkProtocol = ETH_P_IP
  assert.equal(stack.transmit(tunnel, packet), -EINVAL)
  assert.equal(tunnel.statistics.txErrors, 1)
})

test('ipip: it takes nothing out of IPv6', () => {
  const net = new TestNet(1)
  const stack = net.stack()
  const below = net.recorder(stack, 'fd00::1/64')
  const tunnel = new IpTunnelDevice('ipip', 'tun0', stack)
  stack.devices.register(tunnel)
  stack.devices.setUp(tunnel, true)
  net.run(5)
  below.take()
  const frame = new Uint8Array(14 + 40 + 20)
  frame.set([...below.address, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 4, 64])
  frame.set(IpAddress.of('fd00::9').bytes(), 22)
  frame.set(IpAddress.of('fd00::1').bytes(), 38)
  frame[54] = 0x45
  below.inject(frame)
  assert.equal(tunnel.statistics.rxPackets, 0)
  assert.deepEqual(below.take(), [])
})
