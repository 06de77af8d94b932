import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IPPROTO_TCP } from '../abi/constants.ts'
import { EAGAIN, ECONNREFUSED, EMFILE, ENETDOWN } from '../abi/errno.ts'
import type { Addon } from './addon.ts'
import type { HostSockets } from './host-sockets.ts'
import { LinuxBroker } from './linux-broker.ts'
import type { LinuxHost } from './linux-host.ts'

/** The other end of the socket pair. */
class FakeBroker {
  readonly requests: DataView[] = []
  readonly closed: number[] = []
  /** Answers that wait to be read: id, status, descriptor; undefined: the end. */
  readonly answers: ([number, number, number] | undefined)[] = []
  ready = (): void => {}
  readonly host = {
    receivedFd: -1,
    watch: (_fd: number, _events: number, ready: () => void) => {
      this.ready = ready
      return 0
    },
    unwatch: () => {},
    close: (fd: number) => this.closed.push(fd),
    receive: (_fd: number, into: Uint8Array): number => {
      if (this.answers.length === 0) return -EAGAIN
      const answer = this.answers.shift()
      if (answer === undefined) return 0
      const view = new DataView(into.buffer)
      view.setUint32(0, answer[0], true)
      view.setInt32(4, answer[1], true)
      this.host.receivedFd = answer[2]
      return 8
    },
  }
  readonly sockets = {
    send: (_fd: number, bytes: Uint8Array): number => {
      this.requests.push(new DataView(bytes.slice().buffer))
      return bytes.length
    },
  }
  readonly client = new LinuxBroker(
    {} as Addon,
    this.host as unknown as LinuxHost,
    this.sockets as unknown as HostSockets,
    6,
  )

  id(request: number): number {
    return this.requests[request].getUint32(0, true)
  }
}

test('broker: a request says what is wanted, and the answer finds who has asked', () => {
  const broker = new FakeBroker()
  broker.client.start()
  const opened: number[] = []
  const address = Uint8Array.from({ length: 16 }, (_, i) => i)
  for (let i = 0; i < 2; i++)
    broker.client.connect(IPPROTO_TCP, address, 8080 + i, { opened: fd => opened.push(i, fd) })
  const [first] = broker.requests
  assert.equal(first.byteLength, 28)
  assert.deepEqual([first.getUint8(4), first.getUint8(5), first.getUint16(6, true)], [1, IPPROTO_TCP, 8080])
  assert.deepEqual(new Uint8Array(first.buffer, 8, 16), address)
  broker.answers.push([broker.id(1), 0, 42], [broker.id(0), -ECONNREFUSED, -1], [999, 0, 43])
  broker.ready()
  assert.deepEqual(opened, [1, 42, 0, -ECONNREFUSED])
  assert.deepEqual(broker.closed, [43], 'nobody has asked for that one')
})

test('broker: a descriptor that there was no room for is one too many', () => {
  const broker = new FakeBroker()
  broker.client.start()
  let result = 0
  broker.client.connect(IPPROTO_TCP, new Uint8Array(16), 1, { opened: fd => (result = fd) })
  broker.answers.push([broker.id(0), 0, -1])
  broker.ready()
  assert.equal(result, -EMFILE)
})

test('broker: those for whom there is no room wait for their turn; when it is gone, all hear of it', () => {
  const broker = new FakeBroker()
  broker.client.start()
  const results: number[] = []
  const ask = (): number =>
    broker.client.connect(IPPROTO_TCP, new Uint8Array(16), 1, { opened: fd => results.push(fd) })
  for (let i = 0; i < 300; i++) assert.equal(ask(), 0)
  assert.equal(broker.requests.length, 128)
  for (let i = 0; i < 200; i++) {
    broker.answers.push([broker.id(i), 0, 1000 + i])
    broker.ready()
  }
  assert.equal(broker.requests.length, 300)
  assert.deepEqual(
    results,
    Array.from({ length: 200 }, (_, i) => 1000 + i),
  )
  for (let i = 0; i < 200; i++) ask()
  broker.answers.push(undefined)
  broker.ready()
  assert.equal(results.length, 500)
  assert.ok(results.slice(200).every(result => result === -ENETDOWN))
  assert.equal(ask(), -ENETDOWN)
})
