/**
 * The sandbox's own network joined to the outside: containers in a network namespace that somebody has set up (here the
 * test, for Docker and CNI), and `caisson do` over a TAP device. The other side is the host's kernel in a namespace of the test's.
 * That all of it works in a sealed sentry is what shows that the list of its host calls is enough.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { cannotMakeNamespaces, JoinedNamespaces, usualPair } from '../net/live-stack.ts'
import { until } from './leftovers.ts'
import { assertSentence, caisson, OciWorld } from './oci-bundle.ts'
import { notInstalled } from './tools.ts'

const INSIDE = '10.77.0.2'
const OUTSIDE = '10.77.0.1'
/** Much longer than anything takes. */
const LIMIT_MS = 60_000
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
  const bundle = (script: string, linux: Record<string, unknown> = {}) =>
    world.bundle({
      args: ['sh', '-c', script],
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

  inNetwork('network: one sandbox has a network namespace, another one is refused', async () => {
    world.create('first', bundle('sleep 1000'))
    const second = await world.beside('create', '--bundle', bundle('true'), 'second')
    assertSentence(second, /another sandbox has the interfaces of this network namespace/)
    world.ok('delete', '--force', 'first')
    // It never came to take them.
    assert.equal(world.ok('run', '--bundle', bundle('echo has it'), 'third'), 'has it\n')
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
