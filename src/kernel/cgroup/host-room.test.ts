import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Host } from '../../platform/host.ts'
import { HostRoom } from './host-room.ts'

function machine(): { host: Host; available: number; looks: number } {
  const state = { available: 1 << 20, looks: 0, host: {} as Host }
  state.host = {
    fact: () => {
      state.looks++
      return `MemTotal: 9 kB\nMemAvailable:   ${state.available} kB\nSwapFree:        0 kB\n`
    },
  } as unknown as Host
  return state
}

test('pages of files are refused before the machine has none left', () => {
  const state = machine()
  const room = new HostRoom(state.host)
  assert.equal(room.take(1000), true)
  assert.equal(room.take(1 << 28), false, 'a terabyte')
  assert.equal(room.take(1000), true, 'and that takes nothing from others')
  state.available = 30 << 10
  let taken = 0
  while (room.take(1000)) taken += 1000
  assert.ok(taken <= (1 << 18) / 4 + 2000, `${taken} pages after the memory went`)
})

test('it is not looked at the machine for each page', () => {
  const state = machine()
  const room = new HostRoom(state.host)
  for (let i = 0; i < 10000; i++) assert.equal(room.take(1), true)
  assert.ok(state.looks < 5, `${state.looks} looks`)
})

test('where the host tells nothing there is room', () => {
  const room = new HostRoom({ fact: () => '' } as unknown as Host)
  assert.equal(room.take(1 << 30), true)
  assert.equal(room.take(1 << 30), true)
})
