/**
 * A Debian system made and run inside: debootstrap and apt-get over the network of a sandbox, then systemd as the first
 * process of a Docker container with that system as its image. The packages are those that fetch-debian.sh has fetched.
 */
import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createReadStream, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, normalize } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { DockerDaemon, whyNoDocker } from './docker-daemon.ts'
import { NOT_ROOT, notInstalled } from './tools.ts'

const caisson = join(import.meta.dirname, '../../bin/caisson')
/** Only against hanging. */
const LIMIT_MS = 900_000

const mirror = join(import.meta.dirname, '../../.cache/debian')
const skip =
  NOT_ROOT ||
  notInstalled('debootstrap', 'tar') ||
  (!existsSync(join(mirror, 'suite')) && 'no Debian packages: test/e2e/fetch-debian.sh fetches them')

describe('Debian', { skip }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'caisson-debian-'))
  const server = createServer((request, response) => {
    const file = createReadStream(join(mirror, normalize(request.url!)))
    file.on('error', () => response.writeHead(404).end())
    file.pipe(response)
  })
  before(() => once(server.listen(0, '127.0.0.1'), 'listening'))
  after(() => {
    server.close()
    rmSync(directory, { recursive: true, force: true })
  })

  test('debootstrap makes a system, and apt-get installs a package in it', async () => {
    const suite = readFileSync(join(mirror, 'suite'), 'utf8').trim()
    const url = `http://10.0.2.2:${(server.address() as AddressInfo).port}`
    const script = `
root=/var/tmp/root; export DEBIAN_FRONTEND=noninteractive LC_ALL=C
debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus ${suite} $root ${url} > log 2>&1 || { tail log; exit 1; }
tail -1 log
mount -t proc proc $root/proc
chroot $root sh -c 'apt-get -o Acquire::Languages=none update -q && apt-get install -qy --no-install-recommends hello' > log 2>&1 || { tail log; exit 1; }
chroot $root hello
chroot $root dpkg --audit
umount $root/proc
tar -C $root -cf image.tar .`
    const network = ['--network=user', '--host-loopback']
    const args = ['do', ...network, '--rw', directory, '--', 'bash', '-c', script]
    const { stdout, stderr } = await promisify(execFile)(caisson, args, { cwd: directory, timeout: LIMIT_MS })
    assert.equal(stdout, 'I: Base system installed successfully.\nHello, world!\n', stderr)
  })

  describe('systemd', { skip: whyNoDocker() }, () => {
    let daemon: DockerDaemon
    before(async () => {
      daemon = await DockerDaemon.start()
    })
    after(() => daemon?.stop())

    test('boots as the first process of a container, runs units in cgroups, and shuts down', async () => {
      const image = openSync(join(directory, 'image.tar'), 'r')
      const args = ['--host', daemon.address, 'import', '-', 'debian']
      assert.equal(spawnSync('docker', args, { stdio: [image, 'ignore', 'inherit'] }).status, 0)
      // As systemd asks it of container engines; cgroups can be made by who is privileged only, with runc too.
      const mounts = ['/run', '/run/lock', '/tmp'].flatMap(path => ['--tmpfs', path])
      const flags = ['--privileged', '-t', '-e', 'container=docker', '--stop-signal=SIGRTMIN+3', ...mounts]
      await daemon.docker('run', '-d', '--name=system', '--runtime=caisson', ...flags, 'debian', '/sbin/init')
      // A process of exec that comes earlier is in the cgroup whose controllers systemd is about to hand out.
      const booted = async () => (await daemon.docker('logs', 'system')).includes('Graphical Interface')
      for (let left = 3000; left > 0 && !(await booted()); left--) {
        await new Promise(resolve => setTimeout(resolve, 200))
      }
      const script = `
systemctl is-system-running --wait
systemctl --failed --no-legend --plain
cat > /etc/systemd/system/unit.service <<END
[Service]
Type=notify
NotifyAccess=all
ExecStart=/bin/sh -c 'echo a unit speaks; systemd-notify --ready; exec sleep 1000'
DynamicUser=yes
PrivateTmp=yes
ProtectSystem=strict
MemoryMax=64M
TasksMax=20
END
systemctl daemon-reload; systemctl start unit; systemctl is-active unit
cat /proc/$(systemctl show -P MainPID unit)/cgroup
cd /sys/fs/cgroup/system.slice/unit.service; cat memory.max pids.max; cd /
journalctl --sync; journalctl -u unit -o cat --no-pager | grep speaks
systemctl stop unit; systemctl is-active unit
systemd-run --wait --quiet --pipe echo a transient unit speaks`
      const { stdout, stderr } = await daemon.try(['exec', 'system', 'sh', '-c', script], '', LIMIT_MS)
      const expected = [
        'running',
        'active',
        '0::/system.slice/unit.service',
        '67108864',
        '20',
        'a unit speaks',
        'inactive',
        'a transient unit speaks',
      ]
      assert.deepEqual(stdout.trim().split('\n'), expected, stderr)
      await daemon.docker('stop', '-t', '60', 'system')
      // What reboot(2) does to the first process of a pid namespace: it ends by SIGINT.
      assert.equal(await daemon.docker('inspect', '-f', '{{.State.ExitCode}}', 'system'), '130')
    })
  })
})
