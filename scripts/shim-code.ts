/**
 * V8's compiled code of a shim as it is after the life of a container: for dist/ (bundle.ts). The container is on the
 * host's own root; who calls the shim, and takes its events, is this program.
 */
import { type SpawnOptions, spawn, spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadAddon } from '../src/platform/addon.ts'
import { listenAt } from '../src/shim/address.ts'
import { Events } from '../src/shim/generated/containerd/events/forward_pb.ts'
import { Task } from '../src/shim/generated/containerd/task/task_pb.ts'
import { Client } from '../src/shim/ttrpc/client.ts'
import { Server } from '../src/shim/ttrpc/server.ts'

const CALL_TIMEOUT_MS = 10_000
const ID = 'build'
/** Any of containerd.runc.v1.Options, by hand: { root }. */
const OPTIONS_TYPE = 'containerd.runc.v1.Options'

/** What the entry of the bundle wrote; undefined where no container can be run, as for ordinary users. */
export async function codeOfShimRun(packageRoot: string): Promise<Buffer | undefined> {
  const directory = mkdtempSync(join(tmpdir(), 'caisson-build-'))
  try {
    await runShim(packageRoot, directory)
    return readFileSync(join(directory, 'code'))
  } catch {
    return undefined
  } finally {
    rmSync(directory, { recursive: true })
  }
}

async function runShim(packageRoot: string, directory: string): Promise<void> {
  const bundle = join(directory, 'bundle')
  mkdirSync(bundle)
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(config()))
  const events = await takeEvents(join(directory, 'events'))
  const addon = loadAddon(join(packageRoot, 'native/build/caisson.node'))
  const socket = join(directory, 'shim')
  const listener = listenAt(addon, socket)!
  const code = openSync(join(directory, 'code'), 'w')
  const options: SpawnOptions = {
    cwd: bundle,
    env: { ...process.env, CAISSON_EMIT_CODE: '1', TTRPC_ADDRESS: join(directory, 'events') },
    stdio: ['ignore', code, 'ignore', listener],
  }
  const words = ['shim', '-namespace', ID, '-id', ID, '-socket', socket, 'serve']
  const shim = spawn(join(packageRoot, 'native/build/caisson'), words, options)
  const ended = new Promise(resolve => shim.on('exit', resolve))
  try {
    await liveAndDie(await Client.connect(socket), bundle, join(directory, 'state'))
    await ended
  } finally {
    shim.kill('SIGKILL')
    // Nothing to do, unless the life was cut short.
    const remove = ['shim', '-namespace', ID, '-id', ID, '-bundle', bundle, 'delete']
    spawnSync(join(packageRoot, 'native/build/caisson'), remove)
    events.close()
    closeSync(listener)
    closeSync(code)
  }
}

/** What containerd calls for a container with an exec. */
async function liveAndDie(client: Client, bundle: string, root: string): Promise<void> {
  const { method } = Task
  const call = <M extends (typeof method)[keyof typeof method]>(
    which: M,
    request: Parameters<typeof client.call<M>>[1],
  ) => client.call(which, request, CALL_TIMEOUT_MS)
  const text = Buffer.from(root)
  const options = { typeUrl: OPTIONS_TYPE, value: Buffer.from([0x3a, text.length, ...text]) }
  await call(method.create, { id: ID, bundle, options })
  const exit = call(method.wait, { id: ID })
  await call(method.start, { id: ID })
  await call(method.state, { id: ID })
  const exec = { args: ['/bin/true'], cwd: '/', env: [], user: {} }
  await call(method.exec, { id: ID, execId: 'e', spec: { value: Buffer.from(JSON.stringify(exec)) } })
  const execExit = call(method.wait, { id: ID, execId: 'e' })
  await call(method.start, { id: ID, execId: 'e' })
  await execExit
  await call(method.delete, { id: ID, execId: 'e' })
  await call(method.pids, { id: ID })
  await call(method.stats, { id: ID })
  await call(method.connect, { id: ID })
  await call(method.kill, { id: ID, signal: 15 })
  await exit
  await call(method.delete, { id: ID })
  await call(method.shutdown, { id: ID })
  client.close()
}

async function takeEvents(path: string) {
  const server = new Server(() => {})
  server.register(Events, { forward: () => ({}) })
  const listener = createServer(socket => server.accept(socket)).listen(path)
  await new Promise(resolve => listener.once('listening', resolve))
  return listener
}

function config(): object {
  const capabilities = ['CAP_CHOWN', 'CAP_KILL', 'CAP_SETUID']
  const mount = (destination: string, type: string, ...options: readonly string[]) => ({
    destination,
    type,
    source: type,
    options: ['nosuid', 'nodev', ...options],
  })
  return {
    ociVersion: '1.0.2',
    process: {
      args: ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.01; done'],
      cwd: '/',
      env: ['PATH=/bin:/usr/bin'],
      user: { uid: 0, gid: 0 },
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1024, hard: 1024 }],
      noNewPrivileges: true,
    },
    root: { path: '/', readonly: true },
    hostname: ID,
    mounts: [
      mount('/proc', 'proc', 'noexec'),
      mount('/dev', 'tmpfs', 'mode=755', 'size=65536k'),
      mount('/dev/pts', 'devpts', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'),
      mount('/sys', 'sysfs', 'ro'),
    ],
    linux: {
      resources: { memory: { limit: 1 << 30 }, cpu: { shares: 1024 } },
      cgroupsPath: `/caisson-${ID}-${process.pid}`,
      namespaces: ['pid', 'ipc', 'uts', 'mount', 'network'].map(type => ({ type })),
      seccomp: {
        defaultAction: 'SCMP_ACT_ALLOW',
        architectures: ['SCMP_ARCH_X86_64'],
        syscalls: [{ names: ['kexec_load', 'reboot'], action: 'SCMP_ACT_ERRNO' }],
      },
      maskedPaths: ['/proc/kcore'],
      readonlyPaths: ['/proc/sys'],
    },
  }
}
