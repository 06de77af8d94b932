import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  IP_TRANSPARENT,
  IPV6_TRANSPARENT,
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
import { SYSCALL_NAMES } from '../abi/syscall-numbers.ts'
import { PASSED_OPTIONS } from '../net/host/option-table.ts'
import { NETWORK_CALLS } from './network-calls.ts'

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
    'shutdown',
  ])
  for (const { nr, why } of NETWORK_CALLS) assert.ok(why.length > 0, String(SYSCALL_NAMES[nr]))
})
