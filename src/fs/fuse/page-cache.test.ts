import assert from 'node:assert/strict'
import { openSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  FUSE_BATCH_FORGET,
  FUSE_FORGET,
  FUSE_INIT,
  FUSE_NOTIFY_RETRIEVE,
  FUSE_NOTIFY_STORE,
  FUSE_READ,
  FUSE_WRITE,
  MAP_PRIVATE,
  MAP_SHARED,
  O_RDWR,
  PROT_READ,
  PROT_WRITE,
  S_IFREG,
} from '../../abi/constants.ts'
import { EIO, ENOMEM } from '../../abi/errno.ts'
import {
  FUSE_ATTR,
  FUSE_IN_HEADER,
  FUSE_INIT_OUT,
  FUSE_NOTIFY_RETRIEVE_OUT,
  FUSE_NOTIFY_STORE_OUT,
  FUSE_READ_IN,
  FUSE_WRITE_IN,
  FUSE_WRITE_OUT,
} from '../../abi/layout.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import { PENDING } from '../../base/result.ts'
import { put64, take64 } from '../../base/words.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { Task } from '../../kernel/task.ts'
import { TestWorld } from '../../net/testing.ts'
import { loadAddon } from '../../platform/addon.ts'
import { LinuxHost } from '../../platform/linux-host.ts'
import { filePut } from '../../vfs/file-ref.ts'
import type { MountContext } from '../../vfs/fs-type.ts'
import { FuseConnection } from './connection.ts'
import { FuseFile } from './file.ts'
import { FuseHandle } from './handle.ts'
import { FuseInode } from './inode.ts'
import { takeNotice } from './notice.ts'
import { MAX_CACHED } from './page-cache.ts'
import type { FuseRequest } from './request.ts'
import { FuseSuper } from './super.ts'

const host = new LinuxHost(loadAddon(join(import.meta.dirname, '../../../native/build/caisson.node')))
host.ownFds = openSync('/proc/self/fd', 'r')
const MIB = 1024 * 1024

/** A mount with one file, whose server is the test: byte i is i % 251, or what was written. */
class FuseWorld {
  readonly world = new TestWorld()
  readonly task: Task
  readonly connection: FuseConnection
  readonly node: FuseInode
  readonly written = new Map<number, Uint8Array>()
  /** Opcodes as they came. */
  readonly asked: number[] = []
  /** What READ and WRITE are answered, if not with data. */
  error = 0
  /** Opcodes that are read, and answered later. */
  readonly unanswered = new Set<number>()
  readonly #open: { request: FuseRequest; view: DataView }[] = []
  largestLog = 0
  /** What the kernel says of the size. */
  readonly learned: number

  constructor(size: number) {
    const { world } = this
    this.task = world.task()
    const kernel = Object.assign(world.kernel, { host, userNs: world.userNs }) as unknown as Kernel
    this.connection = new FuseConnection(kernel, world.userNs, world.pidNs, Number.POSITIVE_INFINITY)
    const options = { fd: 0, rootMode: 0o40755, userId: 0, groupId: 0, maxRead: 0, subtype: '' }
    const context = { vfs: world.vfs } as MountContext
    const all = { ...options, defaultPermissions: false, allowOther: false }
    const sb = new FuseSuper(context, this.connection, all, new Set())
    this.connection.begin()
    this.serve()
    this.node = new FuseInode(sb, { lo: 2, hi: 0 }, 0, S_IFREG | 0o644)
    const attributes = new DataView(new ArrayBuffer(FUSE_ATTR.size))
    attributes.setUint32(FUSE_ATTR.mode, S_IFREG | 0o644, true)
    put64(attributes, FUSE_ATTR.size_, size)
    this.learned = this.node.learn(attributes, 0, 3600, 0, 0)
  }

  open(flags = O_RDWR): FuseFile {
    const handle = new FuseHandle(this.node, flags, undefined)
    const path = this.world.anonFs.pathOf('file', this.node)
    return new FuseFile(path, flags, this.world.cred, this.node, handle)
  }

