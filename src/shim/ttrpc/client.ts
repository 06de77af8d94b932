/** A client of ttrpc's unary calls, over one connection. Once that has ended every call fails with `unavailable`. */
import { createConnection, type Socket } from 'node:net'
import {
  create,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf'
import { RequestSchema, ResponseSchema } from '../generated/ttrpc/ttrpc_pb.ts'
import { encodeFrame, FLAG_REMOTE_CLOSED, FrameReader, TYPE_REQUEST, TYPE_RESPONSE } from './frame.ts'
import { CODE, RpcError } from './status.ts'

interface Waiting {
  resolve(payload: Uint8Array): void
  reject(error: RpcError): void
}

export class Client {
  readonly #socket: Socket
  readonly #waiting = new Map<number, Waiting>()
  #nextStream = 1

  constructor(socket: Socket) {
    this.#socket = socket
    const reader = new FrameReader()
    socket.on('data', (bytes: Buffer) => {
      for (const frame of reader.read(bytes)) {
        if (frame.type === TYPE_RESPONSE) this.#answered(frame.streamId, frame.payload)
      }
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      for (const waiting of this.#waiting.values()) waiting.reject(closed())
      this.#waiting.clear()
    })
  }

  /** Connects to the unix socket at `path`. */
  static connect(path: string): Promise<Client> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(path)
      socket.once('error', error => reject(new RpcError(CODE.unavailable, error.message)))
      socket.once('connect', () => resolve(new Client(socket)))
    })
  }

  get closed(): boolean {
    return this.#socket.destroyed
  }

  close(): void {
    this.#socket.destroy()
  }

  async call<M extends DescMethodUnary>(
    method: M,
    request: MessageInitShape<M['input']>,
    timeoutMs: number,
  ): Promise<MessageShape<M['output']>> {
    const message = create(RequestSchema, {
      service: method.parent.typeName,
      method: method.name,
      payload: toBinary(method.input, create(method.input, request)),
      timeoutNano: BigInt(timeoutMs) * 1_000_000n,
    })
    const payload = await this.#send(toBinary(RequestSchema, message), timeoutMs)
    return fromBinary(method.output, payload) as MessageShape<M['output']>
  }

  #send(bytes: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    if (this.closed) return Promise.reject(closed())
    const stream = this.#nextStream
    this.#nextStream += 2
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(stream)
        reject(new RpcError(CODE.deadlineExceeded, `no answer within ${timeoutMs} ms`))
      }, timeoutMs)
      this.#waiting.set(stream, {
        resolve: payload => {
          clearTimeout(timer)
          resolve(payload)
        },
        reject: error => {
          clearTimeout(timer)
          reject(error)
        },
      })
      this.#socket.write(encodeFrame(stream, TYPE_REQUEST, FLAG_REMOTE_CLOSED, bytes))
    })
  }

  #answered(stream: number, payload: Uint8Array | undefined): void {
    const waiting = this.#waiting.get(stream)
    // Its time was up.
    if (waiting === undefined) return
    this.#waiting.delete(stream)
    try {
      if (payload === undefined) throw new RpcError(CODE.resourceExhausted, 'the answer is too long')
      const { status, payload: result } = fromBinary(ResponseSchema, payload)
      if (status !== undefined && status.code !== 0) throw new RpcError(status.code, status.message)
      waiting.resolve(result)
    } catch (error) {
      waiting.reject(
        error instanceof RpcError ? error : new RpcError(CODE.internal, (error as Error).message),
      )
    }
  }
}

function closed(): RpcError {
  return new RpcError(CODE.unavailable, 'the connection is closed')
}
