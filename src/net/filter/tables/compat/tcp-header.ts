/** TCPOPTSTRIP: options of TCP made padding; ECN: marks of congestion taken out of IP's and TCP's headers. */
import {
  IPPROTO_TCP,
  IPT_ECN_IP_MASK,
  IPT_ECN_OP_MASK,
  IPT_ECN_OP_SET_CWR,
  IPT_ECN_OP_SET_ECE,
  IPT_ECN_OP_SET_IP,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFT_CONTINUE,
  TCPOPT_NOP,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import { IPT_ECN_INFO, XT_TCPOPTSTRIP_TARGET_INFO } from '../../../../abi/layout.ts'
import type { Packet } from '../../../packet.ts'
import { TCP_HEADER } from '../../../tcp/segment.ts'
import { setTrafficClass, trafficClassOf } from '../../header-fields.ts'
import { setTcpByte } from '../../tcp-options.ts'
import type { Extension, Target } from './extension.ts'

const ECE = 0x40
const CWR = 0x80
/** The bits of the type of service that tell of congestion. */
const ECT = 3

function optionStrip(family: number): Extension<Target> {
  return {
    ...{ name: 'TCPOPTSTRIP', revision: 0, family, protocol: IPPROTO_TCP },
    size: XT_TCPOPTSTRIP_TARGET_INFO.size,
    tables: ['mangle'],
    parse(info) {
      const strips = (kind: number) =>
        (info.getUint32(XT_TCPOPTSTRIP_TARGET_INFO.strip_bmap + 4 * (kind >> 5), true) &
          (1 << (kind & 31))) !==
        0
      return {
        apply({ packet }) {
          strip(packet, strips)
          return NFT_CONTINUE
        },
      }
    },
  }
}

function strip(packet: Packet, strips: (kind: number) => boolean): void {
  const { view, transport, end } = packet
  if (transport < 0 || end - transport < TCP_HEADER) return
  const last = transport + (view.getUint8(transport + 12) >> 4) * 4
  if (last > end) return
  for (let at = transport + TCP_HEADER; at < last - 1; ) {
    const kind = view.getUint8(at)
    const length = kind <= TCPOPT_NOP ? 1 : view.getUint8(at + 1) || 1
    if (at + length > last) return
    if (strips(kind)) for (let i = 0; i < length; i++) setTcpByte(packet, at + i, TCPOPT_NOP)
    at += length
  }
}

const ecnTarget: Extension<Target> = {
  ...{ name: 'ECN', revision: 0, family: NFPROTO_IPV4 },
  size: IPT_ECN_INFO.size,
  tables: ['mangle'],
  parse(info, { protocol }) {
    const operation = info.getUint8(IPT_ECN_INFO.operation)
    const value = info.getUint8(IPT_ECN_INFO.ip_ect)
    const bits = info.getUint8(IPT_ECN_INFO.proto)
    const ofTcp = (operation & (IPT_ECN_OP_SET_ECE | IPT_ECN_OP_SET_CWR)) !== 0
    if ((operation & IPT_ECN_OP_MASK) !== 0 || (value & IPT_ECN_IP_MASK) !== 0) return -EINVAL
    if (ofTcp && protocol !== IPPROTO_TCP) return -EINVAL
    return {
      apply({ packet }) {
        if ((operation & IPT_ECN_OP_SET_IP) !== 0)
          setTrafficClass(packet, (trafficClassOf(packet) & ~ECT) | (value & ECT))
        const { view, transport, end } = packet
        if (!ofTcp || transport < 0 || end - transport < TCP_HEADER) return NFT_CONTINUE
        const before = view.getUint8(transport + 13)
        let after = before
        // The struct's two bits stand as in the header: ECE, CWR, above four others.
        if ((operation & IPT_ECN_OP_SET_ECE) !== 0) after = (after & ~ECE) | ((bits & 1) === 0 ? 0 : ECE)
        if ((operation & IPT_ECN_OP_SET_CWR) !== 0) after = (after & ~CWR) | ((bits & 2) === 0 ? 0 : CWR)
        if (after !== before) setTcpByte(packet, transport + 13, after)
        return NFT_CONTINUE
      },
    }
  },
}

export const tcpHeaderTargets = [optionStrip(NFPROTO_IPV4), optionStrip(NFPROTO_IPV6), ecnTarget]
