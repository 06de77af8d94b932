/** The table of system calls as documentation. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { NR } from '../abi/syscall-numbers.ts'
import { absentCalls } from './absent.ts'
import type { SyscallRows } from './args.ts'
import { describeCalls, documentCalls } from './describe.ts'
import { syscallRows } from './table.ts'

test('docs/syscalls.md is what scripts/generate-syscalls.ts writes', () => {
  const written = readFileSync(join(import.meta.dirname, '../../docs/syscalls.md'), 'utf8')
  assert.equal(written, documentCalls(syscallRows))
})

test('each call has a row, or a reason why it has none; not both', () => {
  const rows: SyscallRows = syscallRows
  const names = Object.keys(NR) as (keyof typeof NR)[]
  const unexplained = names.filter(name => rows[name] === undefined && absentCalls[name] === undefined)
  assert.deepEqual(unexplained, [])
  assert.deepEqual(
    Object.keys(absentCalls).filter(name => rows[name] !== undefined),
    [],
  )
})

test('a row says how far its call goes', () => {
  const args = [] as const
  const run = () => 0
  const described = describeCalls({
    read: { nr: NR.read, run, args },
    write: { nr: NR.write, run, args, partial: 'backwards' },
    open: { nr: NR.open, run, args, refused: 'EPERM: why not' },
  })
  assert.deepEqual(
    described.slice(0, 3).map(call => [call.status, call.note]),
    [
      ['done', ''],
      ['in part', 'backwards'],
      ['refused', 'EPERM: why not'],
    ],
  )
})
