/**
 * The server of ttrpc's unary calls. A connection lives from `accept` until the client closes it; the answers to calls
 * that are still running then are dropped. Calls run side by side, and answer in the order in which they are done.
 */
import type { Socket } from 'node:net'
import {
  create,
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf'
import { RequestSchema, ResponseSchema } from '../generated/ttrpc/ttrpc_pb.ts'
import {
  encodeFrame,
  FLAG_REMOTE_OPEN,
  type Frame,
  FrameReader,
  MAX_PAYLOAD,
  TYPE_REQUEST,
  TYPE_RESPONSE,
} from './frame.ts'
import { CODE, RpcError } from './status.ts'

/** What a service does for each of its methods; one that is left out is unimplemented. */
export type Handlers<S extends DescService> = {
  readonly [K in keyof S['method']]?: (
    request: MessageShape<S['method'][K]['input']>,
  ) => MessageInitShape<S['method'][K]['output']> | Promise<MessageInitShape<S['method'][K]['output']>>
}

interface Method {
  readonly input: DescMessage
  readonly output: DescMessage
  readonly run: (request: never) => unknown
}

/** A client that does not read its answers is not read from either beyond this. */
const MAX_UNREAD_ANSWERS = 1 << 20

export class Server {
  /** By 'service/method'. */
  readonly #methods = new Map<string, Method>()
  readonly #report: (call: string, error: unknown) => void

  /** `report` is told of errors that are no RpcError: bugs. */
  constructor(report: (call: string, error: unknown) => void) {
    this.#report = report
  }

  register<S extends DescService>(service: S, handlers: Handlers<S>, name: string = service.typeName): void {
    for (const method of service.methods) {
      const run = (handlers as Record<string, Method['run'] | undefined>)[method.localName]
      if (run === undefined) continue
      this.#methods.set(`${name}/${method.name}`, { ...ends(method), run: run.bind(handlers) })
    }
  }

  /** Serves `socket` until it ends. */
  accept(socket: Socket): void {
    const reader = new FrameReader()
    let lastStream = 0
    const answer = (streamId: number, outcome: Outcome): void => {
      if (socket.destroyed) return
      socket.write(encodeFrame(streamId, TYPE_RESPONSE, 0, encodeOutcome(outcome)))
      if (socket.writableLength > MAX_UNREAD_ANSWERS) socket.pause()
    }
    socket.on('drain', () => socket.resume())
    // 'close' follows.
    socket.on('error', () => {})
    socket.on('data', (bytes: Buffer) => {
      for (const frame of reader.read(bytes)) {
        const wrong = frameError(frame, lastStream)
        if (wrong !== undefined) {
          answer(frame.streamId, { error: wrong })
          continue
        }
        lastStream = frame.streamId
        void this.#call(frame.payload!).then(outcome => answer(frame.streamId, outcome))
      }
    })
  }

  async #call(payload: Uint8Array): Promise<Outcome> {
    let name = 'a request'
    try {
      const request = decode(RequestSchema, payload)
      name = `${request.service}/${request.method}`
      const method = this.#methods.get(name)
      if (method === undefined) throw new RpcError(CODE.unimplemented, `there is no method ${name}`)
      const input = decode(method.input, request.payload)
      const result = withDeadline(method.run(input as never), Number(request.timeoutNano) / 1e6)
      const output = create(method.output, (await result) as MessageInitShape<DescMessage>)
      const bytes = toBinary(method.output, output)
      // The response's own fields take a few bytes more.
      if (bytes.length > MAX_PAYLOAD - 64)
        throw new RpcError(CODE.resourceExhausted, 'the answer is too long')
      return { payload: bytes }
    } catch (error) {
      if (error instanceof RpcError) return { error }
      this.#report(name, error)
      return { error: new RpcError(CODE.unknown, (error as Error).message) }
    }
  }
}

type Outcome = { readonly payload: Uint8Array } | { readonly error: RpcError }

function ends({ input, output }: DescMethod) {
  return { input, output }
}

/** Why a frame can't be a unary call. */
function frameError(frame: Frame, lastStream: number): RpcError | undefined {
  if (frame.payload === undefined) {
    return new RpcError(CODE.resourceExhausted, `a message has at most ${MAX_PAYLOAD} bytes`)
  }
  if (frame.streamId % 2 !== 1) {
    return new RpcError(CODE.invalidArgument, 'the number of a stream that a client begins is odd')
  }
  if (frame.type !== TYPE_REQUEST) {
    return new RpcError(CODE.invalidArgument, `stream ${frame.streamId} takes no data`)
  }
  if (frame.streamId <= lastStream) {
    return new RpcError(CODE.invalidArgument, `stream ${frame.streamId} was used before`)
  }
  if ((frame.flags & FLAG_REMOTE_OPEN) !== 0) {
    return new RpcError(CODE.unimplemented, 'streaming calls are not served')
  }
  return undefined
}

function decode<D extends DescMessage>(schema: D, bytes: Uint8Array): MessageShape<D> {
  try {
    return fromBinary(schema, bytes)
  } catch (error) {
    throw new RpcError(CODE.invalidArgument, `${schema.typeName}: ${(error as Error).message}`)
  }
}

function encodeOutcome(outcome: Outcome): Uint8Array {
  const response =
    'error' in outcome
      ? { status: { code: outcome.error.code, message: outcome.error.message } }
      : { payload: outcome.payload }
  return toBinary(ResponseSchema, create(ResponseSchema, response))
}

/** `work`, or an error once the client has stopped waiting; 0: it never does. */
async function withDeadline(work: unknown, timeoutMs: number): Promise<unknown> {
  if (!(timeoutMs > 0 && timeoutMs < 2 ** 31)) return work
  let timer: NodeJS.Timeout | undefined
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new RpcError(CODE.deadlineExceeded, 'deadline exceeded')), timeoutMs)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
