/** tcp, udp, udplite, multiport, icmp, icmp6: ports, flags and types of the transport header. */
import {
  IP6T_ICMP_INV,
  IPPROTO_DCCP,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  IPT_ICMP_INV,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFPROTO_UNSPEC,
  XT_MULTI_PORTS,
  XT_MULTIPORT_DESTINATION,
  XT_MULTIPORT_EITHER,
  XT_MULTIPORT_SOURCE,
  XT_TCP_INV_DSTPT,
  XT_TCP_INV_FLAGS,
  XT_TCP_INV_MASK,
  XT_TCP_INV_OPTION,
  XT_TCP_INV_SRCPT,
  XT_UDP_INV_DSTPT,
  XT_UDP_INV_MASK,
  XT_UDP_INV_SRCPT,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import { IP6T_ICMP, IPT_ICMP, XT_MULTIPORT_V1, XT_TCP, XT_UDP } from '../../../../abi/layout.ts'
import type { OrErrno } from '../../../../base/result.ts'
import type { Packet } from '../../../packet.ts'
import { TCP_HEADER } from '../../../tcp/segment.ts'
import type { Extension, Match } from './extension.ts'

/** Two ports of the machine's byte order: from, to. */
function within(info: DataView, at: number, port: number): boolean {
  return port >= info.getUint16(at, true) && port <= info.getUint16(at + 2, true)
}

export const tcpMatch: Extension<Match> = {
  name: 'tcp',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_TCP.size,
  protocol: IPPROTO_TCP,
  parse(info) {
    const inverted = info.getUint8(XT_TCP.invflags)
    if ((inverted & ~XT_TCP_INV_MASK) !== 0) return -EINVAL
    const mask = info.getUint8(XT_TCP.flg_mask)
    const flags = info.getUint8(XT_TCP.flg_cmp)
    const option = info.getUint8(XT_TCP.option)
    const is = (flag: number, found: boolean) => found !== ((inverted & flag) !== 0)
    return {
      matches({ packet }) {
        const { view, transport, end } = packet
        if (transport < 0 || end - transport < TCP_HEADER) return false
        return (
          is(XT_TCP_INV_SRCPT, within(info, XT_TCP.spts, view.getUint16(transport))) &&
          is(XT_TCP_INV_DSTPT, within(info, XT_TCP.dpts, view.getUint16(transport + 2))) &&
          is(XT_TCP_INV_FLAGS, (view.getUint8(transport + 13) & mask) === flags) &&
          (option === 0 || is(XT_TCP_INV_OPTION, hasOption(packet, option)))
        )
      },
    }
  },
}

function hasOption({ view, transport, end }: Packet, wanted: number): boolean {
  const last = Math.min(transport + (view.getUint8(transport + 12) >> 4) * 4, end)
  for (let at = transport + TCP_HEADER; at < last; ) {
    const kind = view.getUint8(at)
    if (kind === wanted) return true
    at += kind < 2 || at + 1 >= last ? 1 : view.getUint8(at + 1) || 1
  }
  return false
}

function udpLike(name: string, protocol: number): Extension<Match> {
  return {
    name,
    revision: 0,
    family: NFPROTO_UNSPEC,
    size: XT_UDP.size,
    protocol,
    parse(info) {
      const inverted = info.getUint8(XT_UDP.invflags)
      if ((inverted & ~XT_UDP_INV_MASK) !== 0) return -EINVAL
      return {
        matches({ packet }) {
          const { view, transport, end } = packet
          if (transport < 0 || end - transport < 8) return false
          const source = within(info, XT_UDP.spts, view.getUint16(transport))
          const destination = within(info, XT_UDP.dpts, view.getUint16(transport + 2))
          return (
            source !== ((inverted & XT_UDP_INV_SRCPT) !== 0) &&
            destination !== ((inverted & XT_UDP_INV_DSTPT) !== 0)
          )
        },
      }
    },
  }
}
export const udpMatch = udpLike('udp', IPPROTO_UDP)
export const udpliteMatch = udpLike('udplite', IPPROTO_UDPLITE)

const WITH_PORTS: ReadonlySet<number> = new Set([
  ...[IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_SCTP, IPPROTO_DCCP],
])

export const multiportMatch: Extension<Match> = {
  name: 'multiport',
  revision: 1,
  family: NFPROTO_UNSPEC,
  size: XT_MULTIPORT_V1.size,
  parse(info, { protocol }) {
    const which = info.getUint8(XT_MULTIPORT_V1.flags)
    const count = info.getUint8(XT_MULTIPORT_V1.count)
    if (!WITH_PORTS.has(protocol)) return -EINVAL
    const known = [XT_MULTIPORT_SOURCE, XT_MULTIPORT_DESTINATION, XT_MULTIPORT_EITHER].includes(which)
    if (!known || count > XT_MULTI_PORTS) return -EINVAL
    const ranges = readRanges(info, count)
    const inverted = info.getUint8(XT_MULTIPORT_V1.invert) !== 0
    const has = (port: number) => ranges.some(([from, to]) => port >= from && port <= to)
    return {
      matches({ packet }) {
        const { view, transport, end } = packet
        if (transport < 0 || end - transport < 4) return false
        const source = which !== XT_MULTIPORT_DESTINATION && has(view.getUint16(transport))
        const found = source || (which !== XT_MULTIPORT_SOURCE && has(view.getUint16(transport + 2)))
        return found !== inverted
      },
    }
  },
}

/** A port with its flag set is the first of a range, and the next one is the last. */
function readRanges(info: DataView, count: number): [number, number][] {
  const ranges: [number, number][] = []
  for (let i = 0; i < count; i++) {
    const from = info.getUint16(XT_MULTIPORT_V1.ports + 2 * i, true)
    const isRange = info.getUint8(XT_MULTIPORT_V1.pflags + i) !== 0 && i + 1 < count
    ranges.push([from, isRange ? info.getUint16(XT_MULTIPORT_V1.ports + 2 * ++i, true) : from])
  }
  return ranges
}

/** Where the fields of `struct ipt_icmp` and `struct ip6t_icmp` are: in the same places. */
interface IcmpInfo {
  readonly size: number
  readonly type: number
  readonly code: number
  readonly invflags: number
}
/** Any type, for IPv4. */
const ANY_TYPE = 0xff

function icmpLike(
  name: string,
  family: number,
  protocol: number,
  layout: IcmpInfo,
  invert: number,
): Extension<Match> {
  return {
    name,
    revision: 0,
    family,
    size: layout.size,
    protocol,
    parse: info => parseIcmp(info, layout, invert, family === NFPROTO_IPV4),
  }
}

function parseIcmp(info: DataView, layout: IcmpInfo, invert: number, isV4: boolean): OrErrno<Match> {
  const inverted = info.getUint8(layout.invflags)
  if ((inverted & ~invert) !== 0) return -EINVAL
  const type = info.getUint8(layout.type)
  const from = info.getUint8(layout.code)
  const to = info.getUint8(layout.code + 1)
  return {
    matches({ packet }) {
      const { view, transport, end } = packet
      if (transport < 0 || end - transport < 4) return false
      const code = view.getUint8(transport + 1)
      const found =
        (isV4 && type === ANY_TYPE) || (view.getUint8(transport) === type && code >= from && code <= to)
      return found !== ((inverted & invert) !== 0)
    },
  }
}
export const icmpMatch = icmpLike('icmp', NFPROTO_IPV4, IPPROTO_ICMP, IPT_ICMP, IPT_ICMP_INV)
export const icmp6Match = icmpLike('icmp6', NFPROTO_IPV6, IPPROTO_ICMPV6, IP6T_ICMP, IP6T_ICMP_INV)
