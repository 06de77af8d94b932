/** Landlock's layers over a small tree of names. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  LANDLOCK_ACCESS_FS_MAKE_REG,
  LANDLOCK_ACCESS_FS_READ_FILE,
  LANDLOCK_ACCESS_FS_REFER,
  LANDLOCK_ACCESS_FS_REMOVE_FILE,
  LANDLOCK_ACCESS_FS_WRITE_FILE,
  LANDLOCK_ACCESS_NET_BIND_TCP,
  LANDLOCK_ACCESS_NET_CONNECT_TCP,
  LANDLOCK_SCOPE_SIGNAL,
  S_IFDIR,
  S_IFREG,
} from '../../abi/constants.ts'
import { EACCES, EXDEV } from '../../abi/errno.ts'
import { Dentry } from '../../vfs/dentry.ts'
import { Inode } from '../../vfs/inode.ts'
import type { Mount } from '../../vfs/mount.ts'
import type { Path } from '../../vfs/path.ts'
import type { SuperBlock } from '../../vfs/super-block.ts'
import { Domain } from './domain.ts'
import { Rules } from './ruleset.ts'

const READ = LANDLOCK_ACCESS_FS_READ_FILE
const WRITE = LANDLOCK_ACCESS_FS_WRITE_FILE
const MOVE = LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REFER

const sb = {} as SuperBlock
let numbers = 0

function name(text: string, parent: Dentry | undefined, type = S_IFDIR): Dentry {
  class Plain extends Inode {}
  const dentry = new Dentry(text, parent, new Plain(sb, ++numbers, type | 0o755, 0, 0), sb)
  dentry.refs = 1
  return dentry
}

const root = name('/', undefined)
const home = name('home', root)
const user = name('user', home)
const file = name('file', user, S_IFREG)
const other = name('other', root)
const mount = { root, mountpoint: undefined } as unknown as Mount
const at = (dentry: Dentry): Path => ({ mount, dentry })
const missing = (dir: Dentry): Dentry => new Dentry('new', dir, undefined, sb)

function layer(parent: Domain | undefined, handled: number, ...rules: [Dentry, number][]): Domain {
  const made = new Rules(handled, 0, 0)
  for (const [dentry, allowed] of rules) made.addPath(dentry, allowed)
  return new Domain(parent, made)
}

test('what is handled is denied but below a rule; what is not handled is allowed', () => {
  const domain = layer(undefined, READ | WRITE, [home, READ])
  assert.equal(domain.mayAccess(at(file), READ), 0)
  assert.equal(domain.mayAccess(at(home), READ), 0)
  assert.equal(domain.mayAccess(at(file), WRITE), -EACCES)
  assert.equal(domain.mayAccess(at(other), READ), -EACCES)
  assert.equal(domain.mayAccess(at(other), LANDLOCK_ACCESS_FS_MAKE_REG), 0)
})

test('all layers have to allow', () => {
  const first = layer(undefined, READ, [home, READ])
  const second = layer(first, READ | WRITE, [root, READ | WRITE])
  assert.equal(second.mayAccess(at(file), READ | WRITE), 0)
  assert.equal(second.mayAccess(at(other), READ), -EACCES)
  assert.equal(second.mayAccess(at(other), WRITE), 0)
})

test('a file moves to another directory only where both allow it and it gains nothing', () => {
  const within = layer(undefined, READ | MOVE, [home, READ | MOVE], [other, MOVE])
  assert.equal(within.mayRefer(at(user), file, at(home), missing(home), true, false), 0)
  assert.equal(within.mayRefer(at(user), file, at(other), missing(other), true, false), 0)
  const gains = layer(undefined, READ | WRITE | MOVE, [home, READ | MOVE], [other, READ | WRITE | MOVE])
  assert.equal(gains.mayRefer(at(user), file, at(other), missing(other), true, false), -EXDEV)
  const stays = layer(undefined, READ, [root, READ])
  assert.equal(stays.mayRefer(at(user), file, at(other), missing(other), true, false), -EXDEV)
  assert.equal(stays.mayRefer(at(user), file, at(user), missing(user), true, false), 0)
  const denied = layer(undefined, MOVE, [home, MOVE])
  assert.equal(denied.mayRefer(at(user), file, at(other), missing(other), true, false), -EACCES)
})

test('ports are allowed one by one', () => {
  const rules = new Rules(0, LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP, 0)
  rules.addPort(443, LANDLOCK_ACCESS_NET_CONNECT_TCP)
  const domain = new Domain(undefined, rules)
  assert.equal(domain.mayUsePort(443, LANDLOCK_ACCESS_NET_CONNECT_TCP), true)
  assert.equal(domain.mayUsePort(443, LANDLOCK_ACCESS_NET_BIND_TCP), false)
  assert.equal(domain.mayUsePort(80, LANDLOCK_ACCESS_NET_CONNECT_TCP), false)
  assert.equal(domain.restrictsPaths, false)
})

test('a scope ends with the domain that has it', () => {
  const outer = layer(undefined, READ)
  const scoped = new Domain(outer, new Rules(0, 0, LANDLOCK_SCOPE_SIGNAL))
  const inner = layer(scoped.get(), READ)
  assert.equal(scoped.isScopedFrom(outer, LANDLOCK_SCOPE_SIGNAL), true)
  assert.equal(scoped.isScopedFrom(undefined, LANDLOCK_SCOPE_SIGNAL), true)
  assert.equal(scoped.isScopedFrom(inner, LANDLOCK_SCOPE_SIGNAL), false)
  assert.equal(inner.isScopedFrom(scoped, LANDLOCK_SCOPE_SIGNAL), false)
  assert.equal(outer.isScopedFrom(undefined, LANDLOCK_SCOPE_SIGNAL), false)
})

test('the places of rules are let go with the last user of the domain, and of those on top of it', () => {
  const before = home.refs
  const domain = layer(undefined, READ, [home, READ])
  const top = layer(domain, READ, [home, READ])
  assert.equal(home.refs, before + 2)
  top.get()
  top.put()
  assert.equal(home.refs, before + 2)
  top.put()
  assert.equal(home.refs, before)
})
