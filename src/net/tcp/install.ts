/** TCP over an IpStack: protocol number 6 of both IP versions. */
import type { Status } from '../../base/result.ts'
import type { Flow } from '../ip/flow.ts'
import type { IcmpError } from '../ip/transport.ts'
import type { IpStack } from '../ip-stack.ts'
import type { Packet } from '../packet.ts'
import type { TcpNetwork, TcpRoute } from './network.ts'
import { TcpProtocol } from './protocol.ts'
import { IPPROTO_TCP } from './segment.ts'

class StackNetwork implements TcpNetwork {
  readonly #stack: IpStack
  readonly runtime: TcpNetwork['runtime']
  readonly sysctl: TcpNetwork['sysctl']
  readonly counters: TcpNetwork['counters']

  constructor(stack: IpStack) {
    this.#stack = stack
    this.runtime = stack.runtime
    this.sysctl = stack.sysctls
    this.counters = stack.counters
  }
  routeFor(flow: Flow): TcpRoute | number {
    return this.#stack.ip.routeFor(flow)
  }
  send(packet: Packet, flow: Flow): Status {
    return this.#stack.ip.send(packet, flow)
  }
  lowerMtu(error: IcmpError): void {
    this.#stack.ip.lowerMtu(error)
  }
}

/** Makes TCP for a stack and registers it there. */
export function installTcp(stack: IpStack): TcpProtocol {
  const tcp = new TcpProtocol(new StackNetwork(stack))
  stack.protocols[IPPROTO_TCP] = tcp
  return tcp
}
