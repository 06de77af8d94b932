/**
 * A Docker daemon of the tests' own: its data, its socket, its bridge and its containerd are its own, so that nothing of
 * one that runs on the machine is touched. Its default runtime is runc; `caisson`, `ruled` (the same, and its containers reach
 * nothing but `web`) and, where installed, `runsc` are the others.
 *
 * From `DockerDaemon.start` until `stop`, which takes away everything again. An image `busybox` is made of the machine's
 * own busybox, as no registry is needed.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from './leftovers.ts'
import { notInstalled, PATIENCE } from './tools.ts'

/** As `caisson install` enters it. */
const caisson = join(import.meta.dirname, '../../native/build/caisson')
const START_LIMIT_MS = 60_000 * PATIENCE

/** CAISSON_TEST_NETWORK: whose sockets containers have, as of caisson's --network. */
export function networkFlags(): string[] {
  const { CAISSON_TEST_NETWORK: kind } = process.env
  return kind === undefined ? [] : [`--network=${kind}`]
}

/** Why there can be no daemon here, or undefined. */
export function whyNoDocker(): string | undefined {
  if (process.getuid!() !== 0) return 'a Docker daemon of its own needs root'
  return notInstalled('dockerd', 'containerd', 'docker', 'runc', 'busybox', 'ip', 'iptables') || undefined
}

export interface Outcome {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export class DockerDaemon {
  readonly directory: string
  readonly #bridge: string
  readonly #flags: readonly string[]
  #daemon: ChildProcess | undefined = undefined

  private constructor(directory: string, bridge: string, flags: readonly string[]) {
    this.directory = directory
    this.#bridge = bridge
    this.#flags = flags
  }

  /** Starts one, and waits until it answers. `flags` are further ones of dockerd. */
  static async start(flags: readonly string[] = []): Promise<DockerDaemon> {
    const directory = mkdtempSync(join(tmpdir(), 'caisson-docker-'))
    // A name and a network per process: several test files may run at once.
    const bridge = `csn${process.pid}`
    const network = `10.${100 + (process.pid % 100)}.${(process.pid >> 7) % 250}.1/24`
    run('ip', ['link', 'add', bridge, 'type', 'bridge'])
    run('ip', ['address', 'add', network, 'dev', bridge])
    run('ip', ['link', 'set', bridge, 'up'])
    const runtimes: Record<string, { path: string; runtimeArgs?: string[] }> = {
      caisson: { path: caisson, runtimeArgs: ['--root', join(directory, 'caisson'), ...networkFlags()] },
    }
    runtimes.ruled = {
      path: caisson,
      runtimeArgs: [...runtimes.caisson.runtimeArgs!, '--allow', 'web:80/tcp'],
    }
    if (!notInstalled('runsc')) {
      runtimes.runsc = { path: '/usr/bin/runsc', runtimeArgs: ['--ignore-cgroups', '--network=host'] }
    }
    writeFileSync(join(directory, 'daemon.json'), JSON.stringify({ runtimes }))
    const made = new DockerDaemon(directory, bridge, flags)
    try {
      await made.#run()
      made.#importBusybox()
    } catch (error) {
      const text = made.log()
      await made.stop()
      throw new Error(`dockerd does not start: ${(error as Error).message}\n${text}`)
    }
    return made
  }

