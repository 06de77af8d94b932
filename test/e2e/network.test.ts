/**
 * Programs on the network: a server in a sandbox with --network=host answers a client on the host as the host's own would, and
 * a client in a sandbox hears from a server on the host what one on the host hears. All on the loopback interface.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { doVerb } from '../../src/cli/do.ts'
import { SERVICES, type Service } from './network-services.ts'
import { NOT_ROOT, notInstalled } from './tools.ts'

const root = join(import.meta.dirname, '../..')
const caisson = join(root, 'bin/caisson')
const LIMIT_MS = 60_000

for (const service of SERVICES) {
  test(`network: ${service.name}`, async context => {
    const skip = notInstalled(...service.needs) || (service.root === true && NOT_ROOT)
    if (skip) return context.skip(skip)
    const expected = await ask(service, onHost, onHost)
    assert.notEqual(expected.stdout, '')
    assert.deepEqual(await ask(service, inside, onHost), expected, 'the server is in a sandbox')
    assert.deepEqual(await ask(service, onHost, inside), expected, 'the client is in a sandbox')
  })
}

test('network: a sandbox lives in the network namespace of its caller', context => {
  const script = `ip link set lo up && ip addr add 192.0.2.77/32 dev lo &&
    ${caisson} do --network=host -- ip -4 -o addr show && ${caisson} do --network=host -- ip link set lo down`
  const { stdout, stderr, status } = spawnSync('unshare', ['-Urn', 'sh', '-c', script], { encoding: 'utf8' })
  if (/unshare failed|Operation not permitted.*unshare/.test(stderr))
    return context.skip('no user namespaces here')
  assert.match(stdout, /192\.0\.2\.77/)
  assert.match(stderr, /RTNETLINK answers: Operation not permitted/)
  assert.notEqual(status, 0)
})

test('network: without --network=host there is none', () => {
  const script = 'import socket\ntry: socket.socket()\nexcept OSError as error: print(error.errno)'
  const { stdout } = spawnSync(caisson, ['do', '--', 'python3', '-c', script], { encoding: 'utf8' })
  assert.equal(stdout, '97\n')
})

test('network: the launcher knows which flags of do take no value', () => {
  const source = readFileSync(join(root, 'native/launcher/main.c'), 'utf8')
  const listed = /bare_flags\[\] = \{([^}]*)\}/.exec(source)![1].match(/--[\w-]+/g)!
  const bare = Object.entries(doVerb.flags).filter(([, flag]) => flag.value === undefined)
  assert.deepEqual(listed.sort(), bare.map(([name]) => `--${name}`).sort())
})

type Command = (script: string, directory: string) => string[]
const onHost: Command = script => ['bash', '-c', script]
const inside: Command = (script, directory) => [
  caisson,
  'do',
  '--network=host',
  '--rw',
  directory,
  '--',
  ...onHost(script, directory),
]

/** Starts the server, asks it, and ends it. */
async function ask(service: Service, server: Command, client: Command) {
  const directory = mkdtempSync(join(tmpdir(), 'caisson-network-'))
  const port = await freePort()
  const options = { cwd: directory, env: { ...process.env, PORT: String(port), LC_ALL: 'C' } }
  for (const [name, text] of Object.entries(service.files ?? {})) writeFileSync(join(directory, name), text)
  if (service.prepare !== undefined) {
    const prepared = spawnSync('bash', ['-c', service.prepare], { ...options, encoding: 'utf8' })
    assert.equal(prepared.status, 0, prepared.stderr)
  }
  const [file, ...args] = server(service.server, directory)
  const running = spawn(file, args, { ...options, stdio: ['ignore', 'ignore', 'pipe'] })
  let errors = ''
  running.stderr.setEncoding('utf8').on('data', text => (errors += text))
  try {
    await answers(running, port, () => errors)
    return await outputOf(client(service.client, directory), options)
  } finally {
    await end(running)
    rmSync(directory, { recursive: true, force: true })
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  await new Promise(resolve => server.close(resolve))
  return port
}

/** Returns once somebody listens on the port. */
async function answers(server: ChildProcess, port: number, errors: () => string): Promise<void> {
  const until = Date.now() + LIMIT_MS
  while (Date.now() < until && server.exitCode === null) {
    const connected = await new Promise<boolean>(resolve => {
      const socket = connect(port, '127.0.0.1')
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
      socket.once('connect', () => socket.destroy())
    })
    if (connected) return
    await new Promise(resolve => setTimeout(resolve, 50))
  }
  assert.fail(`the server does not listen: ${errors()}`)
}

async function outputOf([file, ...args]: string[], options: { cwd: string; env: NodeJS.ProcessEnv }) {
  const child = spawn(file, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'], timeout: LIMIT_MS })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', text => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', text => (stderr += text))
  const status = await new Promise(resolve => child.once('close', resolve))
  return { status, stdout, stderr }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise(resolve => child.once('exit', resolve))
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), 5000)
  await ended
  clearTimeout(timer)
}
