/**
 * A bridge: IEEE 802.1D without spanning tree. Frames that come in at a port go to the port where their destination was
 * last seen, or to all; what is for the bridge's own address, and what is for many, goes up to the stack too. As a device
 * the bridge is one more port, behind which the stack sits.
 *
 * Ports join by addPort and leave by removePort, by being unregistered, or with the bridge.
 */
import { ETH_HLEN } from '../../abi/constants.ts'
import { EBUSY, EINVAL, ELOOP } from '../../abi/errno.ts'
import { NSEC_PER_SEC } from '../../base/clock.ts'
import type { Status } from '../../base/result.ts'
import { GSO_NONE, PACKET_HOST, PACKET_OTHERHOST, type Packet } from '../packet.ts'
import { type FrameHandler, NetDevice } from './device.ts'

/** Addresses that are remembered; more are somebody's attempt to fill the memory, and are flooded. */
const MAX_ADDRESSES = 4096

interface Learned {
  port: NetDevice
  /** Monotonic ns. */
  seen: number
}

export class BridgeDevice extends NetDevice implements FrameHandler {
  override readonly kind = 'bridge'
  readonly ports: NetDevice[] = []
  /** Seconds. */
  ageing = 300
  /** By address as a number of 48 bits. */
  readonly #table = new Map<number, Learned>()
  /** Somebody has set the address: it doesn't follow the ports'. */
  addressSet = false

  constructor(name: string, address: Uint8Array) {
    super(name)
    this.address = address
    this.carrierKnown = false
    this.features = { checksum: true, segmentation: true, udpSegmentation: true, gsoMaxSize: 65536 }
  }

  /** -EBUSY: it is a port already. -ELOOP: a bridge. -EINVAL: loopback, no Ethernet, or of another namespace. */
  addPort(port: NetDevice): Status {
    if (port.isLoopback || port.headerLength !== ETH_HLEN || port.stack !== this.stack) return -EINVAL
    if (port.kind === 'bridge') return -ELOOP
    if (port.master !== undefined || port.frameHandler !== undefined) return -EBUSY
    this.ports.push(port)
    port.master = this
    port.frameHandler = this
    port.promiscuity++
    port.filterChanged()
    this.#portsChanged()
    return 0
  }

  removePort(port: NetDevice): Status {
    const at = this.ports.indexOf(port)
    if (at < 0) return -EINVAL
    this.ports.splice(at, 1)
    port.master = undefined
    port.frameHandler = undefined
    port.promiscuity--
    port.filterChanged()
    for (const [address, entry] of this.#table) if (entry.port === port) this.#table.delete(address)
    this.#portsChanged()
    return 0
  }

  /** From the bridge's own stack. */
  override transmit(packet: Packet): Status {
    this.countSent(packet.length)
    this.#forward(packet, undefined)
    return 0
  }

  /** From a port: the link header at packet.link, already pulled. */
  handleFrame(port: NetDevice, packet: Packet): boolean {
    const { bytes, link } = packet
    if (!this.up || isReserved(bytes, link)) {
      packet.release()
      return true
    }
    if ((bytes[link + 6] & 1) === 0) this.#learn(addressAt(bytes, link + 6), port)
    packet.start = link
    const toMany = (bytes[link] & 1) !== 0
    if (toMany) {
      this.#up(packet.clone())
    } else if (this.#isOwn(bytes, link)) {
      this.#up(packet)
      return true
    }
    // Where a packet that is to be split has its headers, if the port can't do it.
    if (packet.gsoType !== GSO_NONE) {
      packet.network = link + ETH_HLEN
      packet.transport = packet.checksumStart
    }
    this.#forward(packet, port)
    return true
  }

  override portChanged(): void {
    this.carrierKnown = true
    this.stack?.devices.setCarrier(
      this,
      this.ports.some(port => port.running),
    )
  }
  override stopped(): void {
    this.#table.clear()
  }
  override close(): void {
    for (const port of [...this.ports]) this.removePort(port)
  }

  /** What is known, for `bridge fdb`. */
  *learned(): IterableIterator<{ address: number; port: NetDevice; seen: number }> {
    for (const [address, entry] of this.#table) yield { address, ...entry }
  }

  /** To the stack, as received by the bridge. */
  #up(packet: Packet): void {
    packet.network = -1
    packet.type = PACKET_HOST
    this.stack?.receive(this, packet)
  }

  #forward(packet: Packet, from: NetDevice | undefined): void {
    const { bytes, start } = packet
    const to = (bytes[start] & 1) === 0 ? this.#find(addressAt(bytes, start)) : undefined
    if (to !== undefined) {
      if (to === from) packet.release()
      else this.#send(to, packet)
      return
    }
    let last: NetDevice | undefined
    for (const port of this.ports) {
      if (port === from || !port.running) continue
      if (last !== undefined) this.#send(last, packet.clone())
      last = port
    }
    if (last === undefined) packet.release()
    else this.#send(last, packet)
  }

  #send(port: NetDevice, packet: Packet): void {
    // Longer than the port's link lets through: there is nobody to tell.
    const tooLong = packet.gsoType === GSO_NONE && packet.length - ETH_HLEN > port.mtu
    if (!port.running || port.stack === undefined || tooLong) {
      packet.release()
      return
    }
    packet.type = PACKET_OTHERHOST
    port.stack.transmit(port, packet)
  }

  #learn(address: number, port: NetDevice): void {
    const now = this.#now()
    const known = this.#table.get(address)
    if (known !== undefined) {
      known.port = port
      known.seen = now
      return
    }
    if (this.#table.size >= MAX_ADDRESSES) {
      for (const [old, entry] of this.#table) if (!this.#fresh(entry, now)) this.#table.delete(old)
      if (this.#table.size >= MAX_ADDRESSES) return
    }
    this.#table.set(address, { port, seen: now })
  }

  #find(address: number): NetDevice | undefined {
    const entry = this.#table.get(address)
    return entry !== undefined && this.#fresh(entry, this.#now()) ? entry.port : undefined
  }

  #fresh(entry: Learned, now: number): boolean {
    return entry.seen + this.ageing * NSEC_PER_SEC > now
  }

  #now(): number {
    return this.stack?.runtime.now() ?? 0
  }

  #isOwn(bytes: Uint8Array, at: number): boolean {
    for (let i = 0; i < 6; i++) if (bytes[at + i] !== this.address[i]) return false
    return true
  }

  /**
   * The MTU is the smallest of the ports', the address the lowest, and there is a carrier while one of them has one; before the
   * first nobody knows.
   */
  #portsChanged(): void {
    const { stack } = this
    if (stack === undefined) return
    if (this.ports.length > 0) {
      stack.devices.setMtu(this, Math.min(...this.ports.map(port => port.mtu)))
      if (!this.addressSet) {
        const lowest = this.ports
          .map(port => port.address)
          .sort((a, b) => addressAt(a, 0) - addressAt(b, 0))[0]
        stack.devices.setAddress(this, lowest)
      }
    }
    this.portChanged()
  }
}

function addressAt(bytes: Uint8Array, at: number): number {
  const high = (bytes[at] << 8) | bytes[at + 1]
  const low = ((bytes[at + 2] << 24) | (bytes[at + 3] << 16) | (bytes[at + 4] << 8) | bytes[at + 5]) >>> 0
  return high * 0x100000000 + low
}

/** 01:80:c2:00:00:0x: spanning tree and its like never leave their link. */
function isReserved(bytes: Uint8Array, at: number): boolean {
  return addressAt(bytes, at) - (addressAt(bytes, at) % 16) === 0x0180c2000000
}
