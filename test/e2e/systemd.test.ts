/**
 * Hosts that were booted with systemd: its cgroup driver under the runtime's own command line, under Docker, and under a rootless
 * podman, which has the user's systemd make the scopes. `test/vm` runs these where the machine has no systemd.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { findHierarchies } from '../../src/oci/cgroup/hierarchies.ts'
import { DockerDaemon, makeBusyboxTree, whyNoDocker } from './docker-daemon.ts'
import { until } from './leftovers.ts'
import { caisson, OciWorld } from './oci-bundle.ts'
import { NOT_ROOT, notInstalled } from './tools.ts'

const skip =
  NOT_ROOT ||
  (!existsSync('/run/systemd/system') && 'the host was not booted with systemd') ||
  notInstalled('busctl', 'systemctl')
const MIB = 1 << 20

/** A unit's properties. */
function show(unit: string, ...names: string[]): Record<string, string> {
  const { stdout } = spawnSync('systemctl', ['show', unit, '-p', names.join(',')], { encoding: 'utf8' })
  return Object.fromEntries(
    stdout
      .trimEnd()
      .split('\n')
      .map(line => line.split(/=(.*)/s).slice(0, 2)),
  )
}

function units(pattern: string): string {
  const args = ['list-units', '--all', '--no-legend', '--plain', pattern]
  return spawnSync('systemctl', args, { encoding: 'utf8' }).stdout
}

