/**
 * UpperDevice: a device over another one, the lower: what it sends goes out by that one, and of what comes in there it gets
 * its part (vlan.ts, macvlan.ts). It is made over its lower, may then be moved to another namespace while the lower stays,
 * has a carrier as long as the lower runs, and ends with it at the latest.
 */
import { EINVAL, ENETDOWN } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { IpStack } from '../ip-stack.ts'
import type { Packet } from '../packet.ts'
import { NetDevice } from './device.ts'

export abstract class UpperDevice extends NetDevice {
  readonly lower: NetDevice

  constructor(name: string, lower: NetDevice, address: Uint8Array) {
    super(name)
    this.lower = lower
    this.address = address
    this.mtu = lower.mtu
    this.carrier = lower.running
    lower.uppers.push(this)
  }

  override get linkIndex(): number {
    return this.lower.index
  }
  override get below(): readonly NetDevice[] {
    return [this.lower]
  }
  override get linkStack(): IpStack | undefined {
    return this.lower.stack
  }

  override opened(): Status {
    this.lowerChanged()
    return 0
  }

  override lowerChanged(): void {
    const { stack, lower } = this
    if (stack === undefined) return
    stack.devices.setCarrier(this, lower.running)
    if (this.mtu > lower.mtu) stack.devices.setMtu(this, lower.mtu)
  }

  override checkMtu(mtu: number): Status {
    return mtu > this.lower.mtu ? -EINVAL : super.checkMtu(mtu)
  }

  override close(): void {
    super.close()
    const { uppers } = this.lower
    const at = uppers.indexOf(this)
    if (at >= 0) uppers.splice(at, 1)
  }

  /**
   * A frame that came in below, or was sent by a neighbour over the same device, is this device's: the link header at
   * packet.link. Owns the packet.
   */
  deliver(packet: Packet): void {
    const { stack } = this
    if (stack === undefined) {
      packet.release()
      return
    }
    packet.start = packet.link
    if (stack !== this.lower.stack || packet.device !== this.lower) packet.scrubAll()
    packet.network = -1
    stack.receive(this, packet)
  }

  /** Sends a whole frame out by the lower device. */
  protected hand(packet: Packet): Status {
    const { lower } = this
    const below = lower.stack
    if (below === undefined || !lower.up) {
      this.statistics.txDropped++
      packet.release()
      return -ENETDOWN
    }
    this.countSent(packet.length)
    return below.transmit(lower, packet)
  }
}
