import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Timespec } from '../base/clock.ts'
import { unixMs } from './wall-clock.ts'

test("wall clock: the time of day comes in milliseconds from the kernel's own clock", () => {
  const clock = { realtime: () => new Timespec(1_700_000_000, 123_456_789) }
  assert.equal(unixMs({ clock } as never), 1_700_000_000_123)
})

test('wall clock: nothing in the sentry asks JavaScript for the time, which may be a host call that ends the sandbox', () => {
  const src = join(import.meta.dirname, '..')
  const folders = '{abi,base,platform,mm,vfs,loader,kernel,fs,net,syscalls,sandbox}/**/*.ts'
  const files = globSync(folders, { cwd: src }).filter(file => !file.endsWith('.test.ts'))
  assert.ok(files.length > 100)
  const asking = files.filter(file =>
    /\bDate\.now\(|new Date\(\)/.test(strip(readFileSync(join(src, file), 'utf8'))),
  )
  assert.deepEqual(asking, [])
})

/** Without comments. */
function strip(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')
}
