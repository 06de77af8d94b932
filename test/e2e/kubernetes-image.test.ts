/** deploy/kubernetes/Dockerfile: the installer's image, with a directory in a node's place. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { DockerDaemon, whyNoDocker } from './docker-daemon.ts'

const root = join(import.meta.dirname, '../..')
const CONFIG = 'etc/containerd/config.toml'

/** What is copied to a node, and built by the tests that run it. */
function whyNoPackage(): string | undefined {
  return existsSync(join(root, 'dist/caisson.cjs')) ? undefined : 'the package is not built: npm run build'
}

const skip = whyNoDocker() ?? whyNoPackage() ?? false

let daemon: DockerDaemon
before(async () => {
  if (skip === false) daemon = await DockerDaemon.start()
})
after(() => daemon?.stop())

async function docker(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await daemon.try(args, '', 120_000)
  assert.equal(status, 0, `docker ${args.join(' ')}: ${stderr}`)
  return stdout
}

test('kubernetes image: its container installs a package that works, and takes it away again', {
  skip,
}, async () => {
  const file = join(root, 'deploy/kubernetes/Dockerfile')
  await docker('build', '--build-arg', 'BASE=busybox', '-f', file, '-t', 'caisson-installer', root)
  const host = join(daemon.directory, 'node')
  const config = join(host, CONFIG)
  const restarted = join(host, 'restarted')
  mkdirSync(join(host, 'etc/containerd'), { recursive: true })
  writeFileSync(config, 'version = 2\n')
  const installer = (word: string) => {
    rmSync(restarted, { force: true })
    const flags = ['--rm', '-v', `${host}:/host`, '-e', 'RESTART=touch /host/restarted']
    return docker('run', ...flags, 'caisson-installer', word)
  }

  assert.match(await installer('install'), /installed as \/opt\/caisson\//)
  assert.ok(existsSync(restarted))
  assert.match(readFileSync(config, 'utf8'), /runtime_type = "io\.containerd\.caisson\.v1"/)
  const shim = readlinkSync(join(host, 'usr/local/bin/containerd-shim-caisson-v1'))
  const installed = join(host, shim, '../..')
  assert.deepEqual(readdirSync(installed).sort(), [
    'LICENSE',
    'bin',
    'dist',
    'native',
    'node_modules',
    'package.json',
  ])
  const run = spawnSync(join(installed, 'bin/caisson'), ['do', '--', 'uname', '-v'], { encoding: 'utf8' })
  assert.deepEqual([run.status, run.stderr], [0, ''])
  assert.match(run.stdout, /caisson/)
  const asked = spawnSync(join(installed, 'bin/containerd-shim-caisson-v1'), ['-v'], { encoding: 'utf8' })
  assert.deepEqual([asked.status, asked.stderr], [0, ''])

  await installer('install')
  assert.ok(!existsSync(restarted), 'nothing has changed')

  await installer('uninstall')
  assert.ok(existsSync(restarted))
  assert.equal(readFileSync(config, 'utf8'), 'version = 2\n')
  assert.deepEqual(
    [existsSync(join(host, 'opt/caisson')), readdirSync(join(host, 'usr/local/bin'))],
    [false, []],
  )
})
