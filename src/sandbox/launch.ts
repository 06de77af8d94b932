/**
 * Starts sandboxes for containers, and the processes that stand for guest processes: the host's side of native/launcher.
 *
 *   launchSandbox      the launcher lives, its network namespace is the container's, and the sentry is starting
 *   sandbox.serving    the sentry has locked itself in and answers; or why it could not
 *
 * The sentry ends with a reader of its reports that ends before the first container was made: a runtime that is killed
 * half-way leaves nothing. Both kinds of processes lead sessions of their own and outlive who started them.
 */
import { readSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { SIGKILL } from '../abi/constants.ts'
import { EAGAIN } from '../abi/errno.ts'
import type { Addon } from '../platform/addon.ts'
import { NoSandboxError } from './control-client.ts'
import { HostProcess, readable } from './host-process.ts'
import type { ContainerNetwork, LogLevel } from './options.ts'
import { newPipe } from './pipe.ts'
import type { Spare } from './spare.ts'
import { UserError } from './user-error.ts'

export interface LaunchOptions {
  /** The directory of caisson's own package. */
  readonly packageRoot: string
  /** Where to make the control socket; its directory is there. */
  readonly controlPath: string
  /**
   * 'host': the sentry lives in the container's network namespace; otherwise in one without anything, with a network
   * stack of its own ('sandbox') or without ('none').
   */
  readonly network: ContainerNetwork
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
  /** To be taken if it fits. */
  readonly spare?: Spare
}

export interface Sandbox {
  /** The launcher: the container's pid, for the host, and its end. */
  readonly process: HostProcess
  /** Rejects with a UserError where the sentry could not start. */
  readonly serving: Promise<void>
  /** To be called once there is a container, or none is wanted any more: then the sandbox ends. */
  release(): void
}

/** Until the launcher has said that its namespaces are there, and the sentry that it serves. */
const TIMEOUT_MS = 20_000

export async function launchSandbox(addon: Addon, options: LaunchOptions): Promise<Sandbox> {
  const { spare } = options
  if (spare?.waiting === true) {
    if (options.network === spare.network && networkOf(options) === spare.networkNamespace) {
      const sandbox = await order(addon, spare, options)
      if (sandbox !== undefined) return sandbox
    } else void spare.dismiss()
  }
  const args = ['sandbox', `--report-fd=${REPORT_FD}`, ...flagsOf(options)]
  const log = options.log ?? 2
  const { reader: ready, writer: started } = newPipe(addon)
  let process: HostProcess
  try {
    process = startOwnSession(addon, options.packageRoot, args, [options.terminal ?? -1, log, log, started])
  } catch (error) {
    addon.close(ready)
    throw error
  } finally {
    addon.close(started)
  }
  const reports = new Reports(addon, ready, process)
  await reports.said('launched')
  return starting(process, reports)
}

/**
 * The spare one, as it is to be. Undefined where it failed, for want of memory or by what it was ordered: one that is
 * launched anew does better, or says why not.
 */
async function order(addon: Addon, spare: Spare, options: LaunchOptions): Promise<Sandbox | undefined> {
  const socket = spare.order(flagsOf(options), options.log ?? 2, options.terminal ?? -1)
  if (socket === undefined) {
    await spare.dismiss()
    return undefined
  }
  const reports = new Reports(addon, socket, spare.process)
  try {
    await reports.said('launched')
    return starting(spare.process, reports)
  } catch {
    await spare.process.exit
    rmSync(options.controlPath, { force: true })
    return undefined
  }
}

function starting(process: HostProcess, reports: Reports): Sandbox {
  const serving = reports.said('serving')
  // Who does not wait for it learns of a failure from its first request.
  serving.catch(() => {})
  return { process, serving, release: () => reports.close() }
}

function flagsOf(options: LaunchOptions): string[] {
  const flags = [
    `--control=${options.controlPath}`,
    `--network=${options.network}`,
    `--netns=${networkOf(options)}`,
    ...options.cgroups.map(directory => `--cgroup=${directory}`),
  ]
  if (options.oomScoreAdj !== undefined) flags.push(`--oom-score-adj=${options.oomScoreAdj}`)
  if (options.logLevel !== undefined) flags.push(`--log-level=${options.logLevel}`)
  if (options.strace === true) flags.push('--strace')
  if (options.patch === false) flags.push('--no-patch')
  return flags
}

function networkOf({ networkNamespace }: LaunchOptions): string {
  return typeof networkNamespace === 'string' ? networkNamespace : networkNamespace.path
}

/** The child's number for the pipe: the first after the standard ones. */
const REPORT_FD = 3

/** What launcher and sentry report of the start: a word for each step, or a failure's text and then the end. */
class Reports {
  readonly #addon: Addon
  readonly #pipe: number
  readonly #process: HostProcess
  #text = ''
  #open = true
  #reading = false

  constructor(addon: Addon, pipe: number, process: HostProcess) {
    this.#addon = addon
    this.#pipe = pipe
    this.#process = process
  }

  async said(step: string): Promise<void> {
    let late = false
    const timer = setTimeout(() => {
      late = true
      this.#process.kill(SIGKILL)
    }, TIMEOUT_MS)
    try {
      while (!this.#take(step)) {
        if (await this.#more()) continue
        this.close()
        throw late
          ? new UserError(`the sandbox did not start within ${TIMEOUT_MS / 1000} s`)
          : this.#failure()
      }
    } finally {
      clearTimeout(timer)
    }
  }

  /** Launcher and sentry are two processes, either of which may be the first to say what it has. */
  #take(step: string): boolean {
    const lines = this.#text.split('\n')
    // Behind the last newline there is no line yet.
    const at = lines.lastIndexOf(step, -2)
    if (at < 0) return false
    this.#text = lines.toSpliced(at, 1).join('\n')
    return true
  }

  /** False at the end. */
  async #more(): Promise<boolean> {
    if (!this.#open) return false
    this.#reading = true
    await readable(this.#addon, this.#pipe)
    this.#reading = false
    if (!this.#open) this.#addon.close(this.#pipe)
    if (!this.#open) return false
    const piece = new Uint8Array(4096)
    const length = this.#addon.pread(this.#pipe, piece, -1)
    // What is more is no report.
    if (length > 0) this.#text = (this.#text + Buffer.from(piece.subarray(0, length))).slice(0, 4096)
    return length > 0 || length === -EAGAIN
  }

  /** A pipe that is being waited for is closed when the wait is over, which the end of the sandbox sees to. */
  close(): void {
    if (this.#open && !this.#reading) this.#addon.close(this.#pipe)
    this.#open = false
  }

  #failure(): UserError {
    const lines = this.#text
      .trim()
      .split('\n')
      .filter(line => line !== '')
    if (lines.length > 0) return new UserError(lines.join('; '))
    return new NoSandboxError('the sandbox ended while it started')
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
export function attachProcess(addon: Addon, options: AttachOptions): HostProcess {
  const { reader: ready, writer: started } = newPipe(addon)
  try {
    const descriptors = [options.terminal ?? -1, started, -1, options.connection]
    return startOwnSession(addon, options.packageRoot, ['attach'], descriptors)
  } finally {
    addon.close(started)
    // It closes its output when it is ready for signals, which until then would end it.
    readSync(ready, new Uint8Array(1))
    addon.close(ready)
  }
}

function startOwnSession(
  addon: Addon,
  packageRoot: string,
  args: readonly string[],
  descriptors: readonly number[],
): HostProcess {
  const path = join(packageRoot, 'native/build/caisson')
  return HostProcess.start(addon, { path, args: [path, ...args], descriptors, session: true })
}
