/**
 * The containers of a sandbox, and what is asked of them over the control socket (protocol.ts). The first container's end
 * is the sandbox's; further ones (a pod's) come and go.
 *
 * A process whose connection goes before it has ended is killed, so that nothing runs that nobody watches; connections of
 * `wait` only watch.
 */
import { NSIG, SIGKILL, SIGWINCH } from '../abi/constants.ts'
import type { Kernel } from '../kernel/kernel.ts'
import type { ThreadGroup } from '../kernel/thread-group.ts'
import type { HostLinks } from '../platform/host-links.ts'
import { Container } from './container.ts'
import { containerStats, setContainerLimits } from './container-cgroup.ts'
import { TakenNetwork } from './container-network.ts'
import type { ContainerProcess } from './container-process.ts'
import type { Connection } from './control.ts'
import { describeProcesses } from './process-info.ts'
import { type ContainerSpec, type ControlAnswer, type ControlRequest, EVENT_OOM } from './protocol.ts'
import { runStartHooks } from './start-hooks.ts'
import { UserError } from './user-error.ts'

type Of<Command extends ControlRequest['command']> = Extract<ControlRequest, { readonly command: Command }>

/** More than what they wrote last needs to go out. */
const END_PATIENCE_MS = 3000

export class Containers {
  readonly #kernel: Kernel
  readonly #links: HostLinks
  readonly #byId = new Map<string, Container>()
  readonly #processes = new Map<ThreadGroup, ContainerProcess>()
  #first: Container | undefined = undefined
  /** Until when the others may take to end after the first; monotonic ns. */
  #endLimit = Number.POSITIVE_INFINITY

  constructor(kernel: Kernel, links: HostLinks) {
    this.#kernel = kernel
    this.#links = links
    kernel.processEnded = group => this.#ended(group)
  }

