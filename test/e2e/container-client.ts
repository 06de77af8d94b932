/**
 * A runtime of the simplest kind, for tests of sandboxes with containers: busybox as the root, no bundle, no state on
 * disk. It starts sandboxes, asks them, and sees what they leave.
 */
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_RECURSIVE,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOSUID,
  OPEN_TREE_CLOEXEC,
  OPEN_TREE_CLONE,
} from '../../src/abi/constants.ts'
import { NR } from '../../src/abi/syscall-numbers.ts'
import { loadAddon } from '../../src/platform/addon.ts'
import { ControlClient, ProcessConnection } from '../../src/sandbox/control-client.ts'
import { exitStatus, type HostProcess } from '../../src/sandbox/host-process.ts'
import { type LaunchOptions, launchSandbox, type Sandbox } from '../../src/sandbox/launch.ts'
import type { ContainerSpec, MountSpec, ProcessSpec } from '../../src/sandbox/protocol.ts'

export const packageRoot = join(import.meta.dirname, '../..')
export const addon = loadAddon(join(packageRoot, 'native/build/caisson.node'))

/** A root with busybox and a link for each of its commands. */
export function makeBusyboxRoot(directory: string): void {
  for (const name of ['bin', 'etc', 'dev', 'proc', 'sys', 'tmp', 'root']) {
    fs.mkdirSync(join(directory, name), { recursive: true })
  }
  fs.copyFileSync('/bin/busybox', join(directory, 'bin/busybox'))
  for (const name of APPLETS) fs.linkSync(join(directory, 'bin/busybox'), join(directory, 'bin', name))
  fs.writeFileSync(
    join(directory, 'etc/passwd'),
    'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n',
  )
}
const APPLETS = [
  ...[
    'sh',
    'true',
    'false',
    'cat',
    'echo',
    'sleep',
    'ps',
    'kill',
    'id',
    'pwd',
    'env',
    'ls',
    'hostname',
    'stty',
    'tty',
  ],
  ...[
    'nproc',
    'wc',
    'head',
    'chmod',
    'mkdir',
    'ln',
    'umask',
    'test',
    'trap',
    'wait',
    'setsid',
    'ulimit',
    'readlink',
  ],
]

const CAPABILITIES = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31]

export function processSpec(args: readonly string[], more: Partial<ProcessSpec> = {}): ProcessSpec {
  return {
    args,
    env: ['PATH=/bin'],
    cwd: '/',
    uid: 0,
    gid: 0,
    groups: [],
    umask: 0o022,
    capabilities: {
      bounding: CAPABILITIES,
      effective: CAPABILITIES,
      inheritable: [],
      permitted: CAPABILITIES,
      ambient: [],
    },
    rlimits: [],
    noNewPrivileges: true,
    terminal: false,
    stdio: [],
    passed: [],
    ...more,
  }
}

const mount = (target: string, type: string, options = ''): MountSpec => ({
  target,
  type,
  source: type,
  flags: 0,
  propagation: [],
  options,
})

export function containerSpec(
  id: string,
  process: ProcessSpec,
  more: Partial<ContainerSpec> = {},
): ContainerSpec {
  return {
    id,
    process,
    root: { tree: 0, readOnly: false, propagation: 0 },
    mounts: [
      mount('/proc', 'proc'),
      mount('/dev', 'tmpfs', 'mode=755'),
      mount('/dev/pts', 'devpts', 'newinstance,ptmxmode=0666,mode=0620,gid=5'),
    ],
    hostname: id,
    namespaces: { pid: 'new', ipc: 'new', uts: 'new', net: 'new', cgroup: 'new' },
    uidMap: [],
    gidMap: [],
    devices: [],
    deviceRules: [{ allow: true, access: 7 }],
    seccomp: [],
    maskedPaths: [],
    readonlyPaths: [],
    sysctl: {},
    limits: {},
    startHooks: [],
    state: '{}',
    ...more,
  }
}

