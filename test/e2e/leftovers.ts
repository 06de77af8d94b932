/**
 * Starts sandboxes so that all that belongs to them can be found: the launcher leads a session of its own, which its
 * host processes never leave.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

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

  /** `caisson ARGS…` in a session of its own. */
  constructor(args: readonly string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}) {
    const stdio = ['ignore', 'pipe', 'pipe'] as const
    this.child = spawn(caisson, args, { ...options, stdio: [...stdio], detached: true })
    this.child.stdout!.setEncoding('latin1').on('data', text => (this.stdout += text))
    this.child.stderr!.setEncoding('latin1').on('data', text => (this.stderr += text))
    this.ended = new Promise((resolve, reject) => {
      this.child.on('error', reject)
      this.child.on('exit', (status, signal) =>
        // The last output may still be on its way.
        setImmediate(() => resolve({ status, signal, stdout: this.stdout, stderr: this.stderr })),
      )
    })
  }

  get pid(): number {
    return this.child.pid!
  }

  /** Its host processes, in the order of their start. */
  processes(): HostProcess[] {
    return readdirSync('/proc')
      .filter(name => /^\d+$/.test(name))
      .flatMap(name => describe(Number(name), this.pid))
      .sort((a, b) => a.pid - b.pid)
  }

  async says(text: string): Promise<void> {
    await until(() => this.stdout.includes(text), `it says ${text}: ${this.stderr}`)
  }

  /** How it ended, within the time; kills what there is of it if it does not. */
  async end(limitMs: number): Promise<Ending> {
    const ending = await Promise.race([this.ended, sleep(limitMs, undefined, { ref: false })])
    if (ending !== undefined) return ending
    const left = this.processes()
    for (const { pid } of left) tryKill(pid)
    throw new Error(`it did not end: ${JSON.stringify(left)}\n${this.stderr}`)
  }

  /** Throws if a process, a mount or a file is left two seconds after the end. */
  async leavesNothing(): Promise<void> {
    try {
      await until(() => this.processes().length === 0, 'no process is left', 2000)
    } catch {
      const left = this.processes()
      for (const { pid } of left) tryKill(pid)
      throw new Error(`processes are left: ${JSON.stringify(left)}`)
    }
    const added = [...mounts()].filter(mount => !this.#mounts.has(mount))
    if (added.length > 0) throw new Error(`mounts are left: ${added.join('\n')}`)
    const files = runFiles().filter(name => name.startsWith(`${this.pid}.`) || name === String(this.pid))
    if (files.length > 0) throw new Error(`files are left: ${files.join(' ')}`)
  }
}

export async function until(condition: () => boolean, what: string, limitMs = 10_000): Promise<void> {
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

function mounts(): Set<string> {
  return new Set(readFileSync('/proc/self/mountinfo', 'utf8').trim().split('\n'))
}

/** The process if it is of the session and not waited-for dead. */
function describe(pid: number, session: number): HostProcess[] {
  let stat: string
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  } catch {
    return []
  }
  const close = stat.lastIndexOf(')')
  const [state, , , ofSession] = stat.slice(close + 2).split(' ')
  if (Number(ofSession) !== session || state === 'X') return []
  return [{ pid, name: stat.slice(stat.indexOf('(') + 1, close) }]
}

function tryKill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It is gone.
  }
}
