import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { create, type DescMessage, fromBinary, type MessageInitShape } from '@bufbuild/protobuf'
import type { Standing } from '../oci/runtime.ts'
import { loadAddon } from '../platform/addon.ts'
import { UserError } from '../sandbox/user-error.ts'
import { ContainerEvents } from './events.ts'
import { MetricsSchema } from './generated/containerd/cgroups/v1_pb.ts'
import { Task } from './generated/containerd/task/task_pb.ts'
import { Status } from './generated/containerd/types/task_pb.ts'
import { ShimLog } from './log.ts'
import type { ShimRuntime } from './runtime.ts'
import { TaskService } from './service.ts'
import { CODE, RpcError } from './ttrpc/status.ts'

const addon = loadAddon(join(import.meta.dirname, '../../native/build/caisson.node'))
const dir = mkdtempSync(join(tmpdir(), 'caisson-service-'))
after(() => rmSync(dir, { recursive: true }))
const log = new ShimLog(join(dir, 'no-log'), false)

/** A runtime of which nothing runs: processes end when the test says so. */
class FakeRuntime {
  readonly calls: string[] = []
  readonly exits = new Map<string, (status: number) => void>()
  oomKills = 0
  pod = false
  failNext: string | undefined = undefined
  #pid = 100

  #note(call: string): void {
    this.calls.push(call)
    const failure = this.failNext
    this.failNext = undefined
    if (failure !== undefined) throw new UserError(failure)
  }

  #stand(name: string): Standing {
    const exit = new Promise<number>(resolve => this.exits.set(name, resolve))
    return { pid: ++this.#pid, exit } as Standing
  }

  async create(id: string) {
    this.#note(`create ${id}`)
    return this.#stand(id)
  }
  async start(id: string) {
    this.#note(`start ${id}`)
  }
  async exec(id: string, { execId }: { execId: string }) {
    this.#note(`exec ${id} ${execId}`)
    return this.#stand(execId)
  }
  async kill(id: string, signo: number) {
    this.#note(`kill ${id} ${signo}`)
  }
  async killExec(id: string, execId: string, signo: number) {
    this.#note(`kill ${id} ${execId} ${signo}`)
  }
  async pause(id: string) {
    this.#note(`pause ${id}`)
  }
  async resume(id: string) {
    this.#note(`resume ${id}`)
  }
  async delete(id: string) {
    this.#note(`delete ${id}`)
    this.exits.get(id)!(137)
  }
  async ps() {
    return [{ hostPid: 500 }, { hostPid: 0 }]
  }
  async state() {
    if (!this.pod) return {}
    return {
      annotations: { 'io.kubernetes.cri.container-type': 'container', 'io.kubernetes.cri.sandbox-id': 'p' },
    }
  }
  async guestStats() {
    return {
      memory: 4096,
      memoryPeak: 8192,
      oomKills: 1,
      pids: 3,
      cpuUsageMs: 5,
      cpuUserMs: 3,
      cpuSystemMs: 2,
    }
  }
  killed: () => void = () => {}
  async watchGuestOom(_id: string, killed: () => void) {
    this.killed = killed
    return () => {}
  }
  async cgroup() {
    return { oomKills: () => this.oomKills, watchOom: () => () => {}, saved: { version: 1 } }
  }
}

/** A service, and its calls as a client has them, but for the way there. */
function newService() {
  const runtime = new FakeRuntime()
  const topics: string[] = []
  const events = new ContainerEvents({
    publish: <D extends DescMessage>(topic: string, schema: D, event: MessageInitShape<D>) => {
      // That it can be encoded.
      create(schema, event)
      const { id = '', execId = '' } = event as { id?: string; execId?: string }
      topics.push([topic.slice('/tasks/'.length), id || execId].join(' ').trim())
    },
  })
  let ended = false
  const service = new TaskService({
    addon,
    events,
    log,
    namespace: 'test',
    openRuntime: () => runtime as unknown as ShimRuntime,
    shutdown: () => {
      ended = true
    },
  })
  const call = async <K extends keyof typeof Task.method>(
    name: K,
    request?: MessageInitShape<(typeof Task.method)[K]['input']>,
  ) => {
    const method = service.handlers[name] as (message: unknown) => unknown
    return (await method(create(Task.method[name].input, request))) as never
  }
  return { runtime, topics, call, hasEnded: () => ended }
}

