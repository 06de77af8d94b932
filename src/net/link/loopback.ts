/** The loopback device: what goes out comes in again. Its packets need no checksums and are never split. */
import { ARPHRD_LOOPBACK, IFF_LOOPBACK } from '../../abi/constants.ts'
import type { Status } from '../../base/result.ts'
import type { Packet } from '../packet.ts'
import { NetDevice } from './device.ts'

export class LoopbackDevice extends NetDevice {
  override readonly kind = ''

  constructor() {
    super('lo')
    this.type = ARPHRD_LOOPBACK
    this.mtu = 65536
    this.minMtu = 0
    this.maxMtu = 0x7fffffff
    this.flags = IFF_LOOPBACK
    this.features = { checksum: true, segmentation: true, udpSegmentation: true, gsoMaxSize: 65536 }
  }

  override transmit(packet: Packet): Status {
    this.countSent(packet.length)
    packet.scrub()
    this.stack!.receive(this, packet)
    return 0
  }
}
