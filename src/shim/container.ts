/**
 * A container of the shim: its first process, those of `exec`, and what is done to them, one after the other. Events come
 * in containerd's order: created, started, the ends of all execs, the end of the first process, deleted.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ProcessConfig, ResourcesConfig } from '../oci/config.ts'
import { podRole } from '../oci/pod.ts'
import type { Standing } from '../oci/runtime.ts'
import type { Addon } from '../platform/addon.ts'
import { UserError } from '../sandbox/user-error.ts'
import { BUNDLE_FILES } from './bundle-files.ts'
import { callError, failedPrecondition, killError, notFound } from './errors.ts'
import type { ContainerEvents } from './events.ts'
import type { ShimLog } from './log.ts'
import { mountRootfs, type RootfsMount, unmountRootfs } from './rootfs.ts'
import type { ShimRuntime } from './runtime.ts'
import { type StreamPaths, Streams } from './streams.ts'
import { TaskProcess } from './task-process.ts'
import { CODE, RpcError } from './ttrpc/status.ts'

export interface ContainerContext {
  readonly addon: Addon
  readonly runtime: ShimRuntime
  readonly events: ContainerEvents
  readonly log: ShimLog
  readonly namespace: string
}

export interface ContainerRequest {
  readonly id: string
  readonly bundle: string
  readonly rootfs: readonly RootfsMount[]
  readonly paths: StreamPaths
}

/** How long the output of an ended process may take to arrive. */
const DRAIN_LIMIT_MS = 10_000
/** In an exec after the first process has ended there is nothing to wait for but its own end, which follows. */
const LAST_EXECS_LIMIT_MS = 10_000

export class Container {
  readonly id: string
  readonly bundle: string
  readonly init: TaskProcess
  /** Of a pod: its sandbox, and with that the host's cgroup of the sandbox, may have other containers, too. */
  inPod = false
  readonly #context: ContainerContext
  readonly #execs = new Map<string, { readonly process: TaskProcess; readonly config: ProcessConfig }>()
  #paused = false
  #oomKills = 0
  #stopOomWatch: () => void = () => {}
  /** What is done to it now. */
  #work: Promise<unknown> = Promise.resolve()

  private constructor(context: ContainerContext, request: ContainerRequest) {
    this.#context = context
    this.id = request.id
    this.bundle = request.bundle
    this.init = new TaskProcess('', request.paths)
  }

  static async create(context: ContainerContext, request: ContainerRequest): Promise<Container> {
    const container = new Container(context, request)
    await container.#create(request)
    return container
  }

