/** What the broker of --network=user gives a sentry that was taken over: broker-probe.ts in its place. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

const root = join(import.meta.dirname, '../..')

test('broker: once sealed it connects as its rules say, and does nothing else', context => {
  const directory = mkdtempSync(join(tmpdir(), 'caisson-broker-'))
  context.after(() => rmSync(directory, { recursive: true }))
  const build = join(directory, 'native/build')
  mkdirSync(build, { recursive: true })
  mkdirSync(join(directory, 'dist'))
  copyFileSync(join(root, 'native/build/caisson'), join(build, 'caisson'))
  symlinkSync(join(root, 'native/build/zygote'), join(build, 'zygote'))
  symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'))
  const probe = JSON.stringify(join(import.meta.dirname, 'broker-probe.ts'))
  writeFileSync(join(directory, 'dist/caisson.cjs'), `import(${probe})`)
  const script = `ip link set lo up; ip addr add 192.0.2.1/24 dev lo; ip addr add 198.51.100.7/24 dev lo
    echo '0 0' > /proc/sys/net/ipv4/ping_group_range
    exec ${join(build, 'caisson')} do --network=user -- nothing`
  const { stdout, stderr } = spawnSync('unshare', ['-Urn', 'sh', '-c', script], {
    encoding: 'utf8',
    timeout: 60_000,
    env: { PATH: process.env.PATH },
  })
  if (/unshare failed|unshare: .*Operation not permitted/.test(stderr))
    return context.skip('no namespaces here')
  assert.equal(
    stdout,
    `rule: done
rule: done
listen: done
seal: done
connect 6 127.0.0.1 22: EACCES
connect 17 127.255.255.255 53: EACCES
connect 1 127.0.0.1 0: EACCES
connect 6 198.51.100.7 85: EACCES
connect 6 198.51.100.7 91: done
connect 17 198.51.100.7 85: done
connect 6 192.0.2.1 80: done
connect 132 192.0.2.1 80: EPROTONOSUPPORT
listen afterwards: EPERM
rule afterwards: EPERM
seal again: EPERM
something else: EPERM
half a request: ECONNRESET
`,
    stderr,
  )
})