  /** Tries a call until it is done, as the kernel's loop does. */
  call(run: () => number): number {
    for (;;) {
      this.task.requests?.rewind()
      const result = run()
      this.largestLog = Math.max(this.largestLog, this.task.requests?.size ?? 0)
      if (result !== PENDING) {
        this.task.requests?.end()
        this.task.requests = undefined
        return result
      }
      this.serve()
    }
  }

  /** Answers what was asked. */
  serve(): void {
    const { connection } = this
    for (let next = connection.next(); next !== undefined; next = connection.next()) {
      const { bytes, request } = next
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      connection.taken([...connection.devices][0], request)
      if (request === undefined) continue
      this.asked.push(request.opcode)
      if (this.unanswered.has(request.opcode)) this.#open.push({ request, view })
      else this.#answer(request, view)
    }
  }

  /** Answers what it has left unanswered. */
  answer(): void {
    for (const { request, view } of this.#open.splice(0)) this.#answer(request, view)
  }

  #answer(request: FuseRequest, message: DataView): void {
    this.connection.answered(request)
    const reply = this.#reply(request.opcode, message)
    request.complete(this.error !== 0 && request.opcode !== FUSE_INIT ? this.error : 0, reply)
  }

  #reply(opcode: number, message: DataView): DataView {
    const body = FUSE_IN_HEADER.size
    if (opcode === FUSE_INIT) {
      const out = new DataView(new ArrayBuffer(FUSE_INIT_OUT.size))
      out.setUint32(FUSE_INIT_OUT.major, 7, true)
      out.setUint32(FUSE_INIT_OUT.minor, 31, true)
      out.setUint32(FUSE_INIT_OUT.max_write, 4096, true)
      return out
    }
    if (opcode === FUSE_READ) {
      const offset = take64(message, body + FUSE_READ_IN.offset)
      const size = message.getUint32(body + FUSE_READ_IN.size_, true)
      const data = new Uint8Array(Math.max(0, Math.min(size, this.node.size - offset)))
      for (let i = 0; i < data.length; i++) data[i] = (offset + i) % 251
      return new DataView(data.buffer)
    }
    if (opcode === FUSE_WRITE) {
      const offset = take64(message, body + FUSE_WRITE_IN.offset)
      const size = message.getUint32(body + FUSE_WRITE_IN.size_, true)
      this.written.set(offset, new Uint8Array(message.buffer.slice(body + FUSE_WRITE_IN.size)))
      const out = new DataView(new ArrayBuffer(FUSE_WRITE_OUT.size))
      out.setUint32(FUSE_WRITE_OUT.size_, size, true)
      return out
    }
    if (opcode === FUSE_FORGET || opcode === FUSE_BATCH_FORGET) throw new Error('has no answer')
    return new DataView(new ArrayBuffer(0))
  }

  count(opcode: number): number {
    return this.asked.filter(each => each === opcode).length
  }
}

function read(world: FuseWorld, file: FuseFile, offset: number, length: number): Uint8Array | number {
  const into = new BufferDst(new Uint8Array(length))
  const n = world.call(() => file.readAt(into, offset))
  return n < 0 ? n : into.bytes.subarray(0, n)
}

/** The descriptor by which a guest's mapping writes. */
function mapShared(world: FuseWorld, file: FuseFile, length: number): number {
  let fd = -1
  world.call(() => {
    const source = file.mapping(0, length, PROT_READ | PROT_WRITE, MAP_SHARED)
    if (typeof source === 'number') return source
    fd = source.hostFd!
    return 0
  })
  return fd
}

test('fuse: a large file is mapped without its bytes passing through the log of the call', () => {
  const size = 64 * MIB
  const world = new FuseWorld(size)
  const file = world.open()
  const status = world.call(() => {
    const source = file.mapping(0, size, PROT_READ, MAP_PRIVATE)
    return typeof source === 'number' ? source : 0
  })
  assert.equal(status, 0)
  assert.equal(world.count(FUSE_READ), size / (128 * 1024))
  assert.ok(world.largestLog <= 1, `${world.largestLog} entries`)
  const bytes = read(world, file, size - 3, 10)
  assert.deepEqual(
    bytes,
    Uint8Array.from([size - 3, size - 2, size - 1], at => at % 251),
  )
  filePut(file)
})