  /** The container with which the sandbox ends; undefined before it was made. */
  get first(): Container | undefined {
    return this.#first
  }
  /** The first one has ended, and with it all others. */
  get over(): boolean {
    if (this.#first?.status !== 'stopped') return false
    return this.#processes.size === 0 || this.#kernel.now() >= this.#endLimit
  }
  get endLimit(): number {
    return this.#endLimit
  }

  /** Requests about containers; false for others. */
  handle(request: ControlRequest, connection: Connection): boolean {
    switch (request.command) {
      case 'create':
        this.#create(request.spec, connection)
        break
      case 'start':
        this.#start(request, connection)
        break
      case 'network':
        this.#find(request.container).network?.update(request.update, index =>
          connection.takeDescriptor(index),
        )
        connection.answer({ done: true })
        break
      case 'exec':
        this.#exec(request, connection)
        break
      case 'signal':
        connection.answer(this.#signal(request))
        break
      case 'wait':
        this.#wait(request, connection)
        break
      case 'pause':
        this.#find(request.container).pause(() => connection.answer({ done: true }))
        break
      case 'resume':
        this.#find(request.container).resume()
        connection.answer({ done: true })
        break
      case 'events':
        this.#tellEvents(this.#find(request.container), connection)
        break
      case 'delete':
        this.#delete(request, connection)
        break
      case 'processes':
        connection.answer({ processes: describeProcesses(this.#find(request.container)) })
        break
      case 'stats':
        connection.answer({ stats: containerStats(this.#find(request.container).cgroup) })
        break
      case 'update':
        this.#update(request)
        connection.answer({ done: true })
        break
      case 'containers':
        connection.answer({
          containers: [...this.#byId.values()].map(({ id, status, init }) => ({ id, status, pid: init.pid })),
        })
        break
      default:
        return false
    }
    return true
  }

  #find(id: string): Container {
    const found = this.#byId.get(id)
    if (found === undefined) throw new UserError(`container ${id} does not exist in this sandbox`)
    return found
  }

  #create(spec: ContainerSpec, connection: Connection): void {
    if (this.#byId.has(spec.id)) throw new UserError(`container ${spec.id} exists already`)
    const trees = new Set([spec.root.tree, ...spec.mounts.map(mount => mount.tree)])
    const fds: number[] = []
    for (const index of trees) {
      if (index !== undefined && connection.has(index)) fds[index] = connection.takeDescriptor(index)
    }
    const container = new Container(this.#kernel, spec, fds, id => this.#find(id))
    const first = this.#first === undefined
    try {
      container.startInit(spec.process, index => connection.takeDescriptor(index), first)
    } catch (error) {
      container.discard()
      throw error
    }
    this.#byId.set(spec.id, container)
    this.#follow(container.init)
    container.init.onEnd(() => this.#stopped(container))
    const answer = { started: { pid: container.init.pid } }
    if (first) {
      this.#first = container
      connection.answer(answer)
    } else this.#attach(container.init, connection, answer, true)
  }

  #start({ container: id, network }: Of<'start'>, connection: Connection): void {
    const container = this.#find(id)
    if (container.status !== 'created') {
      throw new UserError(`cannot start a container that is ${container.status}`)
    }
    if (network !== undefined) {
      const take = (index: number) => connection.takeDescriptor(index)
      container.network = TakenNetwork.connect(container, network, this.#links, take)
    }
    const go = (): void => {
      if (container.status === 'created' && container.init.release()) {
        container.status = 'running'
        connection.answer({ done: true })
      } else connection.fail('the container was ended before it could be started')
    }
    runStartHooks(
      container,
      started => this.#follow(started),
      failure => {
        if (failure === undefined) go()
        else {
          container.killAll()
          connection.fail(failure)
        }
      },
    )
  }

  #exec(request: Of<'exec'>, connection: Connection): void {
    const container = this.#find(request.container)
    if (container.status === 'stopped') throw new UserError('cannot exec in a stopped container')
    const { exec } = request
    if (exec !== undefined && container.execs.has(exec)) throw new UserError(`process ${exec} exists already`)
    const process = container.startExec(request.process, index => connection.takeDescriptor(index))
    this.#follow(process)
    if (exec !== undefined) {
      container.execs.set(exec, process)
      process.onEnd(() => container.execs.delete(exec))
    }
    this.#attach(process, connection, { started: { pid: process.pid } }, true)
  }

  #signal(request: Of<'signal'>): ControlAnswer {
    const container = this.#find(request.container)
    const { signo } = request
    if (!Number.isInteger(signo) || signo < 0 || signo > NSIG)
      throw new UserError(`there is no signal ${signo}`)
    if (container.status === 'stopped' && request.exec === undefined)
      throw new UserError('container not running')
    const process = container.process(request.exec)
    if (process.status !== undefined) throw new UserError('process already finished')
    if (request.all === true) container.signalAll(signo)
    else process.signal(signo)
    return { done: true }
  }

  #wait(request: Of<'wait'>, connection: Connection): void {
    const process = this.#find(request.container).process(request.exec)
    this.#attach(process, connection, { done: true }, false)
  }

  /** The connection becomes the process's life. `owns`: the process doesn't outlive it. */
  #attach(process: ContainerProcess, connection: Connection, answer: ControlAnswer, owns: boolean): void {
    const watcher = (status: number): void => connection.end(status)
    connection.onSignal = signo => {
      if (signo === SIGWINCH) process.resize()
      else if (signo > 0 && signo <= NSIG) process.signal(signo)
    }
    connection.onGone = () => {
      process.forget(watcher)
      if (owns) process.signal(SIGKILL)
    }
    connection.keep(answer)
    process.onEnd(watcher)
  }

  #tellEvents({ cgroup, init }: Container, connection: Connection): void {
    const { memory } = cgroup
    const queue = memory.eventsChanged.queue
    let told = memory.events.oom_kill
    const entry = queue.add({
      woken: () => {
        if (memory.events.oom_kill === told) return
        told = memory.events.oom_kill
        connection.say(Uint8Array.of(EVENT_OOM))
      },
    })
    const ended = (): void => {
      queue.remove(entry)
      connection.finish()
    }
    connection.onGone = () => {
      queue.remove(entry)
      init.forget(ended)
    }
    connection.keep({ done: true })
    init.onEnd(ended)
  }

  /** Answered when nothing of it is left. */
  #delete({ container: id, force }: Of<'delete'>, connection: Connection): void {
    const container = this.#find(id)
    const done = (): void => {
      this.#byId.delete(id)
      container.remove()
      connection.answer({ done: true })
    }
    if (container.status !== 'stopped') {
      if (force !== true) throw new UserError(`cannot delete a container that is ${container.status}`)
      container.killAll()
    }
    container.init.onEnd(done)
  }

  #update({ container, limits }: Of<'update'>): void {
    const { cgroup } = this.#find(container)
    setContainerLimits(cgroup, limits, this.#byId.size === 1)
  }

  #follow(process: ContainerProcess): void {
    this.#processes.set(process.group, process)
  }

  #stopped(container: Container): void {
    container.stopped()
    if (container !== this.#first) return
    this.#endLimit = this.#kernel.now() + END_PATIENCE_MS * 1e6
    for (const other of this.#byId.values()) if (other.status !== 'stopped') other.killAll()
  }

  #ended(group: ThreadGroup): void {
    const process = this.#processes.get(group)
    if (process === undefined) return
    process.onEnd(() => this.#processes.delete(group))
    process.ended(group.exitStatus)
  }
}
