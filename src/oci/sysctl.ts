/**
 * runtime-spec's `linux.sysctl`: settings of namespaces only, since others would be the whole kernel's. Those of the
 * network are set where its sockets live: in the sandbox's own stack, or in the namespace on the host.
 */
import { UserError } from '../sandbox/user-error.ts'

type Settings = Readonly<Record<string, string>>

const OF_IPC: ReadonlySet<string> = new Set([
  'kernel.msgmax',
  'kernel.msgmnb',
  'kernel.msgmni',
  'kernel.sem',
  'kernel.shmall',
  'kernel.shmmax',
  'kernel.shmmni',
  'kernel.shm_rmid_forced',
])
const NAME = /^\w[\w.@:/-]*$/

/**
 * `ownNetwork`: whether the container lives in a network namespace that isn't the caller's; `ownStack`: whether with sockets
 * of the sandbox's own.
 */
export function planSysctl(
  sysctl: Settings,
  ownNetwork: boolean,
  ownStack: boolean,
): { guest: Settings; network: Settings } {
  const guest: Record<string, string> = {}
  const network: Record<string, string> = {}
  for (const [key, value] of Object.entries(sysctl)) {
    const field = `linux.sysctl: ${key}`
    if (!NAME.test(key) || key.includes('..')) throw new UserError(`${field} is no name of a setting`)
    const name = dotted(key)
    if (name === 'net.ipv4.ip_unprivileged_port_start' || (ownStack && name.startsWith('net.'))) {
      // The ports are the sandbox's to decide in any case: the launcher has left the namespace on the host open to it.
      guest[name] = value
    } else if (name.startsWith('net.')) {
      if (!ownNetwork)
        throw new UserError(`${field} would be set for the host: the network namespace is the host's`)
      network[key] = value
    } else if (OF_IPC.has(name) || name.startsWith('fs.mqueue.') || name === 'kernel.domainname') {
      guest[name] = value
    } else if (name === 'kernel.hostname') {
      throw new UserError(`${field} can't be obeyed: config.json has the field hostname for it`)
    } else {
      throw new UserError(`${field} can't be obeyed: it is not a setting of a namespace`)
    }
  }
  return { guest, network }
}

/** The first separator decides whether dots or slashes separate, as in sysctl(8). */
function dotted(key: string): string {
  const slash = key.indexOf('/')
  const dot = key.indexOf('.')
  const slashes = slash >= 0 && (dot < 0 || slash < dot)
  return slashes ? key.replace(/[./]/g, each => (each === '/' ? '.' : '/')) : key
}

/** Below /proc/sys: 'net.ipv4.conf.eth0/1.rp_filter' → 'net/ipv4/conf/eth0.1/rp_filter' */
export function sysctlPath(key: string): string {
  return dotted(key).replace(/[./]/g, each => (each === '.' ? '/' : '.'))
}
