/**
 * The sandbox's own network joined to the outside: containers in a network namespace that somebody has set up (here the
 * test, for Docker and CNI), and `caisson do` over a TAP device. The other side is the host's kernel in a namespace of the test's.
 * That all of it works in a sealed sentry is what shows that the list of its host calls is enough.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawnSync } from 'node:child_process'
import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { cannotMakeNamespaces, JoinedNamespaces, usualPair } from '../net/live-stack.ts'
import { until } from './leftovers.ts'
import { assertSentence, caisson, OciWorld } from './oci-bundle.ts'
import { notInstalled } from './tools.ts'

const INSIDE = '10.77.0.2'
const OUTSIDE = '10.77.0.1'
/** Much longer than anything takes. */
const LIMIT_MS = 60_000
const WRONG_POLICY = { 'dev.caisson.network.policy': 'permit x' }
const HTTPD = 'mkdir -p /tmp/w; echo page > /tmp/w/index.html; exec busybox httpd -f -p 8080 -h /tmp/w'

describe('network of a sandbox', { skip: cannotMakeNamespaces() || notInstalled('busybox', 'curl') }, () => {
  let net: JoinedNamespaces
  let world: OciWorld

  before(() => {
    world = new OciWorld()
  })
  after(() => world?.end())

  /** In a network of its own, which is there while `body` runs. */
  function inNetwork(name: string, body: () => Promise<void>): void {
    test(name, async () => {
      net = new JoinedNamespaces(usualPair)
      try {
        await world.cleanly(body)
      } finally {
        net.close()
      }
    })
  }
  const bundle = (
    script: string,
    linux: Record<string, unknown> = {},
    annotations: Record<string, string> = {},
  ) =>
    world.bundle({
      args: ['sh', '-c', script],
      annotations,
      linux: {
        namespaces: [
          ...['pid', 'ipc', 'uts', 'mount'].map(type => ({ type })),
          { type: 'network', path: `/run/netns/${net.inside}` },
        ],
        ...linux,
      },
    })
  /** A command on the other side, to its end. */
  const outside = (...command: string[]) =>
    spawnSync('ip', ['netns', 'exec', net.outside, ...command], { encoding: 'utf8', timeout: LIMIT_MS })
  /** What `look` returns, once it is not empty. */
  async function some(look: () => string, what: string): Promise<string> {
    let text = ''
    const found = (): boolean => {
      text = look()
      return text !== ''
    }
    await until(found, what, LIMIT_MS)
    return text
  }
  const page = (address: string) =>
    some(() => outside('curl', '-s', '-m', '5', `http://${address}:8080/`).stdout, `${address} answers`)

  inNetwork('network: a container has the interfaces as they were set up, and its own settings', async () => {
    const text = world.ok(
      ...['run', '--bundle'],
      bundle('ip addr show dev eth0; ip route; cat /proc/sys/net/ipv4/conf/eth0/forwarding', {
        sysctl: { 'net.ipv4.conf.eth0.forwarding': '1' },
      }),
      'shown',
    )
    assert.match(text, /inet 10\.77\.0\.2\/24 /)
    assert.match(text, /^default via 10\.77\.0\.1 dev eth0 *$/m)
    assert.match(text, /\n1\n$/)
  })

  inNetwork('network: a container serves and asks, and only it answers for its address', async () => {
    world.create('server', bundle(HTTPD))
    world.ok('start', 'server')
    assert.equal(await page(INSIDE), 'page\n')
    net.start('busybox', 'httpd', '-f', '-p', '81', '-h', '/run')
    const asked = await some(
      () =>
        /404/.exec(world.run('exec', 'server', 'wget', `http://${OUTSIDE}:81/no-such-file`).stderr)?.[0] ??
        '',
      'the container is answered',
    )
    assert.equal(asked, '404')
    // The host's kernel, which has the same interface, would.
    world.ok('pause', 'server')
    assert.equal(outside('busybox', 'ping', '-c', '1', '-W', '1', INSIDE).status, 1)
    world.ok('resume', 'server')
    assert.equal(outside('busybox', 'ping', '-c', '1', '-W', '30', INSIDE).status, 0)
    world.ok('delete', '--force', 'server')
  })

  inNetwork(
    'network: what comes in comes once, also where the host forwards, and then it does again',
    async () => {
      const within = (...command: string[]) =>
        spawnSync('ip', ['netns', 'exec', net.inside, ...command], { encoding: 'utf8' }).stdout.trim()
      within('sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward')
      world.create('server', bundle(HTTPD))
      world.ok('start', 'server')
      assert.equal(await page(INSIDE), 'page\n')
      assert.equal(within('cat', '/sys/class/net/caisson-side/statistics/tx_packets'), '0')
      world.ok('delete', '--force', 'server')
      assert.equal(within('cat', '/proc/sys/net/ipv4/conf/eth0/forwarding'), '1')
    },
  )

  inNetwork('network: who works in its namespace on the host reaches it at its addresses', async () => {
    world.create('server', bundle(HTTPD))
    world.ok('start', 'server')
    for (const address of ['127.0.0.1', INSIDE]) {
      const ask = ['netns', 'exec', net.inside, 'curl', '-s', '-m', '5', `http://${address}:8080/`]
      const text = await some(
        () => spawnSync('ip', ask, { encoding: 'utf8' }).stdout,
        `${address} answers there`,
      )
      assert.equal(text, 'page\n')
    }
    assert.doesNotMatch(world.ok('exec', 'server', 'ip', 'link'), /side/)
    world.ok('delete', '--force', 'server')
  })

  inNetwork(
    'network: a container of the same namespace joins its sandbox, and they share localhost',
    async () => {
      world.create('first', bundle(HTTPD))
      world.ok('start', 'first')
      await page(INSIDE)
      const ask = 'wget -qO- http://127.0.0.1:8080/; ps | grep -c "[h]ttpd -f"'
      // Its processes are its own.
      assert.equal(world.run('run', '--bundle', bundle(ask), 'second').stdout, 'page\n0\n')
      world.create('third', bundle('sleep 1000'))
      world.ok('start', 'third')
      world.ok('pause', 'first')
      assert.equal(world.ok('exec', 'third', 'echo', 'goes on'), 'goes on\n')
      assert.equal(world.state('first').status, 'paused')
      world.ok('resume', 'first')
      assert.equal(world.ok('exec', 'first', 'echo', 'as well'), 'as well\n')
      world.ok('delete', '--force', 'first')
      // It has ended with the sandbox.
      await until(() => world.state('third').status === 'stopped', 'the other has ended', LIMIT_MS)
      world.ok('delete', 'third')
    },
  )

  inNetwork('network: one sandbox has a network namespace, a stranger to it is refused', async () => {
    world.create('first', bundle('sleep 1000'))
    const elsewhere = ['--root', `${world.root}-other`]
    for (const network of ['sandbox', 'host']) {
      const second = await world.beside(
        ...[...elsewhere, `--network=${network}`, 'create', '--bundle', bundle('true'), 'second'],
      )
      assertSentence(second, /another sandbox has the interfaces of this network namespace/)
    }
    world.ok('delete', '--force', 'first')
    // It never came to take them.
    assert.equal(world.ok('run', '--bundle', bundle('echo has it'), 'third'), 'has it\n')
  })

  inNetwork(
    'network: an interface that comes while the container runs is its own, and goes again',
    async () => {
      const ip = (...args: string[]) => assert.equal(spawnSync('ip', args, { stdio: 'inherit' }).status, 0)
      world.create('server', bundle(HTTPD))
      world.ok('start', 'server')
      const shown = (pattern: RegExp, ...args: string[]) =>
        some(
          () => pattern.exec(world.run('exec', 'server', 'ip', ...args).stdout)?.[0] ?? '',
          `${pattern} is shown`,
        )
      ip(
        ...['link', 'add', 'eth1', 'netns', net.inside, 'mtu', '1400', 'type', 'veth'],
        ...['peer', 'name', 'peer1', 'netns', net.outside],
      )
      ip('-n', net.outside, 'addr', 'add', '10.78.0.1/24', 'dev', 'peer1')
      ip('-n', net.outside, 'link', 'set', 'peer1', 'up')
      ip('-n', net.inside, 'addr', 'add', '10.78.0.2/24', 'dev', 'eth1')
      ip('-n', net.inside, 'link', 'set', 'eth1', 'up')
      ip('-n', net.inside, 'route', 'add', '10.79.0.0/16', 'via', '10.78.0.1')
      await shown(/inet 10\.78\.0\.2\/24 /, 'addr', 'show', 'dev', 'eth1')
      await shown(/^10\.79\.0\.0\/16 via 10\.78\.0\.1 dev eth1/m, 'route')
      assert.match(world.ok('exec', 'server', 'ip', 'link', 'show', 'eth1'), /UP,LOWER_UP> mtu 1400 /)
      assert.equal(await page('10.78.0.2'), 'page\n')
      // The host's kernel has none of it.
      const left = spawnSync('ip', ['-n', net.inside, '-br', 'addr', 'show', 'dev', 'eth1'], {
        encoding: 'utf8',
      })
      assert.doesNotMatch(left.stdout, /10\.78/)
      // A change of its own is not undone by others.
      world.ok('exec', '--cap', 'CAP_NET_ADMIN', 'server', 'ip', 'addr', 'add', '10.90.0.1/24', 'dev', 'eth0')
      ip('-n', net.inside, 'link', 'delete', 'eth1')
      const gone = () => !/eth1/.test(world.ok('exec', 'server', 'ip', 'link'))
      await until(gone, 'the interface is gone', LIMIT_MS)
      assert.match(world.ok('exec', 'server', 'ip', 'addr', 'show', 'dev', 'eth0'), /10\.90\.0\.1/)
      assert.doesNotMatch(world.ok('exec', 'server', 'ip', 'route'), /10\.7[89]/)
      assert.equal(await page(INSIDE), 'page\n')
      world.ok('delete', '--force', 'server')
    },
  )

  inNetwork('network: a container is held to the rules of the runtime and to its own', async () => {
    const ports = [81, 82]
    for (const port of ports) net.start('busybox', 'httpd', '-f', '-p', String(port), '-h', '/run')
    for (const port of ports) {
      const up = () => outside('curl', '-s', '-o', '/dev/null', `http://${OUTSIDE}:${port}/`).status === 0
      await until(up, `port ${port} answers`, LIMIT_MS)
    }
    const ask = (host: string) => `wget -qO- http://${host}/no-such-file 2>&1 | grep -o 404 || echo none`
    const script = [`${OUTSIDE}:81`, `${OUTSIDE}:82`, '[fd77::1]:82'].map(ask).join('; ')
    const own = { 'dev.caisson.network.policy': `deny ${OUTSIDE}:81/tcp` }
    const answers = (flags: readonly string[], annotations = {}) =>
      world.ok(...flags, 'run', '--bundle', bundle(script, {}, annotations), 'held')
    assert.equal(answers([]), '404\n404\n404\n')
    assert.equal(answers([], own), 'none\n404\n404\n')
    assert.equal(answers(['--allow', '10.77.0.0/16'], own), 'none\n404\nnone\n')
    assert.equal(answers(['--deny', `${OUTSIDE}:82`, '--allow=*']), '404\nnone\n404\n')
    const wrong = world.run('run', '--bundle', bundle('true', {}, { ...own, ...WRONG_POLICY }), 'held')
    assertSentence(wrong, /annotation dev\.caisson\.network\.policy: permit x: a rule is/)
  })

  inNetwork('network: a container sends and gets no faster than its rate', async () => {
    const size = 500_000
    const file = join(world.directory, 'file')
    writeFileSync(file, Buffer.alloc(size))
    net.start('busybox', 'httpd', '-f', '-p', '81', '-h', world.directory)
    const up = () => outside('curl', '-s', '-o', '/dev/null', `http://${OUTSIDE}:81/file`).status === 0
    await until(up, 'the other side answers', LIMIT_MS)
    const flow = `wget -qO- http://${OUTSIDE}:81/file | wc -c`
    const timed = (annotations: Record<string, string>) => {
      const before = performance.now()
      const flags = ['--egress-rate=100mbit', '--ingress-rate=1gbit']
      assert.equal(world.ok(...flags, 'run', '--bundle', bundle(flow, {}, annotations), 'held'), `${size}\n`)
      return performance.now() - before
    }
    timed({})
    // A second and more: 4 Mbit at 2 Mbit/s, of which 128 KiB may come at once.
    assert.ok(timed({ 'dev.caisson.network.ingress-rate': '2mbit' }) > 1300)
    world.create(
      'server',
      bundle(
        `mkdir /tmp/w; head -c ${size} /dev/zero > /tmp/w/file; exec busybox httpd -f -p 8080 -h /tmp/w`,
        {},
        { 'dev.caisson.network.egress-rate': '2M' },
      ),
    )
    world.ok('start', 'server')
    const ask = ['curl', '-s', '-m', '50', '-w', '%{size_download} %{time_total}', '-o', '/dev/null']
    const said = await some(() => {
      const { status, stdout } = outside(...ask, `http://${INSIDE}:8080/file`)
      return status === 0 ? stdout : ''
    }, 'the container answers')
    const [bytes, seconds] = said.split(' ').map(Number)
    assert.equal(bytes, size)
    assert.ok(seconds > 1.8, `${seconds} s`)
    world.ok('delete', '--force', 'server')
  })

  inNetwork('network: what goes over its interfaces is written to a file of the runtime', async () => {
    // Nobody listens there, which is an answer.
    const ask = bundle(`wget -qO- http://${OUTSIDE}:9/ 2> /dev/null || true`)
    world.ok('--pcap', world.directory, 'run', '--bundle', ask, 'seen')
    const file = readFileSync(join(world.directory, 'seen.pcapng'))
    assert.equal(file.readUInt32LE(0), 0x0a0d0d0a)
    assert.ok(file.includes('eth0'))
    // To there and back.
    const [there, back] = [INSIDE, OUTSIDE].map(address => address.split('.').map(Number))
    assert.ok(file.includes(Buffer.from([...there, ...back])))
    assert.ok(file.includes(Buffer.from([...back, ...there])))
    const nowhere = world.run('--pcap', '/no/such', 'run', '--bundle', bundle('true'), 'unseen')
    assertSentence(nowhere, /--pcap: \/no\/such\/unseen\.pcapng can't be written/)
  })

  inNetwork('network: a namespace that outlives its container gets its interfaces back', async () => {
    const inside = (...args: string[]) =>
      spawnSync('ip', ['-n', net.inside, ...args], { encoding: 'utf8' })
        .stdout.split('\n')
        .sort()
    spawnSync('ip', [
      '-n',
      net.inside,
      'route',
      'add',
      '10.80.0.0/16',
      'via',
      OUTSIDE,
      'metric',
      '7',
      'mtu',
      '1400',
    ])
    const shown = () => [
      inside('-br', 'address', 'show', 'dev', 'eth0'),
      inside('route'),
      inside('-6', 'route', 'show', 'default'),
    ]
    const before = shown()
    const text = world.ok('run', '--bundle', bundle('ip route'), 'one')
    assert.match(text, /^10\.80\.0\.0\/16 via 10\.77\.0\.1 dev eth0 .*metric 7/m)
    assert.deepEqual(shown(), before)
    assert.equal(world.ok('run', '--bundle', bundle('ip route'), 'two'), text)
  })

  describe('do', { skip: whyNoTap() }, () => {
    /** `caisson do --network=sandbox` in the outside's namespace, which stands for the caller's. */
    const command = (script: string): ChildProcess =>
      net.start(caisson, 'do', '--network=sandbox', '--', 'sh', '-c', script)
    const taps = () => outside('ip', '-br', 'link').stdout.match(/caisson\d+/g) ?? []

    inNetwork('network: do reaches its caller over a link, and is reached; each has its own', async () => {
      const one = command(HTTPD)
      assert.equal(await page('198.18.0.2'), 'page\n')
      const two = command('ip addr show dev eth0; busybox ping -c 1 -W 30 198.18.0.5; sleep 1000')
      let text = ''
      two.stdout!.on('data', piece => (text += piece))
      await until(() => text.includes('1 packets received'), 'the second one has its answer', LIMIT_MS)
      assert.match(text, /inet 198\.18\.0\.6\/30 /)
      assert.equal(taps().length, 2)
      for (const each of [one, two]) {
        const ended = new Promise(resolve => each.on('exit', resolve))
        each.kill('SIGKILL')
        await ended
      }
      await until(() => taps().length === 0, 'the devices are gone with them', LIMIT_MS)
    })
  })
})

function whyNoTap(): string | false {
  try {
    accessSync('/dev/net/tun', constants.W_OK)
    return false
  } catch {
    return '/dev/net/tun can not be opened'
  }
}