test('fuse: a write of many pieces keeps one entry in the log of its call', () => {
  const world = new FuseWorld(0)
  const file = world.open()
  const data = new Uint8Array(4 * MIB).fill(7)
  assert.equal(
    world.call(() => file.writeAt(new BufferSrc(data), 0)),
    data.length,
  )
  assert.equal(world.count(FUSE_WRITE), data.length / 4096)
  assert.ok(world.largestLog <= 2, `${world.largestLog} entries`)
  assert.equal(world.node.size, data.length)
  filePut(file)
})

test('fuse: what the server refuses ends a write at what it has taken before', () => {
  const world = new FuseWorld(0)
  const file = world.open()
  const serve = world.serve.bind(world)
  world.serve = () => {
    serve()
    if (world.count(FUSE_WRITE) === 2) world.error = -EIO
  }
  assert.equal(
    world.call(() => file.writeAt(new BufferSrc(new Uint8Array(20000)), 0)),
    8192,
  )
  assert.equal(
    world.call(() => file.writeAt(new BufferSrc(new Uint8Array(10)), 0)),
    -EIO,
  )
  filePut(file)
})

test('fuse: a file that is larger than what may be kept is read through it, and the kept pages have a bound', () => {
  const size = 160 * MIB
  const world = new FuseWorld(size)
  const file = world.open()
  for (let at = 0; at < size; at += 4 * MIB) {
    const bytes = read(world, file, at, 8)
    assert.ok(typeof bytes !== 'number')
    assert.equal(bytes[3], (at + 3) % 251)
    read(world, file, at + 8, 4 * MIB - 8)
  }
  assert.ok(world.node.pages.pages <= 24 * 1024, `${world.node.pages.pages} pages`)
  filePut(file)
})

test('fuse: what the server gives by itself has the same bound', () => {
  const world = new FuseWorld(0)
  const { node, connection } = world
  connection.nodes.set(2, node)
  const page = FUSE_NOTIFY_STORE_OUT.size
  const body = new DataView(new ArrayBuffer(page + 256 * 4096))
  put64(body, FUSE_NOTIFY_STORE_OUT.nodeid, 2)
  body.setUint32(FUSE_NOTIFY_STORE_OUT.size_, 256 * 4096, true)
  for (let at = 0; at < 80 * MIB; at += 256 * 4096) {
    put64(body, FUSE_NOTIFY_STORE_OUT.offset, at)
    assert.equal(
      world.call(() => takeNotice(connection, FUSE_NOTIFY_STORE, body)),
      0,
    )
  }
  assert.equal(node.size, 80 * MIB)
  assert.ok(node.cache!.pages <= MAX_CACHED + 256)
})

test('fuse: a server that asks for what is known, and does not read it, is told so', () => {
  const world = new FuseWorld(4096)
  const { connection } = world
  connection.nodes.set(2, world.node)
  const body = new DataView(new ArrayBuffer(FUSE_NOTIFY_RETRIEVE_OUT.size))
  put64(body, FUSE_NOTIFY_RETRIEVE_OUT.nodeid, 2)
  body.setUint32(FUSE_NOTIFY_RETRIEVE_OUT.size_, 4096, true)
  const retrieve = (): number => takeNotice(connection, FUSE_NOTIFY_RETRIEVE, body)
  let asked = 0
  while (asked < 1000 && retrieve() === 0) asked++
  assert.equal(asked, 64)
  assert.equal(retrieve(), -ENOMEM)
  world.serve()
  assert.equal(retrieve(), 0)
})

test('fuse: however long the server says that a file is, as many pages are noted as there are', () => {
  assert.equal(new FuseWorld(2 ** 63).learned, -EIO)
  const world = new FuseWorld(2 ** 50)
  const file = world.open()
  for (let at = 2 ** 50 - 4096 * 4096; at >= 2 ** 20; at /= 2) {
    const bytes = read(world, file, Math.floor(at / 4096) * 4096, 8)
    assert.ok(typeof bytes !== 'number' && bytes.length === 8)
  }
  const data = new Uint8Array(8192).fill(7)
  assert.equal(
    world.call(() => file.writeAt(new BufferSrc(data), 2 ** 49)),
    8192,
  )
  assert.deepEqual(read(world, file, 2 ** 49 + 4096, 2), new Uint8Array([7, 7]))
  filePut(file)
})

