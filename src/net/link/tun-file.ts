/**
 * /dev/net/tun, once opened: nothing until TUNSETIFF makes it a queue of a TunDevice. One read takes one packet, one write
 * brings one. In front of each may stand a struct tun_pi (unless IFF_NO_PI) and a virtio-net header (with IFF_VNET_HDR), in
 * that order.
 *
 * The file stays with the network namespace in which it was opened, and keeps that.
 */
import {
  ETH_HLEN,
  ETH_P_IP,
  ETH_P_IPV6,
  IFF_NO_PI,
  IFF_VNET_HDR,
  POLLERR,
  POLLIN,
  POLLOUT,
  POLLRDNORM,
  POLLWRNORM,
  TUN_PKT_STRIP,
} from '../../abi/constants.ts'
import { EAGAIN, EBADFD, EFAULT, EINVAL, EIO } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { IoDst, IoSrc } from '../../base/io.ts'
import type { Status } from '../../base/result.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import type { NetNamespace } from '../../kernel/namespaces.ts'
import { File, type IoctlContext } from '../../vfs/file.ts'
import type { Path } from '../../vfs/path.ts'
import type { IpStack } from '../ip-stack.ts'
import { CHECKSUM_PARTIAL, GSO_NONE, HEADROOM, type Packet, PacketQueue } from '../packet.ts'
import { OFFLOAD_HEADER, readOffloads, withHeaderRoom, writeOffloads } from './offload-header.ts'
import type { TunDevice, TunQueue } from './tun-device.ts'
import { tunIoctl } from './tun-requests.ts'

/** struct tun_pi: flags, then the protocol in network byte order. */
const PI = { size: 4, flags: 0, proto: 2 }
/** The longest that a write may bring, headers apart: 64 KiB of IP packet and a link header with a tag. */
const MAX_FRAME = 65536 + 18
/** Bytes of buffers of packets that wait to be read; the guest says how many there may be: the device's txQueueLength. */
const QUEUE_BYTES = 4 << 20
/** virtio_net_hdr: where it says how long the headers are. */
const HEADER_LENGTH_AT = 2
const CHECKSUM_START_AT = 6
const CHECKSUM_OFFSET_AT = 8

export class TunFile extends File implements TunQueue {
  readonly ns: NetNamespace
  readonly stack: IpStack
  device: TunDevice | undefined = undefined
  /** TUNSETIFINDEX: the index that the device is to get; 0 for any. */
  wantedIndex = 0
  readonly #packets = new PacketQueue()
  readonly #queue = new WaitQueue()

  constructor(path: Path, flags: number, cred: Credentials, ns: NetNamespace, stack: IpStack) {
    super(path, flags, cred)
    this.ns = ns
    this.stack = stack
    ns.holders++
  }

  override get waitQueue(): WaitQueue {
    return this.#queue
  }
  override get canSignal(): boolean {
    return true
  }

  override poll(): number {
    const { device } = this
    if (device === undefined) return POLLERR
    const readable = this.#packets.length > 0 ? POLLIN | POLLRDNORM : 0
    return readable | (device.up ? POLLOUT | POLLWRNORM : 0)
  }

  // From the stack to the program.

  enqueue(packet: Packet): boolean {
    const queue = this.#packets
    const limit = this.device?.txQueueLength ?? 0
    if (queue.length >= limit || queue.memory + packet.bytes.length > QUEUE_BYTES) return false
    packet.scrubAll()
    queue.push(withHeaderRoom(packet))
    this.#queue.wake(POLLIN | POLLRDNORM)
    return true
  }

  deviceChanged(gone: boolean): void {
    if (gone) {
      this.device = undefined
      this.#packets.clear()
    }
    this.#queue.wakeAll()
  }

  /** A packet that the reader has no room for is cut; it gets the length that was. */
  override read(into: IoDst): number {
    const { device } = this
    if (device === undefined) return -EBADFD
    const packet = this.#packets.shift()
    if (packet === undefined) return -EAGAIN
    const room = into.remaining
    const head = this.#headerOf(device, packet, room)
    let n = head.length > room ? -EINVAL : into.put(head)
    if (n >= 0) {
      const body = packet.data().subarray(0, into.remaining)
      const put = body.length > 0 ? into.put(body) : 0
      n = put < 0 ? put : Math.min(room, head.length + packet.length)
    }
    packet.release()
    return n
  }

