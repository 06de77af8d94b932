import assert from 'node:assert/strict'
import test from 'node:test'
import { defaultRlimits } from '../../kernel/rlimits.ts'
import type { Mm } from '../../mm/mm.ts'
import { formatLimits } from './limits.ts'
import { commandLine, environment } from './memory-file.ts'
import { integer } from './pid-dir.ts'
import { commText, hex64, mangle, maskText, rangeList, upTo } from './text.ts'

test('proc text: lists and masks of CPUs', () => {
  assert.equal(rangeList([0, 1, 2, 5, 7, 8]), '0-2,5,7-8')
  assert.equal(rangeList([]), '')
  assert.equal(maskText(upTo(2), 2), '3')
  assert.equal(maskText(upTo(12), 12), 'fff')
  assert.equal(maskText(upTo(40), 40), '000000ff,ffffffff')
})

test('proc text: names are escaped so that lines stay lines', () => {
  assert.equal(commText('a\nb\\'), 'a\\012b\\134')
  assert.equal(mangle('a b', ' '), 'a\\040b')
  assert.equal(hex64(0xffffffff, 1), '00000001ffffffff')
})

test('proc text: numbers as the kernel parses them', () => {
  const cases: [string, number | undefined][] = [
    ['10', 10],
    [' 10\n', 10],
    ['-5', -5],
    ['0x1f', 31],
    ['017', 15],
    ['0', 0],
    ['', undefined],
    ['1 2', undefined],
    ['x', undefined],
  ]
  for (const [text, value] of cases) assert.equal(integer(text), value, text)
})

test('proc limits: columns as Linux has them', () => {
  const lines = formatLimits(defaultRlimits()).split('\n')
  assert.equal(lines[0], 'Limit                     Soft Limit           Hard Limit           Units     ')
  assert.equal(lines[4], 'Max stack size            8388608              unlimited            bytes     ')
  assert.equal(lines[15], 'Max realtime priority     0                    0                    ')
})

/** An address space that holds `text` at 1000; the arguments are its first `argLength` bytes, then the environment. */
function mmWith(text: string, argLength: number): Mm {
  return {
    argStart: 1000,
    argEnd: 1000 + argLength,
    envStart: 1000 + argLength,
    envEnd: 1000 + text.length,
    space: {
      read(address: number, into: Uint8Array): number {
        for (let i = 0; i < into.length; i++) into[i] = text.charCodeAt(address - 1000 + i)
        return into.length
      },
    },
  } as unknown as Mm
}

test('proc cmdline: the arguments, or the title that a program wrote over them', () => {
  assert.equal(commandLine(mmWith('prog\0arg\0A=1\0', 9)), 'prog\0arg\0')
  assert.equal(commandLine(mmWith('a long title\0', 9)), 'a long title\0')
  assert.equal(commandLine(mmWith('title\0\0\0xtra\0', 9)), 'title\0')
  assert.equal(commandLine(mmWith('', 0)), '')
})

test('proc cmdline and environ: a program that has them reach to the end of all addresses costs no more than others', () => {
  const mm = mmWith('prog\0', 5)
  mm.argEnd = mm.envEnd = 2 ** 47
  const lengths: number[] = []
  mm.space.read = (_address, into) => {
    lengths.push(into.length)
    return into.length === 1 ? 0 : 5
  }
  assert.equal(commandLine(mm).length, 5)
  assert.equal(environment(mm).length, 5)
  assert.ok(Math.max(...lengths) < 2 ** 24)
})
