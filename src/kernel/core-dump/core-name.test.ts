import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Task } from '../task.ts'
import { coreName } from './core-name.ts'

/** A task with what the name is made from. */
function task(pattern: string, changes: { comm?: string; usesPid?: boolean } = {}): Task {
  const pid = { in: () => 77 }
  return {
    kernel: {
      core: { pattern, usesPid: changes.usesPid ?? false },
      clock: { realtime: () => ({ sec: 1234, nsec: 5 }) },
      pidNs: {},
      userNs: { uidMap: undefined, gidMap: undefined },
    },
    group: { tgid: 7, pid, rlimits: { soft: () => Number.POSITIVE_INFINITY } },
    pid,
    tid: 8,
    cred: { uid: 0, gid: 0 },
    ns: { uts: { hostname: 'box' } },
    mm: { dumpable: 1, exeFile: undefined },
    comm: changes.comm ?? 'program',
  } as unknown as Task
}

test('letters of the pattern stand for the process', () => {
  assert.equal(coreName(task('core'), 11), 'core')
  assert.equal(coreName(task('/var/%e.%p.%i.%P.%s.%t.%h'), 11), '/var/program.7.8.77.11.1234.box')
  assert.equal(coreName(task('%c'), 6), '18446744073709551615')
  assert.equal(coreName(task('100%%'), 6), '100%')
})

test('unknown letters and a lone percent sign give nothing', () => {
  assert.equal(coreName(task('a%qb%'), 6), 'ab')
})

test('the process id is added where it is asked for and not named', () => {
  assert.equal(coreName(task('core', { usesPid: true }), 6), 'core.7')
  assert.equal(coreName(task('core-%p', { usesPid: true }), 6), 'core-7')
})

test('a name that the program chose leads nowhere else', () => {
  assert.equal(coreName(task('/var/%e', { comm: '../../etc/x' }), 6), '/var/..!..!etc!x')
  assert.equal(coreName(task('/var/%e', { comm: '..' }), 6), '/var/!.')
  assert.equal(coreName(task('%e', { comm: '' }), 6), '!')
})

test('no pattern, no file', () => {
  assert.equal(coreName(task('', { usesPid: true }), 6), '')
})
