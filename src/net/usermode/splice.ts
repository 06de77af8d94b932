/**
 * Splice: one TCP connection of the guest's and the socket of the outside's that carries it on.
 *
 *   connectOutside   the guest's SYN is held; the socket is asked for, then connecting
 *   answered         the SYN has gone to the gateway's TCP, which shakes hands with the guest
 *   established      bytes go to and fro, until both ends are reached or one side fails
 *
 * Of a published port it is accepted outside first, then connected to the guest (`connectGuest`). Nothing is read from one
 * side that the other doesn't take: what a slow reader leaves stays in its peer's send buffer. A reset of one side is a
 * reset for the other.
 */
import {
  IPPROTO_TCP,
  MSG_PEEK,
  MSG_TRUNC,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  POLLRDHUP,
  SHUT_WR,
  SO_LINGER,
  SOL_SOCKET,
  TCP_SYN_SENT,
} from '../../abi/constants.ts'
import { EAGAIN, ECONNREFUSED, EMFILE, ENFILE, ENOBUFS, ENOMEM, ETIMEDOUT } from '../../abi/errno.ts'
import { BufferDst, BufferSrc } from '../../base/io.ts'
import { type Expiry, Timer } from '../../kernel/timers.ts'
import type { SocketAsker } from '../../platform/socket-broker.ts'
import type { IpAddress } from '../address.ts'
import type { Packet } from '../packet.ts'
import type { EndpointListener, TcpEndpoint } from '../tcp/endpoint.ts'
import { SEND_SHUTDOWN } from '../tcp/shutdown.ts'
import type { UserGateway } from './gateway.ts'
import { refuse } from './refusal.ts'
import type { UserTcp } from './tcp.ts'

/** Transfers of one turn; other connections and guests run before the next ones. */
const BUDGET = 16
/** A guest that doesn't finish its handshake so long (ns) has forgotten it. */
const HANDSHAKE_TIMEOUT = 60e9
/** struct linger: on, no time: the end is a reset. */
const RESET_AT_CLOSE = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0)
/** Failures that are ours, or pass: the guest's next SYN tries again, and its own time limit holds. */
const SILENT = new Set([EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM, ETIMEDOUT].map(errno => -errno))

export interface SocketPlace {
  readonly address: IpAddress
  readonly port: number
}

export class Splice implements SocketAsker, EndpointListener, Expiry {
  readonly #tcp: UserTcp
  #fd = -1
  #endpoint: TcpEndpoint | undefined = undefined
  /** The guest's SYN, until the outside has answered. */
  #syn: Packet | undefined = undefined
  #key = ''
  readonly #timer = new Timer(this)
  #readable = true
  #writable = true
  /** The ends that were reached and passed on. */
  #guestEnded = false
  #outsideEnded = false
  #over = false

  constructor(tcp: UserTcp) {
    this.#tcp = tcp
    tcp.connections++
  }

