import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EINVAL } from '../../abi/errno.ts'
import { TestNet } from '../ip/testing.ts'
import { BridgeDevice } from '../link/bridge.ts'
import { bridgeFiles, setBridgeFile } from './bridge-files.ts'

test('bridge files: times are whole numbers, and a VLAN that is none is refused', () => {
  const stack = new TestNet().stack()
  const bridge = new BridgeDevice('br0', Uint8Array.of(2, 0, 0, 0, 0, 1))
  stack.devices.register(bridge)
  assert.equal(setBridgeFile(bridge, 'bridge/ageing_time', 7), 0)
  assert.equal(bridgeFiles(bridge)['bridge/ageing_time'], '7')
  assert.equal(setBridgeFile(bridge, 'bridge/default_pvid', 0x10005), -EINVAL)
  assert.equal(setBridgeFile(bridge, 'bridge/default_pvid', 5), 0)
  assert.equal(bridgeFiles(bridge)['bridge/default_pvid'], '5')
})
