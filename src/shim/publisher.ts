/**
 * Tells containerd what happens to tasks: one event after the other, in their order. While containerd is away they wait for
 * it, as many as the queue holds; one that it refuses again and again is dropped.
 *
 * An event lives from `publish` until containerd has taken it.
 */
import { spawn } from 'node:child_process'
import { create, type DescMessage, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { AnySchema, timestampNow } from '@bufbuild/protobuf/wkt'
import { Events } from './generated/containerd/events/forward_pb.ts'
import { type Envelope, EnvelopeSchema } from './generated/containerd/types/event_pb.ts'
import type { ShimLog } from './log.ts'
import { Client } from './ttrpc/client.ts'
import { CODE, RpcError } from './ttrpc/status.ts'

const MAX_WAITING = 2048
/** Of an event that containerd answers with an error. */
const MAX_REFUSALS = 5
const CALL_TIMEOUT_MS = 5000
const FIRST_PAUSE_MS = 50
const LONGEST_PAUSE_MS = 1000

/** One way to hand over an event. Rejects with the code `unavailable` while nobody is there to take it. */
export interface EventSink {
  forward(event: Envelope): Promise<void>
  close(): void
}

export class Publisher {
  readonly #sink: EventSink
  readonly #namespace: string
  readonly #log: ShimLog
  readonly #waiting: Envelope[] = []
  #running = false
  #idle: (() => void)[] = []

  constructor(sink: EventSink, namespace: string, log: ShimLog) {
    this.#sink = sink
    this.#namespace = namespace
    this.#log = log
  }

  /** `topic`: '/tasks/exit' and the like. */
  publish<D extends DescMessage>(topic: string, schema: D, event: MessageInitShape<D>): void {
    const value = toBinary(schema, create(schema, event))
    const envelope = create(EnvelopeSchema, {
      timestamp: timestampNow(),
      namespace: this.#namespace,
      topic,
      // Without the host that such names usually begin with: containerd compares all of it.
      event: create(AnySchema, { typeUrl: schema.typeName, value }),
    })
    if (this.#waiting.length >= MAX_WAITING) {
      this.#log.write(
        'error',
        `event ${this.#waiting.shift()!.topic} is dropped: too many wait for containerd`,
      )
    }
    this.#waiting.push(envelope)
    if (!this.#running) void this.#run()
  }

  /** When all events are handed over, or `limitMs` have passed. */
  async flushed(limitMs: number): Promise<void> {
    if (!this.#running) return
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, limitMs)
      this.#idle.push(() => {
        clearTimeout(timer)
        resolve()
      })
    })
  }

  close(): void {
    this.#sink.close()
  }

  async #run(): Promise<void> {
    this.#running = true
    for (let event = this.#waiting[0]; event !== undefined; event = this.#waiting[0]) {
      await this.#deliver(event)
      // The queue may have become too long in the meantime.
      if (this.#waiting[0] === event) this.#waiting.shift()
    }
    this.#running = false
    for (const tell of this.#idle) tell()
    this.#idle = []
  }

  async #deliver(event: Envelope): Promise<void> {
    for (let refusals = 0, pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
      try {
        return await this.#sink.forward(event)
      } catch (error) {
        const away = error instanceof RpcError && error.code === CODE.unavailable
        if (!away) this.#log.error(`event ${event.topic} was not taken`, error)
        if (!away && ++refusals >= MAX_REFUSALS) return
      }
      await new Promise(resolve => setTimeout(resolve, pauseMs))
    }
  }
}

/** containerd's ttrpc socket. */
export class SocketSink implements EventSink {
  readonly #path: string
  #client: Client | undefined = undefined

  /** `address`: 'unix:///run/containerd/containerd.sock.ttrpc', or the path. */
  constructor(address: string) {
    this.#path = address.replace(/^unix:\/\//, '')
  }

  async forward(envelope: Envelope): Promise<void> {
    if (this.#client === undefined || this.#client.closed) this.#client = await Client.connect(this.#path)
    await this.#client.call(Events.method.forward, { envelope }, CALL_TIMEOUT_MS)
  }

  close(): void {
    this.#client?.close()
  }
}

/** For a containerd that has no such socket: `containerd publish`, which reads the event from standard input. */
export class CommandSink implements EventSink {
  readonly #binary: string
  readonly #address: string

  constructor(binary: string, address: string) {
    this.#binary = binary
    this.#address = address
  }

  forward({ topic, namespace, event }: Envelope): Promise<void> {
    const words = ['--address', this.#address, 'publish', '--topic', topic, '--namespace', namespace]
    return new Promise((resolve, reject) => {
      const fail = (why: string) => reject(new RpcError(CODE.unknown, `${this.#binary} publish: ${why}`))
      const child = spawn(this.#binary, words, { stdio: ['pipe', 'ignore', 'ignore'] })
      child.on('error', error => fail(error.message))
      child.on('exit', status => (status === 0 ? resolve() : fail(`exit status ${status}`)))
      child.stdin.on('error', () => {})
      child.stdin.end(toBinary(AnySchema, event!))
    })
  }

  close(): void {}
}
