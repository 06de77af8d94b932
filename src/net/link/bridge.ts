/**
 * A bridge: IEEE 802.1D without spanning tree. Frames that come in at a port go to the port where their destination was
 * last seen, or to all; what is for the bridge's own address, and what is for many, goes up to the stack too. As a device
 * the bridge is one more port, behind which the stack sits.
 *
 * Ports join by addPort and leave by removePort, by being unregistered, or with the bridge.
 */
import { ETH_ALEN, ETH_HLEN, NUD_PERMANENT, NUD_REACHABLE } from '../../abi/constants.ts'
import { EBUSY, EINVAL, ELOOP, EXFULL } from '../../abi/errno.ts'
import { NSEC_PER_SEC } from '../../base/clock.ts'
import type { Status } from '../../base/result.ts'
import { GSO_NONE, PACKET_HOST, PACKET_OTHERHOST, type Packet } from '../packet.ts'
import { type FrameHandler, NetDevice } from './device.ts'
import { checkNesting } from './nesting.ts'

/** Addresses that are remembered; more are somebody's attempt to fill the memory, and are flooded. */
const MAX_ADDRESSES = 4096
const VLAN_HLEN = 4
/** BR_MAX_PORTS */
const MAX_PORTS = 1023
/** Of a link with 10 Gbit/s, as virtual ones say of themselves: IEEE 802.1D. */
const PORT_COST = 2
/** What of 01:80:c2:00:00:0x may never be forwarded: BR_GROUPFWD_RESTRICTED. */
export const NEVER_FORWARDED = 0x7

/** A device that is a port, and what was set of it. */
export class BridgePort {
  readonly device: NetDevice
  /** 1 and on, the first free one. */
  readonly number: number
  /** Frames may go back out by the port that they came in by. */
  hairpin = false
  learning = true
  /** Frames for nobody known go out by it; the same of multicasts and broadcasts. */
  flood = true
  multicastFlood = true
  broadcastFlood = true
  /** Isolated ports don't reach each other. */
  isolated = false
  /** What only spanning trees would look at. */
  priority = 32
  cost = PORT_COST
  guard = false
  rootBlock = false

  constructor(device: NetDevice, number: number) {
    this.device = device
    this.number = number
  }
}

/** An entry of the forwarding table. */
export interface Learned {
  port: BridgePort
  /** Monotonic ns. */
  seen: number
  /**
   * NUD_REACHABLE: learnt, or entered as if it had been. NUD_NOARP: entered to stay. NUD_PERMANENT: the same, and it is the
   * bridge itself that is there.
   */
  state: number
  /** Monotonic ns. */
  updated: number
}

export class BridgeDevice extends NetDevice implements FrameHandler {
  override readonly kind = 'bridge'
  readonly ports: BridgePort[] = []
  /** The same: every frame asks. */
  readonly #portOf = new Map<NetDevice, BridgePort>()
  /** Seconds. */
  ageing = 300
  /** By address as a number of 48 bits. */
  readonly #table = new Map<number, Learned>()
  /** Which of 01:80:c2:00:00:0x are forwarded like other multicasts, as bits. */
  groupForwardMask = 0
  /** Of link-local frames no addresses are learnt: BR_BOOLOPT_NO_LL_LEARN. */
  noLinkLocalLearning = false
  /** Spanning tree's, in hundredths of a second: set and shown, but there is none. */
  readonly spanningTree = { forwardDelay: 1500, helloTime: 200, maxAge: 2000, priority: 0x8000 }

  constructor(name: string, address: Uint8Array) {
    super(name)
    this.address = address
    this.carrierKnown = false
    this.features = { checksum: true, segmentation: true, udpSegmentation: true, gsoMaxSize: 65536 }
  }

  override get below(): readonly NetDevice[] {
    return this.ports.map(port => port.device)
  }

  /** The port that the device is. */
  portOf(device: NetDevice): BridgePort | undefined {
    return this.#portOf.get(device)
  }

  /** -EBUSY: it is a port already. -ELOOP: a bridge. -EINVAL: loopback, no Ethernet, or of another namespace. */
  addPort(port: NetDevice): Status {
    if (port.isLoopback || port.headerLength !== ETH_HLEN || port.stack !== this.stack) return -EINVAL
    if (port.kind === 'bridge') return -ELOOP
    if (port.master !== undefined || port.frameHandler !== undefined) return -EBUSY
    const nesting = checkNesting(this, port)
    if (nesting < 0) return nesting
    let number = 1
    while (this.ports.some(other => other.number === number)) number++
    if (number > MAX_PORTS) return -EXFULL
    const added = new BridgePort(port, number)
    this.ports.push(added)
    this.#portOf.set(port, added)
    port.master = this
    port.frameHandler = this
    port.promiscuity++
    port.allMulticast++
    port.filterChanged()
    this.#portsChanged()
    return 0
  }

