import assert from 'node:assert/strict'
import { test } from 'node:test'
import { toBytes } from '../../base/bytes.ts'
import { TextSearch } from './text-search.ts'

function finds(pattern: string, text: string, foldsCase = false, start = 0, end = text.length): boolean {
  return new TextSearch(toBytes(pattern), foldsCase).isIn(toBytes(text), start, end)
}

test('text search: a text is found wherever it stands, also behind a beginning of itself', () => {
  assert.ok(finds('abc', 'xxabcxx'))
  assert.ok(finds('aab', 'aaaab'))
  assert.ok(finds('abacab', 'abacabacab'))
  assert.ok(finds('ababc', 'abababc'))
  assert.equal(finds('abc', 'abxabyab'), false)
})

test('text search: it must be whole within the bounds', () => {
  assert.ok(finds('abc', 'xabcx', false, 1, 4))
  assert.equal(finds('abc', 'xabcx', false, 2, 5), false)
  assert.equal(finds('abc', 'xabcx', false, 0, 3), false)
})

test('text search: case is told apart unless it is to be folded', () => {
  assert.equal(finds('BaD', 'this is bad'), false)
  assert.ok(finds('BaD', 'this is bAd', true))
})
