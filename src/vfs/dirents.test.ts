import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Dirents, recordLength } from './dirents.ts'

function entries(of: Dirents, from = 0): [string, number, number, number][] {
  const out: [string, number, number, number][] = []
  of.walk(from, (...entry) => out.push(entry) > 0)
  return out
}

test('dirents: what is added is walked, and every d_off is where the next entry begins', () => {
  const all = new Dirents(16)
  for (let i = 0; i < 200; i++) all.add('n'.repeat(1 + (i % 40)), 2 ** 40 + i, i % 12)
  const found = entries(all)
  assert.equal(found.length, 200)
  let position = 0
  found.forEach(([name, ino, type, next], i) => {
    assert.deepEqual([name.length, ino, type], [1 + (i % 40), 2 ** 40 + i, i % 12])
    assert.equal(next, position + recordLength(name))
    assert.deepEqual(entries(all, next), found.slice(i + 1))
    position = next
  })
  assert.equal(position, all.length)
})

test('dirents: records of the host come in without the dots, wherever they stand', () => {
  const host = new Dirents()
  for (const [i, name] of ['..', 'a', '.hidden', '.', 'b', '...'].entries()) host.add(name, i, 8, 77)
  const all = new Dirents(8)
  all.add('first', 100, 4)
  all.addRaw(host.records, host.length)
  all.addRaw(host.records, 0)
  assert.deepEqual(
    entries(all).map(([name, ino]) => `${name} ${ino}`),
    ['first 100', 'a 1', '.hidden 2', 'b 4', '... 5'],
  )
  assert.equal(entries(all).at(-1)![3], all.length)
})

test('dirents: filtered ones leave no gap', () => {
  const all = new Dirents()
  for (const name of ['kept', 'x', 'one', 'longer name', 'two']) all.add(name, name.length, 8)
  all.filter(all.nextOf(0), name => name !== 'x' && name !== 'longer name')
  all.renumber(0, ino => ino + 10)
  const found = entries(all)
  assert.deepEqual(
    found.map(([name, ino]) => `${name} ${ino}`),
    ['kept 14', 'one 13', 'two 13'],
  )
  assert.equal(found[2][3], all.length)
})

test('dirents: as many as fit, and a position inside an entry leads to the next one', () => {
  const all = new Dirents()
  for (const name of ['a', 'b', 'c']) all.add(name, 1, 8)
  assert.equal(all.fit(0, 23), 0)
  assert.equal(all.fit(0, 24), 24)
  assert.equal(all.fit(24, 47), 48)
  assert.equal(all.fit(24, 1000), 72)
  assert.equal(all.seek(1), 24)
  assert.equal(all.seek(5000), 72)
})

test('dirents: a type that is in doubt is left open', () => {
  const all = new Dirents()
  all.add('before', 1, 8)
  const start = all.length
  all.add('file', 2, 8)
  all.add('directory', 3, 4)
  all.retype(start, 8, 0)
  assert.deepEqual(
    entries(all).map(([name, , type]) => `${name} ${type}`),
    ['before 8', 'file 0', 'directory 4'],
  )
})
