/** /proc/net of the host's network namespace, in which the guest's sockets have the guest's inode numbers and owners. */
import { newHostStat } from '../../platform/host.ts'
import type { HostSocket } from './host-socket.ts'
import type { HostNetwork } from './network.ts'

/** Files with a line for each socket. */
const SOCKET_TABLES: ReadonlySet<string> = new Set(['tcp', 'tcp6', 'udp', 'udp6', 'raw', 'raw6'])
/** Up to the uid; the uid; up to the inode; the inode. */
const SOCKET_LINE = /^(\s*\d+:(?: +\S+){6} +)(\d+)( +\d+ )(\d+)/gm

/** The file's lines without its first `heads`; '' where it can't be had. */
export function procNetLines(network: HostNetwork, name: string, heads: number): string {
  const lines = network.procText(name).split('\n').slice(heads).join('\n')
  return SOCKET_TABLES.has(name) ? rename(network, lines) : lines
}

function rename(network: HostNetwork, lines: string): string {
  const byInode = new Map<string, HostSocket>()
  const stat = newHostStat()
  for (const socket of network.open) {
    if (network.host.statx(socket.fd, '', 0, stat) === 0) byInode.set(String(stat.ino), socket)
  }
  return lines.replace(SOCKET_LINE, (line, start, uid, between, inode) => {
    const file = byInode.get(inode)?.file
    if (file === undefined) return line
    return `${start}${String(file.cred.euid).padStart(uid.length)}${between}${file.inode.ino}`
  })
}
