/** /proc/net of sockets: tcp, udp, raw, icmp, netlink, packet: each line a socket. */
import { IPPROTO_TCP, TCP_LISTEN, TCP_SYN_RECV, TCP_TIME_WAIT } from '../../abi/constants.ts'
import { V4_ANY, V6_ANY } from '../address.ts'
import { type InetEntry, inetEntries } from '../inet/entry.ts'
import type { InetNetwork } from '../inet/network.ts'
import { hex, hexAddress, padded } from './format.ts'

const TCP_WIDTH = 149
const UDP_WIDTH = 127
/** Kernel addresses aren't told. */
const POINTER = '0000000000000000'
/** Times are in clock ticks of a hundredth of a second. */
const TICK = 1e7

export function tcpLines(net: InetNetwork, isV6: boolean): string {
  let text = ''
  let row = 0
  const all = [...inetEntries(net, IPPROTO_TCP)].filter(entry => entry.isV6 === isV6)
  // Listeners come first.
  all.sort((a, b) => Number(b.state === TCP_LISTEN) - Number(a.state === TCP_LISTEN))
  for (const entry of all) {
    const refs = entry.state === TCP_TIME_WAIT || entry.state === TCP_SYN_RECV ? 0 : 1
    const line = `${common(net, entry, row++, 4)} ${refs} ${POINTER}${tail(entry)}`
    text += isV6 ? `${line}\n` : padded(line, TCP_WIDTH)
  }
  return text
}

/** Of a connection: retransmission timeout, delayed acknowledgement, quick mode, congestion window, slow start threshold. */
function tail({ connection, state }: InetEntry): string {
  if (state === TCP_TIME_WAIT || state === TCP_SYN_RECV) return ''
  if (connection === undefined) return ' 100 0 0 10 0'
  const { rtt, congestion, ato, quickAcks, pingPong } = connection
  const threshold =
    congestion.ssthresh === Number.POSITIVE_INFINITY ? -1 : Math.ceil(congestion.ssthresh / connection.mss)
  const quick = (quickAcks << 1) | (pingPong > 0 ? 1 : 0)
  return ` ${Math.floor(rtt.rto / TICK)} ${Math.floor(ato / TICK)} ${quick} ${congestion.segments} ${threshold}`
}

/** Up to the inode. */
function common(net: InetNetwork, entry: InetEntry, row: number, width: number): string {
  const { isV6 } = entry
  const any = isV6 ? V6_ANY : V4_ANY
  const local = `${hexAddress(entry.local, isV6)}:${hex(entry.localPort, 4)}`
  const remote = `${hexAddress(entry.remote ?? any, isV6)}:${hex(entry.remotePort, 4)}`
  const due = entry.timer === 0 ? 0 : Math.max(Math.floor((entry.timerDue - net.runtime.now()) / TICK), 0)
  return (
    `${String(row).padStart(width)}: ${local} ${remote} ${hex(entry.state, 2)} ` +
    `${hex(entry.sendQueue, 8)}:${hex(entry.receiveQueue, 8)} ${hex(entry.timer, 2)}:${hex(due, 8)} ` +
    `${hex(entry.retransmits, 8)} ${String(entry.uid).padStart(5)} ${'0'.padStart(8)} ${entry.ino}`
  )
}

/** udp, raw, icmp. */
export function datagramLines(net: InetNetwork, entries: readonly InetEntry[], isV6: boolean): string {
  let text = ''
  for (const entry of entries) {
    if (entry.isV6 !== isV6) continue
    const row = entry.localPort & 0xffff
    const line = `${common(net, entry, row, 5)} 2 ${POINTER} ${entry.drops}`
    text += isV6 ? `${line}\n` : padded(line, UDP_WIDTH)
  }
  return text
}

export function netlinkLines(net: InetNetwork): string {
  let text = ''
  for (const socket of net.netlink.bound) {
    let groups = 0
    for (const group of socket.groups) if (group <= 32) groups |= 1 << (group - 1)
    const fields = [
      POINTER,
      String(socket.protocol).padEnd(3),
      String(socket.port).padEnd(10),
      hex(groups, 8, false),
      String(socket.receiveMemory).padEnd(8),
      '0'.padEnd(8),
      (socket.dumping ? '1' : '0').padEnd(5),
      '2'.padEnd(8),
      String(socket.drops).padEnd(8),
      String(socket.file?.inode.ino ?? 0).padEnd(8),
    ]
    text += `${fields.join(' ')}\n`
  }
  return text
}

export function packetLines(net: InetNetwork): string {
  let text = ''
  for (const socket of net.packets.sockets) {
    const fields = [
      POINTER,
      '3'.padEnd(6),
      String(socket.type).padEnd(4),
      hex(socket.etherType, 4, false),
      String(socket.device).padStart(5),
      socket.etherType === 0 ? '0' : '1',
      String(socket.receiveMemory).padEnd(6),
      String(socket.file?.cred.euid ?? 0).padEnd(6),
      String(socket.file?.inode.ino ?? 0).padEnd(6),
    ]
    text += `${fields.join(' ')}\n`
  }
  return text
}
