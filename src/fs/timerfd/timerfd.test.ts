import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  CLOCK_MONOTONIC,
  CLOCK_REALTIME,
  POLLIN,
  POLLRDNORM,
  TFD_TIMER_ABSTIME,
} from '../../abi/constants.ts'
import { EAGAIN } from '../../abi/errno.ts'
import { Timespec } from '../../base/clock.ts'
import { BufferDst } from '../../base/io.ts'
import { TestWorld } from '../../net/testing.ts'
import { TimerFdFile } from './timerfd.ts'

function make(clockId = CLOCK_MONOTONIC): [TestWorld, TimerFdFile] {
  const world = new TestWorld()
  const { anonFs, cred, clock, timers } = world
  return [world, new TimerFdFile(anonFs.path('anon_inode:[timerfd]', 0o600), 0, cred, clockId, clock, timers)]
}
function ticks(file: TimerFdFile): number {
  const dst = new BufferDst(new Uint8Array(8))
  const n = file.read(dst)
  return n < 0 ? n : new DataView(dst.bytes.buffer).getUint32(0, true)
}
function advance(world: TestWorld, ns: number): void {
  world.time += ns
  world.timers.expire(world.time)
}

test('timerfd: rings once and is disarmed', () => {
  const [world, file] = make()
  file.settime(0, new Timespec(0, 500), 0)
  assert.equal(file.gettime().value, 500)
  assert.equal(ticks(file), -EAGAIN)
  advance(world, 500)
  assert.equal(file.poll(), POLLIN | POLLRDNORM)
  assert.deepEqual(file.gettime(), { value: 0, interval: 0 })
  assert.equal(ticks(file), 1)
  assert.equal(ticks(file), -EAGAIN)
})

test('timerfd: a periodic one counts what nobody read, and wakes once', () => {
  const [world, file] = make()
  let woken = 0
  file.waitQueue.add({ woken: () => void woken++ })
  file.settime(0, new Timespec(0, 100), 50)
  advance(world, 100)
  advance(world, 130)
  assert.equal(woken, 1)
  assert.equal(ticks(file), 3)
  assert.equal(file.gettime().value, 20)
  advance(world, 20)
  assert.equal(ticks(file), 1)
})

test('timerfd: an absolute time in the past rings at once, setting anew forgets old ticks', () => {
  const [, file] = make()
  file.settime(TFD_TIMER_ABSTIME, new Timespec(0, 1), 0)
  assert.equal(ticks(file), 1)
  file.settime(TFD_TIMER_ABSTIME, new Timespec(0, 1), 0)
  file.settime(0, new Timespec(), 0)
  assert.equal(ticks(file), -EAGAIN)
})

test('timerfd: absolute wall-clock time', () => {
  const [world, file] = make(CLOCK_REALTIME)
  const now = world.clock.realtime()
  file.settime(TFD_TIMER_ABSTIME, new Timespec(now.sec + 2, now.nsec), 0)
  assert.equal(file.gettime().value, 2e9)
  advance(world, 2e9)
  assert.equal(ticks(file), 1)
})
