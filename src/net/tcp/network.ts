/** TcpNetwork: what TCP needs of the layer below. IpStack is one; tests have a smaller one. */
import type { Status } from '../../base/result.ts'
import type { IpAddress } from '../address.ts'
import type { Counters } from '../ip/counters.ts'
import type { Flow } from '../ip/flow.ts'
import type { NetRuntime } from '../ip/runtime.ts'
import type { Sysctls } from '../ip/sysctl.ts'
import type { IcmpError } from '../ip/transport.ts'
import type { Packet } from '../packet.ts'

export interface TcpRoute {
  readonly source: IpAddress
  /** The longest IP packet that goes along; falls and rises with what ICMP tells. */
  readonly mtu: number
  readonly isLocal: boolean
  readonly toMany: boolean
  readonly device: { readonly index: number; readonly features: { readonly gsoMaxSize: number } }
  /** RTAX_ADVMSS and RTAX_INITCWND, 0 for none. */
  readonly advmss: number
  readonly initialWindow: number
  /** The peer has answered. */
  confirm(): void
}

export interface TcpNetwork {
  readonly runtime: NetRuntime
  readonly sysctl: Sysctls
  readonly counters: Counters
  /** The route that the flow has or gets, or a negative errno. */
  routeFor(flow: Flow): TcpRoute | number
  /** An ICMP 'too big' that was found true: routes to its destination have a smaller MTU from now on. */
  lowerMtu(error: IcmpError): void
  /** `packet` starts at the TCP header; it is the callee's in any case. */
  send(packet: Packet, flow: Flow): Status
}