/** What a process wrote, and the descriptors that it wrote to. */
export class Streams {
  readonly files: number[] = []
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = fs.mkdtempSync(join(directory, 'streams-'))
    this.files.push(fs.openSync('/dev/null', 'r'))
    for (const file of ['out', 'err']) this.files.push(fs.openSync(join(this.#directory, file), 'a'))
  }
  get out(): string {
    return fs.readFileSync(join(this.#directory, 'out'), 'latin1')
  }
  get err(): string {
    return fs.readFileSync(join(this.#directory, 'err'), 'latin1')
  }
  close(): void {
    for (const fd of this.files.splice(0)) fs.closeSync(fd)
  }
}

export interface Created {
  readonly streams: Streams
  readonly pid: number
}

export class TestSandbox {
  readonly directory: string
  readonly root: string
  readonly client: ControlClient
  readonly sandbox: Sandbox
  readonly exit: Promise<number>
  /** The host's pid of the sentry. */
  readonly sentry: number
  readonly #pidNamespace: string

  static async start(
    directory: string,
    options: Partial<LaunchOptions> = {},
    socket = 'control.sock',
  ): Promise<TestSandbox> {
    const root = join(directory, 'rootfs')
    if (!fs.existsSync(root)) makeBusyboxRoot(root)
    const controlPath = join(directory, socket)
    fs.rmSync(controlPath, { force: true })
    const sandbox = await launchSandbox(addon, {
      packageRoot,
      controlPath,
      network: 'none',
      networkNamespace: 'new',
      cgroups: [],
      ...options,
    })
    return new TestSandbox(directory, root, new ControlClient(addon, controlPath), sandbox)
  }

  private constructor(directory: string, root: string, client: ControlClient, sandbox: Sandbox) {
    this.directory = directory
    this.root = root
    this.client = client
    this.sandbox = sandbox
    this.exit = exitOf(sandbox.process)
    this.sentry = Number(
      fs.readFileSync(`/proc/${sandbox.process.pid}/task/${sandbox.process.pid}/children`, 'latin1').trim(),
    )
    this.#pidNamespace = fs.readlinkSync(`/proc/${this.sentry}/ns/pid`)
  }

  /** Those of the sandbox that live on the host: the sentry, the zygote, the guest's. */
  processes(): number[] {
    return fs
      .readdirSync('/proc')
      .filter(name => /^\d+$/.test(name) && pidNamespaceOf(name) === this.#pidNamespace && isAlive(name))
      .map(Number)
      .sort((a, b) => a - b)
  }

  streams(): Streams {
    return new Streams(this.directory)
  }

  /** The first container, or with `connection` a further one. */
  async create(
    id: string,
    spec: ProcessSpec,
    more: Partial<ContainerSpec> = {},
  ): Promise<Created & { life: ProcessConnection }> {
    const streams = this.streams()
    const tree = openTree(this.root)
    try {
      const whole = containerSpec(id, { ...spec, stdio: [1, 2, 3] }, more)
      const { answer, connection } = await this.client.open(
        { command: 'create', spec: whole },
        { descriptors: [tree, ...streams.files] },
      )
      if (!('started' in answer)) throw new Error(`unexpected answer ${JSON.stringify(answer)}`)
      return { streams, pid: answer.started.pid, life: await ProcessConnection.over(connection) }
    } finally {
      addon.close(tree)
      streams.close()
    }
  }

  /** A first container on a terminal. */
  async createOnTerminal(id: string, spec: ProcessSpec, slave: number): Promise<void> {
    const tree = openTree(this.root)
    const whole = containerSpec(id, { ...spec, stdio: [1] })
    await this.client.ask({ command: 'create', spec: whole }, { descriptors: [tree, slave] })
    addon.close(tree)
  }

  async start(id: string): Promise<void> {
    await this.client.ask({ command: 'start', container: id })
  }

  async execOnTerminal(container: string, spec: ProcessSpec, slave: number): Promise<number> {
    const request = { command: 'exec', container, process: { ...spec, stdio: [0] } } as const
    return (await this.client.open(request, { descriptors: [slave] })).connection
  }

  /** The command lines of a container's processes. */
  async commands(container: string): Promise<string[]> {
    const answer = await this.client.ask({ command: 'processes', container })
    return 'processes' in answer ? answer.processes.map(({ args }) => args.join(' ')) : []
  }

  async exec(
    container: string,
    spec: ProcessSpec,
    exec?: string,
  ): Promise<Created & { life: ProcessConnection }> {
    const { connection, ...created } = await this.open(container, spec, exec)
    return { ...created, life: await ProcessConnection.over(connection) }
  }

  /** The same with the bare connection. */
  async open(container: string, spec: ProcessSpec, exec?: string): Promise<Created & { connection: number }> {
    const streams = this.streams()
    try {
      const { answer, connection } = await this.client.open(
        { command: 'exec', container, exec, process: { ...spec, stdio: [0, 1, 2] } },
        { descriptors: streams.files },
      )
      if (!('started' in answer)) throw new Error(`unexpected answer ${JSON.stringify(answer)}`)
      return { streams, pid: answer.started.pid, connection }
    } finally {
      streams.close()
    }
  }
}

/** 128 and the number if a signal ended it. */
export function exitOf(process: HostProcess): Promise<number> {
  return process.exit.then(exitStatus)
}

function pidNamespaceOf(pid: string): string {
  try {
    return fs.readlinkSync(`/proc/${pid}/ns/pid`)
  } catch {
    return ''
  }
}

/** No zombie, which is the host's init's matter. */
function isAlive(pid: string): boolean {
  try {
    return !/\) [ZX]/.test(fs.readFileSync(`/proc/${pid}/stat`, 'latin1'))
  } catch {
    return false
  }
}

export function openTree(path: string): number {
  const tree = addon.syscall(NR.open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE)
  if (tree < 0) throw new Error(`open_tree: ${tree}`)
  const attributes = new Uint8Array(32)
  new DataView(attributes.buffer).setUint32(0, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, true)
  addon.syscall(NR.mount_setattr, tree, '', AT_EMPTY_PATH | AT_RECURSIVE, attributes, attributes.length)
  return tree
}

export function temporaryDirectory(): string {
  return fs.mkdtempSync(join(tmpdir(), 'caisson-containers-'))
}
