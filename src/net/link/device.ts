/**
 * NetDevice: a network interface, netdevice(7).
 *
 * Made by who has the link (loopback.ts, veth.ts, bridge.ts, the host's links), registered with one IpStack at a time by
 * its DeviceTable, which gives it its index; moved between stacks by unregistering and registering again; ended by
 * DeviceTable.unregister and then `close`.
 *
 * Down the stack: `IpStack.transmit` sees to what the device can't do (segmentation, checksums) and calls `transmit` with
 * the whole frame. Up: the device calls `IpStack.receive(this, packet)` with the whole frame, and at the end of a batch
 * `runtime.backlog.drain()`.
 */
import {
  ARPHRD_ETHER,
  ETH_HLEN,
  IFF_BROADCAST,
  IFF_LOOPBACK,
  IFF_LOWER_UP,
  IFF_MULTICAST,
  IFF_NOARP,
  IFF_RUNNING,
  IFF_UP,
} from '../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { IpStack } from '../ip-stack.ts'
import type { Packet } from '../packet.ts'
import type { TrafficControl } from '../qdisc/traffic-control.ts'
import type { Offloads } from './offloads.ts'
import type { Shaper } from './rate.ts'

/** What /proc/net/dev and IFLA_STATS64 show. */
export class DeviceStatistics {
  rxPackets = 0
  rxBytes = 0
  rxErrors = 0
  rxDropped = 0
  txPackets = 0
  txBytes = 0
  txErrors = 0
  txDropped = 0
  multicast = 0
  collisions = 0
}

/** What the device does by itself, so that the stack needn't. */
export interface DeviceFeatures {
  /** Completes partial checksums, or never needs them. */
  checksum: boolean
  /** Takes packets that are to be split (TCP). */
  segmentation: boolean
  /** The same for UDP_SEGMENT's. */
  udpSegmentation: boolean
  /** The longest IP packet that it takes to be split. */
  gsoMaxSize: number
}

/** A device that takes all frames of another one: a bridge of its ports. */
export interface FrameHandler {
  /** Whether the frame (link header still at packet.link, already pulled) was consumed. */
  handleFrame(port: NetDevice, packet: Packet): boolean
}

/** A policy that holds what goes over a device: policy/guard.ts. It doesn't own the packets that it sees. */
export interface DeviceGuard {
  /** A whole frame is about to leave. False: it may not, and its sender knows. */
  leaves(device: NetDevice, packet: Packet): boolean
  /** A packet has come, its network header at packet.start. */
  arrives(device: NetDevice, packet: Packet): void
}

export abstract class NetDevice {
  /** What IFLA_INFO_KIND shows; '' for none. */
  abstract readonly kind: string
  /** Given by the DeviceTable. */
  index = 0
  name: string
  type = ARPHRD_ETHER
  mtu = 1500
  minMtu = 68
  maxMtu = 65535
  /** Bytes of the link header: Ethernet's 14, or 0. */
  headerLength = ETH_HLEN
  /** IFLA_ADDRESS is told though there is no link header: of a tunnel, whose addresses are its ends. */
  hasAddress = false
  address: Uint8Array = new Uint8Array(6)
  /** Somebody has set it: a bridge's doesn't follow its ports' any more. */
  addressSet = false
  broadcast: Uint8Array = new Uint8Array(6).fill(0xff)
  flags = IFF_BROADCAST | IFF_MULTICAST
  features: DeviceFeatures = {
    checksum: false,
    segmentation: false,
    udpSegmentation: false,
    gsoMaxSize: 65536,
  }
  /** Those that it has by itself, once some were switched off; and what can be switched: offloads.ts. */
  nativeFeatures: DeviceFeatures | undefined = undefined
  offloads: Offloads | undefined = undefined
  txQueueLength = 1000
  group = 0
  alias = ''
  /** Names beside its own, by which requests find it (`ip link property`). */
  readonly alternativeNames: string[] = []
  /** The cable is in. Told to the stack by DeviceTable.setCarrier. */
  carrier = true
  /** Something has said whether it is in: IF_OPER_UNKNOWN till then. */
  carrierKnown = true
  /** The index of the device on the other side or below, as IFLA_LINK shows; undefined: it is no such device. */
  get linkIndex(): number | undefined {
    return undefined
  }
  /** The devices that what it sends goes out by: nesting.ts. */
  get below(): readonly NetDevice[] {
    return []
  }
  /** The namespace that the index is of, where it can be another one than the device's. */
  get linkStack(): IpStack | undefined {
    return undefined
  }
  readonly statistics = new DeviceStatistics()
  /** The namespace that it is in. */
  stack: IpStack | undefined = undefined
  /** The bridge or bond that it is a port of. */
  master: NetDevice | undefined = undefined
  frameHandler: FrameHandler | undefined = undefined
  /** Takes the tagged frames of the VLANs that there are over it. */
  vlans: FrameHandler | undefined = undefined
  /** The devices over it (upper.ts): they end with it. */
  readonly uppers: NetDevice[] = []
  guard: DeviceGuard | undefined = undefined
  /** Holds what it sends to a rate. */
  shaper: Shaper | undefined = undefined
  /** Queueing disciplines and filters: none unless some were set. */
  traffic: TrafficControl | undefined = undefined
  /** How many want all frames (IFF_PROMISC) or all multicasts. */
  promiscuity = 0
  allMulticast = 0
  /** Hardware multicast addresses listened to, as a hexadecimal key, with the number of who want them. */
  readonly multicastList = new Map<string, number>()

