/**
 * VLANs of a bridge's ports (`bridge vlan`): which a port is in, which of them its frames have no tag of, and which its frames without a
 * tag are of. Within the bridge frames have no tag: it is taken off when they come in, and put on where they go out, if it belongs there.
 */
import { ETH_ALEN, ETH_HLEN, ETH_P_8021Q } from '../../abi/constants.ts'
import type { Packet } from '../packet.ts'

export const VLAN_HLEN = 4
const VID_MASK = 0xfff
const PRIORITY_MASK = 0xe000
const TAG_AT = 2 * ETH_ALEN

export class PortVlans {
  /** Whether frames of it go out without a tag. */
  readonly untagged = new Map<number, boolean>()
  /** Of frames without a tag; 0: they are not let in. */
  pvid = 0

  add(vid: number, pvid: boolean, untagged: boolean): void {
    this.untagged.set(vid, untagged)
    if (pvid) this.pvid = vid
    else if (this.pvid === vid) this.pvid = 0
  }
  delete(vid: number): boolean {
    if (this.pvid === vid) this.pvid = 0
    return this.untagged.delete(vid)
  }

  /**
   * The tag of a frame with its link header at packet.link, which is taken off: its VLAN in the lower 12 bits. 0: it is of none
   * that the port is in.
   */
  admit(packet: Packet): number {
    const { view, link, end } = packet
    let tag = this.pvid
    if (end - link >= ETH_HLEN + VLAN_HLEN && view.getUint16(link + TAG_AT) === ETH_P_8021Q) {
      const said = view.getUint16(link + ETH_HLEN)
      tag = (said & PRIORITY_MASK) | (said & VID_MASK || this.pvid)
      packet.bytes.copyWithin(link + VLAN_HLEN, link, link + TAG_AT)
      packet.link += VLAN_HLEN
      if (packet.start < packet.link + ETH_HLEN) packet.start = packet.link + ETH_HLEN
      packet.networkProtocol = view.getUint16(packet.link + TAG_AT)
    }
    return this.untagged.has(tag & VID_MASK) ? tag : 0
  }

  has(tag: number): boolean {
    return this.untagged.has(tag & VID_MASK)
  }
  /** The frame as it leaves: the link header at packet.start. */
  dress(packet: Packet, tag: number): Packet {
    if (this.untagged.get(tag & VID_MASK) !== false) return packet
    const tagged = packet.withHeadroom(VLAN_HLEN)
    const at = tagged.push(VLAN_HLEN)
    tagged.bytes.copyWithin(at, at + VLAN_HLEN, at + VLAN_HLEN + TAG_AT)
    tagged.view.setUint16(at + TAG_AT, ETH_P_8021Q)
    tagged.view.setUint16(at + ETH_HLEN, tag)
    tagged.link = at
    tagged.networkProtocol = ETH_P_8021Q
    return tagged
  }
}

export function vidOf(tag: number): number {
  return tag & VID_MASK
}
