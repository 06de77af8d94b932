/** `npm test`: 'unit' runs the tests beside the sources, 'all' also the guest programs and the end-to-end tests. */
import { spawnSync } from 'node:child_process'
import { globSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const [suite = 'all', ...filters] = process.argv.slice(2)

const patterns = suite === 'unit' ? ['src/**/*.test.ts'] : ['src/**/*.test.ts', 'test/**/*.test.ts']
const files = patterns
  .flatMap(pattern => globSync(pattern, { cwd: root }))
  .filter(file => filters.length === 0 || filters.some(filter => file.includes(filter)))
  .sort()

if (files.length === 0) {
  process.stderr.write(`no test file matches ${filters.join(' ')}\n`)
  process.exit(1)
}
// The guest programs and end-to-end tests run dist/, which starts much faster than the sources.
for (const [command, ...args] of [
  ['make', '-s', '-C', 'native'],
  [process.execPath, 'scripts/bundle.ts'],
]) {
  if (suite === 'unit' && command !== 'make') continue
  const built = spawnSync(command, args, { cwd: root, stdio: 'inherit' })
  if (built.status !== 0) process.exit(built.status ?? 1)
}
// What a test has left running must fail its file, not keep it for ever: ms, many times what the longest takes.
const run = spawnSync(process.execPath, ['--test', '--test-timeout=900000', ...files], {
  cwd: root,
  stdio: 'inherit',
})
process.exit(run.status ?? 1)
