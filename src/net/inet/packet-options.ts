/** getsockopt(2) and setsockopt(2) of level SOL_PACKET: packet(7). packet_setsockopt. */
import {
  PACKET_ADD_MEMBERSHIP,
  PACKET_AUXDATA,
  PACKET_DROP_MEMBERSHIP,
  PACKET_FANOUT,
  PACKET_FANOUT_CBPF,
  PACKET_FANOUT_DATA,
  PACKET_HDRLEN,
  PACKET_IGNORE_OUTGOING,
  PACKET_LOSS,
  PACKET_ORIGDEV,
  PACKET_QDISC_BYPASS,
  PACKET_RESERVE,
  PACKET_ROLLOVER_STATS,
  PACKET_RX_RING,
  PACKET_STATISTICS,
  PACKET_TIMESTAMP,
  PACKET_TX_HAS_OFF,
  PACKET_VERSION,
  TPACKET_V1,
  TPACKET_V3,
} from '../../abi/constants.ts'
import { EBUSY, EFAULT, EINVAL, ENOPROTOOPT } from '../../abi/errno.ts'
import {
  FANOUT_ARGS,
  PACKET_MREQ,
  TPACKET_REQ,
  TPACKET_REQ3,
  TPACKET_STATS,
  TPACKET_STATS_V3,
} from '../../abi/layout.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import type { GuestAddr } from '../../mm/mm.ts'
import { BlockRing } from './block-ring.ts'
import { readSocketFilter } from './filter.ts'
import { intBytes, readInt } from './option-bytes.ts'
import { PacketRing, ringHeaderSize } from './packet-ring.ts'
import type { PacketSocket } from './packet-socket.ts'

/** Read as they were set. Those about rings for sending, which there are none of, change nothing. */
const REMEMBERED: ReadonlySet<number> = new Set([
  PACKET_AUXDATA,
  PACKET_ORIGDEV,
  PACKET_IGNORE_OUTGOING,
  PACKET_QDISC_BYPASS,
  PACKET_RESERVE,
  PACKET_VERSION,
  PACKET_TIMESTAMP,
  PACKET_LOSS,
  PACKET_TX_HAS_OFF,
])
/** Those that can be set. */
const KNOWN: ReadonlySet<number> = new Set([
  ...REMEMBERED,
  PACKET_ADD_MEMBERSHIP,
  PACKET_DROP_MEMBERSHIP,
  PACKET_FANOUT,
])
/** Those whose value has to have just four bytes. */
const EXACT: ReadonlySet<number> = new Set([
  PACKET_IGNORE_OUTGOING,
  PACKET_QDISC_BYPASS,
  PACKET_LOSS,
  PACKET_TX_HAS_OFF,
])

export function getPacketOption(
  socket: PacketSocket,
  task: Task,
  name: number,
  length: number,
  at: GuestAddr,
): OrErrno<Uint8Array> {
  switch (name) {
    case PACKET_STATISTICS:
      return statistics(socket)
    case PACKET_HDRLEN: {
      if (length < 4) return -EINVAL
      const version = task.mm.u32(at)
      if (version === undefined) return -EFAULT
      const size = ringHeaderSize(version)
      return size < 0 ? size : intBytes(size)
    }
    case PACKET_FANOUT:
      return intBytes(socket.fanout?.number ?? 0)
    case PACKET_ROLLOVER_STATS:
      // How often packets went on to the next one is not counted.
      return -EINVAL
  }
  return REMEMBERED.has(name) ? intBytes(socket.values.get(name) ?? 0) : -ENOPROTOOPT
}

/** Since they were last asked for. */
function statistics(socket: PacketSocket): Uint8Array {
  const blocks = socket.values.get(PACKET_VERSION) === TPACKET_V3
  const view = new DataView(new ArrayBuffer(blocks ? TPACKET_STATS_V3.size : TPACKET_STATS.size))
  const { ring } = socket
  if (blocks && ring instanceof BlockRing) {
    view.setUint32(TPACKET_STATS_V3.tp_freeze_q_cnt, ring.freezes, true)
    ring.freezes = 0
  }
  const { received, drops } = socket.takeCounts()
  view.setUint32(TPACKET_STATS.tp_packets, received + drops, true)
  view.setUint32(TPACKET_STATS.tp_drops, drops, true)
  return new Uint8Array(view.buffer)
}

export function setPacketOption(socket: PacketSocket, task: Task, name: number, value: Uint8Array): Status {
  if (name === PACKET_RX_RING) return setRing(socket, task, value)
  if (name === PACKET_FANOUT_DATA) return setFanoutData(socket, task, value)
  if (!KNOWN.has(name)) return -ENOPROTOOPT
  const number = readInt(value)
  if (number === undefined) return -EINVAL
  switch (name) {
    case PACKET_VERSION:
    case PACKET_RESERVE:
      if (value.length !== 4 || number < 0) return -EINVAL
      if (name === PACKET_VERSION && ringHeaderSize(number) < 0) return -EINVAL
      if (socket.ring !== undefined) return -EBUSY
      socket.values.set(name, number)
      return 0
    case PACKET_ADD_MEMBERSHIP:
    case PACKET_DROP_MEMBERSHIP:
      if (value.length < PACKET_MREQ.size) return -EINVAL
      return name === PACKET_ADD_MEMBERSHIP ? socket.memberships.add(value) : socket.memberships.drop(value)
    case PACKET_FANOUT:
      if (value.length !== 4 && value.length !== FANOUT_ARGS.size) return -EINVAL
      return socket.joinFanout(value)
    case PACKET_TIMESTAMP:
      if (value.length !== 4) return -EINVAL
      socket.values.set(name, number)
      return 0
    case PACKET_IGNORE_OUTGOING:
      if (number < 0 || number > 1) return -EINVAL
  }
  if (EXACT.has(name) && value.length !== 4) return -EINVAL
  socket.values.set(name, number !== 0 ? 1 : 0)
  return 0
}

function setFanoutData(socket: PacketSocket, task: Task, value: Uint8Array): Status {
  const { fanout } = socket
  if (fanout === undefined || fanout.type !== PACKET_FANOUT_CBPF) return -EINVAL
  const program = readSocketFilter(socket, task, value)
  if (typeof program === 'number') return program
  fanout.program = program
  return 0
}

/** packet_set_ring */
function setRing(socket: PacketSocket, task: Task, value: Uint8Array): Status {
  const { values } = socket
  const version = values.get(PACKET_VERSION) ?? TPACKET_V1
  if (value.length < (version === TPACKET_V3 ? TPACKET_REQ3.size : TPACKET_REQ.size)) return -EINVAL
  const request = new DataView(value.buffer, value.byteOffset, value.length)
  const wanted = request.getUint32(TPACKET_REQ.tp_block_nr, true) !== 0
  if (wanted && socket.ring !== undefined) return -EBUSY
  const reserve = values.get(PACKET_RESERVE) ?? 0
  const ring =
    version === TPACKET_V3
      ? BlockRing.of(task, socket, request, reserve)
      : PacketRing.of(task, request, version, reserve)
  if (typeof ring === 'number') return ring
  socket.replaceRing(ring)
  return 0
}
