import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type Server as NetServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { Task } from '../generated/containerd/task/task_pb.ts'
import { RequestSchema, ResponseSchema } from '../generated/ttrpc/ttrpc_pb.ts'
import { Client } from './client.ts'
import {
  encodeFrame,
  FLAG_REMOTE_OPEN,
  type Frame,
  FrameReader,
  HEADER_SIZE,
  MAX_PAYLOAD,
  TYPE_DATA,
  TYPE_REQUEST,
} from './frame.ts'
import { Server } from './server.ts'
import { CODE, RpcError } from './status.ts'

/** Pseudo-random, the same in each run. */
function* numbers(seed: number): Generator<number> {
  for (;;) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
    yield seed
  }
}

test('frames: come out whole, in order and once, however the bytes are cut', () => {
  const random = numbers(7)
  const next = (below: number) => random.next().value! % below
  const sent = Array.from({ length: 60 }, (_, i) => ({
    streamId: 2 * i + 1,
    type: next(256),
    flags: next(256),
    payload: Buffer.alloc(i % 7 === 0 ? 0 : next(3000), i),
  }))
  const bytes = Buffer.concat(sent.map(f => encodeFrame(f.streamId, f.type, f.flags, f.payload)))
  for (const most of [1, 11, 500, 1 << 20]) {
    const reader = new FrameReader()
    const got: Frame[] = []
    for (let at = 0; at < bytes.length; ) {
      const length = 1 + next(most)
      got.push(...reader.read(bytes.subarray(at, at + length)))
      at += length
    }
    assert.deepEqual(got, sent)
  }
})

test('frames: a payload over the limit is skipped without being kept, and what follows is read', () => {
  const header = Buffer.alloc(HEADER_SIZE)
  header.writeUInt32BE(MAX_PAYLOAD + 5, 0)
  header.writeUInt32BE(9, 4)
  const next = encodeFrame(11, 1, 0, Buffer.from('x'))
  const bytes = Buffer.concat([header, Buffer.alloc(MAX_PAYLOAD + 5), next])
  const frames = new FrameReader().read(bytes)
  assert.deepEqual(
    frames.map(f => [f.streamId, f.payload?.length]),
    [
      [9, undefined],
      [11, 1],
    ],
  )
})

const dir = mkdtempSync(join(tmpdir(), 'caisson-ttrpc-'))
const path = join(dir, 's')
const bugs: string[] = []
let listener: NetServer
let accepted: Socket

before(async () => {
  const server = new Server((call, error) => bugs.push(`${call}: ${(error as Error).message}`))
  const never = new Promise<never>(() => {})
  const handlers = {
    async state({ id }: { id: string }) {
      if (id === 'missing') throw new RpcError(CODE.notFound, 'no such task')
      if (id === 'bug') throw new TypeError('oops')
      return { id, pid: 7 }
    },
    wait: () => never,
    pids: () => ({ processes: Array.from({ length: 500_000 }, () => ({ pid: 2 ** 31, info: {} })) }),
  }
  server.register(Task, handlers, 'test.Task')
  server.register(Task, handlers)
  listener = createServer(socket => {
    accepted = socket
    server.accept(socket)
  })
  listener.listen(path)
  await once(listener, 'listening')
})

after(() => {
  listener.close()
  rmSync(dir, { recursive: true })
})

async function rejectsWith(call: Promise<unknown>, code: number): Promise<void> {
  await assert.rejects(call, (error: RpcError) => {
    assert.equal(error.code, code, error.message)
    return true
  })
}

test('ttrpc: a call is answered; errors come with their code, bugs as unknown and reported', async () => {
  const client = await Client.connect(path)
  assert.equal((await client.call(Task.method.state, { id: 'a' }, 1000)).pid, 7)
  await rejectsWith(client.call(Task.method.state, { id: 'missing' }, 1000), CODE.notFound)
  await rejectsWith(client.call(Task.method.state, { id: 'bug' }, 1000), CODE.unknown)
  assert.deepEqual(bugs, ['containerd.task.v3.Task/State: oops'])
  await rejectsWith(client.call(Task.method.pids, { id: 'a' }, 5000), CODE.resourceExhausted)
  client.close()
})

test('ttrpc: a slow call holds up no other, ends at its deadline, and with the connection', async () => {
  const client = await Client.connect(path)
  const slow = client.call(Task.method.wait, { id: 'a' }, 50)
  assert.equal((await client.call(Task.method.state, { id: 'b' }, 1000)).id, 'b')
  await rejectsWith(slow, CODE.deadlineExceeded)
  const lost = client.call(Task.method.wait, { id: 'a' }, 60_000)
  accepted.destroy()
  await rejectsWith(lost, CODE.unavailable)
  await rejectsWith(client.call(Task.method.state, { id: 'b' }, 1000), CODE.unavailable)
})

test('ttrpc: what is no unary call of ours is refused on its stream, and the connection goes on', async () => {
  const socket = connect(path)
  const state = toBinary(
    RequestSchema,
    create(RequestSchema, { service: 'test.Task', method: 'State', metadata: [{ key: 'k', value: 'v' }] }),
  )
  const unknown = toBinary(RequestSchema, create(RequestSchema, { service: 'test.Task', method: 'Nothing' }))
  const cases: [number, number, number, Uint8Array, number][] = [
    [1, TYPE_REQUEST, 0, state, 0],
    [2, TYPE_REQUEST, 0, state, CODE.invalidArgument],
    [1, TYPE_REQUEST, 0, state, CODE.invalidArgument],
    [3, TYPE_DATA, 0, state, CODE.invalidArgument],
    [5, TYPE_REQUEST, FLAG_REMOTE_OPEN, state, CODE.unimplemented],
    [7, TYPE_REQUEST, 0, unknown, CODE.unimplemented],
    [9, TYPE_REQUEST, 0, Buffer.from([0xff, 0xff]), CODE.invalidArgument],
    [11, TYPE_REQUEST, 0, state, 0],
  ]
  const reader = new FrameReader()
  for (const [stream, type, flags, payload, code] of cases) {
    socket.write(encodeFrame(stream, type, flags, payload))
    const [bytes] = await once(socket, 'data')
    const frames = reader.read(bytes)
    assert.equal(frames.length, 1)
    assert.equal(frames[0].streamId, stream)
    assert.equal(fromBinary(ResponseSchema, frames[0].payload!).status?.code ?? 0, code)
  }
  socket.destroy()
})
