/** veth(4): a pair of Ethernet devices that are each other's cable, usually in two namespaces. They end together. */
import { ENETDOWN } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { Random } from '../ip/runtime.ts'
import type { IpStack } from '../ip-stack.ts'
import type { Packet } from '../packet.ts'
import { NetDevice } from './device.ts'

export class VethDevice extends NetDevice {
  override readonly kind: string = 'veth'
  peer: VethDevice | undefined = undefined

  constructor(name: string, address: Uint8Array) {
    super(name)
    this.address = address
    this.carrier = false
    // Checksums are of no use on a cable without errors, and the other side takes what is to be split.
    this.features = { checksum: true, segmentation: true, udpSegmentation: true, gsoMaxSize: 65536 }
  }

  override get linkIndex(): number | undefined {
    return this.peer?.index
  }
  override get linkStack(): IpStack | undefined {
    return this.peer?.stack
  }

  override transmit(packet: Packet): Status {
    const { peer } = this
    const other = peer?.stack
    if (peer === undefined || other === undefined || !peer.up) {
      this.statistics.txDropped++
      packet.release()
      return -ENETDOWN
    }
    this.countSent(packet.length)
    packet.scrubAll()
    other.receive(peer, packet)
    return 0
  }

  /** There is a carrier while both ends are up. */
  override opened(): Status {
    this.#setCarrier(this.peer?.up === true)
    return 0
  }
  override stopped(): void {
    this.#setCarrier(false)
  }
  /** Takes the other end with it. */
  override close(): void {
    super.close()
    const { peer } = this
    this.peer = undefined
    if (peer === undefined) return
    peer.peer = undefined
    peer.stack?.devices.unregister(peer)
    peer.close()
  }

  #setCarrier(carrier: boolean): void {
    const { peer } = this
    this.stack?.devices.setCarrier(this, carrier)
    if (peer?.stack !== undefined) peer.stack.devices.setCarrier(peer, carrier)
  }
}

/** Two ends, not registered yet. */
export function vethPair(random: Random, name: string, peerName: string): [VethDevice, VethDevice] {
  const one = new VethDevice(name, randomMac(random))
  const other = new VethDevice(peerName, randomMac(random))
  one.peer = other
  other.peer = one
  return [one, other]
}

/** A locally administered unicast address. */
export function randomMac(random: Random): Uint8Array {
  const mac = new Uint8Array(6)
  for (let i = 0; i < 6; i++) mac[i] = random.below(256)
  mac[0] = (mac[0] & 0xfc) | 2
  return mac
}
