/**
 * PacketMemberships: PACKET_ADD_MEMBERSHIP and PACKET_DROP_MEMBERSHIP: for whom else devices listen because of a packet socket:
 * packet(7). The same one joined again is counted.
 */
import { PACKET_MR_ALLMULTI, PACKET_MR_MULTICAST, PACKET_MR_PROMISC } from '../../abi/constants.ts'
import { EINVAL, ENOBUFS, ENODEV } from '../../abi/errno.ts'
import { PACKET_MREQ } from '../../abi/layout.ts'
import type { Status } from '../../base/result.ts'
import type { NetDevice } from '../link/device.ts'

/** More than these are refused as for want of memory. */
const MAX_MEMBERSHIPS = 1024
const ADDRESS_SIZE = 8
const TYPES: ReadonlySet<number> = new Set([PACKET_MR_PROMISC, PACKET_MR_ALLMULTI, PACKET_MR_MULTICAST])

interface Membership {
  readonly index: number
  readonly type: number
  count: number
}

export class PacketMemberships {
  readonly #devices: { byIndex(index: number): NetDevice | undefined }
  /** By the bytes of their struct packet_mreq. */
  readonly #joined = new Map<string, Membership>()

  constructor(devices: { byIndex(index: number): NetDevice | undefined }) {
    this.#devices = devices
  }

  /** packet_mc_add: `value` is a struct packet_mreq. */
  add(value: Uint8Array): Status {
    const { key, index, type } = read(value)
    const device = this.#devices.byIndex(index)
    if (device === undefined) return -ENODEV
    const known = this.#joined.get(key)
    if (known !== undefined) {
      known.count++
      return 0
    }
    if (!TYPES.has(type)) return -EINVAL
    if (this.#joined.size >= MAX_MEMBERSHIPS) return -ENOBUFS
    this.#joined.set(key, { index, type, count: 1 })
    listen(device, type, 1)
    return 0
  }

  /** packet_mc_drop */
  drop(value: Uint8Array): Status {
    const { key } = read(value)
    const known = this.#joined.get(key)
    if (known === undefined || --known.count > 0) return 0
    this.#joined.delete(key)
    this.#leave(known)
    return 0
  }

  clear(): void {
    for (const membership of this.#joined.values()) this.#leave(membership)
    this.#joined.clear()
  }
  #leave({ index, type }: Membership): void {
    const device = this.#devices.byIndex(index)
    if (device !== undefined) listen(device, type, -1)
  }
}

function read(value: Uint8Array): { key: string; index: number; type: number } {
  const view = new DataView(value.buffer, value.byteOffset, value.length)
  const index = view.getInt32(PACKET_MREQ.mr_ifindex, true)
  const type = view.getUint16(PACKET_MREQ.mr_type, true)
  const address = value.subarray(PACKET_MREQ.mr_address, PACKET_MREQ.mr_address + ADDRESS_SIZE)
  return { key: `${index} ${type} ${address}`, index, type }
}

function listen(device: NetDevice, type: number, by: number): void {
  if (type === PACKET_MR_PROMISC) device.promiscuity += by
  else device.allMulticast += by
  device.filterChanged()
}
