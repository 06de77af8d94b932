/**
 * ifb, an intermediate functional block: what filters redirect to it passes its queueing discipline and then goes on where it was
 * taken from, in or out. So what comes in can be queued and held to a rate too.
 */
import { IFF_BROADCAST, IFF_NOARP } from '../../abi/constants.ts'
import { EINVAL } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { Packet } from '../packet.ts'
import { RETURNED } from '../qdisc/redirected.ts'
import { NetDevice } from './device.ts'

export class IfbDevice extends NetDevice {
  override readonly kind = 'ifb'

  constructor(name: string, address: Uint8Array) {
    super(name)
    this.address = address
    this.flags = IFF_BROADCAST | IFF_NOARP
    this.minMtu = 0
    this.maxMtu = 0
    this.txQueueLength = 32
    this.features = { checksum: true, segmentation: true, udpSegmentation: true, gsoMaxSize: 65536 }
  }

  override checkMtu(): Status {
    return 0
  }

  override transmit(packet: Packet): Status {
    const from = packet.redirected
    const origin = from?.device
    this.countReceived(packet.length)
    if (from === undefined || origin?.stack === undefined || origin.stack !== this.stack || !origin.up) {
      this.statistics.rxDropped++
      packet.release()
      return -EINVAL
    }
    this.countSent(packet.length)
    packet.redirected = undefined
    if (!from.ingress) {
      // Past the filters that have sent it here, by which it must not come again.
      return origin.traffic?.enqueue(packet) ?? origin.sendNow(packet)
    }
    const { runtime, sysctls } = origin.stack
    packet.network = packet.transport = -1
    packet.redirected = RETURNED
    runtime.backlog.push(origin, packet, sysctls.core.netdev_max_backlog)
    return 0
  }
}
