/**
 * ResolverRelay: the name server of a container engine, which listens on a loopback address of the container's network
 * namespace on the host (Docker's at 127.0.0.11), at the same address of the sandbox's own loopback device.
 *
 *     guest ── 127.0.0.11:53 ── PortRedirect ── this ── a UDP socket of the host's, connected to 127.0.0.11:53 there
 *
 * The socket was opened by the host side. Each query goes to it under an id of our own, and its answer back to who has
 * asked; an asker over TCP has its query sent by UDP as well, with room for a long answer. Ports are as with Docker's own
 * rules: 53 is not bound, so a guest may have a name server of its own.
 *
 * A daemon that starts again listens on another port, and its rules lead there, but not for the port that we send from, as
 * long as the host remembers where that one was led. So there are several sockets, one in use: when it is refused, the next.
 */
import { IPPROTO_TCP, IPPROTO_UDP, POLLIN } from '../../abi/constants.ts'
import { EAGAIN } from '../../abi/errno.ts'
import { BufferSrc } from '../../base/io.ts'
import type { Status } from '../../base/result.ts'
import { type Expiry, Timer } from '../../kernel/timers.ts'
import type { Host } from '../../platform/host.ts'
import type { IpAddress } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import { TcpEndpoint } from '../tcp/endpoint.ts'
import type { TcpProtocol } from '../tcp/protocol.ts'
import { type EndpointListener, UDP_HEADER, UdpEndpoint } from '../udp/endpoint.ts'
import type { UdpProtocol } from '../udp/protocol.ts'
import { DNS_HEADER, failureOf, withRoomFor } from './message.ts'
import { PortRedirect } from './port-redirect.ts'
import { ResolverStreams } from './streams.ts'

const DNS_PORT = 53
/** Queries that wait for an answer; the oldest is given up for the next. */
const MAX_PENDING = 512
const MAX_MESSAGE = 65535
/** Most that is asked for by UDP for somebody who asks by TCP. */
const LONG_ANSWER = 32768

/** Who has asked. */
export interface Asker {
  answer(message: Uint8Array): void
}

interface Query {
  readonly id: number
  readonly asker: Asker
  readonly message: Uint8Array
}

/** A policy that holds what is asked for, and hears what is answered (policy/guard.ts). */
export interface RelayGuard {
  mayAsk(message: Uint8Array, resolver: IpAddress): boolean
  learn(answer: Uint8Array): void
}

/** The host's calls for the socket. */
export type ResolverHost = Pick<Host, 'watch' | 'pread' | 'pwrite'>

export interface ResolverNetwork {
  readonly ip: IpStack
  readonly udp: UdpProtocol
  readonly tcp: TcpProtocol
}

export class ResolverRelay implements EndpointListener, Expiry {
  readonly #stack: IpStack
  readonly #host: ResolverHost
  readonly #fds: readonly number[]
  readonly #guard: RelayGuard | undefined
  #address: IpAddress | undefined = undefined
  /** The place of the one that is in use. */
  #current = 0
  readonly #datagrams: UdpEndpoint
  readonly #streams: ResolverStreams
  readonly #pending = new Map<number, Query>()
  readonly #room = new Uint8Array(MAX_MESSAGE)
  /** Due when datagrams have come: they are looked at when the stack is not at work. */
  readonly #work = new Timer(this)

  /** `fds`: the host's sockets, the relay's from here on. */
  constructor(
    { ip, udp, tcp }: ResolverNetwork,
    host: ResolverHost,
    fds: readonly number[],
    guard?: RelayGuard,
  ) {
    this.#stack = ip
    this.#host = host
    this.#fds = fds
    this.#guard = guard
    this.#datagrams = new UdpEndpoint(udp, false)
    this.#datagrams.listener = this
    this.#streams = new ResolverStreams(ip, new TcpEndpoint(tcp), (message, asker) =>
      this.#ask(withRoomFor(message, LONG_ANSWER), asker),
    )
  }

  /** An errno where the address or the descriptor can't be had. */
  start(address: IpAddress): Status {
    this.#address = address
    let status = this.#datagrams.bind(address, 0)
    if (status < 0) return status
    status = this.#streams.listen(address)
    if (status < 0) return status
    for (const fd of this.#fds) {
      status = this.#host.watch(fd, POLLIN, () => this.#receive(fd))
      if (status < 0) return status
    }
    const { localPort } = this.#datagrams
    new PortRedirect(IPPROTO_UDP, address, DNS_PORT, localPort).install(this.#stack)
    new PortRedirect(IPPROTO_TCP, address, DNS_PORT, this.#streams.port).install(this.#stack)
    return 0
  }

  changed(): void {
    if (!this.#work.armed) this.#stack.timers.add(this.#work, this.#stack.runtime.now())
  }
  expired(): void {
    for (;;) {
      const packet = this.#datagrams.receive(false)
      if (packet === -EAGAIN) return
      // An error of an answer that nobody has waited for.
      if (typeof packet === 'number') continue
      const { source, view, transport, bytes, end } = packet
      const port = view.getUint16(transport)
      const message = bytes.slice(transport + UDP_HEADER, end)
      packet.release()
      this.#ask(message, {
        answer: answer => void this.#datagrams.send(new BufferSrc(answer), source, port),
      })
    }
  }

  #ask(message: Uint8Array, asker: Asker): void {
    if (message.length < DNS_HEADER) return
    if (this.#guard?.mayAsk(message, this.#address!) === false) {
      asker.answer(failureOf(message))
      return
    }
    const view = new DataView(message.buffer)
    const query = { id: view.getUint16(0), asker, message }
    const [oldest] = this.#pending.keys()
    if (this.#pending.size >= MAX_PENDING) this.#pending.delete(oldest)
    let id: number
    do id = this.#stack.runtime.random.below(0x10000)
    while (this.#pending.has(id))
    this.#pending.set(id, query)
    view.setUint16(0, id)
    // What can't be sent is lost, as datagrams are; nobody listening is heard of as soon as something is read.
    if (this.#host.pwrite(this.#fds[this.#current], message, -1) < 0) this.#fail(id)
  }

  #receive(fd: number): void {
    for (;;) {
      const length = this.#host.pread(fd, this.#room, -1)
      if (length === -EAGAIN) return
      if (length < 0) {
        // Nobody listens there: which query it was is not said.
        if (fd === this.#fds[this.#current]) this.#current = (this.#current + 1) % this.#fds.length
        for (const id of this.#pending.keys()) this.#fail(id)
        continue
      }
      if (length < DNS_HEADER) continue
      const answer = this.#room.slice(0, length)
      const view = new DataView(answer.buffer)
      const id = view.getUint16(0)
      const query = this.#pending.get(id)
      if (query === undefined) continue
      this.#pending.delete(id)
      view.setUint16(0, query.id)
      this.#guard?.learn(answer)
      query.asker.answer(answer)
    }
  }

  #fail(id: number): void {
    const { id: own, asker, message } = this.#pending.get(id)!
    this.#pending.delete(id)
    const answer = failureOf(message)
    new DataView(answer.buffer).setUint16(0, own)
    asker.answer(answer)
  }
}
