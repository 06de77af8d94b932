import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EINVAL, EIO, ENOSPC } from '../../abi/errno.ts'
import { VmaTree } from '../../mm/vma-tree.ts'
import { REG_RIP } from '../../platform/platform.ts'
import type { Task } from '../task.ts'
import { DebugRegisters } from './debug-registers.ts'

const MEMORY = 0x10000
const LIMIT = 0x7fffc0000000

/** Tasks of one process with a page of memory. */
function tasks(count: number) {
  const memory = new Uint8Array(4096)
  const group = { stepTurns: undefined }
  const woken: Task[] = []
  const space = {
    read(address: number, into: Uint8Array): number {
      into.set(memory.subarray(address - MEMORY, address - MEMORY + into.length))
      return into.length
    },
  }
  const made = Array.from({ length: count }, () => {
    const debug = new DebugRegisters()
    const regs = { ip: 0, get: (reg: number) => (reg === REG_RIP ? regs.ip : 0) }
    const kernel = { makeRunnable: (task: Task) => woken.push(task) }
    const mm = { space, context: { addressLimit: LIMIT }, vmas: new VmaTree() }
    const task = { group, kernel, mm, thread: { regs }, ptrace: { debug } } as unknown as Task
    return { task, debug, regs }
  })
  return { made, memory, woken }
}

/** DR7 for register n: the kind, and the length's code. */
function control(n: number, kind: number, length: number): number {
  return (1 << (2 * n)) | (kind << (16 + 4 * n)) | (length << (18 + 4 * n))
}

test('a change of a watched word is a hit, once, and DR6 tells which', () => {
  const { made, memory } = tasks(1)
  const [{ task, debug }] = made
  assert.equal(debug.set(task, 2, MEMORY + 8), 0)
  assert.equal(debug.set(task, 7, control(2, 1, 3)), 0)
  assert.equal(debug.watching, true)
  debug.begin(task)
  memory[7] = 1
  debug.end(task, true)
  assert.equal(debug.hit(task, false), false)
  debug.begin(task)
  memory[9] = 5
  debug.end(task, true)
  assert.equal(debug.hit(task, false), true)
  assert.equal(debug.get(6) & 0xf, 4)
  debug.begin(task)
  debug.end(task, true)
  assert.equal(debug.hit(task, false), false)
})

test('DR7 reads as a number of 32 bits, whatever it says of the last register', () => {
  const [{ task, debug }] = tasks(1).made
  debug.set(task, 3, MEMORY)
  assert.equal(debug.set(task, 7, control(3, 1, 2) >>> 0), 0)
  assert.equal(debug.get(7), control(3, 1, 2) >>> 0)
})

test('what happens outside of guest code is no hit', () => {
  const { made, memory } = tasks(1)
  const [{ task, debug }] = made
  debug.set(task, 0, MEMORY)
  debug.set(task, 7, control(0, 1, 0))
  debug.begin(task)
  debug.end(task, false)
  memory[0] = 1
  debug.begin(task)
  debug.end(task, true)
  assert.equal(debug.hit(task, false), false)
})

test('an instruction is a hit when it is the next one', () => {
  const { made } = tasks(1)
  const [{ task, debug, regs }] = made
  debug.set(task, 3, 0x401000)
  debug.set(task, 7, control(3, 0, 0))
  debug.begin(task)
  debug.end(task, true)
  regs.ip = 0x400fff
  assert.equal(debug.hit(task, true), false)
  assert.equal(debug.get(6) & 0x400f, 0x4000)
  regs.ip = 0x401000
  assert.equal(debug.hit(task, true), true)
  assert.equal(debug.get(6) & 0x400f, 0x4008)
})

test('threads of a process step by turns', () => {
  const { made, woken } = tasks(2)
  const [one, other] = made
  for (const { task, debug } of made) {
    debug.set(task, 0, MEMORY)
    debug.set(task, 7, control(0, 1, 0))
  }
  assert.equal(one.debug.begin(one.task), true)
  assert.equal(other.debug.begin(other.task), false)
  one.debug.end(one.task, true)
  assert.deepEqual(woken, [other.task])
  assert.equal(one.debug.begin(one.task), false)
  assert.equal(other.debug.begin(other.task), true)
})

test('what can not be watched is refused, and nothing changes', () => {
  const { made } = tasks(1)
  const [{ task, debug }] = made
  debug.set(task, 0, MEMORY + 1)
  assert.equal(debug.set(task, 7, control(0, 1, 3)), -EINVAL)
  assert.equal(debug.set(task, 7, control(0, 2, 0)), -EINVAL)
  assert.equal(debug.set(task, 7, control(0, 3, 0)), -ENOSPC)
  assert.equal(debug.set(task, 7, control(0, 0, 1)), -EINVAL)
  assert.equal(debug.set(task, 4, 0), -EIO)
  assert.equal(debug.set(task, 1, LIMIT), -EINVAL)
  assert.equal(debug.get(7), 0)
  assert.equal(debug.get(1), 0)
  assert.equal(debug.watching, false)
})