  get #gateway(): UserGateway {
    return this.#tcp.gateway
  }

  /** Takes the guest's SYN. `target`: a negative errno where there is no way. */
  connectOutside(syn: Packet, key: string, target: IpAddress | number, port: number): void {
    this.#syn = syn
    this.#key = key
    if (typeof target === 'number') {
      this.#refused(target)
      return
    }
    const address = new Uint8Array(16)
    target.writeV6(new DataView(address.buffer), 0)
    const status = this.#gateway.outside.broker.connect(IPPROTO_TCP, address, port, this)
    if (status < 0) this.#refused(status)
  }

  opened(fd: number): void {
    if (fd < 0) {
      this.#refused(fd)
      return
    }
    this.#fd = fd
    this.#watch()
  }

  /** Of a published port: `fd` was accepted outside. `from`: whom the guest is to see; the gateway, where nobody is named. */
  connectGuest(fd: number, from: SocketPlace | undefined, address: IpAddress, port: number): void {
    this.#fd = fd
    this.#watch()
    const endpoint = this.#tcp.endpoint()
    // The same client may have a connection to another port of the guest's.
    endpoint.settings.reuseAddress = true
    if (from !== undefined) endpoint.bind(from.address, from.port)
    this.established(endpoint)
    if (endpoint.connect(address, port) < 0) this.#failed()
  }

  /** The guest has finished its handshake, or is about to begin it. */
  established(endpoint: TcpEndpoint): void {
    this.#gateway.stack.timers.cancel(this.#timer)
    this.#endpoint = endpoint
    endpoint.owner = this
    this.#tcp.wake(this)
  }

  // EndpointListener.
  changed(): void {
    this.#tcp.wake(this)
  }
  urgent(): void {}

  /** The handshake takes too long. */
  expired(): void {
    this.#tcp.forget(this.#key)
    this.#end(true)
  }

  #watch(): void {
    const status = this.#gateway.outside.host.watch(this.#fd, POLLIN | POLLOUT | POLLRDHUP, events =>
      this.#ready(events),
    )
    if (status < 0) this.#refused(status)
  }

  #ready(events: number): void {
    if (this.#over) return
    if (this.#syn !== undefined) {
      this.#connected(events)
      return
    }
    if ((events & ~POLLOUT) !== 0) this.#readable = true
    if ((events & (POLLOUT | POLLERR | POLLHUP)) !== 0) this.#writable = true
    if (this.#endpoint === undefined) return
    this.#tcp.sleep(this)
    this.run()
    this.#gateway.stack.runtime.backlog.drain()
  }

  /** The socket's connect(2) has come to its end. */
  #connected(events: number): void {
    if ((events & (POLLERR | POLLHUP)) !== 0) {
      const { scratch, outside } = this.#gateway
      const error = outside.sockets.receive(this.#fd, scratch.subarray(0, 1), MSG_PEEK, false)
      this.#refused(error < 0 ? error : -ECONNREFUSED)
      return
    }
    if ((events & POLLOUT) === 0) return
    const { timers, runtime } = this.#gateway.stack
    const syn = this.#syn!
    this.#syn = undefined
    timers.add(this.#timer, runtime.now() + HANDSHAKE_TIMEOUT)
    this.#tcp.protocol.receive(syn)
    runtime.backlog.drain()
  }

  /** The outside won't have it. */
  #refused(error: number): void {
    const syn = this.#syn
    this.#syn = undefined
    this.#tcp.forget(this.#key)
    if (syn !== undefined) {
      if (error === -ECONNREFUSED) this.#tcp.protocol.refuse(syn)
      else {
        if (!SILENT.has(error)) refuse(this.#gateway.stack, syn, error)
        syn.release()
      }
    }
    this.#end(false)
    this.#gateway.stack.runtime.backlog.drain()
  }

  /** Moves what can be moved. */
  run(): void {
    const endpoint = this.#endpoint
    if (endpoint === undefined || this.#over || endpoint.state === TCP_SYN_SENT) return
    if (endpoint.error !== 0) {
      this.#failed()
      return
    }
    let left = BUDGET
    while (!this.#guestEnded && this.#writable && left > 0 && this.#toOutside(endpoint)) left--
    while (!this.#over && !this.#outsideEnded && this.#readable && left > 0 && this.#toGuest(endpoint)) left--
    if (this.#over) return
    if (this.#guestEnded && this.#outsideEnded) {
      endpoint.close()
      this.#endpoint = undefined
      this.#end(false)
    } else if (left === 0) this.#tcp.wake(this)
  }

  /** Whether there may be more. */
  #toOutside(endpoint: TcpEndpoint): boolean {
    const { scratch, outside } = this.#gateway
    // It stays in the receive queue until the outside has taken it.
    const count = endpoint.receive(new BufferDst(scratch), MSG_PEEK)
    if (count === -EAGAIN) return false
    if (count < 0) {
      this.#failed()
      return false
    }
    if (count === 0) {
      outside.sockets.shutdown(this.#fd, SHUT_WR)
      this.#guestEnded = true
      return false
    }
    const sent = outside.sockets.send(this.#fd, scratch.subarray(0, count), 0, undefined, undefined)
    if (sent < 0) {
      if (sent === -EAGAIN) this.#writable = false
      else this.#failed()
      return false
    }
    endpoint.receive(new BufferDst(scratch.subarray(0, sent)), MSG_TRUNC)
    return true
  }

  #toGuest(endpoint: TcpEndpoint): boolean {
    const { scratch, outside } = this.#gateway
    const room = endpoint.sendRoom()
    if (room <= 0) return false
    const window = scratch.subarray(0, Math.min(room, scratch.length))
    const count = outside.sockets.receive(this.#fd, window, 0, false)
    if (count < 0) {
      if (count === -EAGAIN) this.#readable = false
      else this.#failed()
      return false
    }
    if (count === 0) {
      endpoint.shutdown(SEND_SHUTDOWN)
      this.#outsideEnded = true
      return false
    }
    if (endpoint.send(new BufferSrc(window.subarray(0, count)), 0) < 0) {
      this.#failed()
      return false
    }
    return true
  }

  /** One side is gone: the other one hears of it. */
  #failed(): void {
    this.#endpoint?.close(true)
    this.#endpoint = undefined
    this.#end(true)
  }

  /** `reset`: the outside is to see that something was lost. */
  #end(reset: boolean): void {
    if (this.#over) return
    this.#over = true
    this.#tcp.connections--
    this.#tcp.sleep(this)
    this.#gateway.stack.timers.cancel(this.#timer)
    if (this.#fd < 0) return
    const { host, sockets } = this.#gateway.outside
    if (reset) sockets.setOption(this.#fd, SOL_SOCKET, SO_LINGER, RESET_AT_CLOSE)
    host.unwatch(this.#fd)
    host.close(this.#fd)
    this.#fd = -1
  }
}
