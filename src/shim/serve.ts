/**
 * The shim itself: one process per pod (or container), which serves containerd's calls on the socket that `start` has made,
 * has the containers' processes as its children, and tells containerd of their ends. It ends when containerd asks it to,
 * which it does when the last container is deleted. Without the shim the containers still run, until `delete`.
 */
import { createServer } from 'node:net'
import { join } from 'node:path'
import { Runtime } from '../oci/runtime.ts'
import { loadAddon } from '../platform/addon.ts'
import { removeSocket } from './address.ts'
import type { ShimFlags } from './bootstrap.ts'
import { ContainerEvents } from './events.ts'
import { Task } from './generated/containerd/task/task_pb.ts'
import { ShimLog } from './log.ts'
import type { ShimOptions } from './options.ts'
import { CommandSink, Publisher, SocketSink } from './publisher.ts'
import { runtimeOptions } from './runtime-options.ts'
import { TaskService } from './service.ts'
import { LISTEN_FD } from './start.ts'
import { Server } from './ttrpc/server.ts'

/** Of the task service, all with the same messages. */
const VERSIONS = ['containerd.task.v2.Task', 'containerd.task.v3.Task']
/** For the last events, when all else is done. */
const FLUSH_LIMIT_MS = 5000
/** containerd may be away for as long as it wants, but if it comes back and can't find us, it cleans up by `delete`. */
const ORPHAN_INTERVAL_MS = 30_000

export interface ServeFlags extends ShimFlags {
  /** Path of the socket that is ours. */
  readonly socket: string
}

/** Resolves never: the process ends by itself. Our working directory is the bundle of the first container. */
export async function serve(packageRoot: string, flags: ServeFlags): Promise<void> {
  const log = new ShimLog('log', flags.debug)
  failLoudly(log)
  const publisher = new Publisher(eventSink(flags), flags.namespace, log)
  const listener = createServer()
  const end = async () => {
    // At once, so that no further container of the pod comes to a shim that ends.
    removeSocket(flags.socket)
    listener.close()
    await publisher.flushed(FLUSH_LIMIT_MS)
    process.exit(0)
  }
  const service = new TaskService({
    addon: loadAddon(join(packageRoot, 'native/build/caisson.node')),
    events: new ContainerEvents(publisher),
    log,
    namespace: flags.namespace,
    openRuntime: options => openRuntime(packageRoot, flags, options, log),
    // The answer goes out first.
    shutdown: () => void setImmediate(end),
  })
  const server = new Server((call, error) => log.error(`${call}: this is a bug`, error))
  for (const name of VERSIONS) server.register(Task, service.handlers, name)
  let clients = 0
  listener.on('connection', socket => {
    clients++
    socket.on('close', () => clients--)
    server.accept(socket)
  })
  listener.on('error', error => log.error('the socket', error))
  listener.listen({ fd: LISTEN_FD })
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void end())
  const orphanWatch = setInterval(() => {
    if (clients === 0 && service.forgotten()) void end()
  }, ORPHAN_INTERVAL_MS)
  orphanWatch.unref()
  log.write('debug', 'shim is serving', { id: flags.id, pid: process.pid })
}

function eventSink(flags: ServeFlags) {
  const address = process.env.TTRPC_ADDRESS
  return address ? new SocketSink(address) : new CommandSink(flags.publishBinary, flags.address)
}

function openRuntime(packageRoot: string, flags: ShimFlags, options: ShimOptions, log: ShimLog): Runtime {
  const warn = (text: string) => log.write('warning', text)
  return new Runtime({ ...runtimeOptions(packageRoot, flags, options), warn })
}

/** There is no standard error to which a bug could be printed. */
function failLoudly(log: ShimLog): void {
  process.on('uncaughtException', error => {
    log.write('error', `this is a bug, the shim ends: ${error.stack}`)
    process.exit(1)
  })
}
