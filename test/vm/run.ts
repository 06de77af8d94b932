/**
 * `bin/node test/vm/run.ts [--suite SUITE]… [--append WORDS] [--script FILE] [NAME…]`: runs tests in a virtual machine with systemd,
 * cgroup version 2 and AppArmor, as most hosts have them. NAMEs choose test files as those of `npm test` do; `--script` runs a script of sh
 * in place of tests. `--append systemd.unified_cgroup_hierarchy=0` makes a host with cgroup version 1 of bookworm.
 *
 * It needs root, qemu-system-x86, mmdebstrap, e2fsprogs, and for a suite's first run its distribution's mirror. The image
 * stays in $CAISSON_VM, or ~/.cache/caisson-vm. The tree must be built (`npm run build`). Not part of `npm test`.
 */
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { notInstalled } from '../e2e/tools.ts'
import { imageOf, suites } from './image.ts'
import { isFast, runMachine } from './machine.ts'

const root = join(import.meta.dirname, '../..')
/** What differs on such a host. */
const NAMES = ['e2e/systemd', 'e2e/limits', 'oci/cgroup/']
/** A machine without KVM takes its time: ms. */
const TEST_LIMIT_MS = 1_800_000

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    suite: { type: 'string', multiple: true, default: ['bookworm'] },
    append: { type: 'string', default: '' },
    script: { type: 'string' },
  },
})
const unknown = values.suite.find(each => !suites().includes(each))
const why =
  (unknown !== undefined && `there is no suite ${unknown}, but ${suites().join(', ')}`) ||
  (process.getuid!() !== 0 && 'an image is made by root') ||
  notInstalled('qemu-system-x86_64', 'mmdebstrap', 'mke2fs')
if (why) {
  process.stderr.write(`no virtual machine here: ${why}\n`)
  process.exit(1)
}

const command = values.script === undefined ? testCommand(positionals) : readFileSync(values.script, 'utf8')
const append = values.append.split(' ').filter(Boolean)
const summary: string[] = []
for (const suite of values.suite) {
  process.stdout.write(`== ${suite}\n`)
  const status = await runMachine(imageOf(suite), { command, append })
  summary.push(
    `${suite}: ${status === undefined ? 'the machine ended without a status' : `status ${status}`}`,
  )
  if (status !== 0) process.exitCode = 1
}
process.stdout.write(`${summary.join('\n')}\n`)

function testCommand(names: readonly string[]): string {
  const wanted = names.length === 0 ? NAMES : names
  const files = globSync(['src/**/*.test.ts', 'test/**/*.test.ts'], { cwd: root })
    .filter(file => wanted.some(name => file.includes(name)))
    .sort()
  if (files.length === 0) throw new Error(`no test file matches ${wanted.join(' ')}`)
  const lines = [
    'uname -a',
    'export HOME=/root',
    'bin/caisson check || exit 1',
    `export CAISSON_TEST_PATIENCE=${isFast() ? 1 : 20}`,
    // One after the other: two CPUs.
    `exec bin/node --test --test-concurrency=1 --test-timeout=${TEST_LIMIT_MS} --test-reporter=spec ${files.join(' ')}`,
  ]
  return `${lines.join('\n')}\n`
}