test('fuse: a write far behind the end of a mapped file leaves no list of its hole, and what is mapped is written back', () => {
  const world = new FuseWorld(20000)
  const file = world.open()
  const fd = mapShared(world, file, 20000)
  // The hole is too long to be read in a test.
  world.unanswered.add(FUSE_READ)
  assert.equal(
    world.call(() => file.writeAt(new BufferSrc(new Uint8Array(1)), 2 ** 50)),
    1,
  )
  world.written.clear()
  host.pwrite(fd, new Uint8Array([1]), 5000)
  assert.equal(
    world.call(() => file.flushMapping()),
    0,
  )
  assert.deepEqual([...world.written.keys()], [4096])
  filePut(file)
})

test('fuse: what a killed writer has sent is not what others read', () => {
  const world = new FuseWorld(10000)
  const file = world.open()
  const data = new Uint8Array(4096).fill(7)
  const first = () => (read(world, file, 0, 1) as Uint8Array)[0]
  const kill = () => {
    world.task.requests?.end()
    world.task.requests = undefined
  }
  assert.equal(first(), 0)
  assert.equal(file.writeAt(new BufferSrc(data), 0), PENDING)
  kill()
  assert.equal(first(), 0)
  assert.equal(world.count(FUSE_WRITE), 0)
  // The server has begun with it.
  world.unanswered.add(FUSE_WRITE)
  assert.equal(file.writeAt(new BufferSrc(data), 0), PENDING)
  world.serve()
  kill()
  assert.equal(first(), 0)
  const asked = world.count(FUSE_READ)
  world.unanswered.clear()
  world.answer()
  assert.equal(first(), 0)
  assert.equal(world.count(FUSE_READ), asked + 1)
  filePut(file)
})

test('fuse: readers that go away leave no more READs than there may be', () => {
  const world = new FuseWorld(64 * MIB)
  const file = world.open()
  world.unanswered.add(FUSE_READ)
  for (let at = 0; at < 64; at++) {
    assert.equal(file.readAt(new BufferDst(new Uint8Array(1)), at * MIB), PENDING)
    world.task.requests = undefined
    world.serve()
  }
  assert.ok(world.count(FUSE_READ) <= 12, `${world.count(FUSE_READ)} requests`)
  world.unanswered.clear()
  world.answer()
  assert.equal((read(world, file, 63 * MIB, 1) as Uint8Array)[0], (63 * MIB) % 251)
  filePut(file)
})

test('fuse: an error of READ reaches who asked, and the next one asks again', () => {
  const world = new FuseWorld(10000)
  const file = world.open()
  world.error = -EIO
  assert.equal(read(world, file, 0, 100), -EIO)
  world.error = 0
  const bytes = read(world, file, 0, 100)
  assert.ok(typeof bytes !== 'number' && bytes.length === 100)
  filePut(file)
})

test('fuse: what a shared mapping has written is sent page by page, once', () => {
  const world = new FuseWorld(20000)
  const file = world.open()
  const fd = mapShared(world, file, 20000)
  assert.equal(
    world.call(() => file.flushMapping()),
    0,
  )
  assert.equal(world.written.size, 0)
  // As the guest does by its mapping.
  host.pwrite(fd, new Uint8Array([1]), 5000)
  host.pwrite(fd, new Uint8Array([2]), 19999)
  assert.equal(
    world.call(() => file.flushMapping()),
    0,
  )
  assert.deepEqual([...world.written.keys()], [4096, 16384])
  assert.equal(world.written.get(4096)![5000 - 4096], 1)
  assert.equal(world.written.get(16384)!.length, 20000 - 16384)
  world.written.clear()
  assert.equal(
    world.call(() => file.flushMapping()),
    0,
  )
  assert.equal(world.written.size, 0)
  host.pwrite(fd, new Uint8Array([3]), 0)
  filePut(file)
  world.serve()
  assert.deepEqual([...world.written.keys()], [0])
  assert.ok(world.node.pages.isIdle)
})
