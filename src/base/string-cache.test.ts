import assert from 'node:assert/strict'
import { test } from 'node:test'
import { toBytes } from './bytes.ts'
import { StringCache } from './string-cache.ts'

test('string cache: gives what the bytes say up to the NUL, whatever was read before', () => {
  const cache = new StringCache()
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 3000; i++) assert.equal(cache.read(toBytes(`/usr/lib/${i}\0rest`)), `/usr/lib/${i}`)
    assert.equal(cache.read(toBytes('\0')), '')
    assert.equal(cache.read(toBytes('\xff\x80\0')), '\xff\x80')
  }
})

test('string cache: leaves strings without an end, and long ones, to others', () => {
  const cache = new StringCache()
  assert.equal(cache.read(toBytes('no end')), undefined)
  assert.equal(cache.read(new Uint8Array(0)), undefined)
  assert.equal(cache.read(toBytes(`${'x'.repeat(255)}\0`)), undefined)
  assert.equal(cache.read(toBytes(`${'x'.repeat(254)}\0`)), 'x'.repeat(254))
})
