/**
 * The connections of those who ask a ResolverRelay over TCP: RFC 7766. A message is two bytes of length and itself; several
 * may be under way, and are answered as their answers come. A connection ends with its other side, when it asks for too
 * much at once, or when there are too many.
 */
import { EAGAIN } from '../../abi/errno.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import type { Status } from '../../base/result.ts'
import { type Expiry, Timer } from '../../kernel/timers.ts'
import type { IpAddress } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { EndpointListener, TcpEndpoint } from '../tcp/endpoint.ts'
import type { Asker } from './relay.ts'

const BACKLOG = 16
const MAX_STREAMS = 32
/** Queries of a connection that wait for their answers. */
const MAX_UNANSWERED = 64
/** Bytes of answers that a connection does not take. */
const MAX_UNSENT = 1 << 18
const LENGTH = 2

type Ask = (message: Uint8Array, asker: Asker) => void

export class ResolverStreams implements EndpointListener, Expiry {
  readonly #stack: IpStack
  readonly #listener: TcpEndpoint
  readonly #ask: Ask
  readonly #streams = new Set<Stream>()
  /** Due when something has changed: looked at when TCP is not at work. */
  readonly #work = new Timer(this)

  constructor(stack: IpStack, listener: TcpEndpoint, ask: Ask) {
    this.#stack = stack
    this.#listener = listener
    this.#ask = ask
  }

  get port(): number {
    return this.#listener.localPort
  }

  listen(address: IpAddress): Status {
    this.#listener.owner = this
    const status = this.#listener.bind(address, 0)
    return status < 0 ? status : this.#listener.listen(BACKLOG)
  }

  changed(): void {
    if (!this.#work.armed) this.#stack.timers.add(this.#work, this.#stack.runtime.now())
  }
  urgent(): void {}

  expired(): void {
    for (let made = this.#listener.accept(); made !== undefined; made = this.#listener.accept()) {
      made.owner = this
      this.#streams.add(new Stream(made, this.#ask))
      // The one that has been there longest.
      if (this.#streams.size > MAX_STREAMS) this.#end([...this.#streams][0])
    }
    for (const stream of this.#streams) if (!stream.serve()) this.#end(stream)
  }

  #end(stream: Stream): void {
    this.#streams.delete(stream)
    stream.close()
  }
}

class Stream {
  readonly #endpoint: TcpEndpoint
  readonly #ask: Ask
  #received = new Uint8Array(0)
  #unsent = new Uint8Array(0)
  #unanswered = 0
  #over = false

  constructor(endpoint: TcpEndpoint, ask: Ask) {
    this.#endpoint = endpoint
    this.#ask = ask
  }

  /** Does what can be done; false when the connection is to end. */
  serve(): boolean {
    this.#send()
    if (this.#unsent.length > MAX_UNSENT) return false
    if (this.#over) return this.#unanswered > 0 || this.#unsent.length > 0
    const room = new Uint8Array(16384)
    for (;;) {
      const length = this.#endpoint.receive(new BufferDst(room), 0)
      if (length === -EAGAIN) return true
      if (length < 0) return false
      if (length === 0) {
        this.#over = true
        return this.#unanswered > 0 || this.#unsent.length > 0
      }
      this.#received = joined(this.#received, room.subarray(0, length))
      this.#takeMessages()
      if (this.#unanswered > MAX_UNANSWERED) return false
    }
  }

  close(): void {
    this.#endpoint.close()
  }

  #takeMessages(): void {
    for (;;) {
      const bytes = this.#received
      const length = bytes.length < LENGTH ? Number.POSITIVE_INFINITY : (bytes[0] << 8) | bytes[1]
      if (bytes.length < LENGTH + length) return
      this.#received = bytes.slice(LENGTH + length)
      this.#unanswered++
      this.#ask(bytes.slice(LENGTH, LENGTH + length), { answer: answer => this.#answer(answer) })
    }
  }

  #answer(message: Uint8Array): void {
    this.#unanswered--
    const prefix = Uint8Array.of(message.length >> 8, message.length & 0xff)
    this.#unsent = joined(this.#unsent, joined(prefix, message))
    // It is sent when TCP is not at work.
    this.#endpoint.owner?.changed()
  }

  #send(): void {
    while (this.#unsent.length > 0) {
      const sent = this.#endpoint.send(new BufferSrc(this.#unsent), 0)
      // It is heard of room, or of the end.
      if (sent < 0) return
      this.#unsent = this.#unsent.slice(sent)
    }
  }
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(first.length + second.length)
  both.set(first)
  both.set(second, first.length)
  return both
}
