/** TCPMSS: the largest segment that a SYN announces is made smaller, for paths whose routers can't tell of theirs. */
import {
  IPPROTO_TCP,
  NF_INET_FORWARD,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFT_CONTINUE,
  TCPOPT_EOL,
  TCPOPT_MSS,
  TCPOPT_NOP,
  XT_TCPMSS_CLAMP_PMTU,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import { XT_TCPMSS_INFO } from '../../../../abi/layout.ts'
import { type IpAddress, V4_ANY, V6_ANY } from '../../../address.ts'
import { updateChecksum16 } from '../../../checksum.ts'
import { plainFlow } from '../../../ip/ipv4-output.ts'
import { IPV4_HEADER, IPV6_HEADER } from '../../../ip/numbers.ts'
import type { IpStack } from '../../../ip-stack.ts'
import { CHECKSUM_PARTIAL, type Packet } from '../../../packet.ts'
import { SYN, TCP_HEADER } from '../../../tcp/segment.ts'
import type { Extension, Target } from './extension.ts'

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
function pathMss(stack: IpStack, { source, destination }: Packet): number {
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
  const last = Math.min(transport + (view.getUint8(transport + 12) >> 4) * 4, end)
  for (let at = transport + TCP_HEADER; at + 4 <= last; ) {
    const kind = view.getUint8(at)
    if (kind === TCPOPT_EOL) return
    if (kind === TCPOPT_NOP) {
      at++
      continue
    }
    if (kind !== TCPOPT_MSS || view.getUint8(at + 1) !== 4) {
      at += Math.max(view.getUint8(at + 1), 2)
      continue
    }
    const before = view.getUint16(at + 2)
    if (before <= mss || mss < 0) return
    view.setUint16(at + 2, mss)
    if (packet.checksum !== CHECKSUM_PARTIAL) {
      // Where the option stands at an odd place its bytes are those of other words.
      const odd = ((at - transport) & 1) !== 0
      const swap = (word: number) => (odd ? ((word & 0xff) << 8) | (word >> 8) : word)
      const sum = view.getUint16(transport + 16)
      view.setUint16(transport + 16, updateChecksum16(sum, swap(before), swap(mss)))
    }
    return
  }
}
