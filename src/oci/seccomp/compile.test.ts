import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  AUDIT_ARCH_X86_64,
  SECCOMP_FILTER_FLAG_LOG,
  SECCOMP_RET_ALLOW,
  SECCOMP_RET_ERRNO,
  SECCOMP_RET_KILL_PROCESS,
  SECCOMP_RET_KILL_THREAD,
  SECCOMP_RET_LOG,
  SECCOMP_RET_TRACE,
  SECCOMP_RET_TRAP,
} from '../../abi/constants.ts'
import { EACCES, ENOSYS, EPERM } from '../../abi/errno.ts'
import { NR } from '../../abi/syscall-numbers.ts'
import { failed } from '../../base/result.ts'
import { BpfProgram, DATA_WORDS } from '../../kernel/seccomp/bpf.ts'
import type { SeccompArgument, SeccompConfig, SeccompRule } from '../config.ts'
import { compileSeccomp } from './compile.ts'

const I386 = 0x40000003
const X32 = 0x40000000

/** A dozen of the entries of Docker's default profile, with its kinds of conditions. */
const DOCKER: SeccompConfig = {
  defaultAction: 'SCMP_ACT_ERRNO',
  defaultErrnoRet: EPERM,
  architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
  syscalls: [
    {
      names: [
        'accept',
        'access',
        'arch_prctl',
        'bind',
        'brk',
        'close',
        'execve',
        'exit',
        'exit_group',
        'fork',
      ],
      action: 'SCMP_ACT_ALLOW',
    },
    {
      names: ['futex', 'getpid', 'mmap', 'mprotect', 'munmap', 'openat', 'read', 'write'],
      action: 'SCMP_ACT_ALLOW',
    },
    { names: ['_llseek', 'chown32', 'futex_time64', 'ugetrlimit'], action: 'SCMP_ACT_ALLOW' },
    { names: ['process_vm_readv', 'process_vm_writev', 'ptrace'], action: 'SCMP_ACT_ALLOW' },
    { names: ['socket'], action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value: 40, op: 'SCMP_CMP_NE' }] },
    ...[0, 8, 0x20000, 0x20008, 0xffffffff].map(
      (value): SeccompRule => ({
        names: ['personality'],
        action: 'SCMP_ACT_ALLOW',
        args: [{ index: 0, value, op: 'SCMP_CMP_EQ' }],
      }),
    ),
    {
      names: ['clone'],
      action: 'SCMP_ACT_ALLOW',
      args: [{ index: 0, value: 2114060288, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
    },
    { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS },
    { names: ['openat2', 'faccessat2'], action: 'SCMP_ACT_ALLOW' },
  ],
}

interface Call {
  readonly nr: number
  readonly arch?: number
  readonly args?: readonly bigint[]
}

function verdictOf(config: SeccompConfig): (call: Call) => number {
  const { program } = compileSeccomp(config)
  const bytes = new Uint8Array(program.length * 2)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < program.length; i += 4) {
    view.setUint16(2 * i, program[i], true)
    view.setUint8(2 * i + 2, program[i + 1])
    view.setUint8(2 * i + 3, program[i + 2])
    view.setUint32(2 * i + 4, program[i + 3], true)
  }
  const checked = BpfProgram.check(bytes)
  assert.ok(!failed(checked), 'the kernel takes the program')
  return ({ nr, arch = AUDIT_ARCH_X86_64, args = [] }) => {
    const data = new Uint32Array(DATA_WORDS)
    data[0] = nr
    data[1] = arch
    args.forEach((value, i) => {
      data[4 + 2 * i] = Number(value & 0xffffffffn)
      data[5 + 2 * i] = Number(value >> 32n)
    })
    return checked.run(data) >>> 0
  }
}

const ACTIONS: Readonly<Record<string, number>> = {
  SCMP_ACT_ALLOW: SECCOMP_RET_ALLOW,
  SCMP_ACT_LOG: SECCOMP_RET_LOG,
  SCMP_ACT_TRAP: SECCOMP_RET_TRAP,
  SCMP_ACT_KILL: SECCOMP_RET_KILL_THREAD,
  SCMP_ACT_KILL_PROCESS: SECCOMP_RET_KILL_PROCESS,
}

/** The profile's meaning, read from it as it stands. */
function evaluate(config: SeccompConfig, { nr, args = [] }: Call): number {
  const code = (action: string, errno = EPERM) =>
    action === 'SCMP_ACT_ERRNO'
      ? SECCOMP_RET_ERRNO | errno
      : action === 'SCMP_ACT_TRACE'
        ? SECCOMP_RET_TRACE | errno
        : ACTIONS[action]
  const fallback = code(config.defaultAction, config.defaultErrnoRet)
  const rules = config.syscalls ?? []
  const numbers = rules.flatMap(rule => rule.names.map(name => NR[name as keyof typeof NR] ?? -1))
  const permissive = ['SCMP_ACT_ALLOW', 'SCMP_ACT_LOG', 'SCMP_ACT_TRACE'].includes(config.defaultAction)
  if (!permissive && nr > Math.max(...numbers)) return SECCOMP_RET_ERRNO | ENOSYS
  const mine = rules
    .filter(rule => rule.names.some(name => NR[name as keyof typeof NR] === nr))
    .map(rule => ({ args: rule.args ?? [], action: code(rule.action, rule.errnoRet) }))
    .filter(rule => rule.action !== fallback)
  const unconditional = mine.find(rule => rule.args.length === 0)
  if (unconditional !== undefined) return unconditional.action
  const holds = ({ index, op, value, valueTwo = 0 }: SeccompArgument) => {
    const [actual, wanted] = [args[index] ?? 0n, BigInt(value)]
    switch (op) {
      case 'SCMP_CMP_NE':
        return actual !== wanted
      case 'SCMP_CMP_LT':
        return actual < wanted
      case 'SCMP_CMP_LE':
        return actual <= wanted
      case 'SCMP_CMP_EQ':
        return actual === wanted
      case 'SCMP_CMP_GE':
        return actual >= wanted
      case 'SCMP_CMP_GT':
        return actual > wanted
      default:
        return (actual & wanted) === BigInt(valueTwo)
    }
  }
  const matches = (list: readonly SeccompArgument[]) =>
    new Set(list.map(each => each.index)).size === list.length ? list.every(holds) : list.some(holds)
  return mine.find(rule => matches(rule.args))?.action ?? fallback
}

