import assert from 'node:assert/strict'
import { statSync } from 'node:fs'
import { test } from 'node:test'
import { networkNamespaceId } from './network-namespace.ts'

test('network namespace: a process’s is told by the same number as its path', () => {
  const own = statSync('/proc/self/ns/net').ino
  assert.deepEqual([networkNamespaceId(process.pid), networkNamespaceId('/proc/self/ns/net')], [own, own])
})

test('network namespace: what can’t be looked at, for whatever reason, is none', () => {
  for (const path of ['/no/such', `/${'x'.repeat(300)}`]) assert.equal(networkNamespaceId(path), undefined)
})