  #headerOf(device: TunDevice, packet: Packet, room: number): Uint8Array {
    const info = (device.mode & IFF_NO_PI) === 0 ? PI.size : 0
    const offloads = (device.mode & IFF_VNET_HDR) !== 0 ? device.offloadHeader : 0
    const head = new Uint8Array(info + offloads)
    if (info > 0) {
      const view = new DataView(head.buffer)
      view.setUint16(PI.flags, room < head.length + packet.length ? TUN_PKT_STRIP : 0, true)
      view.setUint16(PI.proto, packet.networkProtocol)
    }
    if (offloads > 0) {
      writeOffloads(packet)
      head.set(packet.bytes.subarray(packet.start - OFFLOAD_HEADER, packet.start), info)
    } else if (packet.checksum === CHECKSUM_PARTIAL) packet.completeChecksum()
    return head
  }

  // From the program to the stack.

  override write(from: IoSrc): number {
    const { device } = this
    if (device === undefined) return -EBADFD
    const total = from.remaining
    let protocol = 0
    if ((device.mode & IFF_NO_PI) === 0) {
      if (total < PI.size) return -EINVAL
      const info = new Uint8Array(PI.size)
      if (from.take(info) < PI.size) return -EFAULT
      protocol = info[PI.proto] * 256 + info[PI.proto + 1]
    }
    const offloads = (device.mode & IFF_VNET_HDR) !== 0 ? device.offloadHeader : 0
    if (from.remaining < offloads) return -EINVAL
    const header = new Uint8Array(offloads)
    if (offloads > 0 && from.take(header) < offloads) return -EFAULT
    const length = from.remaining
    const headers = headersLength(header)
    if (headers > length || length > MAX_FRAME) return -EINVAL
    if (device.isTap && (length < ETH_HLEN || (headers > 0 && headers < ETH_HLEN))) return -EINVAL
    const packet = this.stack.packets.allocate(length, HEADROOM)
    packet.append(length)
    const status =
      from.take(packet.data()) < length ? -EFAULT : this.#receive(device, packet, header, protocol)
    if (status < 0) {
      packet.release()
      return status
    }
    return total
  }

  /** On success the packet is the stack's. */
  #receive(device: TunDevice, packet: Packet, header: Uint8Array, protocol: number): Status {
    const { stack } = device
    if (!device.up || stack === undefined) return -EIO
    if (header.length > 0) {
      packet.bytes.set(header.subarray(0, OFFLOAD_HEADER), packet.start - OFFLOAD_HEADER)
      if (!readOffloads(packet) || (packet.gsoType !== GSO_NONE && packet.gsoSize === 0)) {
        device.statistics.rxErrors++
        return -EINVAL
      }
    }
    if (!device.isTap) {
      const version = packet.length > 0 ? packet.bytes[packet.start] >> 4 : 0
      const found = version === 4 ? ETH_P_IP : version === 6 ? ETH_P_IPV6 : 0
      if ((device.mode & IFF_NO_PI) !== 0 && found === 0) {
        device.statistics.rxDropped++
        return -EINVAL
      }
      // What isn't IP, or isn't what it says, nobody here would take.
      if ((device.mode & IFF_NO_PI) === 0 && (found === 0 || found !== protocol)) {
        device.countReceived(packet.length)
        packet.release()
        return 0
      }
    }
    stack.receive(device, packet)
    stack.runtime.backlog.drain()
    return 0
  }

  override ioctl(context: IoctlContext, request: number, argument: number): number {
    return tunIoctl(this, context, request, argument)
  }

  override release(): void {
    this.device?.detach(this)
    this.device = undefined
    this.#packets.clear()
    this.ns.holders--
    this.ns.runtime?.released()
  }
}

/** What the virtio-net header says of the length of all headers, at least up to the checksum; 0 without. */
function headersLength(header: Uint8Array): number {
  if (header.length === 0) return 0
  const view = new DataView(header.buffer)
  const said = view.getUint16(HEADER_LENGTH_AT, true)
  const needsChecksum = (header[0] & 1) !== 0
  if (!needsChecksum) return said
  const checksumEnd = view.getUint16(CHECKSUM_START_AT, true) + view.getUint16(CHECKSUM_OFFSET_AT, true) + 2
  return Math.max(said, checksumEnd)
}
