/** podman with caisson as its runtime: it talks to it through conmon, and to no daemon. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { makeBusyboxTree } from './docker-daemon.ts'
import { until } from './leftovers.ts'
import { caisson } from './oci-bundle.ts'
import { NOT_ROOT, notInstalled } from './tools.ts'

const skip = NOT_ROOT || notInstalled('podman', 'conmon', 'busybox')
const skipNetworks = notInstalled(
  'iptables',
  ...['bridge', 'portmap', 'firewall'].map(each => `/usr/lib/cni/${each}`),
)

describe('podman', { skip }, () => {
  let directory = ''
  const podman = (...args: string[]) => {
    const place = ['--root', join(directory, 'root'), '--runroot', join(directory, 'run')]
    place.push('--network-config-dir', join(directory, 'networks'))
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

  test('podman: a published port of a network leads to the container, also when it was started anew', {
    skip: skipNetworks,
  }, async () => {
    const network = `caisson${process.pid}`
    const server = 'mkdir -p /www; echo page > /www/index.html; exec httpd -f -p 80 -h /www'
    ok('network', 'create', network)
    try {
      ok(
        'run',
        '-d',
        '--name',
        'web',
        '--network',
        network,
        '-p',
        '127.0.0.1::80',
        'busybox',
        'sh',
        '-c',
        server,
      )
      const page = async () => {
        const address = ok('port', 'web', '80/tcp')
        await until(
          () => podman('exec', 'web', 'wget', '-qO-', 'http://127.0.0.1/').status === 0,
          'it serves',
        )
        return (await fetch(`http://${address}/`)).text()
      }
      assert.equal(await page(), 'page\n')
      ok('stop', '-t', '0', 'web')
      ok('start', 'web')
      assert.equal(await page(), 'page\n')
      const other = ok(
        'run',
        '--rm',
        '--network',
        network,
        'busybox',
        'ip',
        '-o',
        '-4',
        'addr',
        'show',
        'eth0',
      )
      assert.match(other, /inet 10\.\d+\.\d+\.\d+\/24/)
    } finally {
      podman('rm', '-f', '-t', '0', 'web')
      podman('network', 'rm', '-f', network)
    }
  })

  test('podman: the containers of a pod share its network', { skip: skipNetworks }, () => {
    const infra = ['--infra-image', 'busybox', '--infra-command', '/bin/sleep 1000']
    ok('pod', 'create', '--name', 'pod', '--network=none', ...infra)
    try {
      ok(
        'run',
        '-d',
        '--pod',
        'pod',
        '--name',
        'first',
        'busybox',
        'nc',
        '-l',
        '-p',
        '99',
        '-e',
        'echo',
        'heard',
      )
      const ask = 'until nc -w 5 127.0.0.1 99; do sleep 0.1; done'
      assert.equal(ok('run', '--rm', '--pod', 'pod', 'busybox', 'sh', '-c', ask), 'heard')
    } finally {
      podman('pod', 'rm', '-f', '-t', '0', 'pod')
    }
  })
})
