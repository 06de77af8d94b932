/** What can't work is said in one clear sentence, with an exit status that tells whose fault it is, and leaves nothing. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Running } from './leftovers.ts'

const LIMIT_MS = 15_000
let directory = ''

before(() => {
  directory = mkdtempSync(join(tmpdir(), 'caisson-bad-'))
  script('garbage', 'this is not a program')
  script('empty', '')
  script('loop', `#!${join(directory, 'loop')}\n`)
  script('orphan', '#!/no/such/interpreter\n')
  writeFileSync(join(directory, 'plain'), 'text')
  copyFileSync('/bin/true', join(directory, 'cut'))
  truncateSync(join(directory, 'cut'), 2000)
  copyFileSync('/bin/true', join(directory, 'header'))
  truncateSync(join(directory, 'header'), 30)
  mkdirSync(join(directory, 'closed'), { mode: 0o700 })
  chmodSync(directory, 0o755)
})
after(() => rmSync(directory, { recursive: true }))

function script(name: string, text: string): void {
  writeFileSync(join(directory, name), text, { mode: 0o755 })
}

/** Which command, the exit status, and what the sentence must contain. */
const CASES: [string, () => string[], number, RegExp][] = [
  ['no such command', () => ['no-such-command'], 127, /no-such-command/],
  ['no such path', () => ['/no/such/path'], 127, /\/no\/such\/path/],
  ['an empty name', () => [''], 127, /./],
  ['a directory', () => [directory], 126, /./],
  ['a file without x', () => [join(directory, 'plain')], 126, /plain/],
  ['a file in place of a directory', () => [join(directory, 'plain/x')], 126, /plain/],
  ['a program that is none', () => [join(directory, 'garbage')], 126, /garbage/],
  ['an empty program', () => [join(directory, 'empty')], 126, /empty/],
  ['half an ELF header', () => [join(directory, 'header')], 126, /header/],
  ['a script whose interpreter is missing', () => [join(directory, 'orphan')], 127, /orphan/],
  ['a script that is its own interpreter', () => [join(directory, 'loop')], 126, /loop/],
  ['a device', () => ['/dev/null'], 126, /null/],
]

for (const [what, command, status, message] of CASES) {
  test(`bad input: ${what} gives status ${status} and one sentence`, async () => {
    const sandbox = new Running(['do', '--', ...command()])
    const ending = await sandbox.end(LIMIT_MS)
    assert.match(ending.stderr, message)
    oneSentence(ending.stderr)
    assert.equal(ending.status, status)
    await sandbox.leavesNothing()
  })
}

test('bad input: an ELF file whose contents are missing ends as a crash of the guest, not of the sandbox', async () => {
  const sandbox = new Running(['do', '--', join(directory, 'cut')])
  const { status, stderr } = await sandbox.end(LIMIT_MS)
  assert.ok(status !== null && status >= 126, `status ${status}`)
  assert.doesNotMatch(stderr, /^ +at /m)
  await sandbox.leavesNothing()
})

test('bad input: a working directory that is not there or not a directory', async () => {
  for (const cwd of ['/no/such/directory', join(directory, 'plain')]) {
    const sandbox = new Running(['do', '--cwd', cwd, '--', 'true'])
    const { status, stderr } = await sandbox.end(LIMIT_MS)
    assert.match(stderr, new RegExp(cwd))
    oneSentence(stderr)
    assert.ok(status !== 0)
    await sandbox.leavesNothing()
  }
})

test('bad input: a working directory that the user may not enter', async () => {
  const sandbox = new Running(['do', '--user', '65534', '--cwd', join(directory, 'closed'), '--', 'true'])
  const { status, stderr } = await sandbox.end(LIMIT_MS)
  assert.match(stderr, /closed/)
  oneSentence(stderr)
  assert.ok(status !== 0)
  await sandbox.leavesNothing()
})

test('bad input: a closed standard input, output and error', async () => {
  const sandbox = new Running(['do', '--', 'sh', '-c', 'exec <&- >&- 2>&-; exit 3'])
  assert.equal((await sandbox.end(LIMIT_MS)).status, 3)
  await sandbox.leavesNothing()
})

test('a limit of addresses: one that can be lifted is no hindrance, another is told in one sentence', () => {
  const caisson = join(import.meta.dirname, '../../bin/caisson')
  const limited = (limit: string) =>
    spawnSync('sh', ['-c', `ulimit ${limit} && exec "$0" do -- echo fine`, caisson], { encoding: 'utf8' })
  assert.equal(limited('-Sv 2000000').stdout, 'fine\n')
  const { status, stderr } = limited('-v 2000000')
  assert.equal(status, 125)
  assert.match(stderr, /2000000 KiB of addresses/)
  oneSentence(stderr)
})

test('bad input: a million bytes of arguments', async () => {
  const sandbox = new Running([
    'do',
    '--',
    'sh',
    '-c',
    'echo $#',
    'sh',
    ...Array(10).fill('x'.repeat(100_000)),
  ])
  const { status, stdout } = await sandbox.end(LIMIT_MS)
  assert.equal(stdout, '10\n')
  assert.equal(status, 0)
  await sandbox.leavesNothing()
})

function oneSentence(text: string): void {
  assert.match(text, /^caisson: [^\n]+\n$/)
}
