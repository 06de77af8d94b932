/**
 * `create`: from a bundle to a container that stands ready, or to nothing at all. In this order:
 *
 *   plan            what config.json asks for, or the refusal, before anything is done
 *   state           the directory, with all that `delete` needs to undo the rest
 *   cgroup          of the host
 *   launcher        in that cgroup, with the container's network namespace; the sentry starts meanwhile
 *   hooks           prestart and createRuntime, which find the namespace by the launcher's pid
 *   request         to the sentry, with the root and the volumes as descriptors
 *   hooks           createContainer, in the container's network namespace
 *   pid file        and the state is 'created'
 *
 * A further container of a pod, or of a network namespace, goes to the sentry that the first one has (membership.ts); a
 * process that holds its connection stands for it in the launcher's place.
 */
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { harmless } from '../sandbox/control-answer.ts'
import { NoSandboxError } from '../sandbox/control-client.ts'
import { attachProcess, launchSandbox, type Sandbox } from '../sandbox/launch.ts'
import { DEFAULT_NETWORK } from '../sandbox/options.ts'
import { MAX_DESCRIPTORS } from '../sandbox/protocol.ts'
import { UserError } from '../sandbox/user-error.ts'
import { briefOf } from './brief.ts'
import { loadBundle } from './bundle.ts'
import { HostCgroup } from './cgroup/host-cgroup.ts'
import { type Context, hookState, sentryOf, warn } from './context.ts'
import { destroy } from './destroy.ts'
import { openTrees, sealTrees } from './donate.ts'
import { limitOf, runHooks } from './hooks.ts'
import { type PreparedIo, type ProcessIo, prepareIo } from './io.ts'
import { membershipOf } from './membership.ts'
import { inNetworkNamespace } from './network-namespace.ts'
import { planPolicies, planRates, refuseOnHost } from './network-policy.ts'
import { writePidFile } from './pid-file.ts'
import type { ContainerPlan } from './plan.ts'
import { planContainer } from './plan-container.ts'
import { identifyProcess } from './process-identity.ts'
import { type Standing, standingOf } from './standing.ts'
import { asUserError, ownIdentity, type SavedState, statusOf } from './state.ts'
import { sysctlPath } from './sysctl.ts'
import { withInit } from './with-init.ts'

export interface CreateRequest extends ProcessIo {
  readonly bundle: string
  /** Where to write the pid. */
  readonly pidFile?: string
  /** Whether its command runs below an init. */
  readonly init?: boolean
}

/** Longer than a sandbox that is short of memory and CPU takes. */
const CREATE_TIMEOUT_MS = 30_000
const MAX_LOG_SHOWN = 1000

export async function createContainer(
  context: Context,
  id: string,
  request: CreateRequest,
): Promise<Standing> {
  try {
    return await create(context, id, request)
  } finally {
    // One that was of no use.
    await context.spare?.dismiss()
  }
}

async function create(context: Context, id: string, request: CreateRequest): Promise<Standing> {
  const { store } = context
  if (process.geteuid!() !== 0) {
    throw new UserError("containers can be made by root alone; 'caisson do' runs commands of ordinary users")
  }
  const bundle = resolve(request.bundle)
  const given = loadBundle(bundle)
  const config = request.init ? withInit(given, context.options.packageRoot) : given
  const membership = membershipOf(context, id, config)
  const plan = planContainer(config, {
    id,
    bundle,
    membership,
    systemdCgroup: context.options.systemdCgroup ?? false,
    network: context.options.network ?? DEFAULT_NETWORK,
  })
  const policies = planPolicies(context.options, plan.annotations)
  const rates = planRates(context.options, plan.annotations)
  if (plan.sockets === 'host') refuseOnHost(context.options, policies, rates)
  for (const text of plan.warnings) warn(context, text)
  const state: SavedState = {
    format: 1,
    ociVersion: config.ociVersion,
    id,
    bundle,
    rootfs: plan.trees[0].source,
    created: new Date().toISOString(),
    ownerUid: process.geteuid!(),
    annotations: plan.annotations,
    phase: 'creating',
    creator: ownIdentity(),
    sandbox: membership.sandbox ?? id,
    ownStack: plan.sockets === 'sandbox' || undefined,
    networkPath: plan.network.kind === 'path' ? plan.network.path : undefined,
    cgroup: await planCgroup(plan),
    startLimitMs: limitOf(plan.hooks.startContainer, CREATE_TIMEOUT_MS),
    poststart: plan.hooks.poststart,
    poststop: plan.hooks.poststop,
    process: undefined,
    config: config.process,
  }
  store.create(state)
  return store.locked(id, () => new Creation(context, plan, request, state).run())
}

