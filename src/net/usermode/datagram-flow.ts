/**
 * DatagramFlow: what the guest sends from one place to one other without connections, and the socket of the outside's that
 * carries it: UDP flows (udp.ts) and echoes (ping.ts).
 *
 * Made with the guest's first packet, which waits with a few more until there is a socket; ends when nothing has passed for
 * a while, when the socket can't be had, or when others need its place. DatagramFlows holds all of one kind.
 */
import { POLLERR, POLLIN } from '../../abi/constants.ts'
import { EAGAIN } from '../../abi/errno.ts'
import { type Expiry, Timer } from '../../kernel/timers.ts'
import type { SocketAsker } from '../../platform/socket-broker.ts'
import type { IpAddress } from '../address.ts'
import { type Packet, PacketQueue } from '../packet.ts'
import type { UserGateway } from './gateway.ts'
import { refuse } from './refusal.ts'

/** Packets that wait for the socket. */
const MAX_WAITING = 16
/** Messages that are read in one turn. */
const BUDGET = 64

export abstract class DatagramFlow implements SocketAsker, Expiry {
  readonly gateway: UserGateway
  readonly key: string
  /** The guest's place, and where it sends to. */
  readonly guest: IpAddress
  readonly remote: IpAddress
  #fd = -1
  #ended = false
  readonly #table: DatagramFlows
  readonly #waiting = new PacketQueue()
  readonly #timer = new Timer(this)
  /** The last packet that went out. */
  #sent: Packet | undefined = undefined
  /** Monotonic ns. */
  used = 0
  answered = false

  constructor(table: DatagramFlows, key: string, packet: Packet) {
    this.gateway = table.gateway
    this.#table = table
    this.key = key
    this.guest = packet.source
    this.remote = packet.destination
  }

  /** ns without a packet after which it ends. */
  protected abstract get idleLimit(): number
  /** What of a packet, its transport header at packet.start, the socket is given. */
  protected abstract contents(packet: Packet): Uint8Array
  /** A message has come for the guest; `length` bytes in the gateway's scratch buffer. */
  protected abstract deliver(length: number): void
  /** It ends; `answered` tells whether anything ever came. */
  protected ending(): void {}

  start(protocol: number, port: number): void {
    this.#touch()
    const target = this.gateway.target(this.remote, protocol, port)
    if (typeof target === 'number') {
      this.#failed(target)
      return
    }
    const address = new Uint8Array(16)
    target.writeV6(new DataView(address.buffer), 0)
    const status = this.gateway.outside.broker.connect(protocol, address, port, this)
    if (status < 0) this.#failed(status)
  }

  /** From the guest; takes the packet. */
  send(packet: Packet): void {
    if (this.#ended || (this.#fd < 0 && this.#waiting.length >= MAX_WAITING)) {
      packet.release()
      return
    }
    this.used = this.gateway.stack.runtime.now()
    if (this.#fd < 0) this.#waiting.push(packet)
    else this.#transmit(packet)
  }

  opened(fd: number): void {
    if (this.#ended) {
      if (fd >= 0) this.gateway.outside.host.close(fd)
      return
    }
    if (fd < 0) {
      this.#failed(fd)
      return
    }
    this.#fd = fd
    const status = this.gateway.outside.host.watch(fd, POLLIN | POLLERR, () => this.#receive())
    if (status < 0) {
      this.#failed(status)
      return
    }
    for (let packet = this.#waiting.shift(); packet !== undefined; packet = this.#waiting.shift()) {
      this.#transmit(packet)
    }
    this.gateway.stack.runtime.backlog.drain()
  }

  #transmit(packet: Packet): void {
    const { sockets } = this.gateway.outside
    const bytes = this.contents(packet)
    let status = sockets.send(this.#fd, bytes, 0, undefined, undefined)
    this.#sent?.release()
    this.#sent = packet
    if (status < 0 && status !== -EAGAIN) {
      // An error of an earlier one's, which is told once.
      this.#tell(status)
      status = sockets.send(this.#fd, bytes, 0, undefined, undefined)
    }
  }

  #receive(): void {
    const { outside, scratch, stack } = this.gateway
    let left = BUDGET
    for (; left > 0 && !this.#ended; left--) {
      const length = outside.sockets.receive(this.#fd, scratch, 0, false)
      if (length === -EAGAIN) break
      if (length < 0) {
        this.#tell(length)
        continue
      }
      this.answered = true
      this.used = stack.runtime.now()
      this.deliver(length)
    }
    // Read on when the guest has seen these.
    if (left === 0 && !this.#ended) stack.timers.add(this.#timer, stack.runtime.now())
    stack.runtime.backlog.drain()
  }

  #tell(error: number): void {
    if (this.#sent !== undefined) refuse(this.gateway.stack, this.#sent, error)
  }

  #failed(error: number): void {
    for (let packet = this.#waiting.shift(); packet !== undefined; packet = this.#waiting.shift()) {
      if (error !== -EAGAIN) refuse(this.gateway.stack, packet, error)
      packet.release()
    }
    this.end()
    this.gateway.stack.runtime.backlog.drain()
  }

  #touch(): void {
    const { runtime, timers } = this.gateway.stack
    this.used = runtime.now()
    timers.add(this.#timer, this.used + this.idleLimit)
  }

  expired(): void {
    const { runtime, timers } = this.gateway.stack
    if (this.#fd >= 0) this.#receive()
    if (this.#ended) return
    const limit = this.used + this.idleLimit
    if (limit <= runtime.now()) this.end()
    else if (!this.#timer.armed) timers.add(this.#timer, limit)
  }

  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.ending()
    this.#table.remove(this)
    this.gateway.stack.timers.cancel(this.#timer)
    this.#waiting.clear()
    this.#sent?.release()
    this.#sent = undefined
    if (this.#fd < 0) return
    const { host } = this.gateway.outside
    host.unwatch(this.#fd)
    host.close(this.#fd)
    this.#fd = -1
  }
}

/** Flows of one kind, at most `limit`: when there are more, the one that was quiet for longest ends. */
export class DatagramFlows {
  readonly gateway: UserGateway
  readonly #limit: number
  readonly #flows = new Map<string, DatagramFlow>()

  constructor(gateway: UserGateway, limit: number) {
    this.gateway = gateway
    this.#limit = limit
  }

  find(key: string): DatagramFlow | undefined {
    return this.#flows.get(key)
  }

  add(flow: DatagramFlow): void {
    if (this.#flows.size >= this.#limit) this.#quietest()?.end()
    this.#flows.set(flow.key, flow)
  }

  remove(flow: DatagramFlow): void {
    if (this.#flows.get(flow.key) === flow) this.#flows.delete(flow.key)
  }

  #quietest(): DatagramFlow | undefined {
    let quietest: DatagramFlow | undefined
    for (const flow of this.#flows.values()) {
      if (quietest === undefined || flow.used < quietest.used) quietest = flow
    }
    return quietest
  }
}
