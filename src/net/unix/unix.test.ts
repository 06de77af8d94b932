import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  MSG_DONTWAIT,
  MSG_PEEK,
  MSG_TRUNC,
  POLLHUP,
  POLLIN,
  POLLOUT,
  POLLRDHUP,
  SCM_CREDENTIALS,
  SCM_RIGHTS,
  SOCK_DGRAM,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../../abi/constants.ts'
import {
  EADDRINUSE,
  EAGAIN,
  EBADF,
  ECONNREFUSED,
  ECONNRESET,
  EINVAL,
  EISCONN,
  EMSGSIZE,
  ENOTCONN,
  EPERM,
  EPIPE,
} from '../../abi/errno.ts'
import { encodeText, fromBytes, toBytes } from '../../base/bytes.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import type { Task } from '../../kernel/task.ts'
import { filePut } from '../../vfs/file-ref.ts'
import { type ControlMessage, receiveRequest, type Socket } from '../socket.ts'
import { SocketFile } from '../socket-file.ts'
import { TestWorld } from '../testing.ts'
import { unixAddress } from './address.ts'
import { unixFamily } from './family.ts'
import type { UnixSocket } from './socket.ts'

const world = new TestWorld()

function make(task: Task, type: number): UnixSocket {
  const socket = unixFamily.create(task, type, 0)
  if (typeof socket === 'number') throw new Error(`errno ${socket}`)
  return new SocketFile(task, socket, false).socket as UnixSocket
}
function pair(task: Task, type: number): [UnixSocket, UnixSocket] {
  const [a, b] = [make(task, type), make(task, type)]
  unixFamily.pair!(task, a, b)
  return [a, b]
}
function close(socket: Socket): void {
  filePut(socket.file!)
}
function send(
  task: Task,
  socket: Socket,
  text: string,
  options: { to?: Uint8Array; control?: ControlMessage[] } = {},
): number {
  const src = new BufferSrc(toBytes(encodeText(text)))
  return socket.send(task, {
    src,
    flags: 0,
    address: options.to,
    control: options.control ?? [],
    waitOn: undefined,
  })
}
function receive(task: Task, socket: Socket, room = 1000, flags = 0) {
  const dst = new BufferDst(new Uint8Array(room))
  const request = receiveRequest(dst, flags)
  const n = socket.receive(task, request)
  return { n, text: fromBytes(dst.bytes, 0, dst.done), request }
}
function rights(...fds: number[]): ControlMessage {
  return { level: SOL_SOCKET, type: SCM_RIGHTS, data: new Uint8Array(Int32Array.from(fds).buffer) }
}
const abstract = (name: string) => unixAddress(`\0${name}`)

test('stream: bytes flow both ways and are read across messages', () => {
  const task = world.task()
  const [a, b] = pair(task, SOCK_STREAM)
  assert.equal(receive(task, b).n, -EAGAIN)
  send(task, a, 'hello ')
  send(task, a, 'world')
  assert.equal(receive(task, b, 3, MSG_PEEK).text, 'hel')
  assert.equal(receive(task, b, 8).text, 'hello wo')
  assert.equal(receive(task, b).text, 'rld')
  send(task, b, 'back')
  assert.equal(receive(task, a).text, 'back')
})

test('stream: the send buffer bounds what is under way', () => {
  const task = world.task()
  const [a, b] = pair(task, SOCK_STREAM)
  const src = new BufferSrc(new Uint8Array(1 << 20))
  const n = a.send(task, { src, flags: 0, address: undefined, control: [], waitOn: undefined })
  assert.equal(n, 219264)
  assert.equal(a.poll() & POLLOUT, 0)
  let woken = 0
  a.waitQueue.add({ woken: () => void woken++ }, POLLOUT)
  receive(task, b, 1 << 20)
  assert.ok(woken > 0)
  assert.equal(a.poll() & POLLOUT, POLLOUT)
})

test('stream: the end of one side is end of file and EPIPE for the other', () => {
  const task = world.task()
  const [a, b] = pair(task, SOCK_STREAM)
  send(task, a, 'last')
  close(a)
  assert.equal(b.poll() & (POLLIN | POLLHUP | POLLRDHUP), POLLIN | POLLHUP | POLLRDHUP)
  assert.equal(receive(task, b).text, 'last')
  assert.equal(receive(task, b).n, 0)
  assert.equal(send(task, b, 'x'), -EPIPE)
})

