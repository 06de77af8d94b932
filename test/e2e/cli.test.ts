/** The command line as a user meets it. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { getPriority, tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

const root = join(import.meta.dirname, '../..')

function caisson(...args: string[]) {
  return spawnSync(join(root, 'bin/caisson'), args, { encoding: 'utf8', timeout: 20000 })
}

test('cli: the version is that of the package', () => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  assert.match(caisson('--version').stdout, new RegExp(`^caisson version ${version}\n`))
})

test('cli: what is wrong with the flags is said in one line, with status 125', () => {
  const wrong: [string[], RegExp][] = [
    [['do'], /missing required argument/],
    [['do', '--nonsense', 'true'], /unknown option/],
    [
      ['do', '--network=bridge', '--', 'true'],
      /--network: bridge is none of 'none', 'host', 'user' and 'sandbox'/,
    ],
    [['do', '--rw', '/no/such/path', '--', 'true'], /\/no\/such\/path can't be given/],
    [['do', '--rw', '/proc/self', '--', 'true'], /has its own proc/],
    [['do', '--volume', '/tmp', '--', 'true'], /expected SOURCE:TARGET/],
    [['do', '--user', 'no-such-user', '--', 'true'], /no user no-such-user/],
    [['do', '--cwd', 'relative', '--', 'true'], /not an absolute path/],
    [['do', '--overlay-size', 'much', '--', 'true'], /overlay-size/],
    [['strace', 'on', '0'], /there is no sandbox 0/],
  ]
  for (const [args, message] of wrong) {
    const { status, stderr } = caisson(...args)
    assert.match(stderr, message)
    assert.doesNotMatch(stderr, /\n\s+at /, 'no stack')
    assert.equal(status, 125, args.join(' '))
  }
})

test('cli: the exit status is that of the command, and 128 + n after signal n', () => {
  assert.equal(caisson('do', '--', 'true').status, 0)
  assert.equal(caisson('do', '--', 'sh', '-c', 'exit 42').status, 42)
  assert.equal(caisson('do', '--', 'sh', '-c', 'kill -9 $$').status, 128 + 9)
})

test('cli: a command that is not there gives 127, one that can not be executed 126', () => {
  const missing = caisson('do', '--', 'no-such-command')
  assert.equal(missing.status, 127)
  assert.match(missing.stderr, /no-such-command: command not found/)
  assert.equal(caisson('do', '--', '/etc/passwd').status, 126)
})

test('cli: the command is as nice as its caller', () => {
  const args = ['-n', '3', join(root, 'bin/caisson'), 'do', '--', 'nice']
  const { stdout } = spawnSync('nice', args, { encoding: 'utf8', timeout: 20000 })
  assert.equal(stdout, `${Math.min(getPriority() + 3, 19)}\n`)
})

test('cli: flags behind the command are the command’s', () => {
  assert.equal(caisson('do', 'echo', '--strace', '--help').stdout, '--strace --help\n')
})

test('cli: the environment is passed on, changed as told', () => {
  const { stdout } = caisson('do', '--env', 'ADDED=1', '--env', 'HOME', '--', 'env')
  assert.match(stdout, /^ADDED=1$/m)
  assert.doesNotMatch(stdout, /^(HOME|CAISSON_\w+)=/m)
})

test('cli: variables that steer Node.js or the loader reach the command alone', () => {
  const env = { ...process.env, NODE_OPTIONS: '--no-such-option', LD_LIBRARY_PATH: '/nowhere' }
  const run = spawnSync(join(root, 'native/build/caisson'), ['do', '--', 'env'], {
    encoding: 'utf8',
    env,
    timeout: 20000,
  })
  assert.match(run.stdout, /^NODE_OPTIONS=--no-such-option$/m)
  assert.match(run.stdout, /^LD_LIBRARY_PATH=\/nowhere$/m)
})

test('cli: writes stay in the sandbox, except below --rw', () => {
  const dir = mkdtempSync(join(tmpdir(), 'caisson-cli-'))
  try {
    writeFileSync(join(dir, 'file'), 'before')
    assert.equal(
      caisson('do', '--', 'sh', '-c', `echo after > ${dir}/file; cat ${dir}/file`).stdout,
      'after\n',
    )
    assert.equal(readFileSync(join(dir, 'file'), 'utf8'), 'before')
    assert.equal(caisson('do', '--rw', dir, '--', 'sh', '-c', `echo after > ${dir}/file`).status, 0)
    assert.equal(readFileSync(join(dir, 'file'), 'utf8'), 'after\n')
    const volume = caisson(
      'do',
      '--volume',
      `${dir}:/mnt:ro`,
      '--',
      'sh',
      '-c',
      'cat /mnt/file; echo no > /mnt/file',
    )
    assert.equal(volume.stdout, 'after\n')
    assert.notEqual(volume.status, 0)
  } finally {
    rmSync(dir, { recursive: true })
  }
})

test('cli: --strace prints calls as strace does', () => {
  const { stderr } = caisson('do', '--strace', '--', 'cat', '/etc/hostname')
  assert.match(stderr, /openat\(AT_FDCWD, "\/etc\/hostname", O_RDONLY.*\) += \d+/)
  assert.match(stderr, /exit_group\(0\) += \?/)
})

test('cli: syscalls prints the table', () => {
  const { stdout, status } = caisson('syscalls')
  assert.equal(status, 0)
  assert.match(stdout, /^ {2}0 read +(done|in part)/m)
  assert.match(stdout, /\d+ are implemented/)
})
