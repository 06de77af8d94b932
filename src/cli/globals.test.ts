import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { DEFAULT_NETWORK } from '../sandbox/options.ts'
import { GLOBAL_FLAGS } from './globals.ts'

const source = readFileSync(join(import.meta.dirname, '../../native/launcher/words.c'), 'utf8')

function flagsOf(table: string): string[] {
  const [, list] = new RegExp(`${table}\\[\\] = \\{([^}]*)\\}`).exec(source)!
  return [...list.matchAll(/"--([\w-]+)"/g)].map(match => match[1])
}

test('the launcher, which looks for the verb, knows which flags in front of it take a value', () => {
  const valued = flagsOf('valued_flags')
  const bare = flagsOf('bare_flags')
  assert.ok(valued.includes('root') && bare.includes('systemd-cgroup'))
  for (const name of valued) assert.ok(GLOBAL_FLAGS[name]?.value !== undefined, name)
  for (const name of bare) assert.ok(name in GLOBAL_FLAGS && GLOBAL_FLAGS[name].value === undefined, name)
})

test('the launcher expects the network that containers have where no flag says otherwise', () => {
  const spare = readFileSync(join(import.meta.dirname, '../../native/launcher/spare.c'), 'utf8')
  assert.equal(/\.kind = "(\w+)"/.exec(spare)![1], DEFAULT_NETWORK)
})
