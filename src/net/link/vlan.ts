/**
 * VlanDevice: one VLAN of the device below it: IEEE 802.1Q and 802.1ad. What it sends gets a tag, and tagged frames that
 * come in below are its own when they bear its number. Frames are split and their checksums completed before they are
 * tagged, since the device below may be one that finds headers only where Ethernet ends.
 */
import {
  ETH_ALEN,
  ETH_P_8021AD,
  ETH_P_8021Q,
  VLAN_FLAG_LOOSE_BINDING,
  VLAN_FLAG_REORDER_HDR,
} from '../../abi/constants.ts'
import { ENETDOWN, ERANGE } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { Packet } from '../packet.ts'
import type { FrameHandler, NetDevice } from './device.ts'
import { UpperDevice } from './upper.ts'

const VLAN_HLEN = 4
const VLAN_VID_MASK = 0xfff
const VLAN_PRIO_SHIFT = 13

export class VlanDevice extends UpperDevice {
  override readonly kind = 'vlan'
  readonly id: number
  /** ETH_P_8021Q or ETH_P_8021AD. */
  readonly protocol: number
  /** VLAN_FLAG_* */
  options = VLAN_FLAG_REORDER_HDR
  /** From a packet's priority to the tag's, and back. */
  readonly egress = new Map<number, number>()
  readonly ingress = new Map<number, number>()
  #wentDown = false

  /** The VLAN is free: VlanGroup.find. */
  constructor(name: string, lower: NetDevice, address: Uint8Array, id: number, protocol: number) {
    super(name, lower, address)
    this.id = id
    this.protocol = protocol
    this.minMtu = 0
    groupOf(lower).devices.set(keyOf(protocol, id), this)
  }

  override opened(): Status {
    if (!this.lower.up && (this.options & VLAN_FLAG_LOOSE_BINDING) === 0) return -ENETDOWN
    return super.opened()
  }
  override stopped(): void {
    this.#wentDown = false
  }
  /** It goes down and up again with the device below, unless it is bound loosely. */
  override lowerChanged(): void {
    const goesUp = this.#wentDown && this.lower.up
    if (goesUp) this.#wentDown = false
    const goesDown = this.up && !this.lower.up && (this.options & VLAN_FLAG_LOOSE_BINDING) === 0
    super.lowerChanged()
    if (goesUp || goesDown) this.stack?.devices.setUp(this, goesUp)
    // Whoever sets it up or down himself in between decides.
    if (goesDown) this.#wentDown = true
  }
  override checkMtu(mtu: number): Status {
    return mtu > this.lower.mtu ? -ERANGE : super.checkMtu(mtu)
  }
  override close(): void {
    super.close()
    const group = groupOf(this.lower)
    group.devices.delete(keyOf(this.protocol, this.id))
    if (group.devices.size === 0) this.lower.vlans = undefined
  }

  override transmit(frame: Packet): Status {
    // Bridges may send one by VLANs again and again.
    const packet = frame.withHeadroom(VLAN_HLEN)
    const at = packet.push(VLAN_HLEN)
    packet.bytes.copyWithin(at, at + VLAN_HLEN, at + VLAN_HLEN + 2 * ETH_ALEN)
    packet.view.setUint16(at + 2 * ETH_ALEN, this.protocol)
    const priority = this.egress.get(packet.priority) ?? 0
    packet.view.setUint16(at + 2 * ETH_ALEN + 2, (priority << VLAN_PRIO_SHIFT) | this.id)
    packet.networkProtocol = this.protocol
    return this.hand(packet)
  }
}

/** The VLANs over one device: it takes the tagged frames from there. */
class VlanGroup implements FrameHandler {
  readonly devices = new Map<number, VlanDevice>()

  handleFrame(_lower: NetDevice, packet: Packet): boolean {
    const { networkProtocol, start } = packet
    if (networkProtocol !== ETH_P_8021Q && networkProtocol !== ETH_P_8021AD) return false
    if (packet.length < VLAN_HLEN) return false
    const tag = packet.view.getUint16(start)
    const device = this.devices.get(keyOf(networkProtocol, tag & VLAN_VID_MASK))
    if (device === undefined) return false
    const { link } = packet
    packet.bytes.copyWithin(link + VLAN_HLEN, link, link + 2 * ETH_ALEN)
    packet.link = link + VLAN_HLEN
    packet.priority = device.ingress.get(tag >> VLAN_PRIO_SHIFT) ?? 0
    device.deliver(packet)
    return true
  }
}

export function findVlan(lower: NetDevice, protocol: number, id: number): VlanDevice | undefined {
  const { vlans } = lower
  return vlans instanceof VlanGroup ? vlans.devices.get(keyOf(protocol, id)) : undefined
}

function groupOf(lower: NetDevice): VlanGroup {
  if (!(lower.vlans instanceof VlanGroup)) lower.vlans = new VlanGroup()
  return lower.vlans as VlanGroup
}

function keyOf(protocol: number, id: number): number {
  return protocol * 0x1000 + id
}
