/**
 * A containerd of the tests' own: its data, sockets and network are its own. Its runtime is `io.containerd.caisson.v1`,
 * found by the PATH that it is given, beside runc's.
 *
 * From `ContainerdDaemon.start` until `stop`, which takes away everything again. Images are made of the machine's own
 * busybox: `busybox` of both containers, and the `pause` of pods. Which containerd, ctr and crictl are used says PATH.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeBusyboxTree, type Outcome } from './docker-daemon.ts'
import { until } from './leftovers.ts'
import { notInstalled } from './tools.ts'

const bin = join(import.meta.dirname, '../../bin')
const START_LIMIT_MS = 60_000
/** Of all containers of this process's tests: ctr takes the namespace for it. */
export const CGROUP_PARENT = `caisson-test-${process.pid}`
export const BUSYBOX = 'docker.io/library/busybox:latest'
export const PAUSE = 'registry.k8s.io/pause:test'

/** Why there can be no containerd here, or undefined. `tools`: what else is needed. */
export function whyNoContainerd(...tools: readonly string[]): string | undefined {
  if (process.getuid!() !== 0) return 'a containerd of its own needs root'
  return notInstalled('containerd', 'ctr', 'busybox', ...tools) || undefined
}

export class ContainerdDaemon {
  readonly directory: string
  /** Of containerd; no other test has it. */
  readonly namespace: string
  #daemon: ChildProcess | undefined = undefined

  private constructor(directory: string, namespace: string) {
    this.directory = directory
    this.namespace = namespace
  }

  /** `namespace`: 'k8s.io' for the CRI plugin, whose configuration has `criLines`, too. */
  static async start(namespace = CGROUP_PARENT, ...criLines: string[]): Promise<ContainerdDaemon> {
    const directory = mkdtempSync(join(tmpdir(), 'caisson-containerd-'))
    const made = new ContainerdDaemon(directory, namespace)
    try {
      made.#configure(criLines)
      await made.#run()
      await made.#importImages()
      return made
    } catch (error) {
      const text = made.log()
      await made.stop()
      throw new Error(`containerd does not start: ${(error as Error).message}\n${text}`)
    }
  }

  get address(): string {
    return join(this.directory, 'socket')
  }

  /** Of the containers of our namespace. */
  get stateDirectory(): string {
    return join(this.directory, 'caisson', this.namespace)
  }

  /** Ends the daemon, waits, and starts it again. */
  async restart(meanwhile: () => Promise<void> = async () => {}): Promise<void> {
    await this.#end()
    await meanwhile()
    await this.#run()
  }

  /** The outcome of `ctr ARGS…` in our namespace. */
  try(args: readonly string[], input = ''): Promise<Outcome> {
    return outcome('ctr', ['--address', this.address, '--namespace', this.namespace, ...args], input)
  }

  /** Standard output of `ctr ARGS…`, which must succeed. */
  async ctr(...args: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await this.try(args)
    if (status !== 0)
      throw new Error(`ctr ${args.join(' ')}: status ${status}\n${stdout}${stderr}\n${this.log()}`)
    return stdout.trimEnd()
  }

  /** Standard output of `crictl ARGS…`, which must succeed. */
  async crictl(...args: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await this.tryCrictl(...args)
    if (status !== 0)
      throw new Error(`crictl ${args.join(' ')}: status ${status}\n${stdout}${stderr}\n${this.log()}`)
    return stdout.trimEnd()
  }

  tryCrictl(...args: readonly string[]): Promise<Outcome> {
    return outcome('crictl', ['--config', join(this.directory, 'crictl.yaml'), ...args], '')
  }

  /** The pid of the shim that was started for a container. */
  shimOf(id: string): number | undefined {
    const words = `shim\0-namespace\0${this.namespace}\0-id\0${id}\0`
    return this.#processes().find(({ command }) => command.includes(words))?.pid
  }