describe('systemd', { skip }, () => {
  const world = new OciWorld()
  const prefix = `caissontest${process.pid}`
  after(() => world.end())

  /** A container that sleeps, in a slice of the test's. */
  async function start(id: string, resources: Record<string, unknown>): Promise<string> {
    const linux = { cgroupsPath: `${prefix}.slice:box:${id}`, resources }
    const mounts = [{ destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup' }]
    const bundle = world.bundle({ args: ['sleep', '1000'], mounts, linux })
    const made = await world.beside('--systemd-cgroup', 'run', '--detach', '--bundle', bundle, id)
    assert.equal(made.status, 0, made.stderr)
    return `box-${id}.scope`
  }
  /** Of the first hierarchy that has the file: where systemd has put the scope. */
  function read(unit: string, file: string): string {
    const places = findHierarchies().list.map(each => join(each.mountpoint, `${prefix}.slice`, unit, file))
    return readFileSync(places.find(existsSync)!, 'utf8').trim()
  }

  test(
    'systemd: a container is a scope with its limits, in the slice that it names, and a reload of systemd leaves them',
    {
      skip: findHierarchies().version !== 2 && 'the host has cgroup version 1',
    },
    () =>
      world.cleanly(async () => {
        const unit = await start('limited', {
          memory: { limit: 128 * MIB, swap: 160 * MIB },
          cpu: { quota: 50_000, period: 100_000, shares: 512, cpus: '0' },
          pids: { limit: 20 },
        })
        assert.deepEqual(
          show(unit, 'Slice', 'Delegate', 'MemoryMax', 'MemorySwapMax', 'CPUQuotaPerSecUSec', 'AllowedCPUs'),
          {
            Slice: `${prefix}.slice`,
            Delegate: 'yes',
            MemoryMax: String(128 * MIB),
            MemorySwapMax: String(32 * MIB),
            CPUQuotaPerSecUSec: '500ms',
            AllowedCPUs: '0',
          },
        )
        world.ok(
          '--systemd-cgroup',
          'update',
          '--memory',
          String(96 * MIB),
          '--cpu-quota',
          '25000',
          'limited',
        )
        for (const after of ['update', 'reload']) {
          if (after === 'reload') spawnSync('systemctl', ['daemon-reload'])
          assert.equal(read(unit, 'memory.max'), String(96 * MIB), after)
          assert.equal(read(unit, 'cpu.max'), '25000 100000', after)
          assert.equal(read(unit, 'cpuset.cpus'), '0', after)
          assert.equal(
            world.ok('exec', 'limited', 'cat', '/sys/fs/cgroup/memory.max').trim(),
            String(96 * MIB),
          )
        }
        world.ok('delete', '--force', 'limited')
        assert.equal(units(unit), '')
      }),
  )

  test('systemd: whichever process of a container is killed, delete leaves neither unit nor cgroup', () =>
    world.cleanly(async () => {
      for (const victim of ['launcher', 'sentry']) {
        const unit = await start(victim, {})
        const { pid } = world.state(victim) as { pid: number }
        const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').map(Number)
        process.kill(victim === 'launcher' ? pid : children[0], 'SIGKILL')
        await until(() => world.state(victim).status === 'stopped', `the ${victim}'s end is seen`)
        world.ok('delete', victim)
        assert.equal(units(unit), '')
        for (const { mountpoint } of findHierarchies().list) {
          assert.ok(!existsSync(join(mountpoint, `${prefix}.slice`, unit)))
        }
      }
    }))
})

describe('systemd: Docker', { skip: skip || whyNoDocker() }, () => {
  let daemon: DockerDaemon
  before(async () => {
    daemon = await DockerDaemon.start(['--exec-opt', 'native.cgroupdriver=systemd'])
  })
  after(() => daemon.stop())
  const docker = (...args: string[]) => daemon.docker(...args)
  const inSandbox = ['--runtime=caisson', '--network=none']

  test('systemd: Docker’s containers are scopes, whose limits docker update changes', async () => {
    const id = await docker(
      'run',
      '-d',
      ...inSandbox,
      '--memory=128m',
      '--pids-limit=20',
      'busybox',
      'sleep',
      '1000',
    )
    const unit = `docker-${id}.scope`
    assert.deepEqual(show(unit, 'ActiveState', 'MemoryMax'), {
      ActiveState: 'active',
      MemoryMax: String(128 * MIB),
    })
    await docker('update', '--memory=96m', '--memory-swap=96m', id)
    assert.equal(show(unit, 'MemoryMax').MemoryMax, String(96 * MIB))
    assert.equal(await docker('exec', id, 'cat', '/sys/fs/cgroup/pids.max'), '20')
    await docker('pause', id)
    assert.equal(await docker('inspect', '-f', '{{.State.Status}}', id), 'paused')
    await docker('unpause', id)
    await docker('rm', '-f', id)
    assert.equal(units(unit), '')
  })

  test('systemd: who needs more memory than the limit is killed, and Docker tells', async () => {
    const eater = 'dd if=/dev/zero of=/dev/null bs=300M count=1'
    const limits = ['--memory=100m', '--memory-swap=100m']
    const { status } = await daemon.try([
      'run',
      '--name=eater',
      ...inSandbox,
      ...limits,
      'busybox',
      'sh',
      '-c',
      `exec ${eater}`,
    ])
    assert.equal(status, 137)
    assert.equal(await docker('inspect', '-f', '{{.State.OOMKilled}}', 'eater'), 'true')
    await docker('rm', 'eater')
  })
})

/** One whose systemd runs. */
const user = existsSync('/run/user')
  ? readdirSync('/run/user')
      .filter(uid => uid !== '0' && existsSync(`/run/user/${uid}/bus`))
      .map(Number)[0]
  : undefined
const skipRootless =
  skip || (user === undefined && "no user's systemd runs") || notInstalled('podman', 'newuidmap', 'busybox')

test('systemd: a rootless podman’s container is a scope of the user’s systemd, with the limits that it was given', {
  skip: skipRootless,
}, () => {
  const world = new OciWorld()
  const tree = join(world.directory, 'podman')
  makeBusyboxTree(tree)
  const script = `
    export XDG_RUNTIME_DIR=/run/user/${user}
    cd "$HOME"
    tar -C ${tree} -c . | podman import - caisson-busybox > /dev/null 2>&1
    podman --runtime ${caisson} run -d --name caisson-test --network=none --memory 128m caisson-busybox sleep 1000 > /dev/null
    podman exec caisson-test cat /sys/fs/cgroup/memory.max
    systemctl --user show "libpod-$(podman inspect -f '{{.Id}}' caisson-test).scope" -p MemoryMax -p ActiveState
    podman rm -f -t 0 caisson-test > /dev/null
    podman rmi caisson-busybox > /dev/null 2>&1
    systemctl --user list-units --all --no-legend 'libpod-*.scope' | grep -v conmon`
  spawnSync('chmod', ['755', world.directory])
  const name = spawnSync('id', ['-nu', String(user)], { encoding: 'utf8' }).stdout.trim()
  const { stdout, stderr } = spawnSync('su', ['-', name, '-c', script], {
    encoding: 'utf8',
    timeout: 600_000,
  })
  world.end()
  assert.equal(stdout, `${128 * MIB}\nMemoryMax=${128 * MIB}\nActiveState=active\n`, stderr)
})
