import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TestNet } from './testing.ts'

test('a packet whose processing fails is dropped, and the next one goes its way', () => {
  const net = new TestNet()
  const one = net.stack()
  const other = net.stack()
  const [, b] = net.join(one, other, ['10.0.0.1/24'], ['10.0.0.2/24'])
  const process = other.process.bind(other)
  const failures: string[] = []
  let seen = 0
  other.process = packet => {
    if (seen++ === 0) throw new Error('in a protocol')
    process(packet)
  }
  const frame = (): void => {
    const packet = net.runtime.packets.allocate(100)
    net.runtime.backlog.push(b, packet, 1000)
  }
  frame()
  assert.throws(() => net.runtime.backlog.drain(), /in a protocol/, 'nobody has said that it is survived')

  seen = 0
  net.runtime.backlog.failed = (device, error) => {
    failures.push(`${device.name}: ${error}`)
  }
  const dropped = b.statistics.rxDropped
  frame()
  frame()
  net.runtime.backlog.drain()
  assert.deepEqual(failures, [`${b.name}: Error: in a protocol`])
  assert.equal(b.statistics.rxDropped - dropped, 1)
  assert.ok(seen >= 2)
  assert.equal(net.runtime.backlog.length, 0)
})
