/**
 * The container runtime where the host, or what its caller gives it, is not as it should be: each failure is one sentence, and
 * leaves nothing behind.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { assertSentence, caisson, OciWorld } from './oci-bundle.ts'

const needsRoot = process.getuid!() === 0 ? false : 'containers are made by root alone'
const world = new OciWorld()
after(() => world.end())
const SLEEPER = ['sleep', '1000']
const LIMIT_MS = 240_000
const place = (name: string) => join(world.directory, name)

function robust(name: string, body: () => Promise<void> | void): void {
  test(`robustness: ${name}`, { skip: needsRoot, timeout: LIMIT_MS }, () => world.cleanly(body))
}

const ROOTS: [string, string, RegExp][] = [
  ['full', 'size=16k', /can't be written to .*: no space left on device/],
  ['without room for files', 'size=1m,nr_inodes=4', /No space left on device|no space left on device/],
  ['read-only', 'size=16k,ro', /can't be written to .*: read-only file system/],
]
for (const [what, options, expected] of ROOTS) {
  robust(`a directory for the state that is ${what}`, () => {
    const root = place('small')
    const outcome = world.script(
      `mkdir -p ${root}; mount -t tmpfs -o ${options} none ${root}
      [ ${what} = full ] && head -c 20k /dev/zero > ${root}/filler 2> /dev/null
      ${caisson} --root ${root} run -b $1 x || { rm -f ${root}/filler; ls -A ${root}; exit 1; }`,
      world.bundle({ args: ['true'] }),
    )
    assertSentence(outcome, expected)
    assert.equal(outcome.stdout, '')
  })
}

robust('a root that is a file', () => {
  writeFileSync(place('file'), '')
  const run = (...words: string[]) => world.script(`${caisson} --root ${place('file')} "$@"`, ...words)
  assertSentence(
    run('run', '-b', world.bundle({ args: ['true'] }), 'x'),
    /can't be written to .*file already exists/,
  )
  assertSentence(run('list'), /not a directory/)
  assertSentence(run('state', 'x'), /not a directory/)
  assertSentence(run('delete', '--force', 'x'), /not a directory/)
})

robust('a disk that is full when a container starts: it stays what it was, and can be deleted', () => {
  const root = place('filling')
  const { stdout, stderr } = world.script(
    `mkdir -p ${root}; mount -t tmpfs -o size=64k none ${root}; c="${caisson} --root ${root}"
    $c create -b $1 x > /dev/null 2>&1 || exit 1
    head -c 100k /dev/zero > ${root}/filler 2> /dev/null
    $c start x; echo $?; $c state x | grep status
    $c delete --force x; echo $?; ls -A ${root}`,
    world.bundle({ args: SLEEPER }),
  )
  assert.match(stderr, /can't be written to .*no space left on device/)
  assert.match(stdout, /^1\n\s+"status": "created",\n0\nfiller\n$/)
})

robust('a pid file that can not be written: no container, and no half of the file', () => {
  const bundle = world.bundle({ args: SLEEPER })
  mkdirSync(place('pids/directory'), { recursive: true })
  assertSentence(
    world.run('create', '-b', bundle, '--pid-file', place('pids/directory'), 'x'),
    /--pid-file .* can't be written/,
  )
  assertSentence(world.run('create', '-b', bundle, '--pid-file', place('pids/no/file'), 'x'), /--pid-file/)
  assert.deepEqual(readdirSync(place('pids')), ['directory'])
  // A link that waits where the file is written first is not followed.
  symlinkSync(place('victim'), place('pids/.pid'))
  world.create('x', bundle, '--pid-file', place('pids/pid'))
  assert.equal(readFileSync(place('pids/pid'), 'utf8'), String(world.state('x').pid))
  assert.equal(existsSync(place('victim')), false)
  world.ok('start', 'x')
  assertSentence(
    world.run('exec', '--detach', '--pid-file', place('pids/directory'), 'x', 'sleep', '999'),
    /--pid-file .* can't be written/,
  )
  assert.doesNotMatch(world.ok('ps', 'x'), /999/)
  world.ok('delete', '--force', 'x')
})

robust('a host whose cgroups can not be written, or that has none', () => {
  const bundle = world.bundle({ args: ['echo', 'done'] })
  const readOnly = world.script(
    `for m in $(grep -o "/sys/fs/cgroup[^ ]*" /proc/self/mountinfo); do mount -o remount,bind,ro $m; done
    timeout 5 $c run -b $1 x`,
    bundle,
  )
  assertSentence(readOnly, /the cgroup .* can't be made: EROFS/)
  const none = 'umount -R /sys/fs/cgroup || exit 3; $c run -b $1 x'
  assert.deepEqual(world.script(none, bundle), { status: 0, stdout: 'done\n', stderr: '' })
  const limited = world.bundle({ args: ['true'], linux: { resources: { memory: { limit: 100 << 20 } } } })
  assertSentence(
    world.script(none, limited),
    /linux\.resources\.memory\.limit can't be obeyed: this host has no cgroup/,
  )
})

robust('few descriptors: it works or says why', () => {
  const bundle = world.bundle({ args: ['echo', 'done'] })
  for (const count of [24, 32, 40, 48, 64, 128]) {
    const outcome = world.script(`ulimit -n ${count}; $c run -b $1 x`, bundle)
    if (outcome.status === 0) assert.equal(outcome.stdout, 'done\n')
    else assert.match(outcome.stderr, /caisson run failed: /, `${count}`)
    assert.ok(outcome.status === 0 || count < 64, `${count}: ${outcome.stderr}`)
  }
})

robust('a caller who is short of memory: what is left of it delete --force takes away', () => {
  const group = `/sys/fs/cgroup/memory/caisson-short-${process.pid}`
  if (!existsSync('/sys/fs/cgroup/memory')) return
  mkdirSync(group)
  try {
    writeFileSync(join(group, 'memory.limit_in_bytes'), '8m')
    const outcome = world.script(
      `sh -c 'echo $$ > ${group}/cgroup.procs; exec "$@"' sh $c run -b $1 x`,
      world.bundle({ args: ['true'] }),
    )
    assert.equal(outcome.status, 137)
    world.ok('delete', '--force', 'x')
  } finally {
    spawnSync('sh', ['-c', `until rmdir ${group}; do sleep 0.1; done`], { timeout: 5000, stdio: 'ignore' })
  }
})

const LOOP = 'loop'
const DEEP = `${'['.repeat(1e6)}${']'.repeat(1e6)}`
const WRONG_TEXTS: [string, (text: string) => string, RegExp][] = [
  ['is empty', () => '', /is not JSON/],
  ['breaks off', text => text.slice(0, 200), /is not JSON/],
  ['is an array', () => '[]', /the whole must be of type object/],
  ['has 20 MB', text => text + ' '.repeat(20 << 20), /is longer than/],
  ['is nested a million deep', text => text.replace('{', `{"x":${DEEP},`), /call stack/],
  ['has a NUL character', text => text.replace('"/proc"', '"/proc\\u0000x"'), /has a NUL character/],
]
const WRONG_FIELDS: [string, unknown, RegExp][] = [
  ['annotations', { x: 'y'.repeat(10 << 20) }, /4\.0 MiB at most/],
  ['root.path', 'no', /root\.path: .* does not exist/],
  ['root.path', 'config.json', /is not a directory/],
  ['root.path', `../${LOOP}`, /root\.path: ELOOP/],
  ['root.path', '/proc', /belongs to the proc of the host/],
  ['linux.cgroupsPath', '../../..', /linux\.cgroupsPath/],
  ['linux.cgroupsPath', '/..', /linux\.cgroupsPath/],
  ['hooks', { prestart: [{ path: 'x' }] }, /must be absolute/],
  ['process.args', ['echo', 'x'.repeat(3 << 20)], /argument list/],
]
robust('a wrong bundle is named, whatever is wrong with it', () => {
  symlinkSync(LOOP, place(LOOP))
  const refused = (what: string, change: (text: string) => string, expected: RegExp) => {
    const bundle = world.bundle({ args: ['true'] })
    const path = join(bundle, 'config.json')
    writeFileSync(path, change(readFileSync(path, 'utf8')))
    const outcome = world.run('run', '-b', bundle, 'x')
    assert.match(outcome.stderr, expected, `config.json ${what}`)
    assertSentence(outcome, expected)
  }
  for (const wrong of WRONG_TEXTS) refused(...wrong)
  for (const [field, value, expected] of WRONG_FIELDS) {
    refused(`${field} ${JSON.stringify(value).slice(0, 80)}`, text => withField(text, field, value), expected)
  }
  assertSentence(world.run('run', '-b', '/no/bundle', 'x'), /is \/no\/bundle a bundle\?/)
  const id = world.bundle({ args: ['true'] })
  for (const wrong of ['../x', '..', '', 'a/b', 'a@1.1']) {
    assertSentence(world.run('run', '-b', id, '--', wrong), /invalid container ID format/)
  }
})

function withField(text: string, field: string, value: unknown): string {
  const config = JSON.parse(text)
  const [last, ...path] = field.split('.').reverse()
  path.reverse().reduce((object, name) => object[name], config)[last] = value
  return JSON.stringify(config)
}

robust('what a command line names and is not there', () => {
  const bundle = world.bundle({ args: SLEEPER, terminal: true })
  assertSentence(world.run('create', '-b', bundle, '--console-socket', '/no/socket', 'x'), /no such file/)
  assertSentence(world.run('create', '-b', bundle, '--preserve-fds', '3', 'x'), /there is no descriptor 3/)
  assertSentence(world.run('exec', '--process', '/no/process', 'x'), /\/no\/process does not exist/)
  assertSentence(world.run('update', '--resources', '/no/resources', 'x'), /\/no\/resources does not exist/)
})

robust('descriptors that a caller passes on arrive', () => {
  const bundle = world.bundle({ args: ['sh', '-c', 'cat <&3; cat <&4'] })
  for (const name of ['three', 'four']) writeFileSync(place(name), name)
  const { stdout, stderr } = world.script(
    `$c run --preserve-fds 2 -b $1 x 3< ${place('three')} 4< ${place('four')}`,
    bundle,
  )
  assert.deepEqual([stdout, stderr], ['threefour', ''])
})

robust('a hook may have weeks', () => {
  const hook = { path: '/bin/sleep', args: ['sleep', '0.1'], timeout: 3_000_000 }
  const bundle = world.bundle({ args: ['echo', 'done'], hooks: { prestart: [hook] } })
  assert.deepEqual(world.run('run', '-b', bundle, 'x'), { status: 0, stdout: 'done\n', stderr: '' })
})
