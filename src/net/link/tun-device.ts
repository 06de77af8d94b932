/**
 * TunDevice: an interface whose cable ends in a program (tuntap.rst of Linux). What the stack sends over it waits in a queue
 * of an open /dev/net/tun (TunQueue), and what is written there has come in. A `tun` carries IP packets, a `tap` frames.
 *
 * Made by TUNSETIFF (tun-file.ts), which attaches the file as a queue; it ends with its last file unless it is persistent, by
 * RTM_DELLINK, or with its namespace. Then its files are without a device.
 */
import {
  ARPHRD_NONE,
  ETH_HLEN,
  IFF_MULTI_QUEUE,
  IFF_MULTICAST,
  IFF_NO_PI,
  IFF_NOARP,
  IFF_PERSIST,
  IFF_POINTOPOINT,
  IFF_TAP,
  IFF_TUN,
  IFF_VNET_HDR,
} from '../../abi/constants.ts'
import { EINVAL, ENOBUFS } from '../../abi/errno.ts'
import { INVALID_ID } from '../../base/id-map.ts'
import type { Status } from '../../base/result.ts'
import type { Random } from '../ip/runtime.ts'
import type { IpStack } from '../ip-stack.ts'
import type { Packet } from '../packet.ts'
import { NetDevice } from './device.ts'
import { OFFLOAD_HEADER } from './offload-header.ts'
import { randomMac } from './veth.ts'

/** TUN_READQ_SIZE: packets that wait for the program behind a tun. */
const TUN_QUEUE_LENGTH = 500
const MAX_MTU = 65535

/** A file that is attached to the device: where packets go. */
export interface TunQueue {
  /** Takes the packet; false when there is no room for it. */
  enqueue(packet: Packet): boolean
  /** The device has gone up or down, or (`gone`) for good. */
  deviceChanged(gone: boolean): void
}

export class TunDevice extends NetDevice {
  override readonly kind = 'tun'
  /** IFF_TUN or IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE, IFF_PERSIST. */
  mode: number
  /** Who may attach to it without CAP_NET_ADMIN: kernel ids, INVALID_ID for nobody. */
  owner = INVALID_ID
  ownerGroup = INVALID_ID
  /** The header in front of each packet with IFF_VNET_HDR: what we know of it, then zeros. */
  offloadHeader = OFFLOAD_HEADER
  sendBuffer = 0x7fffffff
  readonly queues: TunQueue[] = []
  /** Those that TUNSETQUEUE has taken out for now. */
  readonly detached = new Set<TunQueue>()

  constructor(name: string, mode: number, random: Random) {
    super(name)
    this.mode = mode
    if (this.isTap) {
      this.address = randomMac(random)
      this.maxMtu = MAX_MTU - ETH_HLEN
    } else {
      this.type = ARPHRD_NONE
      this.headerLength = 0
      this.flags = IFF_POINTOPOINT | IFF_NOARP | IFF_MULTICAST
      this.txQueueLength = TUN_QUEUE_LENGTH
      this.maxMtu = MAX_MTU
    }
  }

  get isTap(): boolean {
    return (this.mode & IFF_TAP) !== 0
  }
  get persistent(): boolean {
    return (this.mode & IFF_PERSIST) !== 0
  }
  get multiQueue(): boolean {
    return (this.mode & IFF_MULTI_QUEUE) !== 0
  }
  /** How many files there are. */
  get fileCount(): number {
    return this.queues.length + this.detached.size
  }

  override transmit(packet: Packet): Status {
    const queue = this.queues[this.queues.length > 1 ? flowHash(packet) % this.queues.length : 0]
    const { length } = packet
    if (queue === undefined || !queue.enqueue(packet)) {
      this.statistics.txDropped++
      packet.release()
      return -ENOBUFS
    }
    this.countSent(length)
    return 0
  }

  override opened(): Status {
    this.#tell(false)
    return 0
  }
  override stopped(): void {
    this.#tell(false)
  }
  override close(): void {
    super.close()
    const files = [...this.queues, ...this.detached]
    this.queues.length = 0
    this.detached.clear()
    for (const file of files) file.deviceChanged(true)
  }

  #tell(gone: boolean): void {
    for (const queue of this.queues) queue.deviceChanged(gone)
  }

  /** A file lets go. Without any, a device that isn't persistent ends; one that is has no carrier. */
  detach(queue: TunQueue): void {
    const at = this.queues.indexOf(queue)
    if (at >= 0) this.queues.splice(at, 1)
    this.detached.delete(queue)
    const { stack } = this
    if (this.fileCount > 0 || stack === undefined) return
    if (this.persistent) stack.devices.setCarrier(this, false)
    else {
      stack.devices.unregister(this)
      this.close()
    }
  }

  /** tun_flags, as TUNGETIFF and /sys/class/net show them. */
  get shownMode(): number {
    return this.mode & (IFF_TUN | IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE | IFF_PERSIST)
  }
}

/** A device for TUNSETIFF, registered. `mode`: IFF_TUN or IFF_TAP and what goes with it. */
export function makeTun(stack: IpStack, name: string, mode: number, index: number): TunDevice | Status {
  if ((mode & (IFF_TUN | IFF_TAP)) === 0) return -EINVAL
  const device = new TunDevice(name || ((mode & IFF_TUN) !== 0 ? 'tun%d' : 'tap%d'), mode, stack.random)
  const status = stack.devices.register(device, index)
  return status < 0 ? status : device
}

/** The same for both directions of a connection and all of its packets: of the addresses and whatever lies between. */
function flowHash(packet: Packet): number {
  const { bytes, network, start, end } = packet
  const at = network < 0 ? start : network
  const last = Math.min(end, at + 44)
  let sum = 0
  // Addresses and ports of IPv4 without options or of IPv6: from the twelfth or the eighth byte on.
  const v4 = bytes[at] >> 4 === 4
  for (let i = at + (v4 ? 12 : 8); i + 1 < (v4 ? Math.min(last, at + 24) : last); i += 2)
    sum += bytes[i] * 256 + bytes[i + 1]
  return sum
}