async function planCgroup(plan: ContainerPlan) {
  if (plan.cgroup.driver === 'cgroupfs') return HostCgroup.plan(plan)
  const { userManager } = await import('./cgroup/systemd.ts')
  return HostCgroup.plan(plan, undefined, await userManager())
}

/** One `create` under way. */
class Creation {
  readonly #context: Context
  readonly #plan: ContainerPlan
  readonly #request: CreateRequest
  /** Of the process that stands for the container; hooks that run end with it. */
  readonly #ended = new AbortController()
  #state: SavedState

  constructor(context: Context, plan: ContainerPlan, request: CreateRequest, state: SavedState) {
    this.#context = context
    this.#plan = plan
    this.#request = request
    this.#state = state
  }

  async run(): Promise<Standing> {
    try {
      const { terminal } = this.#plan.spec.process
      const io = prepareIo(this.#context, this.#request, { terminal, size: this.#plan.consoleSize }, 0)
      try {
        const standing =
          this.#state.sandbox === this.#state.id ? await this.#alone(io) : await this.#inPod(io)
        if (this.#request.pidFile !== undefined) writePidFile(this.#request.pidFile, standing.pid)
        const brief = briefOf(this.#state)
        if (brief !== undefined) this.#context.store.put(this.#state.id, 'brief', brief)
        this.#save({ phase: 'created' })
        return standing
      } finally {
        io.close()
      }
    } catch (error) {
      const reason = error instanceof NoSandboxError ? this.#withLog(error) : error
      await destroy(this.#context, this.#state).catch(undone =>
        warn(this.#context, (undone as Error).message),
      )
      throw reason
    }
  }

  /** In a sandbox of its own. */
  async #alone(io: PreparedIo): Promise<Standing> {
    const sandbox = await this.#launch(io)
    try {
      return await this.#furnish(sandbox, io)
    } finally {
      sandbox.release()
    }
  }

  async #furnish(sandbox: Sandbox, io: PreparedIo): Promise<Standing> {
    const standing = standingOf(sandbox.process)
    this.#stands(standing)
    this.#setNetworkSysctl(standing.pid)
    await this.#runtimeHooks(standing.pid)
    await this.#withDescriptors(io, async descriptors => {
      await sandbox.serving
      const sentry = sentryOf(this.#context, this.#state)
      const timeoutMs = CREATE_TIMEOUT_MS
      await sentry.ask({ command: 'create', spec: this.#spec(io, standing.pid) }, { descriptors, timeoutMs })
    })
    await this.#containerHooks(standing.pid)
    return standing
  }

  async #launch(io: PreparedIo) {
    const { options, store } = this.#context
    const { kind } = this.#plan.network
    const cgroup = await this.#makeCgroup()
    const log = this.#openLog()
    try {
      const sandbox = await launchSandbox(this.#context.addon, {
        packageRoot: options.packageRoot,
        controlPath: store.controlSocket(this.#state.id),
        network: this.#plan.sockets,
        networkNamespace: kind === 'path' ? this.#plan.network : kind,
        cgroups: cgroup.directories,
        oomScoreAdj: this.#plan.spec.process.oomScoreAdj,
        logLevel: options.logLevel,
        strace: options.strace,
        terminal: io.terminal,
        log,
        spare: this.#context.spare,
      })
      // By then the launcher has joined, or is gone.
      const joined = () => cgroup.joined()
      sandbox.serving.then(joined, joined)
      return sandbox
    } finally {
      closeSync(log)
    }
  }

  async #makeCgroup(): Promise<HostCgroup> {
    const cgroup = await HostCgroup.create(this.#state.cgroup!, this.#plan.cgroup.resources)
    // Who may not make all of it has the less of it to remove.
    this.#save({ cgroup: cgroup.saved })
    return cgroup
  }

  /** In the sandbox that another container has. */
  async #inPod(io: PreparedIo): Promise<Standing> {
    const { addon, store, options } = this.#context
    const first = store.find(this.#state.sandbox)
    if (first === undefined || statusOf(first, () => false) === 'stopped') {
      throw new UserError(`the sandbox ${this.#state.sandbox}, which the container joins, is not running`)
    }
    const cgroup = await this.#makeCgroup()
    await this.#runtimeHooks(first.process!.pid)
    const connection = await this.#withDescriptors(io, async descriptors => {
      const sentry = sentryOf(this.#context, this.#state)
      const spec = this.#spec(io, first.process!.pid)
      const opened = await sentry.open(
        { command: 'create', spec },
        { descriptors, timeoutMs: CREATE_TIMEOUT_MS },
      )
      return opened.connection
    })
    try {
      const { packageRoot } = options
      const standing = standingOf(attachProcess(addon, { packageRoot, connection, terminal: io.terminal }))
      this.#stands(standing)
      cgroup.join(standing.pid)
      cgroup.joined()
      await this.#containerHooks(first.process!.pid)
      return standing
    } finally {
      addon.close(connection)
    }
  }

  #spec(io: PreparedIo, pid: number): ContainerPlan['spec'] {
    const { spec, trees } = this.#plan
    const behind = (index: number) => trees.length + index
    const process = { ...spec.process, stdio: io.stdio.map(behind), passed: io.passed.map(behind) }
    return { ...spec, process, state: hookState(this.#state, 'created', pid) }
  }

  /** With what goes to the sandbox: the trees, and then the descriptors of `io`. */
  async #withDescriptors<T>(
    io: PreparedIo,
    work: (descriptors: readonly number[]) => Promise<T>,
  ): Promise<T> {
    const count = this.#plan.trees.length + io.descriptors.length
    if (count > MAX_DESCRIPTORS) {
      throw new UserError(
        `${count} mounts and descriptors: a container can be given ${MAX_DESCRIPTORS} at most`,
      )
    }
    const trees = openTrees(this.#context.addon, this.#plan.trees)
    try {
      const result = await work([...trees, ...io.descriptors])
      sealTrees(this.#context.addon, this.#plan.trees, trees)
      return result
    } finally {
      for (const fd of trees) this.#context.addon.close(fd)
    }
  }

  /** /proc/sys shows those of the namespace that one is in. */
  #setNetworkSysctl(pid: number): void {
    const settings = Object.entries(this.#plan.networkSysctl)
    if (settings.length === 0) return
    inNetworkNamespace(this.#context.addon, pid, () => {
      for (const [key, value] of settings) {
        try {
          writeFileSync(`/proc/sys/${sysctlPath(key)}`, value)
        } catch (error) {
          throw asUserError(error, `linux.sysctl: ${key} can't be set to '${value}'`)
        }
      }
    })
  }

  async #runtimeHooks(pid: number): Promise<void> {
    const state = hookState(this.#state, 'creating', pid)
    const abort = this.#ended.signal
    for (const kind of ['prestart', 'createRuntime'] as const) {
      await runHooks(this.#context.addon, kind, this.#plan.hooks[kind], state, { abort })
    }
  }

  async #containerHooks(pid: number): Promise<void> {
    const hooks = this.#plan.hooks.createContainer
    const state = hookState(this.#state, 'creating', pid)
    const { addon } = this.#context
    const start = <T>(make: () => T) => inNetworkNamespace(addon, pid, make)
    await runHooks(this.#context.addon, 'createContainer', hooks, state, { start, abort: this.#ended.signal })
  }

  /** From now on this process is the container. */
  #stands({ pid, exit }: Standing): void {
    void exit.then(() => this.#ended.abort())
    const identity = identifyProcess(pid)
    if (identity !== undefined) this.#save({ process: identity })
  }

  #save(change: Partial<SavedState>): void {
    this.#state = { ...this.#state, ...change }
    this.#context.store.save(this.#state)
  }

  /** What the sandbox has said last, as its log goes with the state. */
  #withLog({ message }: Error): UserError {
    let said = ''
    try {
      said = harmless(readFileSync(this.#logPath, 'utf8').trim().slice(-MAX_LOG_SHOWN))
    } catch {
      // It did not come so far.
    }
    return new UserError(said === '' ? message : `${message}; its log: ${said}`)
  }

  get #logPath(): string {
    const { debugLog } = this.#context.options
    const { id } = this.#state
    if (debugLog === undefined) return join(this.#context.store.directory(id), 'sandbox.log')
    return debugLog.endsWith('/') ? join(debugLog, `${id}.log`) : debugLog
  }

  #openLog(): number {
    const path = this.#logPath
    try {
      return openSync(path, 'a', 0o600)
    } catch (error) {
      throw asUserError(error, `the sandbox's log ${path} can't be written`)
    }
  }
}
