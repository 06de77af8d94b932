/**
 * The container runtime as a library: one method for each verb of runtime-spec and runc. The command line and the
 * containerd shim call the same.
 *
 * Nothing of a container is kept here: what is known of one is in its state directory (state.ts) and in its sentry, so
 * that any number of runtimes may work on the same root, and each verb finds its way in whatever state the last one
 * was killed. The texts of errors that container engines look for are runc's.
 */
import { join } from 'node:path'
import { SIGKILL } from '../abi/constants.ts'
import { loadAddon } from '../platform/addon.ts'
import type { ContainerStats, ProcessInfo } from '../sandbox/protocol.ts'
import { Spare } from '../sandbox/spare.ts'
import { UserError } from '../sandbox/user-error.ts'
import type { HostCgroup } from './cgroup/host-cgroup.ts'
import type { ResourcesConfig } from './config.ts'
import { type Context, hookState, type RuntimeOptions, sentryOf } from './context.ts'
import type { CreateRequest } from './create.ts'
import type { ExecRequest, OpenProcess } from './exec.ts'
import { isFrozen, passesOn, refuseFrozen } from './frozen.ts'
import { podRole } from './pod.ts'
import { signalProcess } from './process-identity.ts'
import type { SandboxNetwork } from './sandbox-network.ts'
import type { Standing } from './standing.ts'
import { NoContainerError, type SavedState, StateStore, type Status, statusOf } from './state.ts'

export type { RuntimeOptions } from './context.ts'
export type { CreateRequest } from './create.ts'
export type { ExecRequest, OpenProcess } from './exec.ts'
export type { Standing } from './standing.ts'
export type { SavedState, Status } from './state.ts'
export { NoContainerError } from './state.ts'

/** A container as `state` and `list` show it. */
export interface ContainerState {
  readonly ociVersion: string
  readonly id: string
  /** On the host; 0 for a stopped one. */
  readonly pid: number
  readonly status: Status
  readonly bundle: string
  readonly rootfs: string
  readonly created: string
  readonly owner: string
  readonly annotations?: Readonly<Record<string, string>>
}

/** A process of a container; `hostPid` is the host's own number, 0 where it can't be told. */
export type HostProcessInfo = ProcessInfo

export class Runtime {
  readonly #context: Context

  constructor(options: RuntimeOptions) {
    const context = openContext(options)
    this.#context = { ...context, spare: Spare.take(context.addon) }
  }

  /** For terminals that the caller makes. */
  get addon(): Context['addon'] {
    return this.#context.addon
  }

  /** What is kept of a container: see state.ts. */
  stateDirectory(id: string): string {
    return this.#context.store.directory(id)
  }

  /** The new container stands ready; the process that is returned stands for it, and its end is the container's. */
  async create(id: string, request: CreateRequest): Promise<Standing> {
    const { createContainer } = await import('./create.ts')
    return createContainer(this.#context, id, request)
  }

  async start(id: string): Promise<void> {
    const { store } = this.#context
    await store.locked(id, async () => {
      const state = store.load(id)
      const status = await this.#status(state)
      if (status === 'stopped') throw new UserError('cannot start a container that has stopped')
      if (status !== 'created') throw new UserError('cannot start an already running container')
      // First, so that it is not one that runs and is said not to.
      store.save({ ...state, phase: 'started' })
      try {
        await this.#startProcess(state)
      } catch (error) {
        store.save(state)
        throw error
      }
      await this.#poststart(state)
    })
  }

  async #startProcess(state: SavedState): Promise<void> {
    const { addon } = this.#context
    const taken = await this.#takeNetwork(state)
    try {
      await sentryOf(this.#context, state).ask(
        { command: 'start', container: state.id, network: taken?.spec },
        { descriptors: taken?.descriptors, timeoutMs: state.startLimitMs },
      )
    } finally {
      for (const fd of taken?.descriptors ?? []) addon.close(fd)
    }
  }

  /** Whoever has set up the container's network, before `create`, in a hook, or between `create` and now, is done by now. */
  async #takeNetwork(state: SavedState): Promise<SandboxNetwork | undefined> {
    if (state.ownStack !== true || state.sandbox !== state.id || state.process === undefined) return undefined
    const { takeSandboxNetwork } = await import('./sandbox-network.ts')
    return takeSandboxNetwork(this.#context, state)
  }

