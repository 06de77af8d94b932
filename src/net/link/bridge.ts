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
import { PortVlans, vidOf } from './bridge-vlan.ts'
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
  readonly vlans = new PortVlans()

  constructor(device: NetDevice, number: number) {
    this.device = device
    this.number = number
  }
}

/** An entry of the forwarding table. */
export interface Learned {
  port: BridgePort
  /** 0 without VLAN filtering. */
  readonly vlan: number
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
  /** By address as a number of 48 bits; for VLANs a table each. */
  readonly #table = new Map<number, Learned>()
  readonly #vlanTables = new Map<number, Map<number, Learned>>()
  /** Entries of all tables. */
  #known = 0
  /** Ports are in VLANs, and so is the bridge as a port of its own stack. */
  vlanFiltering = false
  readonly ownVlans = new PortVlans()
  /** The VLAN that new ports are in, 0 for none. */
  defaultVlan = 1
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
    this.#addDefault(this.ownVlans)
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
  override addPort(port: NetDevice): Status {
    if (port.isLoopback || port.headerLength !== ETH_HLEN || port.stack !== this.stack) return -EINVAL
    if (port.kind === 'bridge') return -ELOOP
    if (port.master !== undefined || port.frameHandler !== undefined) return -EBUSY
    const nesting = checkNesting(this, port)
    if (nesting < 0) return nesting
    let number = 1
    while (this.ports.some(other => other.number === number)) number++
    if (number > MAX_PORTS) return -EXFULL
    const added = new BridgePort(port, number)
    this.#addDefault(added.vlans)
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

  override removePort(port: NetDevice): Status {
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
    let tag = 0
    if (this.vlanFiltering) {
      packet.link = packet.start
      tag = this.ownVlans.admit(packet)
      packet.start = packet.link
      if (tag === 0) {
        this.statistics.txDropped++
        packet.release()
        return 0
      }
    }
    this.#forward(packet, undefined, tag)
    return 0
  }

  /** From a port: the link header at packet.link, already pulled. */
  handleFrame(device: NetDevice, packet: Packet): boolean {
    const { bytes } = packet
    let { link } = packet
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
    let tag = 0
    if (this.vlanFiltering) {
      tag = port.vlans.admit(packet)
      link = packet.link
      if (tag === 0) {
        device.statistics.rxDropped++
        packet.release()
        return true
      }
    }
    const vlan = vidOf(tag)
    const learns = port.learning && !(reserved && this.noLinkLocalLearning)
    if (learns && (bytes[link + 6] & 1) === 0) this.#learn(addressAt(bytes, link + 6), port, vlan)
    packet.start = link
    const toMany = (bytes[link] & 1) !== 0
    if (toMany) {
      this.#up(packet.clone(), tag)
    } else if (
      this.#isOwn(bytes, link) ||
      this.station(addressAt(bytes, link), vlan)?.state === NUD_PERMANENT
    ) {
      this.#up(packet, tag)
      return true
    }
    // Where a packet that is to be split has its headers, if the port can't do it.
    if (packet.gsoType !== GSO_NONE) {
      packet.network = link + ETH_HLEN
      packet.transport = packet.checksumStart
    }
    this.#forward(packet, port, tag)
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
    for (const table of this.#tables())
      for (const [address, entry] of table) if (this.#fresh(entry, now)) yield [address, entry]
  }
  station(address: number, vlan = 0): Learned | undefined {
    const entry = this.#tableOf(vlan)?.get(address)
    return entry !== undefined && this.#fresh(entry, this.#now()) ? entry : undefined
  }
  /** Enters a station by hand. False: there is no room. */
  enter(address: number, port: BridgePort, state: number, vlan = 0): boolean {
    const isNew = this.#tableOf(vlan)?.has(address) !== true
    if (isNew && this.#known >= MAX_ADDRESSES) return false
    const now = this.#now()
    this.#put(address, { port, vlan, seen: now, state, updated: now })
    return true
  }
  forget(address: number, vlan = 0): boolean {
    const gone = this.#tableOf(vlan)?.delete(address) === true
    if (gone) this.#known--
    return gone
  }
  flush(wanted: (entry: Learned) => boolean): void {
    for (const table of this.#tables())
      for (const [address, entry] of table) if (wanted(entry) && table.delete(address)) this.#known--
  }
  *#tables(): IterableIterator<Map<number, Learned>> {
    yield this.#table
    yield* this.#vlanTables.values()
  }
  #tableOf(vlan: number): Map<number, Learned> | undefined {
    return vlan === 0 ? this.#table : this.#vlanTables.get(vlan)
  }
  #put(address: number, entry: Learned): void {
    let table = this.#tableOf(entry.vlan)
    if (table === undefined) {
      table = new Map()
      this.#vlanTables.set(entry.vlan, table)
    }
    if (!table.has(address)) this.#known++
    table.set(address, entry)
  }
  #addDefault(vlans: PortVlans): void {
    if (this.defaultVlan !== 0) vlans.add(this.defaultVlan, true, true)
  }

  /** To the stack, as received by the bridge. */
  #up(given: Packet, tag: number): void {
    let packet = given
    if (tag !== 0) {
      if (!this.ownVlans.has(tag)) {
        packet.release()
        return
      }
      packet = this.ownVlans.dress(packet, tag)
    }
    packet.network = -1
    packet.type = PACKET_HOST
    this.stack?.receive(this, packet)
  }

  #forward(packet: Packet, from: BridgePort | undefined, tag: number): void {
    const { bytes, start } = packet
    const group = (bytes[start] & 1) !== 0
    const to = group ? undefined : this.#find(addressAt(bytes, start), vidOf(tag))
    if (to !== undefined) {
      if (mayPass(from, to) && (tag === 0 || to.vlans.has(tag))) this.#send(to, packet, tag)
      else packet.release()
      return
    }
    const broadcast = group && isBroadcast(bytes, start)
    let last: BridgePort | undefined
    for (const port of this.ports) {
      if (!mayPass(from, port) || (tag !== 0 && !port.vlans.has(tag))) continue
      if (!(broadcast ? port.broadcastFlood : group ? port.multicastFlood : port.flood)) continue
      if (last !== undefined) this.#send(last, packet.clone(), tag)
      last = port
    }
    if (last === undefined) packet.release()
    else this.#send(last, packet, tag)
  }

  #send({ device, vlans }: BridgePort, given: Packet, tag: number): void {
    const packet = tag === 0 ? given : vlans.dress(given, tag)
    // Longer than the port's link lets through, with a tag: there is nobody to tell.
    const tooLong = packet.gsoType === GSO_NONE && packet.length - ETH_HLEN - VLAN_HLEN > device.mtu
    if (!device.running || device.stack === undefined || tooLong) {
      packet.release()
      return
    }
    packet.type = PACKET_OTHERHOST
    device.stack.transmit(device, packet)
  }

  #learn(address: number, port: BridgePort, vlan: number): void {
    const now = this.#now()
    const known = this.#tableOf(vlan)?.get(address)
    if (known !== undefined) {
      known.seen = now
      if (known.port === port || known.state === NUD_PERMANENT) return
      known.port = port
      known.updated = now
      return
    }
    if (this.#known >= MAX_ADDRESSES) {
      this.flush(entry => !this.#fresh(entry, now))
      if (this.#known >= MAX_ADDRESSES) return
    }
    this.#put(address, { port, vlan, seen: now, state: NUD_REACHABLE, updated: now })
  }

  #find(address: number, vlan: number): BridgePort | undefined {
    const entry = this.#tableOf(vlan)?.get(address)
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