  constructor(name: string) {
    this.name = name
  }

  /** Since it came into its namespace. */
  wasUp = false

  get up(): boolean {
    return (this.flags & IFF_UP) !== 0
  }
  get running(): boolean {
    return this.up && this.carrier
  }
  get isLoopback(): boolean {
    return (this.flags & IFF_LOOPBACK) !== 0
  }
  /** Neighbours are asked for by ARP or NDP. */
  get needsNeighbours(): boolean {
    return this.headerLength > 0 && (this.flags & (IFF_NOARP | IFF_LOOPBACK)) === 0
  }
  /** Flags as netdevice(7) and rtnetlink(7) show them. */
  get shownFlags(): number {
    return this.running ? this.flags | IFF_RUNNING | IFF_LOWER_UP : this.flags & ~IFF_RUNNING
  }

  /** Sends a whole frame, in its turn. */
  send(packet: Packet): Status {
    const { traffic } = this
    return traffic === undefined ? this.sendNow(packet) : traffic.send(packet)
  }
  /** The same, past the queueing disciplines. */
  sendNow(packet: Packet): Status {
    const { shaper, stack } = this
    return shaper === undefined || stack === undefined
      ? this.transmit(packet)
      : shaper.send(packet, stack.runtime.now())
  }

  /** Sends a whole frame and owns it from now on. 0, or a negative errno when it was dropped. */
  abstract transmit(packet: Packet): Status

  /** Set up and down, by DeviceTable.setUp. */
  opened(): Status {
    return 0
  }
  stopped(): void {}
  /** The multicast list or promiscuity has changed. */
  filterChanged(): void {}
  /** Of a bridge or a bond: takes a device as one of its ports, or lets it go. -EOPNOTSUPP: it is nothing of the kind. */
  addPort(_port: NetDevice): Status {
    return -EOPNOTSUPP
  }
  removePort(_port: NetDevice): Status {
    return -EINVAL
  }
  /** Of the same: whether frames can go by one of its ports has changed. */
  portChanged(): void {}
  /** Of an upper device: carrier or MTU of the one below have changed. */
  lowerChanged(): void {}
  /** Whether it may have the MTU. -EINVAL. */
  checkMtu(mtu: number): Status {
    return mtu < this.minMtu || mtu > this.maxMtu ? -EINVAL : 0
  }
  /** It is out of its stack for good, and so is what is over it. */
  close(): void {
    for (const upper of [...this.uppers]) {
      upper.stack?.devices.unregister(upper)
      upper.close()
    }
  }

  countReceived(bytes: number): void {
    this.statistics.rxPackets++
    this.statistics.rxBytes += bytes
  }
  countSent(bytes: number): void {
    this.statistics.txPackets++
    this.statistics.txBytes += bytes
  }
}

export function formatMac(address: Uint8Array): string {
  return Array.from(address, byte => byte.toString(16).padStart(2, '0')).join(':')
}
