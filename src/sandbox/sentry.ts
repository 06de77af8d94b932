/**
 * A sentry from its start to its end, whatever it runs: joins the host, the jail, the platform, the kernel and its file
 * systems.
 *
 *   start   the zygote, which the launcher has started, learns what stubs may do; the jail's root; the kernel
 *   seal    capabilities go first, then the seccomp filter closes; no guest code has run yet
 *   serve   the loop: guest code, control connections, until whoever started it says that it is over
 */
import { join } from 'node:path'
import { O_DIRECTORY, O_PATH } from '../abi/constants.ts'
import { forgetConstants } from '../kernel/constant-calls.ts'
import { traceOf } from '../kernel/containment.ts'
import { Kernel } from '../kernel/kernel.ts'
import { HostNetwork, useHostNetwork } from '../net/host/network.ts'
import { useOwnNetwork } from '../net/inet/network.ts'
import { type Addon, loadAddon } from '../platform/addon.ts'
import { LinuxHost } from '../platform/linux-host.ts'
import { LinuxSockets } from '../platform/linux-sockets.ts'
import type { CallRule } from '../platform/seccomp-program.ts'
import { Systrap } from '../platform/systrap/systrap.ts'
import { compileRows } from '../syscalls/dispatch.ts'
import { syscallRows } from '../syscalls/table.ts'
import { registerFileSystems } from './file-systems.ts'
import { Jail } from './jail.ts'
import { ZYGOTE_FD } from './launcher-channel.ts'
import { Log } from './log.ts'
import { networkCalls } from './network-calls.ts'
import type { Donation, SentryOptions, SentrySettings } from './options.ts'
import { prefetchRules } from './prefetch.ts'
import { ProcessMemory } from './process-memory.ts'
import { Tidier } from './tidy.ts'
import { Strace } from './trace.ts'

/** The exit status for all failures of caisson itself. */
export const EXIT_CRASH = 125

/** What a sentry is there for. */
export interface Work {
  /** Asked after each thing that happened. */
  over(): boolean
  /** When `over` may change although nothing happens, monotonic ns. */
  lookAgain(): number
  /** Does what must not be done while the platform calls watchers. */
  between(): void
}

export class Sentry {
  readonly addon: Addon
  readonly host: LinuxHost
  readonly log: Log
  readonly platform: Systrap
  readonly kernel: Kernel
  readonly jail: Jail
  readonly #hostNetwork: boolean
  readonly #hasLink: boolean
  readonly #networkCalls: readonly CallRule[]
  readonly #strace: Strace
  #filter: Uint8Array | undefined = undefined

  /** `writable`: files of the host may be changed, of the donations or of what comes later. */
  constructor(options: SentryOptions, donations: readonly Donation[], writable: boolean) {
    this.addon = loadAddon(join(options.packageRoot, 'native/build/caisson.node'))
    this.host = new LinuxHost(this.addon)
    this.log = new Log(this.addon, options.logLevel)
    this.platform = new Systrap({
      addon: this.addon,
      host: this.host,
      zygote: ZYGOTE_FD,
      prefetch: prefetchRules(syscallRows),
    })
    this.#hostNetwork = options.network === 'host'
    this.#hasLink = options.network === 'sandbox'
    this.#networkCalls = networkCalls(options.network)
    this.jail = Jail.enterRoot(this.addon, this.host, donations, writable, this.#hostNetwork)
    const memory = this.#readOwnProc(this.jail.proc)
    this.kernel = new Kernel(this.platform, this.host, {
      syscalls: compileRows(syscallRows),
      log: this.log,
      hostname: options.hostname,
    })
    if (memory !== undefined) this.kernel.memoryMeter = memory
    registerFileSystems(this.kernel)
    if (this.#hostNetwork) this.#useHostNetwork()
    else if (options.network === 'sandbox' || options.network === 'user') useOwnNetwork(this.kernel)
    this.#strace = new Strace(syscallRows, line => this.log.line(line))
    this.set(options)
  }

  /** To be called before there is a guest. */
  set({ logLevel, patch, strace }: SentrySettings): void {
    this.log.level = logLevel
    this.platform.patching = patch
    this.platform.lookAtCpus()
    if (strace) this.kernel.trace = this.#strace
  }

  #readOwnProc(proc: number): ProcessMemory | undefined {
    if (proc < 0) return undefined
    const memory = new ProcessMemory(this.host, proc)
    this.platform.residentPages = pid => memory.resident(pid)
    this.platform.peakPages = pid => memory.peak(pid)
    this.platform.usage = pid => memory.usage(pid)
    this.platform.lastCpu = (pid, tid) => memory.lastCpu(pid, tid)
    return memory
  }

  #useHostNetwork(): void {
    const { proc, netSettings } = this.jail
    const net = proc < 0 ? -1 : this.host.openat2(proc, 'self/net', O_PATH | O_DIRECTORY, 0, 0)
    const network = new HostNetwork(this.host, this.platform, new LinuxSockets(this.addon), net, netSettings)
    useHostNetwork(this.kernel.net, network)
  }

