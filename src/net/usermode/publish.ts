/**
 * Published ports: sockets of the outside's that the sandbox was given at its start, and what comes there goes to the guest. The
 * guest sees IPv4 clients under their own address and port; others, and those that come over the caller's loopback, under the
 * gateway's address, where each of UDP's gets a port for itself, so that answers find him.
 */
import { AF_INET, AF_INET6, POLLIN } from '../../abi/constants.ts'
import { EAGAIN, ECONNABORTED, EMFILE } from '../../abi/errno.ts'
import { SOCKADDR_IN6 } from '../../abi/layout.ts'
import { failed } from '../../base/result.ts'
import { type Expiry, Timer } from '../../kernel/timers.ts'
import { addressFamily, parseSocketAddress } from '../inet/address.ts'
import type { Flow } from '../ip/flow.ts'
import type { Packet } from '../packet.ts'
import { USER_V4 } from './addresses.ts'
import type { UserGateway } from './gateway.ts'
import { type SocketPlace, Splice } from './splice.ts'
import { datagramFlow, type PublishedUdp, placeKey, sendDatagram } from './udp.ts'

/** Connections or datagrams of one turn. */
const BUDGET = 64
const MAX_CLIENTS = 1024
/** ns after which is looked again whether there is room for a connection. */
const RETRY_DELAY = 1e9
/** A client that was quiet for so long (ns) loses its port. */
const CLIENT_LIMIT = 180e9
const FIRST_PORT = 32768
const LAST_PORT = 60999
const UDP_HEADER = 8

/** A socket of the outside's where something comes for a port of the guest's. */
export abstract class PublishedSocket implements Expiry {
  protected readonly gateway: UserGateway
  protected readonly fd: number
  protected readonly guestPort: number
  readonly #timer = new Timer(this)

  constructor(gateway: UserGateway, fd: number, guestPort: number) {
    this.gateway = gateway
    this.fd = fd
    this.guestPort = guestPort
  }

  /** To be called when the platform's loop runs. */
  start(): void {
    this.gateway.outside.host.watch(this.fd, POLLIN, () => this.expired())
  }

  /** Something has come, or there may be more. */
  expired(): void {
    let left = BUDGET
    while (left > 0 && this.take()) left--
    // What was there before is not told again.
    if (left === 0) this.lookAgain(0)
    this.gateway.stack.runtime.backlog.drain()
  }

  protected lookAgain(delay: number): void {
    const { timers, runtime } = this.gateway.stack
    timers.add(this.#timer, runtime.now() + delay)
  }

  /** One connection or datagram: whether there may be more. */
  protected abstract take(): boolean
}

/** A listening TCP socket. */
export class PublishedTcpPort extends PublishedSocket {
  /** The sockaddr of who has connected. */
  readonly #peer = new Uint8Array(SOCKADDR_IN6.size)

  protected override take(): boolean {
    const { outside, tcp } = this.gateway
    const fd = tcp.full ? -EMFILE : outside.sockets.accept(this.fd, this.#peer)
    if (fd >= 0) new Splice(tcp).connectGuest(fd, shownPlace(this.#peer), USER_V4.guest, this.guestPort)
    // What waits stays in the outside's queue until there is room.
    else if (fd !== -EAGAIN && fd !== -ECONNABORTED) this.lookAgain(RETRY_DELAY)
    return fd >= 0 || fd === -ECONNABORTED
  }
}

interface Client {
  readonly key: string
  readonly address: Uint8Array
  /** The control message that names the address it has sent to: answers come from there. */
  readonly control: Uint8Array | undefined
  readonly flow: Flow
  used: number
}

/** A bound UDP socket. */
export class PublishedUdpPort extends PublishedSocket implements PublishedUdp {
  readonly #clients = new Map<string, Client>()
  /** By the place that the guest answers to. */
  readonly #places = new Map<string, Client>()

  protected override take(): boolean {
    const { outside, scratch, stack } = this.gateway
    const length = outside.sockets.receive(this.fd, scratch, 0, true)
    if (length === -EAGAIN) return false
    // An error of an answer's, whose client is gone.
    if (length < 0) return true
    const client = this.#clientOf(outside.sockets.message.address, outside.sockets.message.control)
    if (client !== undefined) sendDatagram(stack, client.flow, scratch.subarray(0, length))
    return true
  }

  /** The guest answers. */
  answer({ view, bytes, start, end, destination }: Packet): void {
    const client = this.#places.get(placeKey(destination, view.getUint16(start + 2)))
    if (client === undefined || view.getUint16(start) !== this.guestPort) return
    client.used = this.gateway.stack.runtime.now()
    const { sockets } = this.gateway.outside
    sockets.send(this.fd, bytes.subarray(start + UDP_HEADER, end), 0, client.address, client.control)
  }

  #clientOf(address: Uint8Array, control: Uint8Array): Client | undefined {
    const key = String.fromCharCode(...address)
    const now = this.gateway.stack.runtime.now()
    const known = this.#clients.get(key)
    if (known !== undefined) {
      known.used = now
      return known
    }
    if (this.#clients.size >= MAX_CLIENTS && !this.#dropQuiet(now)) return undefined
    const place = this.#placeFor(address)
    const client: Client = {
      key,
      address,
      control: control.length > 0 ? control.slice() : undefined,
      flow: datagramFlow(place.address, place.port, USER_V4.guest, this.guestPort),
      used: now,
    }
    const placed = placeKey(place.address, place.port)
    this.#clients.set(key, client)
    this.#places.set(placed, client)
    this.gateway.udp.published.set(placed, this)
    return client
  }

  #dropQuiet(now: number): boolean {
    for (const client of [...this.#clients.values()]) {
      if (client.used + CLIENT_LIMIT > now) continue
      const placed = placeKey(client.flow.source, client.flow.sourcePort)
      this.#clients.delete(client.key)
      this.#places.delete(placed)
      this.gateway.udp.published.delete(placed)
    }
    return this.#clients.size < MAX_CLIENTS
  }

  /** His own, unless it is that of somebody who speaks to another port of the guest's. */
  #placeFor(address: Uint8Array): SocketPlace {
    const { published } = this.gateway.udp
    const own = shownPlace(address)
    if (own !== undefined && !published.has(placeKey(own.address, own.port))) return own
    for (;;) {
      const port = FIRST_PORT + this.gateway.stack.random.below(LAST_PORT - FIRST_PORT + 1)
      if (!published.has(placeKey(USER_V4.gateway, port))) return { address: USER_V4.gateway, port }
    }
  }
}

/** The place of a client as the guest can be shown it, by his sockaddr. */
function shownPlace(sockaddr: Uint8Array): SocketPlace | undefined {
  const place = parseSocketAddress(sockaddr, addressFamily(sockaddr) === AF_INET ? AF_INET : AF_INET6)
  if (failed(place)) return undefined
  const { address } = place
  const isHere = address.isLoopback || address.inPrefix(USER_V4.guest, USER_V4.length)
  return address.isV4 && !isHere ? place : undefined
}
