import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Connection } from './connection.ts'
import { ConnectionCount } from './count.ts'

test('connections that are over are forgotten, also by a count whose limit is never reached', () => {
  const count = new ConnectionCount()
  let looked = 0
  const over = (): Connection => {
    const connection = {
      get confirmed(): boolean {
        looked++
        return false
      },
    }
    return connection as unknown as Connection
  }
  for (let i = 0; i < 10_000; i++) assert.ok(!count.exceeds(0xffffffff, over(), 0))
  looked = 0
  assert.ok(count.isOver(0))
  assert.ok(looked <= 2048, `${looked} were kept`)
})
