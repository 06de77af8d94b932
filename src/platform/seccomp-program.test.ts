import assert from 'node:assert/strict'
import { test } from 'node:test'
import { assembleFilter, type CallRule, refuseWith, SECCOMP_KILL_PROCESS } from './seccomp-program.ts'

const ALLOW = 0x7fff0000
const X86_64 = 0xc000003e
const RULES: readonly CallRule[] = [
  { nr: 0 },
  { nr: 53, when: [[{ arg: 0, equals: 1 }]] },
  {
    nr: 56,
    when: [
      [{ arg: 0, mask: 0x10100, equals: 0x10100 }],
      [
        { arg: 0, equals: 7 },
        { arg: 1, equals: 8 },
      ],
    ],
  },
  { nr: 60 },
  {
    nr: 54,
    when: [
      [
        { arg: 1, equals: 6 },
        { arg: 2, equals: [1, 3, 5] },
      ],
      [{ arg: 2, mask: 0xf, equals: [8, 9] }],
    ],
  },
  { nr: 54, when: [[{ arg: 1, equals: 41 }]] },
]
const program = assembleFilter(RULES, SECCOMP_KILL_PROCESS, [{ nr: 435, answer: refuseWith(38) }])

test('seccomp: a listed call is allowed, all others get the last answer', () => {
  assert.equal(answer(0), ALLOW)
  assert.equal(answer(60), ALLOW)
  assert.equal(answer(1), SECCOMP_KILL_PROCESS)
})

test('seccomp: the alternatives of a rule are tried in turn, each with all of its conditions', () => {
  assert.equal(answer(53, [1]), ALLOW)
  assert.equal(answer(53, [2]), SECCOMP_KILL_PROCESS)
  assert.equal(answer(56, [0x50f00 | 0x10100]), ALLOW)
  assert.equal(answer(56, [0x10000]), SECCOMP_KILL_PROCESS)
  assert.equal(answer(56, [7, 8]), ALLOW)
  assert.equal(answer(56, [7, 9]), SECCOMP_KILL_PROCESS)
})

test('seccomp: a condition may list values, and several rules for one call add up', () => {
  for (const name of [1, 3, 5]) assert.equal(answer(54, [0, 6, name]), ALLOW)
  for (const name of [0, 2, 4, 6]) assert.equal(answer(54, [0, 6, name]), SECCOMP_KILL_PROCESS)
  assert.equal(answer(54, [0, 7, 1]), SECCOMP_KILL_PROCESS)
  assert.equal(answer(54, [0, 6, 0x39]), ALLOW)
  assert.equal(answer(54, [0, 41, 2]), ALLOW)
})

test('seccomp: some calls fail with an errno in place of ending the sandbox', () => {
  assert.equal(answer(435), 0x00050000 | 38)
})

test('seccomp: other ABIs are refused whatever the number', () => {
  assert.equal(answer(0, [], 0x40000003), SECCOMP_KILL_PROCESS)
  assert.equal(answer(0x40000000), SECCOMP_KILL_PROCESS)
})

/** Runs the program as the kernel would. */
function answer(nr: number, args: readonly number[] = [], arch = X86_64): number {
  const view = new DataView(program.buffer)
  let accumulator = 0
  for (let pc = 0; ; pc++) {
    const code = view.getUint16(8 * pc, true)
    const k = view.getUint32(8 * pc + 4, true)
    const jump = (holds: boolean) => {
      pc += view.getUint8(8 * pc + (holds ? 2 : 3))
    }
    if (code === 0x20) accumulator = k === 0 ? nr : k === 4 ? arch : (args[(k - 16) / 8] ?? 0) >>> 0
    else if (code === 0x54) accumulator = (accumulator & k) >>> 0
    else if (code === 0x15) jump(accumulator === k)
    else if (code === 0x35) jump(accumulator >= k)
    else if (code === 0x06) return k
    else throw new Error(`unknown instruction ${code}`)
  }
}
