/**
 * Starts sandboxes and finds all that belongs to them: the launcher, and whatever is in the process namespace of its
 * child.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { PATIENCE } from './tools.ts'

const caisson = join(import.meta.dirname, '../../bin/caisson')

export interface HostProcess {
  readonly pid: number
  readonly name: string
}

export interface Ending {
  readonly status: number | null
  readonly signal: string | null
  readonly stdout: string
  readonly stderr: string
}

export class Running {
  readonly child: ChildProcess
  readonly ended: Promise<Ending>
  stdout = ''
  stderr = ''
  readonly #mounts = mounts()
  readonly #namespaces = new Set<string>()

  /** `caisson ARGS…`, away from the terminal's signals. */
  constructor(args: readonly string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}) {
    const stdio = ['ignore', 'pipe', 'pipe'] as const
    this.child = spawn(caisson, args, { ...options, stdio: [...stdio], detached: true })
    this.child.stdout!.setEncoding('latin1').on('data', text => (this.stdout += text))
    this.child.stderr!.setEncoding('latin1').on('data', text => (this.stderr += text))
    this.ended = new Promise((resolve, reject) => {
      this.child.on('error', reject)
      // Not 'exit': the last output may still be on its way then.
      this.child.on('close', (status, signal) =>
        resolve({ status, signal, stdout: this.stdout, stderr: this.stderr }),
      )
    })
    // The sandbox of a test that fails would keep the whole file from its end.
    after(() => this.kill())
  }

  get pid(): number {
    return this.child.pid!
  }

  /** Its host processes, in the order of their start. */
  processes(): HostProcess[] {
    const all = readdirSync('/proc')
      .filter(name => /^\d+$/.test(name))
      .flatMap(name => describe(Number(name)))
    for (const { parent, namespace } of all) if (parent === this.pid) this.#namespaces.add(namespace)
    for (const own of ['', namespaceOf(process.pid)]) this.#namespaces.delete(own)
    return all
      .filter(({ pid, namespace }) => pid === this.pid || this.#namespaces.has(namespace))
      .map(({ pid, name }) => ({ pid, name }))
      .sort((a, b) => a.pid - b.pid)
  }

  /** Ends all that is left of it. */
  kill(): HostProcess[] {
    const left = this.processes()
    for (const { pid } of left) tryKill(pid)
    return left
  }

  async says(text: string): Promise<void> {
    await until(() => this.stdout.includes(text), `it says ${text}`)
    this.processes()
  }

  /** How it ended, within the time; kills what there is of it if it does not. */
  async end(limitMs: number): Promise<Ending> {
    const ending = await Promise.race([this.ended, sleep(limitMs, undefined, { ref: false })])
    if (ending !== undefined) return ending
    const left = this.kill()
    throw new Error(`it did not end: ${JSON.stringify(left)}\n${this.stderr}`)
  }

  /** Throws if a process, a mount or a file is left two seconds after the end. */
  async leavesNothing(): Promise<void> {
    try {
      await until(() => this.processes().length === 0, 'no process is left', 2000)
    } catch {
      throw new Error(`processes are left: ${JSON.stringify(this.kill())}`)
    }
    const added = [...mounts()].filter(mount => !this.#mounts.has(mount))
    if (added.length > 0) throw new Error(`mounts are left: ${added.join('\n')}`)
    const files = runFiles().filter(name => name.startsWith(`${this.pid}.`) || name === String(this.pid))
    if (files.length > 0) throw new Error(`files are left: ${files.join(' ')}`)
  }
}

export async function until(
  condition: () => boolean,
  what: string,
  limitMs = 10_000 * PATIENCE,
): Promise<void> {
  const end = Date.now() + limitMs
  while (!condition()) {
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`)
    await sleep(20)
  }
}

/** Where sandboxes have their control sockets. */
function runFiles(): string[] {
  const runtime = process.env.XDG_RUNTIME_DIR
  const uid = process.getuid!()
  const directory = runtime ? join(runtime, 'caisson') : uid === 0 ? '/run/caisson' : `/tmp/caisson-${uid}`
  return existsSync(directory) ? readdirSync(directory) : []
}

/** Of the host, but for those of container engines and network namespaces that come and go beside this test. */
function mounts(): Set<string> {
  const others = [join(tmpdir(), 'caisson-'), '/run/netns/', '/run/docker/', '/run/containerd/']
  const all = readFileSync('/proc/self/mountinfo', 'utf8').trim().split('\n')
  return new Set(all.filter(line => !others.some(place => line.split(' ')[4].startsWith(place))))
}

interface ProcessEntry extends HostProcess {
  readonly parent: number
  /** Names its process namespace; empty where it may not be seen. */
  readonly namespace: string
}

function describe(pid: number): ProcessEntry[] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const close = stat.lastIndexOf(')')
    const [state, parent] = stat.slice(close + 2).split(' ')
    // Waiting for zombies is the host's init's matter.
    if (state === 'Z' || state === 'X') return []
    const name = stat.slice(stat.indexOf('(') + 1, close)
    return [{ pid, name, parent: Number(parent), namespace: namespaceOf(pid) }]
  } catch {
    // It ended meanwhile.
    return []
  }
}

function namespaceOf(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`)
  } catch {
    return ''
  }
}

function tryKill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It is gone.
  }
}
