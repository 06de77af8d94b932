import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UserNamespace } from '../base/credentials.ts'
import { failed } from '../base/result.ts'
import { type Pid, PidNamespace } from './pid.ts'

const user = new UserNamespace(undefined, 0, 0, 1)

function allocate(ns: PidNamespace): Pid {
  const pid = ns.allocate()
  if (failed(pid)) throw new Error(`no pid: ${pid}`)
  return pid
}

test('pids: one in a nested namespace has a number at each level and none in a sibling', () => {
  const root = new PidNamespace(undefined, user, 1)
  allocate(root)
  const inner = new PidNamespace(root, user, 2)
  const sibling = new PidNamespace(root, user, 3)
  const pid = allocate(inner)
  assert.deepEqual([pid.in(root), pid.in(inner), pid.in(sibling)], [2, 1, 0])
  assert.equal(allocate(root).in(inner), 0)
  assert.equal(root.find(2), pid)
})

test('pids: numbers are given again only after all others, and only when nobody uses them', () => {
  const root = new PidNamespace(undefined, user, 1)
  root.max = 303
  const first = allocate(root)
  while (root.last < 302) allocate(root)
  first.releaseIfUnused()
  assert.equal(root.find(1), undefined)
  root.find(301)?.releaseIfUnused()
  assert.equal(allocate(root).in(root), 301)
})
