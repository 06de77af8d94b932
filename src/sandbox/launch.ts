/**
 * Starts sandboxes for containers, and the processes that stand for guest processes: the host's side of native/launcher.
 *
 *   launchSandbox      the launcher lives, its network namespace is the container's, and the sentry is starting
 *   sandbox.serving    the sentry has locked itself in and answers; or why it could not
 *
 * The sentry ends with a reader of its reports that ends before the first container was made: a runtime that is killed
 * half-way leaves nothing. Both kinds of processes lead sessions of their own and outlive who started them.
 */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'
import { readSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { O_CLOEXEC } from '../abi/constants.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { ControlAddon, JailAddon } from '../platform/addon.ts'
import type { LogLevel } from './options.ts'
import { UserError } from './user-error.ts'

export interface LaunchOptions {
  /** The directory of caisson's own package. */
  readonly packageRoot: string
  /** Where to make the control socket; its directory is there. */
  readonly controlPath: string
  /** 'host': the sentry lives in the container's network namespace; 'none': in one without anything. */
  readonly network: 'host' | 'none'
  /** The container's network namespace: the caller's, a new one, or that at a path. */
  readonly networkNamespace: 'host' | 'new' | { readonly path: string }
  /** Directories of the cgroups to join. */
  readonly cgroups: readonly string[]
  readonly oomScoreAdj?: number
  readonly logLevel?: LogLevel
  /** Prints each system call to the log. */
  readonly strace?: boolean
  /** Whether call sites are patched; true if absent. */
  readonly patch?: boolean
  /** Descriptor of the terminal whose size changes the launcher is to hear of. */
  readonly terminal?: number
  /** Descriptor that the sandbox logs to; the caller's standard error if absent. */
  readonly log?: number
}

export interface Sandbox {
  /** Of the launcher: the container's, for the host. */
  readonly pid: number
  /** Its end is the container's. It doesn't keep the caller's loop alive. */
  readonly process: ChildProcess
  /** Rejects with a UserError where the sentry could not start. */
  readonly serving: Promise<void>
}

/** Until the launcher has said that its namespaces are there, and the sentry that it serves. */
const TIMEOUT_MS = 20_000

export async function launchSandbox(options: LaunchOptions): Promise<Sandbox> {
  const namespace = options.networkNamespace
  const args = [
    'sandbox',
    `--report-fd=${REPORT_FD}`,
    `--control=${options.controlPath}`,
    `--network=${options.network}`,
    `--netns=${typeof namespace === 'string' ? namespace : namespace.path}`,
    ...options.cgroups.map(directory => `--cgroup=${directory}`),
  ]
  if (options.oomScoreAdj !== undefined) args.push(`--oom-score-adj=${options.oomScoreAdj}`)
  if (options.logLevel !== undefined) args.push(`--log-level=${options.logLevel}`)
  if (options.strace === true) args.push('--strace')
  if (options.patch === false) args.push('--no-patch')
  const log = options.log ?? 2
  const child = spawnOwnSession(options.packageRoot, args, [options.terminal ?? 'ignore', log, log, 'pipe'])
  const reports = new Reports(child)
  await reports.said('launched')
  const serving = reports.said('serving')
  // Who does not wait for it learns of a failure from its first request.
  serving.catch(() => {})
  return { pid: child.pid!, process: child, serving }
}

/** The child's number for the pipe: the first after the standard ones. */
const REPORT_FD = 3

/** What launcher and sentry report of the start: a word for each step, or a failure's text and then the end. */
class Reports {
  readonly #child: ChildProcess
  readonly #pipe: Readable
  #text = ''
  #ended = false
  #look: () => void = () => {}

  constructor(child: ChildProcess) {
    this.#child = child
    this.#pipe = child.stdio[REPORT_FD] as Readable
    this.#pipe.on('data', piece => {
      // What is more is no report.
      this.#text = (this.#text + piece).slice(0, 4096)
      this.#look()
    })
    const end = () => {
      this.#ended = true
      this.#look()
    }
    this.#pipe.on('error', end)
    this.#pipe.on('close', end)
    child.on('error', error => {
      this.#text = error.message
      end()
    })
  }

  async said(step: string): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#child.kill('SIGKILL')
        reject(new UserError(`the sandbox did not start within ${TIMEOUT_MS / 1000} s`))
      }, TIMEOUT_MS)
      this.#look = () => {
        const found = this.#text.startsWith(`${step}\n`)
        if (!found && !this.#ended) return
        clearTimeout(timer)
        if (!found) return reject(this.#failure())
        this.#text = this.#text.slice(step.length + 1)
        // It must not hold up the end of a runtime whose work is done.
        if (step === 'serving') (this.#pipe as Readable & { unref?(): void }).unref?.()
        resolve()
      }
      this.#look()
    })
  }

  #failure(): UserError {
    const lines = this.#text
      .trim()
      .split('\n')
      .filter(line => line !== '')
    return new UserError(
      lines.length > 0 ? lines.join('; ') : 'the sandbox ended while it started; its log may say why',
    )
  }
}

export interface AttachOptions {
  readonly packageRoot: string
  /** A process's connection (ControlClient.open); it stays the caller's, who closes it. */
  readonly connection: number
  /** Descriptor of the process's terminal, whose size changes are to be heard of. */
  readonly terminal?: number
}

/**
 * A process that stands for the guest process behind a connection: its pid, its end, its signals are the guest's. It may
 * have ended again already; nothing of this goes through the event loop, so that a caller who ends now leaves that end
 * to be seen by who adopts the process.
 */
export function attachProcess(addon: JailAddon & ControlAddon, options: AttachOptions): ChildProcess {
  const pipe = new Int32Array(2)
  addon.syscall(NR.pipe2, new Uint8Array(pipe.buffer), O_CLOEXEC)
  const [ready, started] = pipe
  const stdio: StdioOptions = [options.terminal ?? 'ignore', started, 'ignore', options.connection]
  const child = spawnOwnSession(options.packageRoot, ['attach'], stdio)
  addon.close(started)
  // It closes its output when it is ready for signals, which until then would end it.
  readSync(ready, new Uint8Array(1))
  addon.close(ready)
  return child
}

function spawnOwnSession(packageRoot: string, args: readonly string[], stdio: StdioOptions): ChildProcess {
  const child = spawn(join(packageRoot, 'native/build/caisson'), args, { stdio, detached: true })
  child.unref()
  return child
}