  /** What of `seal` can be done when it is not known yet whether there will be anything to serve. */
  prepareSeal(): Uint8Array {
    this.jail.dropCapabilities()
    // Without the thread the sentry reads by itself.
    if (this.#hasLink) this.addon.startLinkReader()
    this.#filter = this.jail.assembleFilter(this.#networkCalls)
    return this.#filter
  }

  /** From here on the sentry can do no more than host-calls.ts says. */
  seal(): void {
    this.jail.seal(this.#filter ?? this.prepareSeal())
    this.platform.followLoop()
    const tidier = new Tidier(this.kernel, this.addon)
    this.platform.onZygoteGone = () =>
      this.log.error('the process that makes guest processes was killed: no program can be started any more')
    this.platform.onQuiet = () => tidier.tidy()
    // What Node.js does with an exception that nobody catches takes calls that are not on the list.
    process.on('uncaughtException', error => {
      this.log.error(this.#crashReport(error))
      this.addon.exitGroup(EXIT_CRASH)
    })
  }

  setStrace(on: boolean): void {
    for (const task of this.kernel.tasks()) forgetConstants(task)
    this.kernel.trace = on ? this.#strace : undefined
  }

  /** Serves until it is over; what is left of the guest ends with that. False after a failure of the kernel's, which is logged. */
  async serve(work: Work): Promise<boolean> {
    const { kernel, platform } = this
    try {
      for (;;) {
        while (!platform.loopReady && !work.over()) {
          this.#turn(work)
          work.between()
        }
        if (work.over()) break
        platform.loopReady = false
        await new Promise(resolve => setImmediate(resolve))
      }
      kernel.shutdown()
      platform.destroy()
      return true
    } catch (error) {
      this.log.error(this.#crashReport(error))
      return false
    }
  }

  #turn(work: Work): void {
    const { kernel, platform } = this
    if (kernel.liveTasks > 0) {
      kernel.turn(work.lookAgain())
      return
    }
    // Between the containers of a sandbox there may be no task to wait for.
    kernel.timers.expire(kernel.now(), kernel.containment.timerFailed)
    if (!work.over()) platform.next(Math.min(work.lookAgain(), kernel.timers.next))
  }

  /** What is known when the sentry fails outside of a system call's handler: the error, and what the guest was doing. */
  #crashReport(error: unknown): string {
    const { kernel } = this
    const lines = [`bug: the kernel failed, and the sandbox ends: ${traceOf(error)}`]
    for (const task of kernel.tasks()) {
      const call =
        task.callNumber < 0
          ? 'guest code'
          : `${kernel.syscalls.name(task.callNumber)}(${task.args.join(', ')})`
      lines.push(
        `  pid ${task.tid} ${task.comm}: in ${call}${task === kernel.current ? ', being served' : ''}`,
      )
      if (lines.length > 50) break
    }
    return lines.join('\n')
  }
}