  async #run(): Promise<void> {
    const { directory } = this
    const log = openSync(join(directory, 'log'), 'a')
    const daemon = spawn(
      'dockerd',
      [
        ...['--config-file', join(directory, 'daemon.json'), '--host', this.address],
        ...['--data-root', join(directory, 'data'), '--exec-root', join(directory, 'exec')],
        ...['--pidfile', join(directory, 'pid'), '--bridge', this.#bridge],
        ...this.#flags,
      ],
      { stdio: ['ignore', log, log], detached: true },
    )
    closeSync(log)
    this.#daemon = daemon
    daemon.on('exit', () => (this.#daemon = undefined))
    const answers = () => spawnSync('docker', this.#args(['version'])).status === 0
    await until(() => this.#daemon === undefined || answers(), 'the daemon answers', START_LIMIT_MS)
    if (this.#daemon === undefined) throw new Error('dockerd ended')
  }

  /** Ends the daemon and starts it again. */
  async restart(): Promise<void> {
    await this.#end()
    await this.#run()
  }

  async #end(): Promise<void> {
    this.#daemon?.kill('SIGTERM')
    await until(() => this.#daemon === undefined, 'the daemon ends', 30_000 * PATIENCE)
  }

  /** What it has logged. */
  log(): string {
    return readFileSync(join(this.directory, 'log'), 'utf8').split('\n').slice(-40).join('\n')
  }

  get address(): string {
    return `unix://${this.directory}/socket`
  }

  /** The outcome of `docker ARGS…`. */
  async try(args: readonly string[], input = '', limitMs = 60_000 * PATIENCE): Promise<Outcome> {
    return new Promise(resolve => {
      const child = execFile(
        'docker',
        this.#args(args),
        { encoding: 'latin1', timeout: limitMs, killSignal: 'SIGKILL', maxBuffer: 1 << 26 },
        (error, stdout, stderr) =>
          resolve({ status: error === null ? 0 : (child.exitCode ?? null), stdout, stderr }),
      )
      child.stdin!.on('error', () => {})
      child.stdin!.end(input)
    })
  }

  /** Standard output of `docker ARGS…`, which must succeed. */
  async docker(...args: string[]): Promise<string> {
    const { status, stdout, stderr } = await this.try(args)
    if (status !== 0) throw new Error(`docker ${args.join(' ')}: status ${status}\n${stdout}${stderr}`)
    return stdout.trimEnd()
  }

  /** For programs that take DOCKER_HOST. */
  environment(): NodeJS.ProcessEnv {
    return { ...process.env, DOCKER_HOST: this.address, DOCKER_BUILDKIT: '0' }
  }

  /** Ends the daemon, and takes away its network, mounts and files. */
  async stop(): Promise<void> {
    if (this.#daemon !== undefined) {
      const ids = await this.try(['ps', '-aq'])
      const all = ids.stdout.split('\n').filter(Boolean)
      if (all.length > 0) await this.try(['rm', '-f', ...all])
      await this.#end()
    }
    spawnSync('ip', ['link', 'delete', this.#bridge])
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .map(line => line.split(' ')[4] ?? '')
    for (const mount of mounts.filter(each => each.startsWith(this.directory)).reverse()) {
      spawnSync('umount', ['-l', mount])
    }
    rmSync(this.directory, { recursive: true, force: true })
  }

  #args(args: readonly string[]): string[] {
    return ['--host', this.address, ...args]
  }

  #importBusybox(): void {
    const tree = join(this.directory, 'busybox')
    makeBusyboxTree(tree)
    const script = 'tar -C "$0" -c . | docker --host "$1" import - busybox'
    run('sh', ['-c', script, tree, this.address])
  }
}

/** A root file system of busybox and the few files that programs look for. */
export function makeBusyboxTree(tree: string): void {
  for (const name of ['bin', 'etc', 'tmp', 'root', 'proc', 'sys', 'dev', 'var', 'home', 'usr/bin']) {
    mkdirSync(join(tree, name), { recursive: true })
  }
  run('cp', ['/bin/busybox', join(tree, 'bin/busybox')])
  const applets = spawnSync('busybox', ['--list'], { encoding: 'utf8' }).stdout.split('\n').filter(Boolean)
  for (const applet of applets) {
    if (!existsSync(join(tree, 'bin', applet))) symlinkSync('busybox', join(tree, 'bin', applet))
  }
  writeFileSync(join(tree, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n')
  writeFileSync(join(tree, 'etc/group'), 'root:x:0:\nusers:x:100:user\nuser:x:1000:\n')
  run('chmod', ['1777', join(tree, 'tmp')])
}

function run(file: string, args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(file, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${file} ${args.join(' ')}: ${error?.message ?? stderr}`)
}