function newBundle(id: string): string {
  const bundle = join(dir, id)
  mkdirSync(bundle, { recursive: true })
  return bundle
}

const refused = (code: number) => (error: RpcError) => {
  assert.ok(error instanceof RpcError, String(error))
  assert.equal(error.code, code, error.message)
  return true
}
const turn = () => new Promise(resolve => setImmediate(resolve))
const spec = { value: Buffer.from('{"args":["true"],"cwd":"/"}') }

test('the life of a container: its states, its events in their order, and the shim that ends with the last', async () => {
  const { runtime, topics, call, hasEnded } = newService()
  const id = 'life'
  assert.deepEqual(await call('create', { id, bundle: newBundle(id) }), { pid: 101 })
  await call('shutdown', { id })
  assert.equal(hasEnded(), false)
  const stateOf = async () => ((await call('state', { id })) as { status: number }).status
  assert.equal(await stateOf(), Status.CREATED)
  await assert.rejects(call('start', { id: 'other' }), refused(CODE.notFound))
  await call('start', { id })
  assert.equal(await stateOf(), Status.RUNNING)
  await call('pause', { id })
  assert.equal(await stateOf(), Status.PAUSED)
  await assert.rejects(call('pause', { id }), refused(CODE.failedPrecondition))
  await call('resume', { id })
  await call('exec', { id, execId: 'e', spec })
  await assert.rejects(call('exec', { id, execId: 'e', spec }), refused(CODE.alreadyExists))
  await assert.rejects(
    call('exec', { id, execId: 'f', spec: { value: Buffer.from('{') } }),
    refused(CODE.invalidArgument),
  )
  await call('start', { id, execId: 'e' })
  await assert.rejects(call('delete', { id, execId: 'e' }), refused(CODE.failedPrecondition))
  await assert.rejects(call('delete', { id }), refused(CODE.failedPrecondition))
  const waited = call('wait', { id })
  // The first process has ended, but the exec's end must be told before.
  runtime.exits.get(id)!(3)
  await turn()
  runtime.exits.get('e')!(0)
  assert.equal(((await waited) as { exitStatus: number }).exitStatus, 3)
  assert.equal(await stateOf(), Status.STOPPED)
  assert.equal(JSON.parse(readFileSync(join(dir, id, 'exit.json'), 'utf8')).exitStatus, 3)
  await assert.rejects(call('kill', { id, signal: 9 }), refused(CODE.notFound))
  await assert.rejects(call('start', { id, execId: 'e' }), refused(CODE.failedPrecondition))
  assert.equal(((await call('delete', { id })) as { exitStatus: number }).exitStatus, 3)
  await assert.rejects(call('state', { id }), refused(CODE.notFound))
  await call('shutdown', { id })
  assert.equal(hasEnded(), true)
  assert.deepEqual(topics, [
    'create',
    'start',
    'paused',
    'resumed',
    'exec-added e',
    'exec-started e',
    'exit e',
    `exit ${id}`,
    'delete',
  ])
})

test('a process that ends while it is being started is told to have started first', async () => {
  const { runtime, topics, call } = newService()
  const id = 'quick'
  await call('create', { id, bundle: newBundle(id) })
  runtime.start = async () => {
    runtime.exits.get(id)!(0)
    await turn()
  }
  await call('start', { id })
  await call('wait', { id })
  assert.deepEqual(topics, ['create', 'start', `exit ${id}`])
})

test('out of memory is told before the end that it was the cause of', async () => {
  const { runtime, topics, call } = newService()
  const id = 'oom'
  await call('create', { id, bundle: newBundle(id) })
  await call('start', { id })
  runtime.oomKills = 1
  runtime.exits.get(id)!(137)
  await call('wait', { id })
  assert.deepEqual(topics, ['create', 'start', 'oom', `exit ${id}`])
})

test('in a pod out of memory is told at once, also if the first process lives on, and once', async () => {
  const { runtime, topics, call } = newService()
  const id = 'oom-in-pod'
  runtime.pod = true
  await call('create', { id, bundle: newBundle(id) })
  await call('start', { id })
  runtime.killed()
  runtime.killed()
  await new Promise(setImmediate)
  assert.deepEqual(topics, ['create', 'start', 'oom'])
  runtime.exits.get(id)!(0)
  await call('wait', { id })
  assert.deepEqual(topics, ['create', 'start', 'oom', `exit ${id}`])
})

