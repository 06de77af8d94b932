import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EAGAIN } from '../abi/errno.ts'
import type { Log } from '../kernel/kernel.ts'
import type { LinuxHost } from '../platform/linux-host.ts'
import { type Connection, ControlServer } from './control.ts'
import type { ControlRequest } from './protocol.ts'
import { UserError } from './user-error.ts'

const SOCKET = 7

/** One socket, whose client is the test. */
class Wire {
  readonly sent: Buffer[] = []
  readonly closed: number[] = []
  readonly logged: string[] = []
  /** What the socket takes before its reader reads. */
  room = Number.POSITIVE_INFINITY
  readonly #incoming: { bytes: Buffer; fds: number[] }[] = []
  #gone = false
  #ready: () => void = () => {}

  server(handle: (request: ControlRequest, connection: Connection) => void): ControlServer {
    const log = { error: (text: string) => this.logged.push(text) } as unknown as Log
    const server = new ControlServer(this.#host(), log, handle)
    server.connected(SOCKET)
    return server
  }

  push(text: string | Buffer, fds: number[] = []): void {
    this.#incoming.push({ bytes: Buffer.from(text as string), fds })
    this.#ready()
  }
  hangUp(): void {
    this.#gone = true
    this.#ready()
  }
  drain(): void {
    this.room = Number.POSITIVE_INFINITY
    this.#ready()
  }
  get text(): string {
    return Buffer.concat(this.sent).toString('latin1')
  }

  #host(): LinuxHost {
    const receive = (into: Uint8Array, fds?: Int32Array): number => {
      if (fds !== undefined) fds[0] = 0
      const next = this.#incoming.shift()
      if (next === undefined) return this.#gone ? 0 : -EAGAIN
      into.set(next.bytes)
      fds?.set([next.fds.length, ...next.fds])
      return next.bytes.length
    }
    return {
      watch: (_fd: number, _events: number, ready: () => void) => {
        this.#ready = ready
        return 0
      },
      unwatch: () => {
        this.#ready = () => {}
      },
      close: (fd: number) => this.closed.push(fd),
      dup: (fd: number) => fd + 100,
      receiveAll: (_fd: number, into: Uint8Array, fds: Int32Array) => receive(into, fds),
      pread: (_fd: number, into: Uint8Array) => receive(into),
      pwrite: (_fd: number, from: Uint8Array) => {
        const taken = Math.min(this.room, from.length)
        if (taken === 0) return -EAGAIN
        this.room -= taken
        this.sent.push(Buffer.from(from.subarray(0, taken)))
        return taken
      },
    } as unknown as LinuxHost
  }
}

test('control: a request that comes in pieces is served when it is whole, and only by work', () => {
  const wire = new Wire()
  const served: ControlRequest[] = []
  const server = wire.server((request, connection) => {
    served.push(request)
    connection.answer({ done: true })
  })
  wire.push('{"command":')
  server.work()
  wire.push('"containers"}\n')
  assert.deepEqual(served, [])
  server.work()
  assert.deepEqual(served, [{ command: 'containers' }])
  assert.equal(wire.text, '{"done":true}\n')
  assert.deepEqual(wire.closed, [SOCKET])
})

test('control: descriptors that nobody takes are closed, also after a failure', () => {
  const wire = new Wire()
  const server = wire.server((_request, connection) => {
    assert.equal(connection.takeDescriptor(1), 21)
    assert.equal(connection.takeDescriptor(1), 121)
    throw new UserError('no', 126)
  })
  wire.push('{"command":"info"}\n', [20, 21, 22])
  server.work()
  assert.equal(wire.text, '{"error":"no","status":126}\n')
  assert.deepEqual(wire.closed, [SOCKET, 20, 22])
})

test('control: a client that goes before its request is whole leaves no descriptor', () => {
  const wire = new Wire()
  wire.server(() => assert.fail('nothing was asked'))
  wire.push('{', [30])
  wire.hangUp()
  assert.deepEqual(wire.closed, [30, SOCKET])
})

test('control: nonsense, and what fails inside, is answered with an error', () => {
  for (const line of ['{', 'null', '{"command":"reboot"}']) {
    const wire = new Wire()
    const server = wire.server(request => {
      throw new Error(`what is ${request.command}?`)
    })
    wire.push(`${line}\n`)
    server.work()
    assert.match(wire.text, /^\{"error":"/, line)
  }
})

test('control: a request without an end is not read for ever', () => {
  const wire = new Wire()
  wire.server(() => assert.fail('nothing was asked'))
  for (let i = 0; i < 100 && wire.closed.length === 0; i++) wire.push(Buffer.alloc(65536, 'x'))
  assert.deepEqual(wire.closed, [SOCKET])
})

test('control: a kept connection carries signals in and the status out', () => {
  const wire = new Wire()
  const signals: number[] = []
  let kept: Connection | undefined
  const server = wire.server((_request, connection) => {
    kept = connection
    connection.onSignal = signo => signals.push(signo)
    connection.onGone = () => assert.fail('the client is there')
    connection.keep({ started: { pid: 3 } })
  })
  wire.push('{"command":"wait","container":"a"}\n')
  server.work()
  wire.push(Buffer.of(15, 28))
  assert.deepEqual(signals, [15, 28])
  kept?.end(0x0700)
  assert.equal(wire.text, '{"started":{"pid":3}}\n\0\x07\0\0')
  assert.deepEqual(wire.closed, [SOCKET])
})

test('control: who keeps a connection hears of the client going', () => {
  const wire = new Wire()
  let gone = 0
  const server = wire.server((_request, connection) => {
    connection.onGone = () => gone++
    connection.keep({ done: true })
  })
  wire.push('{"command":"wait","container":"a"}\n')
  server.work()
  wire.hangUp()
  assert.equal(gone, 1)
})

test('control: an answer that the socket does not take at once is sent when it does', () => {
  const wire = new Wire()
  wire.room = 5
  const server = wire.server((_request, connection) => connection.answer({ done: true }))
  wire.push('{"command":"info"}\n')
  server.work()
  assert.equal(wire.text, '{"don')
  assert.deepEqual(wire.closed, [])
  wire.drain()
  assert.equal(wire.text, '{"done":true}\n')
  assert.deepEqual(wire.closed, [SOCKET])
})
