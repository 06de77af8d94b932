/** `npm test`: 'unit' runs the tests beside the sources, 'all' also the guest programs and the end-to-end tests. */
import { spawnSync } from 'node:child_process'
import { existsSync, globSync } from 'node:fs'
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
if (!existsSync(join(root, 'native/build/caisson.node'))) {
  process.stderr.write("the native part is not built: run 'npm run build'\n")
  process.exit(1)
}
// The tests run what the sources say, not an older bundle.
const env = { ...process.env, CAISSON_SOURCE: '1' }
const run = spawnSync(process.execPath, ['--test', ...files], { cwd: root, env, stdio: 'inherit' })
process.exit(run.status ?? 1)
