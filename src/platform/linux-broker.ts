/**
 * The sentry's side of native/launcher/broker.c: one message for each request, one for each answer.
 *
 *   before the seal   `rule` and `listen`, which wait for their answers
 *   `seal`            the broker gives up what it took for those
 *   after             `connect`, whose answers come while the platform waits
 */
import { IPPROTO_ICMP, POLLIN } from '../abi/constants.ts'
import { EAGAIN, EMFILE, ENETDOWN } from '../abi/errno.ts'
import type { Addon } from './addon.ts'
import type { HostSockets } from './host-sockets.ts'
import type { LinuxHost } from './linux-host.ts'
import { pollIn } from './poll-in.ts'
import type { SocketAsker, SocketBroker } from './socket-broker.ts'

/** Kinds, struct request and struct answer of broker.c. */
const CONNECT = 1
const LISTEN = 2
const RULE = 3
const SEAL = 4
const REQUEST_SIZE = 28
const ANSWER_SIZE = 8

/** Requests without an answer yet: fewer than the socket pair holds. And those that wait for their turn. */
const MAX_PENDING = 128
const MAX_WAITING = 4096
const NO_ADDRESS = new Uint8Array(16)

/** What may be connected to: the first rule that matches decides, and what none speaks of is allowed. */
export interface BrokerRule {
  readonly allows: boolean
  /** IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP; 0: all. */
  readonly protocol: number
  readonly address: Uint8Array
  /** Of 128 bits, also where the address is a mapped one. */
  readonly prefixLength: number
  readonly firstPort: number
  readonly lastPort: number
}

export class LinuxBroker implements SocketBroker {
  readonly #addon: Addon
  readonly #host: LinuxHost
  readonly #sockets: HostSockets
  readonly #fd: number
  readonly #request = new Uint8Array(REQUEST_SIZE)
  readonly #view = new DataView(this.#request.buffer)
  readonly #answer = new Uint8Array(ANSWER_SIZE)
  readonly #answerView = new DataView(this.#answer.buffer)
  readonly #pending = new Map<number, SocketAsker>()
  readonly #waiting: { readonly request: Uint8Array; readonly asker: SocketAsker }[] = []
  #nextId = 1
  #gone = false

  constructor(addon: Addon, host: LinuxHost, sockets: HostSockets, fd: number) {
    this.#addon = addon
    this.#host = host
    this.#sockets = sockets
    this.#fd = fd
  }

  /** 0, or a negative errno. */
  rule({ allows, protocol, address, prefixLength, firstPort, lastPort }: BrokerRule): number {
    this.#write(RULE, protocol, address, lastPort)
    this.#view.setUint16(24, firstPort, true)
    this.#view.setUint8(26, prefixLength)
    this.#view.setUint8(27, allows ? 1 : 0)
    return this.#askNow()
  }

  /** A socket that is bound, and for TCP listens: the descriptor, or a negative errno. */
  listen(protocol: number, address: Uint8Array, port: number): number {
    this.#write(LISTEN, protocol, address, port)
    const status = this.#askNow()
    return status < 0 ? status : this.#host.receivedFd
  }

  seal(): number {
    this.#write(SEAL, 0, NO_ADDRESS, 0)
    return this.#askNow()
  }

  /** To be called when the platform's loop can run callbacks. */
  start(): void {
    this.#host.watch(this.#fd, POLLIN, () => this.#answers())
  }

  connect(protocol: number, address: Uint8Array, port: number, asker: SocketAsker): number {
    if (this.#gone) return -ENETDOWN
    if (this.#waiting.length >= MAX_WAITING) return -EAGAIN
    const id = this.#write(CONNECT, protocol, address, protocol === IPPROTO_ICMP ? 0 : port)
    if (this.#pending.size >= MAX_PENDING) {
      this.#waiting.push({ request: this.#request.slice(), asker })
      return 0
    }
    return this.#ask(id, this.#request, asker)
  }

  #ask(id: number, request: Uint8Array, asker: SocketAsker): number {
    const sent = this.#sockets.send(this.#fd, request, 0, undefined, undefined)
    if (sent < 0) return sent === -EAGAIN ? sent : -ENETDOWN
    this.#pending.set(id, asker)
    return 0
  }

  /** Somebody's turn, as there is room. */
  #askNext(): void {
    const next = this.#waiting.shift()
    if (next === undefined) return
    const id = new DataView(next.request.buffer).getUint32(0, true)
    const status = this.#ask(id, next.request, next.asker)
    if (status < 0) next.asker.opened(status)
  }

  #write(kind: number, protocol: number, address: Uint8Array, port: number): number {
    const id = this.#nextId
    this.#nextId = (id + 1) >>> 0
    this.#request.fill(0)
    this.#view.setUint32(0, id, true)
    this.#view.setUint8(4, kind)
    this.#view.setUint8(5, protocol)
    this.#view.setUint16(6, port, true)
    this.#request.set(address, 8)
    return id
  }

  /** Before the seal: waits for the answer. */
  #askNow(): number {
    const sent = this.#sockets.send(this.#fd, this.#request, 0, undefined, undefined)
    if (sent < 0) return sent
    let length = -EAGAIN
    while (length === -EAGAIN) {
      pollIn(this.#addon, [this.#fd], -1)
      length = this.#host.receive(this.#fd, this.#answer)
    }
    return length === ANSWER_SIZE ? this.#answerView.getInt32(4, true) : -ENETDOWN
  }

  #answers(): void {
    for (;;) {
      const length = this.#host.receive(this.#fd, this.#answer)
      if (length === -EAGAIN) return
      if (length !== ANSWER_SIZE) {
        this.#ended()
        return
      }
      const id = this.#answerView.getUint32(0, true)
      const status = this.#answerView.getInt32(4, true)
      const asker = this.#pending.get(id)
      this.#pending.delete(id)
      // Without room for one more descriptor the host has dropped it.
      const fd = this.#host.receivedFd < 0 ? -EMFILE : this.#host.receivedFd
      if (asker !== undefined) asker.opened(status < 0 ? status : fd)
      else if (fd >= 0) this.#host.close(fd)
      this.#askNext()
    }
  }

  /** The broker was killed: what is connected goes on, and nothing new is. */
  #ended(): void {
    this.#gone = true
    this.#host.unwatch(this.#fd)
    for (const asker of this.#pending.values()) asker.opened(-ENETDOWN)
    for (const { asker } of this.#waiting) asker.opened(-ENETDOWN)
    this.#pending.clear()
    this.#waiting.length = 0
  }
}
