/**
 * Bundles for the tests of the runtime's command line, and a root of its own for their state. `leftovers` tells what of
 * them is still on the host.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findHierarchies } from '../../src/oci/cgroup/hierarchies.ts'
import { makeBusyboxTree } from './docker-daemon.ts'
import { until } from './leftovers.ts'
import { PATIENCE } from './tools.ts'

export const caisson = process.env.CAISSON_RUNTIME ?? join(import.meta.dirname, '../../bin/caisson')
const LIMIT_MS = 30_000 * PATIENCE

export interface Outcome {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface BundleOptions {
  readonly args: readonly string[]
  readonly terminal?: boolean
  readonly process?: Record<string, unknown>
  readonly hooks?: Record<string, unknown>
  readonly linux?: Record<string, unknown>
  readonly mounts?: readonly Record<string, unknown>[]
  readonly annotations?: Record<string, string>
}

export class OciWorld {
  readonly directory = mkdtempSync(join(tmpdir(), 'caisson-oci-'))
  readonly root = join(this.directory, 'root')
  /** Where all cgroups of this world are. */
  readonly cgroups = `/caisson-test-${process.pid}`
  readonly #rootfs = join(this.directory, 'rootfs')
  #bundles = 0
  #files = 0

  constructor() {
    makeBusyboxTree(this.#rootfs)
  }

  /** A directory with a config.json. Containers share the root, which none may write to unless it says so. */
  bundle(options: BundleOptions): string {
    const bundle = join(this.directory, `bundle${this.#bundles++}`)
    mkdirSync(bundle)
    const namespaces = ['pid', 'ipc', 'uts', 'mount', 'network'].map(type => ({ type }))
    const config = {
      ociVersion: '1.0.2',
      process: {
        terminal: options.terminal ?? false,
        args: options.args,
        env: ['PATH=/bin:/usr/bin', 'TERM=xterm'],
        cwd: '/',
        user: { uid: 0, gid: 0 },
        ...options.process,
      },
      root: { path: this.#rootfs, readonly: true },
      hostname: 'oci',
      mounts: [
        { destination: '/proc', type: 'proc', source: 'proc' },
        { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
        { destination: '/dev/pts', type: 'devpts', source: 'devpts', options: ['newinstance'] },
        { destination: '/tmp', type: 'tmpfs', source: 'tmpfs' },
        ...(options.mounts ?? []),
      ],
      hooks: options.hooks,
      annotations: options.annotations,
      linux: { namespaces, cgroupsPath: `${this.cgroups}/${this.#bundles}`, ...options.linux },
    }
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(config))
    return bundle
  }

  /** `caisson ARGS…` to its end, without standard input. */
  run(...args: string[]): Outcome {
    const { status, stdout, stderr } = spawnSync(caisson, ['--root', this.root, ...args], {
      encoding: 'utf8',
      timeout: LIMIT_MS,
      // What the container keeps open must not keep us waiting.
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    return { status, stdout, stderr }
  }

  /** Standard output of a run that must succeed. */
  ok(...args: string[]): string {
    const { status, stdout, stderr } = this.run(...args)
    if (status !== 0) throw new Error(`caisson ${args.join(' ')}: status ${status}\n${stderr}`)
    return stdout
  }

  /** `create` with the container's output in a file, whose path comes back. */
  create(id: string, bundle: string, ...flags: string[]): string {
    const output = join(this.directory, `${id}.out`)
    const command = `exec "$@" > ${output} 2>&1 < /dev/null`
    const words = [
      '-c',
      command,
      'sh',
      caisson,
      '--root',
      this.root,
      'create',
      '--bundle',
      bundle,
      ...flags,
      id,
    ]
    const { status } = spawnSync('sh', words, { timeout: LIMIT_MS })
    if (status !== 0) throw new Error(`create ${id}: status ${status}\n${readFileSync(output, 'utf8')}`)
    return output
  }

  /** The same, beside others, without its output. */
  beside(...args: string[]): Promise<Outcome> {
    // A file: what stands for a container may keep the descriptor, so that a pipe's end says nothing.
    const file = join(this.directory, `stderr${this.#files++}`)
    const output = openSync(file, 'w')
    const child = spawn(caisson, ['--root', this.root, ...args], { stdio: ['ignore', 'ignore', output] })
    closeSync(output)
    return new Promise(resolve =>
      child.on('exit', status => resolve({ status, stdout: '', stderr: readFileSync(file, 'utf8') })),
    )
  }

  /** A shell's commands, in which $c is caisson on this world's root; they see mounts of their own. */
  script(text: string, ...args: string[]): Outcome {
    const prelude = `c="${caisson} --root ${this.root}"\n`
    const words = ['-m', 'sh', '-c', prelude + text, 'sh', ...args]
    const { status, stdout, stderr } = spawnSync('unshare', words, {
      encoding: 'utf8',
      timeout: LIMIT_MS,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    return { status, stdout, stderr }
  }

  start(...args: string[]): ChildProcess {
    return spawn(caisson, ['--root', this.root, ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
  }

  state(id: string): Record<string, unknown> {
    return JSON.parse(this.ok('state', id))
  }

  /** Removes the world; throws if a container has left something outside of it, or of its state. */
  end(): void {
    const left = this.leftovers()
    for (const directory of this.#cgroupDirectories()) rmdirSync(directory)
    rmSync(this.directory, { recursive: true, force: true })
    if (left.length > 0) throw new Error(`left behind: ${left.join(', ')}`)
  }

  /** Removes all containers. */
  clear(): void {
    for (const id of this.run('list', '-q').stdout.split('\n').filter(Boolean))
      this.run('delete', '--force', id)
  }

  /** Ours in each hierarchy. */
  #cgroupDirectories(): string[] {
    const { list } = findHierarchies()
    return list.flatMap(({ mountpoint }) => globSync(join(mountpoint, '**', this.cgroups.slice(1))))
  }

  /** Does `body`, which must leave nothing; if it fails, what follows must not fail for that. */
  async cleanly(body: () => Promise<void> | void): Promise<void> {
    try {
      await body()
      await until(() => this.leftovers().length === 0, `nothing is left: ${this.leftovers()}`)
    } finally {
      this.clear()
    }
  }

  /** Cgroups, mounts, processes and files. */
  leftovers(): string[] {
    const cgroups = this.#cgroupDirectories()
      .flatMap(directory => readdirSync(directory, { withFileTypes: true }))
      .filter(entry => entry.isDirectory())
      .map(entry => join(entry.parentPath, entry.name))
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter(line => line.includes(this.directory))
    const processes = readdirSync('/proc').filter(
      name => /^\d+$/.test(name) && commandLine(name).includes(this.root),
    )
    const files = existsSync(this.root) ? readdirSync(this.root) : []
    return [...cgroups, ...mounts, ...processes.map(pid => `${pid}: ${commandLine(pid)}`), ...files]
  }
}

/** It failed, and says why without showing where in the program. */
export function assertSentence({ status, stderr }: Outcome, expected: RegExp): void {
  assert.notEqual(status, 0)
  assert.match(stderr, expected)
  assert.doesNotMatch(stderr, /this is a bug|\n\s+at /)
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ')
  } catch {
    return ''
  }
}
