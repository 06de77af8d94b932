/** tos, dscp and ecn, TOS and DSCP: the traffic class (DSCP: its upper six bits; ECN: the other two), asked for and changed. */
import {
  IPPROTO_TCP,
  NFPROTO_UNSPEC,
  NFT_CONTINUE,
  XT_DSCP_MAX,
  XT_DSCP_SHIFT,
  XT_ECN_OP_MATCH_CWR,
  XT_ECN_OP_MATCH_ECE,
  XT_ECN_OP_MATCH_IP,
  XT_ECN_OP_MATCH_MASK,
} from '../../../../abi/constants.ts'
import { EDOM, EINVAL } from '../../../../abi/errno.ts'
import {
  XT_DSCP_INFO,
  XT_DSCP_TARGET_INFO,
  XT_ECN_INFO,
  XT_TOS_MATCH_INFO,
  XT_TOS_TARGET_INFO,
} from '../../../../abi/layout.ts'
import { CWR, ECE, TCP_HEADER } from '../../../tcp/segment.ts'
import { setTrafficClass, trafficClassOf } from '../../header-fields.ts'
import type { Extension, Match, Target } from './extension.ts'

const ECN_BITS = (1 << XT_DSCP_SHIFT) - 1

const tosMatch: Extension<Match> = {
  name: 'tos',
  revision: 1,
  family: NFPROTO_UNSPEC,
  size: XT_TOS_MATCH_INFO.size,
  parse(info) {
    const mask = info.getUint8(XT_TOS_MATCH_INFO.tos_mask)
    const value = info.getUint8(XT_TOS_MATCH_INFO.tos_value)
    const invert = info.getUint8(XT_TOS_MATCH_INFO.invert) !== 0
    return { matches: ({ packet }) => ((trafficClassOf(packet) & mask) === value) !== invert }
  },
}

const dscpMatch: Extension<Match> = {
  name: 'dscp',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_DSCP_INFO.size,
  parse(info) {
    const dscp = info.getUint8(XT_DSCP_INFO.dscp)
    const invert = info.getUint8(XT_DSCP_INFO.invert) !== 0
    if (dscp > XT_DSCP_MAX) return -EDOM
    return { matches: ({ packet }) => (trafficClassOf(packet) >> XT_DSCP_SHIFT === dscp) !== invert }
  },
}

const ecnMatch: Extension<Match> = {
  name: 'ecn',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_ECN_INFO.size,
  parse(info, { protocol }) {
    const asked = info.getUint8(XT_ECN_INFO.operation)
    const inverted = info.getUint8(XT_ECN_INFO.invert)
    const codepoint = info.getUint8(XT_ECN_INFO.ip_ect)
    if (((asked | inverted) & XT_ECN_OP_MATCH_MASK) !== 0) return -EINVAL
    const ofTcp = (asked & (XT_ECN_OP_MATCH_ECE | XT_ECN_OP_MATCH_CWR)) !== 0
    if (ofTcp && protocol !== IPPROTO_TCP) return -EINVAL
    const fits = (flag: number, found: boolean) => (asked & flag) === 0 || found !== ((inverted & flag) !== 0)
    return {
      matches({ packet }) {
        if (!fits(XT_ECN_OP_MATCH_IP, (trafficClassOf(packet) & ECN_BITS) === codepoint)) return false
        if (!ofTcp) return true
        const { view, transport, end } = packet
        if (transport < 0 || end - transport < TCP_HEADER) return false
        const flags = view.getUint8(transport + 13)
        return (
          fits(XT_ECN_OP_MATCH_ECE, (flags & ECE) !== 0) && fits(XT_ECN_OP_MATCH_CWR, (flags & CWR) !== 0)
        )
      },
    }
  },
}

const tosTarget: Extension<Target> = {
  name: 'TOS',
  revision: 1,
  family: NFPROTO_UNSPEC,
  size: XT_TOS_TARGET_INFO.size,
  tables: ['mangle'],
  parse(info) {
    const value = info.getUint8(XT_TOS_TARGET_INFO.tos_value)
    const mask = info.getUint8(XT_TOS_TARGET_INFO.tos_mask)
    return {
      apply({ packet }) {
        setTrafficClass(packet, (trafficClassOf(packet) & ~mask) ^ value)
        return NFT_CONTINUE
      },
    }
  },
}

const dscpTarget: Extension<Target> = {
  name: 'DSCP',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_DSCP_TARGET_INFO.size,
  tables: ['mangle'],
  parse(info) {
    const dscp = info.getUint8(XT_DSCP_TARGET_INFO.dscp)
    if (dscp > XT_DSCP_MAX) return -EDOM
    return {
      apply({ packet }) {
        setTrafficClass(packet, (trafficClassOf(packet) & ECN_BITS) | (dscp << XT_DSCP_SHIFT))
        return NFT_CONTINUE
      },
    }
  },
}

export const tosMatches = [tosMatch, dscpMatch, ecnMatch]
export const tosTargets = [tosTarget, dscpTarget]
