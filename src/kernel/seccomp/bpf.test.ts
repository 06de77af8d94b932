import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  BPF_A,
  BPF_ABS,
  BPF_ALU,
  BPF_DIV,
  BPF_IMM,
  BPF_JEQ,
  BPF_JMP,
  BPF_K,
  BPF_LD,
  BPF_LDX,
  BPF_MEM,
  BPF_MUL,
  BPF_NEG,
  BPF_RET,
  BPF_ST,
  BPF_W,
  BPF_X,
  SECCOMP_RET_ALLOW,
  SECCOMP_RET_ERRNO,
} from '../../abi/constants.ts'
import { EINVAL } from '../../abi/errno.ts'
import { failed } from '../../base/result.ts'
import { BpfProgram, DATA_WORDS, UNDECIDED } from './bpf.ts'
import { SeccompFilter } from './seccomp.ts'

type Line = readonly [code: number, jumpTrue: number, jumpFalse: number, k: number]

const ALLOW = SECCOMP_RET_ALLOW
const ERRNO = SECCOMP_RET_ERRNO | 1
const RETURN_A: Line = [BPF_RET | BPF_A, 0, 0, 0]
const load = (k: number): Line => [BPF_LD | BPF_IMM, 0, 0, k]
const returns = (k: number): Line => [BPF_RET | BPF_K, 0, 0, k]

function check(...lines: Line[]): BpfProgram | number {
  const bytes = new Uint8Array(lines.length * 8)
  const view = new DataView(bytes.buffer)
  lines.forEach(([code, jumpTrue, jumpFalse, k], i) => {
    view.setUint16(i * 8, code, true)
    view.setUint8(i * 8 + 2, jumpTrue)
    view.setUint8(i * 8 + 3, jumpFalse)
    view.setUint32(i * 8 + 4, k, true)
  })
  return BpfProgram.check(bytes)
}

function run(data: readonly number[], ...lines: Line[]): number {
  const program = check(...lines)
  assert.ok(!failed(program))
  const words = new Uint32Array(DATA_WORDS)
  words.set(data)
  return program.run(words)
}

test('bpf: arithmetic is that of unsigned 32-bit words', () => {
  assert.equal(run([], load(5), [BPF_ALU | BPF_NEG, 0, 0, 0], RETURN_A), 0xfffffffb)
  assert.equal(run([], load(0xffffffff), [BPF_ALU | BPF_MUL | BPF_K, 0, 0, 0xffffffff], RETURN_A), 1)
  assert.equal(run([], load(0xfffffffe), [BPF_ALU | BPF_DIV | BPF_K, 0, 0, 3], RETURN_A), 0x55555554)
})

test('bpf: a division by an X of zero ends the program with zero', () => {
  assert.equal(run([], load(7), [BPF_ALU | BPF_DIV | BPF_X, 0, 0, 0], returns(9)), 0)
})

test('bpf: loads are words of the data, jumps are relative', () => {
  const program: Line[] = [
    [BPF_LD | BPF_W | BPF_ABS, 0, 0, 8],
    [BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 0xdeadbeef],
    returns(1),
    returns(2),
  ]
  assert.equal(run([0, 0, 0xdeadbeef], ...program), 2)
  assert.equal(run([0, 0, 0xdeadbeee], ...program), 1)
})

test('bpf: memory that only one branch has written may not be read', () => {
  const branch: Line = [BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0]
  const store: Line = [BPF_ST, 0, 0, 3]
  const read: Line = [BPF_LDX | BPF_MEM, 0, 0, 3]
  assert.equal(check(branch, store, read, RETURN_A), -EINVAL)
  assert.ok(!failed(check(store, branch, store, read, RETURN_A)))
})

test('bpf: a program ends with a return and jumps nowhere behind it', () => {
  assert.equal(check(load(1)), -EINVAL)
  assert.equal(check([BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0], returns(0)), -EINVAL)
  assert.equal(check(), -EINVAL)
})

test('bpf: a verdict is had without the arguments exactly where the program does not look at them', () => {
  const program = check(
    [BPF_LD | BPF_W | BPF_ABS, 0, 0, 0],
    [BPF_JMP | BPF_JEQ | BPF_K, 0, 3, 7],
    [BPF_LD | BPF_W | BPF_ABS, 0, 0, 16],
    [BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 1],
    returns(1),
    returns(2),
  )
  assert.ok(!failed(program))
  const words = new Uint32Array(DATA_WORDS)
  words[0] = 7
  assert.equal(program.run(words, 2), UNDECIDED)
  words[0] = 8
  assert.equal(program.run(words, 2), 2)
})

test('seccomp: a number is always allowed if all filters allow it whatever the arguments are', () => {
  const filter = (nr: number, wanted: number): BpfProgram => {
    const program = check(
      [BPF_LD | BPF_W | BPF_ABS, 0, 0, 0],
      [BPF_JMP | BPF_JEQ | BPF_K, 0, 1, nr],
      returns(wanted),
      returns(ALLOW),
    )
    assert.ok(!failed(program))
    return program
  }
  const older = new SeccompFilter(filter(39, ERRNO), undefined, false)
  const newest = new SeccompFilter(filter(40, ERRNO), older, false)
  assert.deepEqual(
    [38, 39, 40, 511, 512].map(nr => newest.alwaysAllows(nr)),
    [true, false, false, true, false],
  )
  assert.equal(older.alwaysAllows(40), true)
})
