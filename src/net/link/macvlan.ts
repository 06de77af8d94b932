/**
 * MacvlanDevice: a station of its own, with an address of its own, on the link of the device below. A MacvlanPort is what
 * takes that device's frames, from the first station on it to the last.
 *
 * Who hears whom is said by the modes: stations of a `private` one never hear each other, those in `vepa` only what a
 * switch outside sends back, those in `bridge` each other directly. `passthru` is alone on the link and has it whole. The
 * device below itself is a neighbour of none of them.
 */
import {
  ETH_ALEN,
  IFF_BROADCAST,
  IFF_MULTICAST,
  MACVLAN_MODE_BRIDGE,
  MACVLAN_MODE_PASSTHRU,
  MACVLAN_MODE_PRIVATE,
  MACVLAN_MODE_VEPA,
} from '../../abi/constants.ts'
import { EADDRINUSE, EBUSY, EINVAL } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import { GSO_NONE, type Packet } from '../packet.ts'
import { addressAt } from './bridge.ts'
import type { FrameHandler, NetDevice } from './device.ts'
import { UpperDevice } from './upper.ts'

export class MacvlanDevice extends UpperDevice {
  override readonly kind = 'macvlan'
  mode: number
  /** MACVLAN_FLAG_* */
  options = 0
  readonly #port: MacvlanPort

  /** MacvlanPort.check has let it. */
  constructor(name: string, lower: NetDevice, address: Uint8Array, mode: number) {
    super(name, lower, address)
    this.mode = mode
    this.flags = IFF_BROADCAST | IFF_MULTICAST
    this.features = lower.features
    this.#port = portOf(lower)
    this.#port.stations.add(this)
  }

  override opened(): Status {
    if (this.#port.isBusy(this)) return -EADDRINUSE
    this.#port.hear(this, true)
    return super.opened()
  }
  override stopped(): void {
    this.#port.hear(this, false)
  }

  override close(): void {
    super.close()
    this.#port.stations.delete(this)
    if (this.#port.stations.size === 0) this.lower.frameHandler = undefined
  }

  override transmit(packet: Packet): Status {
    if (this.mode === MACVLAN_MODE_BRIDGE) {
      const { bytes, start } = packet
      const toMany = (bytes[start] & 1) !== 0
      const to = toMany ? undefined : this.#port.find(addressAt(bytes, start))
      if (to !== undefined && to !== this && to.mode === MACVLAN_MODE_BRIDGE) {
        this.countSent(packet.length)
        packet.link = start
        to.deliver(packet)
        return 0
      }
      packet.link = start
      if (toMany)
        this.#port.broadcast(packet, station => station !== this && station.mode === MACVLAN_MODE_BRIDGE)
    }
    return this.hand(packet)
  }
}

class MacvlanPort implements FrameHandler {
  readonly stations = new Set<MacvlanDevice>()
  readonly #listening = new Set<MacvlanDevice>()

  /** Frames for its stations are for nobody below: as long as there is one the device there must take all in. */
  hear(station: MacvlanDevice, on: boolean): void {
    const before = this.#listening.size > 0
    if (on) this.#listening.add(station)
    else this.#listening.delete(station)
    const now = this.#listening.size > 0
    if (before === now) return
    station.lower.promiscuity += now ? 1 : -1
    station.lower.filterChanged()
  }

  get passes(): boolean {
    for (const station of this.stations) return station.mode === MACVLAN_MODE_PASSTHRU
    return false
  }
  find(address: number): MacvlanDevice | undefined {
    for (const station of this.stations) {
      if (station.up && addressAt(station.address, 0) === address) return station
    }
    return undefined
  }
  /** Another station has its address, or the device below. */
  isBusy(station: MacvlanDevice): boolean {
    if (this.passes) return false
    const address = addressAt(station.address, 0)
    const other = this.find(address)
    return (other !== undefined && other !== station) || addressAt(station.lower.address, 0) === address
  }

  handleFrame(lower: NetDevice, packet: Packet): boolean {
    const { bytes, link } = packet
    if (packet.gsoType !== GSO_NONE) {
      packet.network = packet.start
      packet.transport = packet.checksumStart
    }
    if ((bytes[link] & 1) !== 0) {
      const from = this.find(addressAt(bytes, link + ETH_ALEN))
      this.broadcast(packet, station => hears(station, from))
      return false
    }
    let to: MacvlanDevice | undefined
    if (this.passes) [to] = this.stations
    else to = this.find(addressAt(bytes, link))
    if (to === undefined || !to.up || to.lower !== lower) return false
    to.deliver(packet)
    return true
  }

  broadcast(packet: Packet, wanted: (station: MacvlanDevice) => boolean): void {
    for (const station of this.stations) if (station.up && wanted(station)) station.deliver(packet.clone())
  }
}

/** A broadcast that came in from outside, sent by `from` if a station has sent it and it was sent back. */
function hears(station: MacvlanDevice, from: MacvlanDevice | undefined): boolean {
  if (from === undefined) return true
  if (from === station) return false
  // What a bridge's station has sent its like have heard already.
  if (from.mode === MACVLAN_MODE_VEPA) {
    return station.mode === MACVLAN_MODE_VEPA || station.mode === MACVLAN_MODE_BRIDGE
  }
  return from.mode === MACVLAN_MODE_BRIDGE && station.mode === MACVLAN_MODE_VEPA
}

export function isMacvlanMode(mode: number): boolean {
  return [MACVLAN_MODE_PRIVATE, MACVLAN_MODE_VEPA, MACVLAN_MODE_BRIDGE, MACVLAN_MODE_PASSTHRU].includes(mode)
}

/** Whether a station can be made on the device. -EBUSY: something else takes its frames. -EINVAL: no link, or no room. */
export function checkMacvlan(lower: NetDevice, mode: number): Status {
  if (lower.isLoopback || lower.address.length !== ETH_ALEN || lower.headerLength === 0) return -EINVAL
  const { frameHandler } = lower
  if (frameHandler === undefined) return 0
  if (!(frameHandler instanceof MacvlanPort)) return -EBUSY
  return mode === MACVLAN_MODE_PASSTHRU || frameHandler.passes ? -EINVAL : 0
}

function portOf(lower: NetDevice): MacvlanPort {
  if (!(lower.frameHandler instanceof MacvlanPort)) lower.frameHandler = new MacvlanPort()
  return lower.frameHandler as MacvlanPort
}
