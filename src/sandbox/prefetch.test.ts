import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NR } from '../abi/syscall-numbers.ts'
import { syscallRows } from '../syscalls/table.ts'
import { prefetchRules } from './prefetch.ts'

const rules = new Map(prefetchRules(syscallRows).map(rule => [rule.nr, rule.args]))

for (const [name, index, rule] of [
  ['openat', 1, { kind: 'string' }],
  ['write', 1, { kind: 'buffer', lengthArg: 2, unit: 1 }],
  ['poll', 0, { kind: 'buffer', lengthArg: 1, unit: 8 }],
  ['select', 2, { kind: 'bits', lengthArg: 0 }],
  ['pselect6', 5, { kind: 'struct', size: 16 }],
  ['writev', 1, { kind: 'vector', lengthArg: 2, unit: 16 }],
  ['readv', 1, { kind: 'buffer', lengthArg: 2, unit: 16 }],
  ['connect', 1, { kind: 'buffer', lengthArg: 2, unit: 1 }],
  ['sendto', 4, { kind: 'buffer', lengthArg: 5, unit: 1 }],
  ['recvfrom', 5, { kind: 'struct', size: 4 }],
  ['read', 1, undefined],
] as const) {
  test(`prefetch: argument ${index} of ${name} ${rule === undefined ? 'stays' : 'comes along'}`, () => {
    assert.deepEqual(rules.get(NR[name])?.[index], rule)
  })
}