test('stream: closing with unread bytes resets the connection', () => {
  const task = world.task()
  const [a, b] = pair(task, SOCK_STREAM)
  send(task, a, 'unread')
  close(b)
  assert.equal(receive(task, a).n, -ECONNRESET)
  assert.equal(receive(task, a).n, 0)
})

test('stream: connect, backlog and accept', () => {
  const task = world.task()
  const server = make(task, SOCK_STREAM)
  const client = make(task, SOCK_STREAM)
  assert.equal(client.connect(task, abstract('srv')), -ECONNREFUSED)
  assert.equal(server.bind(task, abstract('srv')), 0)
  assert.equal(make(task, SOCK_STREAM).bind(task, abstract('srv')), -EADDRINUSE)
  assert.equal(client.connect(task, abstract('srv')), -ECONNREFUSED)
  assert.equal(server.listen(task, 0), 0)
  assert.equal(server.accept(), -EAGAIN)
  assert.equal(client.connect(task, abstract('srv')), 0)
  assert.equal(client.connect(task, abstract('srv')), -EAGAIN)
  const second = make(task, SOCK_STREAM)
  assert.equal(second.connect(task, abstract('srv')), -EAGAIN)
  let room = 0
  second.connectWait.add({ woken: () => void room++ })
  send(task, client, 'early')
  const accepted = server.accept() as UnixSocket
  assert.equal(room, 1)
  assert.equal(client.connect(task, abstract('srv')), -EISCONN)
  assert.deepEqual(accepted.name(false), abstract('srv'))
  assert.deepEqual(accepted.name(true), new Uint8Array([1, 0]))
  assert.deepEqual(client.name(true), abstract('srv'))
  assert.equal(receive(task, accepted).text, 'early')
})

test('stream: those whom nobody accepted are reset with the listener', () => {
  const task = world.task()
  const server = make(task, SOCK_STREAM)
  const client = make(task, SOCK_STREAM)
  server.bind(task, abstract('gone'))
  server.listen(task, 5)
  client.connect(task, abstract('gone'))
  close(server)
  assert.equal(receive(task, client).n, -ECONNRESET)
  assert.equal(make(task, SOCK_STREAM).connect(task, abstract('gone')), -ECONNREFUSED)
})

test('datagram: borders, truncation and the sender', () => {
  const task = world.task()
  const [a, b] = [make(task, SOCK_DGRAM), make(task, SOCK_DGRAM)]
  a.bind(task, abstract('a'))
  b.bind(task, abstract('b'))
  assert.equal(send(task, a, 'first', { to: abstract('b') }), 5)
  assert.equal(send(task, a, '', { to: abstract('b') }), 0)
  const got = receive(task, b, 3, MSG_TRUNC)
  assert.equal(got.n, 5)
  assert.equal(got.text, 'fir')
  assert.equal(got.request.outFlags, MSG_TRUNC)
  assert.deepEqual(got.request.address, abstract('a'))
  assert.equal(receive(task, b).n, 0)
  assert.equal(receive(task, b, 10, MSG_DONTWAIT).n, -EAGAIN)
  assert.equal(send(task, a, 'x'), -ENOTCONN)
  const big = new BufferSrc(new Uint8Array(300000))
  assert.equal(
    a.send(task, { src: big, flags: 0, address: abstract('b'), control: [], waitOn: undefined }),
    -EMSGSIZE,
  )
})

test('datagram: a connected socket hears only its peer, and a full inbox holds strangers back', () => {
  const task = world.task()
  const [a, b, c] = [make(task, SOCK_DGRAM), make(task, SOCK_DGRAM), make(task, SOCK_DGRAM)]
  b.bind(task, abstract('bb'))
  a.bind(task, abstract('aa'))
  assert.equal(c.connect(task, abstract('bb')), 0)
  for (let i = 0; i < 11; i++) assert.equal(send(task, c, 'x'), 1)
  assert.equal(send(task, c, 'x'), -EAGAIN)
  assert.equal(c.poll() & POLLOUT, 0)
  let woken = 0
  c.waitQueue.add({ woken: () => void woken++ }, POLLOUT)
  receive(task, b)
  assert.ok(woken > 0)
  assert.equal(c.poll() & POLLOUT, POLLOUT)
  assert.equal(b.connect(task, abstract('aa')), 0)
  assert.equal(send(task, c, 'x'), -EPERM)
  close(a)
  assert.equal(send(task, b, 'x'), -ECONNREFUSED)
  assert.equal(send(task, b, 'x'), -ENOTCONN)
})

