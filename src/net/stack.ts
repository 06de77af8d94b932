/**
 * NetStack: what the socket families keep per network namespace. Made on first use; hangs in `NetNamespace.stack`.
 *
 * Where the kernel has a network of its own (NetNamespace.runtime), `own` is the namespace's part of it, which begins with
 * a loopback device that is down, as on Linux; where the namespace has the host's network, it is `host`; else there are
 * unix sockets only.
 */
import type { OrErrno } from '../base/result.ts'
import type { NetSettings } from '../fs/proc/net-settings.ts'
import type { NetDevices } from '../fs/sys/net.ts'
import type { NetNamespace } from '../kernel/namespaces.ts'
import type { Task } from '../kernel/task.ts'
import type { IoctlContext } from '../vfs/file.ts'
import type { HostNetwork } from './host/network.ts'
import { procNetLines } from './host/proc.ts'
import type { IpStack } from './ip-stack.ts'
import type { NetlinkTable } from './netlink/table.ts'
import type { Socket } from './socket.ts'
import { formatUnixSockets } from './unix/proc.ts'
import { UnixTable } from './unix/table.ts'

/** A namespace's part of the kernel's own network: inet/network.ts, which is loaded only where there is one. */
export interface OwnNetwork {
  readonly ip: IpStack
  readonly netlink: NetlinkTable
  /** /proc/sys/net and /sys/class/net. */
  readonly settings: NetSettings
  readonly devices: NetDevices
  /** socket(2) of AF_INET, AF_INET6, AF_NETLINK and AF_PACKET. */
  create(task: Task, family: number, type: number, protocol: number): OrErrno<Socket>
  /** ioctl(2) about interfaces and routes, of any socket. */
  ioctl(context: IoctlContext, request: number, argument: number): number
  /** A file of /proc/net below its header; undefined: there is no such file. */
  procNet(name: string): string | undefined
}

export class NetStack {
  readonly ns: NetNamespace
  readonly unix = new UnixTable()
  /** Where internet and routing sockets pass through to; undefined: there are none. */
  host: HostNetwork | undefined = undefined
  /** Set by who makes it for a namespace with NetNamespace.runtime. */
  own: OwnNetwork | undefined = undefined

  constructor(ns: NetNamespace) {
    this.ns = ns
  }

  get ip(): IpStack | undefined {
    return this.own?.ip
  }

  /** NetSettingsSource: /proc/sys/net. */
  get settings(): NetSettings | undefined {
    return this.own?.settings ?? this.host?.settings
  }

  /** NetDevicesSource: /sys/class/net. */
  get devices(): NetDevices | undefined {
    return this.own?.devices ?? this.host?.devices
  }

  /** ProcNetSource: the lines below `header`. */
  procNet(name: string, header: string): string | undefined {
    if (name === 'unix') return formatUnixSockets(this.unix)
    if (this.host !== undefined) return procNetLines(this.host, name, header.split('\n').length - 1)
    return this.own?.procNet(name)
  }
}

export function netStack(ns: NetNamespace): NetStack {
  ns.stack ??= new NetStack(ns)
  return ns.stack as NetStack
}
