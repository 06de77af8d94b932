import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  IP_TRANSPARENT,
  IPV6_TRANSPARENT,
  MSG_FASTOPEN,
  SO_ATTACH_BPF,
  SO_ATTACH_FILTER,
  SO_ATTACH_REUSEPORT_CBPF,
  SO_ATTACH_REUSEPORT_EBPF,
  SO_BINDTODEVICE,
  SO_BINDTOIFINDEX,
  SO_MARK,
  SO_RCVBUFFORCE,
  SO_SNDBUFFORCE,
  SO_ZEROCOPY,
  SOL_IP,
  SOL_IPV6,
  SOL_SOCKET,
  SOL_TCP,
  TCP_MD5SIG,
  TCP_REPAIR,
  TCP_ULP,
} from '../abi/constants.ts'
import { NR, SYSCALL_NAMES } from '../abi/syscall-numbers.ts'
import { PASSED_OPTIONS } from '../net/host/option-table.ts'
import { hostCalls } from './host-calls.ts'
import { LINK_CALLS, NETWORK_CALLS, networkCalls } from './network-calls.ts'

test('network calls: what reaches beyond a socket is not among the options that can be set', () => {
  const wrong: readonly [number, number][] = [
    [SOL_SOCKET, SO_MARK],
    [SOL_SOCKET, SO_BINDTODEVICE],
    [SOL_SOCKET, SO_BINDTOIFINDEX],
    [SOL_SOCKET, SO_SNDBUFFORCE],
    [SOL_SOCKET, SO_RCVBUFFORCE],
    [SOL_SOCKET, SO_ATTACH_FILTER],
    [SOL_SOCKET, SO_ATTACH_BPF],
    [SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF],
    [SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF],
    [SOL_SOCKET, SO_ZEROCOPY],
    [SOL_IP, IP_TRANSPARENT],
    [SOL_IPV6, IPV6_TRANSPARENT],
    [SOL_TCP, TCP_REPAIR],
    [SOL_TCP, TCP_ULP],
    [SOL_TCP, TCP_MD5SIG],
  ]
  for (const [level, name] of wrong) {
    const options = PASSED_OPTIONS.find(each => each.level === level)!
    assert.ok(![...options.both, ...options.set].includes(name), `${level} ${name}`)
  }
})

test('network calls: all but the plain ones look at their arguments, and each says why', () => {
  const plain = NETWORK_CALLS.filter(call => call.when === undefined).map(call => SYSCALL_NAMES[call.nr])
  assert.deepEqual(plain.sort(), [
    'accept4',
    'bind',
    'connect',
    'getpeername',
    'getsockname',
    'listen',
    'sendmsg',
    'shutdown',
  ])
  for (const { nr, why } of NETWORK_CALLS) assert.ok(why.length > 0, String(SYSCALL_NAMES[nr]))
})

test('network calls: a link of the kernel’s own network takes none that a sentry does not have anyway', () => {
  assert.deepEqual(networkCalls('sandbox'), [])
  const always = hostCalls({ writable: false, chmod: 'fchmodat2', inotify: -1 })
  const plain = new Set<number>(always.filter(call => call.when === undefined).map(call => call.nr))
  for (const { nr } of LINK_CALLS) assert.ok(plain.has(nr), String(nr))
})

test('network calls: no socket that the broker has made can be connected to somewhere else', () => {
  const calls = [...hostCalls({ writable: true, chmod: 'fchmodat2', inotify: 3 }), ...networkCalls('user')]
  const forbidden: number[] = [NR.socket, NR.connect, NR.bind, NR.listen, NR.sendto, NR.sendmmsg]
  for (const { nr } of calls) assert.ok(!forbidden.includes(nr), String(nr))
  const sends = calls.filter(call => call.nr === NR.sendmsg)
  assert.equal(sends.length, 1)
  const [[flags]] = sends[0].when!
  assert.equal(flags.arg, 2)
  assert.notEqual(flags.mask! & MSG_FASTOPEN, 0)
})
