/**
 * containerd's task service over the containers of one shim: those of a pod, or one. Each method finds its container and
 * process, and says what became of the call; the work is in container.ts.
 */
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { MessageInitShape } from '@bufbuild/protobuf'
import { create, toBinary } from '@bufbuild/protobuf'
import { type Any, AnySchema, EmptySchema } from '@bufbuild/protobuf/wkt'
import { parseProcess, parseResources } from '../oci/bundle.ts'
import { UserError } from '../sandbox/user-error.ts'
import { BUNDLE_FILES } from './bundle-files.ts'
import { Container, type ContainerContext } from './container.ts'
import { callError, notFound } from './errors.ts'
import { exitTime } from './events.ts'
import type { CreateTaskRequest, StateResponseSchema, Task } from './generated/containerd/task/task_pb.ts'
import { ProcessDetailsSchema } from './generated/containerd/types/runc_options_pb.ts'
import { Status } from './generated/containerd/types/task_pb.ts'
import { guestMetrics, metricsOf } from './metrics.ts'
import { parseOptions, type ShimOptions } from './options.ts'
import type { ShimRuntime } from './runtime.ts'
import type { TaskProcess } from './task-process.ts'
import type { Handlers } from './ttrpc/server.ts'
import { CODE, RpcError } from './ttrpc/status.ts'

export interface ServiceContext extends Omit<ContainerContext, 'runtime'> {
  openRuntime(options: ShimOptions): ShimRuntime
  /** Nothing is left to do. */
  shutdown(): void
}

const STATUS = {
  created: Status.CREATED,
  running: Status.RUNNING,
  paused: Status.PAUSED,
  stopped: Status.STOPPED,
} as const
const EMPTY = create(EmptySchema)

export class TaskService {
  readonly #context: ServiceContext
  readonly #containers = new Map<string, { readonly container: Container; readonly runtime: ShimRuntime }>()
  /** Ids of containers that are being created. */
  readonly #reserved = new Set<string>()

  constructor(context: ServiceContext) {
    this.#context = context
  }

