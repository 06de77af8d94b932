/** HeaderMatch: what an entry of x_tables asks of a packet's IP header and interfaces: ip_packet_match. */
import {
  IP6T_F_PROTO,
  IPT_F_FRAG,
  IPT_INV_DSTIP,
  IPT_INV_FRAG,
  IPT_INV_PROTO,
  IPT_INV_SRCIP,
  IPT_INV_VIA_IN,
  IPT_INV_VIA_OUT,
} from '../../../abi/constants.ts'
import { IpAddress } from '../../address.ts'
import { IP_OFFSET } from '../../ip/numbers.ts'
import type { NetDevice } from '../../link/device.ts'
import type { Packet } from '../../packet.ts'
import type { FamilyLayout } from './layout.ts'

const IFNAMSIZ = 16

export class HeaderMatch {
  readonly #isV4: boolean
  readonly #source: AddressMatch
  readonly #destination: AddressMatch
  readonly #input: NameMatch
  readonly #output: NameMatch
  readonly #protocol: number
  readonly #flags: number
  readonly #inverted: number

  /** Of the entry at `at`. */
  constructor(bytes: Uint8Array, view: DataView, at: number, { isV4, header }: FamilyLayout) {
    this.#isV4 = isV4
    this.#source = new AddressMatch(view, at + header.src, at + header.smsk, isV4)
    this.#destination = new AddressMatch(view, at + header.dst, at + header.dmsk, isV4)
    this.#input = new NameMatch(bytes, at + header.iniface, at + header.iniface_mask)
    this.#output = new NameMatch(bytes, at + header.outiface, at + header.outiface_mask)
    this.#protocol = view.getUint16(at + header.proto, true)
    this.#flags = view.getUint8(at + header.flags)
    this.#inverted = view.getUint8(at + header.invflags)
  }

  /** The only protocol whose packets it takes; 0: there are others. */
  get protocol(): number {
    return (this.#inverted & IPT_INV_PROTO) !== 0 ? 0 : this.#protocol
  }

  matches(packet: Packet, input: NetDevice | undefined, output: NetDevice | undefined): boolean {
    const inverted = this.#inverted
    if (this.#source.matches(packet.source) === ((inverted & IPT_INV_SRCIP) !== 0)) return false
    if (this.#destination.matches(packet.destination) === ((inverted & IPT_INV_DSTIP) !== 0)) return false
    if (this.#input.matches(input) === ((inverted & IPT_INV_VIA_IN) !== 0)) return false
    if (this.#output.matches(output) === ((inverted & IPT_INV_VIA_OUT) !== 0)) return false
    return this.#isV4 ? this.#restMatches4(packet) : this.#protocolMatches6(packet)
  }

  #restMatches4(packet: Packet): boolean {
    const inverted = this.#inverted
    if (this.#protocol !== 0) {
      const same = packet.transportProtocol === this.#protocol
      if (same === ((inverted & IPT_INV_PROTO) !== 0)) return false
    }
    const fits = (this.#flags & IPT_F_FRAG) === 0 || isLaterFragment(packet)
    return fits !== ((inverted & IPT_INV_FRAG) !== 0)
  }

  #protocolMatches6({ transportProtocol }: Packet): boolean {
    if ((this.#flags & IP6T_F_PROTO) === 0) return true
    const inverted = (this.#inverted & IPT_INV_PROTO) !== 0
    if (transportProtocol === this.#protocol) return !inverted
    return this.#protocol === 0 || inverted
  }
}

function isLaterFragment({ view, network }: Packet): boolean {
  return (view.getUint16(network + 6) & IP_OFFSET) !== 0
}

class AddressMatch {
  readonly #address: IpAddress
  readonly #mask: IpAddress
  /** Any address: the commonest case. */
  readonly #any: boolean

  constructor(view: DataView, at: number, maskAt: number, isV4: boolean) {
    this.#address = IpAddress.read(view, at, isV4)
    this.#mask = IpAddress.read(view, maskAt, isV4)
    this.#any = this.#mask.isAny && this.#address.isAny
  }
  matches({ w0, w1, w2, w3 }: IpAddress): boolean {
    if (this.#any) return true
    const address = this.#address
    const mask = this.#mask
    if ((w3 & mask.w3) >>> 0 !== address.w3) return false
    if (address.isV4) return true
    return (
      (w0 & mask.w0) >>> 0 === address.w0 &&
      (w1 & mask.w1) >>> 0 === address.w1 &&
      (w2 & mask.w2) >>> 0 === address.w2
    )
  }
}

class NameMatch {
  readonly #name: Uint8Array
  readonly #mask: Uint8Array

  constructor(bytes: Uint8Array, at: number, maskAt: number) {
    const mask = bytes.slice(maskAt, maskAt + IFNAMSIZ)
    // As many as say something.
    const length = mask.findLastIndex(byte => byte !== 0) + 1
    this.#mask = mask.subarray(0, length)
    this.#name = bytes.slice(at, at + length)
  }
  matches(device: NetDevice | undefined): boolean {
    const mask = this.#mask
    for (let i = 0; i < mask.length; i++) {
      const code = device === undefined || i >= device.name.length ? 0 : device.name.charCodeAt(i)
      if (((code ^ this.#name[i]) & mask[i]) !== 0) return false
    }
    return true
  }
}
