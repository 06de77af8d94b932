/** A packet in the words of Linux's nf_log_syslog: what LOG writes. All of it is hostile, and may be cut off anywhere. */
import {
  ICMP_DEST_UNREACH,
  ICMP_ECHO,
  ICMP_ECHOREPLY,
  ICMP_FRAG_NEEDED,
  ICMP_PARAMETERPROB,
  ICMP_REDIRECT,
  ICMP_SOURCE_QUENCH,
  ICMP_TIME_EXCEEDED,
  ICMPV6_DEST_UNREACH,
  ICMPV6_ECHO_REPLY,
  ICMPV6_ECHO_REQUEST,
  ICMPV6_PARAMPROB,
  ICMPV6_PKT_TOOBIG,
  ICMPV6_TIME_EXCEED,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  NF_LOG_IPOPT,
  NF_LOG_MACDECODE,
  NF_LOG_TCPOPT,
  NF_LOG_TCPSEQ,
  NF_LOG_UID,
} from '../../../abi/constants.ts'
import { IpAddress } from '../../address.ts'
import { HeaderWalk } from '../../ip/extension-headers.ts'
import { IP_DF, IP_MF, IP_OFFSET, IPV4_HEADER, IPV6_HEADER } from '../../ip/numbers.ts'
import { formatMac, type NetDevice } from '../../link/device.ts'
import type { Packet } from '../../packet.ts'
import { TCP_HEADER } from '../../tcp/segment.ts'
import type { LoggedPacket } from './packet-log.ts'

const IP_CE = 0x8000
const TOS_MASK = 0x1e
const PRECEDENCE_MASK = 0xe0
/** Of UDP, of an ICMP error. */
const SHORT_HEADER = 8
/** In the order in which they are told, by their bits. */
const TCP_FLAGS = [
  ...[[0x80, 'CWR'] as const, [0x40, 'ECE'] as const, [0x20, 'URG'] as const, [0x10, 'ACK'] as const],
  ...[[8, 'PSH'] as const, [4, 'RST'] as const, [2, 'SYN'] as const, [1, 'FIN'] as const],
]

export function describePacket(logged: LoggedPacket, flags: number, prefix: string): string {
  const { packet, input, output, isV4 } = logged
  let text = `${prefix}IN=${input?.name ?? ''} OUT=${output?.name ?? ''} `
  if (input !== undefined) text += describeLink(packet, input, flags)
  const inner = new Description(packet.view, packet.end, flags)
  text += isV4 ? inner.ipv4(packet.network, false) : inner.ipv6(packet.network, false)
  if ((flags & NF_LOG_UID) !== 0 && packet.owner !== undefined)
    text += `UID=${packet.owner.uid} GID=${packet.owner.gid} `
  return packet.mark === 0 ? text : `${text}MARK=0x${packet.mark.toString(16)} `
}

function describeLink({ bytes, view, link, network }: Packet, device: NetDevice, flags: number): string {
  const length = device.headerLength
  const has = length > 0 && link >= 0 && link + length <= network
  if ((flags & NF_LOG_MACDECODE) !== 0 && has) {
    const destination = formatMac(bytes.subarray(link, link + 6))
    const source = formatMac(bytes.subarray(link + 6, link + 12))
    return `MACSRC=${source} MACDST=${destination} MACPROTO=${hex(view.getUint16(link + 12), 4)} `
  }
  return `MAC=${has ? formatMac(bytes.subarray(link, link + length)) : ''} `
}

class Description {
  readonly #view: DataView
  readonly #end: number
  readonly #flags: number

  constructor(view: DataView, end: number, flags: number) {
    this.#view = view
    this.#end = end
    this.#flags = flags
  }