  /** What of our containers there is on the host: processes, mounts, sockets, state. */
  leftOver(): string[] {
    const own = this.directory
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter(line => line.includes(`${own}/state`) && !line.includes('/sandboxes/'))
    const processes = this.#processes()
      .filter(
        ({ command }) => command.includes(`\0${this.namespace}\0`) || command.includes(this.stateDirectory),
      )
      .map(({ pid, command }) => `process ${pid}: ${command.replaceAll('\0', ' ')}`)
    const state = [this.stateDirectory, this.#defaultStateDirectory]
      .filter(existsSync)
      .flatMap(path => readdirSync(path))
    return [...mounts, ...processes, ...state.map(name => `state of ${name}`)]
  }

  async leavesNothing(): Promise<void> {
    try {
      await until(() => this.leftOver().length === 0, 'nothing is left', 10_000)
    } catch {
      throw new Error(`left over: ${this.leftOver().join('\n')}\n${this.log()}`)
    }
  }

  /** What it has logged. */
  log(): string {
    const path = join(this.directory, 'log')
    if (!existsSync(path)) return ''
    const lines = readFileSync(path, 'utf8').split('\n')
    return lines
      .filter(line => /level=(warn|error)|caisson/.test(line))
      .slice(-30)
      .join('\n')
  }

  async stop(): Promise<void> {
    await this.#end()
    // Of tests that failed.
    for (const { pid, command } of this.#processes()) {
      if (command.includes(this.directory) || command.includes(`\0${this.namespace}\0`)) tryKill(pid)
    }
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .map(line => line.split(' ')[4] ?? '')
    for (const mount of mounts.filter(each => each.startsWith(this.directory)).reverse()) {
      spawnSync('umount', ['-l', mount])
    }
    rmSync(this.directory, { recursive: true, force: true })
    spawnSync('ip', ['link', 'delete', this.#bridge])
    spawnSync('rmdir', [this.#defaultStateDirectory])
    // Those of the containers are gone; their parent is nobody's.
    const cgroups = ['', ...readdirSync('/sys/fs/cgroup')].map(name =>
      join('/sys/fs/cgroup', name, CGROUP_PARENT),
    )
    spawnSync('rmdir', cgroups.filter(existsSync))
  }

  /** Where ctr 1.6 has the shim put it: it has no option for those that it does not know. '' where it is not ours alone. */
  get #defaultStateDirectory(): string {
    return this.namespace === CGROUP_PARENT ? join('/run/containerd/caisson', this.namespace) : ''
  }

  get #bridge(): string {
    return `csc${process.pid}`
  }

  #configure(criLines: readonly string[]): void {
    const options = `
      runtime_type = "io.containerd.caisson.v1"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.caisson.options]
        TypeUrl = "runtimeoptions.v1.Options"
        ConfigPath = "${join(this.directory, 'shim.toml')}"`
    writeFileSync(join(this.directory, 'shim.toml'), `Root = "${join(this.directory, 'caisson')}"\n`)
    writeFileSync(
      join(this.directory, 'config.toml'),
      `version = 2
root = "${this.directory}/root"
state = "${this.directory}/state"
[grpc]
  address = "${this.address}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE}"
  ${criLines.join('\n  ')}
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "${this.directory}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.caisson]${options}
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
`,
    )
    const subnet = `10.${30 + (process.pid % 60)}.${(process.pid >> 6) % 250}.0/24`
    const bridge = {
      type: 'bridge',
      bridge: this.#bridge,
      isGateway: true,
      ipam: {
        type: 'host-local',
        dataDir: join(this.directory, 'ipam'),
        ranges: [[{ subnet }]],
        routes: [{ dst: '0.0.0.0/0' }],
      },
    }
    const ports = { type: 'portmap', capabilities: { portMappings: true }, snat: true }
    mkdirSync(join(this.directory, 'cni'))
    writeFileSync(
      join(this.directory, 'cni/10-test.conflist'),
      JSON.stringify({ cniVersion: '0.4.0', name: this.#bridge, plugins: [bridge, ports] }),
    )
    const endpoint = `unix://${this.address}`
    writeFileSync(
      join(this.directory, 'crictl.yaml'),
      `runtime-endpoint: ${endpoint}\nimage-endpoint: ${endpoint}\ntimeout: 60\n`,
    )
  }

  async #run(): Promise<void> {
    const log = openSync(join(this.directory, 'log'), 'a')
    const daemon = spawn('containerd', ['--config', join(this.directory, 'config.toml')], {
      stdio: ['ignore', log, log],
      detached: true,
      env: { ...process.env, PATH: `${bin}:${process.env.PATH}` },
    })
    closeSync(log)
    this.#daemon = daemon
    daemon.on('exit', () => (this.#daemon = undefined))
    const answers = () => spawnSync('ctr', ['--address', this.address, 'version']).status === 0
    await until(() => this.#daemon === undefined || answers(), 'containerd answers', START_LIMIT_MS)
    if (this.#daemon === undefined) throw new Error('containerd ended')
  }

  async #end(): Promise<void> {
    this.#daemon?.kill('SIGTERM')
    await until(() => this.#daemon === undefined, 'containerd ends', 30_000)
  }

  async #importImages(): Promise<void> {
    const tree = join(this.directory, 'tree')
    makeBusyboxTree(tree)
    await this.importImages(tree, {
      [BUSYBOX]: { Cmd: ['sh'] },
      [PAUSE]: { Entrypoint: ['sleep', '1000000'] },
    })
  }

  /** Images of one layer, which is the directory `tree`; `images`: by name, the image's config. */
  async importImages(tree: string, images: Readonly<Record<string, object>>): Promise<void> {
    const { directory } = this
    must('tar', ['--owner=0', '--group=0', '-C', tree, '-cf', join(directory, 'layer.tar'), '.'])
    const digest = createHash('sha256')
      .update(readFileSync(join(directory, 'layer.tar')))
      .digest('hex')
    for (const [name, config] of Object.entries(images)) {
      const image = {
        architecture: 'amd64',
        os: 'linux',
        config: { Env: ['PATH=/bin:/usr/bin'], ...config },
        rootfs: { type: 'layers', diff_ids: [`sha256:${digest}`] },
      }
      writeFileSync(join(directory, 'image.json'), JSON.stringify(image))
      const manifest = [{ Config: 'image.json', RepoTags: [name], Layers: ['layer.tar'] }]
      writeFileSync(join(directory, 'manifest.json'), JSON.stringify(manifest))
      const archive = join(directory, 'image.tar')
      must('tar', ['-C', directory, '-cf', archive, 'manifest.json', 'image.json', 'layer.tar'])
      await this.ctr('images', 'import', archive)
    }
  }

  #processes(): { pid: number; command: string }[] {
    return readdirSync('/proc')
      .filter(name => /^\d+$/.test(name) && name !== String(process.pid))
      .flatMap(name => {
        try {
          return [{ pid: Number(name), command: readFileSync(`/proc/${name}/cmdline`, 'latin1') }]
        } catch {
          // It ended meanwhile.
          return []
        }
      })
      .filter(({ command }) => !command.startsWith('ctr\0'))
  }
}

function outcome(file: string, args: readonly string[], input: string): Promise<Outcome> {
  return new Promise(resolve => {
    const options = {
      encoding: 'latin1',
      timeout: 90_000,
      killSignal: 'SIGKILL',
      maxBuffer: 1 << 26,
    } as const
    const child = execFile(file, args, options, (error, stdout, stderr) =>
      resolve({
        status: error === null ? 0 : (child.exitCode ?? null),
        stdout,
        stderr: withoutWarnings(stderr),
      }),
    )
    child.stdin!.on('error', () => {})
    child.stdin!.end(input)
  })
}

/** Of the command itself, about the machine. */
function withoutWarnings(text: string): string {
  return text.replaceAll(/^time=\S+ level=warning msg=("DEPRECATION|"Config ).*\n/gm, '')
}

function must(file: string, args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(file, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${file} ${args.join(' ')}: ${error?.message ?? stderr}`)
}

function tryKill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It is gone.
  }
}