/** The same numbers in each run. */
function generator(seed: number): (below: number) => number {
  return below => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
    return Math.floor((seed / 2 ** 32) * below)
  }
}

test("seccomp: Docker's profile decides as it stands there", () => {
  const verdict = verdictOf(DOCKER)
  const random = generator(1)
  const words = [0n, 1n, 8n, 40n, 0x20000n, 0xffffffffn, 0x100000000n, 0x7e020000n, 0x10000000n, 17n]
  for (let nr = 0; nr < 480; nr++) {
    for (let i = 0; i < 20; i++) {
      const call = { nr, args: Array.from({ length: 6 }, () => words[random(words.length)]) }
      assert.equal(verdict(call), evaluate(DOCKER, call) >>> 0, `${nr}(${call.args.join(', ')})`)
    }
  }
})

test('seccomp: random profiles with every operator decide as they stand there', () => {
  const random = generator(7)
  const pick = <T>(list: readonly T[]): T => list[random(list.length)]
  const operators = ['NE', 'LT', 'LE', 'EQ', 'GE', 'GT', 'MASKED_EQ'].map(op => `SCMP_CMP_${op}`)
  const actions = ['ALLOW', 'LOG', 'TRAP', 'KILL', 'KILL_PROCESS', 'ERRNO', 'TRACE'].map(
    each => `SCMP_ACT_${each}`,
  )
  const values = [0n, 1n, 2n, 0xffffffffn, 0x100000000n, 0x100000001n, 0x200000000n, 0xffffffffffffffffn]
  const names = Object.keys(NR).slice(0, 60)
  for (let round = 0; round < 60; round++) {
    const config: SeccompConfig = {
      defaultAction: pick(actions),
      syscalls: Array.from({ length: 25 }, () => ({
        names: [pick(names), pick(names)],
        action: pick(actions),
        errnoRet: pick([EPERM, EACCES]),
        args: Array.from({ length: random(4) }, () => ({
          index: random(3),
          op: pick(operators),
          value: pick(values),
          valueTwo: pick(values),
        })),
      })),
    }
    const verdict = verdictOf(config)
    for (let i = 0; i < 600; i++) {
      const call = { nr: random(70), args: [pick(values), pick(values), pick(values)] }
      assert.equal(verdict(call), evaluate(config, call) >>> 0)
    }
  }
})

test('seccomp: a profile of 300 names becomes a tree, not a list', () => {
  const names = Object.keys(NR).filter((_, i) => i % 3 !== 0)
  const { program } = compileSeccomp({
    defaultAction: 'SCMP_ACT_ERRNO',
    syscalls: [{ names, action: 'SCMP_ACT_ALLOW' }],
  })
  const longest = (at: number): number => {
    const [code, ifTrue, ifFalse] = program.slice(4 * at)
    if ((code & 7) === 6) return 1
    if ((code & 7) !== 5) return 1 + longest(at + 1)
    if ((code & 0xf0) === 0) return 1 + longest(at + 1 + program[4 * at + 3])
    return 1 + Math.max(longest(at + 1 + ifTrue), longest(at + 1 + ifFalse))
  }
  assert.ok(longest(0) < 30, `${longest(0)} instructions on the longest path`)
})

test('seccomp: calls of another architecture end the thread; x32 is judged only where the profile lists it', () => {
  const verdict = verdictOf(DOCKER)
  assert.equal(verdict({ nr: NR.read, arch: I386 }), SECCOMP_RET_KILL_THREAD)
  assert.equal(verdict({ nr: NR.read + X32 }), SECCOMP_RET_ALLOW)
  const withoutX32 = verdictOf({ ...DOCKER, architectures: [] })
  assert.equal(withoutX32({ nr: NR.read + X32 }), SECCOMP_RET_KILL_THREAD)
  assert.equal(withoutX32({ nr: NR.read }), SECCOMP_RET_ALLOW)
})

test('seccomp: flags are passed on', () => {
  const { flags } = compileSeccomp({ ...DOCKER, flags: ['SECCOMP_FILTER_FLAG_LOG'] })
  assert.equal(flags, SECCOMP_FILTER_FLAG_LOG)
})

test('seccomp: what would need somebody to ask is refused by name', () => {
  const notify = { ...DOCKER, syscalls: [{ names: ['mount'], action: 'SCMP_ACT_NOTIFY' }] }
  assert.throws(() => compileSeccomp(notify), /linux\.seccomp\.syscalls\[0\]\.action .* SCMP_ACT_NOTIFY/)
  const flags = ['SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV']
  assert.throws(() => compileSeccomp({ ...DOCKER, flags }), /WAIT_KILLABLE_RECV/)
})