test('a container that was created and never started can be deleted', async () => {
  const { topics, call } = newService()
  const id = 'unstarted'
  await call('create', { id, bundle: newBundle(id) })
  assert.equal(((await call('delete', { id })) as { exitStatus: number }).exitStatus, 137)
  assert.deepEqual(topics, ['create', `exit ${id}`, 'delete'])
})

test('failures have the texts and codes that engines look for, and leave nothing', async () => {
  const { runtime, topics, call, hasEnded } = newService()
  const id = 'failing'
  const bundle = newBundle(id)
  runtime.failNext = 'exec: "x": executable file not found in $PATH'
  await assert.rejects(
    call('create', { id, bundle }),
    /^Error: OCI runtime create failed: exec: "x": executable file not found in \$PATH$/,
  )
  await assert.rejects(call('create', { id, bundle, checkpoint: '/c' }), refused(CODE.unimplemented))
  await assert.rejects(call('create', { id, bundle, stdout: 'gopher://x' }), /no gopher/)
  await assert.rejects(
    call('create', { id, bundle, options: { typeUrl: 'x.Y' } }),
    refused(CODE.invalidArgument),
  )
  await call('shutdown')
  assert.ok(hasEnded())
  await call('create', { id, bundle })
  await assert.rejects(call('create', { id, bundle }), refused(CODE.alreadyExists))
  runtime.failNext = 'container not running'
  await assert.rejects(call('kill', { id, signal: 9 }), refused(CODE.notFound))
  runtime.failNext = 'no'
  await assert.rejects(call('start', { id }), /OCI runtime start failed: no/)
  await call('start', { id })
  await call('exec', { id, execId: 'e', spec })
  await assert.rejects(call('kill', { id, execId: 'e', signal: 9 }), refused(CODE.failedPrecondition))
  runtime.failNext = 'no'
  await assert.rejects(call('start', { id, execId: 'e' }), /OCI runtime exec failed: no/)
  // As after an end: it can be deleted, and its name be used again.
  await call('wait', { id, execId: 'e' })
  await call('delete', { id, execId: 'e' })
  await call('exec', { id, execId: 'e', spec })
  assert.deepEqual(topics, ['create', 'start', 'exec-added e', 'exec-added e'])
})

test('the processes of a container are those of the host, and execs are named', async () => {
  const { call } = newService()
  const id = 'pids'
  await call('create', { id, bundle: newBundle(id) })
  await call('start', { id })
  await call('exec', { id, execId: 'e', spec })
  await call('start', { id, execId: 'e' })
  const { processes } = (await call('pids', { id })) as {
    processes: { pid: number; info?: { typeUrl: string } }[]
  }
  assert.deepEqual(
    processes.map(({ pid, info }) => [pid, info?.typeUrl]),
    [
      [101, undefined],
      [102, 'containerd.runc.v1.ProcessDetails'],
      [500, undefined],
    ],
  )
})

test('statistics of one container of a pod are what its sentry counts', async () => {
  const { runtime, call } = newService()
  runtime.pod = true
  const id = 'stats'
  await call('create', { id, bundle: newBundle(id) })
  const { stats } = (await call('stats', { id })) as { stats: { typeUrl: string; value: Uint8Array } }
  assert.equal(stats.typeUrl, 'io.containerd.cgroups.v1.Metrics')
  const metrics = fromBinary(MetricsSchema, stats.value)
  assert.equal(metrics.memory!.usage!.usage, 4096n)
  assert.equal(metrics.cpu!.usage!.total, 5_000_000n)
  assert.equal(metrics.pids!.current, 3n)
})

test('a shim whose bundles are gone is forgotten', async () => {
  const { runtime } = newService()
  const service = new TaskService({
    addon,
    events: new ContainerEvents({ publish: () => {} }),
    log,
    namespace: 'test',
    openRuntime: () => runtime as unknown as ShimRuntime,
    shutdown: () => {},
  })
  const bundle = newBundle('gone')
  writeFileSync(join(bundle, 'config.json'), '{}')
  await service.handlers.create!(create(Task.method.create.input, { id: 'gone', bundle }))
  assert.equal(service.forgotten(), false)
  rmSync(bundle, { recursive: true })
  assert.equal(service.forgotten(), true)
})
