/**
 * `docker … --runtime=caisson`: what people do with Docker works, and says what it says under runc. A daemon of the
 * tests' own (docker-daemon.ts). CAISSON_TEST_RUNTIME=runc runs the same tests with runc: they hold there, too.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { dnsServer } from './dns-server.ts'
import { DockerDaemon, type Outcome, whyNoDocker } from './docker-daemon.ts'
import { until } from './leftovers.ts'

const runtime = process.env.CAISSON_TEST_RUNTIME ?? 'caisson'
const skip = whyNoDocker()
/** Not the host's sockets. */
const ownStack = runtime === 'caisson' && (process.env.CAISSON_TEST_NETWORK ?? 'sandbox') === 'sandbox'

describe(`docker with ${runtime}`, { skip }, () => {
  let daemon: DockerDaemon
  const flag = `--runtime=${runtime}`
  let names = 0
  const freshName = () => `t${++names}`

  const runIn = (...args: string[]): Promise<Outcome> => daemon.try(['run', '--rm', flag, ...args])
  /** What a command prints in a container of its own, which must succeed. */
  const printed = (...args: string[]) => daemon.docker('run', '--rm', flag, ...args)
  /** A container in the background, by its name. */
  const started = async (...args: string[]): Promise<string> => {
    const name = freshName()
    await daemon.docker('run', '-d', '--name', name, flag, ...args)
    return name
  }
  const inspect = async (name: string, format: string) => daemon.docker('inspect', '-f', format, name)
  const becomes = async (name: string, format: string, value: string) => {
    let last = ''
    for (let tries = 0; tries < 200; tries++) {
      last = await inspect(name, format)
      if (last === value) return
      await new Promise(resolve => setTimeout(resolve, 50))
    }
    assert.equal(last, value)
  }

  before(async () => {
    daemon = await DockerDaemon.start(['--live-restore'])
  })
  after(async () => daemon?.stop())

  test('run: output, both of its streams, and the exit status', async () => {
    const { status, stdout, stderr } = await runIn('busybox', 'sh', '-c', 'echo out; echo err >&2; exit 7')
    assert.deepEqual({ status, stdout, stderr }, { status: 7, stdout: 'out\n', stderr: 'err\n' })
  })

  test('run: the kernel is the sandbox’s own', { skip: runtime !== 'caisson' }, async () => {
    assert.match(await printed('busybox', 'uname', '-v'), /caisson/)
  })

  test('run: a command that does not exist is 127, one that can’t be executed 126', async () => {
    const missing = await runIn('busybox', 'no-such-command')
    assert.equal(missing.status, 127)
    assert.match(missing.stderr, /executable file not found in \$PATH/)
    const directory = await runIn('busybox', '/etc')
    assert.equal(directory.status, 126)
    assert.match(directory.stderr, /permission denied|is a directory/)
  })

  test('run: its namespaces are its own, by their numbers too', async () => {
    const script = 'for kind in mnt pid ipc uts net; do readlink /proc/self/ns/$kind; done'
    const links = (await printed('busybox', 'sh', '-c', script)).trim().split('\n')
    const numbers = links.map(link => Number(/\[(\d+)\]/.exec(link)![1]))
    assert.equal(new Set(numbers).size, 5)
    // Below are those that a machine begins with.
    for (const number of numbers) assert.ok(number > 4026532000, String(number))
  })

  test('run --sysctl: settings of its network have these values, and others those that Linux gives', async () => {
    const flags = [
      'net.core.somaxconn=777',
      'net.ipv4.conf.all.rp_filter=2',
      'net.ipv4.ip_local_port_range=4000 5000',
    ]
    const files = flags.map(flag => flag.split('=')[0].replaceAll('.', '/'))
    const text = await printed(
      ...flags.flatMap(flag => ['--sysctl', flag]),
      ...['busybox', 'sh', '-c', `cd /proc/sys; cat ${files.join(' ')}; cat net/ipv4/conf/eth0/forwarding`],
    )
    // Of a namespace of the host's the last one is what the host has; a stack of the sandbox's own begins with 0.
    assert.match(text, /^777\n2\n4000\t5000\n[01]$/)
    const refused = await runIn('busybox', 'sh', '-c', 'echo 1 > /proc/sys/net/core/somaxconn')
    assert.match(refused.stderr, /Read-only file system/)
  })

  test('run: /sys/class/net has the devices of its network', async () => {
    const script = 'cd /sys/class/net; echo *; cd eth0; cat address mtu operstate; cat ../lo/type'
    const text = await printed('busybox', 'sh', '-c', script)
    assert.match(text, /^eth0 lo\n02:42(:[0-9a-f]{2}){4}\n1500\nup\n772$/)
    const without = await printed('--network', 'none', 'busybox', 'sh', '-c', 'cd /sys/class/net; echo *')
    assert.equal(without, 'lo')
  })

  test('run -i: standard input arrives, and its end', async () => {
    const { stdout } = await daemon.try(
      ['run', '--rm', '-i', flag, 'busybox', 'wc', '-c'],
      'x'.repeat(100_000),
    )
    assert.equal(stdout.trim(), '100000')
  })

  test('run -t: a terminal, of the size that it has outside', async () => {
    const name = freshName()
    const command = `docker --host ${daemon.address} run --rm -it --name ${name} ${flag} busybox sh -c 'tty; stty size; echo done'`
    const outer = spawnSync('script', ['-qec', `stty rows 33 cols 99; ${command}`, '/dev/null'], {
      encoding: 'utf8',
      input: '',
      timeout: 60_000,
    })
    assert.match(outer.stdout, /\/dev\/(pts\/0|console)\r\n/)
    assert.match(outer.stdout, /done\r\n/)
  })

  test('run: the environment, the working directory, the host name', async () => {
    const text = await printed(
      '-e',
      'GREETING=hello',
      '-w',
      '/made/here',
      '--hostname',
      'box',
      'busybox',
      'sh',
      '-c',
      'echo $GREETING $PWD $(hostname) $HOME',
    )
    assert.equal(text, 'hello /made/here box /root')
  })

  test('run --user: ids and groups', async () => {
    assert.equal(
      await printed('--user', '1000:100', '--group-add', '7', 'busybox', 'sh', '-c', 'id -u; id -g; id -G'),
      '1000\n100\n100 7',
    )
    assert.equal(await printed('--user', 'user', 'busybox', 'id', '-u'), '1000')
  })

  test('run --cap-drop, --cap-add: what the program may do', async () => {
    const chown = ['busybox', 'sh', '-c', 'touch /tmp/f && chown 5 /tmp/f && echo could']
    assert.equal(await printed(...chown), 'could')
    assert.notEqual((await runIn('--cap-drop', 'ALL', ...chown)).status, 0)
    assert.equal(await printed('--cap-drop', 'ALL', '--cap-add', 'CHOWN', ...chown), 'could')
    const caps = ['busybox', 'sh', '-c', 'grep CapEff /proc/self/status']
    assert.match(await printed(...caps), /00000000a80425fb/)
    assert.match(await printed('--cap-drop', 'ALL', ...caps), /0000000000000000/)
  })

  test('run --ulimit', async () => {
    assert.equal(
      await printed('--ulimit', 'nofile=123:456', 'busybox', 'sh', '-c', 'ulimit -n; ulimit -Hn'),
      '123\n456',
    )
  })

  test('run --security-opt seccomp=FILE: the profile holds inside', async () => {
    const profile = join(daemon.directory, 'profile.json')
    const rule = { names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 95 }
    writeFileSync(
      profile,
      JSON.stringify({
        defaultAction: 'SCMP_ACT_ALLOW',
        architectures: ['SCMP_ARCH_X86_64'],
        syscalls: [rule],
      }),
    )
    const { status, stderr } = await runIn(
      '--security-opt',
      `seccomp=${profile}`,
      'busybox',
      'mkdir',
      '/tmp/x',
    )
    assert.equal(status, 1)
    assert.match(stderr, /not supported/)
    assert.match(await printed('busybox', 'grep', 'Seccomp:', '/proc/self/status'), /2/)
  })

  test('run --read-only and --tmpfs', async () => {
    const text = await printed(
      '--read-only',
      '--tmpfs',
      '/scratch:size=1m',
      'busybox',
      'sh',
      '-c',
      'touch /file 2>&1; touch /scratch/file && echo wrote; dd if=/dev/zero of=/scratch/big bs=64k count=100 2>&1 | grep -o "No space.*"',
    )
    assert.equal(text, 'touch: /file: Read-only file system\nwrote\nNo space left on device')
  })

  test('run -v: a directory and a file of the host, and a read-only one', async () => {
    const directory = join(daemon.directory, 'shared')
    mkdirSync(directory)
    writeFileSync(join(directory, 'given'), 'from outside\n')
    await printed(
      '-v',
      `${directory}:/data`,
      'busybox',
      'sh',
      '-c',
      'cat /data/given > /data/copy; chown 1000 /data/copy',
    )
    assert.equal(readFileSync(join(directory, 'copy'), 'utf8'), 'from outside\n')
    const { stderr } = await runIn('-v', `${directory}:/data:ro`, 'busybox', 'touch', '/data/no')
    assert.match(stderr, /Read-only file system/)
    assert.equal(
      await printed('-v', `${directory}/given:/etc/one`, 'busybox', 'cat', '/etc/one'),
      'from outside',
    )
  })

  test('volumes: a named one keeps what containers write', async () => {
    await daemon.docker('volume', 'create', 'kept')
    await printed('-v', 'kept:/data', 'busybox', 'sh', '-c', 'echo here > /data/file')
    assert.equal(await printed('-v', 'kept:/data', 'busybox', 'cat', '/data/file'), 'here')
  })

  test('run -d, logs, wait', async () => {
    const name = await started('busybox', 'sh', '-c', 'for i in 1 2 3; do echo line $i; done; exit 5')
    assert.equal(await daemon.docker('wait', name), '5')
    assert.equal(await daemon.docker('logs', name), 'line 1\nline 2\nline 3')
    assert.equal(await inspect(name, '{{.State.ExitCode}} {{.State.Status}}'), '5 exited')
    await daemon.docker('rm', name)
  })

  test('exec: in the container’s namespaces, with its own environment, user, directory and status', async () => {
    const name = await started('-e', 'A=1', 'busybox', 'sh', '-c', 'echo $$ > /pid; exec sleep 1000')
    assert.equal(
      await daemon.docker('exec', '-e', 'B=2', name, 'sh', '-c', 'echo $A $B; cat /pid; cat /proc/1/comm'),
      '1 2\n1\nsleep',
    )
    assert.equal(
      await daemon.docker('exec', '-u', '1000', '-w', '/tmp', name, 'sh', '-c', 'id -u; pwd'),
      '1000\n/tmp',
    )
    assert.equal((await daemon.try(['exec', name, 'sh', '-c', 'exit 9'])).status, 9)
    assert.equal((await daemon.try(['exec', '-i', name, 'cat'], 'through')).stdout, 'through')
    // Docker makes 126 of it with some runtimes.
    assert.match(String((await daemon.try(['exec', name, 'nope'])).status), /^12[67]$/)
    await daemon.docker('exec', '-d', name, 'sh', '-c', 'echo background > /made')
    await until(
      () => spawnSync('docker', ['--host', daemon.address, 'exec', name, 'cat', '/made']).status === 0,
      'it ran',
    )
    await daemon.docker('rm', '-f', name)
  })

  test('exec: what ends is reaped, also what it leaves to a first process that never waits', {
    skip: runtime !== 'caisson',
  }, async () => {
    const name = await started('busybox', 'sleep', '1000')
    await daemon.docker('exec', name, 'sh', '-c', '(sleep 0.05; echo > /over) & true')
    const listing =
      'while ! test -e /over; do sleep 0.01; done; for i in 1 2 3; do ps -o pid,comm; sleep 0.02; done'
    const last = (await daemon.docker('exec', name, 'sh', '-c', listing)).split('PID').at(-1)!
    const commands = last
      .trim()
      .split('\n')
      .slice(1)
      .map(line => line.trim().split(/\s+/)[1])
    assert.deepEqual(commands.sort(), ['ps', 'sh', 'sleep'])
    await daemon.docker('rm', '-f', name)
  })

  test('stop: SIGTERM first, SIGKILL for one that does not listen', async () => {
    const polite = await started(
      'busybox',
      'sh',
      '-c',
      'trap "exit 3" TERM; echo up; while :; do sleep 0.1; done',
    )
    await until(
      () => spawnSync('docker', ['--host', daemon.address, 'logs', polite]).stdout.includes('up'),
      'it is up',
    )
    await daemon.docker('stop', polite)
    assert.equal(await inspect(polite, '{{.State.ExitCode}}'), '3')
    const deaf = await started('busybox', 'sleep', '1000')
    await daemon.docker('stop', '-t', '1', deaf)
    assert.equal(await inspect(deaf, '{{.State.ExitCode}}'), '137')
    await daemon.docker('rm', polite, deaf)
  })

  test('kill: with a signal by name', async () => {
    const name = await started(
      'busybox',
      'sh',
      '-c',
      'trap "echo got; exit 4" USR1; echo up; while :; do sleep 0.1; done',
    )
    await until(
      () => spawnSync('docker', ['--host', daemon.address, 'logs', name]).stdout.includes('up'),
      'it is up',
    )
    await daemon.docker('kill', '-s', 'USR1', name)
    assert.equal(await daemon.docker('wait', name), '4')
    assert.match(await daemon.docker('logs', name), /got/)
    await daemon.docker('rm', name)
  })

  test('--restart: a container that fails is started again', async () => {
    const name = await started('--restart', 'on-failure:2', 'busybox', 'sh', '-c', 'echo once; exit 1')
    await becomes(name, '{{.RestartCount}} {{.State.Running}}', '2 false')
    assert.equal(await daemon.docker('logs', name), 'once\nonce\nonce')
    await daemon.docker('rm', name)
  })

  test('start of a stopped container: it has its files again', async () => {
    const name = await started('busybox', 'sh', '-c', 'echo x >> /count; wc -l < /count')
    await daemon.docker('wait', name)
    await daemon.docker('start', name)
    await daemon.docker('wait', name)
    assert.equal(await daemon.docker('logs', name), '1\n2')
    await daemon.docker('rm', name)
  })

  test('pause and unpause', async () => {
    const name = await started('busybox', 'sh', '-c', 'while :; do echo tick; sleep 0.05; done')
    const lines = async () => (await daemon.docker('logs', name)).split('\n').length
    await daemon.docker('pause', name)
    const paused = await lines()
    assert.equal(await inspect(name, '{{.State.Status}}'), 'paused')
    assert.equal(await lines(), paused)
    await daemon.docker('unpause', name)
    for (let tries = 0; tries < 100 && (await lines()) === paused; tries++);
    assert.ok((await lines()) > paused)
    await daemon.docker('rm', '-f', name)
  })

  test('top: the processes of the container', async () => {
    const name = await started('busybox', 'sh', '-c', 'sleep 1000 & sleep 1001')
    const lines = (await daemon.docker('top', name)).split('\n').map(line => line.trimEnd())
    for (const command of ['sleep 1000', 'sleep 1001']) {
      assert.ok(
        lines.some(line => line.endsWith(` ${command}`)),
        lines.join('\n'),
      )
    }
    await daemon.docker('rm', '-f', name)
  })

  test('stats: memory and processes', async () => {
    const name = await started('--memory', '256m', 'busybox', 'sleep', '1000')
    const text = await daemon.docker('stats', '--no-stream', '--format', '{{.MemUsage}} {{.PIDs}}', name)
    assert.match(text, /^[0-9.]+[KM]iB \/ 256MiB [1-9]/)
    await daemon.docker('rm', '-f', name)
  })

  test('cp: into and out of a running container', async () => {
    const name = await started('busybox', 'sleep', '1000')
    const file = join(daemon.directory, 'to-copy')
    writeFileSync(file, 'copied\n')
    await daemon.docker('exec', name, 'sh', '-c', 'ls /tmp; echo inside > /tmp/made')
    await daemon.docker('cp', file, `${name}:/tmp/arrived`)
    assert.equal(await daemon.docker('exec', name, 'cat', '/tmp/arrived'), 'copied')
    await daemon.docker('cp', `${name}:/tmp/made`, `${file}.back`)
    assert.equal(readFileSync(`${file}.back`, 'utf8'), 'inside\n')
    await daemon.docker('rm', '-f', name)
  })

  test('--init: an init reaps', async () => {
    assert.match(await printed('--init', 'busybox', 'cat', '/proc/1/comm'), /docker-init|tini/)
  })

  test('--memory: running out of it is seen as OOMKilled, 137', async () => {
    const name = await started('--memory', '96m', 'busybox', 'sh', '-c', 'tail /dev/zero')
    assert.equal(await daemon.docker('wait', name), '137')
    assert.equal(await inspect(name, '{{.State.OOMKilled}}'), 'true')
    await daemon.docker('rm', name)
  })

  test('--pids-limit: the program gets EAGAIN', async () => {
    const text = await printed(
      '--pids-limit',
      '20',
      'busybox',
      'sh',
      '-c',
      'for i in $(seq 40); do sleep 3 & done 2>&1; true',
    ).catch(String)
    assert.match(text, /can't fork|Resource temporarily unavailable/)
  })

  test('health checks', async () => {
    const name = await started(
      '--health-cmd',
      'test -e /healthy',
      '--health-interval',
      '1s',
      '--health-start-period',
      '10s',
      'busybox',
      'sh',
      '-c',
      'touch /healthy; sleep 1000',
    )
    await becomes(name, '{{.State.Health.Status}}', 'healthy')
    await daemon.docker('rm', '-f', name)
  })

  test('networks: containers find each other by address, and publish ports', async () => {
    const server = await started(
      '-p',
      '127.0.0.1::80',
      'busybox',
      'sh',
      '-c',
      'mkdir /w; echo page > /w/index.html; exec httpd -f -p 80 -h /w',
    )
    const address = await inspect(server, '{{.NetworkSettings.IPAddress}}')
    let page = ''
    for (let tries = 0; tries < 20 && page === ''; tries++)
      page = (await runIn('busybox', 'wget', '-qO-', `http://${address}/`)).stdout
    assert.equal(page, 'page\n')
    const port = (await daemon.docker('port', server, '80')).split(':').at(-1)
    assert.equal(await (await fetch(`http://127.0.0.1:${port}/`)).text(), 'page\n')
    await daemon.docker('rm', '-f', server)
  })

  test('networks: none, and one with names', async () => {
    assert.notEqual(
      (await runIn('--network', 'none', 'busybox', 'wget', '-qO-', 'http://127.0.0.1/')).status,
      0,
    )
    await daemon.docker('network', 'create', 'named')
    const server = await started(
      '--network',
      'named',
      '--network-alias',
      'web',
      'busybox',
      'sh',
      '-c',
      'mkdir /w; echo named > /w/index.html; exec httpd -f -p 80 -h /w',
    )
    let page = ''
    for (let tries = 0; tries < 20 && page === ''; tries++)
      page = (await runIn('--network', 'named', 'busybox', 'wget', '-qO-', 'http://web/')).stdout
    assert.equal(page, 'named\n')
    await daemon.docker('rm', '-f', server)
    await daemon.docker('network', 'rm', 'named')
  })

  test('networks: a running container is connected to one with names, and disconnected', async () => {
    for (const name of ['joined', 'before']) await daemon.docker('network', 'create', name)
    const server = await started(
      ...['busybox', 'sh', '-c', 'mkdir /w; echo joined > /w/index.html; exec httpd -f -p 80 -h /w'],
    )
    const other = await started('--network', 'joined', 'busybox', 'sleep', '1000')
    const inServer = async (...args: string[]) => (await daemon.try(['exec', server, ...args])).stdout
    /** What of it there is, once it is there. */
    const shown = async (pattern: RegExp, look: () => Promise<string>) => {
      for (let tries = 0; tries < 100; tries++) if (pattern.test(await look())) return
      assert.match(await look(), pattern)
    }
    const devices = async () => `${await inServer('ip', '-o', '-4', 'addr')}.`
    await daemon.docker('network', 'connect', '--alias', 'web', 'joined', server)
    await shown(/eth1/, devices)
    await shown(
      /^joined$/m,
      async () => (await daemon.try(['exec', other, 'wget', '-qO-', 'http://web/'])).stdout,
    )
    await shown(/Name:\s+\S+\s+Address/, () => inServer('nslookup', '-type=a', other.slice(0, 12)))
    // By its name it is the one that leads outside.
    await daemon.docker('network', 'connect', 'before', server)
    await shown(/^default via \S+ dev eth2/m, () => inServer('ip', 'route'))
    await daemon.docker('network', 'disconnect', 'before', server)
    await shown(/^default via \S+ dev eth0/m, () => inServer('ip', 'route'))
    await daemon.docker('network', 'disconnect', 'bridge', server)
    await shown(/^(?!.*eth0)/s, devices)
    await daemon.docker('network', 'connect', 'bridge', server)
    await shown(/eth3/, devices)
    await daemon.docker('rm', '-f', server, other)
    await daemon.docker('network', 'rm', 'joined', 'before')
  })

  test('networks: rules by name hold with the name server of a network', { skip: !ownStack }, async () => {
    await daemon.docker('network', 'create', 'named')
    const script = 'mkdir /w; echo page > /w/index.html; exec httpd -f -p 80 -h /w'
    const serve = (alias: string) =>
      started('--network', 'named', '--network-alias', alias, 'busybox', 'sh', '-c', script)
    const servers = [await serve('web'), await serve('other')]
    const address = await inspect(servers[1], '{{.NetworkSettings.Networks.named.IPAddress}}')
    const ask = (host: string) => `wget -qO- http://${host}/ 2>/dev/null || echo none`
    const asked = async (runtime: string, ...hosts: string[]) => {
      const words = ['run', '--rm', '--runtime', runtime, '--network', 'named', 'busybox', 'sh', '-c']
      return daemon.docker(...words, hosts.map(ask).join('; '))
    }
    let open = ''
    for (let tries = 0; tries < 20 && open !== 'page\npage\npage'; tries++)
      open = await asked('caisson', 'web', 'other', address)
    assert.equal(open, 'page\npage\npage')
    assert.equal(await asked('ruled', 'web', 'other', address), 'page\nnone\nnone')
    await daemon.docker('rm', '-f', ...servers)
    await daemon.docker('network', 'rm', 'named')
  })

  test('networks: containers share the network of another, of a sandbox or not', async () => {
    const script = 'mkdir /w; echo near > /w/index.html; exec httpd -f -p 80 -h /w'
    const near = (name: string) =>
      runIn('--network', `container:${name}`, 'busybox', 'wget', '-qO-', 'http://127.0.0.1/')
    const server = await started('busybox', 'sh', '-c', script)
    const other = await daemon.docker(...['run', '-d', '--runtime', 'runc', 'busybox', 'sh', '-c', script])
    for (const name of [server, other]) {
      let page = ''
      for (let tries = 0; tries < 20 && page === ''; tries++) page = (await near(name)).stdout
      assert.equal(page, 'near\n')
    }
    await daemon.docker('rm', '-f', server, other)
  })

  test('networks: the name server of one with names asks those of the outside', async () => {
    await daemon.docker('network', 'create', 'resolving')
    const gateway = await daemon.docker(
      ...['network', 'inspect', '--format', '{{(index .IPAM.Config 0).Gateway}}', 'resolving'],
    )
    const outside = await dnsServer(gateway, '192.0.2.7')
    try {
      const text = await printed(
        ...['--network', 'resolving', '--dns', gateway, 'busybox', 'sh', '-c'],
        'cat /etc/resolv.conf; nslookup -type=a far.example',
      )
      assert.match(text, /nameserver 127\.0\.0\.11/)
      assert.match(text, /Name:\s+far\.example\s+Address: 192\.0\.2\.7/)
    } finally {
      outside.close()
      await daemon.docker('network', 'rm', 'resolving')
    }
  })

  test('build: the steps of a Dockerfile run in sandboxes', async () => {
    const context = join(daemon.directory, 'context')
    mkdirSync(context)
    const script = join(context, 'script')
    writeFileSync(script, '#!/bin/sh\necho built by $(cat /who)\n')
    chmodSync(script, 0o755)
    writeFileSync(
      join(context, 'Dockerfile'),
      'FROM busybox\nCOPY script /bin/script\nRUN echo a step > /who && mkdir -p /a/b && ln -s b /a/c\nCMD ["script"]\n',
    )
    const built = spawnSync('docker', ['build', '-q', '-t', 'made', context], {
      encoding: 'utf8',
      env: daemon.environment(),
    })
    assert.equal(built.status, 0, built.stderr)
    assert.equal(await printed('made'), 'built by a step')
  })

  test('compose: services find each other by name', async context => {
    if (spawnSync('docker-compose', ['--version']).status !== 0) {
      return context.skip('not installed: docker-compose')
    }
    const project = join(daemon.directory, 'compose')
    mkdirSync(project)
    const server = 'mkdir /w; echo composed > /w/index.html; exec httpd -f -h /w'
    const client = 'until wget -qO- http://server/; do sleep 0.1; done'
    const service = (script: string) => ({ image: 'busybox', runtime, command: ['sh', '-c', script] })
    const services = { server: service(server), client: service(client) }
    writeFileSync(join(project, 'docker-compose.json'), JSON.stringify({ version: '2.4', services }))
    const compose = (...args: string[]) =>
      spawnSync('docker-compose', ['-f', 'docker-compose.json', ...args], {
        cwd: project,
        encoding: 'utf8',
        env: daemon.environment(),
        timeout: 60_000,
      })
    try {
      const up = compose('up', '-t', '0', '--exit-code-from', 'client')
      assert.equal(up.status, 0, up.stdout + up.stderr)
      assert.match(up.stdout, /composed/)
    } finally {
      compose('down', '-t', '0')
    }
  })

  test('commit and diff: what a container wrote is in its layer', async () => {
    const name = await started('busybox', 'sh', '-c', 'echo new > /new; rm /etc/group')
    await daemon.docker('wait', name)
    const changes = (await daemon.docker('diff', name)).split('\n')
    assert.ok(changes.includes('A /new') && changes.includes('D /etc/group'), changes.join(' '))
    await daemon.docker('commit', name, 'committed')
    assert.equal(await printed('committed', 'cat', '/new'), 'new')
    await daemon.docker('rm', name)
  })

  test('ten at once: start, exec, removal', async () => {
    const all = await Promise.all(Array.from({ length: 10 }, () => started('busybox', 'sleep', '1000')))
    const answers = await Promise.all(all.map((name, i) => daemon.docker('exec', name, 'echo', String(i))))
    assert.deepEqual(
      answers,
      all.map((_, i) => String(i)),
    )
    await daemon.docker('rm', '-f', ...all)
  })

  test('live restore: a daemon that starts again finds its containers', async () => {
    const name = await started('busybox', 'sh', '-c', 'sleep 1000')
    await daemon.restart()
    assert.equal(await inspect(name, '{{.State.Running}}'), 'true')
    assert.equal(await daemon.docker('exec', name, 'echo', 'alive'), 'alive')
    await daemon.docker('stop', '-t', '0', name)
    assert.equal(await inspect(name, '{{.State.ExitCode}}'), '137')
    await daemon.docker('rm', name)
  })

  test('nothing is left: no state, no process', { skip: runtime !== 'caisson' }, async () => {
    const ids = (await daemon.docker('ps', '-aq')).split('\n').filter(Boolean)
    if (ids.length > 0) await daemon.docker('rm', '-f', ...ids)
    const root = join(daemon.directory, 'caisson')
    await until(() => statesIn(root).length === 0, 'no state is left')
  })
})

/** State directories below the runtime's root. */
function statesIn(root: string): string[] {
  try {
    return readdirSync(root, { recursive: true })
      .map(String)
      .filter(name => name.endsWith('state.json'))
  } catch {
    return []
  }
}
