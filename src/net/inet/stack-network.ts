/** StackNetwork: an IpStack as TCP wants it. */
import type { Status } from '../../base/result.ts'
import type { Flow, Route } from '../ip/flow.ts'
import type { IcmpError } from '../ip/transport.ts'
import type { IpStack } from '../ip-stack.ts'
import type { Packet } from '../packet.ts'
import type { TcpNetwork } from '../tcp/network.ts'

export class StackNetwork implements TcpNetwork {
  readonly runtime
  readonly sysctl
  readonly counters
  readonly #ip

  constructor(stack: IpStack) {
    this.runtime = stack.runtime
    this.sysctl = stack.sysctls
    this.counters = stack.counters
    this.#ip = stack.ip
  }
  routeFor(flow: Flow): Route | number {
    return this.#ip.routeFor(flow)
  }
  lowerMtu(error: IcmpError): void {
    this.#ip.lowerMtu(error)
  }
  send(packet: Packet, flow: Flow): Status {
    return this.#ip.send(packet, flow)
  }
}