test('seqpacket: connected, with borders', () => {
  const task = world.task()
  const [a, b] = pair(task, SOCK_SEQPACKET)
  send(task, a, 'one')
  send(task, a, 'two')
  assert.equal(receive(task, b, 2).text, 'on')
  assert.equal(receive(task, b).text, 'two')
  close(a)
  assert.equal(receive(task, b, 10).n, 0)
  assert.equal(send(task, b, 'x'), -EPIPE)
  assert.equal(receive(task, make(task, SOCK_SEQPACKET)).n, -ENOTCONN)
})

test('rights: descriptors travel with the first byte and stop the read', () => {
  const task = world.task()
  const [a, b] = pair(task, SOCK_STREAM)
  const passed = make(task, SOCK_DGRAM)
  const fd = task.fds.install(passed.file!, false, 0, 100)
  assert.equal(send(task, a, 'x', { control: [rights(99)] }), -EBADF)
  send(task, a, 'with', { control: [rights(fd)] })
  send(task, a, 'out')
  assert.equal(passed.file!.refs, 2)
  const got = receive(task, b)
  assert.equal(got.text, 'with')
  assert.deepEqual(got.request.control[0].files, [passed.file])
  assert.equal(receive(task, b).text, 'out')
  assert.equal(passed.inFlight, 0)
})

test('rights: sockets that only reach each other are collected', () => {
  const task = world.task()
  const [a, b] = pair(task, SOCK_STREAM)
  const fdA = task.fds.install(a.file!, false, 0, 100)
  const fdB = task.fds.install(b.file!, false, 0, 100)
  send(task, a, 'x', { control: [rights(fdA)] })
  send(task, b, 'x', { control: [rights(fdB)] })
  task.fds.close(fdA)
  assert.equal(a.dead, false)
  task.fds.close(fdB)
  // Nothing was released by that, since both are still in flight: the next release of any unix socket finds them.
  close(make(task, SOCK_DGRAM))
  assert.equal(a.dead, true)
  assert.equal(b.dead, true)
})

test('rights: a socket in flight that can still be received is kept', () => {
  const task = world.task()
  const [a, b] = pair(task, SOCK_STREAM)
  const [c, d] = pair(task, SOCK_STREAM)
  const fd = task.fds.install(c.file!, false, 0, 100)
  send(task, a, 'x', { control: [rights(fd)] })
  send(task, d, 'kept')
  task.fds.close(fd)
  close(make(task, SOCK_DGRAM))
  const got = receive(task, b)
  assert.equal(got.request.control[0].files![0], c.file)
  assert.equal(receive(task, c).text, 'kept')
})

test('credentials: told to who asks, checked for who claims', () => {
  const root = world.task()
  const user = world.task(1000)
  const [a, b] = pair(user, SOCK_STREAM)
  b.options.passCred = true
  send(user, a, 'x')
  const ucred = new Int32Array(receive(user, b).request.control[0].data!.buffer)
  assert.deepEqual([...ucred], [user.group.tgid, 1000, 0])
  const claim = (pid: number, uid: number) => [
    { level: SOL_SOCKET, type: SCM_CREDENTIALS, data: new Uint8Array(Int32Array.of(pid, uid, 0).buffer) },
  ]
  assert.equal(send(user, a, 'x', { control: claim(root.group.tgid, 1000) }), -EPERM)
  assert.equal(send(user, a, 'x', { control: claim(user.group.tgid, 0) }), -EPERM)
  assert.equal(send(root, a, 'x', { control: claim(user.group.tgid, 7) }), 1)
  assert.equal(new Int32Array(receive(user, b).request.control[0].data!.buffer)[1], 7)
  assert.equal(
    send(user, a, 'x', { control: [{ level: SOL_SOCKET, type: 99, data: new Uint8Array(4) }] }),
    -EINVAL,
  )
})