  async #create({ id, bundle, rootfs, paths }: ContainerRequest): Promise<void> {
    const { addon, runtime, events, namespace } = this.#context
    const root = join(bundle, 'rootfs')
    let streams: Streams | undefined
    let standing: Standing
    try {
      mountRootfs(addon, rootfs, root)
      streams = await Streams.open(addon, paths, { id, namespace })
      standing = await runtime.create(id, { bundle, ...streams.io, pidFile: join(bundle, BUNDLE_FILES.pid) })
    } catch (error) {
      streams?.close()
      unmountRootfs(addon, root)
      throw callError(error, 'OCI runtime create failed')
    }
    streams.handOver()
    this.init.streams = streams
    this.init.pid = standing.pid
    events.created(this, rootfs)
    this.#follow(this.init, standing)
    await this.#findPod()
  }

  /** The status of a process as containerd sees it: with the container all of its processes pause. */
  statusOf(process: TaskProcess): TaskProcess['status'] | 'paused' {
    return this.#paused && process.status === 'running' ? 'paused' : process.status
  }

  process(execId: string): TaskProcess {
    if (execId === '') return this.init
    const exec = this.#execs.get(execId)
    if (exec === undefined) throw notFound(`process ${execId}`)
    return exec.process
  }

  get execs(): TaskProcess[] {
    return [...this.#execs.values()].map(({ process }) => process)
  }

  start(execId: string): Promise<TaskProcess> {
    return this.#exclusively(() => (execId === '' ? this.#startInit() : this.#startExec(execId)))
  }

  async #startInit(): Promise<TaskProcess> {
    const { runtime, events } = this.#context
    const { init } = this
    if (init.status !== 'created') throw failedPrecondition(`cannot start a ${init.status} process`)
    await announcing(init, async () => {
      try {
        await runtime.start(this.id)
      } catch (error) {
        throw callError(error, 'OCI runtime start failed')
      }
      init.status = 'running'
      events.started(this)
      init.streams?.openInput()
    })
    return init
  }

  async #startExec(execId: string): Promise<TaskProcess> {
    const { addon, runtime, events, namespace } = this.#context
    const process = this.process(execId)
    const { config } = this.#execs.get(execId)!
    if (this.init.status !== 'running') {
      throw failedPrecondition(`container ${this.id} init process is not running`)
    }
    if (process.status !== 'created') throw failedPrecondition(`cannot start a ${process.status} process`)
    await announcing(process, async () => {
      let streams: Streams | undefined
      let standing: Standing
      try {
        streams = await Streams.open(addon, process.paths, { id: execId, namespace })
        standing = await runtime.exec(this.id, { process: config, execId, ...streams.io })
      } catch (error) {
        streams?.close()
        process.ended(0)
        throw callError(error, 'OCI runtime exec failed')
      }
      streams.handOver()
      process.streams = streams
      process.pid = standing.pid
      process.status = 'running'
      events.execStarted(this, process)
      this.#follow(process, standing)
      streams.openInput()
    })
    return process
  }

  addExec(execId: string, paths: StreamPaths, config: ProcessConfig): void {
    if (this.#execs.has(execId)) throw new RpcError(CODE.alreadyExists, `id ${execId}: already exists`)
    if (this.init.status === 'stopped') throw failedPrecondition('cannot exec in a stopped state')
    const process = new TaskProcess(execId, paths)
    this.#execs.set(execId, { process, config: { ...config, terminal: paths.terminal } })
    this.#context.events.execAdded(this, process)
  }

  /** Forgets the process, and with the first one all there is of the container. */
  delete(execId: string): Promise<TaskProcess> {
    return this.#exclusively(async () => {
      const process = this.process(execId)
      if (process.status === 'running') throw failedPrecondition('cannot delete a running process')
      await within(process.streams?.drained(), DRAIN_LIMIT_MS)
      if (execId === '') await this.#remove()
      process.streams?.close()
      process.streams = undefined
      if (execId !== '') this.#execs.delete(execId)
      else this.#context.events.deleted(this)
      return process
    })
  }

  async #remove(): Promise<void> {
    const { addon, runtime } = this.#context
    try {
      await runtime.delete(this.id)
    } catch (error) {
      // Somebody else was faster.
      if (!(error instanceof UserError && error.message === 'container does not exist')) {
        throw callError(error, 'failed to delete task')
      }
    }
    this.#stopOomWatch()
    // Created, and never started.
    if (this.init.status !== 'stopped') await this.init.exited
    for (const { streams } of this.execs) streams?.close()
    unmountRootfs(addon, join(this.bundle, 'rootfs'))
  }

  async kill(execId: string, signo: number, all: boolean): Promise<void> {
    const { runtime } = this.#context
    const process = this.process(execId)
    if (process.status === 'stopped') throw new RpcError(CODE.notFound, 'process already finished')
    if (execId !== '' && process.pid === 0) throw failedPrecondition('process not created')
    try {
      if (execId === '') await runtime.kill(this.id, signo, all)
      else await runtime.killExec(this.id, execId, signo)
    } catch (error) {
      throw killError(error)
    }
  }

  pause(): Promise<void> {
    return this.#exclusively(async () => {
      if (this.init.status !== 'running' || this.#paused) {
        throw failedPrecondition(`cannot pause a ${this.statusOf(this.init)} container`)
      }
      await this.#attempt('OCI runtime pause failed', runtime => runtime.pause(this.id))
      this.#paused = true
      this.#context.events.paused(this)
    })
  }

  resume(): Promise<void> {
    return this.#exclusively(async () => {
      if (!this.#paused) throw failedPrecondition(`cannot resume a ${this.statusOf(this.init)} container`)
      await this.#attempt('OCI runtime resume failed', runtime => runtime.resume(this.id))
      this.#paused = false
      this.#context.events.resumed(this)
    })
  }

  update(resources: ResourcesConfig): Promise<void> {
    return this.#exclusively(() =>
      this.#attempt('OCI runtime update failed', runtime => runtime.update(this.id, resources)),
    )
  }

  async #attempt(what: string, work: (runtime: ShimRuntime) => Promise<void>): Promise<void> {
    try {
      await work(this.#context.runtime)
    } catch (error) {
      throw callError(error, what)
    }
  }

  /** Notes the end of a process, and makes it known when all that comes before it is. */
  #follow(process: TaskProcess, standing: Standing): void {
    void standing.exit.then(async status => {
      await process.announced
      if (process === this.init) {
        const running = this.execs.filter(each => each.status === 'running')
        await within(Promise.all(running.map(each => each.exited)), LAST_EXECS_LIMIT_MS)
      }
      await this.#countOomKills()
      process.ended(status)
      if (process === this.init) {
        this.#paused = false
        this.#saveExit()
      }
      this.#context.events.exited(this, process)
    })
  }

  /** What `delete` answers when we are gone. */
  #saveExit(): void {
    const { pid, exitStatus, exitedAt } = this.init
    try {
      writeFileSync(join(this.bundle, BUNDLE_FILES.exit), JSON.stringify({ pid, exitStatus, exitedAt }))
    } catch (error) {
      this.#context.log.error('the exit status is not kept', error, { id: this.id })
    }
  }

  async #findPod(): Promise<void> {
    const { runtime, log } = this.#context
    try {
      const { annotations = {} } = await runtime.state(this.id)
      this.inPod = podRole(this.id, annotations) !== undefined
      const killed = () => void this.#countOomKills()
      // What happens in a pod its sentry counts.
      if (this.inPod) this.#stopOomWatch = await runtime.watchGuestOom(this.id, killed)
      else this.#stopOomWatch = (await runtime.cgroup(this.id))?.watchOom(killed) ?? (() => {})
    } catch (error) {
      log.error('running out of memory will not be told at once', error, { id: this.id })
    }
  }

  async #countOomKills(): Promise<void> {
    const { runtime, events, log } = this.#context
    let kills = 0
    try {
      if (this.inPod) kills = (await runtime.guestStats(this.id)).oomKills
      else kills = (await runtime.cgroup(this.id))?.oomKills() ?? 0
    } catch (error) {
      // The sandbox has ended.
      log.write('debug', `kills by memory: ${(error as Error).message}`, { id: this.id })
    }
    if (kills > this.#oomKills) events.outOfMemory(this)
    this.#oomKills = Math.max(this.#oomKills, kills)
  }

  /** After what was begun before, however that ended. */
  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#work.then(work)
    this.#work = result.catch(() => {})
    return result
  }
}

/** The end of `process` is not made known before `work`, which makes its start known. */
async function announcing(process: TaskProcess, work: () => Promise<void>): Promise<void> {
  let done = () => {}
  process.announced = new Promise(resolve => {
    done = resolve
  })
  try {
    await work()
  } finally {
    done()
  }
}

async function within(work: Promise<unknown> | undefined, limitMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>(resolve => {
    timer = setTimeout(resolve, limitMs)
  })
  await Promise.race([work, late])
  clearTimeout(timer)
}
