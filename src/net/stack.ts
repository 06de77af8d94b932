/** NetStack: what the socket families keep per network namespace. Made on first use; hangs in `NetNamespace.stack`. */
import type { NetNamespace } from '../kernel/namespaces.ts'
import type { HostNetwork } from './host/network.ts'
import { procNetLines } from './host/proc.ts'
import { formatUnixSockets } from './unix/proc.ts'
import { UnixTable } from './unix/table.ts'

export class NetStack {
  readonly unix = new UnixTable()
  /** Where internet and routing sockets pass through to; undefined: there are none. */
  host: HostNetwork | undefined = undefined

  /** ProcNetSource: the lines below `header`. */
  procNet(name: string, header: string): string | undefined {
    if (name === 'unix') return formatUnixSockets(this.unix)
    if (this.host === undefined) return undefined
    return procNetLines(this.host, name, header.split('\n').length - 1)
  }
}

export function netStack(ns: NetNamespace): NetStack {
  ns.stack ??= new NetStack()
  return ns.stack as NetStack
}
