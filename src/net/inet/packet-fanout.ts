/**
 * FanoutGroup: PACKET_FANOUT: packet sockets that share what they would all see, each packet going to one of them: packet(7).
 * Made by the first socket that joins under a number, there until the last one has gone.
 */
import {
  ETH_P_IP,
  ETH_P_IPV6,
  IPPROTO_TCP,
  IPPROTO_UDP,
  PACKET_FANOUT_CBPF,
  PACKET_FANOUT_CPU,
  PACKET_FANOUT_EBPF,
  PACKET_FANOUT_FLAG_ROLLOVER,
  PACKET_FANOUT_FLAG_UNIQUEID,
  PACKET_FANOUT_HASH,
  PACKET_FANOUT_LB,
  PACKET_FANOUT_QM,
  PACKET_FANOUT_RND,
  PACKET_FANOUT_ROLLOVER,
} from '../../abi/constants.ts'
import { EALREADY, EINVAL, ENOMEM, ENOSPC } from '../../abi/errno.ts'
import { FANOUT_ARGS } from '../../abi/layout.ts'
import type { OrErrno } from '../../base/result.ts'
import type { NetDevice } from '../link/device.ts'
import type { Packet } from '../packet.ts'
import type { SocketFilter } from './filter.ts'
import type { PacketSocket } from './packet-socket.ts'

const DEFAULT_MEMBERS = 256
/** PACKET_FANOUT_MAX */
const MAX_MEMBERS = 1 << 16

export class FanoutGroup {
  readonly id: number
  readonly type: number
  /** PACKET_FANOUT_FLAG_*, without that for a new number. */
  readonly flags: number
  readonly maxMembers: number
  readonly members: PacketSocket[] = []
  /** PACKET_FANOUT_DATA: with PACKET_FANOUT_CBPF, who gets a packet. */
  program: SocketFilter | undefined = undefined
  #next = 0

  constructor(id: number, type: number, flags: number, maxMembers: number) {
    this.id = id
    this.type = type
    this.flags = flags
    this.maxMembers = maxMembers
  }

  /** What getsockopt(2) tells. */
  get number(): number {
    return this.id | (this.type << 16) | ((this.flags >> 8) << 24)
  }

  /** From the tap. */
  seen(device: NetDevice, packet: Packet): void {
    const { members } = this
    const first = members[0]
    if (first === undefined || !first.listensTo(device, packet)) return
    const chosen = this.#choose(packet, device) % members.length
    const rolls = this.type === PACKET_FANOUT_ROLLOVER || (this.flags & PACKET_FANOUT_FLAG_ROLLOVER) !== 0
    const taker = members[rolls ? this.#rollOver(chosen, packet) : chosen]
    taker.seen(device, packet)
  }

  /** The first from `chosen` on that has room; where none has, that one. */
  #rollOver(chosen: number, packet: Packet): number {
    const { members } = this
    for (let i = 0; i < members.length; i++) {
      const next = (chosen + i) % members.length
      if (members[next].hasRoom(packet)) return next
    }
    return chosen
  }

  #choose(packet: Packet, device: NetDevice): number {
    switch (this.type) {
      case PACKET_FANOUT_HASH:
        return flowHash(packet, device)
      case PACKET_FANOUT_LB:
        return this.#next++
      case PACKET_FANOUT_RND:
        return Math.floor(Math.random() * this.members.length)
      case PACKET_FANOUT_CBPF:
        return this.program?.run(packet, this.members[0].frameStart(device, packet)) ?? 0
    }
    // There is one CPU, and one queue; rolling over begins with the first.
    return 0
  }
}

/** fanout_add: `value` is a struct fanout_args, or its first word. */
export function joinFanout(
  groups: Map<number, FanoutGroup>,
  socket: PacketSocket,
  value: Uint8Array,
): OrErrno<FanoutGroup> {
  const view = new DataView(value.buffer, value.byteOffset, value.length)
  let id = view.getUint16(FANOUT_ARGS.id, true)
  const typeFlags = view.getUint16(FANOUT_ARGS.type_flags, true)
  const asked = value.length < FANOUT_ARGS.size ? 0 : view.getUint32(FANOUT_ARGS.max_num_members, true)
  const type = typeFlags & 0xff
  const flags = typeFlags & 0xff00 & ~PACKET_FANOUT_FLAG_UNIQUEID
  if (!TYPES.has(type)) return -EINVAL
  if (type === PACKET_FANOUT_ROLLOVER && (flags & PACKET_FANOUT_FLAG_ROLLOVER) !== 0) return -EINVAL
  if (socket.fanout !== undefined) return -EALREADY
  if ((typeFlags & PACKET_FANOUT_FLAG_UNIQUEID) !== 0) {
    if (id !== 0) return -EINVAL
    while (groups.has(id)) if (++id > 0xffff) return -ENOMEM
  }
  let group = groups.get(id)
  if (group !== undefined) {
    if (group.flags !== flags || (asked !== 0 && asked !== group.maxMembers)) return -EINVAL
  } else {
    if (asked > MAX_MEMBERS) return -EINVAL
    group = new FanoutGroup(id, type, flags, asked || DEFAULT_MEMBERS)
  }
  if (!socket.running || group.type !== type || !alike(group.members[0], socket)) return -EINVAL
  if (group.members.length >= group.maxMembers) return -ENOSPC
  group.members.push(socket)
  groups.set(id, group)
  return group
}

const TYPES: ReadonlySet<number> = new Set([
  PACKET_FANOUT_HASH,
  PACKET_FANOUT_LB,
  PACKET_FANOUT_CPU,
  PACKET_FANOUT_ROLLOVER,
  PACKET_FANOUT_RND,
  PACKET_FANOUT_QM,
  PACKET_FANOUT_CBPF,
  PACKET_FANOUT_EBPF,
])

/** All members see the same. */
function alike(member: PacketSocket | undefined, socket: PacketSocket): boolean {
  return member === undefined || (member.etherType === socket.etherType && member.device === socket.device)
}

/** Both directions of a connection have the same one. */
function flowHash({ view, bytes, end, networkProtocol, network, start }: Packet, device: NetDevice): number {
  const at = network >= 0 ? network : start + device.headerLength
  let hash = 0
  let ports = -1
  if (networkProtocol === ETH_P_IP && at + 20 <= end) {
    hash = view.getUint32(at + 12) ^ view.getUint32(at + 16)
    const whole = (view.getUint16(at + 6) & 0x3fff) === 0
    if (whole && hasPorts(bytes[at + 9])) ports = at + (bytes[at] & 15) * 4
  } else if (networkProtocol === ETH_P_IPV6 && at + 40 <= end) {
    for (let i = 8; i < 40; i += 4) hash ^= view.getUint32(at + i)
    if (hasPorts(bytes[at + 6])) ports = at + 40
  }
  if (ports >= 0 && ports + 4 <= end) hash ^= view.getUint16(ports) ^ view.getUint16(ports + 2)
  hash = Math.imul(hash ^ (hash >>> 16), 0x7feb352d)
  return (hash ^ (hash >>> 15)) >>> 0
}

function hasPorts(protocol: number): boolean {
  return protocol === IPPROTO_TCP || protocol === IPPROTO_UDP
}
