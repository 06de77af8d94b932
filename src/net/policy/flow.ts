/** A flow as a policy sees it: asked about once, when its first packet is about to leave. */
import type { IpAddress } from '../address.ts'

export interface NewFlow {
  /** IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP (of either family), or another. */
  readonly protocol: number
  readonly source: IpAddress
  /** 0 where the protocol has no ports. */
  readonly sourcePort: number
  readonly destination: IpAddress
  readonly destinationPort: number
  /** The names for which the sandbox's resolver has given the destination, as far as that is fresh. */
  readonly names: readonly string[]
  /** Of a datagram to the sandbox's resolver: the name that is asked for. */
  readonly question?: string | undefined
  /** It stays in the sandbox, over a loopback device. */
  readonly local: boolean
}

export type Verdict = 'allow' | 'deny'

/** Decides on a question for a name. */
export type OnQuestion = (name: string) => Verdict

/** Decides on each new flow. Called in the middle of sending: it must neither wait nor throw. */
export type OnFlow = (flow: NewFlow) => Verdict
