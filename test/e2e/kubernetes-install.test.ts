/** deploy/kubernetes/install.sh, on a directory in a node's place. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'

const script = join(import.meta.dirname, '../../deploy/kubernetes/install.sh')
const dir = mkdtempSync(join(tmpdir(), 'caisson-kubernetes-'))
after(() => rmSync(dir, { recursive: true }))

const CONFIG = '/etc/containerd/config.toml'
const OTHERS = `# mine
version = 2

[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "runc"
`

function write(path: string, text: string, mode = 0o644): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text, { mode })
}

/** A node, and a package as the image has it. */
function newNode(name: string, config?: string) {
  const host = join(dir, name)
  const pack = join(dir, `${name}-package`)
  mkdirSync(host)
  write(join(pack, 'package.json'), '{\n  "name": "caisson",\n  "version": "1.2.3",\n  "type": "module"\n}\n')
  write(join(pack, 'dist/caisson.cjs'), '// built\n')
  write(join(pack, 'native/build/caisson'), 'ELF')
  write(join(pack, 'bin/containerd-shim-caisson-v1'), '#!/bin/sh\necho shim\n', 0o755)
  if (config !== undefined) write(join(host, CONFIG), config, 0o600)
  const run = (...words: readonly string[]) => {
    const restarted = join(dir, `${name}-restarted`)
    rmSync(restarted, { force: true })
    const env = { ...process.env, HOST: host, PACKAGE: pack, RESTART: `touch ${restarted}` }
    const { status, stderr } = spawnSync(script, words, { env, encoding: 'utf8' })
    return { status, stderr, restarted: existsSync(restarted) }
  }
  return { host, run, config: () => readFileSync(join(host, CONFIG), 'utf8') }
}

test('install: the shim is found, the runtime is known, what was there stays; a second time changes nothing', () => {
  const { host, run, config } = newNode('second', OTHERS)
  assert.deepEqual(run('install'), { status: 0, stderr: '', restarted: true })
  const shim = readlinkSync(join(host, 'usr/local/bin/containerd-shim-caisson-v1'))
  assert.match(shim, /^\/opt\/caisson\/1\.2\.3-[0-9a-f]{12}\/bin\/containerd-shim-caisson-v1$/)
  assert.ok(existsSync(join(host, shim)))
  assert.ok(config().startsWith(OTHERS))
  assert.match(
    config(),
    /\[plugins\."io\.containerd\.grpc\.v1\.cri"\.containerd\.runtimes\.caisson\]\n {2}runtime_type = "io\.containerd\.caisson\.v1"/,
  )
  assert.equal(statSync(join(host, CONFIG)).mode & 0o777, 0o600)
  const before = config()
  assert.deepEqual(run('install'), { status: 0, stderr: '', restarted: false })
  assert.equal(config(), before)
  assert.deepEqual(run('uninstall'), { status: 0, stderr: '', restarted: true })
  assert.equal(config(), OTHERS)
  assert.ok(!existsSync(join(host, 'opt/caisson')))
  assert.ok(!existsSync(join(host, 'usr/local/bin/containerd-shim-caisson-v1')))
  assert.deepEqual(run('uninstall'), { status: 0, stderr: '', restarted: false })
})

test('install: a configuration of version 3, and none at all', () => {
  const third = newNode('third', 'version = 3\n')
  assert.equal(third.run('install').status, 0)
  assert.match(
    third.config(),
    /\[plugins\."io\.containerd\.cri\.v1\.runtime"\.containerd\.runtimes\.caisson\]/,
  )
  const none = newNode('none')
  assert.equal(none.run('install').status, 0)
  assert.match(none.config(), /^version = 2\n/)
})

test('install: what can not be edited is refused, and stays as it is', () => {
  const first = newNode('first', '[plugins.cri]\n')
  const { status, stderr, restarted } = first.run('install')
  assert.deepEqual([status, restarted, first.config()], [1, false, '[plugins.cri]\n'])
  assert.match(stderr, /must be of version 2 or 3/)
  const own = newNode('own', `${OTHERS}[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.caisson]\n`)
  assert.match(own.run('install').stderr, /has a runtime caisson that is not the installer's/)
})
