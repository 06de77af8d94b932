import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IFF_TAP, O_RDWR, S_IFCHR } from '../../abi/constants.ts'
import { TestNet } from '../ip/testing.ts'
import { TestWorld } from '../testing.ts'
import { makeTun, TunDevice } from './tun-device.ts'
import { TunFile } from './tun-file.ts'

test('tun: packets that nobody reads take no more memory than the queue has, however many the guest allows', () => {
  const stack = new TestNet().stack()
  const world = new TestWorld()
  const file = new TunFile(world.anonFs.path('tun', S_IFCHR | 0o666), O_RDWR, world.cred, world.net, stack)
  const device = makeTun(stack, '', IFF_TAP, 0)
  assert.ok(device instanceof TunDevice)
  device.queues.push(file)
  file.device = device
  device.txQueueLength = 0xffffffff
  let memory = 0
  for (;;) {
    const packet = stack.packets.allocate(14)
    packet.append(14)
    if (device.send(packet) < 0) break
    memory += packet.bytes.length
    assert.ok(memory <= 4 << 20)
  }
  assert.ok(memory > 3 << 20)
  assert.equal(stack.packets.outstanding, memory / 512)
  file.release()
  assert.equal(stack.packets.outstanding, 0)
})
