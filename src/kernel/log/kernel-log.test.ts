import assert from 'node:assert/strict'
import test from 'node:test'
import { type Clock, Timespec } from '../../base/clock.ts'
import { formatExtended, formatRecord, KernelLog, LOG_BUFFER_SIZE, LOGLEVEL_INFO } from './kernel-log.ts'
import { RateLimit } from './rate-limit.ts'
import { newestRecords, takeUnread, unreadSize } from './syslog.ts'

class TestClock implements Clock {
  ns = 12_345_678_000
  monotonic(): number {
    return this.ns
  }
  boottime(): number {
    return this.ns
  }
  realtime(): Timespec {
    return new Timespec(0, 0)
  }
}

function newLog(): KernelLog {
  const log = new KernelLog(new TestClock(), '6.12.0')
  log.reader = log.end
  log.cleared = log.end
  return log
}

test('kernel log: a record has priority, number and time', () => {
  const log = newLog()
  log.put(LOGLEVEL_INFO, 'one')
  log.append(1, 4, 'two\n\\lines\xe4')
  assert.equal(formatRecord(log.at(1)!), '<6>[   12.345678] one\n')
  assert.equal(formatExtended(log.at(1)!), '6,1,12345678,-;one\n')
  assert.equal(formatRecord(log.at(2)!), '<12>[   12.345678] two\n<12>[   12.345678] \\lines\xe4\n')
  assert.equal(formatExtended(log.at(2)!), '12,2,12345678,-;two\\x0a\\x5clines\\xe4\n')
})

test('kernel log: the oldest records go when it is full', () => {
  const log = newLog()
  const text = 'x'.repeat(1000)
  for (let i = 0; i < 1000; i++) log.put(LOGLEVEL_INFO, text)
  assert.equal(log.end, 1001)
  assert.ok(log.end - log.first <= LOG_BUFFER_SIZE / 1000)
  assert.equal(log.at(0)?.sequence, log.first)
  assert.equal(log.at(log.end), undefined)
})

test('kernel log: a reader with little room gets a record in pieces', () => {
  const log = newLog()
  log.put(LOGLEVEL_INFO, 'first')
  log.put(LOGLEVEL_INFO, 'second')
  const whole = newestRecords(log, 1000)
  assert.equal(unreadSize(log), whole.length)
  assert.equal(takeUnread(log, 10), whole.slice(0, 10))
  assert.equal(unreadSize(log), whole.length - 10)
  assert.equal(takeUnread(log, 10), whole.slice(10, 20))
  assert.equal(takeUnread(log, 1000), whole.slice(20))
  assert.equal(takeUnread(log, 1000), '')
})

test('kernel log: of what does not fit the newest is shown', () => {
  const log = newLog()
  log.put(LOGLEVEL_INFO, 'first')
  log.put(LOGLEVEL_INFO, 'second')
  assert.equal(newestRecords(log, 30), '<6>[   12.345678] second\n')
  log.cleared = log.end
  assert.equal(newestRecords(log, 1000), '')
})

test('rate limit: ten at once, and again after five seconds', () => {
  const clock = new TestClock()
  const limit = new RateLimit(clock)
  const passed = () => Array.from({ length: 20 }, () => limit.pass()).filter(pass => pass).length
  assert.equal(passed(), 10)
  clock.ns += 4e9
  assert.equal(passed(), 0)
  clock.ns += 2e9
  assert.equal(passed(), 10)
})
