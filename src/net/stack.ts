/** NetStack: what the socket families keep per network namespace. Made on first use; hangs in `NetNamespace.stack`. */
import type { NetNamespace } from '../kernel/namespaces.ts'
import { UnixTable } from './unix/table.ts'

export class NetStack {
  readonly unix = new UnixTable()
}

export function netStack(ns: NetNamespace): NetStack {
  ns.stack ??= new NetStack()
  return ns.stack as NetStack
}
