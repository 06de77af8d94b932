import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  BPF_ADD,
  BPF_ALU,
  BPF_ALU64,
  BPF_AND,
  BPF_DEVCG_ACC_READ,
  BPF_DEVCG_ACC_WRITE,
  BPF_DEVCG_DEV_BLOCK,
  BPF_DEVCG_DEV_CHAR,
  BPF_EXIT,
  BPF_JA,
  BPF_JMP,
  BPF_JNE,
  BPF_LDX,
  BPF_MEM,
  BPF_MOV,
  BPF_PROG_TYPE_CGROUP_DEVICE,
  BPF_RSH,
  BPF_W,
} from '../../abi/constants.ts'
import { E2BIG, EACCES, EINVAL } from '../../abi/errno.ts'
import { BPF_CGROUP_DEV_CTX } from '../../abi/layout.ts'
import { CgroupProgram, verify } from './cgroup-program.ts'

type Line = readonly [code: number, dst: number, src: number, off: number, imm: number]

const CONTEXT = BPF_CGROUP_DEV_CTX
const EXIT: Line = [BPF_JMP | BPF_EXIT, 0, 0, 0, 0]
const move = (dst: number, imm: number): Line => [BPF_ALU64 | BPF_MOV, dst, 0, 0, imm]
const load = (dst: number, off: number): Line => [BPF_LDX | BPF_MEM | BPF_W, dst, 1, off, 0]
const unless = (dst: number, imm: number, off: number): Line => [BPF_JMP | BPF_JNE, dst, 0, off, imm]

function bytesOf(lines: readonly Line[]): DataView {
  const view = new DataView(new ArrayBuffer(lines.length * 8))
  lines.forEach(([code, dst, src, off, imm], i) => {
    view.setUint8(i * 8, code)
    view.setUint8(i * 8 + 1, dst | (src << 4))
    view.setInt16(i * 8 + 2, off, true)
    view.setInt32(i * 8 + 4, imm, true)
  })
  return view
}

function program(...lines: Line[]): CgroupProgram {
  const code = verify(bytesOf(lines))
  assert.ok(typeof code !== 'number', `refused: ${code}`)
  return new CgroupProgram(1, BPF_PROG_TYPE_CGROUP_DEVICE, '', 0, code)
}

test('bpf: a device program sees type, access and numbers, as runc writes one', () => {
  // Character devices 1:3 and reading of everything else that is one; no block devices.
  const guard = program(
    load(2, CONTEXT.access_type),
    [BPF_ALU | BPF_AND, 2, 0, 0, 0xffff],
    load(3, CONTEXT.access_type),
    [BPF_ALU | BPF_RSH, 3, 0, 0, 16],
    load(4, CONTEXT.major),
    load(5, CONTEXT.minor),
    unless(2, BPF_DEVCG_DEV_CHAR, 7),
    unless(4, 1, 3),
    unless(5, 3, 2),
    move(0, 1),
    EXIT,
    unless(3, BPF_DEVCG_ACC_READ, 2),
    move(0, 1),
    EXIT,
    move(0, 0),
    EXIT,
  )
  const both = BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE
  assert.equal(guard.allows(both, BPF_DEVCG_DEV_CHAR, 1, 3), true)
  assert.equal(guard.allows(both, BPF_DEVCG_DEV_CHAR, 1, 5), false)
  assert.equal(guard.allows(BPF_DEVCG_ACC_READ, BPF_DEVCG_DEV_CHAR, 10, 229), true)
  assert.equal(guard.allows(BPF_DEVCG_ACC_READ, BPF_DEVCG_DEV_BLOCK, 8, 0), false)
})

test('bpf: 32-bit arithmetic clears the upper half, and the result is 32 bits', () => {
  const all = program([BPF_ALU64 | BPF_MOV, 0, 0, 0, -1], [BPF_ALU | BPF_ADD, 0, 0, 0, 1], EXIT)
  assert.equal(all.allows(0, 0, 0, 0), false)
})

test('bpf: what could run for ever, or reach elsewhere, is refused', () => {
  assert.equal(verify(bytesOf([])), -E2BIG)
  assert.equal(verify(bytesOf([move(0, 1)])), -EINVAL)
  assert.equal(verify(bytesOf([[BPF_JMP | BPF_JA, 0, 0, -1, 0], EXIT])), -EINVAL)
  assert.equal(verify(bytesOf([[BPF_JMP | BPF_JA, 0, 0, 5, 0], EXIT])), -EINVAL)
  assert.equal(verify(bytesOf([load(2, CONTEXT.size), EXIT])), -EACCES)
  assert.equal(verify(bytesOf([move(1, 0), load(2, 0), EXIT])), -EACCES)
  assert.equal(verify(bytesOf([[BPF_LDX | BPF_MEM | BPF_W, 2, 3, 0, 0], EXIT])), -EACCES)
  assert.equal(verify(bytesOf([[BPF_ALU64 | BPF_MOV, 10, 0, 0, 0], EXIT])), -EINVAL)
})
