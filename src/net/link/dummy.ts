/** dummy(4): a device that drops what is sent over it. */
import { IFF_BROADCAST, IFF_NOARP } from '../../abi/constants.ts'
import type { Status } from '../../base/result.ts'
import type { Packet } from '../packet.ts'
import { NetDevice } from './device.ts'

export class DummyDevice extends NetDevice {
  override readonly kind = 'dummy'

  constructor(name: string, address: Uint8Array) {
    super(name)
    this.address = address
    this.flags = IFF_BROADCAST | IFF_NOARP
    this.features = { checksum: true, segmentation: true, udpSegmentation: true, gsoMaxSize: 65536 }
  }

  override transmit(packet: Packet): Status {
    this.countSent(packet.length)
    packet.release()
    return 0
  }
}