  /** `quoted`: in an ICMP error; what that quotes is not told. */
  ipv4(at: number, quoted: boolean): string {
    const view = this.#view
    if (at + IPV4_HEADER > this.#end) return 'TRUNCATED'
    const tos = view.getUint8(at + 1)
    const fragment = view.getUint16(at + 6)
    const headerLength = (view.getUint8(at) & 15) * 4
    let text = `SRC=${IpAddress.read(view, at + 12, true)} DST=${IpAddress.read(view, at + 16, true)} `
    text += `LEN=${view.getUint16(at + 2)} TOS=0x${upper(tos & TOS_MASK)} PREC=0x${upper(tos & PRECEDENCE_MASK)} `
    text += `TTL=${view.getUint8(at + 8)} ID=${view.getUint16(at + 4)} `
    if ((fragment & IP_CE) !== 0) text += 'CE '
    if ((fragment & IP_DF) !== 0) text += 'DF '
    if ((fragment & IP_MF) !== 0) text += 'MF '
    if ((fragment & IP_OFFSET) !== 0) text += `FRAG:${fragment & IP_OFFSET} `
    if ((this.#flags & NF_LOG_IPOPT) !== 0) text += this.#options(at + IPV4_HEADER, at + headerLength)
    const protocol = view.getUint8(at + 9)
    const isFragment = (fragment & IP_OFFSET) !== 0
    return text + this.#transport(protocol, at + headerLength, isFragment, quoted)
  }

  ipv6(at: number, quoted: boolean): string {
    const view = this.#view
    if (at + IPV6_HEADER > this.#end) return 'TRUNCATED'
    const first = view.getUint32(at)
    let text = `SRC=${whole(view, at + 8)} DST=${whole(view, at + 24)} `
    text += `LEN=${view.getUint16(at + 4) + IPV6_HEADER} TC=${(first >>> 20) & 0xff} `
    text += `HOPLIMIT=${view.getUint8(at + 7)} FLOWLBL=${first & 0xfffff} `
    const walk = new HeaderWalk()
    walk.walk(view, at, this.#end)
    const offset = walk.fragment < 0 ? 0 : view.getUint16(walk.fragment + 2) & 0xfff8
    if (walk.fragment >= 0) text += `FRAG:${offset} `
    return text + this.#transport(walk.protocol, walk.transport, offset !== 0, quoted)
  }

  #transport(protocol: number, at: number, isFragment: boolean, quoted: boolean): string {
    switch (protocol) {
      case IPPROTO_TCP:
        return `PROTO=TCP ${isFragment ? '' : this.#tcp(at)}`
      case IPPROTO_UDP:
        return `PROTO=UDP ${isFragment ? '' : this.#udp(at)}`
      case IPPROTO_UDPLITE:
        return `PROTO=UDPLITE ${isFragment ? '' : this.#udp(at)}`
      case IPPROTO_ICMP:
        return `PROTO=ICMP ${isFragment ? '' : this.#icmp(at, quoted)}`
      case IPPROTO_ICMPV6:
        return `PROTO=ICMPv6 ${isFragment ? '' : this.#icmp6(at, quoted)}`
    }
    return `PROTO=${protocol} `
  }

  #incomplete(at: number): string {
    return `INCOMPLETE [${Math.max(this.#end - at, 0)} bytes] `
  }

  #tcp(at: number): string {
    const view = this.#view
    if (at + TCP_HEADER > this.#end) return this.#incomplete(at)
    let text = `SPT=${view.getUint16(at)} DPT=${view.getUint16(at + 2)} `
    if ((this.#flags & NF_LOG_TCPSEQ) !== 0)
      text += `SEQ=${view.getUint32(at + 4)} ACK=${view.getUint32(at + 8)} `
    const offset = view.getUint8(at + 12)
    const flags = view.getUint8(at + 13)
    text += `WINDOW=${view.getUint16(at + 14)} RES=0x${hex((offset & 15) << 2, 2)} `
    for (const [bit, name] of TCP_FLAGS) if ((flags & bit) !== 0) text += `${name} `
    text += `URGP=${view.getUint16(at + 18)} `
    if ((this.#flags & NF_LOG_TCPOPT) === 0) return text
    return text + this.#options(at + TCP_HEADER, at + (offset >> 4) * 4)
  }

  #udp(at: number): string {
    const view = this.#view
    if (at + SHORT_HEADER > this.#end) return this.#incomplete(at)
    return `SPT=${view.getUint16(at)} DPT=${view.getUint16(at + 2)} LEN=${view.getUint16(at + 4)} `
  }

  #icmp(at: number, quoted: boolean): string {
    const view = this.#view
    if (at + SHORT_HEADER > this.#end) return this.#incomplete(at)
    const type = view.getUint8(at)
    const code = view.getUint8(at + 1)
    let text = `TYPE=${type} CODE=${code} `
    switch (type) {
      case ICMP_ECHO:
      case ICMP_ECHOREPLY:
        return `${text}ID=${view.getUint16(at + 4)} SEQ=${view.getUint16(at + 6)} `
      case ICMP_PARAMETERPROB:
        return `${text}PARAMETER=${view.getUint8(at + 4)} `
      case ICMP_REDIRECT:
        text += `GATEWAY=${IpAddress.read(view, at + 4, true)} `
        break
      case ICMP_DEST_UNREACH:
      case ICMP_SOURCE_QUENCH:
      case ICMP_TIME_EXCEEDED:
        break
      default:
        return text
    }
    if (!quoted) text += `[${this.ipv4(at + SHORT_HEADER, true)}] `
    const tells = type === ICMP_DEST_UNREACH && code === ICMP_FRAG_NEEDED
    return tells ? `${text}MTU=${view.getUint16(at + 6)} ` : text
  }

  #icmp6(at: number, quoted: boolean): string {
    const view = this.#view
    if (at + SHORT_HEADER > this.#end) return this.#incomplete(at)
    const type = view.getUint8(at)
    let text = `TYPE=${type} CODE=${view.getUint8(at + 1)} `
    switch (type) {
      case ICMPV6_ECHO_REQUEST:
      case ICMPV6_ECHO_REPLY:
        return `${text}ID=${view.getUint16(at + 4)} SEQ=${view.getUint16(at + 6)} `
      case ICMPV6_PARAMPROB:
        text += `POINTER=${hex(view.getUint32(at + 4), 8)} `
        break
      case ICMPV6_DEST_UNREACH:
      case ICMPV6_PKT_TOOBIG:
      case ICMPV6_TIME_EXCEED:
        break
      default:
        return text
    }
    if (!quoted) text += `[${this.ipv6(at + SHORT_HEADER, true)}] `
    return type === ICMPV6_PKT_TOOBIG ? `${text}MTU=${view.getUint32(at + 4)} ` : text
  }

  #options(from: number, to: number): string {
    if (to <= from) return ''
    if (to > this.#end) return 'TRUNCATED'
    let text = 'OPT ('
    for (let at = from; at < to; at++) text += upper(this.#view.getUint8(at))
    return `${text}) `
  }
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0')
}
function upper(byte: number): string {
  return hex(byte, 2).toUpperCase()
}
/** All eight groups with all their digits. */
function whole(view: DataView, at: number): string {
  return [0, 2, 4, 6, 8, 10, 12, 14].map(offset => hex(view.getUint16(at + offset), 4)).join(':')
}
