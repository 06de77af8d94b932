/** For tests: an outside whose sockets are the test's, and a guest's stack that is joined to it. */
import { IPPROTO_TCP, MSG_PEEK, POLLERR, POLLHUP, POLLIN, POLLOUT, SHUT_WR } from '../../abi/constants.ts'
import { EAGAIN } from '../../abi/errno.ts'
import type { HostMessage } from '../../platform/host-sockets.ts'
import type { SocketAsker } from '../../platform/socket-broker.ts'
import { IpAddress } from '../address.ts'
import { StackNetwork } from '../inet/stack-network.ts'
import { TestNet } from '../ip/testing.ts'
import type { IpStack } from '../ip-stack.ts'
import type { DeviceGuard } from '../link/device.ts'
import { TcpProtocol } from '../tcp/protocol.ts'
import { UdpProtocol } from '../udp/protocol.ts'
import type { UserGateway, UserNetworkOptions } from './gateway.ts'
import { joinUserNetwork } from './link.ts'
import type { Outside } from './outside.ts'

/** A socket out there; what the sandbox does with it is seen here, and the test plays its peer. */
export class FakeSocket {
  readonly fd: number
  readonly protocol: number
  readonly address: string
  readonly port: number
  asker: SocketAsker | undefined
  /** Written by the sandbox. */
  readonly sent: Uint8Array[] = []
  /** Bytes that it still takes. */
  room = Number.POSITIVE_INFINITY
  /** To be read; a number is an error, or 0 the end. */
  readonly incoming: (Uint8Array | number)[] = []
  ready: ((events: number) => void) | undefined = undefined
  ended = false
  reset = false
  closed = false
  /** Of a listener. */
  readonly accepted: FakeSocket[] = []

  constructor(fd: number, protocol: number, address: string, port: number, asker?: SocketAsker) {
    this.fd = fd
    this.protocol = protocol
    this.address = address
    this.port = port
    this.asker = asker
  }

  get text(): string {
    return Buffer.concat(this.sent).toString()
  }
  get bytes(): number {
    return this.sent.reduce((sum, piece) => sum + piece.length, 0)
  }

  /** The broker has made it. */
  open(): void {
    this.asker?.opened(this.fd)
  }
  /** Its connect(2) has succeeded, or not. */
  connected(error = 0): void {
    if (error !== 0) this.incoming.push(-error)
    this.ready?.(error === 0 ? POLLOUT : POLLOUT | POLLERR | POLLHUP)
  }
  /** The peer sends, ends (0), or fails (a negative errno). */
  receive(what: string | Uint8Array | number): void {
    this.incoming.push(typeof what === 'string' ? Buffer.from(what) : what)
    this.ready?.(POLLIN)
  }
  /** The peer takes more. */
  drain(): void {
    this.room = Number.POSITIVE_INFINITY
    this.ready?.(POLLOUT)
  }
}

export class FakeOutside implements Outside {
  readonly made: FakeSocket[] = []
  /** What connect answers. */
  refuses = 0
  readonly message: HostMessage = { address: new Uint8Array(0), control: new Uint8Array(0), flags: 0 }
  readonly #sockets = new Map<number, FakeSocket>()
  #nextFd = 100

  get last(): FakeSocket {
    return this.made.at(-1)!
  }

  socket(protocol: number, address = '', port = 0, asker?: SocketAsker): FakeSocket {
    const socket = new FakeSocket(this.#nextFd++, protocol, address, port, asker)
    this.#sockets.set(socket.fd, socket)
    this.made.push(socket)
    return socket
  }

  readonly broker = {
    connect: (protocol: number, address: Uint8Array, port: number, asker: SocketAsker): number => {
      if (this.refuses !== 0) return this.refuses
      const view = new DataView(address.buffer, address.byteOffset)
      this.socket(protocol, IpAddress.read(view, 0, false).toString(), port, asker)
      return 0
    },
  }
  readonly host = {
    watch: (fd: number, _events: number, ready: (events: number) => void): number => {
      this.#sockets.get(fd)!.ready = ready
      return 0
    },
    unwatch: (fd: number): void => {
      this.#sockets.get(fd)!.ready = undefined
    },
    close: (fd: number): number => {
      this.#sockets.get(fd)!.closed = true
      return 0
    },
  }
  readonly sockets = {
    message: this.message,
    send: (fd: number, bytes: Uint8Array): number => {
      const socket = this.#sockets.get(fd)!
      const error = socket.incoming[0]
      if (typeof error === 'number' && error < 0) return socket.incoming.shift() as number
      const count = Math.min(bytes.length, socket.room)
      if (count === 0 && bytes.length > 0) return -EAGAIN
      socket.sent.push(bytes.slice(0, count))
      socket.room -= count
      return count
    },
    receive: (fd: number, into: Uint8Array, flags: number): number => {
      const socket = this.#sockets.get(fd)!
      const next = socket.incoming[0]
      if (next === undefined) return -EAGAIN
      if (typeof next === 'number') {
        // The end of a stream stays.
        const once = next < 0 || socket.protocol !== IPPROTO_TCP
        if (once && (flags & MSG_PEEK) === 0) socket.incoming.shift()
        return next
      }
      const count = Math.min(next.length, into.length)
      into.set(next.subarray(0, count))
      socket.incoming.shift()
      if (count < next.length && socket.protocol === IPPROTO_TCP)
        socket.incoming.unshift(next.subarray(count))
      return count
    },
    shutdown: (fd: number, how: number): number => {
      this.#sockets.get(fd)!.ended = how === SHUT_WR
      return 0
    },
    accept: (fd: number, peer?: Uint8Array): number => {
      peer?.fill(0).set(this.message.address)
      return this.#sockets.get(fd)!.accepted.shift()?.fd ?? -EAGAIN
    },
    setOption: (fd: number): number => {
      this.#sockets.get(fd)!.reset = true
      return 0
    },
  }
}

export interface TestUserNetwork {
  readonly net: TestNet
  readonly guest: IpStack
  readonly tcp: TcpProtocol
  readonly udp: UdpProtocol
  readonly outside: FakeOutside
  readonly gateway: UserGateway
}

export function userNetwork(options: Partial<UserNetworkOptions> = {}, guard?: DeviceGuard): TestUserNetwork {
  const net = new TestNet(3)
  const guest = net.stack()
  const outside = new FakeOutside()
  const all = { hostLoopback: false, resolvers: [], ...options }
  const gateway = joinUserNetwork(guest, outside, all, guard)
  const tcp = new TcpProtocol(new StackNetwork(guest))
  guest.protocols[IPPROTO_TCP] = tcp
  const udp = new UdpProtocol(guest)
  net.run(3)
  return { net, guest, tcp, udp, outside, gateway }
}
