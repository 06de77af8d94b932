/** tcpmss, TCPMSS: the largest segment that a SYN announces, asked for, and made smaller for paths whose routers can't tell of theirs. */
import {
  IPPROTO_TCP,
  NF_INET_FORWARD,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFPROTO_UNSPEC,
  NFT_CONTINUE,
  TCPOPT_MSS,
  XT_TCPMSS_CLAMP_PMTU,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import { XT_TCPMSS_INFO, XT_TCPMSS_MATCH_INFO } from '../../../../abi/layout.ts'
import { type IpAddress, V4_ANY, V6_ANY } from '../../../address.ts'
import { plainFlow } from '../../../ip/ipv4-output.ts'
import { IPV4_HEADER, IPV6_HEADER } from '../../../ip/numbers.ts'
import type { IpStack } from '../../../ip-stack.ts'
import type { Packet } from '../../../packet.ts'
import { SYN, TCP_HEADER } from '../../../tcp/segment.ts'
import { findTcpOption, setTcpByte, tcpOptionLength } from '../../tcp-options.ts'
import type { Extension, Match, Target } from './extension.ts'

function tcpmss(family: number): Extension<Target> {
  return {
    name: 'TCPMSS',
    revision: 0,
    family,
    size: XT_TCPMSS_INFO.size,
    protocol: IPPROTO_TCP,
    points: [NF_INET_FORWARD, NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING],
    parse(info, { asksForSyn }) {
      // Other segments announce nothing.
      if (asksForSyn === false) return -EINVAL
      const wanted = info.getUint16(XT_TCPMSS_INFO.mss, true)
      return {
        apply({ stack, packet }) {
          clamp(packet, wanted === XT_TCPMSS_CLAMP_PMTU ? pathMss(stack, packet) : wanted)
          return NFT_CONTINUE
        },
      }
    },
  }
}
export const tcpmssTargets: readonly Extension<Target>[] = [tcpmss(NFPROTO_IPV4), tcpmss(NFPROTO_IPV6)]

/** What the ways in both directions let through. */
export function pathMss(stack: IpStack, { source, destination }: Packet): number {
  const mtu = (address: IpAddress) => {
    const route = stack.ip.routeFor(plainFlow(IPPROTO_TCP, address.isV4 ? V4_ANY : V6_ANY, address))
    return typeof route === 'number' ? Number.POSITIVE_INFINITY : route.mtu
  }
  const headers = (source.isV4 ? IPV4_HEADER : IPV6_HEADER) + TCP_HEADER
  return Math.min(mtu(source), mtu(destination)) - headers
}

/** Never makes it larger; a SYN that announces none is left alone. */
function clamp(packet: Packet, mss: number): void {
  const { view, transport, end } = packet
  if (transport < 0 || end - transport < TCP_HEADER || (view.getUint8(transport + 13) & SYN) === 0) return
  const at = findMss(packet)
  if (at < 0) return
  if (view.getUint16(at) <= mss || mss < 0) return
  setTcpByte(packet, at, mss >> 8)
  setTcpByte(packet, at + 1, mss & 0xff)
}

/** Where the value of the option stands; -1: there is none. */
function findMss(packet: Packet): number {
  const at = findTcpOption(packet, TCPOPT_MSS)
  return at < 0 || tcpOptionLength(packet, at) !== 4 ? -1 : at + 2
}

export const tcpmssMatch: Extension<Match> = {
  name: 'tcpmss',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_TCPMSS_MATCH_INFO.size,
  protocol: IPPROTO_TCP,
  parse(info) {
    const min = info.getUint16(XT_TCPMSS_MATCH_INFO.mss_min, true)
    const max = info.getUint16(XT_TCPMSS_MATCH_INFO.mss_max, true)
    const invert = info.getUint8(XT_TCPMSS_MATCH_INFO.invert) !== 0
    return {
      matches({ packet }) {
        const { view, transport, end } = packet
        if (transport < 0 || end - transport < TCP_HEADER) return false
        const at = findMss(packet)
        if (at < 0) return invert
        const mss = view.getUint16(at)
        return (mss >= min && mss <= max) !== invert
      },
    }
  },
}
