/**
 * HostLink: an Ethernet device whose cable is a descriptor of the host's: a packet socket on the container's veth, or a
 * TAP device. The descriptor was opened by the host side before the sentry was sealed; it is the link's from then on.
 *
 *     in:   readable → a batch of frames into spare packets → IpStack.receive for each → backlog.drain() → the next batch,
 *           which somebody else reads meanwhile when much comes in
 *     out:  transmit → one write(2); a busy link queues, and is watched until it can be written again
 *
 * Frames carry a virtio-net header (offload-header.ts), so that checksums are neither made nor looked at for what stays on
 * this machine, and TCP's packets of up to 64 KiB pass whole in both directions.
 *
 * What comes in is read into packets that hold the largest frame. Large frames go up in them; small ones are copied out, or
 * a short datagram in a queue would hold 64 KiB.
 */
import { POLLERR, POLLHUP, POLLIN, POLLOUT } from '../../abi/constants.ts'
import { EAGAIN, EBADFD, EIO, EMSGSIZE, ENETDOWN, ENOBUFS } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import { type Expiry, Timer } from '../../kernel/timers.ts'
import type { Host } from '../../platform/host.ts'
import type { HostLinks } from '../../platform/host-links.ts'
import type { IpStack } from '../ip-stack.ts'
import { GSO_NONE, HEADROOM, type Packet, PacketQueue } from '../packet.ts'
import { NetDevice } from './device.ts'
import { OFFLOAD_HEADER, readOffloads, withHeaderRoom, writeOffloads } from './offload-header.ts'
import { type LinkRates, Policer, Shaper } from './rate.ts'

/** Frames that are read before the stack sees them. */
const BATCH = 8
/** Frames of one turn of the kernel's loop; guests run before the next ones. */
const BUDGET = 256
/** Fails in a row after which a link is left alone until it is ready again. */
const MAX_ERRORS = 64
/** The longest frame: 64 KiB of IP packet, Ethernet header with a tag. */
const MAX_FRAME = 65536 + 18
/** Bytes of a batch from which on it pays to have the next one read by another thread, which must be woken. */
const AHEAD_MIN = 128 << 10
/** Frames up to this length are copied: what fits into the pool's last class but the largest. */
const COPY_BREAK = 16384 - HEADROOM
/** Bytes of buffers of frames that wait for a busy link; there are at most txQueueLength of them, too. */
const QUEUE_BYTES = 4 << 20
/** Where txQueueLength is 0, as of the veths that Docker makes: those need no queue, but a packet socket can be busy. */
const DEFAULT_QUEUE = 1000

/** The host's calls for its descriptor. */
export type LinkHost = Pick<Host, 'watch' | 'unwatch' | 'close'>

/** Where frames are read into. */
class Batch {
  readonly packets: Packet[] = []
  readonly buffers: Uint8Array[] = []
  readonly lengths = new Int32Array(BATCH)

  /** Puts an empty packet in place `i`. */
  renew(stack: IpStack, i: number): void {
    const packet = stack.packets.allocate(MAX_FRAME)
    this.packets[i] = packet
    this.buffers[i] = packet.bytes
  }
  fill(stack: IpStack): void {
    for (let i = this.packets.length; i < BATCH; i++) this.renew(stack, i)
  }
  release(): void {
    for (const packet of this.packets) packet.release()
    this.packets.length = 0
    this.buffers.length = 0
  }

  /** Bytes of a batch that is full of frames; 0 of any other. */
  fullLength(count: number): number {
    let sum = 0
    for (let i = 0; i < BATCH; i++) {
      if (i >= count || this.lengths[i] < 0) return 0
      sum += this.lengths[i]
    }
    return sum
  }
}

export class HostLink extends NetDevice implements Expiry {
  override readonly kind = ''
  readonly fd: number
  readonly #host: LinkHost
  readonly #links: HostLinks
  /** The frames that are looked at, and those that come after them, while much comes in. */
  #batch = new Batch()
  #next = new Batch()
  /** Somebody reads into #next. */
  #ahead = false
  readonly #queue = new PacketQueue()
  /** Due when a turn has left frames behind. */
  readonly #more = new Timer(this)
  /** Holds what comes in to a rate. */
  #policer: Policer | undefined = undefined
  /** What the descriptor is watched for; 0 while down. */
  #watched = 0
  /** By the namespace that the guest had moved it to, or by who removes it. */
  #closed = false
  readonly #ready = (events: number): void => this.#turn(events)

  constructor(name: string, fd: number, address: Uint8Array, host: LinkHost, links: HostLinks) {
    super(name)
    this.fd = fd
    this.address = address
    this.#host = host
    this.#links = links
    this.features = { checksum: true, segmentation: true, udpSegmentation: false, gsoMaxSize: 65535 }
  }

  /** Before it is registered. */
  limit({ egress, ingress }: LinkRates): void {
    if (egress !== undefined) this.shaper = new Shaper(this, egress)
    if (ingress !== undefined) this.#policer = new Policer(ingress)
  }

