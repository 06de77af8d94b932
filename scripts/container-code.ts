/**
 * V8's compiled code of a sentry as it is after the life of a container: for dist/ (bundle.ts). The container is of the
 * kind that Docker makes, on the host's own root.
 */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  MOUNT_ATTR_RDONLY,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_RDONLY,
  OPEN_TREE_CLOEXEC,
  OPEN_TREE_CLONE,
  SIGKILL,
  SIGTERM,
} from '../src/abi/constants.ts'
import { NR } from '../src/abi/syscall-numbers.ts'
import { type Addon, loadAddon } from '../src/platform/addon.ts'
import { ControlClient } from '../src/sandbox/control-client.ts'
import { launchSandbox } from '../src/sandbox/launch.ts'
import type { ContainerSpec, MountSpec, ProcessSpec } from '../src/sandbox/protocol.ts'

/** What the entry of the bundle wrote; undefined where no container can be run, as for ordinary users. */
export async function codeOfContainerRun(packageRoot: string): Promise<Buffer | undefined> {
  const directory = mkdtempSync(join(tmpdir(), 'caisson-build-'))
  const log = openSync(join(directory, 'log'), 'a')
  process.env.CAISSON_EMIT_CODE = '1'
  try {
    await runContainer(packageRoot, directory, log)
    return readFileSync(join(directory, 'log'))
  } catch {
    return undefined
  } finally {
    delete process.env.CAISSON_EMIT_CODE
    closeSync(log)
    rmSync(directory, { recursive: true })
  }
}

const PATIENCE_MS = 1000
/** Then the build goes on without the code. */
const TRIES = 10

async function runContainer(packageRoot: string, directory: string, log: number): Promise<void> {
  const addon = loadAddon(join(packageRoot, 'native/build/caisson.node'))
  const controlPath = join(directory, 'control.sock')
  const sandbox = await launchSandbox(addon, {
    packageRoot,
    controlPath,
    log,
    network: 'host',
    networkNamespace: 'new',
    cgroups: [],
  })
  const ended = sandbox.process.exit
  const tree = rootTree(addon)
  const nothing = openSync('/dev/null', 'r+')
  try {
    await sandbox.serving
    const client = new ControlClient(addon, controlPath)
    const descriptors = [tree, nothing, nothing, nothing]
    await client.ask({ command: 'create', spec: spec(directory) }, { descriptors })
    await client.ask({ command: 'start', container: 'build' })
    const exec = { command: 'exec', container: 'build', process: program('/bin/true') } as const
    const { connection } = await client.open(exec, { descriptors })
    await client.ask({ command: 'processes', container: 'build' })
    await client.ask({ command: 'stats', container: 'build' })
    addon.close(connection)
    await client.ask({ command: 'signal', container: 'build', signo: 15 })
    // The signal may have come before the trap was set, and be ignored: an init's default.
    let tries = 0
    const patience = setInterval(() => sandbox.process.kill(++tries < TRIES ? SIGTERM : SIGKILL), PATIENCE_MS)
    await ended
    clearInterval(patience)
  } finally {
    sandbox.process.kill(SIGKILL)
    addon.close(tree)
    closeSync(nothing)
  }
}

function rootTree(addon: Addon): number {
  const tree = addon.syscall(NR.open_tree, AT_FDCWD, '/', OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
  if (tree < 0) throw new Error('open_tree')
  const attributes = new Uint8Array(32)
  new DataView(attributes.buffer).setUint32(0, MOUNT_ATTR_RDONLY, true)
  addon.syscall(NR.mount_setattr, tree, '', AT_EMPTY_PATH, attributes, attributes.length)
  return tree
}

function program(...args: readonly string[]): ProcessSpec {
  const some = [0, 1, 3, 5, 6, 7]
  return {
    args,
    env: ['PATH=/bin:/usr/bin'],
    cwd: '/',
    uid: 0,
    gid: 0,
    groups: [],
    umask: 0o022,
    capabilities: { bounding: some, effective: some, inheritable: [], permitted: some, ambient: [] },
    rlimits: [{ resource: 7, soft: 1024, hard: 1024 }],
    noNewPrivileges: true,
    oomScoreAdj: 0,
    terminal: false,
    stdio: [1, 2, 3],
    passed: [],
  }
}

function spec(directory: string): ContainerSpec {
  const plain = MS_NOSUID | MS_NODEV | MS_NOEXEC
  return {
    id: 'build',
    process: program('sh', '-c', 'trap "exit 0" TERM; /bin/true; while :; do sleep 0.01; done'),
    root: { tree: 0, readOnly: true, propagation: 0 },
    mounts: [
      mount('/proc', 'proc', plain),
      mount('/dev', 'tmpfs', MS_NOSUID, 'mode=755,size=65536k'),
      mount('/dev/pts', 'devpts', MS_NOSUID | MS_NOEXEC, 'newinstance,ptmxmode=0666,mode=0620,gid=5'),
      mount('/sys', 'sysfs', plain | MS_RDONLY),
      mount('/sys/fs/cgroup', 'cgroup', plain | MS_RDONLY),
      mount('/dev/mqueue', 'mqueue', plain),
      mount('/dev/shm', 'tmpfs', plain, 'mode=1777,size=65536k'),
    ],
    hostname: 'build',
    namespaces: { pid: 'new', ipc: 'new', uts: 'new', net: 'new', cgroup: 'new' },
    uidMap: [],
    gidMap: [],
    devices: [],
    // Allows everything.
    deviceRules: [{ allow: true, access: 7 }],
    // The same.
    seccomp: [{ program: [6, 0, 0, 0x7fff0000], flags: 0 }],
    maskedPaths: ['/proc/kcore', '/proc/acpi', '/sys/firmware'],
    readonlyPaths: ['/proc/sys'],
    sysctl: {},
    limits: { memory: 1 << 30, pids: 100 },
    startHooks: [],
    state: `{"id":"build","bundle":"${directory}"}`,
  }
}

function mount(target: string, type: string, flags: number, options = ''): MountSpec {
  return { target, type, source: type, flags, propagation: [], options }
}