  removePort(port: NetDevice): Status {
    const at = this.ports.findIndex(each => each.device === port)
    if (at < 0) return -EINVAL
    const [left] = this.ports.splice(at, 1)
    this.#portOf.delete(port)
    port.master = undefined
    port.frameHandler = undefined
    port.promiscuity--
    port.allMulticast--
    port.filterChanged()
    this.flush(entry => entry.port === left)
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
  handleFrame(device: NetDevice, packet: Packet): boolean {
    const { bytes, link } = packet
    const port = this.portOf(device)
    const reserved = isReserved(bytes, link)
    if (
      !this.up ||
      port === undefined ||
      (reserved && ((this.groupForwardMask >> (bytes[link + 5] & 15)) & 1) === 0)
    ) {
      packet.release()
      return true
    }
    const learns = port.learning && !(reserved && this.noLinkLocalLearning)
    if (learns && (bytes[link + 6] & 1) === 0) this.#learn(addressAt(bytes, link + 6), port)
    packet.start = link
    const toMany = (bytes[link] & 1) !== 0
    if (toMany) {
      this.#up(packet.clone())
    } else if (this.#isOwn(bytes, link) || this.station(addressAt(bytes, link))?.state === NUD_PERMANENT) {
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
      this.ports.some(port => port.device.running),
    )
  }
  override stopped(): void {
    this.flush(entry => entry.state === NUD_REACHABLE)
  }
  override close(): void {
    super.close()
    for (const { device } of [...this.ports]) this.removePort(device)
  }

  /** What is known, for `bridge fdb`. */
  *learned(): IterableIterator<[number, Learned]> {
    const now = this.#now()
    for (const [address, entry] of this.#table) if (this.#fresh(entry, now)) yield [address, entry]
  }
  station(address: number): Learned | undefined {
    const entry = this.#table.get(address)
    return entry !== undefined && this.#fresh(entry, this.#now()) ? entry : undefined
  }
  /** Enters a station by hand. False: there is no room. */
  enter(address: number, port: BridgePort, state: number): boolean {
    if (!this.#table.has(address) && this.#table.size >= MAX_ADDRESSES) return false
    const now = this.#now()
    this.#table.set(address, { port, seen: now, state, updated: now })
    return true
  }
  forget(address: number): boolean {
    return this.#table.delete(address)
  }
  flush(wanted: (entry: Learned) => boolean): void {
    for (const [address, entry] of this.#table) if (wanted(entry)) this.#table.delete(address)
  }

  /** To the stack, as received by the bridge. */
  #up(packet: Packet): void {
    packet.network = -1
    packet.type = PACKET_HOST
    this.stack?.receive(this, packet)
  }

  #forward(packet: Packet, from: BridgePort | undefined): void {
    const { bytes, start } = packet
    const group = (bytes[start] & 1) !== 0
    const to = group ? undefined : this.#find(addressAt(bytes, start))
    if (to !== undefined) {
      if (mayPass(from, to)) this.#send(to, packet)
      else packet.release()
      return
    }
    const broadcast = group && isBroadcast(bytes, start)
    let last: BridgePort | undefined
    for (const port of this.ports) {
      if (!mayPass(from, port)) continue
      if (!(broadcast ? port.broadcastFlood : group ? port.multicastFlood : port.flood)) continue
      if (last !== undefined) this.#send(last, packet.clone())
      last = port
    }
    if (last === undefined) packet.release()
    else this.#send(last, packet)
  }

  #send({ device }: BridgePort, packet: Packet): void {
    // Longer than the port's link lets through, with a tag: there is nobody to tell.
    const tooLong = packet.gsoType === GSO_NONE && packet.length - ETH_HLEN - VLAN_HLEN > device.mtu
    if (!device.running || device.stack === undefined || tooLong) {
      packet.release()
      return
    }
    packet.type = PACKET_OTHERHOST
    device.stack.transmit(device, packet)
  }

  #learn(address: number, port: BridgePort): void {
    const now = this.#now()
    const known = this.#table.get(address)
    if (known !== undefined) {
      known.seen = now
      if (known.port === port || known.state === NUD_PERMANENT) return
      known.port = port
      known.updated = now
      return
    }
    if (this.#table.size >= MAX_ADDRESSES) {
      this.flush(entry => !this.#fresh(entry, now))
      if (this.#table.size >= MAX_ADDRESSES) return
    }
    this.#table.set(address, { port, seen: now, state: NUD_REACHABLE, updated: now })
  }

  #find(address: number): BridgePort | undefined {
    const entry = this.#table.get(address)
    return entry !== undefined && this.#fresh(entry, this.#now()) ? entry.port : undefined
  }

  #fresh(entry: Learned, now: number): boolean {
    return entry.state !== NUD_REACHABLE || entry.seen + this.ageing * NSEC_PER_SEC > now
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
      stack.devices.setMtu(this, Math.min(...this.ports.map(port => port.device.mtu)))
      if (!this.addressSet) {
        const lowest = this.ports
          .map(port => port.device.address)
          .sort((a, b) => addressAt(a, 0) - addressAt(b, 0))[0]
        stack.devices.setAddress(this, lowest)
      }
    }
    this.portChanged()
  }
}

/** A hardware address as a number of 48 bits. */
export function addressAt(bytes: Uint8Array, at: number): number {
  const high = (bytes[at] << 8) | bytes[at + 1]
  const low = ((bytes[at + 2] << 24) | (bytes[at + 3] << 16) | (bytes[at + 4] << 8) | bytes[at + 5]) >>> 0
  return high * 0x100000000 + low
}

/** Back to where it came from only with `hairpin`; not from one isolated port to another: should_deliver. */
function mayPass(from: BridgePort | undefined, to: BridgePort): boolean {
  if (!to.device.running) return false
  if (from === undefined) return true
  return (from !== to || to.hairpin) && !(from.isolated && to.isolated)
}

function isBroadcast(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < ETH_ALEN; i++) if (bytes[at + i] !== 0xff) return false
  return true
}

export function addressBytes(address: number): Uint8Array {
  const bytes = new Uint8Array(ETH_ALEN)
  for (let i = ETH_ALEN - 1, rest = address; i >= 0; i--, rest = Math.floor(rest / 256)) bytes[i] = rest % 256
  return bytes
}

/** 01:80:c2:00:00:0x: spanning tree and its like never leave their link. */
function isReserved(bytes: Uint8Array, at: number): boolean {
  return addressAt(bytes, at) - (addressAt(bytes, at) % 16) === 0x0180c2000000
}