  /** For the server. A checkpoint can't be made: there is no such method. */
  readonly handlers: Handlers<typeof Task> = {
    create: request => this.#create(request),
    start: async ({ id, execId }) => ({ pid: (await this.#container(id).start(execId)).pid }),
    delete: async ({ id, execId }) => {
      const process = await this.#container(id).delete(execId)
      if (execId === '') this.#containers.delete(id)
      const { pid, exitStatus } = process
      return { pid, exitStatus, exitedAt: exitTime(process) }
    },
    exec: ({ id, execId, stdin, stdout, stderr, terminal, spec }) => {
      const config = parsed(() => parseProcess(textOf(spec), `exec ${execId}`), 'OCI runtime exec failed')
      this.#container(id).addExec(execId, { stdin, stdout, stderr, terminal }, config)
      return EMPTY
    },
    state: ({ id, execId }) => this.#state(id, execId),
    wait: async ({ id, execId }) => {
      const process = this.#container(id).process(execId)
      await process.exited
      return { exitStatus: process.exitStatus, exitedAt: exitTime(process) }
    },
    kill: async ({ id, execId, signal, all }) => {
      await this.#container(id).kill(execId, signal, all)
      return EMPTY
    },
    pids: ({ id }) => this.#pids(id),
    pause: async ({ id }) => {
      await this.#container(id).pause()
      return EMPTY
    },
    resume: async ({ id }) => {
      await this.#container(id).resume()
      return EMPTY
    },
    update: async ({ id, resources }) => {
      const config = parsed(() => parseResources(textOf(resources), 'resources'), 'OCI runtime update failed')
      await this.#container(id).update(config)
      return EMPTY
    },
    resizePty: ({ id, execId, width, height }) => {
      this.#container(id).process(execId).streams?.resize(width, height)
      return EMPTY
    },
    closeIO: ({ id, execId, stdin }) => {
      const { streams } = this.#container(id).process(execId)
      if (stdin) streams?.closeStdin()
      return EMPTY
    },
    stats: ({ id }) => this.#stats(id),
    connect: ({ id }) => ({
      shimPid: process.pid,
      taskPid: this.#containers.get(id)?.container.init.pid ?? 0,
    }),
    shutdown: () => {
      if (this.#containers.size + this.#reserved.size === 0) this.#context.shutdown()
      return EMPTY
    },
  }

  /** Whether all that is left here was cleaned up by others: the bundles are gone. */
  forgotten(): boolean {
    if (this.#reserved.size > 0) return false
    return [...this.#containers.values()].every(({ container }) => !existsSync(container.bundle))
  }

  #container(id: string): Container {
    return this.#entry(id).container
  }

  #entry(id: string) {
    const entry = this.#containers.get(id)
    if (entry === undefined) throw notFound(`container ${id}`)
    return entry
  }

  async #create(request: CreateTaskRequest): Promise<{ pid: number }> {
    const { id, bundle, checkpoint, stdin, stdout, stderr, terminal } = request
    if (checkpoint !== '') throw new RpcError(CODE.unimplemented, 'caisson does not restore from checkpoints')
    if (this.#containers.has(id) || this.#reserved.has(id)) {
      throw new RpcError(CODE.alreadyExists, `container ${id}: already exists`)
    }
    this.#reserved.add(id)
    try {
      const runtime = this.#runtimeFor(bundle, request.options)
      const rootfs = request.rootfs.map(({ type, source, target, options }) => ({
        type,
        source,
        target,
        options,
      }))
      const paths = { stdin, stdout, stderr, terminal }
      const container = await Container.create({ ...this.#context, runtime }, { id, bundle, rootfs, paths })
      this.#containers.set(id, { container, runtime })
      return { pid: container.init.pid }
    } finally {
      this.#reserved.delete(id)
    }
  }

  #runtimeFor(bundle: string, any: Any | undefined): ShimRuntime {
    const what = 'OCI runtime create failed'
    const options = parsed(
      () => parseOptions(any === undefined ? new Uint8Array() : toBinary(AnySchema, any)),
      what,
    )
    writeFileSync(join(bundle, BUNDLE_FILES.options), JSON.stringify(options), { mode: 0o600 })
    return parsed(() => this.#context.openRuntime(options), what)
  }

  #state(id: string, execId: string): MessageInitShape<typeof StateResponseSchema> {
    const container = this.#container(id)
    const process = container.process(execId)
    return {
      ...process.paths,
      id: execId === '' ? id : execId,
      execId,
      bundle: container.bundle,
      pid: process.pid,
      status: STATUS[container.statusOf(process)],
      exitStatus: process.exitStatus,
      exitedAt: exitTime(process),
    }
  }

  async #pids(id: string) {
    const { container, runtime } = this.#entry(id)
    let listed: readonly { readonly hostPid: number }[]
    try {
      listed = await runtime.ps(id)
    } catch (error) {
      throw callError(error, 'the processes can not be listed')
    }
    const known = [container.init, ...container.execs].filter(({ status }) => status === 'running')
    const own = known.map(process => ({ pid: process.pid, info: details(process) }))
    const guests = listed.filter(({ hostPid }) => hostPid > 0).map(({ hostPid }) => ({ pid: hostPid }))
    return { processes: [...own, ...guests] }
  }

  async #stats(id: string) {
    const { container, runtime } = this.#entry(id)
    try {
      const cgroup = await runtime.cgroup(id)
      if (cgroup === undefined) throw notFound(`cgroup of container ${id}`)
      const { version } = cgroup.saved
      if (!container.inPod) return { stats: metricsOf(version, cgroup.stats()) }
      return { stats: guestMetrics(version, await runtime.guestStats(id)) }
    } catch (error) {
      throw callError(error, 'no statistics')
    }
  }
}

/** Who is asked for the processes of a container wants to know which of them are whose. */
function details({ execId }: TaskProcess) {
  if (execId === '') return undefined
  const value = toBinary(ProcessDetailsSchema, create(ProcessDetailsSchema, { execId }))
  return { typeUrl: ProcessDetailsSchema.typeName, value }
}

function textOf(any: Any | undefined): string {
  return Buffer.from(any?.value ?? []).toString()
}

function parsed<T>(parse: () => T, what: string): T {
  try {
    return parse()
  } catch (error) {
    throw error instanceof UserError ? new RpcError(CODE.invalidArgument, `${what}: ${error.message}`) : error
  }
}
