/** podman with caisson as its runtime: it talks to it through conmon, and to no daemon. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { makeBusyboxTree } from './docker-daemon.ts'
import { caisson } from './oci-bundle.ts'
import { NOT_ROOT, notInstalled } from './tools.ts'

const skip = NOT_ROOT || notInstalled('podman', 'conmon', 'busybox')

describe('podman', { skip }, () => {
  let directory = ''
  const podman = (...args: string[]) => {
    const place = ['--root', join(directory, 'root'), '--runroot', join(directory, 'run')]
    const kind = ['--cgroup-manager=cgroupfs', '--storage-driver=vfs', '--runtime', caisson]
    return spawnSync('podman', [...place, ...kind, ...args], { encoding: 'utf8', timeout: 60_000 })
  }
  const ok = (...args: string[]) => {
    const { status, stdout, stderr } = podman(...args)
    assert.equal(status, 0, `podman ${args.join(' ')}: ${stderr}`)
    return stdout.trim()
  }
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'caisson-podman-'))
    const tree = join(directory, 'tree')
    makeBusyboxTree(tree)
    const made = spawnSync('tar', ['-C', tree, '-cf', join(directory, 'image.tar'), '.'])
    assert.equal(made.status, 0)
    ok('import', join(directory, 'image.tar'), 'busybox')
  })
  after(() => {
    podman('rm', '-a', '-f', '-t', '0')
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
    for (const mount of mounts.map(line => line.split(' ')[4] ?? '').reverse()) {
      if (mount.startsWith(directory)) spawnSync('umount', ['-l', mount])
    }
    rmSync(directory, { recursive: true, force: true })
  })

  test('podman: run gives output and status', () => {
    const { status, stdout } = podman(
      'run',
      '--rm',
      '--network=none',
      'busybox',
      'sh',
      '-c',
      'uname -v; exit 3',
    )
    assert.match(stdout, /caisson/)
    assert.equal(status, 3)
  })

  test('podman: a container in the background, exec, logs, stop', () => {
    ok('run', '-d', '--name', 'back', '--network=host', 'busybox', 'sh', '-c', 'echo up; exec sleep 1000')
    assert.equal(ok('exec', 'back', 'cat', '/proc/1/comm'), 'sleep')
    assert.equal(ok('logs', 'back'), 'up')
    ok('stop', '-t', '0', 'back')
    assert.equal(ok('inspect', '-f', '{{.State.ExitCode}}', 'back'), '137')
  })
})