  async #poststart(state: SavedState): Promise<void> {
    if (state.poststart.length === 0) return
    const { runHooks } = await import('./hooks.ts')
    try {
      await runHooks(
        this.#context.addon,
        'poststart',
        state.poststart,
        hookState(state, 'running', state.process!.pid),
      )
    } catch (error) {
      // runtime-spec: the container is stopped; it stays until it is deleted.
      await this.kill(state.id, SIGKILL)
      throw error
    }
  }

  async state(id: string): Promise<ContainerState> {
    return this.#describe(this.#context.store.load(id))
  }

  /** All containers; one whose state can't be read is left out. */
  async list(): Promise<ContainerState[]> {
    const { store } = this.#context
    const states = store.list().map(id => store.tryFind(id))
    return Promise.all(states.filter(state => state !== undefined).map(state => this.#describe(state)))
  }

  /** `all`: every process of the container. */
  async kill(id: string, signo: number, all = false): Promise<void> {
    const { addon, store } = this.#context
    const state = store.load(id)
    const status = await this.#status(state)
    if (status === 'stopped' || state.process === undefined) {
      // Nothing is left for `all` to reach: the others have ended with the first.
      if (all) return
      throw new UserError('container not running')
    }
    const own = state.sandbox === id
    if (signo === SIGKILL && own) {
      // Not by way of the sentry, which may hang or be frozen.
      if (status === 'paused') (await this.#cgroup(state))?.thaw()
      if (!signalProcess(addon, state.process, SIGKILL) && !all) throw new UserError('container not running')
      return
    }
    if (isFrozen(state, status) && own && !all && passesOn(signo)) {
      // It waits there until the launcher can pass it on.
      signalProcess(addon, state.process, signo)
      return
    }
    refuseFrozen(state, status)
    await sentryOf(this.#context, state).ask({ command: 'signal', container: id, signo, all })
  }

  /** To a process that `exec` has named. */
  async killExec(id: string, execId: string, signo: number): Promise<void> {
    const state = this.#context.store.load(id)
    refuseFrozen(state, await this.#status(state))
    await sentryOf(this.#context, state).ask({ command: 'signal', container: id, exec: execId, signo })
  }

  /** Removes a stopped container, or one that was never started; `force`: whatever it does, and if there is one. */
  async delete(id: string, force = false): Promise<void> {
    const { addon, store } = this.#context
    // Who holds the lock waits for the sandbox, and fails when it dies.
    const busy = () => force && killSandbox(addon, store.tryFind(id))
    try {
      await store.locked(id, () => this.#delete(id, force), busy)
    } catch (error) {
      if (!force || !(error instanceof NoContainerError)) throw error
      store.removeAbandoned(id)
    }
  }

  async #delete(id: string, force: boolean): Promise<void> {
    const { store } = this.#context
    const { destroy } = await import('./destroy.ts')
    const state = force ? store.tryFind(id) : store.find(id)
    if (state === undefined) return store.remove(id)
    const status = await this.#status(state)
    if (!force && status !== 'stopped' && status !== 'created') {
      throw new UserError(`cannot delete container ${id} that is not stopped: ${status}`)
    }
    await destroy(this.#context, state)
  }

  /** Starts a process in a container, and one of ours that stands for it. */
  async exec(id: string, request: ExecRequest): Promise<Standing> {
    const { execProcess } = await import('./exec.ts')
    const state = this.#context.store.load(id)
    return execProcess(this.#context, state, await this.#status(state), request)
  }

  /** The same, and the caller stands for it: see ProcessConnection. */
  async openProcess(id: string, request: ExecRequest): Promise<OpenProcess> {
    const { openProcess } = await import('./exec.ts')
    const state = this.#context.store.load(id)
    return openProcess(this.#context, state, await this.#status(state), request)
  }

  /** A connection on which the end of the container, or of a process of `exec`, will be said. */
  async wait(id: string, execId?: string): Promise<number> {
    const state = this.#context.store.load(id)
    const request = { command: 'wait', container: id, exec: execId } as const
    return (await sentryOf(this.#context, state).open(request)).connection
  }

  /** The guest's processes. */
  async ps(id: string): Promise<HostProcessInfo[]> {
    const { store } = this.#context
    const state = store.load(id)
    const status = await this.#status(state)
    if (status === 'stopped') return []
    refuseFrozen(state, status)
    const { hostPids } = await import('./host-pids.ts')
    const answer = await sentryOf(this.#context, state).ask({ command: 'processes', container: id })
    if (!('processes' in answer)) return []
    const pids = hostPids(store.load(state.sandbox).process?.pid ?? 0)
    return answer.processes.map(each => ({ ...each, hostPid: pids.get(each.hostPid) ?? 0 }))
  }

  async pause(id: string): Promise<void> {
    await this.#setPaused(id, ['running', 'created'], true)
  }

  async resume(id: string): Promise<void> {
    await this.#setPaused(id, ['paused'], false)
  }

  async #setPaused(id: string, from: readonly Status[], paused: boolean): Promise<void> {
    const { store } = this.#context
    await store.locked(id, async () => {
      const state = store.load(id)
      const status = await this.#status(state)
      if (!from.includes(status)) throw new UserError(`container not ${from[0]}: ${id} is ${status}`)
      // The host sees a pod as one sandbox, which tells its containers apart.
      if (paused ? this.#isShared(state) : state.paused === true) return this.#setPausedInside(state, paused)
      const cgroup = await this.#cgroup(state)
      if (cgroup === undefined) throw new UserError(`container ${id} has no cgroup that could be frozen`)
      if (paused) await cgroup.freeze()
      else cgroup.thaw()
    })
  }

  /** Its sandbox has other containers, or may come to have them. */
  #isShared({ id, annotations, sandbox }: SavedState): boolean {
    const { store } = this.#context
    if (sandbox !== id || podRole(id, annotations) !== undefined) return true
    return store.list().some(other => other !== id && store.tryFind(other)?.sandbox === id)
  }

  async #setPausedInside(state: SavedState, paused: boolean): Promise<void> {
    const { store } = this.#context
    const sentry = sentryOf(this.#context, state)
    const container = state.id
    if (!paused) {
      await sentry.ask({ command: 'resume', container })
      store.save({ ...state, paused })
      return
    }
    // First, so that it is not one that is held and is said to run.
    store.save({ ...state, paused })
    try {
      await sentry.ask({ command: 'pause', container })
    } catch (error) {
      await sentry.ask({ command: 'resume', container }).catch(() => {})
      store.save(state)
      throw error
    }
  }

  /** New limits, of the host's cgroup and of the guest's. */
  async update(id: string, resources: ResourcesConfig): Promise<void> {
    const { store } = this.#context
    const { planLimits } = await import('./limits.ts')
    await store.locked(id, async () => {
      const state = store.load(id)
      const status = await this.#status(state)
      if (status === 'stopped') throw new UserError('container not running')
      refuseFrozen(state, status)
      await (await this.#cgroup(state))?.apply(resources)
      const limits = planLimits(resources)
      await sentryOf(this.#context, state).ask({ command: 'update', container: id, limits })
    })
  }

  /** What the guest uses, as its sentry counts it. */
  async guestStats(id: string): Promise<ContainerStats> {
    const answer = await sentryOf(this.#context, this.#context.store.load(id)).ask({
      command: 'stats',
      container: id,
    })
    if (!('stats' in answer)) throw new UserError('the sandbox gave no statistics')
    return answer.stats
  }

  /** `killed` is called when processes of a pod's container were killed for want of memory. The result ends that. */
  async watchGuestOom(id: string, killed: () => void): Promise<() => void> {
    const state = this.#context.store.load(id)
    const { watchEvents } = await import('./guest-events.ts')
    return watchEvents(sentryOf(this.#context, state), id, killed)
  }

  /** The container's cgroup on the host. */
  async cgroup(id: string): Promise<HostCgroup | undefined> {
    return this.#cgroup(this.#context.store.load(id))
  }

  /** What config.json says of the container's own process. */
  processConfig(id: string): SavedState['config'] {
    return this.#context.store.load(id).config
  }

  async #cgroup(state: SavedState): Promise<HostCgroup | undefined> {
    if (state.cgroup === undefined) return undefined
    const { HostCgroup } = await import('./cgroup/host-cgroup.ts')
    return HostCgroup.open(state.cgroup)
  }

  async #status(state: SavedState): Promise<Status> {
    const cgroup = await this.#cgroup(state)
    return statusOf(state, () => cgroup?.frozen ?? false)
  }

  async #describe(state: SavedState): Promise<ContainerState> {
    const status = await this.#status(state)
    const { ociVersion, id, bundle, rootfs, created, annotations, ownerUid } = state
    const owner = ownerUid === 0 ? 'root' : `#${ownerUid}`
    const pid = status === 'stopped' ? 0 : (state.process?.pid ?? 0)
    return { ociVersion, id, pid, status, bundle, rootfs, created, owner, annotations }
  }
}

export function openContext(options: RuntimeOptions): Context {
  const addon = loadAddon(join(options.packageRoot, 'native/build/caisson.node'))
  return { options, addon, store: new StateStore(options.root, addon) }
}

function killSandbox(addon: Context['addon'], state: SavedState | undefined): void {
  if (state?.process !== undefined && state.sandbox === state.id) signalProcess(addon, state.process, SIGKILL)
}
