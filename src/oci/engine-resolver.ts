/**
 * Docker's name server for the containers of a network with names: it listens in the container's network namespace on the
 * host, at 127.0.0.11, behind rules for port 53 that Docker makes there. The sandbox's loopback device is another one, so
 * queries are carried there (net/resolver/relay.ts), by a socket that is opened here.
 *
 * What it doesn't know it asks the name servers of the outside for, as the container: from this namespace, by the container's
 * address. So the host's kernel keeps the addresses, but hears only answers to what it has asked itself, or it would
 * refuse the sandbox's connections.
 */
import { existsSync, readFileSync } from 'node:fs'
import { AF_INET, MFD_CLOEXEC, SOCK_DGRAM } from '../abi/constants.ts'
import { SOCKADDR_IN } from '../abi/layout.ts'
import type { Addon } from '../platform/addon.ts'
import { LinuxSockets } from '../platform/linux-sockets.ts'
import { HostProcess } from '../sandbox/host-process.ts'

const ADDRESS = [127, 0, 0, 11]
const PORT = 53
const SOCKETS = 4
/** As /proc/net/udp has the address. */
const IN_TABLE = /^ *\d+: 0B00007F:/m

const RULES = `*filter
:INPUT DROP
:FORWARD DROP
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
COMMIT
`
/** Docker needs it, too. */
const RESTORE = ['/usr/sbin', '/sbin', '/usr/bin', '/usr/local/sbin'].map(each => `${each}/iptables-restore`)

/** Does something in the container's network namespace. */
type Within = <T>(work: () => T) => T

export function hasEngineResolver(pid: number): boolean {
  return IN_TABLE.test(readFileSync(`/proc/${pid}/net/udp`, 'latin1'))
}

/** Keeps the host's kernel from hearing what comes in for the container; false where it has no rules for that. */
export async function deafen(addon: Addon, within: Within): Promise<boolean> {
  const path = RESTORE.find(each => existsSync(each))
  if (path === undefined) return false
  const rules = addon.memfd('rules', MFD_CLOEXEC)
  try {
    addon.pwrite(rules, Buffer.from(RULES), 0)
    const args = [path, '--wait']
    const start = () =>
      HostProcess.start(addon, { path, args, environment: [], descriptors: [rules, -1, -1] })
    return (await within(start).exit) === 0
  } finally {
    addon.close(rules)
  }
}

/** Sockets whose datagrams reach the name server (net/resolver/relay.ts has a use for several). */
export function openEngineResolver(addon: Addon, within: Within): number[] {
  return within(() => Array.from({ length: SOCKETS }, () => connectedSocket(new LinuxSockets(addon)))).filter(
    fd => fd >= 0,
  )
}

function connectedSocket(sockets: LinuxSockets): number {
  const fd = sockets.open(AF_INET, SOCK_DGRAM, 0)
  if (fd < 0) return fd
  const address = new Uint8Array(SOCKADDR_IN.size)
  const view = new DataView(address.buffer)
  view.setUint16(SOCKADDR_IN.sin_family, AF_INET, true)
  view.setUint16(SOCKADDR_IN.sin_port, PORT)
  address.set(ADDRESS, SOCKADDR_IN.sin_addr)
  const status = sockets.connect(fd, address)
  if (status >= 0) return fd
  sockets.close(fd)
  return status
}
