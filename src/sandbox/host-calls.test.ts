import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET } from '../abi/constants.ts'
import { NR, SYSCALL_NAMES } from '../abi/syscall-numbers.ts'
import { assembleFilter, SECCOMP_TRAP } from '../platform/seccomp-program.ts'
import { hostCalls, REFUSED_CALLS } from './host-calls.ts'

const WAYS = ['fchmodat2', 'fchmodat', 'fchmod'] as const

test('host calls: a sentry can make at most 60, those for writable mounts among them', () => {
  for (const chmod of WAYS) {
    const numbers = hostCalls({ writable: true, chmod, inotify: 3 }).map(call => call.nr)
    assert.equal(new Set(numbers).size, numbers.length, 'one entry for each')
    assert.ok(numbers.length <= 60, `${numbers.length} calls`)
  }
})

test('host calls: a socket pair can be connected to nobody else, as one of datagrams could', () => {
  const pairs = hostCalls({ writable: true, chmod: 'fchmodat2', inotify: 3 }).find(
    call => call.nr === NR.socketpair,
  )
  assert.deepEqual(pairs?.when, [
    [
      { arg: 0, equals: AF_UNIX },
      { arg: 1, equals: SOCK_SEQPACKET | SOCK_CLOEXEC },
    ],
  ])
})

test('host calls: without anything to write to, or to watch, there are fewer', () => {
  const numbers = hostCalls({ writable: false, chmod: 'fchmodat2', inotify: -1 }).map(call => call.nr)
  assert.ok(numbers.length <= 50, `${numbers.length} calls`)
})

test('host calls: what is refused is not allowed as well, and each entry says why', () => {
  const calls = hostCalls({ writable: true, chmod: 'fchmodat2', inotify: 3 })
  for (const { nr } of REFUSED_CALLS)
    assert.ok(!calls.some(call => call.nr === nr), String(SYSCALL_NAMES[nr]))
  for (const { nr, why } of [...calls, ...REFUSED_CALLS]) assert.ok(why.length > 0, String(SYSCALL_NAMES[nr]))
  assert.ok(assembleFilter(calls, SECCOMP_TRAP, REFUSED_CALLS).length > 0)
})