  override opened(): Status {
    // What came in while it was down was for nobody.
    this.#batch.fill(this.stack!)
    for (let i = 0; i < BUDGET && this.#receive() === BATCH; i++);
    const status = this.#watch(POLLIN)
    if (status < 0) this.stopped()
    return status
  }
  override stopped(): void {
    if (this.#watched !== 0) this.#host.unwatch(this.fd)
    this.#watched = 0
    this.stack?.timers.cancel(this.#more)
    this.#queue.clear()
    if (this.#ahead) this.#receive()
    this.#batch.release()
    this.#next.release()
  }
  override close(): void {
    super.close()
    if (!this.#closed) this.#host.close(this.fd)
    this.#closed = true
  }

  // Out.

  override transmit(packet: Packet): Status {
    if (packet.gsoType === GSO_NONE && packet.length > this.mtu + this.headerLength) {
      return this.#lost(packet, -EMSGSIZE)
    }
    packet = withHeaderRoom(packet)
    writeOffloads(packet)
    if (this.#queue.length > 0) return this.#enqueue(packet)
    const sent = this.#send(packet)
    return sent === -EAGAIN ? this.#enqueue(packet) : this.#done(packet, sent)
  }

  #send(packet: Packet): number {
    return this.#links.send(this.fd, packet.bytes, packet.start - OFFLOAD_HEADER, packet.end)
  }

  /** It was sent, or not: what `#send` has said of it. */
  #done(packet: Packet, sent: number): Status {
    if (sent < 0) return this.#lost(packet, sent)
    if (!this.carrier) this.carrierChanged(true)
    this.countSent(packet.length)
    packet.release()
    return 0
  }

  #enqueue(packet: Packet): Status {
    const queue = this.#queue
    const limit = this.txQueueLength || DEFAULT_QUEUE
    if (queue.length >= limit || queue.memory + packet.bytes.length > QUEUE_BYTES)
      return this.#lost(packet, -ENOBUFS)
    queue.push(packet)
    return this.#watch(POLLIN | POLLOUT)
  }

  #flush(): void {
    for (let packet = this.#queue.first; packet !== undefined; packet = this.#queue.first) {
      const sent = this.#send(packet)
      if (sent === -EAGAIN) return
      this.#queue.shift()
      this.#done(packet, sent)
    }
    this.#watch(POLLIN)
  }

  #lost(packet: Packet, status: Status): Status {
    if (status === -ENOBUFS) this.statistics.txDropped++
    else this.statistics.txErrors++
    packet.release()
    return status
  }

  // In.

  #turn(events: number): void {
    if (this.#watched === 0) return
    if ((events & POLLOUT) !== 0) this.#flush()
    if ((events & (POLLIN | POLLERR | POLLHUP)) !== 0) this.#read()
  }

  /** Guests have run meanwhile. */
  expired(): void {
    this.#read()
  }

  #read(): void {
    const { stack } = this
    if (stack === undefined) return
    let errors = 0
    for (let left = BUDGET; left > 0; left -= BATCH) {
      const count = this.#receive()
      if (this.#batch.fullLength(count) >= AHEAD_MIN) this.#readAhead(stack)
      const { lengths } = this.#batch
      // What is received may set the link down, which takes the packets.
      for (let i = 0; i < count && this.#watched !== 0; i++) {
        if (lengths[i] >= 0) this.#take(stack, i, lengths[i])
        else if (!this.#failed(lengths[i]) || ++errors > MAX_ERRORS) return
      }
      stack.runtime.backlog.drain()
      if (this.#watched === 0) return
      if (count < BATCH) {
        this.#next.release()
        return
      }
    }
    stack.timers.add(this.#more, stack.runtime.now())
  }

  #receive(): number {
    if (!this.#ahead) {
      return this.#links.receive(this.fd, this.#batch.buffers, HEADROOM - OFFLOAD_HEADER, this.#batch.lengths)
    }
    this.#ahead = false
    const batch = this.#next
    this.#next = this.#batch
    this.#batch = batch
    return this.#links.collect(batch.lengths)
  }

  #readAhead(stack: IpStack): void {
    this.#next.fill(stack)
    this.#ahead = this.#links.readAhead(this.fd, this.#next.buffers, HEADROOM - OFFLOAD_HEADER)
  }

  #take(stack: IpStack, i: number, length: number): void {
    const frame = length - OFFLOAD_HEADER
    if (frame < this.headerLength || frame > MAX_FRAME) {
      this.statistics.rxErrors++
      return
    }
    if (!this.carrier) this.carrierChanged(true)
    if (this.#policer?.admits(frame, stack.runtime.now()) === false) {
      this.statistics.rxDropped++
      return
    }
    let packet = this.#batch.packets[i]
    packet.end = packet.start + frame
    if (!readOffloads(packet)) {
      this.statistics.rxErrors++
      packet.reset(HEADROOM)
      return
    }
    if (frame <= COPY_BREAK) {
      const copy = packet.clone()
      packet.reset(HEADROOM)
      packet = copy
    } else {
      this.#batch.renew(stack, i)
    }
    this.deliver(stack, packet)
  }

  /** To whom it belongs. */
  protected deliver(stack: IpStack, packet: Packet): void {
    stack.receive(this, packet)
  }

  protected carrierChanged(on: boolean): void {
    this.stack?.devices.setCarrier(this, on)
  }

  /** A read gave an error, which is gone with that: whether there is more to read. */
  #failed(error: number): boolean {
    if (error === -ENETDOWN || error === -EBADFD || error === -EIO) {
      this.carrierChanged(false)
      return error === -ENETDOWN
    }
    this.statistics.rxErrors++
    return true
  }

  /** Watching anew tells the state as it is, so that no change gets lost. */
  #watch(events: number): Status {
    if (this.#watched === events) return 0
    if (this.#watched !== 0) this.#host.unwatch(this.fd)
    const status = this.#host.watch(this.fd, events, this.#ready)
    this.#watched = status < 0 ? 0 : events
    return Math.min(status, 0)
  }
}
